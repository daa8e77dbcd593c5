//! Hunts around takeover by the ledger: whom it is allowed to, and on what (R8, R12, R18, R19).

use continuum_domain::mutation::Bug;
use continuum_domain::operation::Method;
use continuum_domain::spec::{Durability, Takeover};

use super::Hunt;
use super::draft::{A, B, C, Draft, cut, cut_one_way, lost, member, power_off};
use super::ledger::{busy_checkpointer_of, growth_unanswered_of};
use crate::plan::{Calls, Fault, MemberFault, Moment, Plan, USERS};

pub(super) const HUNTS: &[Hunt] = &[
    Hunt {
        bug: Bug::NamesAnyOne,
        variant: "",
        rule: "I2",
        says: "I2",
        seeds: 4,
        plan: one_lags_and_leads,
    },
    Hunt {
        bug: Bug::GrowWithoutCanary,
        variant: "Ledger",
        rule: "R12",
        says: "I2",
        seeds: 4,
        plan: busy_checkpointer,
    },
    Hunt {
        bug: Bug::UnansweredIsRefused,
        variant: "Ledger",
        rule: "R9",
        says: "I2",
        seeds: 4,
        plan: growth_unanswered,
    },
    Hunt {
        bug: Bug::TakeoverUnlisted,
        variant: "",
        rule: "R18",
        says: "R18",
        seeds: 4,
        plan: approved_unlisted,
    },
    Hunt {
        bug: Bug::HolderNeverReads,
        variant: "",
        rule: "R8",
        says: "R8",
        seeds: 4,
        plan: moved_untold,
    },
    Hunt {
        bug: Bug::SuspicionByOneSignal,
        variant: "",
        rule: "suspicion",
        says: "suspicion",
        seeds: 4,
        plan: members_apart,
    },
    Hunt {
        bug: Bug::ReceiverKept,
        variant: "",
        rule: "R18",
        says: "R18",
        seeds: 4,
        plan: region_lost,
    },
    Hunt {
        bug: Bug::PremiseUnchecked,
        variant: "",
        rule: "R18",
        says: "R18",
        seeds: 4,
        plan: sessions_lowered,
    },
];

/// The ledger decides, in as many regions; the plan begins once the holder said that it waits.
fn by_ledger(seed: u64, durability: Durability, regions: usize) -> Draft {
    let mut draft = Draft::new(seed, durability);
    draft.plan.takeover = Takeover::Ledger;
    draft.plan.suspect_after = draft.dice.pick(&[400, 600, 1_000]);
    draft.plan.regions = regions;
    draft.wait(Moment::WaitsForAll)
}

fn available(seed: u64) -> Draft {
    by_ledger(seed, Durability::Available, 2)
}

/// One standby hears nothing for a moment; then the holder and the other standby are lost.
fn one_lags_and_leads(seed: u64) -> Plan {
    by_ledger(seed, Durability::Available, 3)
        .step(Moment::Now, 0, cut_one_way(A, B, 1_400))
        .step_in(Moment::Now, (500, 900), power_off(A, 9_000))
        .step(Moment::Now, 0, power_off(C, 9_000))
        .rest(7_000)
}

/// As with the ttl, and who is listed takes over at once.
fn busy_checkpointer(seed: u64) -> Plan {
    busy_checkpointer_of(available(seed))
}

/// The same.
fn growth_unanswered(seed: u64) -> Plan {
    growth_unanswered_of(available(seed))
}

/// The standby is dropped. Then the holder reaches clients and nobody else, and a person lets the
/// dropped one take over, whatever is lost.
fn approved_unlisted(seed: u64) -> Plan {
    let draft = available(seed);
    let others = draft.plan.hosts().into_iter().filter(|host| ![A, USERS].contains(&&**host));
    let alone = Fault::Cut { a: vec![A.into()], b: others.collect(), both: true, span: 12_000 };
    draft
        .step(Moment::Now, 0, cut(A, B, 15_000))
        .step(Moment::Listed(1), 1_500, alone)
        .step_in(Moment::Now, (1_300, 1_500), Fault::ApproveOperation)
        .rest(8_000)
}

/// The pair is moved from a living holder, which hears of nothing but that its session goes on.
fn moved_untold(seed: u64) -> Plan {
    let order = Fault::Switchover { to: B.into(), method: Some(Method::Hot) };
    available(seed)
        .step_in(Moment::Now, (0, 500), order)
        .step(Moment::Held(B.into()), 0, cut(A, B, 9_000))
        .step(Moment::Now, 0, lost(A, Calls::ReadPair, 9_000))
        .step(Moment::Now, 0, lost(A, Calls::WritePair, 9_000))
        .rest(7_000)
}

/// The members lose each other, and both see the witness.
fn members_apart(seed: u64) -> Plan {
    available(seed).step_in(Moment::Now, (0, 500), cut(A, B, 5_000)).rest(6_000)
}

/// The holder's region loses power.
fn region_lost(seed: u64) -> Plan {
    available(seed).step_in(Moment::Now, (0, 500), power_off(A, 8_000)).rest(7_000)
}

/// Sessions wait for nobody, for long; then the holder's region loses power.
fn sessions_lowered(seed: u64) -> Plan {
    available(seed)
        .step(Moment::Now, 0, member(A, MemberFault::CommitLowered, 30_000))
        .step_in(Moment::Now, (6_500, 7_500), power_off(A, 8_000))
        .rest(7_000)
}
