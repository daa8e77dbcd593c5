//! Every event in every state that random worlds reached: nothing panics, and what comes back is
//! bounded.

use std::collections::{BTreeMap, BTreeSet};

use continuum_domain::corroborate::{Corroborate, NameState, ResolverAnswer};
use continuum_domain::observation::{ControlData, Lineage, Observation, ProcessState};
use continuum_domain::pair::PairMachine;
use continuum_domain::pair::types::{CasAnswer, Event, Grant, PlaneOutcome, SessionView};
use continuum_domain::record::SessionRecord;
use continuum_domain::{
    DataDirectoryId, Epoch, Generation, Lsn, OperationId, PairRecord, RegionId, Tick, TimelineId,
    Version,
};

use crate::support::{STANDS, settle};
use crate::world::judge::state_of;
use crate::world::{Host, Plan, World, ms};

const WORLDS: u64 = 150;
const WORLDS_CORROBORATED: u64 = 30;
/// One step asks for no more than this.
const EFFECTS_MAX: usize = 24;

type Specimens = BTreeMap<String, (Tick, PairMachine)>;

#[test]
fn every_event_is_taken_in_every_state_that_was_reached() {
    let (specimens, live) = collect();
    let mut walked = BTreeSet::new();
    for (state, (now, machine)) in &specimens {
        for event in events(machine, *now) {
            walked.insert((state.clone(), event.label()));
            let mut machine = machine.clone();
            let mut now = *now;
            let effects = machine.step(now, event.clone());
            assert!(effects.len() <= EFFECTS_MAX, "{state}, {event:?}: {effects:?}");
            for _ in 0..40 {
                now = machine.next_wake(now);
                let effects = machine.step(now, Event::Wake);
                assert!(effects.len() <= EFFECTS_MAX, "{state}, {event:?}: {effects:?}");
                state_of(&machine, now);
            }
        }
    }
    println!(
        "{} states, {} (state, event) pairs happened, {} were walked",
        specimens.len(),
        live.len(),
        walked.len()
    );
    assert!(specimens.len() > 50, "few states were reached: {}", specimens.len());
}

fn collect() -> (Specimens, BTreeSet<(String, &'static str)>) {
    let mut specimens = Some(Specimens::new());
    let mut live = BTreeSet::new();
    let plans = (1..=WORLDS).map(Plan::from_seed);
    for plan in plans.chain((1..=WORLDS_CORROBORATED).map(Plan::corroborated)) {
        let mut world = World::new(&plan);
        world.specimens = specimens.take();
        if world.run_until(STANDS, |w| w.unsettled().is_none()) {
            for (at, fault) in plan.faults.clone() {
                world.after(ms(at), Host::World, move |w| w.strike(fault));
            }
            world.run(plan.horizon());
            world.heal();
            settle(&mut world);
        }
        live.extend(world.coverage.into_keys());
        specimens = world.specimens.take();
    }
    (specimens.unwrap_or_default(), live)
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn directory(name: &str) -> DataDirectoryId {
    DataDirectoryId::new(name).unwrap()
}

/// Events of every kind, as they could come at the worst moment.
fn events(machine: &PairMachine, now: Tick) -> Vec<Event> {
    let mut events =
        vec![Event::Wake, Event::Nudged, Event::CoreLink(true), Event::CoreLink(false)];
    events.extend([Event::AutomationPaused(true), Event::GuardLost("gone".into())]);
    events.extend([Event::FenceEnded(Ok(())), Event::FenceEnded(Err("no".into()))]);
    let epoch = machine.status(now).record.map_or(Epoch(0), |(_, record, _)| record.epoch);
    sessions(&mut events, now);
    registers(&mut events, machine, now);
    data_plane(&mut events, machine, now, epoch);
    peers_and_core(&mut events, now, epoch);
    resolvers(&mut events);
    events
}

fn sessions(events: &mut Vec<Event>, now: Tick) {
    let views = [(0, None), (1, Some(now + ms(1))), (9, Some(now + ms(2_000))), (9, None)];
    for (life, valid_until) in views {
        let view = SessionView { life, valid_until, witness_answered: Some(now) };
        events.push(Event::Session(view));
    }
    let record = SessionRecord { incarnation: 3, beat: 7, ttl_ms: 3_000, renew_ms: 80 };
    for answer in [Ok(Some(record)), Ok(None), Err("lost".to_owned())] {
        events.push(Event::SessionRead { region: region("fsn"), sent: now - ms(5), answer });
    }
}

fn registers(events: &mut Vec<Event>, machine: &PairMachine, now: Tick) {
    let (version, known) = machine
        .status(now)
        .record
        .map_or((Version(3), None), |(version, record, _)| (version, Some(record)));
    let mut found = vec![None];
    for holder in [None, Some(region("ash")), Some(region("fsn"))] {
        for handover_to in [None, Some(region("ash"))] {
            let waits_for_all = handover_to.is_none();
            let mut record = PairRecord {
                epoch: Epoch(40),
                holder: holder.clone(),
                in_sync: [(region("ash"), directory("other"))].into(),
                handover_to,
                paused: false,
                waits_for_all,
                rested_by: None,
            };
            found.push(Some((Version(version.0 + 1), record.clone())));
            if record.holder.is_none() {
                let (paused, rested_by) = (true, Some(region("fsn")));
                let resting = PairRecord { paused, rested_by, ..record.clone() };
                found.push(Some((Version(version.0 + 1), resting)));
            }
            record.in_sync = known.as_ref().map(|r| r.in_sync.clone()).unwrap_or_default();
            found.push(Some((Version(version.0 + 2), record)));
        }
    }
    for found in found {
        events.push(Event::PairRead { sent: now - ms(5), answer: Ok(found.clone()) });
        events.push(Event::PairCas(CasAnswer::Refused(found)));
    }
    events.push(Event::PairRead { sent: now, answer: Err("lost".into()) });
    events.push(Event::PairCas(CasAnswer::Accepted(Version(version.0 + 1))));
    events.extend([Event::PairCas(CasAnswer::Unanswered), Event::PairCas(CasAnswer::NotSent)]);
}

fn data_plane(events: &mut Vec<Event>, machine: &PairMachine, now: Tick, epoch: Epoch) {
    let status = machine.status(now);
    if let Some(actuator) = status.actuator {
        use ProcessState::{Running, Starting, Stopped, Stopping};
        for process in [Running, Starting, Stopped, Stopping] {
            for promoted in [false, true] {
                let mut status = actuator.clone();
                (status.process, status.promoted) = (process, promoted);
                events.push(Event::Status(status.clone()));
                status.exits += 1;
                status.data_directory = Some(directory("other"));
                events.push(Event::Taken(Generation(99), status.clone()));
                status.fenced = Some("by hand".into());
                status.data_directory = None;
                events.push(Event::Status(status));
            }
        }
    }
    events.push(Event::Observed(Observation::default()));
    events.push(Event::Observed(status.observation));
    events.push(Event::Armed { epoch, deadline: now + ms(2_000) });
    let control = |clean_shutdown| ControlData {
        system_identifier: 7,
        clean_shutdown,
        in_recovery: false,
        checkpoint: Lsn(900),
        timeline: TimelineId(2),
    };
    let outcomes = [
        PlaneOutcome::Done,
        PlaneOutcome::Promoted { timeline: TimelineId(3), starts_at: Lsn(900) },
        PlaneOutcome::Control(control(true)),
        PlaneOutcome::Control(control(false)),
        PlaneOutcome::Canary { waiting: true, commit_lsn: Some(Lsn(900)) },
        PlaneOutcome::Canary { waiting: false, commit_lsn: None },
        PlaneOutcome::Woken(Lsn(900)),
        PlaneOutcome::Stopped(Lsn(900)),
        PlaneOutcome::Directory(directory("fresh")),
        PlaneOutcome::Lineage(Lineage::Follows),
        PlaneOutcome::Lineage(Lineage::Diverged {
            fork: Lsn(10),
            end: Lsn(20),
            timeline: TimelineId(1),
        }),
        PlaneOutcome::Lineage(Lineage::Apart {
            fork: Lsn(10),
            end: Lsn(20),
            timeline: TimelineId(1),
        }),
        PlaneOutcome::Lineage(Lineage::Foreign { reason: "another system".into() }),
        PlaneOutcome::Tail { path: "/tails/1".into(), commits: 3 },
        PlaneOutcome::Failed("it failed".into()),
        PlaneOutcome::Unknown("nobody knows".into()),
    ];
    events.extend(outcomes.map(Event::Plane));
}

fn resolvers(events: &mut Vec<Event>) {
    for resolver in Corroborate::default().resolvers {
        for state in [NameState::Up, NameState::Down, NameState::Unknown] {
            for question in [0, 1, 99] {
                let answer = ResolverAnswer::new(state, "said");
                events.push(Event::ResolverAnswered { question, resolver, answer });
            }
        }
    }
}

fn peers_and_core(events: &mut Vec<Event>, now: Tick, epoch: Epoch) {
    let operation = OperationId::new("op1").unwrap();
    let spec = World::new(&Plan::from_seed(4)).spec;
    events.push(Event::Spec(9, spec));
    for to in ["ash", "fsn", "hel", "elsewhere"] {
        let (operation, to) = (operation.clone(), region(to));
        events.push(Event::SwitchOver { operation, epoch, to, deadline: ms(100) });
    }
    events.push(Event::AbortSwitchOver { operation: operation.clone() });
    for allow_data_loss in [true, false] {
        let operation = operation.clone();
        let grant = Grant::Granted {
            operation: operation.clone(),
            allow_data_loss,
            by_person: allow_data_loss,
        };
        events.push(Event::Granted { epoch, grant });
        events.push(Event::FailOver { operation, epoch, allow_data_loss });
    }
    events.push(Event::TakeOver { operation: operation.clone(), epoch, deadline: ms(500) });
    events.push(Event::Granted { epoch, grant: Grant::Denied(vec!["a freeze".into()]) });
    for name in ["ash", "fsn", "elsewhere"] {
        let region = region(name);
        events.push(Event::PeerHeard { region: region.clone(), at: now });
        events.push(Event::PeerRefused { region: region.clone(), at: now });
        for answer in [Ok(directory("other")), Err("not yet".to_owned())] {
            events.push(Event::PeerReplayed { region: region.clone(), answer });
        }
        for data_directory in [None, Some(directory("other"))] {
            events.push(Event::PeerIdentity { region: region.clone(), data_directory });
        }
        let (hold, from) = (ms(3_000), region.clone());
        events.push(Event::PeerPromised { region, sent: now, hold, promised: true });
        events.push(Event::PromiseAsked { request: 5, from, epoch, hold });
    }
    for stored in [true, false] {
        events.push(Event::PromiseStored { request: 5, stored });
    }
}
