//! A witness that is away, restarts or answers errors.

use super::super::{Scenario, Story, Told, millis, scenario, secs};
use crate::plan::WITNESS;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "witness-restarts-within-the-ttl",
            "33: the witness is away for less than the ttl allows: nothing moves",
            witness_restarts,
        ),
        scenario(
            "witness-lost-with-fence",
            "33: the witness is gone and the core lives: the primary fences, says so, and returns itself",
            witness_lost_fence,
        ),
        scenario(
            "witness-lost-with-failsafe",
            "33, 35: the witness is gone, the standby promises to stay out: writes never stop",
            witness_lost_failsafe,
        )
        .failsafe(),
        scenario(
            "witness-lost-and-the-standby-silent",
            "33: failsafe, and the standby cannot promise: the primary fences, nobody takes over",
            witness_and_standby_lost,
        )
        .failsafe(),
        scenario(
            "witness-lost-when-the-standby-leaves",
            "33, R9: the witness is gone when the standby must leave the set: nothing is relaxed, nothing acknowledged",
            lost_when_standby_leaves,
        ),
        scenario(
            "witness-unreachable-from-both",
            "35: both regions lose the witness, each other they see: nobody takes over, the holder returns",
            unreachable_from_both,
        ),
        scenario(
            "witness-answers-errors",
            "38: the witness's disk fails: an unknown error counts as a renewal that failed",
            witness_answers_errors,
        ),
        scenario(
            "witness-loses-power-in-a-failover",
            "36: the witness loses power just when the standby takes over: one epoch, one primary",
            power_in_failover,
        ),
    ]
}

fn witness_restarts(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.witness().killed_for(millis(700));
    story.expect_steady_writes(secs(10), secs(2))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(20))
}

fn witness_lost_fence(story: &mut Story<'_, '_>) -> Told {
    story.witness().killed_for(secs(12));
    story.expect_nobody_writes(secs(3))?;
    story.expect_blocked("fsn", "witness-unreachable", secs(6))?;
    story.expect_nobody_but("fsn", secs(6))?;
    story.expect_whole(secs(30))
}

fn witness_lost_failsafe(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.witness().killed_for(secs(12));
    story.expect_steady_writes(secs(14), secs(2))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_epochs_since(epoch, 1)?;
    story.expect_whole(secs(30))
}

fn witness_and_standby_lost(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").killed_for(secs(12));
    story.advance(millis(200))?;
    story.witness().killed_for(secs(10));
    story.expect_nobody_writes(secs(4))?;
    story.expect_no_acknowledgement(secs(4))?;
    story.expect_whole(secs(40))
}

fn lost_when_standby_leaves(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").loses_power();
    story.advance(millis(700))?;
    story.witness().killed_for(secs(10));
    story.expect_no_acknowledgement(secs(8))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn unreachable_from_both(story: &mut Story<'_, '_>) -> Told {
    story.witness().cut_from(&["fsn", "hel"]);
    story.expect_nobody_writes(secs(3))?;
    story.expect_no_acknowledgement(secs(8))?;
    story.heal();
    story.expect_whole(secs(30))
}

fn witness_answers_errors(story: &mut Story<'_, '_>) -> Told {
    story.witness().disk_fails_for(secs(7));
    story.expect_nobody_writes(secs(4))?;
    story.expect_no_acknowledgement(secs(3))?;
    story.expect_whole(secs(30))
}

fn power_in_failover(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").cut_from(&[WITNESS]);
    story.expect_nobody_writes(secs(4))?;
    story.advance(millis(700))?;
    story.witness().loses_power_for(secs(2));
    story.expect_primary("hel", secs(15))?;
    story.expect_epochs_since(epoch, 1)?;
    story.heal();
    story.expect_whole(secs(60))
}
