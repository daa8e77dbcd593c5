//! What a control node tells Prometheus, as OpenMetrics.
//!
//! What is not known is absent, never 0 (I7): a follower knows nothing of the agents and tells nothing
//! of them, and neither does a leader of an agent that has not reported to it.

use std::time::Duration;

pub use continuum_runtime::metrics::OPEN_METRICS;
pub(crate) use continuum_runtime::metrics::{Gathered, Labels, number};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::core::Core;

mod certificates;
mod core_node;
mod objectives;
mod pairs;
mod sinks;
#[cfg(test)]
mod tests;
mod traffic;
mod write_gaps;

/// Upper bounds of the durations of requests, seconds.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// What is counted between scrapes: requests.
pub(crate) struct Requests {
    registry: Registry,
    answered: Family<Labels, Counter>,
    took: Family<Labels, Histogram>,
}

impl Default for Requests {
    fn default() -> Self {
        let answered = Family::<Labels, Counter>::default();
        let took = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        let mut registry = Registry::default();
        registry.register(
            "continuum_api_requests",
            "Requests answered by this node, by route, method and status",
            answered.clone(),
        );
        registry.register(
            "continuum_api_request_duration_seconds",
            "How long this node took to answer, by route",
            took.clone(),
        );
        Self { registry, answered, took }
    }
}

impl Requests {
    /// Counts an answer. `route` is the pattern, not the path: there are few of them.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        let labels = [("method", method), ("route", route), ("status", status.as_str())];
        self.answered.get_or_create(&labels.into()).inc();
        let labels = [("method", method), ("route", route)];
        self.took.get_or_create(&labels.into()).observe(took.as_secs_f64());
    }
}

/// Everything this node knows now.
pub(crate) fn text(core: &Core) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    let mut gathered = Gathered { registry: &mut registry };
    core_node::gather(core, &mut gathered);
    certificates::gather(core, &mut gathered);
    // The agents report to the leader alone.
    if core.leadership().i_lead {
        pairs::gather(core, &mut gathered);
        objectives::gather(core, &mut gathered);
        write_gaps::gather(core, &mut gathered);
        // Only the leader sends.
        sinks::gather(core, &mut gathered);
    }
    let mut out = String::new();
    encode_registry(&mut out, &registry)?;
    encode_registry(&mut out, &core.requests.registry)?;
    encode_eof(&mut out)?;
    Ok(out)
}
