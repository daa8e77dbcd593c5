//! What the core tells a collector: requests, operations, steps, and that nothing waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::client::ApiClient;
use continuum_control_api::link::{GrantAnswer, Order};
use continuum_control_api::rest::{API, PauseQuery, PauseRequest, Started, SwitchoverRequest};
use continuum_domain::operation::{Operation, OperationState};
use continuum_runtime::seed;
use continuum_runtime::traces::TracesConfig;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::core_cluster::{at_rest, ended};
use crate::support::agent::Agent;
use crate::support::collector::{Collector, Seen};
use crate::support::{Cluster, eventually, region, shop};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn traces(endpoint: &str) -> TracesConfig {
    TracesConfig {
        endpoint: endpoint.to_owned(),
        authority: None,
        service_name: None,
        sample_one_in: 1,
    }
}

async fn traced(endpoint: &str) -> (Cluster, ApiClient, Arc<Agent>, Arc<Agent>) {
    let traces = traces(endpoint);
    at_rest(Cluster::start_with(move |config| config.traces = Some(traces.clone())).await).await
}

/// Calls a node as any HTTP client does.
async fn call(
    cluster: &Cluster,
    node: &str,
    (method, path): (&str, &str),
    header: Option<&str>,
    body: Option<&SwitchoverRequest>,
) -> (u16, String) {
    let mut request = cluster.http(node, method, path);
    if let Some(header) = header {
        request = request.header("traceparent", header);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Asks a node for the move to hel, with a `traceparent`.
async fn ask(cluster: &Cluster, node: &str, header: &str) -> Operation {
    let (to, reason) = (region("hel"), "test".to_owned());
    let body = SwitchoverRequest { to, method: None, dry_run: false, reason };
    let path = format!("{API}/pairs/{}/switchover", shop());
    let (_, text) = call(cluster, node, ("POST", &path), Some(header), Some(&body)).await;
    match serde_json::from_str(&text) {
        Ok(Started::Operation(operation)) => operation,
        other => panic!("{other:?}: {text}"),
    }
}

fn parent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// The spans of the trace once the whole operation is among them.
async fn told(collector: &Collector) -> Vec<Seen> {
    eventually("the operation is told", || async {
        let spans = collector.trace(TRACE);
        spans.iter().any(|span| span.name == "switchover").then_some(spans)
    })
    .await
}

/// The same once every node has told of what its spans lie below. Each sends its own in its own time.
async fn told_by_all(collector: &Collector) -> Vec<Seen> {
    told(collector).await;
    eventually("every node has told of the trace", || async {
        let spans = collector.trace(TRACE);
        let known = |parent: &String| parent == SPAN || spans.iter().any(|one| one.span == *parent);
        spans.iter().all(|span| span.parent.iter().all(known)).then_some(spans)
    })
    .await
}

fn named<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}: {spans:#?}"))
}

fn follower(cluster: &Cluster, leader: &str) -> String {
    cluster.peers.iter().find(|peer| peer.name != leader).unwrap().name.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_is_one_trace_from_the_request_to_its_steps() {
    let collector = Collector::start().await;
    let (cluster, client, fsn, _hel) = traced(&collector.endpoint).await;
    let leader = cluster.leader().await;
    let follower = follower(&cluster, &leader);
    let operation = ask(&cluster, &follower, &parent()).await;
    let done = ended(&client, &operation.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    let spans = told_by_all(&collector).await;
    let by_id: BTreeMap<&str, &Seen> =
        spans.iter().map(|span| (span.span.as_str(), span)).collect();

    let whole = named(&spans, "switchover");
    assert_eq!(whole.attribute("continuum.operation"), operation.id.as_str());
    assert_eq!((whole.attribute("continuum.epoch"), &whole.error), ("1", &None));
    let answered = by_id[whole.parent.as_deref().unwrap()];
    assert_eq!(answered.attribute("continuum.node"), leader);
    assert_eq!(answered.attribute("continuum.forwarded"), "true");
    assert_eq!(answered.attribute("continuum.principal.tier"), "owner");
    let asked = by_id[answered.parent.as_deref().unwrap()];
    assert_eq!(asked.attribute("continuum.node"), follower);
    assert_eq!(asked.attribute("continuum.forwarded"), "false");
    assert_eq!(asked.attribute("http.route"), format!("{API}/pairs/{{pair}}/switchover"));
    assert_eq!(asked.attribute("http.response.status_code"), "202");
    assert_eq!(asked.parent.as_deref(), Some(SPAN));

    for step in ["preflight", "stop-writes", "prove-catch-up", "hand-over", "commit", "promote"] {
        let span = named(&spans, step);
        assert_eq!(span.parent.as_deref(), Some(whole.span.as_str()), "{step}");
        assert!(span.times.0 <= span.times.1, "{span:?}");
    }
    let asked = fsn.directives();
    let order = asked.iter().rfind(|one| matches!(one.order, Order::SwitchOver { .. })).unwrap();
    let below = order.trace.expect("the directive says where it belongs");
    let step = by_id[below.span.to_string().as_str()];
    assert_eq!((step.name.as_str(), below.trace.to_string().as_str()), ("stop-writes", TRACE));
    assert_eq!(step.attribute("continuum.region"), "fsn");
    let text = format!("{spans:?}");
    assert!(!text.contains("alice"), "a person is named: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_tells_the_same_spans() {
    let collector = Collector::start().await;
    let (cluster, _client, fsn, _hel) = traced(&collector.endpoint).await;
    let leader = cluster.leader().await;
    fsn.hold(Some(2));
    let operation = ask(&cluster, &leader, &parent()).await;
    eventually("the old leader told of a step", || async {
        collector.trace(TRACE).iter().any(|span| span.name == "stop-writes").then_some(())
    })
    .await;
    cluster.kill(&leader).await;
    fsn.hold(None);
    let names: Vec<&str> = cluster.peers.iter().map(|peer| peer.name.as_str()).collect();
    let left: Vec<&str> = names.into_iter().filter(|name| *name != leader).collect();
    let done = ended(&cluster.client_of(&left, &cluster.operator), &operation.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    // Looks whether any was sent in two versions.
    let spans = told(&collector).await;
    let again = collector.sent().iter().filter(|(_, seen)| seen.name == "stop-writes").count();
    assert!(again > 1, "the new leader told nothing again, so that nothing was compared");
    for step in ["stop-writes", "prove-catch-up", "hand-over", "commit", "promote"] {
        named(&spans, step);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_the_move_ends_and_spans_are_counted_as_dropped() {
    // Bound and let go of: nobody answers there.
    let nobody = Collector::start().await.endpoint.clone();
    let (cluster, client, _fsn, _hel) = traced(&nobody).await;
    let leader = cluster.leader().await;
    let operation = ask(&cluster, &leader, &parent()).await;
    let done = ended(&client, &operation.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    let took = Duration::from_millis((done.ended_ms.unwrap() - done.created_ms).unsigned_abs());
    assert!(took < Duration::from_secs(20), "something waited for the collector: {took:?}");
    eventually("dropped spans are counted", || async {
        let (_, text) = call(&cluster, &leader, ("GET", "/metrics"), None, None).await;
        let line =
            text.lines().find(|line| line.starts_with("continuum_trace_spans_dropped_total"));
        let count: f64 = line?.rsplit(' ').next()?.parse().ok()?;
        (count > 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_the_caller_does_not_keep_is_not_told() {
    let collector = Collector::start().await;
    let (cluster, client, fsn, _hel) = traced(&collector.endpoint).await;
    let leader = cluster.leader().await;
    let unkept = format!("00-{TRACE}-{SPAN}-00");
    let operation = ask(&cluster, &leader, &unkept).await;
    assert_eq!(ended(&client, &operation.id).await.state, OperationState::Done);
    assert!(fsn.directives().iter().any(|one| one.trace.is_some_and(|trace| !trace.sampled)));
    // A later request of a kept trace is sent after it.
    let kept = format!("00-{}-{SPAN}-01", TRACE.replace('0', "1"));
    call(&cluster, &leader, ("GET", &format!("{API}/pairs/nowhere")), Some(&kept), None).await;
    let refused = eventually("the later request", || async {
        collector.trace(&TRACE.replace('0', "1")).into_iter().next()
    })
    .await;
    assert_eq!(refused.attribute("error.type"), "pair-not-found");
    assert_eq!(refused.error, None, "a caller's mistake is no error of the server");
    assert_eq!(collector.trace(TRACE), []);
}

/// TLS before a collector, as a gateway of the collector's operator does it; its own certificate.
async fn behind_tls(collector: &Collector) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let plain = collector.endpoint.trim_start_matches("http://").to_owned();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    seed::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            seed::spawn(async move {
                // Who does not trust the certificate goes away again.
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let mut inside = TcpStream::connect(plain).await.unwrap();
                let _closed = tokio::io::copy_bidirectional(&mut tls, &mut inside).await;
            });
        }
    });
    (endpoint, made.cert.pem())
}

/// A request of a kept trace, told or not.
async fn looked_at(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let path = format!("{API}/pairs/nowhere");
    call(cluster, &leader, ("GET", &path), Some(&parent()), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_is_told_by_who_trusts_its_authority() {
    let collector = Collector::start().await;
    let (endpoint, certificate) = behind_tls(&collector).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("collector.pem");
    std::fs::write(&file, certificate).unwrap();
    let trusting = TracesConfig { authority: Some(file.clone()), ..traces(&endpoint) };
    let cluster = Cluster::start_with(move |config| config.traces = Some(trusting.clone())).await;
    looked_at(&cluster).await;
    eventually("the request is told over TLS", || async {
        (!collector.trace(TRACE).is_empty()).then_some(())
    })
    .await;

    // Another authority's word for the same name is none.
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&file, other.cert.pem()).unwrap();
    let quiet = Collector::start().await;
    let (endpoint, _) = behind_tls(&quiet).await;
    let doubting = TracesConfig { authority: Some(file), ..traces(&endpoint) };
    let cluster = Cluster::start_with(move |config| config.traces = Some(doubting.clone())).await;
    looked_at(&cluster).await;
    let leader = cluster.leader().await;
    eventually("what was not taken is counted", || async {
        let (_, text) = call(&cluster, &leader, ("GET", "/metrics"), None, None).await;
        let dropped = "continuum_trace_spans_dropped_total";
        let line = text.lines().find(|line| line.starts_with(dropped))?;
        (line.rsplit(' ').next()?.parse::<f64>().ok()? > 0.0).then_some(())
    })
    .await;
    assert_eq!(quiet.sent(), [], "told to who could not show whom it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_is_part_of_the_trace_of_its_failover() {
    let collector = Collector::start().await;
    let (cluster, client, _fsn, hel) = traced(&collector.endpoint).await;
    let pause = PauseRequest { pair: Some(shop()), reason: "work".into(), for_ms: 600_000 };
    client.pause(&pause).await.unwrap();
    eventually("the agent told of the pause", || async { hel.automation_paused().then_some(()) })
        .await;
    assert!(matches!(hel.ask(1).await, GrantAnswer::Denied { .. }));
    let grants = |decision: &'static str| {
        let all = collector.sent().into_iter().map(|(_, span)| span);
        all.filter(move |span| {
            span.name == "grant" && span.attribute("continuum.decision") == decision
        })
        .collect::<Vec<Seen>>()
    };
    let denied = eventually("the denial is told", || async { grants("denied").pop() }).await;
    assert_eq!((denied.parent, denied.error.as_deref()), (None, Some("failover-denied")));
    client.resume(&PauseQuery { pair: Some(shop()) }, "done").await.unwrap();

    let GrantAnswer::Granted { operation, trace, .. } = hel.ask(1).await else { panic!("denied") };
    let below = trace.expect("the grant says where it belongs");
    let GrantAnswer::Granted { trace: again, .. } = hel.ask(1).await else { panic!("denied") };
    assert_eq!(again, Some(below), "asked again, it is the same grant");
    hel.take_over("expired", false).await;
    let done = ended(&client, &operation).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    let spans = eventually("the failover is told", || async {
        let spans = collector.trace(&below.trace.to_string());
        spans.iter().any(|span| span.name == "failover").then_some(spans)
    })
    .await;
    let (grant, whole) = (named(&spans, "grant"), named(&spans, "failover"));
    assert_eq!(grant.span, below.span.to_string());
    assert_eq!(grant.parent.as_deref(), Some(whole.span.as_str()));
    assert_eq!((grant.attribute("continuum.region"), &grant.error), ("hel", &None));
    assert_eq!(named(&spans, "commit").parent, grant.parent);
    assert_eq!(grants("granted").len(), 1, "told once");
    drop(cluster);
}
