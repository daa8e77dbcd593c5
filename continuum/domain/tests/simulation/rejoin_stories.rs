//! Incident reports of members that a person brings back: by a fresh copy, or by trying again.

use continuum_domain::DataDirectoryId;
use continuum_domain::pair::types::Event;
use continuum_domain::spec::Durability;

use crate::fork_stories::approved_by_hand;
use crate::named_states::{diverged_twice, shown};
use crate::stories::{asynchronous, available};
use crate::story::Story;
use crate::world::{Fault, Plan, World, ms};

fn must(w: &mut World, held: bool, what: &str) {
    if !held && w.judge.violations.is_empty() {
        w.violated(what.to_owned());
    }
}

fn directory(w: &World, r: usize) -> Option<DataDirectoryId> {
    w.regions[r].pg.directory.clone()
}

fn gave_up(w: &World) -> bool {
    w.judge.notes.keys().any(|note| note.starts_with("step:Rejoin:Failed"))
}

/// The order reaches the member, whatever the ledger says.
fn clone_at_once(w: &mut World, r: usize) {
    let epoch = w.register.record().map(|record| record.epoch).unwrap_or_default();
    let operation = w.next_operation();
    w.feed(r, Event::Rejoin { operation, epoch, clone: true, deadline: ms(10_000) });
}

/// A listed standby is cloned anew: the ledger does without it first, and lists the new directory.
pub const CLONED_ANEW: Story = Story {
    name: "rejoin_by_a_fresh_copy_leaves_the_ledger_first",
    plan: available,
    tell: |w| {
        let (before, copies) = (directory(w, 1), w.judge.count("rejoined:re-cloned"));
        w.order_clone(1);
        let cloned = w.run_until(ms(9_000), |w| directory(w, 1) != before);
        must(w, cloned, "I5: the clone that was ordered did not come");
        let whole = w.run_until(ms(6_000), |w| w.listed().contains(&1));
        must(w, whole, "I5: the fresh copy is not listed, although it is another directory");
        w.run(ms(2_000));
        let once = w.judge.count("rejoined:re-cloned") == copies + 1;
        let stays = w.primary() == Some(0);
        must(w, once && stays, "rejoin: it was cloned more than once, or the pair moved");
    },
};

/// The order reaches a member that is listed: its directory is not touched (R13).
pub const CLONE_OF_A_LISTED_MEMBER: Story = Story {
    name: "r13_an_ordered_clone_of_a_listed_member_is_not_begun",
    plan: available,
    tell: |w| {
        let before = directory(w, 1);
        clone_at_once(w, 1);
        w.run(ms(4_000));
        let same = directory(w, 1) == before && w.listed().contains(&1);
        must(w, same, "R13: a listed directory was replaced");
        let told = gave_up(w);
        must(w, told, "I5: why it was not cloned is not told");
    },
};

/// `strict` never gives a listed member up, so it is not cloned, and nobody waits for it.
pub const CLONE_IN_STRICT: Story = Story {
    name: "rejoin_by_a_fresh_copy_takes_no_copy_from_strict",
    plan: |seed| Plan { write_interval_ms: 10, ..Plan::quiet(seed, 2, Durability::Strict) },
    tell: |w| {
        let before = directory(w, 1);
        w.order_clone(1);
        w.run(ms(6_000));
        let same = directory(w, 1) == before && w.listed().contains(&1);
        must(w, same, "rejoin: strict gave a listed member up");
    },
};

/// Orders for the holder, or of another epoch, change nothing.
pub const CLONE_OF_ANOTHER_TIME: Story = Story {
    name: "rejoin_ordered_at_another_epoch_or_of_the_holder_changes_nothing",
    plan: asynchronous,
    tell: |w| {
        let before = [directory(w, 0), directory(w, 1)];
        clone_at_once(w, 0);
        let epoch = w.register.record().map(|record| record.epoch).unwrap_or_default();
        let operation = w.next_operation();
        w.feed(
            1,
            Event::Rejoin { operation, epoch: epoch.next(), clone: true, deadline: ms(9_000) },
        );
        w.run(ms(5_000));
        let same = before == [directory(w, 0), directory(w, 1)] && w.primary() == Some(0);
        must(w, same, "rejoin: a stale order was carried out, or one to the holder");
    },
};

/// The copy comes to nothing: it is told, not tried for ever, and the member follows with what it had.
pub const CLONE_FAILS: Story = Story {
    name: "rejoin_by_a_copy_that_fails_is_told_and_not_repeated",
    plan: available,
    tell: |w| {
        let (before, copies) = (directory(w, 1), w.judge.count("rejoined:re-cloned"));
        w.order_clone(1);
        let began = w.run_until(ms(9_000), |w| w.regions[1].guard.job);
        must(w, began, "told nothing: the copy did not begin");
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 4_000 });
        let named = w.run_until(ms(3_500), |w| shown(w, 1) == Some("clone-failed"));
        let what = format!("I5: it shows {:?}", shown(w, 1));
        must(w, named || directory(w, 1) != before, &what);
        let told = gave_up(w);
        must(w, told || directory(w, 1) != before, "I5: that it failed is not told");
        let back = w.run_until(ms(12_000), |w| w.listed().contains(&1));
        must(w, back && shown(w, 1).is_none(), "I5: it does not follow with what it had");
        let same = w.judge.count("rejoined:re-cloned") == copies || directory(w, 1) != before;
        must(w, same, "rejoin: it was cloned without an order");
    },
};

/// The member's agent dies in the middle: the order is repeated, and there is one copy in the end.
pub const CLONE_AND_THE_AGENT_DIES: Story = Story {
    name: "rejoin_by_a_fresh_copy_is_ordered_again_after_the_agent_died",
    plan: available,
    tell: |w| {
        let before = directory(w, 1);
        w.order_clone(1);
        w.run_until(ms(9_000), |w| w.regions[1].guard.job);
        w.strike(Fault::AgentCrash { r: 1, down: 300 });
        let ended = w.run_until(ms(12_000), |w| directory(w, 1) != before || gave_up(w));
        must(w, ended, "I5: the clone that was ordered did not come, and nothing is told of it");
    },
};

/// It had diverged twice and waits for a person: who tells it to try again.
pub const TRIES_AGAIN: Story = Story {
    name: "rejoin_by_trying_again_ends_a_named_state",
    plan: approved_by_hand,
    tell: |w| {
        diverged_twice(w);
        let named = w.run_until(ms(9_000), |w| shown(w, 0) == Some("rejoin-exhausted"));
        must(w, named, "told nothing: it is not exhausted");
        let epoch = w.register.record().map(|record| record.epoch).unwrap_or_default();
        let operation = w.next_operation();
        let order = Event::Rejoin { operation, epoch, clone: false, deadline: ms(10_000) };
        w.feed(0, order.clone());
        w.feed(0, order);
        let back = w.run_until(ms(9_000), |w| w.judge.count("rejoined:rewound") > 1);
        must(w, back, "I5: trying again did not bring it back");
    },
};

pub const REJOINS: [&Story; 7] = [
    &CLONED_ANEW,
    &CLONE_OF_A_LISTED_MEMBER,
    &CLONE_IN_STRICT,
    &CLONE_OF_ANOTHER_TIME,
    &CLONE_FAILS,
    &CLONE_AND_THE_AGENT_DIES,
    &TRIES_AGAIN,
];
