//! Histories that went apart, and sets that changed while something was in doubt.

use super::super::{Scenario, Story, Told, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "promoted-apart-under-one-timeline-number",
            "53: two members are promoted apart to the same timeline number: told apart by content",
            promoted_apart,
        )
        .asynchronous(None),
        scenario(
            "growth-with-an-unanswered-change",
            "R9: the change that lists a standby is not answered: who is listed is waited for",
            growth_unanswered,
        ),
        scenario(
            "shrink-with-an-unanswered-change",
            "R9, V02: the change that drops a standby is not answered: nothing is relaxed on a guess",
            shrink_unanswered,
        ),
    ]
}

fn promoted_apart(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").cut_from(&["hel"]);
    story.advance(secs(1))?;
    story.region("fsn").postgres_crashes();
    story.expect_nobody_writes(secs(1))?;
    story.expect_primary("fsn", secs(5))?;
    story.expect_acknowledged(secs(2))?;
    story.region("fsn").loses_power();
    story.expect_blocked("hel", "data-loss-approval", secs(12))?;
    story.approve_operation();
    story.expect_primary("hel", secs(10))?;
    story.expect_loss_counted()?;
    story.expect_acknowledged(secs(12))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn growth_unanswered(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").cut_from_for(&["fsn"], secs(4));
    story.expect_in_sync(&["fsn"], secs(5))?;
    story.region("fsn").hears_no_answer_about_the_pair(secs(20));
    story.expect_in_sync(&["fsn", "hel"], secs(8))?;
    story.region("fsn").cut_from(&["hel"]);
    story.advance(secs(2))?;
    story.region("fsn").loses_power();
    story.expect_primary("hel", secs(12))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_nothing_lost()
}

fn shrink_unanswered(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").hears_no_answer_about_the_pair(secs(20));
    story.region("fsn").cut_from(&["hel"]);
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.expect_no_acknowledgement(secs(2))?;
    story.region("fsn").loses_power_for(secs(9));
    story.expect_nobody_but("fsn", secs(5))?;
    story.expect_blocked("hel", "not-in-sync", secs(4))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}
