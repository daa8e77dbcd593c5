//! Nothing goes wrong, or one thing does: the pair stands, moves, and comes back.

use continuum_domain::spec::{Durability, WitnessLossPolicy};

use crate::support::{fail, holds, settles, standing};
use crate::world::{Fault, Plan, World, ms};

const ALL: [Durability; 3] = [Durability::Strict, Durability::Available, Durability::Async];

fn quiet(durability: Durability, regions: usize) -> Plan {
    Plan { tracing: true, ..Plan::quiet(1, regions, durability) }
}

fn until(world: &mut World, what: &str, limit: u64, met: impl Fn(&World) -> bool) {
    if !world.run_until(ms(limit), met) {
        fail(world, what);
    }
}

#[test]
fn a_new_pair_is_created_cloned_and_grown() {
    for durability in ALL {
        for regions in [2, 3] {
            let mut world = standing(&quiet(durability, regions));
            world.run(ms(3_000));
            holds(&world);
            assert!(world.judge.acknowledgements > 20, "clients were served");
        }
    }
}

#[test]
fn a_switchover_there_and_back_loses_nothing() {
    for durability in ALL {
        for regions in [2, 3] {
            let mut world = standing(&quiet(durability, regions));
            for to in [1, 0] {
                world.order_switchover(to, ms(4_000));
                until(&mut world, "it moves", 3_000, |w| w.primary() == Some(to));
                until(&mut world, "it is whole", 20_000, |w| w.unsettled().is_none());
            }
            assert_eq!(world.judge.count("acquired:handover"), 2);
            holds(&world);
        }
    }
}

#[test]
fn a_dead_holder_is_replaced_and_comes_back_as_a_standby() {
    for durability in [Durability::Strict, Durability::Available] {
        for regions in [2, 3] {
            let mut world = standing(&quiet(durability, regions));
            world.strike(Fault::HostCrash { r: 0, down: 8_000 });
            until(&mut world, "another takes over", 6_000, |w| w.primary().is_some_and(|p| p != 0));
            settles(&mut world);
            assert_eq!(world.judge.count("acquired:expired"), 1);
        }
    }
}

#[test]
fn a_crash_of_postgresql_alone_is_mended_in_place() {
    for durability in ALL {
        let mut world = standing(&quiet(durability, 2));
        world.strike(Fault::PgCrash { r: 0 });
        until(&mut world, "it is back", 3_000, |w| w.primary() == Some(0));
        settles(&mut world);
        assert_eq!(world.judge.count("acquired:expired"), 0);
    }
}

#[test]
fn a_witness_outage_fences_and_the_holder_returns() {
    for durability in ALL {
        let mut world = standing(&quiet(durability, 2));
        world.strike(Fault::WitnessOut { span: 6_000 });
        world.run(ms(4_000));
        assert!(!world.regions[0].pg.primary, "fenced by the deadline");
        until(&mut world, "there is a primary again", 9_000, |w| w.primary().is_some());
        settles(&mut world);
    }
}

#[test]
fn with_failsafe_a_witness_outage_interrupts_nothing() {
    for durability in ALL {
        let plan = Plan { on_witness_loss: WitnessLossPolicy::Failsafe, ..quiet(durability, 2) };
        let mut world = standing(&plan);
        world.strike(Fault::WitnessOut { span: 20_000 });
        let life = world.regions[0].pg.life;
        world.run(ms(25_000));
        holds(&world);
        if world.regions[0].pg.life != life || world.primary() != Some(0) {
            fail(&world, "PostgreSQL went on all the time");
        }
        settles(&mut world);
    }
}
