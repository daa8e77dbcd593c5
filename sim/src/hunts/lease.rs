//! Hunts around the lease: how long it counts, when it is over, and who may return (R3 to R7, R20).

use continuum_domain::mutation::Bug;
use continuum_domain::spec::WitnessLossPolicy;

use super::Hunt;
use super::draft::{
    A, B, Draft, beat, cut_from_all, cut_from_witness, cut_one_way, freeze, kill, late_request,
    lost, member, power_off, unanswered, writes,
};
use crate::plan::{Calls, Fault, MemberFault, Moment, Plan, WITNESS};

pub(super) const HUNTS: &[Hunt] = &[
    Hunt {
        bug: Bug::ValidFromReceipt,
        variant: "",
        rule: "R3",
        says: "I1",
        seeds: 8,
        plan: answer_heard_late,
    },
    Hunt {
        bug: Bug::ValidFromLastSend,
        variant: "",
        rule: "R3",
        says: "I1",
        seeds: 4,
        plan: retried_renewal,
    },
    Hunt {
        bug: Bug::NoEpochBumpOnReturn,
        variant: "",
        rule: "R5",
        says: "I1",
        seeds: 40,
        plan: slow_challenger,
    },
    Hunt {
        bug: Bug::ShortWindow,
        variant: "",
        rule: "R6",
        says: "I1",
        seeds: 4,
        plan: short_silence,
    },
    Hunt {
        bug: Bug::WindowSurvivesBeat,
        variant: "",
        rule: "R6",
        says: "I1",
        seeds: 10,
        plan: core_away,
    },
    Hunt {
        bug: Bug::VerdictWithLaterVersion,
        variant: "",
        rule: "R7",
        says: "I1",
        seeds: 120,
        plan: verdict_kept,
    },
    Hunt {
        bug: Bug::PromiseIgnored,
        variant: "",
        rule: "R20",
        says: "I1",
        seeds: 4,
        plan: promised,
    },
    Hunt {
        bug: Bug::PromiseInMemory,
        variant: "",
        rule: "R20",
        says: "R20",
        seeds: 2,
        plan: promised,
    },
    Hunt {
        bug: Bug::LagDatedByTheLook,
        variant: "",
        rule: "R21",
        says: "R21",
        seeds: 4,
        plan: stuck_for_long,
    },
    Hunt {
        bug: Bug::FirstWordsAreNew,
        variant: "",
        rule: "R21",
        says: "R21",
        seeds: 4,
        plan: stuck_and_looked_at_anew,
    },
    Hunt { bug: Bug::NoDeadline, variant: "", rule: "R5", says: "I1", seeds: 4, plan: agent_dies },
];

/// A renewal lands; its answer waits in the holder's socket while the agent is stopped, and
/// nothing of what it sends afterwards arrives.
fn answer_heard_late(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    draft.plan.latency = (10, 30);
    draft.plan.tick = 2;
    let span = draft.dice.from(1_350, 1_550);
    draft
        .step(beat(A), 0, freeze(A, span))
        .step(Moment::Now, 500, cut_one_way(A, WITNESS, 7_000))
        .rest(6_000)
}

/// Answers to renewals are lost until the lease is nearly over; then one comes, and no request
/// gets through any more.
fn retried_renewal(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    let span = draft.dice.from(1_250, 1_400);
    draft
        .step(beat(A), 450, unanswered(A, Calls::WriteSession, span))
        .step_in(Moment::Now, (span + 400, span + 460), cut_from_witness(A, 7_000))
        .rest(6_000)
}

/// The challenger has decided and its change is slow; the holder comes back before it lands.
fn slow_challenger(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    let by = draft.dice.from(800, 1_000);
    let away = draft.dice.from(3_150, 3_450);
    draft
        .step(beat(A), 0, late_request(B, Calls::WritePair, by, 6_000))
        .step(Moment::Now, 0, cut_from_witness(A, away))
        .rest(7_000)
}

/// The holder loses the witness for good.
fn short_silence(seed: u64) -> Plan {
    Draft::of_lease(seed).step_in(beat(A), (0, 500), cut_from_witness(A, 6_000)).rest(6_000)
}

/// Nobody asks the core, and the lease goes on.
fn core_away(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    for node in draft.plan.core() {
        draft = draft.step(Moment::Now, 0, kill(&node, 15_000));
    }
    draft.rest(15_000)
}

/// The holder was found expired while the pair was paused. It returns, the pair is resumed, and
/// the challenger reads that before it can look at the session again.
fn verdict_kept(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    let pause = draft.dice.from(4_300, 4_900);
    draft
        .step(Moment::Now, 0, Fault::PauseAutomation { span: pause })
        .step(beat(A), 0, cut_from_witness(A, 3_700))
        .step_in(Moment::Now, (3_600, 3_690), lost(B, Calls::ReadSession, 2_000))
        .rest(6_000)
}

fn failsafe(seed: u64) -> Draft {
    let mut draft = Draft::of_lease(seed);
    draft.plan.on_witness_loss = WitnessLossPolicy::Failsafe;
    let hosts = draft.plan.hosts();
    let out = draft.dice.from(1_300, 1_700);
    draft.step_in(Moment::Now, (0, 600), cut_from_all(WITNESS, &hosts, out)).step(
        Moment::Now,
        0,
        cut_from_witness(A, 9_000),
    )
}

/// The witness is out of reach, the standby promises to stay out; then the witness is back for the
/// standby alone.
fn promised(seed: u64) -> Plan {
    failsafe(seed).rest(9_000)
}

/// What the standby heard last shows it close behind, but that was long ago.
fn stuck_for_long(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    draft.plan.rpo_bytes = Some(4_000);
    draft
        .step(Moment::Now, 3_000, member(B, MemberFault::ReceiverStuck, 20_000))
        .step_in(Moment::Now, (8_000, 9_500), power_off(A, 9_000))
        .rest(8_000)
}

/// The same, and the standby's agent is started anew: what it finds said looks new to it.
fn stuck_and_looked_at_anew(seed: u64) -> Plan {
    let mut draft = Draft::of_lease(seed);
    draft.plan.rpo_bytes = Some(4_000);
    draft
        .step(Moment::Now, 3_000, member(B, MemberFault::ReceiverStuck, 20_000))
        .step(Moment::Now, 6_500, kill(B, 300))
        .step_in(Moment::Now, (2_000, 3_000), power_off(A, 9_000))
        .rest(8_000)
}

/// The holder's agent dies; its guard and its PostgreSQL live.
fn agent_dies(seed: u64) -> Plan {
    Draft::of_lease(seed).step_in(writes(A), (0, 600), kill(A, 9_000)).rest(8_000)
}
