//! Takeover by the ledger and hot switchover: the holder may live, and the ttl is not waited for.

use std::time::Duration;

use continuum_domain::operation::Method;
use continuum_domain::spec::Takeover;

use super::super::{Scenario, Story, Told, millis, mins, scenario, secs};
use crate::plan::WITNESS;

/// From the loss of the holder until its successor takes writes: `suspect_after` and a second. Clients
/// find it as soon as they give the old one up, which is theirs to say.
const GAP: Duration = Duration::from_millis(1_600);

/// Until clients have given up a host that says nothing any more.
const CLIENTS: Duration = Duration::from_secs(11);

pub(super) fn all() -> Vec<Scenario> {
    [losses(), of_three(), premises()]
        .concat()
        .into_iter()
        .map(|scenario| scenario.taken_over_by(Takeover::Ledger))
        .collect()
}

fn losses() -> Vec<Scenario> {
    vec![
        scenario(
            "ledger-region-lost",
            "9, R18: the primary's region goes dark: writes go on elsewhere well within the ttl",
            region_lost,
        ),
        scenario(
            "ledger-holder-cut-from-its-standby",
            "21, R18: the members lose each other and both see the witness: nobody is suspected",
            cut_from_standby,
        ),
        scenario(
            "ledger-holder-cut-from-the-witness",
            "22, R18: the primary loses the witness alone: its agent answers, so the ttl is waited for",
            cut_from_witness,
        ),
        scenario(
            "ledger-agent-dead-postgres-alive",
            "11, R18: the primary's agent dies and its PostgreSQL writes on: it acknowledges nothing alone",
            agent_dead,
        ),
        scenario(
            "ledger-region-frozen-and-thawed",
            "10, R1: the primary's whole region freezes, is replaced, and thaws: it finds itself replaced",
            frozen_and_thawed,
        ),
        scenario(
            "hot-switchover-with-the-nudge-lost",
            "91, R8: moved from a living primary, there and back; nobody tells it, its own reads do",
            hot_with_nudge_lost,
        ),
        scenario(
            "hot-switchover-with-a-cancelled-wait",
            "47, R11: a commit that waits at the old primary is cancelled while the pair is moved: unknown",
            hot_with_a_cancel,
        ),
    ]
}

fn of_three() -> Vec<Scenario> {
    let all = vec![
        scenario(
            "ledger-of-three-one-is-slow",
            "9, R18: the other in-sync standby is far away when the primary's region is lost",
            third_is_slow,
        ),
        scenario(
            "ledger-of-three-one-is-gone",
            "9, R18: the other in-sync standby is lost together with the primary's region",
            third_is_gone,
        ),
        scenario(
            "ledger-of-three-one-restarts",
            "9, R18: the other in-sync standby restarts in the middle of the takeover",
            third_restarts,
        ),
    ];
    all.into_iter().map(Scenario::three_regions).collect()
}

fn premises() -> Vec<Scenario> {
    vec![
        scenario(
            "ledger-sessions-lower-their-commits",
            "R8, R18: sessions wait for nobody: the primary says so, and the ttl counts until it is over",
            sessions_lowered,
        ),
        scenario(
            "ledger-shrink-unanswered-and-the-region-lost",
            "R9, R18: the change that drops the standby is unanswered when the primary is lost",
            shrink_races,
        ),
    ]
}

fn region_lost(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    story.region("fsn").loses_power_for(secs(15));
    story.expect_writable("hel", GAP)?;
    story.expect_acknowledged_by("hel", CLIENTS)?;
    story.expect_steady_writes(secs(3), secs(2))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn cut_from_standby(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    let epoch = story.epoch();
    story.region("fsn").cut_from_for(&["hel"], secs(12));
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.expect_nobody_but("fsn", secs(8))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(30))?;
    story.expect_epoch(epoch)
}

fn cut_from_witness(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    let epoch = story.epoch();
    story.region("fsn").cut_from_for(&[WITNESS], secs(9));
    story.advance(secs(2))?;
    story.expect_epoch(epoch)?;
    story.expect_primary("hel", secs(6))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn agent_dead(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    story.region("fsn").killed_for(mins(60));
    story.expect_writable("hel", GAP)?;
    story.expect_acknowledged_by("hel", CLIENTS)?;
    story.expect_silence_of("fsn", secs(6))?;
    story.expect_primary("hel", secs(1))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn frozen_and_thawed(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    story.region("fsn").freezes_for(secs(15));
    story.expect_writable("hel", GAP)?;
    story.expect_acknowledged_by("hel", CLIENTS)?;
    story.advance(secs(16))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn hot_with_nudge_lost(story: &mut Story<'_, '_>) -> Told {
    for (from, to) in [("fsn", "hel"), ("hel", "fsn")] {
        story.expect_waits_for_all(true, secs(5))?;
        // The core has to hear of it.
        story.advance(secs(2))?;
        let before = story.epoch();
        story.switch_over_by(Method::Hot, to);
        story.expect_epoch_after(before, secs(6))?;
        story.region(from).cut_from_for(&[to], secs(3));
        story.expect_primary(to, secs(2))?;
        story.expect_acknowledged_by(to, secs(2))?;
        story.expect_whole(secs(60))?;
        story.expect_primary(to, secs(1))?;
        story.expect_epochs_since(before, 1)?;
    }
    Ok(())
}

fn hot_with_a_cancel(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    let before = story.epoch();
    // It is not told, and goes on waiting for one that no longer receives.
    story.switch_over_by(Method::Hot, "hel");
    story.expect_waiting("fsn", secs(6))?;
    story.region("fsn").a_waiting_commit_is_cancelled();
    story.expect_happened("WaitCancelled")?;
    story.expect_epoch_after(before, secs(6))?;
    story.expect_primary("hel", secs(3))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn third_is_slow(story: &mut Story<'_, '_>) -> Told {
    story.region("nbg").is_far_from(&["fsn", "hel", WITNESS], millis(400));
    story.advance(secs(6))?;
    story.expect_in_sync(&["fsn", "hel", "nbg"], secs(6))?;
    story.expect_waits_for_all(true, secs(6))?;
    story.region("fsn").loses_power();
    story.expect_writable("hel", GAP + secs(1))?;
    story.expect_acknowledged_by("hel", CLIENTS)?;
    story.heal();
    story.expect_whole(secs(60))
}

fn third_is_gone(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    story.region("nbg").loses_power();
    story.region("fsn").loses_power();
    story.expect_writable("hel", GAP)?;
    story.expect_acknowledged_by("hel", CLIENTS)?;
    story.expect_in_sync(&["hel"], secs(1))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn third_restarts(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    let before = story.epoch();
    story.region("fsn").loses_power();
    story.expect_epoch_after(before, GAP)?;
    let third = if story.holder().as_deref() == Some("hel") { "nbg" } else { "hel" };
    story.region(third).loses_power_for(secs(2));
    story.expect_acknowledged(CLIENTS)?;
    story.heal();
    story.expect_whole(secs(60))
}

fn sessions_lowered(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    story.region("fsn").sessions_lower_their_commits_for(secs(3));
    story.expect_waits_for_all(false, secs(2))?;
    story.expect_waits_for_all(true, secs(6))?;
    story.region("fsn").sessions_lower_their_commits_for(mins(60));
    story.expect_waits_for_all(false, secs(2))?;
    let epoch = story.epoch();
    story.region("fsn").loses_power();
    story.advance(secs(2))?;
    story.expect_epoch(epoch)?;
    story.expect_primary("hel", secs(6))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn shrink_races(story: &mut Story<'_, '_>) -> Told {
    story.expect_waits_for_all(true, secs(5))?;
    story.region("fsn").hears_no_answer_about_the_pair(secs(4));
    story.region("fsn").cut_from_for(&["hel"], secs(4));
    story.expect_in_sync(&["fsn"], secs(4))?;
    story.region("fsn").loses_power_for(secs(8));
    story.expect_nobody_but("fsn", secs(6))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}
