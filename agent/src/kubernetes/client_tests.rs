//! How many connections there are, and that none is waited for that has died.

use std::net::SocketAddr;

use continuum_runtime::seed;
use continuum_test_kube::{ApiServer, Options, Real};
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
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

/// All at once: none makes a connection in vain.
#[tokio::test]
async fn many_requests_share_a_connection_where_the_server_speaks_http_2() {
    for (tls, watched, asked) in [(true, 2, 1), (false, 70, 40)] {
        let server = server(tls).await;
        let mut ways = Ways::by(server.config("agent"), LIMIT).unwrap();
        let clients: Vec<_> = (0..70).map(|_| ways.of_one_more().unwrap()).collect();
        let watch = async |clients: &ApiClients| {
            maps(&clients.watching).watch(&WatchParams::default(), "0").await.unwrap().boxed()
        };
        let mut watches = join_all(clients.iter().map(watch)).await;
        assert_eq!(server.connections(), watched, "tls: {tls}");

        let names: Vec<_> = (0..40).map(|number| format!("map-{number}")).collect();
        let asking = &clients[0].asking;
        join_all(names.iter().map(|name| make(asking, name))).await;
        let asked_over = server.connections() - watched;
        assert!(asked_over > 0 && asked_over <= asked, "{asked_over} connections, tls: {tls}");
        for watch in &mut watches {
            let mut heard = Vec::new();
            for _ in &names {
                heard.push(hears(watch).await);
            }
            heard.sort();
            let mut made = names.clone();
            made.sort();
            assert_eq!(heard, made);
        }
    }
}

/// While there is no server, and again once there is one.
#[tokio::test]
async fn one_request_goes_ahead_of_the_others_until_there_is_an_answer() {
    let mut server = server(true).await;
    let client = shared(server.config("agent"), ASKED, LIMIT).unwrap();
    let all = maps(&client);
    let list = async || all.list(&ListParams::default()).await;
    for made in 1..3 {
        server.down().await;
        let failed = join_all((0..20).map(|_| list())).await;
        assert!(failed.iter().all(Result::is_err));
        server.up().await.unwrap();
        let listed = join_all((0..20).map(|_| list())).await;
        assert!(listed.iter().all(Result::is_ok), "{listed:?}");
        assert_eq!(server.connections(), made, "none in vain");
    }
    // One that is given up while it is its turn leaves the turn to the next.
    server.down().await;
    list().await.unwrap_err();
    server.up().await.unwrap();
    let held = server.control().hold(|call| call.verb == "list");
    let given_up = tokio::time::timeout(Duration::from_millis(300), list()).await;
    assert!(given_up.is_err());
    tokio::time::timeout(LIMIT / 2, list()).await.expect("its turn").unwrap();
    drop(held);
}

#[tokio::test]
async fn one_that_hangs_while_it_goes_ahead_holds_the_others_up_for_a_moment_only() {
    let server = server(true).await;
    let client = shared(server.config("agent"), ASKED, Duration::from_millis(100)).unwrap();
    let all = maps(&client);
    let mut held = server.control().hold(|call| call.verb == "list");
    let parameters = ListParams::default();
    let mut hangs = std::pin::pin!(all.list(&parameters));
    tokio::select! {
        biased;
        _ = &mut hangs => panic!("its answer was not kept back"),
        () = held.carried_out() => {}
    }
    let others = join_all((0..3).map(|_| all.list(&parameters)));
    let others = tokio::time::timeout(LIMIT, others).await.expect("they go on");
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    held.release();
    hangs.await.unwrap();
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
    let client = shared(settings, alive, LIMIT).unwrap();
    let begun = maps(&client).watch(&WatchParams::default(), "0").await.unwrap();
    let mut begun = begun.boxed();
    make(&server.client().unwrap(), "one").await;
    assert_eq!(hears(&mut begun).await, "one");

    cut.send_replace(true);
    let ended = tokio::time::timeout(LIMIT, begun.next()).await.expect("it ends");
    assert!(ended.is_none_or(|event| event.is_err()));
}

/// This process's open connections to a port.
fn connections_to(port: u16) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let own: Vec<String> = targets.map(|target| target.display().to_string()).collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (remote, state, inode) = (fields[2], fields[3], fields[9]);
        let established = state == "01" && remote.ends_with(&format!(":{port:04X}"));
        established && own.contains(&format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter(is_one).count()
}

#[tokio::test]
#[ignore = "needs a real API server: make test-kube"]
async fn many_requests_share_a_connection_to_a_real_server() {
    const NAMES: &str = "continuum-shared-";
    let real = Real::find().await.unwrap();
    let settings = settings(Some(&real.kubeconfig)).await.unwrap();
    let port = settings.cluster_url.port_u16().unwrap();
    let before = connections_to(port);
    let mut ways = Ways::by(settings, LIMIT).unwrap();
    let clients: Vec<_> = (0..60).map(|_| ways.of_one_more().unwrap()).collect();
    let asking = &clients[0].asking;
    let all = maps(asking).list(&ListParams::default()).await.unwrap();
    let version = all.metadata.resource_version.unwrap();
    let watch = async |clients: &ApiClients| {
        let parameters = WatchParams::default().timeout(60);
        maps(&clients.watching).watch(&parameters, &version).await.unwrap().boxed()
    };
    let mut watches = join_all(clients.iter().map(watch)).await;
    assert_eq!(connections_to(port) - before, 3, "one that asks, two that watch");

    let names: Vec<_> = (0..40).map(|number| format!("{NAMES}{number}")).collect();
    join_all(names.iter().map(|name| make(asking, name))).await;
    assert_eq!(connections_to(port) - before, 3);
    for watch in &mut watches {
        let mut left = names.len();
        while left > 0 {
            left -= usize::from(hears(watch).await.starts_with(NAMES));
        }
    }
    for name in &names {
        maps(asking).delete(name, &DeleteParams::default()).await.unwrap();
    }
}
