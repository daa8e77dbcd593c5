//! Hunts around planned moves: hand-over, undoing, letting go (R14 to R17), and the core's journal.

use continuum_domain::mutation::Bug;
use continuum_domain::spec::Durability;

use super::Hunt;
use super::draft::{
    A, B, Draft, kill, late_request, lost, member, power_off, stopped, switch_over, writes,
};
use crate::plan::{Calls, DiskFault, Fault, MemberFault, Moment, Plan};

pub(super) const HUNTS: &[Hunt] = &[
    Hunt {
        bug: Bug::HandOverBeforeStop,
        variant: "",
        rule: "R14",
        says: "R14",
        seeds: 2,
        plan: listed_target,
    },
    Hunt {
        bug: Bug::HandOverUnproven,
        variant: "",
        rule: "R14",
        says: "I2",
        seeds: 10,
        plan: target_crashes,
    },
    Hunt {
        bug: Bug::KeepHandover,
        variant: "",
        rule: "R15",
        says: "R15",
        seeds: 2,
        plan: plain_move,
    },
    Hunt {
        bug: Bug::AbortWithoutCas,
        variant: "",
        rule: "R15",
        says: "R14",
        seeds: 4,
        plan: undone_in_doubt,
    },
    Hunt {
        bug: Bug::ReleaseBeforeStop,
        variant: "",
        rule: "R16",
        says: "R16",
        seeds: 2,
        plan: fenced_by_hand,
    },
    Hunt {
        bug: Bug::StopUnannounced,
        variant: "",
        rule: "journal",
        says: "journal",
        seeds: 4,
        plan: slow_journal,
    },
    Hunt {
        bug: Bug::UndoneAfterMove,
        variant: "",
        rule: "journal",
        says: "journal",
        seeds: 6,
        plan: cancelled_late,
    },
];

/// A planned move and nothing else.
fn plain_move(seed: u64) -> Plan {
    Draft::of_lease(seed)
        .step_in(Moment::Now, (0, 600), switch_over(B))
        .step_in(writes(B), (500, 1_500), switch_over(A))
        .step_in(writes(A), (500, 1_000), kill(A, 50))
        .rest(4_000)
}

/// A planned move to a member that is listed.
fn listed_target(seed: u64) -> Plan {
    Draft::new(seed, Durability::Available)
        .step_in(Moment::Now, (0, 600), switch_over(B))
        .rest(4_000)
}

/// The target's PostgreSQL ends just before the holder's is stopped: it lacks what was
/// acknowledged in between.
fn target_crashes(seed: u64) -> Plan {
    let mut draft = Draft::new(seed, Durability::Async);
    draft.plan.write_interval = 10;
    draft
        .step(Moment::Now, 1_000, switch_over(B))
        .step_in(Moment::Now, (60, 200), member(B, MemberFault::PostgresCrash, 0))
        .rest(8_000)
}

/// The hand-over does not reach the register, and the deadline comes; it is still to land (R9).
fn undone_in_doubt(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    draft.plan.switchover_deadline = Some(1_000);
    let span = draft.dice.from(1_300, 1_600);
    draft
        .step_in(Moment::Now, (1_000, 1_300), switch_over(B))
        .step(stopped(A), 0, lost(A, Calls::WritePair, span))
        .rest(6_000)
}

/// The holder is fenced by hand and lets the lease go.
fn fenced_by_hand(seed: u64) -> Plan {
    let fence = Fault::Fence { region: A.into(), span: 2_000 };
    Draft::of_lease(seed).step_in(Moment::Now, (0, 600), fence).rest(5_000)
}

/// The core's disks are slow, and all its nodes lose power as soon as the holder has stopped.
fn slow_journal(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    let nodes = draft.plan.core();
    draft = draft.step_in(Moment::Now, (1_000, 1_300), switch_over(B));
    for node in &nodes {
        let host = node.clone();
        let slow = Fault::Disk { host, how: DiskFault::Slow, span: 6_000 };
        draft = draft.step(Moment::Now, 0, slow);
    }
    for node in &nodes {
        draft = draft.step(stopped(A), 0, power_off(node, 1_000));
    }
    draft.rest(6_000)
}

/// The move is cancelled just before it happens, and what the core says then does not reach the
/// old holder.
fn cancelled_late(seed: u64) -> Plan {
    let draft = Draft::of_lease(seed);
    let a = draft.plan.core();
    let deaf = Fault::Cut { a, b: vec![A.into()], both: false, span: 1_500 };
    draft
        .step_in(Moment::Now, (1_000, 1_300), switch_over(B))
        .step(Moment::Now, 0, late_request(A, Calls::WritePair, 280, 4_000))
        .step(stopped(A), 0, Fault::CancelOperation)
        .step(Moment::Now, 0, deaf)
        .rest(6_000)
}
