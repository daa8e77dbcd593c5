//! The control core is gone entirely: writes go on, a failover still happens, and the core learns of
//! it when it comes back.

use std::time::Duration;

use continuum_control_api::rest::AuditQuery;
use continuum_domain::operation::{OperationKind, Step, StepOutcome};
use continuum_tests::*;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_core_a_region_is_lost_and_the_core_learns_of_it_afterwards() -> Outcome {
    let mut lab = writing(quick()).await?;
    let before = epoch(&lab.pair().await?);
    lab.kill_core().await?;
    tokio::time::sleep(lab.options.ttl + Duration::from_secs(1)).await;
    let old = lab.address(&fsn())?;
    lab.wait_acknowledged(Some(old), Duration::from_secs(2)).await?;

    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), lab.options.ttl * 5).await?;

    lab.restart_core().await?;
    lab.wait_leader(Duration::from_secs(30)).await?;
    let view = lab.wait_moved(before, Duration::from_secs(30)).await?;
    assert_eq!(view.holder, Some(hel()));
    lab.start_region(&fsn()).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;

    let operation = lab.failover_after(before, Duration::from_secs(30)).await?;
    let alone = matches!(operation.kind, OperationKind::Failover { autonomous: true, .. });
    assert!(alone, "the record says that the agent decided alone: {operation:#?}");
    for step in [Step::Commit, Step::Promote] {
        let done = |record: &&continuum_domain::operation::StepRecord| {
            record.step == step && record.outcome == StepOutcome::Done
        };
        assert!(operation.steps.iter().any(|record| done(&record)), "{step:?}: {operation:#?}");
    }
    let audit = lab.api().audit(&AuditQuery::default()).await.expect("the audit chain");
    let new_epoch = epoch(&view);
    assert!(audit.iter().any(|record| record.epoch == Some(new_epoch)), "{audit:#?}");
    let verified =
        lab.api().verify_audit(&Default::default()).await.expect("the audit chain's verdict");
    assert!(verified.intact, "{verified:?}");

    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    let judged = judge(&mut lab, "core and region killed", &[step], None).await?;
    println!("outage without a core: {:?}", gap(&judged, at, None));
    lab.stop().await
}
