//! A checker of concurrent histories of one register.
//!
//! The register's versions make the check exact and quick: each version has one writer, so the
//! order of the changes is known, and what is left is whether instants exist, one in each call's
//! span, that fit this order and what the others saw.

use std::collections::BTreeMap;

use continuum_domain::Version;

use crate::register::Versioned;

/// What a call learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It saw the register so.
    Saw(Option<Versioned>),
    /// Its change of `expected` was refused, and it saw the register so. Nothing else may have
    /// stood in the way than another version.
    Refused {
        /// The version that the change named.
        expected: Version,
        /// What it was shown.
        held: Option<Versioned>,
    },
    /// It wrote this.
    Wrote(Versioned),
    /// It may have written this, at any time after it began.
    MayHaveWritten(Versioned),
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was called, on a clock shared by all calls of the history.
    pub called: u64,
    /// When it returned, on that clock; no two instants of a history are equal.
    pub returned: u64,
    /// What it learnt.
    pub outcome: Outcome,
}

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history is not linearizable at version {version}: {problem}")]
pub struct NotLinearizable {
    /// The version at which it breaks.
    pub version: u64,
    /// What does not fit.
    pub problem: String,
}

/// The span in which one version must have been written.
#[derive(Default)]
struct Write {
    value: Option<Vec<u8>>,
    called: u64,
    returned: Option<u64>,
}

/// Checks the history of one register that was absent when it began.
pub fn check(events: &[Event]) -> Result<(), NotLinearizable> {
    check_refusals(events)?;
    let mut reads: Vec<(u64, &Event)> = seen(events).collect();
    reads.sort_by_key(|(at, _)| *at);
    let (writes, last) = collect_writes(events, &reads)?;
    // The earliest return of a read from here on: by then the version it saw was written.
    let mut shown_before = vec![u64::MAX; reads.len() + 1];
    for (index, (_, event)) in reads.iter().enumerate().rev() {
        shown_before[index] = shown_before[index + 1].min(event.returned);
    }
    let (mut index, mut saw_older, mut written_after) = (0, 0, 0);
    for version in 0..=last {
        let breaks = |problem: String| NotLinearizable { version, problem };
        // Earliest instant of this version's change: after the earlier changes, after its own
        // call, and after the call of everyone who still saw an earlier version.
        let write = match version {
            0 => &Write::default(),
            _ => writes.get(&version).ok_or_else(|| breaks("nobody wrote it".into()))?,
        };
        written_after = written_after.max(write.called).max(saw_older);
        let written_before = shown_before[index].min(write.returned.unwrap_or(u64::MAX));
        while let Some((_, event)) = reads.get(index).filter(|(at, _)| *at == version) {
            if value_of(event) != write.value.as_deref() {
                return Err(breaks("a reader saw another value than was written".into()));
            }
            saw_older = saw_older.max(event.called);
            index += 1;
        }
        if version > 0 && written_after > written_before {
            return Err(breaks(format!(
                "it must have been written after {written_after} and before {written_before}"
            )));
        }
    }
    Ok(())
}

fn check_refusals(events: &[Event]) -> Result<(), NotLinearizable> {
    for event in events {
        let Outcome::Refused { expected, held } = &event.outcome else { continue };
        if held.as_ref().map_or(Version::ABSENT, |held| held.version) == *expected {
            let problem = "a change of it was refused, and nothing stood in its way".into();
            return Err(NotLinearizable { version: expected.0, problem });
        }
    }
    Ok(())
}

fn seen(events: &[Event]) -> impl Iterator<Item = (u64, &Event)> {
    events.iter().filter_map(|event| match &event.outcome {
        Outcome::Saw(held) | Outcome::Refused { held, .. } => {
            Some((held.as_ref().map_or(0, |held| held.version.0), event))
        }
        Outcome::Wrote(_) | Outcome::MayHaveWritten(_) => None,
    })
}

fn value_of(event: &Event) -> Option<&[u8]> {
    match &event.outcome {
        Outcome::Saw(held) | Outcome::Refused { held, .. } => {
            held.as_ref().map(|held| held.value.as_slice())
        }
        Outcome::Wrote(_) | Outcome::MayHaveWritten(_) => None,
    }
}

/// The change that made each version, and the last version. `reads` in the order of what they saw.
fn collect_writes(
    events: &[Event],
    reads: &[(u64, &Event)],
) -> Result<(BTreeMap<u64, Write>, u64), NotLinearizable> {
    let mut writes: BTreeMap<u64, Write> = BTreeMap::new();
    let mut last = reads.last().map_or(0, |(at, _)| *at);
    for event in events {
        let (register, returned) = match &event.outcome {
            Outcome::Wrote(register) => (register, Some(event.returned)),
            _ => continue,
        };
        let Versioned { version: Version(version), value } = register;
        last = last.max(*version);
        let write = Write { value: Some(value.clone()), called: event.called, returned };
        if writes.insert(*version, write).is_some() {
            let problem = "two changes were both told that they wrote it".into();
            return Err(NotLinearizable { version: *version, problem });
        }
    }
    for event in events {
        let Outcome::MayHaveWritten(Versioned { version: Version(version), value }) =
            &event.outcome
        else {
            continue;
        };
        // An unsettled change explains a version that nobody was told to have written: the one
        // whose value was seen there, or else, where a later version was built on it, the earliest.
        let first = reads.partition_point(|(at, _)| at < version);
        let explains = match reads.get(first).filter(|(at, _)| at == version) {
            Some((_, reader)) => value_of(reader) == Some(value.as_slice()),
            None => *version < last,
        };
        let known = writes.get(version);
        let better =
            known.is_none_or(|write| write.returned.is_none() && event.called < write.called);
        if explains && better {
            let write = Write { value: Some(value.clone()), called: event.called, returned: None };
            writes.insert(*version, write);
        }
    }
    Ok((writes, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(version: u64) -> Versioned {
        Versioned { version: Version(version), value: vec![version as u8] }
    }
    fn event(called: u64, returned: u64, outcome: Outcome) -> Event {
        Event { called, returned, outcome }
    }

    #[test]
    fn a_sequential_history_passes() {
        let history = [
            event(1, 2, Outcome::Saw(None)),
            event(3, 4, Outcome::Wrote(held(1))),
            event(5, 6, Outcome::Saw(Some(held(1)))),
        ];
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn an_overlapping_read_may_see_either() {
        for seen in [None, Some(held(1))] {
            let history = [event(1, 4, Outcome::Wrote(held(1))), event(2, 3, Outcome::Saw(seen))];
            assert_eq!(check(&history), Ok(()));
        }
    }

    #[test]
    fn a_stale_read_is_caught() {
        let history = [event(1, 2, Outcome::Wrote(held(1))), event(3, 4, Outcome::Saw(None))];
        assert!(check(&history).is_err());
    }

    #[test]
    fn reads_that_go_back_are_caught() {
        let history = [
            event(1, 10, Outcome::Wrote(held(1))),
            event(2, 3, Outcome::Saw(Some(held(1)))),
            event(4, 5, Outcome::Saw(None)),
        ];
        assert!(check(&history).is_err());
    }

    #[test]
    fn a_read_of_the_future_and_a_lost_value_are_caught() {
        let future =
            [event(1, 2, Outcome::Saw(Some(held(1)))), event(3, 4, Outcome::Wrote(held(1)))];
        assert!(check(&future).is_err());
        let other = Versioned { version: Version(1), value: b"other".to_vec() };
        let lost = [event(1, 2, Outcome::Wrote(held(1))), event(3, 4, Outcome::Saw(Some(other)))];
        assert!(check(&lost).is_err());
    }

    #[test]
    fn two_winners_of_a_version_are_caught() {
        let history = [
            event(1, 4, Outcome::Wrote(held(1))),
            event(2, 3, Outcome::Wrote(Versioned { version: Version(1), value: b"x".to_vec() })),
        ];
        assert!(check(&history).is_err());
    }

    #[test]
    fn a_refusal_sees_as_a_read_does_and_needs_a_reason() {
        let refused = |expected, held| Outcome::Refused { expected: Version(expected), held };
        let wrote = || event(1, 2, Outcome::Wrote(held(1)));
        assert_eq!(check(&[wrote(), event(3, 4, refused(0, Some(held(1))))]), Ok(()));
        for wrong in [refused(1, Some(held(1))), refused(1, None), refused(0, Some(held(2)))] {
            assert!(check(&[wrote(), event(3, 4, wrong.clone())]).is_err(), "{wrong:?} passed");
        }
    }

    #[test]
    fn an_unsettled_change_may_land_late_but_not_early() {
        let late = [
            event(1, 2, Outcome::MayHaveWritten(held(1))),
            event(3, 4, Outcome::Saw(None)),
            event(5, 6, Outcome::Saw(Some(held(1)))),
        ];
        assert_eq!(check(&late), Ok(()));
        let early = [
            event(1, 2, Outcome::Saw(Some(held(1)))),
            event(3, 4, Outcome::MayHaveWritten(held(1))),
        ];
        assert!(check(&early).is_err());
    }
}
