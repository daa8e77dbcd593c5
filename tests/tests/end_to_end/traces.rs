//! A planned move as one trace, told by real processes; and what agents tell Prometheus meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use continuum_chaos::lab::Error;
use continuum_chaos::{Lab, LabOptions};
use continuum_control_api::rest::{API, Started};
use continuum_domain::operation::{Operation, OperationState};
use continuum_runtime::{Identity, Role};
use continuum_tests::*;

#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests of the core")]
#[path = "../../../continuum/control/tests/core/support/collector.rs"]
mod collector;

use collector::{Collector, Seen};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
/// How long spans may be on their way.
const TOLD_LIMIT: Duration = Duration::from_secs(30);

fn port(lab: &Lab, part: &str, purpose: &str) -> u16 {
    let parts = &lab.manifest().parts;
    let part = parts.iter().find(|one| one.name == part).expect("a part of the lab");
    part.ports[purpose]
}

/// Asks a control node for a move as any HTTP client does, with a `traceparent`.
async fn ask(lab: &Lab, node: &str, to: &str, flags: &str) -> Operation {
    let host = Identity::new(Role::Core, node).dns_name();
    let address = SocketAddr::from(([127, 0, 0, 1], port(lab, node, "api")));
    let tls = lab.operator().client_config(&[b"h2"]).expect("the lab's certificates");
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .resolve(&host, address)
        .build()
        .expect("a client");
    let pair = &lab.manifest().pair;
    let answer = client
        .post(format!("https://{host}:{}{API}/pairs/{pair}/switchover", address.port()))
        .header("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"))
        .json(&serde_json::json!({ "to": to, "method": "clean", "reason": "a traced move" }))
        .send()
        .await
        .expect("an answer");
    let text = answer.text().await.expect("a body");
    match serde_json::from_str(&text) {
        Ok(Started::Operation(operation)) => operation,
        other => panic!("{other:?}: {text}"),
    }
}

/// The value of the first sample of a metric with these labels, as an agent tells it.
pub(crate) async fn sample(lab: &Lab, agent: &str, start: &str) -> Option<f64> {
    let url = format!("http://127.0.0.1:{}/metrics", port(lab, agent, "health"));
    // The client wants a way to speak TLS, also where it speaks none.
    let tls = lab.operator().client_config(&[]).ok()?;
    let client =
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().ok()?;
    let text = client.get(url).send().await.ok()?.text().await.ok()?;
    let line = text.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn told(lab: &Lab, collector: &Collector) -> Result<Vec<Seen>, Error> {
    lab.until("the whole trace", TOLD_LIMIT, async || {
        let spans = collector.trace(TRACE);
        let has = |name: &str| spans.iter().any(|span| span.name == name);
        // Each process sends its own in its own time.
        let known = |parent: &String| parent == SPAN || spans.iter().any(|one| one.span == *parent);
        let whole = spans.iter().all(|span| span.parent.iter().all(known));
        match whole && has("switchover") && has("directive switch-over") && has("postgresql stop") {
            true => Ok(spans),
            false => Err(format!("{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>())),
        }
    })
    .await
}

/// The names of the spans from the caller's to this one.
fn way<'a>(by_id: &BTreeMap<&str, &'a Seen>, span: &'a Seen) -> Vec<&'a str> {
    let mut way = vec![span.name.as_str()];
    let mut parent = span.parent.as_deref();
    while let Some(one) = parent.filter(|parent| *parent != SPAN) {
        let span = by_id.get(one).unwrap_or_else(|| panic!("{way:?} hangs below nothing"));
        way.push(&span.name);
        parent = span.parent.as_deref();
    }
    assert_eq!(parent, Some(SPAN), "{way:?} does not begin with the caller");
    way.reverse();
    way
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_one_trace_down_to_what_is_done_to_postgresql() -> Outcome {
    let collector = Collector::start().await;
    let options = LabOptions { collector: Some(collector.endpoint.clone()), ..quick() };
    let mut lab = writing(options).await?;
    let leader = lab.wait_leader(TOLD_LIMIT).await?;
    let nodes = lab.core_names();
    let follower = nodes.iter().find(|name| **name != leader).expect("a node that does not lead");
    let at = lab.clock.now();
    let operation = ask(&lab, follower, "hel", "01").await;
    let ended = lab.wait_ended(&operation.id, OPERATION_LIMIT).await?;
    assert_eq!(ended.state, OperationState::Done, "{ended:#?}");
    let spans = told(&lab, &collector).await?;
    let by_id: BTreeMap<&str, &Seen> =
        spans.iter().map(|span| (span.span.as_str(), span)).collect();
    let ways: Vec<String> = spans.iter().map(|span| way(&by_id, span).join(" > ")).collect();
    println!("{}", ways.join("\n"));
    let request = format!("POST {API}/pairs/{{pair}}/switchover");
    let operation = format!("{request} > {request} > switchover");
    for step in ["preflight", "prove-catch-up", "hand-over", "commit", "promote", "rejoin"] {
        assert!(ways.contains(&format!("{operation} > {step}")), "{step} is missing in {ways:#?}");
    }
    let stopped = format!("{operation} > stop-writes > directive switch-over > postgresql stop");
    assert!(ways.contains(&stopped), "{ways:#?}");
    let directive = spans.iter().find(|span| span.name == "directive switch-over").expect("above");
    assert_eq!((directive.attribute("continuum.region"), &directive.error), ("fsn", &None));
    let services: Vec<String> = collector.sent().into_iter().map(|(service, _)| service).collect();
    assert!(services.iter().any(|service| service == "continuum-agent"), "{services:?}");
    agents_tell(&lab).await?;
    let step = moved(&lab, at, &fsn(), &hel())?;
    judge(&mut lab, "a traced move", &[step], None).await?;
    lab.stop().await
}

/// After a move to hel.
async fn agents_tell(lab: &Lab) -> Result<(), Error> {
    lab.wait_healthy(WHOLE_LIMIT).await?;
    let expected = [
        ("hel-agent", "continuum_agent_role{", 1.0),
        ("hel-agent", "continuum_agent_session_valid{", 1.0),
        ("hel-agent", "continuum_agent_core_link_up{", 1.0),
        ("hel-agent", "continuum_agent_postgresql_in_recovery{", 0.0),
        ("hel-agent", "continuum_agent_standby_streaming{", 1.0),
        ("hel-agent", "continuum_trace_spans_dropped_total", 0.0),
        ("fsn-agent", "continuum_agent_postgresql_in_recovery{", 1.0),
        ("fsn-agent", "continuum_agent_postgresql_running{", 1.0),
    ];
    for (agent, start, value) in expected {
        lab.until(start, TOLD_LIMIT, async || match sample(lab, agent, start).await {
            Some(found) if found == value => Ok(()),
            other => Err(format!("{agent}: {other:?}")),
        })
        .await?;
    }
    // Who does not hold the lease tells of none.
    assert_eq!(sample(lab, "fsn-agent", "continuum_agent_held_epoch{").await, None);
    assert!(sample(lab, "hel-agent", "continuum_agent_held_epoch{").await >= Some(2.0));
    assert!(
        sample(lab, "hel-agent", "continuum_agent_deadline_remaining_seconds{").await > Some(0.0)
    );
    Ok(())
}
