use proptest::prelude::*;

use super::*;

fn outcomes() -> impl Strategy<Value = Outcome> {
    let pause = proptest::option::of((0u64..10_000).prop_map(Duration::from_secs));
    prop_oneof![
        3 => Just(Outcome::Taken),
        1 => Just(Outcome::Unwanted),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::Lost),
        4 => pause.prop_map(Outcome::Later),
    ]
}

fn second(count: u64) -> Tick {
    Tick(count * 1_000_000_000)
}

proptest! {
    /// Whatever happens: each record is sent in turn, until it has an outcome, and only then the next;
    /// nothing is sent in a pause, and what is written down is never ahead of what happened.
    #[test]
    fn records_go_out_in_order_and_none_is_passed_over(
        start in 0u64..1_000,
        newest in 0u64..1_020,
        steps in proptest::collection::vec((outcomes(), any::<u32>(), 0u64..100, any::<bool>()), 1..200),
    ) {
        let mut outbox = Outbox::after(start);
        let mut now = second(5);
        let mut settled = start;
        let mut quiet_until: Option<Tick> = None;
        let mut written = start;
        let mut last_written: Option<Tick> = None;
        for (outcome, chance, pass, saves) in steps {
            match outbox.next(now, newest) {
                Next::Idle => prop_assert!(settled >= newest),
                Next::Wait(at) => {
                    prop_assert_eq!(Some(at), quiet_until);
                    prop_assert!(now < at);
                    now = at;
                }
                Next::Send(position) => {
                    prop_assert_eq!(position, settled + 1);
                    prop_assert!(position <= newest);
                    prop_assert!(quiet_until.is_none_or(|at| now >= at));
                    let failures = outbox.failures();
                    outbox.outcome(&outcome, now, chance);
                    if let Outcome::Later(asked) = &outcome {
                        prop_assert_eq!(outbox.next(now, newest), Next::Wait(outbox.not_before.unwrap()));
                        let waits = outbox.not_before.unwrap().since(now);
                        prop_assert!(waits >= PAUSE_MIN / 2);
                        prop_assert!(waits <= PAUSE_MAX.max(asked.unwrap_or_default().min(ASKED_MAX)));
                        prop_assert!(waits >= asked.unwrap_or_default().min(ASKED_MAX));
                        prop_assert_eq!(outbox.failures(), failures + 1);
                        prop_assert!(outbox.failing_since().is_some());
                        quiet_until = outbox.not_before;
                    } else {
                        settled += 1;
                    }
                    if matches!(outcome, Outcome::Taken | Outcome::Refused) {
                        prop_assert_eq!((outbox.failures(), outbox.failing_since()), (0, None));
                        quiet_until = None;
                    }
                }
            }
            prop_assert_eq!(outbox.done(), settled);
            if let Some(position) = outbox.to_save(now) {
                prop_assert!(position > written && position == settled);
                prop_assert!(last_written.is_none_or(|at| now.since(at) >= SAVE_EVERY));
                outbox.saved(position, now, saves);
                last_written = Some(now);
                if saves {
                    written = position;
                }
            }
            now = now + Duration::from_millis(pass * 20);
        }
        // In the end everything is written down.
        now = now + SAVE_EVERY;
        prop_assert_eq!(outbox.to_save(now), (settled > written).then_some(settled));
    }

    /// Pauses grow up to their bound, whatever chance says.
    #[test]
    fn pauses_grow_and_are_bounded(failures in 0u32..1_000, chance in any::<u32>()) {
        let this = pause(failures, chance);
        prop_assert!(this >= PAUSE_MIN / 2 && this <= PAUSE_MAX);
        prop_assert!(pause(failures + 2, 0) >= pause(failures, u32::MAX).min(PAUSE_MAX / 2));
    }
}

#[test]
fn a_new_leader_goes_on_where_it_was_written_down() {
    let mut outbox = Outbox::after(7);
    for _ in 0..3 {
        outbox.outcome(&Outcome::Taken, second(1), 0);
    }
    assert_eq!(outbox.to_save(second(1)), Some(10));
    outbox.saved(10, second(1), false);
    // Not known to be written down: the next leader sends 8 to 10 again.
    assert_eq!(Outbox::after(7).next(second(2), 10), Next::Send(8));
    assert_eq!(outbox.to_save(second(1)), None, "at most once a second");
    assert_eq!(outbox.to_save(second(2)), Some(10));
}
