//! Hosts of two versions side by side.

use continuum_domain::spec::PairMode;

use super::super::{Scenario, Story, Told, millis, mins, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "rolling-upgrade-under-load",
            "versions: every host is upgraded in turn under load; halfway the core is asked, answers and is obeyed",
            rolling_upgrade,
        ),
        scenario(
            "spec-of-a-newer-core",
            "versions: a spec that agents do not understand: they go on by the one before, say so, and ask the core",
            spec_of_a_newer_core,
        )
        .with(|plan| {
            plan.newer = plan.core().into_iter().collect();
            plan.newer_specs = true;
        }),
    ]
}

fn rolling_upgrade(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").upgraded_within(millis(300));
    story.expect_steady_writes(millis(2_500), secs(2))?;
    // An agent is newer than the core and than the other agent, and is heard by both.
    story.expect_asked_core("fsn", "hel")?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(10))?;
    story.expect_whole(secs(30))?;
    for node in story.core() {
        story.node(&node).upgraded_within(millis(300));
        story.expect_steady_writes(millis(2_500), secs(2))?;
    }
    // The core is newer than an agent, which does as it says.
    story.expect_asked_core("hel", "fsn")?;
    story.region("fsn").upgraded_within(millis(300));
    story.expect_steady_writes(millis(2_500), secs(2))?;
    story.expect_whole(secs(20))?;
    story.switch_over_to("fsn");
    story.expect_primary("fsn", secs(10))?;
    story.expect_whole(secs(30))
}

fn spec_of_a_newer_core(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.set_mode(PairMode::Manual);
    story.expect_not_understood("fsn", secs(5))?;
    story.expect_not_understood("hel", secs(5))?;
    // An agent that starts anew knows from its disk what it understood last.
    story.region("hel").killed_for(millis(300));
    story.expect_steady_writes(secs(3), secs(2))?;
    story.expect_not_understood("hel", secs(5))?;
    story.expect_epoch(epoch)?;
    // What the core was told counts, although the agent could not read it.
    story.region("fsn").loses_power_for(mins(60));
    story.expect_blocked("hel", "denied-by-core", secs(12))?;
    // Nor does it go alone: it does not know whether it still may.
    story.core_killed_for(secs(20));
    story.expect_no_acknowledgement(secs(18))?;
    story.expect_epoch(epoch)?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(10))?;
    story.expect_whole(secs(30))
}
