//! Links that are cut, slow, one-way or unsteady.

use super::super::{Scenario, Story, Told, millis, scenario, secs};
use crate::plan::{USERS, WITNESS};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "members-cut-apart",
            "21: the members lose each other and both see the witness: the primary keeps the lease alone",
            members_cut_apart,
        ),
        scenario(
            "members-cut-apart-in-strict",
            "21, 42: the same in strict: writes wait, nobody moves, the set stays as it is",
            members_cut_apart_strict,
        )
        .strict(),
        scenario(
            "primary-cut-from-witness",
            "22: the primary's region loses the witness: it fences by its ttl, the other takes over",
            primary_cut_from_witness,
        ),
        scenario(
            "primary-sees-only-its-standby",
            "22: the primary reaches its standby and nobody else: it fences, the standby waits the full ttl",
            primary_sees_only_standby,
        ),
        scenario(
            "primary-region-is-isolated",
            "23, 25, 39: the primary's region reaches nobody and wall clocks jump: fenced and replaced in time",
            primary_isolated,
        ),
        scenario(
            "primary-cut-off-with-open-sessions",
            "24, 53: only clients reach the primary: it acknowledges nothing, and what it wrote is rewound",
            cut_off_with_sessions,
        ),
        scenario(
            "link-flaps-at-about-the-ttl",
            "27: the primary's way to the witness is cut and whole in turn, about a ttl each",
            link_flaps,
        )
        .with(|plan| plan.anti_flap = 10_000),
        scenario(
            "latency-below-the-budget",
            "28: everything is a quarter of a second away and back: nothing moves",
            latency_below_budget,
        ),
        scenario(
            "renewals-arrive-late-all-at-once",
            "36: what the primary sent waits on the way and lands long after its lease is gone",
            renewals_arrive_late,
        ),
        scenario(
            "lost-cas-replies",
            "36: requests of the primary's region reach the witness, answers do not come back",
            lost_cas_replies,
        ),
    ]
}

fn members_cut_apart(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").cut_from(&["hel"]);
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.expect_acknowledged(secs(2))?;
    story.expect_nobody_but("fsn", secs(8))?;
    story.expect_steady_writes(secs(2), secs(2))?;
    story.expect_epoch(epoch)?;
    story.heal();
    story.expect_whole(secs(30))
}

fn members_cut_apart_strict(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").cut_from(&["hel"]);
    story.advance(millis(100))?;
    story.expect_no_acknowledgement(secs(8))?;
    story.expect_in_sync(&["fsn", "hel"], secs(0))?;
    story.expect_epoch(epoch)?;
    story.heal();
    story.expect_whole(secs(30))?;
    story.expect_primary("fsn", secs(1))
}

fn primary_cut_from_witness(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").cut_from(&[WITNESS]);
    story.expect_nobody_writes(secs(4))?;
    story.expect_primary("hel", secs(8))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn primary_sees_only_standby(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").reaches_only(&["hel"]);
    story.expect_nobody_but("fsn", secs(2))?;
    story.expect_nobody_writes(secs(2))?;
    story.expect_primary("hel", secs(8))?;
    story.expect_silence_of("fsn", secs(5))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn primary_isolated(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").cut_from_everybody();
    story.region("fsn").wall_clock_steps_by_hours(-1);
    story.region("hel").wall_clock_steps_by_hours(1);
    if !story.by_ledger() {
        story.expect_nobody_but("fsn", secs(2))?;
    }
    story.expect_out("fsn", secs(1))?;
    story.expect_primary("hel", secs(6))?;
    story.expect_silence_of("fsn", secs(3))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn cut_off_with_sessions(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").reaches_only(&[USERS]);
    story.expect_out("fsn", secs(3))?;
    story.expect_silence_of("fsn", secs(4))?;
    story.expect_primary("hel", secs(6))?;
    story.expect_acknowledged(secs(5))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_happened("rewound")?;
    story.expect_primary("hel", secs(1))
}

fn link_flaps(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").flaps_with(&[WITNESS], secs(3), secs(15));
    story.advance(secs(18))?;
    story.expect_epochs_since(epoch, 3)?;
    story.expect_whole(secs(60))
}

fn latency_below_budget(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    let far = millis(120);
    story.region("fsn").is_far_from(&[WITNESS, "hel", "c1", "c2", "c3"], far);
    story.region("hel").is_far_from(&[WITNESS, "c1", "c2", "c3"], far);
    story.expect_steady_writes(secs(10), secs(2))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(5))
}

fn renewals_arrive_late(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").messages_wait(&[WITNESS], secs(9));
    story.expect_nobody_writes(secs(3))?;
    story.expect_primary("hel", secs(6))?;
    story.expect_silence_of("fsn", secs(8))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn lost_cas_replies(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").hears_nothing_from(&[WITNESS]);
    story.expect_primary("hel", secs(15))?;
    story.expect_silence_of("fsn", secs(5))?;
    story.heal();
    story.expect_whole(secs(60))
}
