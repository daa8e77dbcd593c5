//! Incident reports of second opinions: what they hold back, and what they never do.

use continuum_domain::corroborate::{CorroborationEffect, NameState};
use continuum_domain::spec::{Durability, Takeover};

use crate::fork_stories::NOT_TOLD;
use crate::named_states::shown;
use crate::story::Story;
use crate::world::resolvers::corroborated;
use crate::world::{Fault, Plan, World, ms};

/// The named state of a member that a health name holds back.
const VETOED: &str = "health-name-answers";
/// The window of a challenger here, with room for what follows it.
const TAKEN_WITHIN: u64 = 5_500;

fn must(w: &mut World, held: bool, what: &str) {
    if !held && w.judge.violations.is_empty() {
        w.violated(what.to_owned());
    }
}

fn veto(seed: u64) -> Plan {
    Plan {
        corroborate: Some(corroborated(CorroborationEffect::Veto)),
        write_interval_ms: 10,
        ..Plan::quiet(seed, 2, Durability::Available)
    }
}

fn annotate(seed: u64) -> Plan {
    Plan { corroborate: Some(corroborated(CorroborationEffect::Annotate)), ..veto(seed) }
}

fn veto_by_ledger(seed: u64) -> Plan {
    Plan { takeover: Takeover::Ledger, timing: continuum_domain::Timing::default(), ..veto(seed) }
}

fn lost(w: &mut World, says: NameState) {
    w.resolvers.forced = Some(says);
    w.strike(Fault::HostCrash { r: 0, down: 60_000 });
}

/// Waits until the veto stands, and sees that it does for a while.
fn vetoed(w: &mut World) {
    let named = w.run_until(ms(TAKEN_WITHIN), |w| shown(w, 1) == Some(VETOED));
    must(w, named, "I5: who is held back does not say so");
    w.run(ms(9_000));
    let stands = w.primary().is_none() && shown(w, 1) == Some(VETOED);
    must(w, stands, "veto: taken over although the health name answers");
}

/// The name answers: nobody takes over by himself. A person's word counts all the same.
pub const VETO_AND_A_PERSON: Story = Story {
    name: "veto_holds_back_automation_and_no_person",
    plan: veto,
    tell: |w| {
        lost(w, NameState::Up);
        vetoed(w);
        w.order_failover(1, false);
        let moved = w.run_until(ms(3_000), |w| w.primary() == Some(1));
        must(w, moved, "veto: a person's order was held back");
    },
};

/// The name goes away while it is waited for: the veto ends by itself. Without the core as well.
pub const VETO_ENDS: Story = Story {
    name: "veto_ends_with_the_name",
    plan: veto,
    tell: |w| {
        w.strike(Fault::CoreCut { r: 1, span: 60_000 });
        lost(w, NameState::Up);
        vetoed(w);
        w.resolvers.forced = Some(NameState::Down);
        let moved = w.run_until(ms(4_500), |w| w.primary() == Some(1));
        must(w, moved, "I5: the veto outlives the name");
    },
};

/// Nothing comes back from the resolvers: that is no reason for anything.
pub const VETO_OF_NOBODY: Story = Story {
    name: "veto_needs_a_word_and_silence_is_none",
    plan: veto,
    tell: |w| {
        for index in 0..3 {
            let fault = if index == 1 {
                Fault::ResolverFails { index, span: 60_000 }
            } else {
                Fault::ResolverSilent { index, span: 60_000 }
            };
            w.strike(fault);
        }
        lost(w, NameState::Up);
        let moved = w.run_until(ms(TAKEN_WITHIN), |w| w.primary() == Some(1));
        must(w, moved, "I5: resolvers that say nothing keep the pair down");
        let noted = w.judge.count("step:Corroborate:Done") > 0;
        must(w, noted, "what the resolvers said was not taken down");
    },
};

/// A silence in which the name answered ends well; in the next one the name is gone.
pub const VETO_OF_AN_EARLIER_SILENCE: Story = Story {
    name: "veto_of_an_earlier_silence_counts_no_more",
    plan: veto,
    tell: |w| {
        w.resolvers.forced = Some(NameState::Up);
        w.strike(Fault::AgentHang { r: 0, span: 1_800 });
        let asked = w.run_until(ms(2_500), |w| w.resolvers.asked > 0);
        w.run(ms(1_500));
        let told = asked && w.primary() == Some(0);
        must(w, told, &format!("{NOT_TOLD}: no silence that ended well"));
        lost(w, NameState::Down);
        let moved = w.run_until(ms(TAKEN_WITHIN), |w| w.primary() == Some(1));
        must(w, moved, "I5: a word of an earlier silence keeps the pair down");
    },
};

/// Where the ledger decides, the answer is waited for, and no longer than its deadline.
pub const VETO_BY_LEDGER: Story = Story {
    name: "veto_of_a_ledger_takeover_costs_its_deadline_at_most",
    plan: veto_by_ledger,
    tell: |w| {
        let waits = |w: &World| w.register.record().is_some_and(|record| record.waits_for_all);
        let promised = w.run_until(ms(6_000), waits);
        must(w, promised, &format!("{NOT_TOLD}: no promise to wait for every listed member"));
        w.run(ms(100));
        for index in 0..3 {
            w.strike(Fault::ResolverSilent { index, span: 60_000 });
        }
        lost(w, NameState::Up);
        let moved = w.run_until(ms(3_000), |w| w.primary() == Some(1));
        must(w, moved, "it was waited for longer than the deadline");
        let by_ledger = w.judge.count("acquired:ledger") > 0;
        must(w, by_ledger, "it was not taken over by the ledger");
    },
};

/// What is only to be noted costs no time, whatever it is.
pub const ANNOTATED: Story = Story {
    name: "annotations_are_taken_down_and_hold_nobody_back",
    plan: annotate,
    tell: |w| {
        w.strike(Fault::ResolverSilent { index: 2, span: 60_000 });
        lost(w, NameState::Up);
        let moved = w.run_until(ms(TAKEN_WITHIN), |w| w.primary() == Some(1));
        must(w, moved, "an annotation held a failover back");
        let noted = w.judge.count("step:Corroborate:Done") > 0;
        must(w, noted, "what the resolvers said was not taken down");
    },
};

pub const CORROBORATED: [&Story; 6] = [
    &VETO_AND_A_PERSON,
    &VETO_ENDS,
    &VETO_OF_NOBODY,
    &VETO_OF_AN_EARLIER_SILENCE,
    &VETO_BY_LEDGER,
    &ANNOTATED,
];
