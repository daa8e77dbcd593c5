//! The witness is gone: by policy the primary stops by its deadline, or goes on while its peer
//! promises to hold still.

use std::time::Duration;

use continuum_chaos::lab::Error;
use continuum_chaos::{Lab, LabOptions};
use continuum_domain::spec::WitnessLossPolicy;
use continuum_tests::*;

async fn wait_stopped(lab: &Lab, limit: Duration) -> Result<(), Error> {
    lab.until("PostgreSQL of fsn to be stopped", limit, async || {
        if lab.postgres_runs(&fsn()) { Err("it runs".to_owned()) } else { Ok(()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_the_primary_stops_by_its_deadline_and_comes_back_with_the_witness() -> Outcome {
    let mut lab = writing(quick()).await?;
    let before = epoch(&lab.pair().await?);
    let ttl = lab.options.ttl;
    let at = lab.clock.now();
    lab.kill("witness").await?;
    wait_stopped(&lab, bound(ttl)).await?;
    println!("fenced {:?} after the witness was killed", lab.clock.now().since(at));
    let stopped_at = lab.clock.now();
    tokio::time::sleep(ttl * 2).await;
    let written = lab.workload()?.recorder().first_acknowledged(stopped_at, None);
    assert_eq!(written, None, "a write was acknowledged without a lease");

    lab.restart("witness").await?;
    lab.wait_acknowledged(None, WHOLE_LIMIT).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    assert!(epoch(&view) > before, "a return is a new epoch (R5)");
    // Whoever was first after the outage: its own return, or the other one.
    let holder = view.holder.expect("somebody holds the lease");
    let moves = if holder == fsn() { vec![] } else { vec![moved(&lab, at, &fsn(), &hel())?] };
    judge(&mut lab, "witness killed, fence", &moves, None).await?;
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_failsafe_writes_go_on_while_the_peer_promises_and_stop_when_it_cannot() -> Outcome {
    let options = LabOptions { on_witness_loss: WitnessLossPolicy::Failsafe, ..quick() };
    let mut lab = writing(options).await?;
    let ttl = lab.options.ttl;
    let old = lab.address(&fsn())?;
    let at = lab.clock.now();
    lab.kill("witness").await?;
    tokio::time::sleep(ttl * 3).await;
    lab.wait_acknowledged(Some(old), Duration::from_secs(2)).await?;
    assert!(lab.postgres_runs(&fsn()));

    lab.kill("hel-agent").await?;
    wait_stopped(&lab, bound(ttl * 2)).await?;
    println!("the peer was silenced; PostgreSQL is stopped {:?} later", lab.clock.now().since(at));

    lab.restart("witness").await?;
    lab.restart("hel-agent").await?;
    lab.wait_acknowledged(None, WHOLE_LIMIT).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    let holder = view.holder.expect("somebody holds the lease");
    let moves = if holder == fsn() { vec![] } else { vec![moved(&lab, at, &fsn(), &hel())?] };
    judge(&mut lab, "witness killed, failsafe", &moves, None).await?;
    lab.stop().await
}
