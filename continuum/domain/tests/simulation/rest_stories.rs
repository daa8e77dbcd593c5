//! Incident reports of pauses: a pair is stopped on purpose, stays so whatever happens, and comes back.

use continuum_domain::pair::RoleView;
use continuum_domain::pair::types::Event;
use continuum_domain::spec::{Durability, Takeover};

use crate::story::Story;
use crate::world::{Fault, Plan, World, ms};

/// Longer than a holder takes to stop cleanly and let go.
const RESTS_WITHIN: u64 = 4_000;
/// The window of a challenger here, with room for what follows it.
const TAKEN_WITHIN: u64 = 7_000;

fn available(seed: u64) -> Plan {
    Plan { write_interval_ms: 10, ..Plan::quiet(seed, 2, Durability::Available) }
}

fn must(w: &mut World, held: bool, what: &str) {
    if !held && w.judge.violations.is_empty() {
        w.violated(what.to_owned());
    }
}

fn rests(w: &World) -> bool {
    let record = w.register.record();
    let said = record.is_some_and(|record| record.resting().is_some());
    said && w.regions.iter().all(|region| region.pg.process.is_none())
}

/// Every agent that lives says that its member rests.
fn told(w: &World) -> bool {
    w.regions.iter().enumerate().all(|(r, region)| {
        let status = region.agent.as_ref().map(|agent| agent.machine.status(w.local(r)));
        status.is_none_or(|status| status.role == RoleView::Resting && status.blocked.is_none())
    })
}

fn put_to_rest(w: &mut World, span: u64) {
    w.order_rest(ms(span));
    let rested = w.run_until(ms(RESTS_WITHIN), rests);
    must(w, rested, "I5: the pair does not come to rest");
}

/// Stopped everywhere, for longer than any window, and back where it was.
pub const REST_AND_BACK: Story = Story {
    name: "rest_stops_the_pair_everywhere_and_resumes_where_it_was",
    plan: available,
    tell: |w| {
        put_to_rest(w, 20_000);
        w.run(ms(12_000));
        let still = rests(w) && told(w);
        must(w, still, "rest: the pair does not rest any more, or does not say that it does");
        let published = w.judge.published_at_rest;
        must(
            w,
            (5..=30).contains(&published),
            "rest: its names are not published, or all the time",
        );
        w.run(ms(5_000));
        let back = w.run_until(ms(4_000), |w| w.primary() == Some(0));
        must(w, back, "I5: who put the pair to rest did not resume it");
        w.run(ms(3_000));
        let asked = w.operator.asks.get(&1).copied().unwrap_or(0);
        must(w, asked == 0, "R6: the time at rest passed for the silence of whoever resumed it");
    },
};

/// The order arrives after the pause was taken back: the holder goes on, nobody is stopped.
pub const REST_ASKED_TOO_LATE: Story = Story {
    name: "rest_asked_for_too_late_stops_nobody",
    plan: available,
    tell: |w| {
        let epoch = w.register.record().map(|record| record.epoch).unwrap_or_default();
        let operation = w.next_operation();
        w.feed(0, Event::Rest { operation, epoch, deadline: ms(1_000) });
        w.run(ms(2_500));
        let goes_on = w.primary() == Some(0) && w.regions[0].pg.epoch == epoch;
        must(w, goes_on, "rest: a holder was stopped although nobody had paused the pair");
    },
};

/// Nothing came of the order by its deadline: a pause that begins later is another one.
pub const REST_ORDER_LAPSES: Story = Story {
    name: "rest_asked_for_lapses_at_its_deadline",
    plan: available,
    tell: |w| {
        let epoch = w.register.record().map(|record| record.epoch).unwrap_or_default();
        let operation = w.next_operation();
        w.feed(0, Event::Rest { operation, epoch, deadline: ms(1_000) });
        w.run(ms(2_000));
        w.set_paused(true);
        w.run(ms(3_000));
        let goes_on = w.primary() == Some(0) && w.regions[0].pg.epoch == epoch;
        must(w, goes_on, "rest: an order was carried out after its deadline");
    },
};

/// The pause is taken back while PostgreSQL is on its way down: it is started again at once.
pub const REST_CALLED_OFF: Story = Story {
    name: "rest_called_off_starts_the_holder_again",
    plan: available,
    tell: |w| {
        w.set_paused(true);
        w.run(ms(500));
        let life = w.regions[0].pg.life;
        w.net.delayed_command[0] = Some(ms(900));
        let epoch = w.register.record().map(|record| record.epoch).unwrap_or_default();
        let operation = w.next_operation();
        w.feed(0, Event::Rest { operation, epoch, deadline: ms(30_000) });
        w.run(ms(100));
        w.set_paused(false);
        w.run(ms(4_000));
        let stopped = w.regions[0].pg.life != life;
        must(w, stopped, "told nothing: it was not stopped");
        let back = w.primary() == Some(0);
        must(w, back, "I5: a holder that was not to rest any more did not come back");
    },
};

/// Hosts go down and come back while the pair rests: nobody starts anything.
pub const REST_THROUGH_RESTARTS: Story = Story {
    name: "rest_outlives_every_restart",
    plan: available,
    tell: |w| {
        put_to_rest(w, 30_000);
        for r in 0..2 {
            w.strike(Fault::HostCrash { r, down: 700 });
            w.run(ms(4_000));
            w.strike(Fault::AgentCrash { r, down: 300 });
            w.run(ms(3_000));
        }
        let still = rests(w) && told(w);
        must(w, still, "rest: a restart brought a pair back that rests");
    },
};

/// Who put the pair to rest is gone when it is resumed: another one that has it all takes over.
pub const REST_AND_THE_FIRST_IS_GONE: Story = Story {
    name: "rest_is_resumed_by_another_where_the_first_is_gone",
    plan: available,
    tell: |w| {
        put_to_rest(w, 5_000);
        w.strike(Fault::HostCrash { r: 0, down: 60_000 });
        w.run(ms(5_000));
        let moved = w.run_until(ms(TAKEN_WITHIN), |w| w.primary() == Some(1));
        must(w, moved, "I5: nobody resumed the pair");
    },
};

/// The holder's agent dies in the middle: it returns, and is asked again.
pub const REST_AND_THE_AGENT_DIES: Story = Story {
    name: "rest_is_asked_for_again_after_the_agent_died",
    plan: |seed| Plan { takeover: Takeover::Ledger, ..available(seed) },
    tell: |w| {
        w.order_rest(ms(20_000));
        w.run_until(ms(2_000), |w| w.regions[0].pg.process.is_none());
        w.strike(Fault::AgentCrash { r: 0, down: 200 });
        let rested = w.run_until(ms(12_000), rests);
        must(w, rested, "I5: the pair does not come to rest after the agent came back");
    },
};

pub const RESTS: [&Story; 7] = [
    &REST_AND_BACK,
    &REST_ASKED_TOO_LATE,
    &REST_ORDER_LAPSES,
    &REST_CALLED_OFF,
    &REST_THROUGH_RESTARTS,
    &REST_AND_THE_FIRST_IS_GONE,
    &REST_AND_THE_AGENT_DIES,
];
