//! A person has a standby cloned anew: the ledger does without it first, its directory is another one
//! afterwards, and clients notice nothing.

use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_control_api::client::ClientError;
use continuum_control_api::rest::{PairView, RejoinRequest, Started};
use continuum_domain::operation::{OperationState, RejoinMethod, Step, StepOutcome};
use continuum_domain::{DataDirectoryId, RegionId};
use continuum_tests::*;

const LIMIT: Duration = Duration::from_secs(60);

fn request(region: RegionId, method: RejoinMethod) -> RejoinRequest {
    RejoinRequest { region, method, dry_run: false, reason: "its disk was repaired".into() }
}

async fn refusals(lab: &Lab, request: RejoinRequest) -> Result<Vec<String>, Error> {
    let pair = lab.pair().await?.spec.id;
    let plan = RejoinRequest { dry_run: true, ..request };
    match lab.api().rejoin(&pair, &plan).await.map_err(asked)? {
        Started::Plan(plan) => Ok(plan.refusals),
        Started::Operation(operation) => Err(Error::Options(format!("started: {operation:?}"))),
    }
}

fn asked(source: ClientError) -> Error {
    Error::Api { what: "asking for a rejoin", source }
}

fn directory(view: &PairView, region: &RegionId) -> Option<DataDirectoryId> {
    view.members.get(region)?.as_ref()?.report.data_directory.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_cloned_anew_on_a_persons_word() -> Outcome {
    let mut lab = writing(quick()).await?;
    let before = lab.pair().await?;
    let pair = before.spec.id.clone();
    undisturbed().await;

    let why = refusals(&lab, request(fsn(), RejoinMethod::Clone)).await?;
    assert!(why.iter().any(|one| one.contains("holds the pair")), "{why:?}");
    let why = refusals(&lab, request(hel(), RejoinMethod::Retry)).await?;
    assert!(why.iter().any(|one| one.contains("nothing to try again")), "{why:?}");
    assert_eq!(refusals(&lab, request(hel(), RejoinMethod::Clone)).await?, Vec::<String>::new());

    let clone = request(hel(), RejoinMethod::Clone);
    let started = lab.api().rejoin(&pair, &clone).await.map_err(asked)?;
    let Started::Operation(started) = started else { panic!("only planned: {started:?}") };
    let ended = lab.wait_ended(&started.id, LIMIT).await?;
    assert_eq!(ended.state, OperationState::Done, "{ended:?}");
    let told = |step: Step, region: &RegionId| {
        ended.steps.iter().any(|line| {
            line.step == step
                && line.region.as_ref() == Some(region)
                && line.outcome == StepOutcome::Done
        })
    };
    assert!(told(Step::Bar, &fsn()) && told(Step::Rejoin, &hel()), "{ended:?}");
    let after = lab.wait_healthy(LIMIT).await?;
    assert_eq!((after.holder.as_ref(), after.epoch), (Some(&fsn()), before.epoch));
    let (old, new) = (directory(&before, &hel()), directory(&after, &hel()));
    assert!(old.is_some() && new.is_some() && old != new, "{old:?} {new:?}");
    undisturbed().await;
    let judged = judge(&mut lab, "cloned anew", &[], None).await?;
    assert_eq!(judged.verdict.tally.lost, vec![]);
    lab.stop().await
}
