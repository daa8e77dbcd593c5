//! Second opinions: what resolvers say of the holder's health name before an automatic failover.

use continuum_domain::corroborate::CorroborationEffect;

use super::super::{Scenario, Story, Told, scenario, secs};
use crate::plan::{ResolverFault, WITNESS};

/// The named state of a member that a health name holds back.
const VETOED: &str = "health-name-answers";

pub(super) fn all() -> Vec<Scenario> {
    let all = vec![
        scenario(
            "veto-while-the-health-name-answers",
            "the primary's region is cut off, and the world reaches it: only a person moves the pair",
            cut_off_and_seen,
        ),
        scenario(
            "veto-ends-with-the-health-name",
            "the region that was cut off and seen loses power: its name goes, and so does the veto",
            name_goes,
        ),
        scenario(
            "veto-and-resolvers-that-say-nothing",
            "the primary's region is lost, and the resolvers are silent or fail: unknown bars nobody",
            nobody_says,
        ),
    ];
    all.into_iter()
        .map(|one| one.with(|plan| plan.corroborate = Some(CorroborationEffect::Veto)))
        .collect()
}

fn held_back(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").cut_from(&["hel", WITNESS, "c1", "c2", "c3"]);
    story.expect_blocked("hel", VETOED, secs(10))?;
    story.expect_nobody_but("fsn", secs(6))?;
    story.expect_nobody_writes(secs(1))
}

fn cut_off_and_seen(story: &mut Story<'_, '_>) -> Told {
    held_back(story)?;
    story.fail_over_to("hel");
    story.expect_primary("hel", secs(6))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn name_goes(story: &mut Story<'_, '_>) -> Told {
    held_back(story)?;
    story.region("fsn").loses_power_for(secs(15));
    story.expect_primary("hel", secs(7))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn nobody_says(story: &mut Story<'_, '_>) -> Told {
    for (index, how) in
        [ResolverFault::Silent, ResolverFault::Fails, ResolverFault::Silent].into_iter().enumerate()
    {
        story.resolver_misbehaves(index, how);
    }
    story.region("fsn").loses_power_for(secs(15));
    story.expect_primary("hel", secs(8))?;
    story.expect_whole(secs(60))
}
