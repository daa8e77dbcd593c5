//! How far each sink is, and what it refused for good. Replicated, so that the next leader goes on where
//! this one was.

use std::collections::BTreeMap;

use continuum_control_api::sinks::DeadLetter;
use serde::{Deserialize, Serialize};

use super::{CoreState, Line, Reply};

/// Refused records kept for each sink; of older ones the number stays.
const DEAD_MAX: usize = 1_000;

/// One sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    /// Position of the newest record that has an outcome.
    pub done: u64,
    /// Records that were taken.
    pub delivered: u64,
    /// Records that were nowhere any more when their turn came.
    pub lost: u64,
    /// Refused records, by position.
    pub dead: BTreeMap<u64, DeadLetter>,
    /// Refused records that are not listed any more.
    pub dropped: u64,
}

/// A step of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkProgress {
    /// Its name.
    pub sink: String,
    /// The position it was at.
    pub from: u64,
    /// The position it is at.
    pub done: u64,
    /// Records taken between the two.
    #[serde(default)]
    pub delivered: u64,
    /// Records that were nowhere any more.
    #[serde(default)]
    pub lost: u64,
    /// Records it refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<DeadLetter>,
}

impl CoreState {
    /// What is known of a sink; `None` where it was never sent anything.
    pub fn sink(&self, name: &str) -> Option<&SinkState> {
        self.sinks.get(name)
    }

    /// Notes a step. One that was noted already, or comes from a leader of the past, takes nothing back
    /// and counts nothing twice.
    pub(super) fn sink_progress(&mut self, progress: SinkProgress) -> Reply {
        let sink = self.sinks.entry(progress.sink).or_default();
        if progress.done < sink.done || (progress.done == sink.done && progress.done > 0) {
            return Reply::Done;
        }
        if progress.from == sink.done {
            sink.delivered += progress.delivered;
            sink.lost += progress.lost;
        }
        let newer = progress.refused.into_iter().filter(|letter| letter.index > sink.done);
        sink.dead.extend(newer.map(|letter| (letter.index, letter)));
        while sink.dead.len() > DEAD_MAX {
            sink.dead.pop_first();
            sink.dropped += 1;
        }
        sink.done = progress.done;
        Reply::Done
    }

    /// Refused records that a sink has taken by now are refused no more.
    pub(super) fn sink_settled(
        &mut self,
        (now_ms, actor): (i64, &str),
        name: &str,
        positions: &[u64],
    ) -> Reply {
        let Some(sink) = self.sinks.get_mut(name) else { return Reply::Done };
        let before = sink.dead.len();
        sink.dead.retain(|index, _| !positions.contains(index));
        let gone = before - sink.dead.len();
        sink.delivered += gone as u64;
        let line = Line {
            action: "sink.retry".into(),
            reason: format!("the dead letters of {name} were sent again"),
            before: format!("{before} dead letters"),
            after: format!("{} dead letters", before - gone),
            ..Line::default()
        };
        self.audit.append(now_ms, actor, line);
        Reply::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(index: u64) -> DeadLetter {
        DeadLetter { index, at_ms: 5, action: "a".into(), pair: None, why: "no".into() }
    }

    fn step(from: u64, done: u64, refused: &[u64]) -> SinkProgress {
        SinkProgress {
            sink: "s".into(),
            from,
            done,
            delivered: done - from - refused.len() as u64,
            lost: 0,
            refused: refused.iter().copied().map(letter).collect(),
        }
    }

    #[test]
    fn a_step_counts_once_and_none_takes_anything_back() {
        let mut state = CoreState::default();
        state.sink_progress(step(0, 5, &[3]));
        let once = state.clone();
        state.sink_progress(step(0, 5, &[3]));
        state.sink_progress(step(0, 2, &[2]));
        assert_eq!(state, once);
        // A leader of the past that saw less: the position goes on, nothing is counted twice.
        state.sink_progress(step(0, 7, &[3, 6]));
        let sink = state.sink("s").unwrap();
        assert_eq!((sink.done, sink.delivered), (7, 4));
        assert_eq!(sink.dead.keys().copied().collect::<Vec<_>>(), [3, 6]);
    }

    #[test]
    fn dead_letters_are_bounded_and_the_dropped_ones_counted() {
        let mut state = CoreState::default();
        for index in 1..=DEAD_MAX as u64 + 7 {
            state.sink_progress(step(index - 1, index, &[index]));
        }
        let sink = state.sink("s").unwrap();
        assert_eq!((sink.dead.len(), sink.dropped), (DEAD_MAX, 7));
        state.sink_settled((1, "operator/a"), "s", &[8, 9, 3]);
        assert_eq!(state.sink("s").unwrap().dead.len(), DEAD_MAX - 2);
        assert_eq!(state.audit().next_back().unwrap().action, "sink.retry");
    }

    #[test]
    fn a_retried_letter_does_not_come_back_by_a_late_step() {
        let mut state = CoreState::default();
        state.sink_progress(step(0, 5, &[3]));
        state.sink_settled((1, "operator/a"), "s", &[3]);
        state.sink_progress(step(0, 6, &[3]));
        assert!(state.sink("s").unwrap().dead.is_empty());
    }
}
