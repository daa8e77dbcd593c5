//! Hunts around second opinions: what resolvers say, and what is made of it.

use continuum_domain::corroborate::CorroborationEffect;
use continuum_domain::mutation::Bug;
use continuum_domain::spec::Durability;

use super::Hunt;
use super::draft::{A, Draft, freeze, power_off};
use crate::plan::{Fault, Moment, Plan, ResolverFault};
use crate::resolvers::RESOLVERS;

pub(super) const HUNTS: &[Hunt] = &[
    Hunt {
        bug: Bug::VetoIgnored,
        variant: "",
        rule: "veto",
        says: "veto",
        seeds: 4,
        plan: name_answers,
    },
    Hunt {
        bug: Bug::OldVerdictUsed,
        variant: "",
        rule: "veto",
        says: "veto",
        seeds: 4,
        plan: two_silences,
    },
    Hunt {
        bug: Bug::UnknownIsDown,
        variant: "",
        rule: "I7",
        says: "I7",
        seeds: 4,
        plan: nobody_says,
    },
];

fn vetoed(seed: u64) -> Draft {
    let mut draft = Draft::new(seed, Durability::Available);
    draft.plan.corroborate = Some(CorroborationEffect::Veto);
    draft
}

/// All resolvers misbehave in this way, for long.
fn all(mut draft: Draft, how: ResolverFault) -> Draft {
    for index in 0..RESOLVERS {
        draft = draft.step(Moment::Now, 0, Fault::Resolver { index, how, span: 30_000 });
    }
    draft
}

/// The holder's region is lost, and resolvers go on telling that its name answers.
fn name_answers(seed: u64) -> Plan {
    all(vetoed(seed), ResolverFault::Stale)
        .step_in(Moment::Now, (0, 500), power_off(A, 12_000))
        .rest(11_000)
}

/// The holder's agent is silent for a moment, while its name answers; later its region is lost.
fn two_silences(seed: u64) -> Plan {
    vetoed(seed)
        .step_in(Moment::Beat(A.into()), (0, 100), freeze(A, 2_000))
        .step_in(Moment::Now, (4_000, 5_000), power_off(A, 14_000))
        .rest(13_000)
}

/// The holder's region is lost, and nothing comes back from the resolvers.
fn nobody_says(seed: u64) -> Plan {
    all(vetoed(seed), ResolverFault::Silent)
        .step_in(Moment::Now, (0, 500), power_off(A, 9_000))
        .rest(9_000)
}
