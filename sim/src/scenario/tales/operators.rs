//! What operators order, at good moments and at bad ones.

use continuum_domain::operation::Method;
use continuum_domain::spec::PairMode;

use super::super::{Scenario, Story, Told, millis, mins, scenario, secs};
use crate::plan::WITNESS;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "planned-switchover",
            "91: an operator moves the pair, twice; nothing is lost and the old primary follows",
            planned_switchover,
        ),
        scenario(
            "paused-and-the-primary-dies",
            "88: automation is paused when the primary dies: nothing is done, loudly; resuming looks again",
            paused_primary_dies,
        ),
        scenario(
            "pause-expires",
            "89: a pause ends by itself: the takeover comes after its end and not before",
            pause_expires,
        ),
        scenario(
            "primary-fenced-by-hand",
            "90: the primary is taken out for maintenance: the lease is given up, the other takes over",
            primary_fenced,
        ),
        scenario(
            "standby-fenced-by-hand",
            "90: the standby is taken out for maintenance: writes go on without it",
            standby_fenced,
        ),
        scenario(
            "pair-paused-and-the-primary-dies",
            "88, R21: the pair's register is paused when the primary dies: challengers stay out until it is resumed",
            pair_paused,
        ),
        scenario(
            "pair-stopped-and-started",
            "an operator stops the pair: it stays stopped through restarts of everything, and comes back where it was",
            pair_stopped,
        ),
        scenario(
            "pair-stopped-and-its-region-is-lost",
            "the region that held the pair is lost while it is stopped: the other one resumes it and nothing is lost",
            pair_stopped_region_lost,
        ),
        scenario(
            "pair-stopped-and-the-core-dies",
            "every control node is killed when the holder has been asked to stop: the pause is carried on when they are back",
            pair_stopped_core_dies,
        ),
        scenario(
            "semi-automatic-waits-for-approval",
            "R21: in mode semi-automatic the takeover is proposed, and made when a person approves it",
            semi_automatic,
        ),
        scenario(
            "manual-is-left-alone",
            "in mode manual nothing moves by itself, with the core and without it; a person orders it",
            manual,
        ),
        scenario(
            "switchover-to-nobody",
            "92: the target of a switchover is no member, or behind: refused, nothing is touched",
            switchover_refused,
        ),
        scenario(
            "switchover-target-dies",
            "93: the target dies when the primary has stopped: the old primary writes again",
            switchover_target_dies,
        ),
        scenario(
            "core-lost-in-a-switchover",
            "93, R17: the core is lost when the primary has stopped: the pair is writable again by itself",
            core_lost_in_switchover,
        ),
        scenario(
            "both-regions-lost-in-a-switchover",
            "93: both regions lose power when the primary has stopped: the move is said to have failed, and the pair comes back",
            both_lost_in_switchover,
        ),
        scenario(
            "failover-under-way-and-the-holder-lets-go",
            "90, R16: a failover is granted and its taker stands still; the holder is fenced and lets go: vacant",
            lets_go_in_a_failover,
        ),
        scenario(
            "switchover-cancelled",
            "91: a switchover is ordered and cancelled at once: one primary, and it is whole",
            switchover_cancelled,
        ),
        scenario(
            "switchover-cancelled-when-the-primary-has-stopped",
            "91, R15: the target is gone and the primary has stopped: a cancel brings the primary back at once",
            cancelled_when_stopped,
        ),
        scenario(
            "rolling-restart-of-everything",
            "96: every process is restarted in turn: writes pause for a second or two at most",
            rolling_restart,
        ),
    ]
}

fn planned_switchover(story: &mut Story<'_, '_>) -> Told {
    story.expect_primary("fsn", secs(1))?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(10))?;
    story.expect_whole(secs(30))?;
    story.switch_over_to("fsn");
    story.expect_primary("fsn", secs(10))?;
    story.expect_whole(secs(30))
}

fn paused_primary_dies(story: &mut Story<'_, '_>) -> Told {
    story.pause_automation_for(mins(10));
    story.advance(secs(1))?;
    story.region("fsn").loses_power();
    story.advance(millis(200))?;
    story.expect_no_acknowledgement(secs(9))?;
    story.expect_blocked("hel", "denied-by-core", secs(5))?;
    story.resume_automation();
    story.expect_primary("hel", secs(10))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn pause_expires(story: &mut Story<'_, '_>) -> Told {
    story.pause_automation_for(secs(12));
    story.advance(secs(1))?;
    story.region("fsn").loses_power();
    story.expect_nobody_but("fsn", secs(10))?;
    story.expect_primary("hel", secs(12))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn primary_fenced(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").is_fenced_by_hand_for(secs(14));
    story.expect_nobody_writes(secs(3))?;
    story.expect_primary("hel", secs(8))?;
    story.expect_blocked("fsn", "fenced", secs(5))?;
    story.expect_silence_of("fsn", secs(4))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn pair_paused(story: &mut Story<'_, '_>) -> Told {
    story.pause_pair_for(mins(60));
    story.advance(secs(1))?;
    story.region("fsn").loses_power();
    story.advance(millis(200))?;
    story.expect_no_acknowledgement(secs(9))?;
    story.expect_blocked("hel", "paused", secs(5))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn pair_stopped(story: &mut Story<'_, '_>) -> Told {
    story.stop_pair_for(mins(60));
    story.expect_at_rest("fsn", secs(10))?;
    story.expect_no_acknowledgement(secs(12))?;
    for region in ["fsn", "hel"] {
        story.region(region).loses_power_for(secs(2));
        story.advance(secs(5))?;
    }
    story.expect_at_rest("fsn", secs(2))?;
    story.expect_nobody_writes(secs(3))?;
    story.start_pair();
    story.expect_primary("fsn", secs(15))?;
    story.expect_nothing_lost()?;
    story.expect_whole(secs(30))
}

fn pair_stopped_region_lost(story: &mut Story<'_, '_>) -> Told {
    story.stop_pair_for(mins(60));
    story.expect_at_rest("fsn", secs(10))?;
    story.region("fsn").loses_power();
    story.advance(secs(12))?;
    story.expect_nobody_writes(secs(3))?;
    story.start_pair_in("hel");
    story.expect_primary("hel", secs(15))?;
    story.expect_nothing_lost()?;
    story.heal();
    story.expect_whole(secs(60))
}

fn pair_stopped_core_dies(story: &mut Story<'_, '_>) -> Told {
    story.stop_pair_for(mins(60));
    story.expect_nobody_writes(secs(5))?;
    story.core_killed_for(secs(3));
    story.expect_at_rest("fsn", secs(20))?;
    story.start_pair();
    story.expect_primary("fsn", secs(20))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn semi_automatic(story: &mut Story<'_, '_>) -> Told {
    story.set_mode(PairMode::SemiAutomatic);
    story.advance(secs(1))?;
    story.region("fsn").loses_power();
    story.expect_blocked("hel", "denied-by-core", secs(12))?;
    story.expect_nobody_but("fsn", secs(3))?;
    story.approve_operation();
    story.expect_primary("hel", secs(10))?;
    story.expect_nothing_lost()?;
    story.heal();
    story.expect_whole(secs(60))
}

fn manual(story: &mut Story<'_, '_>) -> Told {
    story.set_mode(PairMode::Manual);
    story.advance(secs(1))?;
    story.region("fsn").loses_power();
    story.expect_blocked("hel", "denied-by-core", secs(12))?;
    story.core_killed_for(secs(12));
    story.expect_nobody_but("fsn", secs(10))?;
    story.advance(secs(6))?;
    story.fail_over_to("hel");
    story.expect_primary("hel", secs(15))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn standby_fenced(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("hel").is_fenced_by_hand_for(secs(10));
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.expect_steady_writes(secs(4), secs(2))?;
    story.expect_blocked("hel", "fenced", secs(3))?;
    story.expect_whole(secs(40))?;
    story.expect_epoch(epoch)
}

fn switchover_refused(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.switch_over_to("nbg");
    story.expect_refused("nbg", secs(3))?;
    story.region("hel").cut_from(&["fsn"]);
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.advance(secs(1))?;
    story.switch_over_to("hel");
    story.expect_refused("in-sync", secs(3))?;
    story.expect_steady_writes(secs(3), secs(2))?;
    story.expect_epoch(epoch)?;
    story.heal();
    story.expect_whole(secs(30))
}

fn switchover_target_dies(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_by(Method::Clean, "hel");
    story.expect_nobody_writes(secs(5))?;
    story.region("hel").loses_power();
    story.expect_primary("fsn", secs(20))?;
    story.expect_acknowledged(secs(8))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn core_lost_in_switchover(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_by(Method::Clean, "hel");
    story.expect_nobody_writes(secs(5))?;
    story.core_killed_for(mins(60));
    story.expect_acknowledged(secs(20))?;
    story.expect_steady_writes(secs(5), secs(2))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn both_lost_in_switchover(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_by(Method::Clean, "hel");
    story.expect_nobody_writes(secs(5))?;
    story.region("fsn").loses_power();
    story.region("hel").loses_power();
    story.expect_no_acknowledgement(secs(70))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn lets_go_in_a_failover(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").cut_from_for(&[WITNESS], millis(1_600));
    story.advance(millis(1_550))?;
    story.region("hel").stopped_for(secs(4));
    story.region("fsn").is_fenced_by_hand_for(secs(9));
    story.expect("nobody holds the pair", secs(3), |story| story.holder().is_none())?;
    story.expect_primary("hel", secs(12))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn switchover_cancelled(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_to("hel");
    story.advance(millis(100))?;
    story.cancel_operation();
    story.expect_acknowledged(secs(10))?;
    story.expect_whole(secs(30))
}

fn cancelled_when_stopped(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_by(Method::Clean, "hel");
    story.expect_nobody_writes(secs(5))?;
    story.region("hel").loses_power();
    story.advance(secs(1))?;
    story.cancel_operation();
    story.expect_primary("fsn", secs(8))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}

fn rolling_restart(story: &mut Story<'_, '_>) -> Told {
    for host in story.hosts() {
        story.node(&host).killed_for(millis(300));
        story.expect_steady_writes(millis(2_500), secs(2))?;
    }
    story.expect_whole(secs(20))?;
    story.expect_primary("fsn", secs(1))
}
