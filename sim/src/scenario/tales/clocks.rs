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

fn clocks_drift(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").stopped_for(secs(12));
    story.expect_out("fsn", secs(3))?;
    story.expect_primary("hel", secs(8))?;
    story.advance(secs(8))?;
    story.expect_whole(secs(60))
}
