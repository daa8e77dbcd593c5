//! The traffic switches of pairs, as the agents that drive them report them.

use continuum_control_api::link::{SwitchReport, SwitchStanding};
use continuum_control_api::rest::{PairView, REPORT_AGE_MS_MAX};

use super::{Gathered, Labels};

/// Switches of which an agent said something lately, with how old that is.
fn told<'a>(
    views: &'a [(PairView, bool)],
) -> impl Iterator<Item = (Labels, u64, &'a SwitchReport)> + 'a {
    views.iter().flat_map(|(view, _)| {
        let fresh = view.traffic.iter().filter(|(_, told)| told.age_ms <= REPORT_AGE_MS_MAX);
        fresh.flat_map(move |(region, told)| {
            told.switches.iter().map(move |(name, report)| {
                let pair = view.spec.id.as_str();
                let labels =
                    [("pair", pair), ("region", region.as_str()), ("switch", name.as_str())];
                (Labels::from(labels), told.age_ms, report)
            })
        })
    })
}

/// Gathers them.
pub(super) fn gather(views: &[(PairView, bool)], out: &mut Gathered<'_>) {
    out.gauges(
        "continuum_traffic_follows",
        "Whether a traffic switch leads to the newest known holder; absent where that is not known",
        told(views).filter_map(|(labels, age_ms, report)| match report.standing(age_ms) {
            SwitchStanding::Follows => Some((labels, 1.0)),
            SwitchStanding::Fails => Some((labels, 0.0)),
            SwitchStanding::Unknown => None,
        }),
    );
    out.counters(
        "continuum_traffic_foreign_writes",
        "Changes of a traffic switch by others that an agent undid since it started",
        told(views).map(|(labels, _, report)| (labels, report.foreign_writes)),
    );
}
