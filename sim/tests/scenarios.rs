//! Every named scenario, each in a process of its own.

use continuum_sim::{Watch, scenario};

fn tell(name: &str) {
    let scenario = scenario::find(name).unwrap_or_else(|| panic!("no scenario {name}"));
    let verdict = scenario.run(Watch::default());
    assert!(verdict.is_ok(), "{name}: {:?}; see it with --scenario {name}", verdict.findings);
    assert!(verdict.acknowledged > 0);
}

macro_rules! scenarios {
    ($($test:ident: $name:literal;)*) => {
        const TOLD: &[&str] = &[$($name),*];
        $(#[test] fn $test() { tell($name); })*
    };
}

scenarios! {
    a_planned_switchover: "planned-switchover";
    the_primary_is_cut_from_the_witness: "primary-cut-from-witness";
    the_primary_region_loses_power: "primary-region-loses-power";
    the_core_is_lost_and_then_a_region: "core-lost-then-region-lost";
    replies_of_changes_are_lost: "lost-cas-replies";
    an_agent_is_stopped_past_the_ttl: "agent-stopped-past-the-ttl";
    the_witness_restarts_within_the_ttl: "witness-restarts-within-the-ttl";
    a_host_freezes_past_the_ttl: "host-frozen-past-the-ttl";
}

#[test]
fn every_scenario_has_a_test() {
    let all: Vec<&str> = scenario::all().iter().map(|scenario| scenario.name).collect();
    assert_eq!(all, TOLD);
}
