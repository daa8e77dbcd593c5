//! What the readers of the stream of events share: an event is written once for all of them, and they do
//! not all look at the same instant.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use continuum_control_api::rest::AuditRecord;
use continuum_control_api::routes::event;
use continuum_domain::Tick;

/// Newest events that are kept as they are written. Who reads older ones reads alone.
const KEPT_MAX: usize = 1_024;
/// Of the time of a node, for each open stream: with so many of them, one looks once in so many of these.
/// A thousand readers are told within half a second, and one at once.
const PER_STREAM: Duration = Duration::from_micros(500);
/// What is not worth waiting for.
const SHORT: Duration = Duration::from_millis(2);
/// The fractional part of the golden ratio, of 2^64: multiples of it lie evenly in a round, however many
/// they are.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Events as they are written, and the places of the readers.
#[derive(Default)]
pub(crate) struct Fanout {
    written: Mutex<BTreeMap<u64, Bytes>>,
    opened: AtomicU64,
}

/// When a reader looks, among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u64);

impl Fanout {
    /// A place for one more reader.
    pub(super) fn place(&self) -> Place {
        Place(self.opened.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN))
    }

    fn written(&self) -> MutexGuard<'_, BTreeMap<u64, Bytes>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records as events, in one piece. Whether a reader may see them was decided before: what is kept is
    /// found by the position of a record that the caller holds.
    pub(super) fn piece(&self, records: &[&AuditRecord]) -> Bytes {
        let mut written = self.written();
        let mut each = records.iter().map(|record| {
            let bytes = written.entry(record.index).or_insert_with(|| event(record)).clone();
            while written.len() > KEPT_MAX {
                written.pop_first();
            }
            bytes
        });
        match each.len() {
            1 => each.next().unwrap_or_default(),
            _ => each.flatten().collect::<Vec<u8>>().into(),
        }
    }
}

impl Place {
    /// How long it is until this reader looks, of so many.
    pub(super) fn wait(self, open: usize, now: Tick) -> Duration {
        let round = PER_STREAM.saturating_mul(u32::try_from(open).unwrap_or(u32::MAX));
        let Ok(round) = u64::try_from(round.as_nanos()) else { return Duration::ZERO };
        if round < u64::try_from(SHORT.as_nanos()).unwrap_or(u64::MAX) {
            return Duration::ZERO;
        }
        // Where in the round its turn is: the fraction that the place is of 2^64.
        let turn = u64::try_from((u128::from(self.0) * u128::from(round)) >> 64).unwrap_or(0);
        Duration::from_nanos((turn + round - now.0 % round) % round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u64) -> AuditRecord {
        serde_json::from_value(serde_json::json!({
            "index": index, "at_ms": 1, "actor": "operator/alice", "action": "pair.apply",
            "pair": "shop", "epoch": null, "operation": null, "reason": "", "before": "",
            "after": "", "previous_hash": "", "hash": "",
        }))
        .unwrap()
    }

    #[test]
    fn a_piece_is_its_records_in_order_whatever_was_written_before() {
        let fanout = Fanout::default();
        let records: Vec<_> = (1..=3_000).map(record).collect();
        // The newest, the oldest, all and one again: never another record's bytes.
        for range in [2_990..3_000, 0..10, 0..3_000, 5..6, 2_995..2_996] {
            let some: Vec<_> = records[range].iter().collect();
            let text: Vec<u8> = some.iter().flat_map(|record| event(record)).collect();
            assert_eq!(fanout.piece(&some), text);
        }
        let written = fanout.written();
        assert_eq!(written.len(), KEPT_MAX);
        assert_eq!(written.last_key_value().map(|(index, _)| *index), Some(3_000));
    }

    #[test]
    fn an_event_is_written_once_for_all_readers() {
        let (fanout, record) = (Fanout::default(), record(7));
        let (first, second) = (fanout.piece(&[&record]), fanout.piece(&[&record]));
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn few_readers_look_at_once() {
        let fanout = Fanout::default();
        for open in 0..4 {
            assert_eq!(fanout.place().wait(open, Tick(123_456_789)), Duration::ZERO);
        }
    }

    #[test]
    fn many_readers_look_evenly_and_each_once_in_a_round() {
        let fanout = Fanout::default();
        let open = 1_000;
        let round = PER_STREAM * 1_000;
        let now = Tick(987_654_321_987);
        let mut waits: Vec<_> = (0..open).map(|_| fanout.place().wait(open, now)).collect();
        waits.sort();
        assert!(waits.iter().all(|wait| *wait < round));
        let gaps = waits.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max().unwrap() < PER_STREAM * 4, "no hole");
        assert!(waits[open / 4] < round / 2 && waits[open * 3 / 4] > round / 2, "no burst");
        // Right after its turn, a reader's next one is a round away.
        let place = fanout.place();
        let first = place.wait(open, now);
        let after = Tick(now.0 + u64::try_from(first.as_nanos()).unwrap() + 1);
        assert_eq!(place.wait(open, after), round - Duration::from_nanos(1));
    }
}
