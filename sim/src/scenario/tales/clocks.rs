//! Clocks that are wrong.

use super::super::{Scenario, Story, Told, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "wall-clocks-step-by-an-hour",
            "39: every host's wall clock jumps an hour ahead or back: nothing moves",
            wall_clocks_step,
        ),
        scenario(
            "wall-clock-steps-in-a-failover",
            "39, 40: wall clocks jump while the lease runs out: the takeover is neither early nor late",
            wall_clock_steps_in_failover,
        ),
        scenario(
            "clocks-drift-apart",
            "40: the holder's clock is as slow and the challenger's as fast as the bound allows",
            clocks_drift,
        )
        .with(|plan| plan.rates_ppm = [("fsn".into(), -5_000), ("hel".into(), 5_000)].into()),
    ]
}

fn wall_clocks_step(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    for (host, hours) in story.hosts().iter().zip([1, -1].into_iter().cycle()) {
        story.node(host).wall_clock_steps_by_hours(hours);
        story.expect_steady_writes(secs(1), secs(1))?;
    }
    story.expect_epoch(epoch)?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(10))?;
    story.expect_whole(secs(30))
}

fn wall_clock_steps_in_failover(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").cut_from_everybody();
    story.region("fsn").wall_clock_steps_by_hours(-1);
    story.region("hel").wall_clock_steps_by_hours(1);
    story.expect_nobody_but("fsn", secs(2))?;
    story.expect_nobody_writes(secs(1))?;
    story.expect_primary("hel", secs(8))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn clocks_drift(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").stopped_for(secs(12));
    story.expect_nobody_writes(secs(3))?;
    story.expect_primary("hel", secs(8))?;
    story.advance(secs(8))?;
    story.expect_whole(secs(60))
}
