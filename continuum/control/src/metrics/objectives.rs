//! What moves cost, and what they may cost.

use std::time::Duration;

use continuum_domain::objective::Loss;

use super::{Gathered, Labels, number};
use crate::core::Core;

/// From the replicated state: any node could tell it, and the leader does, as of all pairs.
pub(super) fn gather(core: &Core, out: &mut Gathered<'_>) {
    let (mut asked, mut outages, mut losses, mut most) = (vec![], vec![], vec![], vec![]);
    core.node.read(|state| {
        for (pair, _, spec) in state.specs() {
            let of = || Labels::from([("pair", pair.as_str())]);
            let objectives = spec.objectives.unwrap_or_default();
            asked.extend(objectives.rto.map(|rto| (of(), rto.as_secs_f64())));
            most.extend(objectives.rpo_bytes.map(|bytes| (of(), number(bytes))));
            let Some(last) = state.pair(pair).and_then(|pair| pair.history().next()) else {
                continue;
            };
            let outage = last.outage_ms.map(Duration::from_millis);
            outages.extend(outage.map(|outage| (of(), outage.as_secs_f64())));
            losses.extend(match last.loss {
                Loss::Nothing => Some((of(), 0.0)),
                Loss::AtMost { bytes, .. } => Some((of(), number(bytes))),
                Loss::Unknown => None,
            });
        }
    });
    out.gauges(
        "continuum_objective_rto_seconds",
        "Longest time without writes that a move of the pair may take",
        asked,
    );
    out.gauges(
        "continuum_objective_rpo_bytes",
        "Most acknowledged WAL that a move of the pair may lose",
        most,
    );
    out.gauges(
        "continuum_move_outage_seconds",
        "At most so long no write was seen at the last change of holder",
        outages,
    );
    out.gauges(
        "continuum_move_lost_bytes",
        "At most so many acknowledged bytes of WAL the last change of holder lost",
        losses,
    );
}
