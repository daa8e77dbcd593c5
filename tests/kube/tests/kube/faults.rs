//! What a test can make the server do, and what it can read from it.

use std::sync::Arc;
use std::time::Duration;

use continuum_test_kube::server::exec::{Command, Streams};
use continuum_test_kube::{ApiServer, Effect, Options, Side};
use futures_util::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::subject::{DEFINITIONS, MERGE, Subject, map, names, version};
use crate::suite::published;

async fn server(options: Options) -> (ApiServer, Subject) {
    let server = ApiServer::start(options).await.unwrap();
    let subject = Subject::new(server.client().unwrap(), "faults").await;
    (server, subject)
}

/// A write that gets no answer at all.
async fn unanswered(s: &Subject, name: &str) {
    // The helper takes an error that is no refusal for a failed test, which it mostly is.
    let maps = s.core("configmaps");
    let asked = std::panic::AssertUnwindSafe(s.post(&maps, map(name, json!({}))));
    assert!(asked.catch_unwind().await.is_err(), "{name} was answered");
}

#[tokio::test]
async fn a_throttled_client_hears_when_to_come_back() {
    let (server, s) = server(Options::default()).await;
    let maps = s.core("configmaps");
    server.control().disturb(Effect::RetryAfter(7), Some(2), |call| call.verb == "create");
    for _ in 0..2 {
        let refused = s.post(&maps, map("one", json!({}))).await.unwrap_err();
        refused.is(429, "TooManyRequests");
        assert_eq!(refused.details["retryAfterSeconds"], 7);
        assert_eq!(server.peek("configmaps", &s.namespace, "one"), None);
    }
    s.post(&maps, map("one", json!({}))).await.unwrap();
    server.control().disturb(Effect::Answer(503), Some(1), |_| true);
    s.get(&maps).await.unwrap_err().is(503, "ServiceUnavailable");
    server.control().disturb(Effect::Answer(500), None, |call| call.name == "one");
    s.get(&format!("{maps}/one")).await.unwrap_err().is(500, "InternalError");
    s.get(&format!("{maps}/one")).await.unwrap_err().is(500, "InternalError");
    server.control().relent_all();
    s.get(&format!("{maps}/one")).await.unwrap();
}

#[tokio::test]
async fn what_a_user_may_not_do_is_forbidden() {
    let (server, s) = server(Options::default()).await;
    let rule = server.control().forbid(|call| call.verb == "list" && call.resource == "secrets");
    let refused = s.get(&s.core("secrets")).await.unwrap_err();
    refused.is(403, "Forbidden");
    assert_eq!(
        refused.message,
        "secrets is forbidden: User \"admin\" cannot list resource \"secrets\" in API group \"\" \
         in the namespace \"faults\""
    );
    s.get(&s.core("configmaps")).await.unwrap();
    server.control().relent(rule);
    s.get(&s.core("secrets")).await.unwrap();
    // By who asks.
    server.control().forbid(|call| call.user == "agent");
    let client = kube::Client::try_from(server.config("agent")).unwrap();
    let other =
        Subject { client, namespace: s.namespace.clone(), skipped: Default::default(), ..s };
    other.get(&other.core("secrets")).await.unwrap_err().is(403, "Forbidden");
}

#[tokio::test]
async fn a_reply_is_lost_before_or_after_the_change() {
    let (server, s) = server(Options::default()).await;
    let creates = |call: &continuum_test_kube::Call| call.verb == "create";
    let kept = |name: &str| server.peek("configmaps", &s.namespace, name).is_some();
    server.control().disturb(Effect::Drop, Some(1), creates);
    unanswered(&s, "dropped").await;
    assert!(!kept("dropped"));
    server.control().disturb(Effect::LoseReply, Some(1), creates);
    unanswered(&s, "lost").await;
    assert!(kept("lost"));
    server.control().disturb(Effect::AnswerAfter(504), Some(1), creates);
    let refused = s.post(&s.core("configmaps"), map("late", json!({}))).await.unwrap_err();
    refused.is(504, "Timeout");
    assert!(kept("late"));
}

#[tokio::test]
async fn a_user_is_cut_off_on_either_side_of_a_request() {
    let (server, s) = server(Options::default()).await;
    let creates = |call: &continuum_test_kube::Call| call.verb == "create";
    let kept = |name: &str| server.peek("configmaps", &s.namespace, name).is_some();
    for (side, made) in [(Side::Before, false), (Side::After, true)] {
        let (first, last, after) = (format!("{made}1"), format!("{made}2"), format!("{made}3"));
        let mut cut = server.control().cut("admin", (2, side), creates);
        s.post(&s.core("configmaps"), map(&first, json!({}))).await.unwrap();
        s.get(&s.core("configmaps")).await.unwrap();
        assert!(!cut.is_reached());
        unanswered(&s, &last).await;
        cut.reached().await;
        unanswered(&s, &after).await;
        assert_eq!((kept(&last), kept(&after)), (made, false));
        let client = kube::Client::try_from(server.config("another")).unwrap();
        let pods: Api<Pod> = Api::namespaced(client, &s.namespace);
        pods.list(&Default::default()).await.unwrap();
        server.control().mend(&cut);
        s.get(&s.core("configmaps")).await.unwrap();
    }
}

#[tokio::test]
async fn a_delayed_request_is_overtaken() {
    let (server, s) = server(Options::default()).await;
    let wait = Effect::Delay(Duration::from_millis(300));
    server.control().disturb(wait, Some(1), |call| call.name == "slow" || call.verb == "list");
    let maps = s.core("configmaps");
    let order = std::sync::Mutex::new(Vec::new());
    let slow = async {
        s.get(&maps).await.unwrap();
        order.lock().unwrap().push("slow");
    };
    let quick = async {
        s.post(&maps, map("one", json!({}))).await.unwrap();
        order.lock().unwrap().push("quick");
    };
    tokio::join!(slow, quick);
    assert_eq!(*order.lock().unwrap(), ["quick", "slow"]);
}

#[tokio::test]
async fn an_answer_is_kept_back_until_it_is_released_or_nobody_holds_it() {
    let (server, s) = server(Options::default()).await;
    let maps = s.core("configmaps");
    for released in [true, false] {
        let mut held = server.control().hold(|call| call.verb == "create");
        let name = format!("held-{released}");
        let mut answer = std::pin::pin!(s.post(&maps, map(&name, json!({}))));
        tokio::select! {
            biased;
            _ = &mut answer => panic!("its answer was not kept back"),
            () = held.carried_out() => {}
        }
        assert!(server.peek("configmaps", &s.namespace, &name).is_some());
        // Only one is held.
        s.post(&maps, map(&format!("next-{released}"), json!({}))).await.unwrap();
        if released {
            held.release()
        } else {
            drop(held)
        }
        answer.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_was_down_comes_back_as_it_was() {
    let (mut server, s) = server(Options::default()).await;
    let maps = s.core("configmaps");
    let made = s.post(&maps, map("one", json!({}))).await.unwrap();
    let path = format!("{maps}?watch=1&resourceVersion={}", version(&made));
    let mut before = s.watch(&path).await;
    server.down().await;
    unanswered(&s, "two").await;
    use futures_util::StreamExt as _;
    // The watch ends, by an error or without one.
    let ended = before.stream().next().await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
    server.up().await.unwrap();
    assert_eq!(s.get(&format!("{maps}/one")).await.unwrap(), made);
    let mut after = s.watch(&path).await;
    s.post(&maps, map("two", json!({}))).await.unwrap();
    assert_eq!(after.named().await, ("ADDED", "two".to_owned()));
}

#[tokio::test]
async fn bookmarks_tell_how_far_a_watch_is() {
    let (_server, s) = server(Options { bookmarks_ms: 20, ..Options::default() }).await;
    let maps = s.core("configmaps");
    s.post(&maps, map("one", json!({}))).await.unwrap();
    let path = format!("{maps}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true");
    let mut events = s.watch(&path).await;
    assert_eq!(events.named().await, ("ADDED", "one".to_owned()));
    let (kind, object) = events.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // Something that the watch is not about moves the version on.
    let secret = json!({ "metadata": { "name": "x" } });
    let secret = s.post(&s.core("secrets"), secret).await.unwrap();
    loop {
        let (kind, object) = events.next().await.unwrap();
        assert_eq!(kind, "BOOKMARK");
        if version(&object) == version(&secret) {
            break;
        }
    }
}

#[tokio::test]
async fn what_is_forgotten_is_gone() {
    let (server, s) = server(Options { window: 4, ..Options::default() }).await;
    let maps = s.core("configmaps");
    let first = s.post(&maps, map("first", json!({}))).await.unwrap();
    for at in 0..3 {
        s.post(&maps, map(&format!("more-{at}"), json!({}))).await.unwrap();
    }
    // Four changes are remembered: from the version before the first of them on, a watch is told.
    let path = |at: &Value| format!("{maps}?watch=1&resourceVersion={}", version(at));
    assert_eq!(s.watch(&path(&first)).await.named().await, ("ADDED", "more-0".to_owned()));
    let page = s.get(&format!("{maps}?limit=1")).await.unwrap();
    server.compact();
    let (kind, object) = s.watch(&path(&first)).await.next().await.unwrap();
    assert_eq!((kind, &object["code"]), ("ERROR", &json!(410)));
    let token = page["metadata"]["continue"].as_str().unwrap();
    s.post(&maps, map("last", json!({}))).await.unwrap();
    server.compact();
    let rest = s.get(&format!("{maps}?limit=1&continue={token}")).await.unwrap_err();
    rest.is(410, "Expired");
}

#[tokio::test]
async fn rules_that_cannot_be_asked_are_refused_or_told() {
    let odd = json!({
        "type": "object", "properties": { "a": { "type": "string" } },
        "x-kubernetes-validations": [{ "rule": "quantity(self.a).isGreaterThan(quantity('1'))" }],
    });
    let (_server, s) = server(Options::default()).await;
    let refused = s.post(DEFINITIONS, s.definition(odd.clone())).await.unwrap_err();
    refused.is(422, "Invalid");
    assert!(refused.message.contains("no function"), "{refused:?}");
    let broken = json!({ "type": "object", "x-kubernetes-validations": [{ "rule": "self. ==" }] });
    s.post(DEFINITIONS, s.definition(broken)).await.unwrap_err().is(422, "Invalid");

    let (server, s) =
        self::server(Options { ignore_unknown_rules: true, ..Options::default() }).await;
    s.define(odd).await;
    let told = server.unknown_rules();
    assert_eq!((told.len(), told[0].path.as_str()), (1, "spec"));
}

fn pod() -> Value {
    json!({ "metadata": { "name": "db-1" }, "spec": { "containers": [{ "name": "postgres" }] } })
}

/// Repeats its arguments and what it hears, and fails with 3.
async fn echo(command: Command, mut streams: Streams) -> i32 {
    let line = format!("{}/{}: {}\n", command.namespace, command.pod, command.line.join(" "));
    streams.stderr.send(line.into_bytes()).await.unwrap();
    while let Some(bytes) = streams.stdin.recv().await {
        streams.stdout.send(bytes.to_ascii_uppercase()).await.unwrap();
        // The client's end of its input reaches the server only in the fifth protocol.
        if bytes.ends_with(b"\n") {
            break;
        }
    }
    3
}

#[tokio::test]
async fn a_command_runs_in_a_pod() {
    let (server, s) = server(Options::default()).await;
    s.post(&s.core("pods"), pod()).await.unwrap();
    server.on_exec(Arc::new(|command, streams| echo(command, streams).boxed()));
    let pods: Api<Pod> = Api::namespaced(s.client.clone(), &s.namespace);
    let how = AttachParams::default().stdin(true).stdout(true).stderr(true);
    let mut running = pods.exec("db-1", ["say", "a b"], &how).await.unwrap();
    let mut stdin = running.stdin().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    stdin.flush().await.unwrap();
    let status = running.take_status().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    running.stdout().unwrap().read_to_string(&mut out).await.unwrap();
    running.stderr().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("HELLO\n", "faults/db-1: say a b\n"));
    let status = status.await.unwrap();
    let status = serde_json::to_value(&status).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"], json!([{ "reason": "ExitCode", "message": "3" }]));
    drop(stdin);
    running.join().await.unwrap();
    assert!(pods.exec("none", ["say"], &how).await.is_err(), "there is no such pod");
}

#[tokio::test]
async fn requests_are_counted_by_who_asks_what() {
    let (server, s) = server(Options::default()).await;
    let maps = s.core("configmaps");
    server.control().forget_requests();
    s.post(&maps, map("one", json!({}))).await.unwrap();
    s.patch(MERGE, &format!("{maps}/one"), json!({ "data": { "a": "1" } })).await.unwrap();
    s.get(&format!("{maps}/none")).await.unwrap_err().is(404, "NotFound");
    assert_eq!(names(&s.get(&maps).await.unwrap()), ["one"]);
    let seen: Vec<_> = server
        .control()
        .requests()
        .into_iter()
        .map(|logged| (logged.call.verb, logged.call.name, logged.code))
        .collect();
    let due = [("create", "", 201), ("patch", "one", 200), ("get", "none", 404), ("list", "", 200)];
    assert_eq!(seen, due.map(|(verb, name, code)| (verb.into(), name.into(), code)));
    let rates = server.control().per_minute();
    assert!(rates.iter().all(|((_, resource, _), rate)| resource == "configmaps" && *rate > 0.0));
    assert_eq!(rates.len(), 4);
}

#[tokio::test]
async fn a_server_with_a_certificate_is_trusted_by_its_authority() {
    let (server, s) = server(Options { tls: true, ..Options::default() }).await;
    let maps = s.core("configmaps");
    let mut events = s.watch(&format!("{maps}?watch=1")).await;
    s.post(&maps, map("one", json!({}))).await.unwrap();
    assert_eq!(events.named().await, ("ADDED", "one".to_owned()));
    let mut stranger = server.config("admin");
    stranger.root_cert = ApiServer::start(Options { tls: true, ..Options::default() })
        .await
        .unwrap()
        .authority()
        .map(|other| vec![other]);
    let client = kube::Client::try_from(stranger).unwrap();
    assert!(client.apiserver_version().await.is_err());
}

#[tokio::test]
async fn every_rule_of_the_published_definitions_is_asked() {
    let Some(directory) = published::definitions() else { return };
    let (server, s) = server(Options { ignore_unknown_rules: true, ..Options::default() }).await;
    for entry in std::fs::read_dir(directory).unwrap() {
        s.post(DEFINITIONS, published::read(&entry.unwrap().path())).await.unwrap();
    }
    assert_eq!(server.unknown_rules(), []);
}
