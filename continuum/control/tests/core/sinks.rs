//! Audit records on their way out, to receivers that fail in every way they can.

use std::sync::atomic::Ordering;

use continuum_control::archive::file;
use continuum_control::config::CoreConfig;
use continuum_control::outbox::SinkConfig;
use continuum_control_api::client::ClientError;
use continuum_control_api::rest::{
    AuditQuery, AuditRecord, ExportQuery, PauseRequest, VerifyQuery,
};
use continuum_control_api::sinks::{SinkStanding, SinkView};
use serde_json::{Value, json};

use crate::support::agent::Agent;
use crate::support::receivers::{LossyLine, Manner, NatsServer, Published, Receiver};
use crate::support::{Cluster, eventually, shop};

const SUBJECT: &str = "catalyst.audit";
const STREAM: &str = "CONTINUUM_AUDIT";

fn sinks(all: Value) -> impl Fn(&mut CoreConfig) + Send + Sync + 'static {
    // What the binary does before anything else.
    drop(rustls::crypto::ring::default_provider().install_default());
    let all: Vec<SinkConfig> = serde_json::from_value(all).unwrap();
    move |config| config.sinks.clone_from(&all)
}

async fn pause(cluster: &Cluster, reason: &str) {
    let client = cluster.client();
    let body = PauseRequest { pair: Some(shop()), reason: reason.into(), for_ms: 3_600_000 };
    eventually("the pause", || async {
        match client.pause(&body).await {
            Ok(pause) => Some(pause),
            Err(ClientError::Problem { problem, .. }) if problem.retryable => None,
            Err(ClientError::Unreachable { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}

async fn pauses(cluster: &Cluster, count: usize) {
    for number in 0..count {
        pause(cluster, &format!("reason {number}")).await;
    }
}

async fn records(cluster: &Cluster) -> Vec<AuditRecord> {
    let query = AuditQuery { pair: None, after: Some(0), limit: Some(1_000) };
    let client = cluster.client();
    eventually("the records", || async { client.audit(&query).await.ok() }).await
}

async fn sink(
    cluster: &Cluster,
    name: &str,
    what: &str,
    is: impl Fn(&SinkView) -> bool,
) -> SinkView {
    let client = cluster.client();
    eventually(what, || async {
        let all = client.sinks().await.ok()?;
        all.into_iter().find(|sink| sink.name == name).filter(&is)
    })
    .await
}

/// Once the sink has everything there is, and that is written down.
async fn caught_up(cluster: &Cluster, name: &str) -> SinkView {
    sink(cluster, name, "the sink has everything", |sink| sink.lag_records == Some(0)).await
}

fn expected(records: &[AuditRecord]) -> Vec<Published> {
    let one = |record: &AuditRecord| Published {
        id: format!("{}-{}", record.index, &record.hash[..16]),
        index: record.index,
    };
    records.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_every_record_once_and_in_order_through_every_loss() {
    let mut nats = NatsServer::start().await;
    let url = nats.url();
    let mirror = json!([{ "name": "mirror", "kind": "nats", "url": url, "create_stream": true }]);
    let cluster = Cluster::start_with(sinks(mirror)).await;
    cluster.apply_spec().await;
    pauses(&cluster, 10).await;
    // The leader is killed while it sends.
    let leader = cluster.leader().await;
    pauses(&cluster, 5).await;
    cluster.kill(&leader).await;
    pauses(&cluster, 10).await;
    caught_up(&cluster, "mirror").await;
    cluster.restart(&leader).await;

    nats.stop().await;
    pauses(&cluster, 25).await;
    let waiting = sink(&cluster, "mirror", "records wait", |sink| {
        sink.standing == SinkStanding::Retrying && sink.lag_records >= Some(25)
    })
    .await;
    assert!(waiting.retrying_ms.is_some() && waiting.lag_ms.is_some(), "{waiting:?}");
    assert!(waiting.last_error.is_some(), "{waiting:?}");
    // The next leader goes on where this one was, also while nothing can be sent.
    let leader = cluster.leader().await;
    cluster.kill(&leader).await;
    pauses(&cluster, 5).await;
    nats.resume().await;
    caught_up(&cluster, "mirror").await;
    pauses(&cluster, 3).await;
    let view = caught_up(&cluster, "mirror").await;
    assert_eq!((view.dead_letters, view.lost), (0, 0), "{view:?}");

    let records = records(&cluster).await;
    assert!(records.len() >= 58, "{}", records.len());
    assert_eq!(nats.read(STREAM).await, expected(&records));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_because_an_answer_was_lost_is_taken_once() {
    let nats = NatsServer::start().await;
    nats.create("ours", SUBJECT).await;
    let line = LossyLine::to(nats.port, 4).await;
    let url = format!("nats://127.0.0.1:{}", line.port);
    let mirror = json!([{ "name": "mirror", "kind": "nats", "url": url }]);
    let cluster = Cluster::start_with(sinks(mirror)).await;
    cluster.apply_spec().await;
    pauses(&cluster, 12).await;
    caught_up(&cluster, "mirror").await;
    let records = records(&cluster).await;
    assert_eq!(nats.read("ours").await, expected(&records));
    // Without the id the stream would have those twice.
    let (sent, again) =
        (line.acknowledged.load(Ordering::SeqCst), line.repeated.load(Ordering::SeqCst));
    assert!(again >= 2, "of {sent} acknowledgements {again} were for repetitions");
    assert_eq!(sent - again, records.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_misbehaves_gets_everything_but_what_it_refuses() {
    use Manner::{Answer, Cut};
    let hook = Receiver::http(&[
        Answer(500, None),
        Cut,
        Answer(200, None),
        Answer(429, Some(1)),
        Answer(200, None),
        Answer(400, None),
    ])
    .await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a secret of the test\n").unwrap();
    let all = json!([{ "name": "hook", "kind": "webhook", "url": hook.url(), "secret_file": secret.path() }]);
    let cluster = Cluster::start_with(sinks(all)).await;
    cluster.apply_spec().await;
    pauses(&cluster, 6).await;
    caught_up(&cluster, "hook").await;
    let view = sink(&cluster, "hook", "it is written down", |sink| sink.dead_letters == 1).await;
    assert_eq!((view.standing, view.lost), (SinkStanding::Delivering, 0), "{view:?}");

    let indexes = |all: &[crate::support::receivers::Received]| -> Vec<u64> {
        all.iter().map(|one| one.json()["data"]["index"].as_u64().unwrap()).collect()
    };
    let records = records(&cluster).await;
    let wanted: Vec<u64> =
        records.iter().map(|record| record.index).filter(|index| *index != 3).collect();
    assert_eq!(indexes(&hook.taken()), wanted);
    assert_eq!(indexes(&hook.received())[..6], [1, 1, 1, 2, 2, 3]);
    let one = hook.received().remove(0);
    assert!(one.head.contains("continuum-signature: t="), "{}", one.head);
    assert!(one.head.contains("application/cloudevents+json"), "{}", one.head);
    assert_eq!(one.json()["specversion"], "1.0");

    let client = cluster.client();
    let letters = client.dead_letters("hook").await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].index, &letters[0].why[..8]), (3, "HTTP 400"), "{letters:?}");
    let retried = client.retry_dead_letters("hook").await.unwrap();
    assert_eq!((retried.taken, retried.refused, retried.left), (1, 0, 0));
    assert!(client.dead_letters("hook").await.unwrap().is_empty());
    assert!(indexes(&hook.taken()).contains(&3));

    let tested = client.test_sink("hook").await.unwrap();
    assert!(tested.taken, "{tested:?}");
    let is_test =
        |one: &crate::support::receivers::Received| one.json()["id"] == tested.id.as_str();
    assert!(hook.taken().iter().any(is_test));
    hook.then(&[Answer(503, None); 40]);
    let tested = client.test_sink("hook").await.unwrap();
    assert!(!tested.taken && tested.said.unwrap().starts_with("HTTP 503"));
    let Err(ClientError::Problem { problem, .. }) = client.test_sink("other").await else {
        panic!("there is no such sink")
    };
    assert_eq!(problem.code, "sink-not-found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_hangs_holds_up_neither_operations_nor_other_sinks() {
    let hanging = Receiver::http(&[Manner::Hang; 50]).await;
    let well = Receiver::http(&[]).await;
    let all = json!([
        { "name": "hanging", "kind": "webhook", "url": hanging.url() },
        { "name": "well", "kind": "webhook", "url": well.url() },
    ]);
    let cluster = Cluster::start_with(sinks(all)).await;
    cluster.apply_spec().await;
    eventually("the first attempt hangs", || async {
        (!hanging.received().is_empty()).then_some(())
    })
    .await;
    // One after the other, while the attempt hangs: an attempt ends after 10 s, so that what waited for it
    // would see the next one begin.
    let before = hanging.received().len();
    pauses(&cluster, 20).await;
    caught_up(&cluster, "well").await;
    assert!(hanging.received().len() <= before + 1, "operations waited for attempts");
    let records = records(&cluster).await;
    assert!(records.len() > 20);
    assert_eq!(well.taken().len(), records.len());
    let view = sink(&cluster, "hanging", "the hanging one", |_| true).await;
    assert_eq!(view.lag_records, Some(records.len() as u64), "{view:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_what_concerns_them_and_nothing_else() {
    let slack = Receiver::http(&[]).await;
    let pager = Receiver::http(&[]).await;
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "routing-key").unwrap();
    let all = json!([
        { "name": "slack", "kind": "slack", "url": slack.url(), "start": "oldest", "actions": ["automation.*"] },
        { "name": "pager", "kind": "pagerduty", "url": pager.url(), "secret_file": key.path(), "start": "oldest" },
    ]);
    let cluster = Cluster::start_with(sinks(all)).await;
    cluster.apply_spec().await;
    pause(&cluster, "<!channel> & all").await;
    caught_up(&cluster, "slack").await;
    caught_up(&cluster, "pager").await;
    let told = slack.taken();
    assert_eq!(told.len(), 1, "{told:?}");
    let text = told[0].json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("&lt;!channel&gt; &amp; all"), "{text}");
    assert!(pager.received().is_empty(), "a pause calls nobody");
    assert!(cluster.client().test_sink("pager").await.unwrap().taken);
    let call = pager.received().remove(0).json();
    assert_eq!(
        (&call["event_action"], &call["routing_key"]),
        (&"trigger".into(), &"routing-key".into())
    );
    assert!(call["dedup_key"].as_str().unwrap().starts_with("continuum/test-"), "{call}");
    assert_eq!(call["payload"]["severity"], "warning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_sent_again_or_given_up_and_a_record_never_becomes_a_header() {
    use Manner::{Answer, Cut};
    let server = Receiver::mail(&[
        Answer(451, None),
        Cut,
        Answer(200, None),
        Answer(554, None),
        Answer(200, None),
    ])
    .await;
    let all = json!([{
        "name": "mail", "kind": "smtp", "url": format!("127.0.0.1:{}", server.port), "tls": "none",
        "from": "Continuum <continuum@example.org>", "to": ["dba@example.org"], "start": "oldest",
        "actions": ["automation.pause"],
    }]);
    let cluster = Cluster::start_with(sinks(all)).await;
    cluster.apply_spec().await;
    pause(&cluster, "first\r\nBcc: thief@example.org\r\n\r\nbody").await;
    pauses(&cluster, 2).await;
    caught_up(&cluster, "mail").await;
    sink(&cluster, "mail", "one is given up", |sink| sink.dead_letters == 1).await;
    let received = server.received();
    assert_eq!(received.len(), 5, "{received:?}");
    assert_eq!(server.taken().len(), 2);
    for mail in &received {
        let names: Vec<_> = mail
            .head
            .lines()
            .filter(|line| !line.starts_with([' ', '\t']))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_lowercase())
            .collect();
        assert!(!names.contains(&"bcc".into()), "{}", mail.head);
        assert!(mail.head.contains("dba@example.org"));
    }
    assert!(received[0].head.contains("@continuum.invalid"), "{}", received[0].head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-long"]
async fn what_has_left_memory_comes_from_the_archive() {
    const MORE_THAN_MEMORY: usize = 51_000;
    const AT_ONCE: usize = 64;
    let hook = Receiver::http(&[Manner::Answer(503, Some(3_600))]).await;
    let all = json!([{ "name": "hook", "kind": "webhook", "url": hook.url(), "actions": ["pair.apply"] }]);
    let cluster = Cluster::start_with(sinks(all)).await;
    cluster.apply_spec().await;
    sink(&cluster, "hook", "it waits", |sink| sink.standing == SinkStanding::Retrying).await;
    let agent = Agent::start(&cluster, "fsn");
    for _ in 0..MORE_THAN_MEMORY.div_ceil(AT_ONCE) {
        (0..AT_ONCE).for_each(|_| agent.notes_of_the_future());
        eventually("the journal is taken", || async { agent.all_acknowledged().then_some(()) })
            .await;
    }
    let Err(ClientError::Problem { problem, .. }) =
        cluster.client().audit(&AuditQuery { after: Some(0), ..AuditQuery::default() }).await
    else {
        panic!("the first record is still in memory")
    };
    assert_eq!(problem.code, "records-dropped");
    // A new leader does not wait for the hour that the sink asked for.
    let leader = cluster.leader().await;
    cluster.kill(&leader).await;
    let view = caught_up(&cluster, "hook").await;
    assert_eq!(view.lost, 0, "{view:?}");
    let taken = hook.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].json()["data"]["index"], 1);

    // Exports and verification reach as far back.
    let node = cluster.leader().await;
    let client = cluster.client_of(&[&node], &cluster.operator);
    let mut text = Vec::new();
    let taking = |piece: &[u8]| {
        text.extend_from_slice(piece);
        Ok(())
    };
    client.export_audit(&ExportQuery::default(), taking).await.unwrap();
    let found = file::verify(&text[..]).unwrap();
    assert!(found.verdict.intact, "{:?}", found.verdict);
    assert_eq!((found.verdict.first, found.missing), (Some(1), 0));
    assert!(found.verdict.records >= MORE_THAN_MEMORY as u64);
    let verdict = client.verify_audit(&VerifyQuery::default()).await.unwrap();
    assert!(verdict.intact, "{verdict:?}");
    assert!(verdict.first > Some(1), "{verdict:?}");
    assert_eq!(verdict.archive.unwrap().first, Some(1));
}
