//! Incident reports of members that were promoted apart: what PostgreSQL would do by the numbers of
//! timelines, and must not be let.

use crate::stories::{asynchronous, available, three};
use crate::story::Story;
use crate::world::{Fault, Plan, World, ms};

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
pub fn reached(w: &mut World, told: bool, what: &str) {
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

/// An old copy of the primary's directory is put back, the primary lets go, and a person gives it
/// the lease all the same. It begins the timeline anew on which the standby is. `before` is told
/// when the standby is there, `between` when the lease is taken again.
fn forked_from_an_old_copy(w: &mut World, before: fn(&mut World), between: fn(&mut World)) {
    w.run(ms(1_500));
    w.strike(Fault::PgCrash { r: 0 });
    let timeline = |w: &World, r: usize| w.regions[r].pg.timeline();
    w.run_until(ms(2_000), |w| {
        w.primary() == Some(0) && timeline(w, 0) == timeline(w, 1) && w.regions[1].pg.running()
    });
    before(w);
    // Nobody but the old primary may have the lease.
    w.strike(Fault::CoreDenies { span: 10_000 });
    w.strike(Fault::OldCopy { r: 0 });
    w.run_until(ms(2_000), |w| w.register.record().is_some_and(|record| record.holder.is_none()));
    w.run(ms(200));
    w.order_failover(0, true);
    w.run_until(ms(6_000), |w| w.register.record().is_some_and(|record| record.holder.is_some()));
    between(w);
    w.run_until(ms(3_000), |w| w.primary() == Some(0));
    let told = timeline(w, 0) == timeline(w, 1);
    reached(w, told, "the standby is on a timeline of that number");
    w.run(ms(4_000));
}

/// The standby's agent watches all the while, and its orders take long: PostgreSQL must not have
/// been left pointed at the region whose history is another now.
pub const LINEAGE_OLD_UPSTREAM: Story = Story {
    name: "lineage_a_standby_is_not_left_pointed_at_who_let_go",
    plan: available,
    tell: |w| {
        forked_from_an_old_copy(w, |_| {}, |w| w.net.delayed_command[1] = Some(ms(800)));
    },
};

/// R13: the standby's agent does not reach the register meanwhile, so that its PostgreSQL streams
/// onto the other history. Its agent does not tell a directory for an epoch it has not heard of.
pub const R13_STREAMS_UNWATCHED: Story = Story {
    name: "r13_who_streams_unproven_is_not_listed",
    plan: available,
    tell: |w| {
        let cut = |w: &mut World| w.strike(Fault::WitnessCut { r: 1, span: 10_000 });
        forked_from_an_old_copy(w, cut, |_| {});
        reached(w, w.judge.streams_apart > 0, "it streams onto the other history");
    },
};

pub const FORKS: [&Story; 7] = [
    &LINEAGE_PROMOTED_APART,
    &LINEAGE_OF_THE_HOLDER_BEFORE,
    &LINEAGE_HEARD_LATE,
    &LINEAGE_EQUAL_BY_NUMBERS,
    &LINEAGE_OLD_UPSTREAM,
    &R13_STREAMS_UNWATCHED,
    &R14_TARGET_OF_ANOTHER_HISTORY,
];
