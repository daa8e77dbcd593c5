//! Incident reports of ledger takeover and hot switchover (R8, R18, R19, R22).

use continuum_domain::spec::{Durability, Takeover};

use crate::fork_stories::NOT_TOLD;
use crate::story::Story;
use crate::world::{Fault, Kind, Plan, World, ms};

/// What a story demands. What is not about a rule says that the story is not told.
fn must(w: &mut World, held: bool, what: &str) {
    if !held {
        w.violated(what.to_owned());
    }
}

fn ledger(seed: u64) -> Plan {
    Plan {
        takeover: Takeover::Ledger,
        write_interval_ms: 10,
        ..Plan::quiet(seed, 2, Durability::Available)
    }
}

fn strict(seed: u64) -> Plan {
    Plan { durability: Durability::Strict, ..ledger(seed) }
}

fn three(seed: u64) -> Plan {
    Plan { regions: 3, ..ledger(seed) }
}

/// With a lease that nobody can wait for.
fn long_lease(seed: u64) -> Plan {
    Plan { timing: continuum_domain::Timing::default(), ..ledger(seed) }
}

/// Waits until the register says that the holder waits for every listed member.
fn promised(w: &mut World) {
    let promised =
        w.run_until(ms(6_000), |w| w.register.record().is_some_and(|record| record.waits_for_all));
    w.run(ms(100));
    must(w, promised, &format!("{NOT_TOLD}: no promise to wait for every listed member"));
}

/// Whether `by` was how somebody acquired.
fn acquired(w: &World, by: &str) -> bool {
    w.judge.count(&format!("acquired:{by}")) > 0
}

/// R18: a region is lost; a standby takes over long before its lease has run out.
pub const R18_REGION_LOST: Story = Story {
    name: "r18_a_lost_region_is_taken_over_before_its_lease_runs_out",
    plan: long_lease,
    tell: |w| {
        promised(w);
        w.strike(Fault::HostCrash { r: 0, down: 8_000 });
        let taken = w.run_until(ms(2_500), |w| w.primary() == Some(1));
        must(w, taken, "nobody took over in time");
        let by_ledger = acquired(w, "ledger");
        must(w, by_ledger, "it was not taken over by the ledger");
    },
};

/// The link of two healthy regions is cut: one signal is silent, the other is not.
pub const R18_LINK_CUT: Story = Story {
    name: "r18_a_cut_link_between_healthy_regions_moves_nothing",
    plan: strict,
    tell: |w| {
        promised(w);
        w.strike(Fault::PeersCut { r: 0, span: 4_000 });
        w.run(ms(4_000));
        let stays = w.primary() == Some(0) && !acquired(w, "ledger");
        must(w, stays, "a cut link moved the pair");
    },
};

/// R18: a person approves a loss for a member that is not listed, and the holder falls silent. An
/// approval lets nobody take over from a holder whose lease may still run.
pub const R18_UNDER_AN_APPROVAL: Story = Story {
    name: "r18_an_approval_does_not_shorten_the_lease",
    plan: three,
    tell: |w| {
        promised(w);
        w.strike(Fault::LinkCut { a: 0, b: 2, span: 9_000 });
        w.run_until(ms(4_000), |w| w.listed() == [0, 1]);
        w.run_until(ms(3_000), |w| w.register.record().is_some_and(|record| record.waits_for_all));
        w.strike(Fault::AgentHang { r: 1, span: 3_000 });
        w.strike(Fault::AgentHang { r: 0, span: 1_500 });
        w.order_failover(2, true);
        w.run(ms(1_500));
    },
};

/// R8: the holder is alive and is never told. It must find out, and say nothing of itself afterwards.
pub const R8_HOLDER_IS_NOT_TOLD: Story = Story {
    name: "r8_a_holder_that_is_not_told_reads_it",
    plan: strict,
    tell: |w| {
        promised(w);
        w.strike(Fault::PeersCut { r: 0, span: 4_000 });
        w.order_hot_switchover(1, ms(1_500));
        w.run_until(ms(1_500), |w| {
            w.register.record().is_some_and(|r| r.held_by(&w.regions[1].name))
        });
        // Some rounds of renewals, and less than anything else would tell it by.
        w.run(ms(500));
        let knows = w.regions[0].agent.as_ref().and_then(|a| a.machine.confirmed_epoch()).is_none();
        must(w, knows, "R8: the old holder does not know that it was taken over from");
        w.run(ms(4_000));
    },
};

/// R18: the standby's WAL receiver hangs. What it would still take up is not known to have ended.
pub const R18_RECEIVER_HANGS: Story = Story {
    name: "r18_a_receiver_that_hangs_bars_a_hot_switchover",
    plan: ledger,
    tell: |w| {
        promised(w);
        w.strike(Fault::ReceiverStuck { r: 1, span: 2_500 });
        w.run(ms(50));
        w.order_hot_switchover(1, ms(900));
        w.run(ms(1_500));
    },
};

/// R8, R18: something lowers `synchronous_commit` at the holder. From then on its lease counts again.
pub const R18_PREMISE_BREAKS: Story = Story {
    name: "r18_a_lowered_synchronous_commit_takes_the_promise_back",
    plan: long_lease,
    tell: |w| {
        promised(w);
        w.lowered_commit[0] = vec!["role app sets synchronous_commit to off".into()];
        let taken_back = w.run_until(ms(1_500), |w| {
            w.register.record().is_some_and(|record| !record.waits_for_all)
        });
        must(w, taken_back, "R18: the register still says that the holder waits for all");
        w.strike(Fault::HostCrash { r: 0, down: 8_000 });
        w.run(ms(7_000));
        must(w, !acquired(w, "ledger"), "R18: taken over by the ledger without its premise");
        w.lowered_commit[0].clear();
    },
};

/// I2: two standbys are listed, and the one that takes over is the slower one.
pub const R18_SLOWER_OF_TWO: Story = Story {
    name: "r18_the_slower_of_two_standbys_has_every_commit",
    plan: three,
    tell: |w| {
        promised(w);
        w.strike(Fault::ReplayStall { r: 2, span: 700 });
        w.strike(Fault::ReceiverStuck { r: 2, span: 600 });
        w.run(ms(550));
        w.strike(Fault::HostCrash { r: 0, down: 6_000 });
        w.strike(Fault::HostCrash { r: 1, down: 6_000 });
        w.run(ms(4_000));
    },
};

/// R9, R18: the holder's shrink is under way and given up, and the standby that it would drop takes
/// over: only one of the two writes can count, and nothing may be built on the other.
pub const R18_SHRINK_AGAINST_A_TAKEOVER: Story = Story {
    name: "r18_a_shrink_and_a_takeover_race",
    plan: ledger,
    tell: |w| {
        promised(w);
        w.strike(Fault::PeersCut { r: 0, span: 6_000 });
        w.run(ms(600));
        w.net.delayed[0] = Some((Kind::CasPair, ms(2_500)));
        w.run_until(ms(2_000), |w| w.net.delayed[0].is_none());
        w.run(ms(1_200));
        w.order_hot_switchover(1, ms(1_500));
        w.run(ms(5_000));
    },
};

/// R22: in `strict` a takeover by the ledger lets clients in and acknowledges nothing with one copy.
pub const R22_STRICT_LEDGER: Story = Story {
    name: "r22_a_strict_takeover_by_the_ledger_waits_for_a_second_copy",
    plan: strict,
    tell: |w| {
        promised(w);
        w.strike(Fault::HostCrash { r: 0, down: 4_000 });
        w.run_until(ms(3_000), |w| w.primary() == Some(1));
        w.run(ms(6_000));
    },
};

/// R12: the checkpointer takes up the names late, so that commits do not wait yet; the standby that
/// would be listed all the same takes over by the ledger.
pub const R12_LEDGER_BUSY_CHECKPOINTER: Story = Story {
    name: "r12_nobody_takes_over_by_a_ledger_that_was_grown_on_looks",
    plan: ledger,
    tell: |w| {
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 2_000 });
        w.run_until(ms(4_000), |w| w.listed().len() == 1);
        w.strike(Fault::SlowCheckpointer { r: 0, span: 4_000 });
        w.run(ms(2_400));
        w.strike(Fault::HostCrash { r: 0, down: 4_000 });
        w.run(ms(4_000));
    },
};

/// An order to take over that the target cannot carry out in its time is given up by itself, and the
/// target follows again.
pub const HOT_GIVEN_UP: Story = Story {
    name: "a_hot_switchover_that_cannot_commit_is_undone_by_its_target",
    plan: ledger,
    tell: |w| {
        promised(w);
        w.strike(Fault::WitnessCut { r: 1, span: 1_500 });
        w.run(ms(300));
        w.order_hot_switchover(1, ms(700));
        w.run(ms(4_000));
        let told = w.judge.notes.keys().any(|note| note.starts_with("step:Commit:Failed"));
        let gave_up = told && w.regions[1].pg.receiver.is_some();
        let took_over = w.primary() == Some(1);
        must(w, gave_up || took_over, "the target neither took over nor gave up");
    },
};

/// R18, R19: members that cannot be cut off wait for the lease to run out; who has won so, and has lost
/// its agent before the promotion, is promoted by the next one.
pub const R19_CANNOT_BE_CUT_OFF: Story = Story {
    name: "r19_a_member_that_always_receives_waits_for_the_lease_and_is_promoted_after_a_restart",
    plan: ledger,
    tell: |w| {
        promised(w);
        for r in 0..2 {
            w.regions[r].guard.always_receives = true;
            w.notify(r);
        }
        w.run(ms(200));
        w.strike(Fault::HostCrash { r: 0, down: 15_000 });
        let held_by = |w: &World| w.register.record().is_some_and(|record| record.epoch.0 > 1);
        let won = w.run_until(ms(6_000), held_by);
        must(w, won, "nobody took over when the lease had run out");
        let early = acquired(w, "ledger");
        must(w, !early, "it took over from a holder that may live");
        w.strike(Fault::AgentCrash { r: 1, down: 300 });
        must(w, w.primary().is_none(), &format!("{NOT_TOLD}: promoted before the crash"));
        let stands = w.run_until(ms(4_000), |w| w.primary() == Some(1));
        must(w, stands, "the new holder is not promoted after its agent's restart");
        let returned = acquired(w, "returned");
        must(w, returned, &format!("{NOT_TOLD}: it did not return under its own lease"));
    },
};

pub const LEDGER: [&Story; 12] = [
    &R18_REGION_LOST,
    &R18_LINK_CUT,
    &R18_UNDER_AN_APPROVAL,
    &R8_HOLDER_IS_NOT_TOLD,
    &R18_RECEIVER_HANGS,
    &R18_PREMISE_BREAKS,
    &R18_SLOWER_OF_TWO,
    &R18_SHRINK_AGAINST_A_TAKEOVER,
    &R19_CANNOT_BE_CUT_OFF,
    &R22_STRICT_LEDGER,
    &R12_LEDGER_BUSY_CHECKPOINTER,
    &HOT_GIVEN_UP,
];
