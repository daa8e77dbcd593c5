//! Data for the golden tests.

use std::collections::BTreeMap;

use continuum_control_api::link::{Blocked, MemberReport, MemberRole, PeerLinkReport};
use continuum_control_api::rest::{
    AgedReport, AutomationPause, CoreNodeView, CoreView, PairView, PlannedMove, Status,
    TakeoverView,
};
use continuum_domain::observation::{SqlView, StandbyView};
use continuum_domain::operation::{
    Method, Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord,
};
use continuum_domain::round_trips::RoundTripsView;
use continuum_domain::spec::{MemberSpec, PairSpec, Takeover};
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
        rested_by: None,
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
        takeover_refusals: Some(Vec::new()),
        peers: [(region(if is_primary { "hel" } else { "fsn" }), link())].into(),
        names: None,
        hindrances: Vec::new(),
        against_leaving: Vec::new(),
        backups: None,
        role_writes: None,
    }
}

/// A link that is well.
pub fn link() -> PeerLinkReport {
    PeerLinkReport {
        heard_age_ms: Some(100),
        refused_age_ms: None,
        round_trips: Some(RoundTripsView {
            count: 5_000,
            unanswered: 2,
            p50_us: 812,
            p99_us: 1_940,
            max_us: 41_000,
            suggested_suspect_after_ms: Some(400),
        }),
    }
}

/// A pair with ledger takeover, which would be used.
pub fn ledger_pair() -> PairView {
    let mut pair = pair();
    pair.spec.takeover = Takeover::Ledger;
    pair.takeover.configured = Takeover::Ledger;
    pair.takeover.effective = Some(Takeover::Ledger);
    pair.takeover.by = vec![region("hel")];
    pair
}

/// The same, where the holder found that commits need not wait and a link is slow.
pub fn downgraded_pair() -> PairView {
    let mut pair = ledger_pair();
    let reasons =
        ["fsn: role app sets synchronous_commit to off", "fsn: hel has applied nothing for 5s"];
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    pair.takeover.effective = Some(Takeover::Ttl);
    pair.takeover.by = Vec::new();
    pair.takeover.reasons = reasons.clone();
    let planned = PlannedMove { method: Method::Clean, hot_refusals: reasons };
    pair.takeover.planned = [(region("hel"), planned)].into();
    let standby = pair.members.get_mut(&region("hel")).unwrap().as_mut().unwrap();
    let link = standby.report.peers.get_mut(&region("fsn")).unwrap();
    link.round_trips.as_mut().unwrap().suggested_suspect_after_ms = Some(850);
    pair
}

/// A pair in which all is well.
pub fn pair() -> PairView {
    let member = || MemberSpec { priority: 100, host: "h".into(), port: 5432, health_name: None };
    let members = [(region("fsn"), member()), (region("hel"), member())].into();
    let spec = PairSpec::new(pair_id(), members, region("fsn"));
    let aged = |role| Some(AgedReport { age_ms: 100, report: report(role) });
    PairView {
        resting: None,
        barred: false,
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
        not_understood: BTreeMap::new(),
        acceptors: BTreeMap::new(),
        traffic: BTreeMap::new(),
        automation: None,
        operation: None,
        takeover: TakeoverView {
            configured: Takeover::Ttl,
            suspect_after_ms: 600,
            effective: Some(Takeover::Ttl),
            by: Vec::new(),
            reasons: Vec::new(),
            planned: [(
                region("hel"),
                PlannedMove { method: Method::Hot, hot_refusals: Vec::new() },
            )]
            .into(),
        },
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
        takeover: TakeoverView {
            configured: Takeover::Ledger,
            effective: None,
            reasons: vec!["no agent has reported the pair's newest register".into()],
            planned: BTreeMap::new(),
            ..pair().takeover
        },
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
    standby.report.peers.get_mut(&region("fsn")).unwrap().heard_age_ms = Some(12_000);
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

/// A failover by the ledger, as the agents tell of it.
pub fn by_ledger() -> Operation {
    let record =
        |at_ms: i64, step, outcome, took_us, name: Option<&str>, detail: &str| StepRecord {
            step,
            outcome,
            region: name.map(region),
            at_ms: 1_000_000 + at_ms,
            took_us,
            detail: detail.into(),
        };
    let done = StepOutcome::Done;
    let mut operation = operation();
    operation.kind = OperationKind::Failover {
        from: Some(region("fsn")),
        to: region("hel"),
        trigger: "its agent does not answer for 601 ms, its session has not moved for 612 ms"
            .into(),
        autonomous: false,
        allow_data_loss: false,
    };
    operation.actor = "region/hel".into();
    operation.reason = "in the in-sync ledger".into();
    let left = "rewound; left behind: 3 commits from 0/5000000 to 0/5000200 (512 bytes), saved at \
        /var/lib/continuum/artefacts/7-5000000; they were flushed there and never acknowledged, but \
        to sessions that had lowered synchronous_commit";
    let evidence = "its agent does not answer for 640 ms, its session has not moved for 655 ms; in \
        the in-sync ledger, for which the holder waits";
    let hel = Some("hel");
    operation.steps = vec![
        record(2, Step::Preflight, done.clone(), None, None, "granted"),
        record(6, Step::Detect, done.clone(), Some(655_000), hel, evidence),
        record(
            10,
            Step::StopWrites,
            done.clone(),
            Some(4_120),
            hel,
            "no more WAL is received here after 0/5000000",
        ),
        record(12, Step::Commit, done.clone(), Some(1_870), hel, "epoch 8 by ledger"),
        record(40, Step::Promote, done.clone(), Some(27_900), hel, "timeline 8 from 0/5000000"),
        record(810, Step::Rejoin, StepOutcome::Started, None, Some("fsn"), left),
        record(811, Step::Rejoin, done, None, Some("fsn"), "rewound, streaming"),
    ];
    operation
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
        break_glass: Vec::new(),
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
