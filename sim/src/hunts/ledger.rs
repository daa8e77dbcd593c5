//! Hunts around the in-sync set: who is listed, what commits wait for, who may lead (R9 to R13).

use continuum_domain::mutation::Bug;
use continuum_domain::operation::RejoinMethod;
use continuum_domain::spec::Durability;

use super::Hunt;
use super::draft::{A, B, Draft, cut, lost, member, power_off, unanswered};
use crate::plan::{Calls, Fault, MemberFault, Moment, Plan};

pub(super) const HUNTS: &[Hunt] = &[
    Hunt {
        bug: Bug::UnansweredIsRefused,
        variant: "",
        rule: "R9",
        says: "I2",
        seeds: 4,
        plan: growth_unanswered,
    },
    Hunt {
        bug: Bug::NamesFromViewOnly,
        variant: "",
        rule: "R10",
        says: "I2",
        seeds: 6,
        plan: growth_and_crash,
    },
    Hunt {
        bug: Bug::RelaxBeforeLedger,
        variant: "",
        rule: "R10",
        says: "I2",
        seeds: 2,
        plan: shrink_lost,
    },
    Hunt {
        bug: Bug::GrowWithoutCanary,
        variant: "",
        rule: "R12",
        says: "I2",
        seeds: 4,
        plan: busy_checkpointer,
    },
    Hunt {
        bug: Bug::CloneWhileListed,
        variant: "",
        rule: "R13",
        says: "R13",
        seeds: 1,
        plan: standby_restarts,
    },
    Hunt {
        bug: Bug::OrderedCloneUnbarred,
        variant: "",
        rule: "R13",
        says: "R13",
        seeds: 2,
        plan: cloned_anew,
    },
    Hunt {
        bug: Bug::AcquireOutsideLedger,
        variant: "",
        rule: "I2",
        says: "I2",
        seeds: 2,
        plan: dropped,
    },
];

fn available(seed: u64) -> Draft {
    Draft::new(seed, Durability::Available)
}

/// The standby is dropped, streams again and is proven; from then on nothing is answered to the
/// holder, and the change that lists it lands.
fn grown_unanswered(draft: Draft) -> Draft {
    draft
        .step(Moment::Now, 0, cut(A, B, 2_900))
        .wait(Moment::Listed(1))
        .wait(Moment::Probing(A.into()))
        .step(Moment::Probed(A.into()), 0, unanswered(A, Calls::WritePair, 2_500))
        .step(Moment::Now, 0, unanswered(A, Calls::ReadPair, 2_500))
}

/// Then the members lose each other, and the holder's host dies.
pub fn growth_unanswered_of(draft: Draft) -> Plan {
    grown_unanswered(draft)
        .step(Moment::Listed(2), 0, cut(A, B, 9_000))
        .step_in(Moment::Now, (1_200, 1_600), power_off(A, 9_000))
        .rest(8_000)
}

fn growth_unanswered(seed: u64) -> Plan {
    growth_unanswered_of(available(seed))
}

/// The same, and PostgreSQL crashes before the answer: it is restarted in place.
fn growth_and_crash(seed: u64) -> Plan {
    grown_unanswered(available(seed))
        .step(Moment::Listed(2), 0, cut(A, B, 9_000))
        .step(Moment::Now, 0, member(A, MemberFault::PostgresCrash, 0))
        .step_in(Moment::Now, (1_300, 1_700), power_off(A, 9_000))
        .rest(8_000)
}

/// The members lose each other, and what the holder writes to the register does not arrive.
fn shrink_lost(seed: u64) -> Plan {
    available(seed)
        .step(Moment::Now, 0, lost(A, Calls::WritePair, 9_000))
        .step(Moment::Now, 0, cut(A, B, 9_000))
        .step_in(Moment::Now, (2_400, 3_000), power_off(A, 9_000))
        .rest(8_000)
}

/// The standby is dropped; the checkpointer is busy when it comes back. Then it is cut off again,
/// and the holder's host dies.
pub fn busy_checkpointer_of(draft: Draft) -> Plan {
    draft
        .step(Moment::Now, 0, cut(A, B, 2_200))
        .step_in(
            Moment::Relaxed(A.into()),
            (60, 150),
            member(A, MemberFault::SlowCheckpointer, 7_000),
        )
        .step_in(Moment::Listed(2), (0, 300), cut(A, B, 9_000))
        .step_in(Moment::Now, (300, 800), power_off(A, 9_000))
        .rest(8_000)
}

fn busy_checkpointer(seed: u64) -> Plan {
    busy_checkpointer_of(available(seed))
}

/// The standby's host is restarted while it is listed.
fn standby_restarts(seed: u64) -> Plan {
    available(seed).step_in(Moment::Now, (0, 900), power_off(B, 300)).rest(6_000)
}

/// A listed standby is to take a fresh clone.
fn cloned_anew(seed: u64) -> Plan {
    let order = Fault::Rejoin { region: B.into(), method: RejoinMethod::Clone };
    available(seed).step_in(Moment::Now, (0, 900), order).rest(6_000)
}

/// The standby is dropped, and the holder's host dies.
fn dropped(seed: u64) -> Plan {
    available(seed)
        .step(Moment::Now, 0, cut(A, B, 16_000))
        // It is taken for a candidate once more while its connection stands, and commits wait.
        .step_in(Moment::Listed(1), (4_000, 4_600), power_off(A, 8_000))
        .rest(7_000)
}
