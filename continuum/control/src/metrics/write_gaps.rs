//! How long writes stood still at each move that is remembered.
//!
//! From the replicated history, so that every leader tells the same. Each length is an upper bound: from
//! the last report in which WAL had reached the old holder's disk to the first in which it had reached
//! the new one's, by the leader's clock. A move that was not measured is counted as that.

use std::time::Duration;

use continuum_control_api::rest::HistoryEntry;
use continuum_domain::PairId;
use continuum_domain::pair::{BY_HOT, RESUMED};

use super::{Gathered, Labels, number};
use crate::core::Core;

/// Upper bounds, seconds.
const SECONDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0];

/// What kind of move a change of holder was; `None` where it was none.
fn kind(by: &str) -> Option<&'static str> {
    match by {
        "created" | "returned" | RESUMED => None,
        "handover" | BY_HOT => Some("switchover"),
        _ => Some("failover"),
    }
}

/// The lengths that were measured, and how many moves of each kind were not.
#[derive(Default)]
struct Gaps {
    measured: Vec<(Labels, f64)>,
    unknown: Vec<(Labels, f64)>,
}

impl Gaps {
    fn add(&mut self, pair: &PairId, history: impl Iterator<Item = HistoryEntry>) {
        let labels = |kind| Labels::from([("pair", pair.as_str()), ("kind", kind)]);
        let (mut switchovers, mut failovers) = (None, None);
        for entry in history {
            let Some(kind) = kind(&entry.by) else { continue };
            let unknown = match kind {
                "switchover" => switchovers.get_or_insert(0u64),
                _ => failovers.get_or_insert(0u64),
            };
            match entry.outage_ms.map(Duration::from_millis) {
                Some(outage) => self.measured.push((labels(kind), outage.as_secs_f64())),
                None => *unknown += 1,
            }
        }
        for (kind, unknown) in [("switchover", switchovers), ("failover", failovers)] {
            self.unknown.extend(unknown.map(|count| (labels(kind), number(count))));
        }
    }
}

pub(super) fn gather(core: &Core, out: &mut Gathered<'_>) {
    let mut gaps = Gaps::default();
    core.node.read(|state| {
        for (pair, _, _) in state.specs() {
            if let Some(known) = state.pair(pair) {
                gaps.add(pair, known.history());
            }
        }
    });
    out.histograms(
        (
            "continuum_write_gap_seconds",
            "At most so long no write reached the holder's disk at a move that is remembered",
        ),
        &SECONDS,
        gaps.measured,
    );
    out.gauges(
        "continuum_write_gap_unknown",
        "Moves that are remembered and were not measured",
        gaps.unknown,
    );
}

#[cfg(test)]
mod tests {
    use continuum_domain::{Epoch, RegionId};
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::state::{Cost, EpochRecord, PairState};

    #[test]
    fn a_move_that_was_not_measured_has_no_length() {
        let mut state = PairState::default();
        let moves = ["created", "handover", "hot", "expired", "returned"];
        for (epoch, by) in (1..).zip(moves) {
            let holder = RegionId::new("fsn").unwrap();
            let (from, operation, by) = (None, None, by.to_owned());
            let record = EpochRecord { holder, from, by, operation, at_ms: 1 };
            state.epochs.insert(Epoch(epoch), record);
        }
        let cost = |outage_ms| Cost { outage_ms: Some(outage_ms), tail: None };
        state.costs = [(Epoch(2), cost(400)), (Epoch(3), cost(60))].into();
        let mut gaps = Gaps::default();
        gaps.add(&PairId::new("shop").unwrap(), state.history());
        let mut registry = Registry::default();
        let mut out = Gathered { registry: &mut registry };
        out.histograms(("continuum_write_gap_seconds", "Gap"), &SECONDS, gaps.measured);
        out.gauges("continuum_write_gap_unknown", "Unknown", gaps.unknown);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let has =
            |line: &str| assert!(text.lines().any(|one| one == line), "{line} not in\n{text}");
        has("continuum_write_gap_seconds_count{pair=\"shop\",kind=\"switchover\"} 2");
        has("continuum_write_gap_seconds_bucket{le=\"0.1\",pair=\"shop\",kind=\"switchover\"} 1");
        has("continuum_write_gap_unknown{pair=\"shop\",kind=\"switchover\"} 0.0");
        has("continuum_write_gap_unknown{pair=\"shop\",kind=\"failover\"} 1.0");
        let failover = "continuum_write_gap_seconds_count{pair=\"shop\",kind=\"failover\"}";
        assert!(!text.contains(failover), "a length that nobody measured:\n{text}");
    }
}
