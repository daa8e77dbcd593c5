//! The core as a whole: three nodes over mutual TLS, scripted agents, the real API client.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::agent::{Agent, disk};
use crate::support::{Cluster, eventually, region, shop, spec};
use continuum_control_api::client::{ApiClient, ClientError};
use continuum_control_api::link::{Blocked, GrantAnswer, Order};
use continuum_control_api::rest::{
    ApplyPair, AuditQuery, FailoverRequest, HistoryQuery, OperationsQuery, PauseQuery,
    PauseRequest, Started, SwitchoverRequest, VerifyQuery,
};
use continuum_domain::objective::Loss;
use continuum_domain::operation::{Operation, OperationKind, OperationState, Step, StepOutcome};
use continuum_domain::{Epoch, OperationId, PairRecord, Version};
use continuum_runtime::{Identity, Role};
use continuum_witness::RegisterStore;

/// Three nodes, the pair's spec, its register (fsn holds epoch 1, both in sync), both agents.
pub async fn pair_at_rest() -> (Cluster, ApiClient, Arc<Agent>, Arc<Agent>) {
    at_rest(Cluster::start().await).await
}

/// The same with a cluster that was started in another way.
pub async fn at_rest(cluster: Cluster) -> (Cluster, ApiClient, Arc<Agent>, Arc<Agent>) {
    let in_sync = ["fsn", "hel"].map(|name| (region(name), disk(&region(name))));
    let record = PairRecord {
        epoch: Epoch(1),
        holder: Some(region("fsn")),
        in_sync: BTreeMap::from(in_sync),
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    };
    let value = serde_json::to_vec(&record).unwrap();
    cluster.store.compare_and_swap("pair/shop", Version::ABSENT, value).await.unwrap();
    cluster.apply_spec().await;
    let (fsn, hel) = (Agent::start(&cluster, "fsn"), Agent::start(&cluster, "hel"));
    let client = cluster.client();
    ready_for_a_move(&client).await;
    (cluster, client, fsn, hel)
}

/// Waits until a dry run has nothing against the move to hel.
async fn ready_for_a_move(client: &ApiClient) {
    let dry =
        SwitchoverRequest { to: region("hel"), method: None, dry_run: true, reason: String::new() };
    eventually("a plan without refusals", || async {
        match client.switchover(&shop(), &dry).await {
            Ok(Started::Plan(plan)) if plan.allowed => Some(()),
            _ => None,
        }
    })
    .await;
}

async fn start(client: &ApiClient) -> Operation {
    let request = SwitchoverRequest {
        to: region("hel"),
        method: None,
        dry_run: false,
        reason: "test".into(),
    };
    match client.switchover(&shop(), &request).await {
        Ok(Started::Operation(operation)) => operation,
        other => panic!("{other:?}"),
    }
}

pub async fn ended(client: &ApiClient, id: &OperationId) -> Operation {
    eventually("the operation ended", || async {
        client.operation(id).await.ok().filter(|operation| operation.state.is_final())
    })
    .await
}

fn problem(error: ClientError) -> (u16, String) {
    match error {
        ClientError::Problem { status, problem } => (status, problem.code),
        other => panic!("{other}"),
    }
}

fn by_agents(operation: &Operation) -> Vec<(Step, StepOutcome)> {
    operation
        .steps
        .iter()
        .filter(|line| line.region.is_some())
        .map(|line| (line.step, line.outcome.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_asked_of_a_follower_is_done_and_told_in_full() {
    let (cluster, client, fsn, _hel) = pair_at_rest().await;
    let leader = cluster.leader().await;
    let follower = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).unwrap();
    let through_follower = cluster.client_of(&[follower], &cluster.operator);
    let operation = start(&through_follower).await;
    assert_eq!(operation.actor, "operator/alice", "the caller's name is carried along");
    // The same request again, by a client that lost the answer.
    let again = SwitchoverRequest {
        to: region("hel"),
        method: None,
        dry_run: false,
        reason: "test".into(),
    };
    if let Ok(Started::Operation(same)) = client.switchover(&shop(), &again).await {
        assert_eq!(same.id, operation.id);
    }
    let done = ended(&client, &operation.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    let told = by_agents(&done);
    for step in [
        Step::StopWrites,
        Step::ProveCatchUp,
        Step::HandOver,
        Step::Commit,
        Step::Promote,
        Step::RestoreLedger,
    ] {
        assert!(told.contains(&(step, StepOutcome::Done)), "{step:?} is missing in {told:?}");
    }
    let record = cluster.register().await.unwrap();
    assert_eq!((record.epoch, record.holder), (Epoch(2), Some(region("hel"))));
    assert_eq!(
        fsn.directives().iter().filter(|d| matches!(d.order, Order::AbortSwitchOver)).count(),
        0
    );
    let verdict = client.verify_audit(&VerifyQuery::default()).await.unwrap();
    assert!(verdict.intact, "{verdict:?}");
    let moved = eventually("how long the move took is known", || async {
        let history = client.history(&shop(), &HistoryQuery::default()).await.ok()?;
        history.into_iter().next().filter(|newest| newest.outage_ms.is_some())
    })
    .await;
    assert_eq!(
        (moved.epoch, moved.from, moved.loss),
        (Epoch(2), Some(region("fsn")), Loss::Nothing)
    );
    assert_eq!(moved.operation, Some(operation.id));
    let status = through_follower.status().await.unwrap();
    assert_eq!(status.pairs[0].holder, Some(region("hel")));
    assert!(status.operations.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_outlives_its_leader_before_anybody_was_told() {
    outlives_the_leader_at(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_outlives_its_leader_after_the_stop_began() {
    outlives_the_leader_at(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_outlives_its_leader_after_the_stop() {
    outlives_the_leader_at(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_outlives_its_leader_after_catch_up_was_proven() {
    outlives_the_leader_at(3).await;
}

async fn outlives_the_leader_at(stage: u8) {
    let (cluster, client, fsn, _hel) = pair_at_rest().await;
    fsn.hold(Some(stage));
    let operation = start(&client).await;
    eventually("the stage reached and told of", || async {
        let told = !fsn.directives().is_empty() && fsn.all_acknowledged();
        (fsn.stage() == stage && told).then_some(())
    })
    .await;
    let old = cluster.leader().await;
    cluster.stop(&old).await;
    let new = cluster.leader().await;
    assert_ne!(old, new);
    fsn.hold(None);
    let done = ended(&client, &operation.id).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    let started = |line: &&continuum_domain::operation::StepRecord| {
        line.region.is_none()
            && line.step == Step::StopWrites
            && line.outcome == StepOutcome::Started
    };
    assert_eq!(done.steps.iter().filter(started).count(), 1);
    assert!(client.verify_audit(&VerifyQuery::default()).await.unwrap().intact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_switchover_is_undone_up_to_the_commit_point() {
    let (cluster, client, fsn, _hel) = pair_at_rest().await;
    fsn.hold(Some(3));
    let operation = start(&client).await;
    eventually("catch-up proven", || async { (fsn.stage() == 3).then_some(()) }).await;
    let cancelled = client.cancel(&operation.id, "changed my mind").await.unwrap();
    assert!(cancelled.cancel_requested);
    let undone = ended(&client, &operation.id).await;
    assert!(matches!(undone.state, OperationState::Undone { .. }), "{undone:?}");
    let record = cluster.register().await.unwrap();
    assert_eq!((record.epoch, record.holder), (Epoch(2), Some(region("fsn"))));
    let late = client.cancel(&operation.id, "").await.unwrap_err();
    assert_eq!(problem(late), (409, "too-late-to-cancel".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn automation_asks_and_is_answered_with_reasons() {
    let (_cluster, client, _fsn, hel) = pair_at_rest().await;
    let pause = PauseRequest { pair: Some(shop()), reason: "work on site".into(), for_ms: 600_000 };
    client.pause(&pause).await.unwrap();
    eventually("the agent told of the pause", || async { hel.automation_paused().then_some(()) })
        .await;
    let GrantAnswer::Denied { reasons } = hel.ask(1).await else { panic!("granted while paused") };
    assert!(reasons[0].contains("work on site"), "{reasons:?}");
    let left = client.resume(&PauseQuery { pair: Some(shop()) }, "done").await.unwrap();
    assert!(left.is_empty());
    let GrantAnswer::Granted { operation, .. } = hel.ask(1).await else { panic!("not granted") };
    hel.take_over("expired", false).await;
    let done = ended(&client, &operation).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    assert!(matches!(done.kind, OperationKind::Failover { autonomous: false, .. }));
    let actions: Vec<_> = client
        .audit(&AuditQuery { pair: Some(shop()), ..AuditQuery::default() })
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.action)
        .collect();
    for action in [
        "automation.pause",
        "failover.denied",
        "automation.resume",
        "failover.start",
        "fact.acquired",
    ] {
        assert!(actions.iter().any(|known| known == action), "{action} is missing in {actions:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_without_the_core_is_recorded_when_it_is_back() {
    let (cluster, client, _fsn, hel) = pair_at_rest().await;
    // Two of three nodes stop: no quorum, no leader.
    cluster.stop("c2").await;
    cluster.stop("c3").await;
    let alone = cluster.client_of(&["c1"], &cluster.operator);
    let refused = eventually("no leader", || async {
        match alone.status().await {
            Err(ClientError::Problem { problem, .. }) => Some(problem),
            _ => None,
        }
    })
    .await;
    assert_eq!(refused.code, "no-leader");
    assert!(refused.retryable && refused.detail.contains("writes to PostgreSQL go on"));
    hel.take_over("expired", true).await;
    cluster.restart("c2").await;
    cluster.leader().await;
    let all = OperationsQuery { pair: Some(shop()), ..Default::default() };
    let found = eventually("the failover recorded and done", || async {
        let operations = client.operations(&all).await.ok()?;
        operations.into_iter().find(|operation| operation.state == OperationState::Done)
    })
    .await;
    assert!(matches!(found.kind, OperationKind::Failover { autonomous: true, .. }), "{found:?}");
    assert!(by_agents(&found).contains(&(Step::Promote, StepOutcome::Done)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specs_have_a_history_and_mistakes_are_named() {
    let (cluster, client, _fsn, _hel) = pair_at_rest().await;
    let mut changed = spec();
    changed.max_lag_bytes = 4_096;
    let body = ApplyPair { spec: changed.clone(), reason: "tighter".into() };
    assert_eq!(client.apply_pair(&body).await.unwrap().version, 2);
    assert_eq!(client.apply_pair(&body).await.unwrap().version, 2, "unchanged");
    let history = client.versions(&shop()).await.unwrap();
    assert_eq!(history.iter().map(|version| version.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(history[1].reason, "tighter");

    changed.members.remove(&region("hel"));
    let bad = client.apply_pair(&ApplyPair { spec: changed, reason: String::new() }).await;
    assert_eq!(problem(bad.unwrap_err()), (422, "spec-refused".into()));
    let blind = FailoverRequest {
        to: region("hel"),
        allow_data_loss: true,
        epoch: None,
        dry_run: false,
        reason: String::new(),
    };
    let ClientError::Problem { status: 409, problem: refused } =
        client.failover(&shop(), &blind).await.unwrap_err()
    else {
        panic!("not refused")
    };
    assert!(refused.reasons.iter().any(|reason| reason.contains("--epoch")), "{refused:?}");
    assert!(refused.reasons.iter().any(|reason| reason.contains("accepts writes")), "{refused:?}");

    let stranger = cluster.issue(&Identity::new(Role::Region, "fsn"));
    let as_region =
        cluster.client_of(&["c1"], &stranger).pairs(&Default::default()).await.unwrap_err();
    assert_eq!(problem(as_region), (403, "forbidden".into()));
    let (status, code, text) =
        raw(&cluster, "PUT", "/api/v1/automation/pause", r#"{"reason":"x","for_mss":1}"#).await;
    assert_eq!((status, code.as_str()), (422, "body-refused"));
    assert!(text.contains("for_mss"), "{text}");
    assert_eq!(raw(&cluster, "GET", "/api/v1/audit?limitt=1", "").await.0, 400);
    assert_eq!(raw(&cluster, "GET", "/api/v1/nothing", "").await.1, "no-such-route");
    assert_eq!(raw(&cluster, "POST", "/api/v1/status", "").await.1, "no-such-method");
    let big = format!(r#"{{"reason":"{}"}}"#, "x".repeat(2 * 1024 * 1024));
    assert_eq!(raw(&cluster, "PUT", "/api/v1/automation/pause", &big).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_agent_is_recorded_as_it_spoke_and_one_that_is_behind_is_shown() {
    let (_cluster, client, fsn, hel) = pair_at_rest().await;
    fsn.notes_of_the_future();
    let query = AuditQuery { pair: Some(shop()), ..AuditQuery::default() };
    let record = eventually("the fact is in the audit chain", || async {
        let audit = client.audit(&query).await.ok()?;
        audit.into_iter().find(|record| record.action == "fact.not-understood")
    })
    .await;
    assert!(record.after.contains(r#"teleported, of a newer agent: {"fact":"teleported""#));
    assert!(record.after.contains(r#""to":"mars""#), "{}", record.after);
    eventually("the journal goes on", || async { fsn.all_acknowledged().then_some(()) }).await;
    assert!(client.verify_audit(&VerifyQuery::default()).await.unwrap().intact);
    let state = Blocked {
        code: "spec-not-understood".into(),
        meaning: "version 2 is not understood".into(),
        action: "upgrade".into(),
    };
    hel.is_behind(state.clone());
    let shown = eventually("the core shows who is behind", || async {
        let view = client.pair(&shop()).await.ok()?;
        view.not_understood.get(&region("hel")).cloned()
    });
    assert_eq!(shown.await, state);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_is_known_and_nothing_else() {
    let cluster = Cluster::start().await;
    cluster.apply_spec().await;
    let leader = cluster.leader().await;
    let before = metrics(&cluster, &leader).await;
    let value = |text: &str, start: &str| {
        let line = text.lines().find(|line| line.starts_with(start))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    assert_eq!(value(&before, "continuum_core_leader "), Some(1.0), "{before}");
    let posture = |text: &str, word: &str| {
        value(text, &format!("continuum_pair_posture{{pair=\"shop\",posture=\"{word}\"}}"))
    };
    assert_eq!(posture(&before, "unknown"), Some(1.0), "{before}");
    assert_eq!(posture(&before, "protected"), Some(0.0), "{before}");
    // No agent reported: neither an epoch nor a member is told of, least of all as 0.
    for absent in ["continuum_lease", "continuum_member", "continuum_standby", "continuum_in_sync"]
    {
        assert!(!before.contains(absent), "{absent}: {before}");
    }
    assert!(before.ends_with("# EOF\n"), "{before}");

    let (cluster, _client, _fsn, _hel) = pair_at_rest().await;
    let leader = cluster.leader().await;
    let text = eventually("the leader tells of the pair", || async {
        let text = metrics(&cluster, &leader).await;
        (posture(&text, "protected") == Some(1.0)).then_some(text)
    })
    .await;
    assert_eq!(value(&text, "continuum_lease_epoch{"), Some(1.0), "{text}");
    assert_eq!(value(&text, "continuum_in_sync_members{"), Some(2.0));
    let held = value(&text, "continuum_lease_held{pair=\"shop\",region=\"fsn\"}");
    assert_eq!(held, Some(1.0));
    let route =
        "continuum_api_requests_total{method=\"POST\",route=\"/api/v1/pairs/{pair}/switchover\"";
    assert!(text.contains(route), "{text}");
    for ends in ["continuum_certificate_end_seconds{", "continuum_agent_certificate_end_seconds{"] {
        assert!(value(&text, ends).is_some_and(|at| at > 1.7e9), "{ends} {text}");
    }
    let follower = cluster.peers.iter().find(|peer| peer.name != leader).unwrap();
    let text = metrics(&cluster, &follower.name).await;
    assert_eq!(value(&text, "continuum_core_leader "), Some(0.0));
    assert!(!text.contains("continuum_pair") && !text.contains("continuum_lease"), "{text}");
}

async fn metrics(cluster: &Cluster, node: &str) -> String {
    let answer = asked(cluster, node, "GET", "/metrics", "").await;
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// A request that the typed client cannot make.
async fn raw(cluster: &Cluster, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let leader = cluster.leader().await;
    let response = asked(cluster, &leader, method, path, body).await;
    let status = response.status().as_u16();
    let problem: continuum_control_api::problem::Problem = response.json().await.unwrap();
    (status, problem.code, problem.detail)
}

async fn asked(
    cluster: &Cluster,
    node: &str,
    method: &str,
    path: &str,
    body: &str,
) -> reqwest::Response {
    let request = cluster.http(node, method, path);
    request.body(body.to_owned()).send().await.unwrap()
}
