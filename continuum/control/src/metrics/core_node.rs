//! The node itself, and what is replicated.

use continuum_domain::sequence::kind_label;

use super::{Gathered, Labels};
use crate::core::Core;

const NONE: [(&str, &str); 0] = [];

fn whole(value: usize) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

pub(super) fn gather(core: &Core, out: &mut Gathered<'_>) {
    let version = [("version", env!("CARGO_PKG_VERSION")), ("node", core.config.name.as_str())];
    out.gauges("continuum_build_info", "The running version", [(version.into(), 1.0)]);
    let view = core.view();
    let leads = core.leadership().i_lead;
    let one = |value: f64| [(Labels::from(NONE), value)];
    out.gauges("continuum_core_leader", "Whether this node leads", one(truth(leads)));
    out.gauges(
        "continuum_core_leader_known",
        "Whether this node knows a leader",
        one(truth(view.leader.is_some())),
    );
    let voters = view.members.iter().filter(|member| member.voter).count();
    out.gauges("continuum_core_voters", "Control nodes that vote", one(whole(voters)));
    // Exact up to 2^53, which no core reaches.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let (term, applied) = (view.term as f64, view.applied.map(|index| index as f64));
    out.gauges("continuum_core_term", "Raft term", one(term));
    out.gauges(
        "continuum_core_applied_index",
        "Newest entry of the replicated log that this node has applied",
        applied.map(|index| (Labels::from(NONE), index)),
    );
    out.gauges(
        "continuum_core_event_streams",
        "Streams of events this node keeps open",
        one(whole(crate::server::STREAMS_MAX - core.streams.available_permits())),
    );
    continuum_runtime::metrics::spans(core.traces.counts(), out);
    archive(core, out);
    operations(core, out);
}

fn archive(core: &Core, out: &mut Gathered<'_>) {
    // Exact up to 2^53, which no chain reaches.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let one = |value: u64| [(Labels::from(NONE), value as f64)];
    let newest = core.node.read(|state| state.audit().next_back().map(|record| record.index));
    out.gauges(
        "continuum_audit_newest_record",
        "Position of the newest audit record this node has applied",
        newest.into_iter().flat_map(one),
    );
    let Some(standing) = core.archive.standing() else { return };
    out.gauges(
        "continuum_audit_archived_record",
        "Position of the newest audit record in this node's archive",
        one(standing.newest),
    );
    out.gauges(
        "continuum_audit_archive_missing_records",
        "Audit records this node never had",
        one(standing.missing),
    );
    out.gauges(
        "continuum_audit_archive_failing",
        "Whether the archive cannot be written",
        [(Labels::from(NONE), truth(standing.failing))],
    );
}

fn operations(core: &Core, out: &mut Gathered<'_>) {
    let now_ms = core.now_ms();
    let (running, ended, pauses, broken) = core.node.read(|state| {
        let seconds = |ms: i64| {
            std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
        };
        let labels = |operation: &continuum_domain::operation::Operation| {
            let kind = kind_label(&operation.kind);
            Labels::from([("pair", operation.pair.as_str()), ("kind", kind)])
        };
        let running: Vec<_> = state
            .unfinished()
            .map(|operation| (labels(operation), seconds(now_ms - operation.created_ms)))
            .collect();
        // By time, so that the newest of each kind and pair stands at the end.
        let mut ended: Vec<_> = state
            .operations()
            .filter_map(|operation| Some((operation.ended_ms?, operation)))
            .collect();
        ended.sort_by_key(|(at_ms, _)| *at_ms);
        let ended: Vec<_> = ended
            .into_iter()
            .map(|(at_ms, operation)| (labels(operation), seconds(at_ms - operation.created_ms)))
            .collect();
        (running, ended, state.pauses(now_ms).len(), state.access().glass(now_ms).count())
    });
    out.gauges(
        "continuum_operation_age_seconds",
        "How long an operation that has not ended has been going on",
        running,
    );
    out.gauges(
        "continuum_operation_last_duration_seconds",
        "How long the last ended operation of a kind took on a pair, redundancy included",
        ended,
    );
    out.gauges(
        "continuum_automation_pauses",
        "Pauses of automation in force",
        [(Labels::from(NONE), whole(pauses))],
    );
    out.gauges(
        "continuum_break_glass_open",
        "Callers whose glass is broken: they are owners of everything for a time",
        [(Labels::from(NONE), whole(broken))],
    );
}
