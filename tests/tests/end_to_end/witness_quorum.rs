//! The witness is three acceptors: the control core, a witness server, and a third one, which is an
//! object store or another server. Any one may go, and nothing is interrupted; without a majority the
//! primary stops by its deadline.

use std::time::Duration;

use continuum_chaos::lab::{Error, binary};
use continuum_chaos::{Lab, LabOptions, LabWitness};
use continuum_control_api::link::AcceptorStanding;
use continuum_control_api::rest::AgedAcceptors;
use continuum_tests::*;

/// Longest time between two acknowledged writes while one acceptor is away.
const UNINTERRUPTED: Duration = Duration::from_secs(2);
/// The third acceptors, by their parts.
const SERVER: &str = "witness-2";
const STORE: &str = "object-store";
/// The core as an acceptor. Nobody tells how it stands while it has no leader.
const CORE: &str = "core";

/// The object store of the lab is a program in JavaScript, and a call to it may take half of a
/// renewal: it gets more time than a server.
fn quorum(witness: LabWitness) -> LabOptions {
    match witness {
        LabWitness::ObjectStore => LabOptions {
            ttl: Duration::from_secs(6),
            renew: Some(Duration::from_millis(1_200)),
            witness,
            ..LabOptions::default()
        },
        LabWitness::Server | LabWitness::Servers => LabOptions { witness, ..quick() },
    }
}

/// A holder that could not renew would be stopped before this.
fn longer_than_a_lease(lab: &Lab) -> Duration {
    lab.options.ttl + Duration::from_secs(1)
}

/// Waits until both agents tell the core that `acceptor`, and no other, does not answer; or, without
/// one, that all answer.
async fn seen_by_the_agents(lab: &Lab, acceptor: Option<&str>) -> Outcome {
    lab.until(&format!("{acceptor:?} to be seen not to answer"), WHOLE_LIMIT, async || {
        let view = lab.pair().await.map_err(|error| error.to_string())?;
        let due = |name: &str| match acceptor {
            Some(silent) if silent == name => AcceptorStanding::Silent,
            _ => AcceptorStanding::Answers,
        };
        let fits = |told: &AgedAcceptors| {
            let mut all = told.acceptors.iter();
            told.acceptors.len() == 3
                && all.all(|(name, report)| report.standing(told.age_ms) == due(name))
        };
        let told = [fsn(), hel()].map(|region| view.acceptors.get(&region).is_some_and(fits));
        if told == [true, true] { Ok(()) } else { Err(format!("{:?}", view.acceptors)) }
    })
    .await
}

/// Kills one acceptor (`parts`), looks at the writes for longer than a lease, and starts it again.
async fn without(lab: &mut Lab, acceptor: &str, parts: &[&str]) -> Outcome {
    let before = epoch(&lab.pair().await?);
    for part in parts {
        lab.kill(part).await?;
    }
    let from = lab.clock.now();
    tokio::time::sleep(longer_than_a_lease(lab)).await;
    let until = lab.clock.now();
    assert!(lab.postgres_runs(&fsn()), "{parts:?} gone, and the primary was stopped");
    let gap = lab.workload()?.recorder().longest_gap(from, until);
    println!("{parts:?} gone: longest gap between acknowledged writes {gap:?}");
    assert!(gap < bound(UNINTERRUPTED), "{parts:?} gone: {gap:?} without a write");
    if acceptor != CORE {
        seen_by_the_agents(lab, Some(acceptor)).await?;
    }
    for part in parts {
        lab.restart(part).await?;
    }
    lab.wait_leader(WHOLE_LIMIT).await?;
    seen_by_the_agents(lab, None).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    assert_eq!(epoch(&view), before, "the loss of {parts:?} moved the lease");
    Ok(())
}

/// Each acceptor is killed in turn, then two at once.
async fn any_one_may_go_and_two_may_not(witness: LabWitness, third: &str) -> Outcome {
    let mut lab = writing(quorum(witness)).await?;
    without(&mut lab, "witness", &["witness"]).await?;
    without(&mut lab, third, &[third]).await?;
    without(&mut lab, CORE, &["core-1", "core-2"]).await?;
    two_gone(&mut lab, ["witness", third]).await?;
    lab.stop().await
}

/// The primary stops by its deadline, and nobody writes until a majority is back.
async fn two_gone(lab: &mut Lab, parts: [&str; 2]) -> Outcome {
    let ttl = lab.options.ttl;
    for part in parts {
        lab.kill(part).await?;
    }
    let at = lab.clock.now();
    lab.until("PostgreSQL of fsn to be stopped", bound(ttl), async || {
        if lab.postgres_runs(&fsn()) { Err("it runs".to_owned()) } else { Ok(()) }
    })
    .await?;
    println!("fenced {:?} after two of three were killed", lab.clock.now().since(at));
    let stopped_at = lab.clock.now();
    tokio::time::sleep(longer_than_a_lease(lab)).await;
    let written = lab.workload()?.recorder().first_acknowledged(stopped_at, None);
    assert_eq!(written, None, "a write was acknowledged without a lease");
    let [first, second] = parts;
    lab.restart(first).await?;
    lab.wait_acknowledged(None, WHOLE_LIMIT).await?;
    lab.restart(second).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    let holder = view.holder.expect("somebody holds the lease");
    let moves = if holder == fsn() { vec![] } else { vec![moved(lab, at, &fsn(), &hel())?] };
    judge(lab, "acceptors killed", &moves, None).await?;
    Ok(())
}

/// The core is two things at once that are lost: who grants, and one acceptor of three.
async fn core_and_region_lost(witness: LabWitness) -> Outcome {
    let mut lab = writing(quorum(witness)).await?;
    let (ttl, before) = (lab.options.ttl, epoch(&lab.pair().await?));
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

/// What an operator's command prints, and whether it succeeds.
async fn operator(lab: &Lab, arguments: &[&str]) -> Result<(bool, String), Error> {
    let mut command = tokio::process::Command::new(binary()?);
    command.args(arguments).env("CONTINUUM_CONFIG", &lab.manifest().operator_config);
    let output = tokio::time::timeout(WHOLE_LIMIT, command.kill_on_drop(true).output()).await;
    let output = output.expect("the command ends").expect("the command starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    println!("{arguments:?}:\n{text}");
    Ok((output.status.success(), text))
}

/// Empties the directory of a part that does not run.
fn wipe(lab: &Lab, name: &str) {
    let part = lab.manifest().parts.iter().find(|part| part.name == name);
    let directory = &part.expect("a part of this lab").data_directory;
    std::fs::remove_dir_all(directory).expect("it had a directory");
    std::fs::create_dir(directory).expect("the parent is there");
}

/// A server's disk is gone: it may have promised what it does not know any more, and counts for
/// nothing until it is taken in again. Then it bears the loss of another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_acceptor_counts_again_after_it_was_replaced_by_itself() -> Outcome {
    let mut lab = writing(quorum(LabWitness::Servers)).await?;
    lab.kill(SERVER).await?;
    wipe(&lab, SERVER);
    lab.restart(SERVER).await?;
    seen_by_the_agents(&lab, Some(SERVER)).await?;
    let (_, status) = operator(&lab, &["witness", "status"]).await?;
    assert!(status.contains("lost"), "a store without its state looks like the others: {status}");
    let (done, text) = operator(&lab, &["witness", "replace", SERVER, SERVER]).await?;
    assert!(done && text.contains("generation 2"), "{text}");
    seen_by_the_agents(&lab, None).await?;
    without(&mut lab, "witness", &["witness"]).await?;
    undisturbed().await;
    judge(&mut lab, "acceptor wiped and replaced", &[], None).await?;
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_one_acceptor_of_three_kinds_may_go_and_two_may_not() -> Outcome {
    any_one_may_go_and_two_may_not(LabWitness::ObjectStore, STORE).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the same with two witness servers"]
async fn any_one_acceptor_may_go_and_two_may_not() -> Outcome {
    any_one_may_go_and_two_may_not(LabWitness::Servers, SERVER).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_region_with_the_core_is_lost_and_the_other_takes_over_by_server_and_store() -> Outcome
{
    core_and_region_lost(LabWitness::ObjectStore).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_region_with_the_core_is_lost_and_the_other_takes_over() -> Outcome {
    core_and_region_lost(LabWitness::Servers).await
}
