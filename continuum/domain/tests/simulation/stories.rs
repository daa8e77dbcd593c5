//! Incident reports: one story per rule, told in a world that stood before it.
//!
//! Each is told with the rules in force, where nothing may be violated and the pair must be whole
//! again afterwards, and with the rule taken out, where the judge must notice.

use continuum_domain::SyncNames;
use continuum_domain::spec::{Durability, LossApproval, WitnessLossPolicy};

use crate::story::Story;
use crate::world::{Fault, Kind, Plan, World, ms};

/// Two members; a standing approval, so that an expired lease alone decides.
pub fn asynchronous(seed: u64) -> Plan {
    Plan {
        loss_approval: Some(LossApproval { rpo_bytes: 1 << 20 }),
        write_interval_ms: 10,
        ..Plan::quiet(seed, 2, Durability::Async)
    }
}

fn failsafe(seed: u64) -> Plan {
    Plan { on_witness_loss: WitnessLossPolicy::Failsafe, ..asynchronous(seed) }
}

pub fn available(seed: u64) -> Plan {
    Plan { write_interval_ms: 10, ..Plan::quiet(seed, 2, Durability::Available) }
}

fn strict(seed: u64) -> Plan {
    Plan { write_interval_ms: 10, ..Plan::quiet(seed, 2, Durability::Strict) }
}

pub fn three(seed: u64) -> Plan {
    Plan { write_interval_ms: 10, ..Plan::quiet(seed, 3, Durability::Available) }
}

fn beat(w: &World) -> Option<(u64, u64)> {
    w.register.sessions[0].as_ref().map(|(_, session)| (session.incarnation, session.beat))
}

/// Waits for the instant at which a renewal of region 0 lands.
fn wait_for_beat(w: &mut World) {
    let before = beat(w);
    w.run_until(ms(2_000), |w| beat(w) != before);
}

/// R3: the witness takes the renewals but its answers are lost for a while; then the retry is
/// answered, and at once the path is cut. The lease counts from the *first* send.
pub const R3_RENEWAL_ANSWERED_LATE: Story = Story {
    name: "r3_a_renewal_answered_late_counts_from_its_first_send",
    plan: asynchronous,
    tell: |w| {
        wait_for_beat(w);
        w.run(ms(540));
        w.strike(Fault::AnswersLost { r: 0, span: 1_150 });
        w.run(ms(1_150));
        let until = w.regions[0].agent.as_ref().unwrap().session.view(w.local(0)).valid_until;
        w.run_until(ms(600), |w| {
            let agent = w.regions[0].agent.as_ref().unwrap();
            agent.session.view(w.local(0)).valid_until != until
        });
        w.strike(Fault::WitnessCut { r: 0, span: 6_000 });
        w.run(ms(6_000));
    },
};

/// R3, R6: an agent hangs, sends a renewal just in time, and hangs again; the renewal lands when
/// the challenger has closed its window already, and its answer is the first thing the agent hears.
pub const R3_LATE_ACKNOWLEDGEMENT: Story = Story {
    name: "r3_a_late_acknowledgement_does_not_revive",
    plan: asynchronous,
    tell: |w| {
        wait_for_beat(w);
        w.strike(Fault::AgentHang { r: 0, span: 2_120 });
        w.net.delayed[0] = Some((Kind::CasSession, ms(1_280)));
        w.net.delayed[1] = Some((Kind::CasPair, ms(390)));
        w.run(ms(2_170));
        w.strike(Fault::AgentHang { r: 0, span: 1_290 });
        w.run(ms(6_000));
    },
};

/// R4: an agent dies while its relaxing of the names waits to be carried out; the next one has
/// grown the ledger when it would land.
pub const R4_COMMAND_OF_A_DEAD_AGENT: Story = Story {
    name: "r4_a_command_of_a_dead_agent_is_refused",
    plan: available,
    tell: |w| {
        relax_late(w);
        w.strike(Fault::AgentCrash { r: 0, down: 20 });
        w.run(ms(7_000));
    },
};

/// R4: the same, and the agent lives: it gives the command up, and must see to it that it does not
/// land any more.
pub const R4_COMMAND_GIVEN_UP: Story = Story {
    name: "r4_a_command_that_was_given_up_is_refused",
    plan: available,
    tell: |w| {
        relax_late(w);
        w.run(ms(7_000));
    },
};

/// The standby is cut off and dropped; the relaxing of the names that follows takes very long.
fn relax_late(w: &mut World) {
    w.strike(Fault::LinkCut { a: 0, b: 1, span: 1_900 });
    w.run(ms(900));
    w.net.delayed_command[0] = Some(ms(5_000));
    w.run_until(ms(3_000), |w| w.listed().len() == 1 && w.net.delayed_command[0].is_none());
}

/// R5: the agent dies with a promotion outstanding. The guard's deadline holds for a standby that
/// was asked to promote as well.
pub const R5_AGENT_DIES_WITH_A_PROMOTION: Story = Story {
    name: "r5_an_agent_dies_with_a_promotion_outstanding",
    plan: asynchronous,
    tell: |w| {
        w.strike(Fault::PgCrash { r: 0 });
        w.run_until(ms(3_000), |w| w.regions[0].pg.promoted);
        w.strike(Fault::AgentCrash { r: 0, down: 9_000 });
        w.run_until(ms(8_000), |w| w.primary() == Some(1));
        w.run(ms(1_000));
    },
};

/// R5: the guard was restarted and does not get to hear a deadline. Nothing is promoted.
pub const R5_ARMED_BEFORE_PROMOTE: Story = Story {
    name: "r5_nothing_is_promoted_before_the_guard_is_armed",
    plan: asynchronous,
    tell: |w| {
        w.judge.unarmed_promotions_allowed = true;
        w.net.arming_lost[0] = u64::MAX;
        w.strike(Fault::GuardCrash { r: 0, down: 20 });
        w.run_until(ms(1_500), |w| w.regions[0].pg.primary);
        w.strike(Fault::AgentCrash { r: 0, down: 9_000 });
        w.run(ms(8_000));
        w.judge.unarmed_promotions_allowed = false;
    },
};

/// R5: the challenger has decided and its write is slow; the holder comes back before it lands.
/// Only epoch + 1 defeats it.
pub const R5_RETURN_AGAINST_A_SLOW_CHALLENGER: Story = Story {
    name: "r5_a_return_defeats_a_challenge_that_lands_late",
    plan: asynchronous,
    tell: |w| {
        wait_for_beat(w);
        w.net.delayed[1] = Some((Kind::CasPair, ms(900)));
        w.strike(Fault::WitnessCut { r: 0, span: 3_300 });
        w.run(ms(8_000));
    },
};

/// R6: the witness is out of the challenger's reach while the holder beats on.
pub const R6_BLIND_CHALLENGER: Story = Story {
    name: "r6_a_blind_spell_is_not_the_holders_silence",
    plan: asynchronous,
    tell: |w| {
        w.strike(Fault::WitnessCut { r: 1, span: 4_000 });
        w.run(ms(4_500));
        assert_eq!(w.judge.count("acquired:expired") + w.judge.count("acquired:approved"), 0);
    },
};

/// R7: the challenger found the lease expired while the pair was paused. The holder returns, the
/// pair is resumed, and the challenger reads that before it hears of the new session.
pub const R7_VERDICT_FOR_ANOTHER_VERSION: Story = Story {
    name: "r7_a_verdict_counts_for_the_version_it_was_made_at",
    plan: asynchronous,
    tell: |w| {
        w.set_paused(true);
        w.run(ms(200));
        wait_for_beat(w);
        w.strike(Fault::WitnessCut { r: 0, span: 3_700 });
        w.run(ms(3_690));
        for round in 0..120 {
            w.net.delayed_answer[1] = Some((Kind::ReadSession, ms(2_000)));
            w.run(ms(10));
            if round == 60 {
                w.set_paused(false);
            }
        }
        w.run(ms(3_000));
    },
};

/// R9: a growth's write gets no answer, and lands.
pub const R9_GROWTH_WITHOUT_AN_ANSWER: Story = Story {
    name: "r9_a_growth_without_an_answer_may_have_landed",
    plan: available,
    tell: |w| {
        grow_again(w, 1_500);
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 4_000 });
        w.run(ms(5_000));
    },
};

/// R9: a write is unresolved, and the witness refuses every connection at once: it is asked again
/// with a pause.
pub const R9_WITNESS_REFUSES: Story = Story {
    name: "r9_a_witness_that_refuses_is_asked_with_a_pause",
    plan: available,
    tell: |w| {
        grow_again(w, 1_500);
        w.strike(Fault::WitnessRefuses { r: 0, span: 2_000 });
        w.run(ms(5_000));
    },
};

/// R10: the same, and PostgreSQL crashes before the answer: restarted in place it must still wait
/// for the member that the register lists.
pub const R10_RESTART_WITH_A_GROWTH_UNRESOLVED: Story = Story {
    name: "r10_a_restart_waits_for_whoever_may_be_listed",
    plan: available,
    tell: |w| {
        grow_again(w, 1_500);
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 2_000 });
        w.strike(Fault::PgCrash { r: 0 });
        w.run(ms(5_000));
    },
};

/// Cuts the standby off until it is dropped from the ledger, and loses the witness's answers from
/// the moment at which the growth's names stand; ends when the growth has landed.
fn grow_again(w: &mut World, silence: u64) {
    w.strike(Fault::LinkCut { a: 0, b: 1, span: 2_000 });
    w.run_until(ms(4_000), |w| w.listed().len() == 1);
    w.run_until(ms(10_000), |w| w.regions[0].pg.names.probe);
    w.run_until(ms(3_000), |w| !w.regions[0].pg.names.probe);
    w.strike(Fault::AnswersLost { r: 0, span: silence });
    w.run_until(ms(1_500), |w| w.listed().len() == 2);
}

/// R12: the checkpointer is busy while the ledger is grown: the view says `sync`, backends do not
/// wait.
pub const R12_BUSY_CHECKPOINTER: Story = Story {
    name: "r12_a_busy_checkpointer_does_not_fool_the_growth",
    plan: available,
    tell: |w| {
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 2_000 });
        w.run_until(ms(4_000), |w| w.regions[0].pg.names == SyncNames::default());
        w.run(ms(100));
        w.strike(Fault::SlowCheckpointer { r: 0, span: 4_000 });
        w.run(ms(8_000));
    },
};

/// A standby flushes what it gets and replays nothing. Commits wait for replay: they wait once, until
/// it is dropped from the ledger, and not again before it replays.
pub const I5_REPLAY_STALLS: Story = Story {
    name: "i5_a_standby_that_does_not_replay_is_dropped_once",
    plan: available,
    tell: |w| {
        w.strike(Fault::ReplayStall { r: 1, span: 20_000 });
        let dropped = w.run_until(ms(8_000), |w| w.listed().len() == 1);
        if !dropped && w.judge.violations.is_empty() {
            w.violated("I5: a standby that does not replay was not dropped".into());
        }
        w.run(ms(11_000));
        if w.judge.count("shrunk") > 1 {
            w.violated("I5: it was grown and dropped again while it stood still".into());
        }
    },
};

/// R13: an old copy of the standby's directory is put back, and the holder dies.
pub const R13_OLD_COPY: Story = Story {
    name: "r13_a_listed_region_on_another_directory_takes_nothing_over",
    plan: available,
    tell: |w| {
        w.strike(Fault::OldCopy { r: 1 });
        w.strike(Fault::HostCrash { r: 0, down: 7_000 });
        w.run(ms(6_500));
    },
};

/// R13: a listed standby is restarted. It follows as it is.
pub const R13_LISTED_RESTARTS: Story = Story {
    name: "r13_a_listed_member_is_never_cloned",
    plan: available,
    tell: |w| {
        w.strike(Fault::HostCrash { r: 1, down: 300 });
        w.run(ms(4_000));
    },
};

/// R13: the holder's own directory is replaced under it: it lets go, and who is listed takes over.
pub const R13_HOLDER_LOSES_ITS_DISK: Story = Story {
    name: "r13_a_holder_without_its_directory_lets_go",
    plan: three,
    tell: |w| {
        w.strike(Fault::OldCopy { r: 0 });
        w.run_until(ms(8_000), |w| w.primary().is_some_and(|p| p != 0));
    },
};

/// R14: the target has not received everything when the holder stops.
pub const R14_TARGET_BEHIND: Story = Story {
    name: "r14_a_target_that_is_behind_is_not_handed_the_lease",
    plan: asynchronous,
    tell: |w| {
        w.order_switchover(1, ms(1_500));
        w.run(ms(28));
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 4_000 });
        w.run(ms(5_000));
    },
};

/// R15: the hand-over's write hangs, the deadline comes, the holder wants to go on. It may, but
/// only by epoch + 1.
pub const R15_UNDONE_WITH_A_WRITE_OUTSTANDING: Story = Story {
    name: "r15_an_undone_switchover_returns_by_epoch_plus_one",
    plan: available,
    tell: |w| {
        w.order_switchover(1, ms(600));
        w.run_until(ms(1_000), |w| w.regions[0].pg.process.is_none());
        w.strike(Fault::WitnessCut { r: 0, span: 1_300 });
        w.run(ms(5_000));
    },
};

/// R15: the switchover went through; the old holder takes over later and hands nothing on.
pub const R15_THERE_AND_BACK: Story = Story {
    name: "r15_nobody_inherits_a_handover",
    plan: available,
    tell: |w| {
        for to in [1, 0] {
            w.order_switchover(to, ms(4_000));
            w.run_until(ms(20_000), |w| w.primary() == Some(to) && w.unsettled().is_none());
        }
        w.strike(Fault::AgentCrash { r: 0, down: 50 });
        w.run(ms(4_000));
    },
};

/// R16, R9: a fenced member lets the lease go, the write hangs, the fence is taken away. Nothing
/// starts before that write is resolved.
pub const R16_RELEASE_OUTSTANDING: Story = Story {
    name: "r16_nothing_starts_while_a_release_may_still_land",
    plan: available,
    tell: |w| {
        w.net.delayed[0] = Some((Kind::CasPair, ms(1_200)));
        w.strike(Fault::OperatorFence { r: 0, span: 500 });
        w.run(ms(4_000));
    },
};

/// R17: the core orders a switchover and is gone; the target does not answer.
pub const R17_CORE_AND_TARGET_LOST: Story = Story {
    name: "r17_the_holder_returns_by_itself_at_the_deadline",
    plan: strict,
    tell: |w| {
        w.order_switchover(1, ms(800));
        w.run_until(ms(1_000), |w| w.regions[0].pg.process.is_none());
        w.strike(Fault::CoreCut { r: 0, span: 60_000 });
        w.strike(Fault::AgentHang { r: 1, span: 3_000 });
        let back = w.run_until(ms(2_500), |w| w.primary() == Some(0));
        if !back && w.judge.violations.is_empty() {
            w.violated("R17: the holder did not return by itself".into());
        }
    },
};

/// R20: the witness comes back for the standby alone, while the holder goes on by its promise.
pub const R20_WITNESS_BACK_FOR_THE_STANDBY: Story = Story {
    name: "r20_who_promised_stays_out",
    plan: failsafe,
    tell: |w| {
        w.strike(Fault::WitnessOut { span: 1_500 });
        w.strike(Fault::WitnessCut { r: 0, span: 9_000 });
        w.run(ms(9_000));
    },
};

/// R20: the same, and the agent that promised is restarted.
pub const R20_PROMISE_SURVIVES_A_RESTART: Story = Story {
    name: "r20_a_promise_survives_a_restart",
    plan: failsafe,
    tell: |w| {
        w.strike(Fault::WitnessOut { span: 1_500 });
        w.strike(Fault::WitnessCut { r: 0, span: 9_000 });
        w.run(ms(2_500));
        w.strike(Fault::PeersCut { r: 0, span: 9_000 });
        w.strike(Fault::AgentCrash { r: 1, down: 20 });
        w.run(ms(9_000));
    },
};

/// R21: the pair is paused and the holder is gone. Nobody takes over; the holder itself may return.
pub const R21_PAUSED: Story = Story {
    name: "r21_a_pause_bars_challengers_and_not_the_holder",
    plan: available,
    tell: |w| {
        w.set_paused(true);
        w.strike(Fault::HostCrash { r: 0, down: 5_000 });
        w.run(ms(5_000));
        let back = w.run_until(ms(3_000), |w| w.primary() == Some(0));
        if !back && w.judge.violations.is_empty() {
            w.violated("R21: the recorded holder did not return to a paused pair".into());
        }
    },
};

/// R21: an `async` pair with a standing approval fails over within it.
pub const R21_STANDING_APPROVAL: Story = Story {
    name: "r21_a_standing_approval_is_enough_while_the_lag_is_known",
    plan: asynchronous,
    tell: |w| {
        w.run(ms(500));
        w.strike(Fault::HostCrash { r: 0, down: 9_000 });
        let moved = w.run_until(ms(6_000), |w| w.primary() == Some(1));
        if !moved && w.judge.violations.is_empty() {
            w.violated("R21: the standing approval was not enough".into());
        }
    },
};

/// R21: what the standby heard last of its primary shows it close behind, but that was long ago.
pub const R21_LAG_HEARD_LONG_AGO: Story = Story {
    name: "r21_a_lag_that_was_heard_long_ago_is_not_within_the_bound",
    plan: |seed| Plan {
        loss_approval: Some(LossApproval { rpo_bytes: 4_000 }),
        ..asynchronous(seed)
    },
    tell: |w| {
        w.strike(Fault::ReceiverStuck { r: 1, span: 20_000 });
        w.run(ms(6_000));
        w.strike(Fault::HostCrash { r: 0, down: 7_000 });
        w.run(ms(6_000));
    },
};

/// R22: a strict pair after a takeover: connections are accepted, writes wait for a second copy.
pub const R22_STRICT_AFTER_A_TAKEOVER: Story = Story {
    name: "r22_strict_waits_for_a_second_copy_after_a_takeover",
    plan: strict,
    tell: |w| {
        w.strike(Fault::HostCrash { r: 0, down: 9_000 });
        w.run_until(ms(7_000), |w| w.primary() == Some(1));
        let before = w.judge.acknowledgements;
        w.run(ms(1_500));
        if w.judge.acknowledgements != before {
            w.violated("R22: a write was acknowledged with one copy".into());
        }
    },
};

/// A standby that is cut off is dropped, the holder dies: the standby must not take over.
pub const I2_OUTSIDE_THE_LEDGER: Story = Story {
    name: "i2_who_was_dropped_from_the_ledger_takes_nothing_over",
    plan: available,
    tell: |w| {
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 9_000 });
        w.run_until(ms(4_000), |w| w.listed().len() == 1);
        w.run(ms(500));
        w.strike(Fault::HostCrash { r: 0, down: 7_000 });
        w.run(ms(7_000));
    },
};

/// A person approves a loss while the holder is away, for that epoch alone; the order is late, and
/// the holder has come back and gone again.
pub const I2_LATE_APPROVAL: Story = Story {
    name: "i2_an_approval_counts_for_its_epoch_alone",
    plan: available,
    tell: |w| {
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 12_000 });
        w.run_until(ms(4_000), |w| w.listed().len() == 1);
        w.net.delayed_directive = Some(ms(4_500));
        w.order_failover(1, true);
        w.strike(Fault::HostCrash { r: 0, down: 300 });
        w.run(ms(4_000));
        w.strike(Fault::HostCrash { r: 0, down: 7_000 });
        w.run(ms(6_500));
    },
};

/// The durability is lowered to `async`: the ledger shrinks first, then the names.
pub const I2_LOWERED_DURABILITY: Story = Story {
    name: "i2_a_lowered_durability_shrinks_the_ledger_first",
    plan: available,
    tell: |w| {
        w.strike(Fault::SetDurability { durability: Durability::Async });
        w.run(ms(1_000));
        w.strike(Fault::SetDurability { durability: Durability::Strict });
        w.run(ms(4_000));
    },
};

/// The holder's guard is restarted under it: PostgreSQL dies with it and is started again.
pub const R5_GUARD_DIES: Story = Story {
    name: "r5_postgresql_does_not_outlive_its_guard",
    plan: available,
    tell: |w| {
        w.strike(Fault::GuardCrash { r: 0, down: 400 });
        assert!(!w.regions[0].pg.serves(), "killed with its guard");
        w.run_until(ms(4_000), |w| w.primary().is_some());
    },
};

pub const ALL: [&Story; 32] = [
    &R3_RENEWAL_ANSWERED_LATE,
    &R3_LATE_ACKNOWLEDGEMENT,
    &R4_COMMAND_OF_A_DEAD_AGENT,
    &R4_COMMAND_GIVEN_UP,
    &R5_AGENT_DIES_WITH_A_PROMOTION,
    &R5_ARMED_BEFORE_PROMOTE,
    &R5_RETURN_AGAINST_A_SLOW_CHALLENGER,
    &R6_BLIND_CHALLENGER,
    &R7_VERDICT_FOR_ANOTHER_VERSION,
    &R9_GROWTH_WITHOUT_AN_ANSWER,
    &R9_WITNESS_REFUSES,
    &R10_RESTART_WITH_A_GROWTH_UNRESOLVED,
    &R12_BUSY_CHECKPOINTER,
    &R13_OLD_COPY,
    &R13_LISTED_RESTARTS,
    &R13_HOLDER_LOSES_ITS_DISK,
    &R14_TARGET_BEHIND,
    &R15_UNDONE_WITH_A_WRITE_OUTSTANDING,
    &R15_THERE_AND_BACK,
    &R16_RELEASE_OUTSTANDING,
    &R17_CORE_AND_TARGET_LOST,
    &R20_WITNESS_BACK_FOR_THE_STANDBY,
    &R20_PROMISE_SURVIVES_A_RESTART,
    &R21_PAUSED,
    &R21_STANDING_APPROVAL,
    &R21_LAG_HEARD_LONG_AGO,
    &R22_STRICT_AFTER_A_TAKEOVER,
    &I2_OUTSIDE_THE_LEDGER,
    &I2_LATE_APPROVAL,
    &I2_LOWERED_DURABILITY,
    &I5_REPLAY_STALLS,
    &R5_GUARD_DIES,
];
