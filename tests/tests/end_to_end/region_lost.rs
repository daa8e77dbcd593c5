//! A region is killed and the other takes over by itself; PostgreSQL alone is killed and writes are
//! back at once.

use std::time::Duration;

use continuum_chaos::LabOptions;
use continuum_domain::operation::OperationKind;
use continuum_domain::spec::Durability;
use continuum_tests::*;

/// What PostgreSQL admits unless it is told otherwise.
const CONNECTIONS: u32 = 100;

async fn region_killed(options: LabOptions, promised: Duration, what: &str) -> Outcome {
    let ttl = options.ttl;
    let mut lab = writing(options).await?;
    let before = epoch(&lab.pair().await?);
    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), ttl * 4).await?;
    let operation = lab.failover_after(before, WHOLE_LIMIT).await?;
    let by_itself = matches!(&operation.kind, OperationKind::Failover { to, .. } if *to == hel());
    assert!(by_itself, "{operation:#?}");
    lab.start_region(&fsn()).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    assert_eq!(view.holder, Some(hel()));
    assert!(epoch(&view) > before);
    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    let judged = judge(&mut lab, what, &[step], None).await?;
    let outage = gap(&judged, at, None);
    assert!(outage <= bound(promised), "{what}: writes stood still for {outage:?}");
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_killed_at_ttl_3_s_and_writes_are_back_within_4_s() -> Outcome {
    region_killed(quick(), Duration::from_secs(4), "region killed, ttl 3 s").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: ttl 10 s"]
async fn a_region_is_killed_at_ttl_10_s_and_writes_are_back_within_11_s() -> Outcome {
    let options = LabOptions::default();
    region_killed(options, Duration::from_secs(11), "region killed, ttl 10 s").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the same in strict durability, where writes wait for the second copy"]
async fn a_strict_pair_takes_no_write_until_a_second_copy_is_back() -> Outcome {
    let options = LabOptions { durability: Durability::Strict, ..quick() };
    let mut lab = writing(options).await?;
    let before = epoch(&lab.pair().await?);
    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_moved(before, lab.options.ttl * 4).await?;
    undisturbed().await;
    let new = lab.address(&hel())?;
    let alone = lab.workload()?.recorder().first_acknowledged(at, Some(new));
    assert_eq!(alone, None, "a write was acknowledged with one copy only (R22)");
    lab.start_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), WHOLE_LIMIT).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    let step = moved(&lab, at, &fsn(), &hel())?;
    judge(&mut lab, "region killed, strict", &[step], None).await?;
    lab.stop().await
}

/// Clients that give up and come again leave a waiting session each: the member that would end the
/// wait must still get in.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_pair_becomes_whole_though_waiting_clients_took_every_connection() -> Outcome {
    let options = LabOptions { durability: Durability::Strict, ..quick() };
    let mut lab = writing(options).await?;
    let before = epoch(&lab.pair().await?);
    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_moved(before, lab.options.ttl * 4).await?;
    let new = lab.address(&hel())?;
    for _ in 0..CONNECTIONS {
        lab.workload()?.pin(new);
    }
    lab.until("every connection to be taken", WHOLE_LIMIT, async || {
        let trouble = lab.trouble();
        let full = trouble.as_ref().is_some_and(|text| text.contains("connection slots"));
        if full { Ok(()) } else { Err(format!("the last trouble is {trouble:?}")) }
    })
    .await?;
    lab.start_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), WHOLE_LIMIT).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    let step = moved(&lab, at, &fsn(), &hel())?;
    judge(&mut lab, "every connection waits, strict", &[step], None).await?;
    lab.stop().await
}

/// Every process of PostgreSQL stands still while its agent renews the lease: nobody may challenge.
/// The holder lets go by itself once no write has come through for `write_stall_timeout`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the default write_stall_timeout is 20 s"]
async fn postgresql_hangs_with_a_living_agent_and_the_other_side_takes_over() -> Outcome {
    let mut lab = writing(quick()).await?;
    let before = epoch(&lab.pair().await?);
    let at = lab.clock.now();
    lab.hang_postgres(&fsn())?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), WHOLE_LIMIT).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    assert_eq!(view.holder, Some(hel()));
    assert!(epoch(&view) > before);
    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    let judged = judge(&mut lab, "PostgreSQL hangs", &[step], None).await?;
    println!("PostgreSQL hangs: writes stood still for {:?}", gap(&judged, at, None));
    lab.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_alone_is_killed_and_writes_are_back_within_a_second() -> Outcome {
    let mut lab = writing(quick()).await?;
    let at = lab.clock.now();
    lab.kill_postgres(&fsn())?;
    lab.wait_acknowledged(None, Duration::from_secs(30)).await?;
    let view = lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    // Restarted in place or moved, whichever the policy says.
    let holder = view.holder.expect("somebody holds the lease");
    let moves = if holder == fsn() { vec![] } else { vec![moved(&lab, at, &fsn(), &hel())?] };
    let judged = judge(&mut lab, "PostgreSQL killed", &moves, None).await?;
    let outage = gap(&judged, at, None);
    println!("PostgreSQL killed: {holder} is primary, writes stood still for {outage:?}");
    assert!(outage < bound(Duration::from_secs(1)), "writes stood still for {outage:?}");
    lab.stop().await
}
