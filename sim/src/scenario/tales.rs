//! The scenarios.

use continuum_domain::spec::Durability;

use super::{Scenario, Story, Tale, millis, secs};
use crate::plan::{Plan, WITNESS};

fn scenario(name: &'static str, about: &'static str, tale: Tale) -> Scenario {
    Scenario { name, about, plan: Plan::quiet(1, 2, Durability::Available), tale }
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "planned-switchover",
            "an operator moves the pair, twice; nothing is lost and the old primary follows",
            planned_switchover,
        ),
        scenario(
            "primary-cut-from-witness",
            "the primary's region loses the witness: it fences by its ttl, the other takes over",
            primary_cut_from_witness,
        ),
        scenario(
            "primary-region-loses-power",
            "the primary's region goes dark; the other takes over; the old one rejoins",
            primary_loses_power,
        ),
        scenario(
            "core-lost-then-region-lost",
            "the core has no quorum: writes go on, and a region that is cut off is still replaced",
            core_lost,
        ),
        scenario(
            "lost-cas-replies",
            "requests of the primary's region reach the witness, answers do not come back",
            lost_cas_replies,
        ),
        scenario(
            "agent-stopped-past-the-ttl",
            "the primary's agent is stopped: the guard ends PostgreSQL, the other region takes over",
            agent_stopped,
        ),
        scenario(
            "witness-restarts-within-the-ttl",
            "the witness is away for less than the ttl allows: nothing moves",
            witness_restarts,
        ),
        scenario(
            "host-frozen-past-the-ttl",
            "the primary's whole host freezes and thaws: the names keep it from acknowledging",
            host_frozen,
        ),
    ]
}

fn planned_switchover(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.expect_primary("fsn", secs(1))?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(10))?;
    story.expect_whole(secs(30))?;
    story.switch_over_to("fsn");
    story.expect_primary("fsn", secs(10))?;
    story.expect_whole(secs(30))
}

fn primary_cut_from_witness(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.region("fsn").cut_from(&[WITNESS]);
    story.expect_nobody_writes(secs(4))?;
    story.expect_primary("hel", secs(8))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn primary_loses_power(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.region("fsn").loses_power_for(secs(20));
    story.expect_primary("hel", secs(10))?;
    story.expect_acknowledged(secs(12))?;
    story.expect_steady_writes(secs(5), secs(2))?;
    story.advance(secs(15))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn core_lost(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.node("c1").killed_for(secs(3_600));
    story.node("c2").killed_for(secs(3_600));
    story.expect_steady_writes(secs(15), secs(2))?;
    story.region("fsn").cut_from_everybody();
    story.expect_primary("hel", secs(15))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn lost_cas_replies(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.region("fsn").hears_nothing_from(&[WITNESS]);
    story.expect_primary("hel", secs(15))?;
    story.advance(secs(5))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn agent_stopped(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.region("fsn").stopped_for(secs(12));
    story.expect_primary("hel", secs(10))?;
    story.advance(secs(10))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn witness_restarts(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.witness().killed_for(millis(700));
    story.expect_steady_writes(secs(10), secs(2))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_whole(secs(20))
}

fn host_frozen(story: &mut Story<'_, '_>) -> Result<(), String> {
    story.region("fsn").freezes_for(secs(10));
    story.expect_primary("hel", secs(9))?;
    story.advance(secs(8))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}
