//! Incident reports: one story per rule, told in a world that stood before it.
//!
//! Each is told with the rules in force, where nothing may be violated and the pair must be whole
//! again afterwards, and with the rule taken out, where the judge must notice.

use continuum_domain::SyncNames;
use continuum_domain::spec::{Durability, LossApproval, WitnessLossPolicy};

use crate::support::{STANDS, settle};
use crate::world::{Fault, Kind, Plan, World, ms};

pub struct Story {
    pub name: &'static str,
    pub plan: fn(u64) -> Plan,
    pub tell: fn(&mut World),
}

impl Story {
    /// Tells it and heals everything; what was violated, if anything.
    pub fn told(&self, seed: u64, tracing: bool) -> (World, Option<String>) {
        let plan = Plan { tracing, ..(self.plan)(seed) };
        let mut world = World::new(&plan);
        let mut whole = world.run_until(STANDS, |w| w.unsettled().is_none());
        if whole {
            (self.tell)(&mut world);
            world.heal();
            whole = settle(&mut world);
        }
        let mut violation = world.judge.violations.first().cloned();
        if violation.is_none() && !whole {
            violation = Some(format!("I5: {}", world.unsettled().unwrap_or_default()));
        }
        (world, violation)
    }
}

/// Two members; a standing approval, so that an expired lease alone decides.
fn asynchronous(seed: u64) -> Plan {
    Plan {
        loss_approval: Some(LossApproval { rpo_bytes: 1 << 20 }),
        write_interval_ms: 10,
        ..Plan::quiet(seed, 2, Durability::Async)
    }
}

fn failsafe(seed: u64) -> Plan {
    Plan { on_witness_loss: WitnessLossPolicy::Failsafe, ..asynchronous(seed) }
}

fn available(seed: u64) -> Plan {
    Plan { write_interval_ms: 10, ..Plan::quiet(seed, 2, Durability::Available) }
}

fn strict(seed: u64) -> Plan {
    Plan { write_interval_ms: 10, ..Plan::quiet(seed, 2, Durability::Strict) }
}

fn three(seed: u64) -> Plan {
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

/// An `async` pair without a standing approval waits for a person, for as long as it takes, and
/// says so; it does not press the witness meanwhile.
pub const I5_WAITING_FOR_AN_APPROVAL: Story = Story {
    name: "i5_waiting_for_an_approval_has_a_name_and_is_calm",
    plan: |seed| Plan { loss_approval: None, ..asynchronous(seed) },
    tell: |w| {
        w.strike(Fault::HostCrash { r: 0, down: 30_000 });
        w.run(ms(15_000));
        let agent = w.regions[1].agent.as_ref().unwrap();
        let blocked = agent.machine.status(w.local(1)).blocked.map(|blocked| blocked.code);
        if blocked != Some("data-loss-approval") && w.judge.violations.is_empty() {
            w.violated(format!("I5: it says {blocked:?}"));
        }
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

/// Two members; a failover needs a person's approval.
pub fn approved_by_hand(seed: u64) -> Plan {
    Plan { loss_approval: None, ..asynchronous(seed) }
}

/// The primary is restarted in place, cut off from the standby `apart`, and each time begins the
/// next timeline; then its host dies and a person gives the lease to `apart`, which knows nothing of
/// it and begins a timeline of a number that was used. Ends when that one serves.
pub fn promoted_apart(w: &mut World, apart: usize, restarts: u64, down: u64) {
    let old = w.primary().unwrap();
    w.strike(Fault::PeersCut { r: apart, span: 5_000 });
    // In `available` it is dropped from the ledger first; until then commits wait for it.
    w.run_until(ms(4_000), |w| !w.listed().contains(&apart));
    for _ in 0..restarts {
        w.strike(Fault::PgCrash { r: old });
        w.run_until(ms(1_500), |w| w.primary() == Some(old));
        w.run(ms(300));
    }
    w.strike(Fault::CoreDenies { span: 20_000 });
    w.strike(Fault::HostCrash { r: old, down });
    w.order_failover(apart, true);
    w.run_until(ms(8_000), |w| w.primary() == Some(apart));
    w.run(ms(300));
    let timeline = |r: usize| w.regions[r].pg.timeline();
    let told = timeline(old) + 1 == timeline(apart) + restarts
        && !w.regions[old].pg.begins(&w.regions[apart].pg);
    reached(w, told, "two members were promoted apart");
}

pub const NOT_TOLD: &str = "the story is not told";

/// A story that does not come to its point shows nothing.
fn reached(w: &mut World, told: bool, what: &str) {
    if !told && w.judge.violations.is_empty() {
        w.violated(format!("{NOT_TOLD}: {what}"));
    }
}

/// Two members were promoted apart under one number. The old primary comes back while the new one
/// is away, and starts as a standby of nobody; when the new one is back, it is stopped and looked
/// at before it is pointed there: PostgreSQL itself would stream.
pub const LINEAGE_PROMOTED_APART: Story = Story {
    name: "lineage_who_was_promoted_apart_is_looked_at_before_it_streams",
    plan: approved_by_hand,
    tell: |w| {
        promoted_apart(w, 1, 1, 8_000);
        // The new primary has written past where the old one ends: it would serve it.
        w.run(ms(2_000));
        w.strike(Fault::HostCrash { r: 1, down: 8_300 });
        w.run_until(ms(8_000), |w| w.regions[0].pg.running());
        let told = w.regions[0].pg.running() && w.regions[1].pg.process.is_none();
        reached(w, told, "it runs as a standby of nobody");
        let stops = w.regions[0].guard.exits;
        w.run_until(ms(20_000), |w| w.primary() == Some(1));
        w.run(ms(4_000));
        if w.regions[0].guard.exits == stops && w.judge.violations.is_empty() {
            w.violated("lineage: it was not stopped and looked at".into());
        }
    },
};

/// A third member streamed the old primary's timeline, rightly; the number is the new primary's
/// too. What was proven for the one holder counts for no other.
pub const LINEAGE_OF_THE_HOLDER_BEFORE: Story = Story {
    name: "lineage_a_proof_counts_for_one_holder",
    plan: three,
    tell: |w| {
        promoted_apart(w, 1, 1, 9_000);
        let same = w.regions[2].pg.timeline() == w.regions[1].pg.timeline();
        let told = same && !w.regions[2].pg.begins(&w.regions[1].pg);
        reached(w, told, "the third member has the old primary's timeline");
        w.run(ms(4_000));
    },
};

/// The same, and the third member was just made as a copy of the old primary: its outcome is heard
/// under the new one.
pub const LINEAGE_HEARD_LATE: Story = Story {
    name: "lineage_a_copy_of_the_holder_before_is_looked_at",
    plan: three,
    tell: |w| {
        w.strike(Fault::PeersCut { r: 1, span: 5_500 });
        w.run_until(ms(4_000), |w| !w.listed().contains(&1));
        w.strike(Fault::PgCrash { r: 0 });
        w.run_until(ms(3_000), |w| w.primary() == Some(0));
        w.strike(Fault::DiskLoss { r: 2 });
        w.run_until(ms(2_000), |w| w.regions[2].guard.job);
        w.net.delayed_outcome[2] = Some(ms(8_000));
        w.run_until(ms(2_000), |w| w.regions[2].pg.directory.is_some());
        reached(w, w.regions[2].pg.directory.is_some(), "the third member was cloned");
        w.strike(Fault::CoreDenies { span: 20_000 });
        w.strike(Fault::HostCrash { r: 0, down: 14_000 });
        w.order_failover(1, true);
        w.run_until(ms(8_000), |w| w.primary() == Some(1));
        let told = w.regions[2].pg.timeline() == w.regions[1].pg.timeline()
            && w.regions[2].pg.process.is_none();
        reached(w, told, "the copy has the old primary's timeline");
        w.run(ms(9_000));
    },
};

/// R14: the same member again, and its agent does not see the new primary's session: it is not
/// stopped, and answers a switchover's question for a position on a timeline of that number.
pub const R14_TARGET_OF_ANOTHER_HISTORY: Story = Story {
    name: "r14_a_target_that_does_not_stream_from_here_proves_nothing",
    plan: approved_by_hand,
    tell: |w| {
        // Twice, for the restart of the new primary that follows.
        promoted_apart(w, 1, 2, 5_500);
        w.strike(Fault::HostCrash { r: 1, down: 12_000 });
        w.run_until(ms(11_000), |w| w.regions[0].pg.running());
        w.strike(Fault::WitnessCut { r: 0, span: 9_000 });
        w.run_until(ms(15_000), |w| w.primary() == Some(1));
        let timeline = |r: usize| w.regions[r].pg.timeline();
        let told = timeline(0) == timeline(1) && w.regions[0].pg.running();
        reached(w, told, "the target runs, on a timeline of that number");
        w.order_switchover(0, ms(2_000));
        w.run(ms(4_000));
    },
};

/// Two members were promoted apart under one number and at one place, and the old primary wrote
/// more: by numbers it fits until where the new one left that number behind.
pub const LINEAGE_EQUAL_BY_NUMBERS: Story = Story {
    name: "lineage_equal_numbers_are_not_rewound",
    plan: approved_by_hand,
    tell: |w| {
        w.run_until(ms(2_000), |w| w.all_shipped(0));
        w.strike(Fault::PgCrash { r: 0 });
        w.strike(Fault::PeersCut { r: 1, span: 5_000 });
        w.run_until(ms(3_000), |w| w.primary() == Some(0));
        w.run(ms(1_500));
        w.strike(Fault::HostCrash { r: 0, down: 9_000 });
        w.order_failover(1, true);
        w.run_until(ms(8_000), |w| w.primary() == Some(1));
        w.run(ms(300));
        w.strike(Fault::PgCrash { r: 1 });
        let histories = |r: usize| w.regions[r].pg.ancestors();
        let told = histories(0) == histories(1);
        reached(w, told, "both left the last timeline at one place");
        w.run(ms(9_000));
    },
};

pub const ALL: [&Story; 33] = [
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
    &R10_RESTART_WITH_A_GROWTH_UNRESOLVED,
    &R12_BUSY_CHECKPOINTER,
    &R13_OLD_COPY,
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
    &R22_STRICT_AFTER_A_TAKEOVER,
    &I2_OUTSIDE_THE_LEDGER,
    &I2_LOWERED_DURABILITY,
    &I5_WAITING_FOR_AN_APPROVAL,
    &R5_GUARD_DIES,
    &LINEAGE_PROMOTED_APART,
    &LINEAGE_OF_THE_HOLDER_BEFORE,
    &LINEAGE_HEARD_LATE,
    &LINEAGE_EQUAL_BY_NUMBERS,
    &R14_TARGET_OF_ANOTHER_HISTORY,
];
