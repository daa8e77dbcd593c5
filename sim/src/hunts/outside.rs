//! Hunts around what the pair rests on: disks of the core and of the witness, names.

use continuum_domain::mutation::Bug;
use continuum_domain::spec::Durability;

use super::Hunt;
use super::draft::{A, B, Draft, cut, cut_from_all, freeze, kill, power_off, switch_over};
use crate::plan::{Moment, NAMES, Plan, WITNESS};

pub(super) const HUNTS: &[Hunt] = &[
    Hunt {
        bug: Bug::ChangeNotSynced,
        variant: "",
        rule: "I1",
        says: "the witness",
        seeds: 2,
        plan: witness_loses_power,
    },
    Hunt {
        bug: Bug::VoteNotSynced,
        variant: "",
        rule: "vote",
        says: "vote",
        seeds: 4,
        plan: core_loses_power,
    },
    Hunt {
        bug: Bug::AppendNotSynced,
        variant: "",
        rule: "journal",
        says: "journal",
        seeds: 8,
        plan: core_loses_power,
    },
    Hunt {
        bug: Bug::NamesKeptForEver,
        variant: "",
        rule: "I3",
        says: "I3",
        seeds: 2,
        plan: names_cut_off,
    },
    Hunt {
        bug: Bug::AcquiredUnaudited,
        variant: "",
        rule: "I4",
        says: "I4",
        seeds: 2,
        plan: moves,
    },
    Hunt {
        bug: Bug::CoreNeeded,
        variant: "",
        rule: "I6",
        says: "I6",
        seeds: 2,
        plan: core_and_names_away,
    },
    Hunt {
        bug: Bug::AgeNotShown,
        variant: "",
        rule: "I7",
        says: "I7",
        seeds: 2,
        plan: agent_not_heard,
    },
];

/// The witness loses power while a move is under way.
fn witness_loses_power(seed: u64) -> Plan {
    Draft::new(seed, Durability::Available)
        .step(Moment::Now, 0, switch_over(B))
        .step_in(Moment::Held(B.into()), (0, 300), power_off(WITNESS, 500))
        .rest(5_000)
}

/// All control nodes lose power while a move is under way.
fn core_loses_power(seed: u64) -> Plan {
    let mut draft = Draft::new(seed, Durability::Available);
    let nodes = draft.plan.core();
    draft = draft.step(Moment::Now, 0, switch_over(B));
    let after = draft.dice.from(90, 200);
    for (index, node) in nodes.iter().enumerate() {
        let after = if index == 0 { after } else { 0 };
        draft = draft.step(Moment::Now, after, power_off(node, 1_000));
    }
    draft.rest(5_000)
}

/// The pair moves.
fn moves(seed: u64) -> Plan {
    Draft::new(seed, Durability::Available).step(Moment::Now, 0, switch_over(B)).rest(5_000)
}

/// All control nodes and the name server are away, each in its own way.
fn core_and_names_away(seed: u64) -> Plan {
    let mut draft = Draft::new(seed, Durability::Available);
    let nodes = draft.plan.core();
    let others = draft.plan.hosts();
    for node in &nodes {
        let away = match draft.dice.from(0, 4) {
            0 => power_off(node, 9_000),
            1 => kill(node, 9_000),
            2 => freeze(node, 9_000),
            _ => cut_from_all(node, &others, 9_000),
        };
        draft = draft.step_in(Moment::Now, (0, 300), away);
    }
    draft.step_in(Moment::Now, (0, 300), power_off(NAMES, 9_000)).rest(10_000)
}

/// One region is not heard by the core: its agent or its host is away, or its link.
fn agent_not_heard(seed: u64) -> Plan {
    let mut draft = Draft::new(seed, Durability::Available);
    let region = draft.dice.pick(&[A, B]);
    let nodes = draft.plan.core();
    let away = match draft.dice.from(0, 3) {
        0 => kill(region, 9_000),
        1 => power_off(region, 9_000),
        _ => cut_from_all(region, &nodes, 9_000),
    };
    draft.step(Moment::Now, 0, away).rest(10_000)
}

/// The name server is cut off from everybody but those who ask it, and the pair moves.
fn names_cut_off(seed: u64) -> Plan {
    Draft::new(seed, Durability::Available)
        .step(Moment::Now, 0, cut(NAMES, WITNESS, 12_000))
        .step(Moment::Now, 0, cut(NAMES, A, 12_000))
        .step(Moment::Now, 0, cut(NAMES, B, 12_000))
        .step_in(Moment::Now, (0, 300), switch_over(B))
        .rest(9_000)
}
