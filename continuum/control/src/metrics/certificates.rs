//! When certificates end: the node's own, and those that agents came with.

use std::time::Duration;

use super::{Gathered, Labels};
use crate::core::Core;

fn seconds(ms: i64) -> Option<f64> {
    Some(Duration::from_millis(u64::try_from(ms).ok()?).as_secs_f64())
}

pub(super) fn gather(core: &Core, out: &mut Gathered<'_>) {
    let node = core.config.name.as_str();
    let own = core.network.certificates_end_ms().and_then(seconds);
    out.gauges(
        "continuum_certificate_end_seconds",
        "When the first of this node's certificate and authorities ends, seconds since 1970",
        own.map(|end| (Labels::from([("node", node)]), end)),
    );
    let agents = core.links.certificates();
    out.gauges(
        "continuum_agent_certificate_end_seconds",
        "When the certificate ends that a region's agent came with, seconds since 1970",
        agents.iter().filter_map(|(region, ends_ms)| {
            Some((Labels::from([("region", region.as_str())]), seconds(*ends_ms)?))
        }),
    );
}
