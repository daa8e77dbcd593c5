//! An old primary that took writes nobody else has comes back: its tail is saved, it is rewound, and
//! it streams.

use std::fs;
use std::path::Path;
use std::time::Duration;

use continuum_chaos::{Lab, LabOptions};
use continuum_control_api::rest::{FailoverRequest, OperationsQuery};
use continuum_domain::spec::Durability;
use continuum_domain::{Epoch, Tick};
use continuum_tests::*;
use rustix::process::Signal;

/// How long the primary writes what the standby does not get.
const APART: Duration = Duration::from_secs(2);

fn files_below(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

fn pair_options() -> LabOptions {
    LabOptions { durability: Durability::Async, ..quick() }
}

/// A person approves that acknowledged writes are lost, for exactly the epoch `before`: by
/// approving the failover that waits for it, or by asking for one.
async fn approve_loss(lab: &Lab, before: Epoch) -> Outcome {
    let request = FailoverRequest {
        to: hel(),
        allow_data_loss: true,
        epoch: Some(before),
        dry_run: false,
        reason: "fsn is lost, its tail with it".into(),
    };
    let pair = lab.layout.pair();
    let query = OperationsQuery { pair: Some(pair.clone()), ..Default::default() };
    lab.until("an approved failover to hel", Duration::from_secs(60), async || {
        let view = lab.api().pair(&pair).await.map_err(|error| error.to_string())?;
        if view.holder == Some(hel()) {
            return Ok(());
        }
        let asked = lab.api().failover(&pair, &request).await;
        let operations = lab.api().operations(&query).await.map_err(|error| error.to_string())?;
        for waiting in operations.iter().filter(|operation| !operation.state.is_final()) {
            // Refused where it does not wait for one: then it goes on by itself.
            if let Ok(approved) = lab.api().approve(&waiting.id, "the loss is accepted").await {
                println!("approved: {} {:?}", approved.id, approved.kind);
            }
        }
        Err(format!("holder {:?}, asked: {asked:?}", view.holder))
    })
    .await
}

/// Brings the old primary back and requires that its tail was saved and that it streams.
async fn returns_rewound(lab: &mut Lab, what: &str, at: Tick, apart: Tick) -> Outcome {
    lab.wait_acknowledged(Some(lab.address(&hel())?), WHOLE_LIMIT).await?;
    lab.start_region(&fsn()).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    assert_eq!(view.holder, Some(hel()));
    let artefacts = files_below(&lab.layout.guard_state(&fsn()).join("artefacts"));
    assert!(!artefacts.is_empty(), "the tail was not saved");
    println!("{what}: saved {artefacts:#?}");
    undisturbed().await;
    let step = moved(lab, at, &fsn(), &hel())?;
    let judged = judge(lab, what, &[step], Some(apart)).await?;
    assert!(!judged.verdict.tally.lost.is_empty(), "there was nothing to lose: no divergence");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_primary_returns_with_a_tail_that_is_saved_before_it_is_rewound() -> Outcome {
    let mut lab = writing(pair_options()).await?;
    let before = epoch(&lab.pair().await?);
    // The standby's receiver stands still while the primary goes on: these writes are nowhere else.
    let apart = lab.clock.now();
    lab.signal_receiver(&hel(), Signal::STOP)?;
    tokio::time::sleep(APART).await;
    // On a disk that stands still nothing is acknowledged, and there is nothing to lose yet.
    lab.wait_acknowledged(Some(lab.address(&fsn())?), WHOLE_LIMIT).await?;
    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.signal_receiver(&hel(), Signal::KILL)?;
    approve_loss(&lab, before).await?;
    returns_rewound(&mut lab, "divergent rejoin", at, apart).await?;
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_starts_alone_after_its_primary_is_lost_can_be_given_the_lease() -> Outcome {
    let mut lab = writing(pair_options()).await?;
    let apart = lab.clock.now();
    lab.kill_region(&hel()).await?;
    tokio::time::sleep(APART).await;
    lab.wait_acknowledged(Some(lab.address(&fsn())?), WHOLE_LIMIT).await?;
    let before = epoch(&lab.pair().await?);
    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.start_region(&hel()).await?;
    approve_loss(&lab, before).await?;
    returns_rewound(&mut lab, "standby started alone", at, apart).await?;
    lab.stop().await
}
