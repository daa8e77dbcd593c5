//! A pair is stopped on purpose: PostgreSQL runs nowhere, whatever is restarted, and comes back where it
//! was with everything that was acknowledged.

use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_control_api::rest::{PausePairRequest, Plan, ResumePairRequest, Started};
use continuum_domain::operation::{Operation, OperationState};
use continuum_tests::*;

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn ended(lab: &Lab, started: Started) -> Result<Operation, Error> {
    match started {
        Started::Operation(operation) => lab.wait_ended(&operation.id, LIMIT).await,
        Started::Plan(plan) => Err(Error::Options(format!("only planned: {plan:?}"))),
    }
}

pub(crate) fn asked(source: continuum_control_api::client::ClientError) -> Error {
    Error::Api { what: "pausing or resuming", source }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pair_stays_stopped_and_comes_back_whole() -> Outcome {
    let mut lab = writing(quick()).await?;
    let before = lab.pair().await?;
    let pair = before.spec.id.clone();
    undisturbed().await;

    let plan = PausePairRequest { dry_run: true, ..PausePairRequest::default() };
    let planned = lab.api().pause_pair(&pair, &plan).await.map_err(asked)?;
    assert!(matches!(planned, Started::Plan(plan) if plan.allowed));
    let started = lab.api().pause_pair(&pair, &PausePairRequest::default()).await.map_err(asked)?;
    let paused = ended(&lab, started).await?;
    assert_eq!(paused.state, OperationState::Done, "{paused:?}");
    for region in [fsn(), hel()] {
        assert!(!lab.postgres_runs(&region), "PostgreSQL runs in {region}");
    }
    let view = lab.pair().await?;
    assert_eq!((view.holder, view.resting), (None, Some(fsn())));

    // Every process of a region, and the core, are started anew: nobody starts PostgreSQL.
    lab.kill_region(&hel()).await?;
    lab.start_region(&hel()).await?;
    lab.kill_core().await?;
    lab.restart_core().await?;
    let rests = lab
        .until("the restarted core to show the pair at rest", LIMIT, async || {
            let view = lab.pair().await.map_err(|error| error.to_string())?;
            let told = [fsn(), hel()]
                .iter()
                .all(|region| view.members.get(region).is_some_and(Option::is_some));
            let whole = told && view.resting.is_some();
            if whole { Ok(view) } else { Err(format!("{view:?}")) }
        })
        .await?;
    assert_eq!(rests.resting, Some(fsn()));
    for region in [fsn(), hel()] {
        assert!(!lab.postgres_runs(&region), "PostgreSQL runs in {region}");
    }

    let planned = lab.api().pause_pair(&pair, &plan).await.map_err(asked)?;
    let refused = |plan: &Plan| plan.refusals.iter().any(|one| one.contains("paused already"));
    assert!(matches!(&planned, Started::Plan(plan) if refused(plan)), "{planned:?}");
    let started =
        lab.api().resume_pair(&pair, &ResumePairRequest::default()).await.map_err(asked)?;
    let resumed = ended(&lab, started).await?;
    assert_eq!(resumed.state, OperationState::Done, "{resumed:?}");
    let view = lab.wait_healthy(LIMIT).await?;
    assert_eq!(view.holder, Some(fsn()));
    undisturbed().await;
    let judged = judge(&mut lab, "paused and resumed", &[], None).await?;
    assert_eq!(judged.verdict.tally.lost, vec![]);
    lab.stop().await
}
