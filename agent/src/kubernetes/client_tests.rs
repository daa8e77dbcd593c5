//! How many connections there are, and that none is waited for that has died.

use std::net::SocketAddr;

use continuum_runtime::seed;
use continuum_test_kube::{ApiServer, Options};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "default")
}

async fn server(tls: bool) -> ApiServer {
    ApiServer::start(Options { tls, ..Options::default() }).await.unwrap()
}

async fn make(client: &Client, name: &str) {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    maps(client).create(&PostParams::default(), &map).await.unwrap();
}

async fn hears(
    watch: &mut (impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin),
) -> String {
    match tokio::time::timeout(LIMIT, watch.next()).await.unwrap().unwrap().unwrap() {
        WatchEvent::Added(map) => map.metadata.name.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn fifty_watches_share_a_connection_where_the_server_speaks_http_2() {
    for (tls, connections) in [(true, 2), (false, 70)] {
        let server = server(tls).await;
        let mut ways = Ways::by(server.config("agent")).unwrap();
        let mut watches = Vec::new();
        for _ in 0..70 {
            let clients = ways.of_one_more().unwrap();
            let watch = maps(&clients.watching).watch(&WatchParams::default(), "0").await.unwrap();
            watches.push(watch.boxed());
        }
        assert_eq!(server.connections(), connections, "tls: {tls}");
        let clients = ways.of_one_more().unwrap();
        make(&clients.asking, "one").await;
        assert_eq!(server.connections(), connections + 1, "what is asked has its own");
        for watch in &mut watches {
            assert_eq!(hears(watch).await, "one");
        }
        drop(watches);
        maps(&clients.asking).list(&ListParams::default()).await.unwrap();
    }
}

/// A way to a server that can be cut so that neither side hears of it.
async fn relay(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, (cut, is_cut)) = (listener.local_addr().unwrap(), watch::channel(false));
    seed::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let mut is_cut = is_cut.clone();
            seed::spawn(async move {
                let mut there = TcpStream::connect(to).await.unwrap();
                let was_cut = async { is_cut.wait_for(|cut| *cut).await.is_ok() };
                let was_cut = tokio::select! {
                    _ended = tokio::io::copy_bidirectional(&mut here, &mut there) => false,
                    was_cut = was_cut => was_cut,
                };
                if was_cut {
                    std::future::pending().await
                }
            });
        }
    });
    (at, cut)
}

#[tokio::test]
async fn a_watch_whose_connection_died_unseen_ends() {
    let server = server(true).await;
    let mut settings = server.config("agent");
    let (at, cut) = relay(server.url().strip_prefix("https://").unwrap().parse().unwrap()).await;
    settings.cluster_url = format!("https://{at}").parse().unwrap();
    let alive = Alive { every: Duration::from_millis(200), within: Duration::from_millis(500) };
    let client = watching(settings, DEADLINE, alive).unwrap();
    let begun = maps(&client).watch(&WatchParams::default(), "0").await.unwrap();
    let mut begun = begun.boxed();
    make(&server.client().unwrap(), "one").await;
    assert_eq!(hears(&mut begun).await, "one");

    cut.send_replace(true);
    let ended = tokio::time::timeout(LIMIT, begun.next()).await.expect("it ends");
    assert!(ended.is_none_or(|event| event.is_err()));
}
