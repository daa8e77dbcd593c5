//! Data for the golden tests.

use std::collections::BTreeMap;

use continuum_control_api::link::{Blocked, MemberReport, MemberRole};
use continuum_control_api::rest::{
    AgedReport, AutomationPause, CoreNodeView, CoreView, PairView, Status,
};
use continuum_domain::observation::{SqlView, StandbyView};
use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord,
};
use continuum_domain::spec::{MemberSpec, PairSpec};
use continuum_domain::{
    DataDirectoryId, Epoch, Lsn, OperationId, PairId, PairRecord, RegionId, TimelineId, Version,
};

pub const NOW_MS: i64 = 1_001_500;

pub fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn pair_id() -> PairId {
    PairId::new("app").unwrap()
}

fn record() -> PairRecord {
    let directory = |name: &str| DataDirectoryId::new(name).unwrap();
    PairRecord {
        epoch: Epoch(7),
        holder: Some(region("fsn")),
        in_sync: [(region("fsn"), directory("d1")), (region("hel"), directory("d2"))].into(),
        handover_to: None,
        paused: false,
        waits_for_all: true,
    }
}

/// A report with everything measured.
pub fn report(role: MemberRole) -> MemberReport {
    let is_primary = role == MemberRole::Primary;
    let standby = StandbyView {
        streaming: true,
        sync: true,
        flush: Some(Lsn(0x500_0000)),
        replay: Some(Lsn(0x500_0000 - 2048)),
        lag_ms: Some(12),
    };
    MemberReport {
        role,
        record: Some((Version(9), record(), 300)),
        lease_remaining_ms: is_primary.then_some(6_240),
        session_remaining_ms: Some(6_240),
        data_directory: None,
        sql: Some((
            SqlView {
                in_recovery: !is_primary,
                timeline: TimelineId(7),
                wal: Some(Lsn(0x500_0000)),
                replay: None,
                receiver_streaming: !is_primary,
                upstream_end: None,
                upstream_age_ms: None,
                sync_names: String::new(),
                standbys: if is_primary {
                    [(region("hel"), standby)].into()
                } else {
                    BTreeMap::new()
                },
                waiting_commits: 0,
                lowered_commit: is_primary.then(Vec::new),
            },
            200,
        )),
        sql_failed: None,
        write_probe_age_ms: is_primary.then_some(400),
        fenced: None,
        blocked: None,
        guard_alive: true,
        witness_reachable: true,
        spec_version: 1,
        takeover_refusals: Vec::new(),
        peers: BTreeMap::new(),
    }
}

/// A pair in which all is well.
pub fn pair() -> PairView {
    let member = || MemberSpec { priority: 100, host: "h".into(), port: 5432 };
    let members = [(region("fsn"), member()), (region("hel"), member())].into();
    let spec = PairSpec::new(pair_id(), members, region("fsn"));
    let aged = |role| Some(AgedReport { age_ms: 100, report: report(role) });
    PairView {
        spec,
        version: 3,
        epoch: Some(Epoch(7)),
        holder: Some(region("fsn")),
        record_age_ms: Some(400),
        in_sync: Some(vec![region("fsn"), region("hel")]),
        members: [
            (region("fsn"), aged(MemberRole::Primary)),
            (region("hel"), aged(MemberRole::Standby)),
        ]
        .into(),
        automation: None,
        operation: None,
    }
}

/// A pair of which nothing was ever reported.
pub fn silent_pair() -> PairView {
    PairView {
        epoch: None,
        holder: None,
        record_age_ms: None,
        in_sync: None,
        members: [(region("fsn"), None), (region("hel"), None)].into(),
        ..pair()
    }
}

/// A pair in trouble: the holder's reports have stopped, the other is blocked.
pub fn troubled_pair() -> PairView {
    let mut pair = pair();
    pair.record_age_ms = Some(12_000);
    let holder = pair.members.get_mut(&region("fsn")).unwrap().as_mut().unwrap();
    holder.age_ms = 12_300;
    let standby = pair.members.get_mut(&region("hel")).unwrap().as_mut().unwrap();
    standby.report.witness_reachable = false;
    standby.report.sql = None;
    standby.report.sql_failed = Some((500, "connection refused".into()));
    standby.report.blocked = Some(Blocked {
        code: "data-loss-approval".into(),
        meaning: "fsn is silent and hel lags 3 MB; moving would lose acknowledged writes".into(),
        action: "continuum failover app --to hel --allow-data-loss --epoch 7".into(),
    });
    pair
}

/// A switchover that is done.
pub fn operation() -> Operation {
    let record = |step, at_ms: i64, took_us, region: Option<&str>, detail: &str| StepRecord {
        step,
        outcome: StepOutcome::Done,
        region: region.map(|name| RegionId::new(name).unwrap()),
        at_ms: 1_000_000 + at_ms,
        took_us,
        detail: detail.into(),
    };
    Operation {
        id: OperationId::new("sw-k3f9").unwrap(),
        pair: pair_id(),
        kind: OperationKind::Switchover {
            from: region("fsn"),
            to: region("hel"),
            method: Method::Clean,
        },
        at_epoch: Epoch(7),
        actor: "operator/anna".into(),
        reason: "kernel update".into(),
        created_ms: 1_000_000,
        ended_ms: Some(1_000_912),
        state: OperationState::Done,
        cancel_requested: false,
        steps: vec![
            record(Step::Preflight, 8, Some(6_200), None, ""),
            record(
                Step::StopWrites,
                120,
                Some(98_400),
                Some("fsn"),
                "shutdown checkpoint 0/5000028",
            ),
            record(Step::Commit, 171, Some(11_000), Some("hel"), "epoch 8"),
            record(Step::Promote, 262, None, Some("hel"), "timeline 8"),
        ],
    }
}

/// A failover under way.
pub fn running() -> Operation {
    let mut operation = operation();
    operation.kind = OperationKind::Failover {
        from: None,
        to: region("hel"),
        trigger: "session expired".into(),
        autonomous: true,
        allow_data_loss: false,
    };
    operation.state = OperationState::Running;
    operation.ended_ms = None;
    operation
}

/// A whole page.
pub fn status(pairs: Vec<PairView>) -> Status {
    let node = |name: &str, id, leader| CoreNodeView {
        name: name.into(),
        id,
        address: format!("{name}:7444"),
        voter: true,
        leader,
    };
    Status {
        core: CoreView {
            node: "b".into(),
            leader: Some("a".into()),
            term: 3,
            applied: Some(120),
            members: vec![node("a", 1, true), node("b", 2, false), node("c", 3, false)],
        },
        pairs,
        automation: Vec::new(),
        operations: Vec::new(),
    }
}

/// A pause of all pairs.
pub fn pause(pair: Option<PairId>) -> AutomationPause {
    AutomationPause {
        pair,
        reason: "storage work".into(),
        actor: "operator/anna".into(),
        until_ms: 7_200_000,
    }
}
