//! Incident reports of states that have a name: it is shown when it is so, and only then.

use crate::fork_stories::{approved_by_hand, reached};
use crate::stories::{asynchronous, available};
use crate::story::Story;
use crate::world::{Fault, Plan, World, ms};

/// The named state that region `r` shows.
pub fn shown(w: &World, r: usize) -> Option<&'static str> {
    let agent = w.regions[r].agent.as_ref()?;
    agent.machine.status(w.local(r)).blocked.map(|blocked| blocked.code)
}

fn wrong(w: &mut World, wrong: bool, what: String) {
    if wrong && w.judge.violations.is_empty() {
        w.violated(what);
    }
}

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

/// The primary's disk hangs, and everything else lives: its session beats, so that nobody may
/// challenge, and nothing is acknowledged. It lets go by itself.
pub const I5_DISK_HANGS: Story = Story {
    name: "i5_a_primary_whose_disk_hangs_lets_go",
    plan: available,
    tell: |w| {
        w.strike(Fault::FlushHangs { r: 0, span: 30_000 });
        let moved = w.run_until(ms(12_000), |w| w.primary() == Some(1));
        if !moved && w.judge.violations.is_empty() {
            w.violated("I5: the lease stays where nothing can be written".into());
        }
    },
};

/// The same without another member that has everything: it stays, and says why.
pub const I2_DISK_HANGS_ALONE: Story = Story {
    name: "i2_a_primary_whose_disk_hangs_stays_where_it_is_the_only_copy",
    plan: available,
    tell: |w| {
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 20_000 });
        w.run_until(ms(6_000), |w| w.listed().len() == 1);
        w.run(ms(500));
        w.strike(Fault::FlushHangs { r: 0, span: 10_000 });
        w.run(ms(9_000));
        let named = w.judge.count("blocked:writes-stalled") > 0;
        if (!named || w.primary() != Some(0)) && w.judge.violations.is_empty() {
            w.violated("I2: the only copy was left, or the state has no name".into());
        }
    },
};

/// The old primary is back, and cannot reach the new one's PostgreSQL to look at its history.
pub const I5_HOLDER_NOT_REACHED: Story = Story {
    name: "i5_a_primary_that_cannot_be_asked_has_a_name_while_it_is_so",
    plan: available,
    tell: |w| {
        w.strike(Fault::HostCrash { r: 0, down: 6_000 });
        w.run_until(ms(6_000), |w| w.primary() == Some(1));
        w.strike(Fault::LinkCut { a: 0, b: 1, span: 14_000 });
        let named = w.run_until(ms(13_000), |w| shown(w, 0) == Some("primary-unreachable"));
        wrong(w, !named, format!("I5: it shows {:?}", shown(w, 0)));
        w.run_until(ms(12_000), |w| w.listed().contains(&0));
        let (still, whole) = (shown(w, 0), w.listed().contains(&0));
        wrong(w, still.is_some() || !whole, format!("I5: it shows {still:?} when it is listed"));
    },
};

/// The old primary has a tail that is rewound, slowly; nothing is wrong with that.
fn rewound(w: &mut World) {
    w.strike(Fault::PeersCut { r: 1, span: 12_000 });
    w.run(ms(1_500));
    w.strike(Fault::HostCrash { r: 0, down: 4_000 });
    w.order_failover(1, true);
    w.run_until(ms(8_000), |w| w.primary() == Some(1));
    w.strike(Fault::SlowCommands { r: 0, span: 15_000 });
}

/// A rewind under way is not one that was tried in vain.
pub const I5_REWIND_UNDER_WAY: Story = Story {
    name: "i5_a_rewind_under_way_needs_nobody",
    plan: approved_by_hand,
    tell: |w| {
        rewound(w);
        w.run_until(ms(25_000), |w| w.judge.count("rejoined:rewound") > 0);
        let told = w.judge.count("rejoined:rewound") > 0;
        reached(w, told, "it is rewound");
        let called = w.judge.count("blocked:rejoin-exhausted") > 0;
        wrong(w, called, "I5: a person was called to a rewind that went well".into());
    },
};

/// It was rewound, and somebody puts the directory back that it had before.
pub fn diverged_twice(w: &mut World) {
    rewound(w);
    let (wal, histories) = {
        let pg = &w.regions[0].pg;
        (pg.wal.clone(), pg.histories.clone())
    };
    w.run_until(ms(25_000), |w| w.judge.count("rejoined:rewound") > 0);
    w.strike(Fault::PgCrash { r: 0 });
    let id = w.fresh_directory();
    let pg = &mut w.regions[0].pg;
    (pg.wal, pg.histories, pg.directory) = (wal, histories, Some(id));
    w.notify(0);
}

/// Nothing that happens by itself makes it right.
pub const I5_DIVERGED_TWICE: Story = Story {
    name: "i5_a_member_that_diverged_twice_waits_for_a_person",
    plan: approved_by_hand,
    tell: |w| {
        diverged_twice(w);
        let named = w.run_until(ms(9_000), |w| shown(w, 0) == Some("rejoin-exhausted"));
        wrong(w, !named, format!("I5: it shows {:?}", shown(w, 0)));
        w.lose_disk(0);
    },
};

pub const NAMED: [&Story; 6] = [
    &I5_WAITING_FOR_AN_APPROVAL,
    &I5_DISK_HANGS,
    &I2_DISK_HANGS_ALONE,
    &I5_HOLDER_NOT_REACHED,
    &I5_REWIND_UNDER_WAY,
    &I5_DIVERGED_TWICE,
];
