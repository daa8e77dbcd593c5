use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Tick {
    Tick(ms * 1_000_000)
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).expect("name")
}

fn operation(number: u8) -> OperationId {
    OperationId::new(format!("op-{number}")).expect("name")
}

fn register(epoch: u64, holder: &str) -> TrafficEvent {
    let holder = (!holder.is_empty()).then(|| region(holder));
    TrafficEvent::Register { epoch: Epoch(epoch), holder }
}

fn drain(number: u8, epoch: u64, hold_ms: u64) -> TrafficEvent {
    let hold = Duration::from_millis(hold_ms);
    TrafficEvent::Drain { operation: operation(number), epoch: Epoch(epoch), hold }
}

fn writable(epoch: u64) -> TrafficEvent {
    TrafficEvent::Writable { epoch: Epoch(epoch) }
}

fn release(number: u8) -> TrafficEvent {
    TrafficEvent::Release { operation: operation(number) }
}

/// Leads to whom under which epoch, and whether clients are held: `7 fsn open`.
fn look(wanted: &Wanted) -> String {
    let target = wanted.target.as_ref();
    let target = target.map_or("-".into(), |to| format!("{} {}", to.epoch.0, to.holder));
    let gate = match &wanted.gate {
        Gate::Open => "open".to_owned(),
        Gate::Held { why: Why::Drain(operation), .. } => format!("held for {operation}"),
        Gate::Held { why: Why::Takeover(epoch), .. } => format!("held for epoch {}", epoch.0),
    };
    format!("{target} {gate}")
}

fn play(events: &[(u64, TrafficEvent)]) -> Vec<String> {
    let mut machine = TrafficMachine::default();
    events.iter().map(|(ms, event)| look(&machine.step(at(*ms), event.clone()))).collect()
}

#[test]
fn a_planned_move_holds_until_the_new_holder_accepts_writes() {
    let seen = play(&[
        (0, register(7, "fsn")),
        (1, writable(7)),
        (10, drain(1, 7, 17_000)),
        (20, writable(7)),
        (30, register(8, "hel")),
        (40, writable(7)),
        (50, writable(8)),
        (60, drain(1, 7, 17_000)),
    ]);
    assert_eq!(
        seen,
        [
            "7 fsn open",
            "7 fsn open",
            "7 fsn held for op-1",
            "7 fsn held for op-1",
            "8 hel held for op-1",
            "8 hel held for op-1",
            "8 hel open",
            "8 hel open",
        ]
    );
}

#[test]
fn a_move_that_is_undone_lets_clients_through_again_by_release_return_or_time() {
    let released = play(&[
        (0, register(7, "fsn")),
        (10, drain(1, 7, 17_000)),
        (20, release(1)),
        (30, drain(1, 7, 17_000)),
    ]);
    assert_eq!(released[2..], ["7 fsn open", "7 fsn open"], "a late order begins nothing");
    let returned = play(&[
        (0, register(7, "fsn")),
        (10, drain(1, 7, 17_000)),
        (20, register(8, "fsn")),
        (30, writable(8)),
    ]);
    assert_eq!(returned[2..], ["8 fsn held for op-1", "8 fsn open"]);
    let forgotten = play(&[
        (0, register(7, "fsn")),
        (10, drain(1, 7, 5_000)),
        (4_000, drain(1, 7, 5_000)),
        (5_010, TrafficEvent::Wake),
    ]);
    assert_eq!(forgotten[2..], ["7 fsn held for op-1", "7 fsn open"], "repeating is no extension");
    let before_its_order = play(&[(0, release(1)), (1, register(7, "fsn")), (2, drain(1, 7, 9))]);
    assert_eq!(before_its_order[2], "7 fsn open");
}

#[test]
fn an_unplanned_takeover_holds_only_until_writes_are_accepted_or_the_bound() {
    let seen = play(&[
        (0, register(7, "fsn")),
        (10, register(8, "hel")),
        (20, writable(8)),
        (30, register(9, "")),
        (40, register(10, "fsn")),
        (10_040, TrafficEvent::Wake),
        (10_050, writable(10)),
    ]);
    assert_eq!(
        seen,
        [
            "7 fsn open",
            "8 hel held for epoch 8",
            "8 hel open",
            "8 hel held for epoch 9",
            "10 fsn held for epoch 10",
            "10 fsn open",
            "10 fsn open",
        ]
    );
}

#[test]
fn a_holder_that_returns_and_what_an_agent_finds_at_its_start_hold_nobody() {
    let seen = play(&[(0, register(7, "fsn")), (10, register(8, "fsn")), (20, register(7, "hel"))]);
    assert_eq!(seen, ["7 fsn open", "8 fsn open", "8 fsn open"]);
}

fn event() -> impl Strategy<Value = TrafficEvent> {
    let holder = prop_oneof![Just(""), Just("fsn"), Just("hel")];
    prop_oneof![
        (0..9u64, holder).prop_map(|(epoch, holder)| register(epoch, holder)),
        (0..9u64).prop_map(writable),
        (0..4u8, 0..9u64, 0..200_000u64).prop_map(|(op, epoch, ms)| drain(op, epoch, ms)),
        (0..4u8).prop_map(release),
        Just(TrafficEvent::Wake),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Beside the machine stands what it was told: each hold must be younger than the bound of a cause
    /// that was, and the target must be the newest holder the register ever named.
    #[test]
    fn clients_are_never_held_past_a_bound_and_never_led_to_a_lower_epoch(
        events in prop::collection::vec((0..4_000u64, event()), 1..60),
    ) {
        let mut machine = TrafficMachine::default();
        let mut now = 0;
        let mut last: Option<Target> = None;
        let mut named = std::collections::BTreeSet::new();
        let mut asked = std::collections::BTreeMap::new();
        let mut shown = std::collections::BTreeMap::new();
        for (pause, event) in events {
            now += pause;
            match &event {
                TrafficEvent::Register { epoch, holder } => {
                    if let Some(holder) = holder {
                        named.insert((*epoch, holder.clone()));
                    }
                    shown.entry(*epoch).or_insert(now);
                }
                TrafficEvent::Drain { operation, hold, .. } => {
                    let bound = hold.min(&DRAIN_HOLD_MAX).as_millis() as u64;
                    asked.entry(operation.clone()).or_insert_with(Vec::new).push(now + bound);
                }
                _ => {}
            }
            let told_of_end = match &event {
                TrafficEvent::Release { operation } => Some(operation.clone()),
                _ => None,
            };
            let wanted = machine.step(at(now), event);
            if let Some(target) = &wanted.target {
                prop_assert!(named.contains(&(target.epoch, target.holder.clone())));
                prop_assert!(last.as_ref().is_none_or(|last| last.epoch <= target.epoch));
            }
            prop_assert!(last.is_none() || wanted.target.is_some(), "forgotten");
            last.clone_from(&wanted.target);
            match &wanted.gate {
                Gate::Open => {}
                Gate::Held { why: Why::Drain(operation), until } => {
                    prop_assert!(told_of_end.as_ref() != Some(operation), "held after its release");
                    let bounds = asked.get(operation).expect("somebody asked for it");
                    prop_assert!(bounds.iter().any(|bound| at(*bound) == *until));
                    prop_assert!(at(now) < *until, "held past its bound");
                }
                Gate::Held { why: Why::Takeover(epoch), until } => {
                    let bound = shown[epoch] + TAKEOVER_HOLD_MAX.as_millis() as u64;
                    prop_assert!(*until <= at(bound) && at(now) < *until, "held past its bound");
                }
            }
            prop_assert_eq!(
                machine.next_wake().is_some(),
                wanted.gate != Gate::Open || machine.awaited.is_some()
            );
        }
        // With nothing but time, everybody gets through.
        for _ in 0..2 {
            if let Some(wake) = machine.next_wake() {
                machine.step(wake, TrafficEvent::Wake);
            }
        }
        prop_assert_eq!(machine.step(at(now), TrafficEvent::Wake).gate, Gate::Open);
    }
}
