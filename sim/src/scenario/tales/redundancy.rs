//! Standbys that are lost, late or not to be trusted: what is acknowledged, and what may be lost.

use continuum_domain::spec::Durability;

use super::super::{Scenario, Story, Told, millis, mins, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    let mut all = synchronous();
    all.extend(asynchronous());
    all
}

fn synchronous() -> Vec<Scenario> {
    vec![
        scenario(
            "standby-restarts",
            "41: the standby's PostgreSQL crashes: writes pause for less than the stall's time",
            standby_restarts,
        ),
        scenario(
            "standby-lost",
            "41: the standby is gone: the set shrinks, writes go on, and it is listed again when back",
            standby_lost,
        ),
        scenario(
            "standby-is-listed-again-and-again",
            "41, R12: each time it is listed again, what waited for the proof goes on at once",
            standby_returns,
        ),
        scenario(
            "standby-lost-in-strict",
            "42: strict keeps the names: writes wait until the standby is back",
            standby_lost_strict,
        )
        .strict(),
        scenario(
            "failover-in-strict-waits-for-a-second-copy",
            "42, R22: a takeover in strict leaves one copy: writes wait, until a person lets it run alone",
            strict_after_takeover,
        )
        .strict(),
        scenario(
            "laggard-left-alone",
            "44: the primary and the acking standby are lost together: the laggard is refused",
            laggard_refused,
        )
        .three_regions(),
        scenario(
            "laggard-ordered-to-lead",
            "44: the same, and a person orders the laggard to lead: what is lost is counted",
            laggard_ordered,
        )
        .three_regions(),
        scenario(
            "commit-wait-cancelled",
            "47: a client's waiting commit is cancelled and then lost: it was never acknowledged",
            commit_wait_cancelled,
        )
        .strict(),
        scenario(
            "checkpointer-is-busy-while-the-set-grows",
            "R12: the checkpointer takes up no reload: a standby that streams is not listed for it",
            checkpointer_busy,
        ),
    ]
}

fn asynchronous() -> Vec<Scenario> {
    vec![
        scenario(
            "async-within-its-bound",
            "45: an async pair with little lag fails over on its standing approval",
            async_within_bound,
        )
        .asynchronous(Some(1 << 20)),
        scenario(
            "async-lag-over-its-bound",
            "45, R21: the standby took nothing in for long before the primary died: it waits for a person",
            async_over_its_bound,
        )
        .asynchronous(Some(2_000)),
        scenario(
            "async-lag-unknown",
            "46: both regions lose power, the standby returns and knows no lag: unknown is not little",
            async_lag_unknown,
        )
        .asynchronous(Some(1 << 20)),
        scenario(
            "async-loss-approved-by-hand",
            "45: an async pair without a standing approval waits, is approved, and counts its loss",
            async_approved,
        )
        .asynchronous(None),
    ]
}

fn standby_restarts(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("hel").postgres_crashes();
    story.expect_steady_writes(secs(8), secs(3))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(20))
}

fn standby_lost(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("hel").loses_power();
    story.expect_in_sync(&["fsn"], secs(5))?;
    story.expect_steady_writes(secs(6), secs(4))?;
    story.heal();
    story.expect_whole(secs(30))?;
    story.expect_in_sync(&["fsn", "hel"], secs(0))?;
    story.expect_epoch(epoch)
}

fn standby_returns(story: &mut Story<'_, '_>) -> Told {
    for _ in 0..8 {
        story.region("hel").loses_power_for(secs(4));
        story.expect_in_sync(&["fsn"], secs(6))?;
        story.expect_acknowledged(secs(2))?;
        story.expect_steady_writes(secs(6), millis(600))?;
        story.expect_in_sync(&["fsn", "hel"], secs(4))?;
    }
    story.expect_whole(secs(10))
}

fn standby_lost_strict(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").loses_power();
    story.advance(millis(200))?;
    story.expect_no_acknowledgement(secs(8))?;
    story.expect_in_sync(&["fsn", "hel"], secs(0))?;
    story.heal();
    story.expect_acknowledged(secs(15))?;
    story.expect_whole(secs(30))?;
    story.expect_primary("fsn", secs(1))
}

fn strict_after_takeover(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").loses_power();
    story.advance(millis(200))?;
    story.expect_no_acknowledgement(secs(9))?;
    story.expect_blocked("hel", "waiting-for-standby", secs(6))?;
    story.set_durability(Durability::Available);
    story.expect_acknowledged(secs(10))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

/// `nbg` falls behind, then the other two go.
fn only_the_laggard_is_left(story: &mut Story<'_, '_>) -> Told {
    story.region("nbg").cut_from_for(&["fsn", "hel"], secs(12));
    story.expect_in_sync(&["fsn", "hel"], secs(6))?;
    story.expect_steady_writes(secs(5), secs(4))?;
    story.region("fsn").loses_power();
    story.region("hel").loses_power();
    story.expect_nobody_writes(secs(1))
}

fn laggard_refused(story: &mut Story<'_, '_>) -> Told {
    only_the_laggard_is_left(story)?;
    story.expect_blocked("nbg", "not-in-sync", secs(15))?;
    story.fail_over_to("nbg");
    story.expect_refused("nbg", secs(5))?;
    story.expect_no_acknowledgement(secs(5))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn laggard_ordered(story: &mut Story<'_, '_>) -> Told {
    only_the_laggard_is_left(story)?;
    story.expect_blocked("nbg", "not-in-sync", secs(15))?;
    story.fail_over_accepting_loss_to("nbg");
    story.expect_primary("nbg", secs(15))?;
    story.expect_loss_counted()?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("nbg", secs(1))
}

fn commit_wait_cancelled(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").receiver_is_stuck();
    story.advance(secs(2))?;
    story.region("fsn").a_waiting_commit_is_cancelled();
    story.expect_happened("WaitCancelled")?;
    story.advance(millis(500))?;
    story.region("fsn").loses_power();
    story.region("hel").loses_power_for(millis(500));
    story.expect_primary("hel", secs(15))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn checkpointer_busy(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").loses_power_for(secs(4));
    story.expect_in_sync(&["fsn"], secs(5))?;
    // The relaxed names are taken up before.
    story.advance(millis(500))?;
    story.region("fsn").checkpointer_is_busy_for(secs(8));
    story.advance(secs(7))?;
    story.expect_in_sync(&["fsn"], secs(0))?;
    story.expect_whole(secs(30))
}

fn async_within_bound(story: &mut Story<'_, '_>) -> Told {
    // Nothing is known of the age of a primary's words before it has spoken for a while.
    story.advance(secs(4))?;
    story.region("fsn").loses_power();
    story.expect_primary("hel", secs(12))?;
    story.expect_acknowledged(secs(12))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn async_over_its_bound(story: &mut Story<'_, '_>) -> Told {
    story.advance(secs(4))?;
    story.region("hel").receiver_is_stuck();
    story.expect_steady_writes(secs(8), secs(1))?;
    story.region("fsn").loses_power();
    story.expect_nobody_but("fsn", secs(10))?;
    story.expect_blocked("hel", "data-loss-approval", secs(8))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_nothing_lost()
}

fn async_lag_unknown(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").loses_power_for(secs(2));
    story.region("fsn").loses_power();
    story.expect_nobody_but("fsn", secs(8))?;
    story.expect_blocked("hel", "data-loss-approval", secs(8))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_nothing_lost()
}

fn async_approved(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").cut_from(&["fsn"]);
    story.expect_steady_writes(secs(3), secs(2))?;
    story.region("fsn").killed_for(mins(60));
    story.expect_blocked("hel", "data-loss-approval", secs(12))?;
    story.approve_operation();
    story.expect_primary("hel", secs(10))?;
    story.expect_loss_counted()?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}
