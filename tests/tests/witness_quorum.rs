//! The witness is three acceptors: the control core and two servers. Any one may go, and nothing is
//! interrupted; without a majority the primary stops by its deadline.

use std::time::Duration;

use continuum_chaos::LabOptions;
use continuum_tests::*;

/// Longest time between two acknowledged writes while one acceptor is away.
const UNINTERRUPTED: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn any_one_acceptor_may_go_and_two_may_not() -> Outcome {
    let options = LabOptions { quorum: true, ..quick() };
    let mut lab = writing(options).await?;
    let (ttl, before) = (lab.options.ttl, epoch(&lab.pair().await?));
    for parts in [&["witness"][..], &["witness-2"], &["core-1", "core-2"]] {
        for part in parts {
            lab.kill(part).await?;
        }
        let from = lab.clock.now();
        tokio::time::sleep(ttl * 2).await;
        let until = lab.clock.now();
        assert!(lab.postgres_runs(&fsn()), "{parts:?} gone, and the primary was stopped");
        let gap = lab.workload()?.recorder().longest_gap(from, until);
        println!("{parts:?} gone: longest gap between acknowledged writes {gap:?}");
        assert!(gap < UNINTERRUPTED, "{parts:?} gone: {gap:?} without a write");
        for part in parts {
            lab.restart(part).await?;
        }
        lab.wait_leader(WHOLE_LIMIT).await?;
        let view = lab.wait_healthy(WHOLE_LIMIT).await?;
        assert_eq!(epoch(&view), before, "the loss of {parts:?} moved the lease");
    }

    for part in ["witness", "witness-2"] {
        lab.kill(part).await?;
    }
    let at = lab.clock.now();
    lab.until("PostgreSQL of fsn to be stopped", bound(ttl), async || {
        if lab.postgres_runs(&fsn()) { Err("it runs".to_owned()) } else { Ok(()) }
    })
    .await?;
    println!("fenced {:?} after two of three were killed", lab.clock.now().since(at));
    let stopped_at = lab.clock.now();
    tokio::time::sleep(ttl * 2).await;
    let written = lab.workload()?.recorder().first_acknowledged(stopped_at, None);
    assert_eq!(written, None, "a write was acknowledged without a lease");
    lab.restart("witness").await?;
    lab.wait_acknowledged(None, WHOLE_LIMIT).await?;
    lab.restart("witness-2").await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    let holder = view.holder.expect("somebody holds the lease");
    let moves = if holder == fsn() { vec![] } else { vec![moved(&lab, at, &fsn(), &hel())?] };
    judge(&mut lab, "acceptors killed", &moves, None).await?;
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_region_with_the_core_is_lost_and_the_other_takes_over() -> Outcome {
    let options = LabOptions { quorum: true, ..quick() };
    let mut lab = writing(options).await?;
    let (ttl, before) = (lab.options.ttl, epoch(&lab.pair().await?));
    // The core is two things at once that are lost: who grants, and one acceptor of three.
    let at = lab.clock.now();
    lab.kill_core().await?;
    lab.kill_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), WHOLE_LIMIT).await?;
    lab.restart_core().await?;
    lab.wait_leader(WHOLE_LIMIT).await?;
    lab.start_region(&fsn()).await?;
    let view = lab.wait_moved(before, WHOLE_LIMIT).await?;
    assert_eq!(view.holder, Some(hel()));
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    let judged = judge(&mut lab, "core and region killed, quorum", &[step], None).await?;
    let outage = gap(&judged, at, None);
    println!("outage without core and region: {outage:?}");
    assert!(outage <= bound(ttl + Duration::from_secs(2)), "writes stood still for {outage:?}");
    lab.stop().await
}
