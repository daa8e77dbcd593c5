//! Others who write to the same objects, and servers that answer badly.

use continuum_chaos::Lab;
use continuum_control_api::client::ClientError;
use continuum_control_api::link::{Blocked, MemberReport};
use continuum_control_api::rest::{Plan, Started, SwitchoverRequest};
use continuum_domain::RegionId;
use continuum_domain::operation::Method;
use continuum_test_kube::Misbehaviour;
use continuum_test_kube::control::Effect;
use continuum_tests::*;
use serde_json::json;

use super::field::Field;
use crate::traces::sample;

/// Every third write of the agents is refused for a while, or is done without an answer, in the middle
/// of a move.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_survives_conflicts_throttling_and_lost_answers() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    for region in field.regions.values() {
        let control = region.server.control();
        let patches = |call: &continuum_test_kube::control::Call| {
            call.user == "agent" && call.verb == "patch"
        };
        control.disturb(Effect::Answer(409), Some(2), patches);
        control.disturb(Effect::RetryAfter(1), Some(2), patches);
        control.disturb(Effect::LoseReply, Some(1), patches);
    }
    let (step, _) = switch_over(&field.lab, &fsn(), &hel(), Method::Clean).await?;
    undisturbed().await;
    judge(&mut field.lab, "409, 429 and lost answers", &[step], None).await?;
    field.lab.stop().await
}

/// A Cluster that a person has put to sleep is no target of a move, one whose stop might take an hour is left by
/// none, and a role that a repository puts back makes no second primary: all are refused, and told where an
/// operator looks.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_did_to_a_cluster_is_refused_and_told() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    refuses_to_leave_one_that_may_hang(&field).await?;
    refuses_one_that_sleeps(&field).await?;
    let (step, _) = switch_over(&field.lab, &fsn(), &hel(), Method::Clean).await?;
    undisturbed().await;
    tells_of_two_primaries(&field).await?;
    let view = field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    assert_eq!(view.holder, Some(hel()));
    undisturbed().await;
    judge(&mut field.lab, "what others did", &[step], None).await?;
    field.lab.stop().await
}

async fn refuses_to_leave_one_that_may_hang(field: &Field) -> Outcome {
    let bound = async |seconds: u32| {
        let spec = json!({ "spec": { "switchoverDelay": seconds } });
        field.region(&fsn()).patch(spec).await;
    };
    let told = async |holds: &dyn Fn(&[Blocked]) -> bool| {
        let told = async || {
            let found = report(&field.lab, &fsn()).await?.against_leaving;
            if holds(&found) { Ok(()) } else { Err(format!("{found:?}")) }
        };
        field.lab.until("what bars leaving fsn", WHOLE_LIMIT, told).await
    };
    told(&|found| found.is_empty()).await?;
    bound(3600).await;
    told(&|found| found.iter().any(|one| one.code == "shutdown-bound")).await?;
    let plan = refused(field, "fsn: shutdown-bound: switchoverDelay").await?;
    assert_eq!(plan.against_leaving.len(), 1, "{plan:?}");
    assert_eq!(plan.candidates[&hel()], [""; 0], "hel could take over");
    bound(10).await;
    told(&|found| found.is_empty()).await?;
    Ok(())
}

/// A move to hel is planned and ordered, and neither goes, for this reason. Nothing was changed.
async fn refused(field: &Field, reason: &str) -> Result<Plan, continuum_chaos::lab::Error> {
    let before = field.lab.pair().await?;
    let mut request = SwitchoverRequest {
        to: hel(),
        method: Some(Method::Clean),
        dry_run: true,
        reason: "an end-to-end test".into(),
    };
    let pair = field.lab.layout.pair();
    let planned = field.lab.api().switchover(&pair, &request).await.unwrap();
    let Started::Plan(plan) = planned else { panic!("{planned:?}") };
    let why = plan.refusals.join("\n");
    assert!(!plan.allowed && why.contains(reason), "{why}");
    request.dry_run = false;
    let refused = field.lab.api().switchover(&pair, &request).await.unwrap_err();
    let ClientError::Problem { problem, .. } = refused else { panic!("{refused}") };
    let why = problem.reasons.join("\n");
    assert!(problem.code == "move-refused" && why.contains(reason), "{problem:?}");
    let after = field.lab.pair().await?;
    assert_eq!((after.epoch, after.holder, after.operation), (before.epoch, Some(fsn()), None));
    Ok(plan)
}

async fn refuses_one_that_sleeps(field: &Field) -> Outcome {
    // What bars it is the word alone: the operator does not get to it, so that PostgreSQL runs on.
    field.region(&hel()).misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let hibernate = async |how: Option<&str>| {
        let marks = json!({ "cnpg.io/hibernation": how });
        field.region(&hel()).patch(json!({ "metadata": { "annotations": marks } })).await;
    };
    hibernate(Some("on")).await;
    told(&field.lab, &hel(), "hibernated").await?;
    refused(field, "cnpg.io/hibernation").await?;
    hibernate(None).await;
    field.region(&hel()).misbehave(Misbehaviour::default());
    field
        .lab
        .until("nothing to stand against it", WHOLE_LIMIT, async || {
            let hindrances = hindrances(&field.lab, &hel()).await?;
            if hindrances.is_empty() { Ok(()) } else { Err(format!("{hindrances:?}")) }
        })
        .await?;
    field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    Ok(())
}

async fn tells_of_two_primaries(field: &Field) -> Outcome {
    // Nothing is put right yet: what stands is told.
    let server = field.region(&fsn()).server.control();
    let refused = server.forbid(|call| call.user == "agent" && call.verb == "patch");
    let old = json!({ "spec": { "replica": { "primary": "app-fsn", "source": "app-hel" } } });
    field.region(&fsn()).patch(old).await;
    let meaning = told(&field.lab, &fsn(), "both-primary").await?;
    assert!(meaning.contains("gitops") && meaning.contains("hel holds"), "{meaning}");
    undisturbed().await;
    server.relent(refused);
    field
        .lab
        .until("the role to be put right", WHOLE_LIMIT, async || {
            let cluster = field.region(&fsn()).cluster().await;
            let primary = &cluster["spec"]["replica"]["primary"];
            if primary == "app-hel" { Ok(()) } else { Err(primary.to_string()) }
        })
        .await?;
    let told = sample(&field.lab, "fsn-agent", "continuum_agent_foreign_writes_total").await;
    assert!(told >= Some(1.0), "{told:?}");
    let writes = report(&field.lab, &fsn()).await.expect("it reports").role_writes;
    assert!(writes.as_ref().is_some_and(|writes| writes.count >= 1), "{writes:?}");
    Ok(())
}

/// What a member's report has against its being a primary.
async fn hindrances(lab: &Lab, region: &RegionId) -> Result<Vec<Blocked>, String> {
    Ok(report(lab, region).await?.hindrances)
}

async fn report(lab: &Lab, region: &RegionId) -> Result<MemberReport, String> {
    let view = lab.pair().await.map_err(|error| error.to_string())?;
    let report = view.members.get(region).and_then(Option::as_ref);
    report.map(|aged| aged.report.clone()).ok_or_else(|| format!("{region} does not report"))
}

/// Waits until a member's report has a hindrance, and returns what it means.
async fn told(
    lab: &Lab,
    region: &RegionId,
    code: &str,
) -> Result<String, continuum_chaos::lab::Error> {
    lab.until(&format!("{region} to say {code}"), WHOLE_LIMIT, async || {
        let hindrances = hindrances(lab, region).await?;
        let found = hindrances.iter().find(|one| one.code == code);
        found.map(|one| one.meaning.clone()).ok_or_else(|| format!("{hindrances:?}"))
    })
    .await
}
