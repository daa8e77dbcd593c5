//! Moves of a pair of Clusters.

use continuum_domain::operation::{Method, Operation};
use continuum_tests::*;

use super::field::Field;

/// A planned switchover by the demotion token, and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_of_clusters_is_switched_over_and_back() -> Outcome {
    let mut field = Field::writing(quick()).await?;
    let (away, operation) = switch_over(&field.lab, &fsn(), &hel(), Method::Clean).await?;
    print_waits(&operation);
    undisturbed().await;
    let (back, _) = switch_over(&field.lab, &hel(), &fsn(), Method::Clean).await?;
    undisturbed().await;
    let judged = judge(&mut field.lab, "Clusters", &[away, back], None).await?;
    assert_eq!(judged.verdict.tally.lost, vec![]);
    for region in field.regions.values() {
        assert!(region.cluster().await["spec"]["replica"]["promotionToken"].is_null());
    }
    field.lab.stop().await
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
