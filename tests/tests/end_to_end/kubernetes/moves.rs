//! Moves of a pair of Clusters, and its rest.

use continuum_control_api::rest::{PausePairRequest, ResumePairRequest};
use continuum_domain::operation::{Method, Operation, OperationState};
use continuum_tests::*;

use super::field::Field;
use crate::pair_pause::{asked, ended};

/// A planned switchover by the demotion token, and back; then the pair is paused, both Clusters sleep, and
/// it comes back with everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_of_clusters_is_switched_over_and_back_and_sleeps_and_wakes() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let (away, operation) = switch_over(&field.lab, &fsn(), &hel(), Method::Clean).await?;
    print_waits(&operation);
    undisturbed().await;
    let (back, _) = switch_over(&field.lab, &hel(), &fsn(), Method::Clean).await?;
    undisturbed().await;
    sleeps_and_wakes(&field).await?;
    undisturbed().await;
    let judged = judge(&mut field.lab, "Clusters", &[away, back], None).await?;
    assert_eq!(judged.verdict.tally.lost, vec![]);
    for region in field.regions.values() {
        assert!(region.cluster().await["spec"]["replica"]["promotionToken"].is_null());
    }
    field.lab.stop().await
}

/// Pauses the pair until no Cluster of it has PostgreSQL, and resumes it where it was.
async fn sleeps_and_wakes(field: &Field) -> Outcome {
    let (lab, pair) = (&field.lab, field.lab.layout.pair());
    let started = lab.api().pause_pair(&pair, &PausePairRequest::default()).await.map_err(asked)?;
    let paused = ended(lab, started).await?;
    assert_eq!(paused.state, OperationState::Done, "{paused:?}");
    sleep(field, "on").await.inspect_err(|_| field.tell())?;
    let rests = lab.pair().await?;
    assert_eq!((rests.holder, rests.resting), (None, Some(fsn())));

    let body = ResumePairRequest::default();
    let resumed = ended(lab, lab.api().resume_pair(&pair, &body).await.map_err(asked)?).await?;
    assert_eq!(resumed.state, OperationState::Done, "{resumed:?}");
    sleep(field, "off").await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await.inspect_err(|_| field.tell())?;
    assert_eq!(view.holder, Some(fsn()));
    Ok(())
}

/// Waits until both Clusters were told so, and their operators have seen to it.
async fn sleep(field: &Field, told: &str) -> Outcome {
    field
        .lab
        .until(&format!("both Clusters to have hibernation {told}"), WHOLE_LIMIT, async || {
            for region in field.regions.values() {
                let cluster = region.cluster().await;
                let says = &cluster["metadata"]["annotations"]["cnpg.io/hibernation"];
                let conditions = cluster["status"]["conditions"].as_array().into_iter().flatten();
                let mut sleeps = conditions
                    .filter(|one| one["type"] == "cnpg.io/hibernation")
                    .map(|one| &one["status"]);
                let asleep = sleeps.any(|status| status == "True");
                if says != told || asleep != (told == "on") {
                    return Err(format!("{says}, {}", cluster["status"]));
                }
            }
            Ok(())
        })
        .await
}

/// Prints what of each step was the operator's time, and holds that the steps tell it of those that wait for it.
fn print_waits(operation: &Operation) {
    let told = |what: &str| {
        let ending = format!("for the operator: {what}");
        operation.steps.iter().any(|step| step.detail.contains(&ending))
    };
    for step in operation.steps.iter().filter(|step| step.detail.contains("for the operator")) {
        println!("  {:?}: {:?}, {}", step.step, step.took_us, step.detail);
    }
    assert!(told("demotion") && told("promotion"), "{operation:#?}");
}
