//! Incident reports of promotions that were stopped half way, and answered only much later.

use continuum_domain::spec::{Durability, WitnessLossPolicy};

use crate::fork_stories::reached;
use crate::stories::available;
use crate::story::Story;
use crate::world::{Fault, Host, Plan, World, ms};

/// A generated world that was found to fence without end: its seed.
const FOUND: u64 = 17_258_582_287_967_475_270;

/// The holder lapses while it is promoted, and the promotion is not answered yet. One proven stop is
/// enough: a guard carries out nothing that it admitted before.
pub const PROMOTION_STOPPED: Story = Story {
    name: "r5_a_promotion_that_was_stopped_is_not_stopped_again_and_again",
    plan: available,
    tell: |w| {
        w.strike(Fault::PgCrash { r: 0 });
        w.run_until(ms(3_000), |w| w.regions[0].pg.promoted);
        w.net.delayed_outcome[0] = Some(ms(3_900));
        w.strike(Fault::WitnessCut { r: 0, span: 5_000 });
        let before = w.judge.count("fenced");
        let stopped = w.run_until(ms(3_000), |w| w.judge.count("fenced") > before);
        reached(w, stopped, "it lapsed while it was promoted");
        w.run(ms(800));
        let fences = w.judge.count("fenced") - before;
        if fences > 2 {
            w.violated(format!("it was fenced {fences} times"));
        }
    },
};

/// The world in which that was found: a hot switchover takes the lease from a holder that has come back
/// and is promoted slowly. Other seeds tell the same day with other delays.
pub const HOT_SWITCHOVER_IN_A_PROMOTION: Story = Story {
    name: "r8_a_hot_switchover_in_the_middle_of_a_promotion",
    plan: |seed| Plan {
        on_witness_loss: WitnessLossPolicy::Failsafe,
        rates_ppm: [5_000, -5_000, 0],
        loss_per_mille: 5,
        ..Plan::quiet(FOUND.wrapping_add(seed - 1), 3, Durability::Strict)
    },
    tell: |w: &mut World| {
        for (at, fault) in [
            (5_877, Fault::WitnessSlow { r: 0, span: 2_000 }),
            (12_383, Fault::CoreIgnores { span: 150 }),
            (13_581, Fault::CoreCut { r: 2, span: 700 }),
            (14_652, Fault::WitnessCut { r: 2, span: 4_000 }),
            (16_268, Fault::HostCrash { r: 0, down: 1_500 }),
            (16_383, Fault::HostCrash { r: 0, down: 1_500 }),
            (18_691, Fault::PgCrash { r: 2 }),
            (18_714, Fault::HotSwitchover { to: 1, deadline: 4_000 }),
        ] {
            w.after(ms(at), Host::World, move |w| w.strike(fault));
        }
        w.run(ms(25_000));
    },
};

pub const PROMOTIONS: [&Story; 2] = [&PROMOTION_STOPPED, &HOT_SWITCHOVER_IN_A_PROMOTION];
