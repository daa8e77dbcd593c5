//! Others who write to the same objects, and servers that answer badly.

use continuum_domain::operation::Method;
use continuum_test_kube::control::Effect;
use continuum_tests::*;
use serde_json::json;

use super::field::Field;

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

/// After a move a repository puts the old role back, so that both Clusters name themselves the primary.
/// Only the holder of the lease stays one.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_put_back_by_a_repository_makes_no_second_primary() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let (step, _) = switch_over(&field.lab, &fsn(), &hel(), Method::Clean).await?;
    let old = json!({ "spec": { "replica": { "primary": "app-fsn", "source": "app-hel" } } });
    field.region(&fsn()).patch(old).await;
    undisturbed().await;
    field
        .lab
        .until("the role to be put right", WHOLE_LIMIT, async || {
            let cluster = field.region(&fsn()).cluster().await;
            let primary = &cluster["spec"]["replica"]["primary"];
            if primary == "app-hel" { Ok(()) } else { Err(primary.to_string()) }
        })
        .await?;
    let view = field.lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    assert_eq!(view.holder, Some(hel()));
    undisturbed().await;
    judge(&mut field.lab, "both named primary", &[step], None).await?;
    field.lab.stop().await
}
