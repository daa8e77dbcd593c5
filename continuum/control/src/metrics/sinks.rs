//! Where audit records are sent to, as the leader sees it.

use std::time::Duration;

use continuum_control_api::sinks::{SinkStanding, SinkView};

use super::{Gathered, Labels};
use crate::core::Core;
use crate::outbox::view;

pub(super) fn gather(core: &Core, out: &mut Gathered<'_>) {
    let sinks = view::all(core);
    let labels = |sink: &SinkView| {
        Labels::from([("sink", sink.name.as_str()), ("kind", sink.kind.as_str())])
    };
    // Exact up to 2^53, which no chain reaches.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let number = |value: u64| value as f64;
    out.gauges(
        "continuum_sink_lag_records",
        "Audit records that wait for a sink",
        sinks.iter().filter_map(|sink| Some((labels(sink), number(sink.lag_records?)))),
    );
    out.gauges(
        "continuum_sink_lag_seconds",
        "For how long the oldest of them waits",
        sinks.iter().filter_map(|sink| {
            Some((labels(sink), Duration::from_millis(sink.lag_ms?).as_secs_f64()))
        }),
    );
    let tried = sinks.iter().filter(|sink| sink.standing != SinkStanding::Unknown);
    out.gauges(
        "continuum_sink_retrying",
        "Whether a sink cannot be sent to and is tried again",
        tried.map(|sink| {
            let retrying = sink.standing == SinkStanding::Retrying;
            (labels(sink), f64::from(u8::from(retrying)))
        }),
    );
    out.gauges(
        "continuum_sink_dead_letters",
        "Records that a sink refused for good, those not listed any more included",
        sinks.iter().map(|sink| (labels(sink), number(sink.dead_letters + sink.dropped))),
    );
    out.counters(
        "continuum_sink_delivered",
        "Records that a sink has taken",
        sinks.iter().map(|sink| (labels(sink), sink.delivered)),
    );
    out.counters(
        "continuum_sink_lost",
        "Records that were nowhere any more when their turn came",
        sinks.iter().map(|sink| (labels(sink), sink.lost)),
    );
}
