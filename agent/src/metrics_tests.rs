use std::sync::Arc;

use continuum_control_api::link::Dialect;
use continuum_domain::observation::{Observation, SqlView, StandbyView};
use continuum_domain::pair::RoleView;
use continuum_domain::{DataDirectoryId, Epoch, Lsn, PairRecord, TimelineId, Version};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::TlsNetwork;
use continuum_runtime::{BootClock, Identity, Role};

use super::*;
use crate::at_rest::config::AtRestConfig;
use crate::names::NamesSeen;
use crate::peers::Peers;

const SECOND: u64 = 1_000_000_000;
const NOW: Tick = Tick(100 * SECOND);

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn network(directory: &std::path::Path) -> SharedNetwork {
    let authority = Authority::create(directory).unwrap();
    let files = authority.issue(&Identity::new(Role::Region, "fsn")).unwrap();
    Arc::new(TlsNetwork::load(&files).unwrap())
}

/// A primary that holds epoch 7, seen a second ago.
pub(crate) fn primary() -> PairStatus {
    let seen = Tick(99 * SECOND);
    let disk = |name: &str| (region(name), DataDirectoryId::new(format!("d-{name}")).unwrap());
    let record = PairRecord {
        epoch: Epoch(7),
        holder: Some(region("fsn")),
        in_sync: [disk("fsn"), disk("hel")].into(),
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    };
    let standby = StandbyView {
        streaming: true,
        sync: true,
        flush: Some(Lsn(900)),
        replay: None,
        lag_ms: None,
    };
    let sql = SqlView {
        in_recovery: false,
        timeline: TimelineId(3),
        wal: Some(Lsn(1_000)),
        replay: None,
        receiver_streaming: false,
        upstream_end: None,
        upstream_age_ms: None,
        sync_names: "ANY 1 (hel)".into(),
        standbys: [(region("hel"), standby)].into(),
        waiting_commits: 2,
        lowered_commit: None,
    };
    PairStatus {
        role: RoleView::Primary,
        record: Some((Version(9), record, seen)),
        lease_until: Some(Tick(104 * SECOND)),
        session_until: Some(Tick(105 * SECOND)),
        actuator: Some(ActuatorStatus {
            process: ProcessState::Running,
            epoch: Epoch(7),
            deadline: Some(Tick(103 * SECOND)),
            promoted: true,
            fenced: None,
            data_directory: None,
            exits: 3,
            last_exit: None,
            always_receives: false,
            hindrances: Vec::new(),
            against_leaving: Vec::new(),
            told_primary: None,
        }),
        observation: Observation { sql: Some((seen, sql)), failed: None, write_probe: Some(seen) },
        blocked: None,
        witness_reachable: true,
        spec_version: 1,
        acquired_at: None,
        proven_at: None,
        takeover_refusals: Vec::new(),
        hindrances: Vec::new(),
        against_leaving: Vec::new(),
    }
}

/// What is told of a member in this state.
fn told(status: PairStatus) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let clock: SharedClock = Arc::new(BootClock);
    let peers = Peers::new(&network(directory.path()), &[], &Dialect::default());
    let beats = Beats::start(&peers, &clock);
    let report = member_report(&status, &beats, &NamesSeen::default(), NOW);
    let members =
        [Member { pair: PairId::new("shop").unwrap(), status, report, waits: Vec::new() }];
    let mut registry = Registry::default();
    let out = Gathered { registry: &mut registry };
    let mut page = Page { out, region: "fsn", members: &members, now: NOW };
    leases(&mut page);
    guards(&mut page);
    postgresql(&mut page);
    standbys(&mut page);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn value(lines: &[String], name: &str) -> Option<f64> {
    let line = lines.iter().find(|line| line.starts_with(&format!("continuum_agent_{name}{{")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_primary_tells_what_it_knows() {
    let lines = told(primary());
    let expected = [
        ("lease_remaining_seconds", 4.0),
        ("held_epoch", 7.0),
        ("record_age_seconds", 1.0),
        ("guard_alive", 1.0),
        ("guard_epoch", 7.0),
        ("deadline_remaining_seconds", 3.0),
        ("fenced", 0.0),
        ("postgresql_running", 1.0),
        ("postgresql_exits_total", 3.0),
        ("postgresql_in_recovery", 0.0),
        ("sql_age_seconds", 1.0),
        ("write_probe_age_seconds", 1.0),
        ("waiting_commits", 2.0),
        ("standby_streaming", 1.0),
        ("standby_sync", 1.0),
        ("standby_lag_bytes", 100.0),
    ];
    for (name, expected) in expected {
        assert_eq!(value(&lines, name), Some(expected), "{name} in {lines:#?}");
    }
    let listed = |line: &&String| line.starts_with("continuum_agent_in_sync{");
    assert_eq!(lines.iter().filter(listed).count(), 2, "{lines:#?}");
    assert_eq!(value(&lines, "receiver_streaming"), None, "it is no standby");
}

#[test]
fn what_is_not_known_is_absent() {
    let mut blind = primary();
    blind.actuator = None;
    blind.lease_until = Some(Tick(99 * SECOND));
    let long_ago = Tick(60 * SECOND);
    blind.record = blind.record.map(|(version, record, _)| (version, record, long_ago));
    blind.observation.sql = blind.observation.sql.map(|(_, sql)| (long_ago, sql));
    let lines = told(blind);
    // Ages are known, and that the guard does not answer; nothing else is.
    assert_eq!(value(&lines, "guard_alive"), Some(0.0));
    assert_eq!(value(&lines, "sql_age_seconds"), Some(40.0));
    assert_eq!(value(&lines, "record_age_seconds"), Some(40.0));
    let unknown = [
        "lease_remaining_seconds",
        "held_epoch",
        "in_sync",
        "guard_epoch",
        "deadline_remaining_seconds",
        "fenced",
        "postgresql_running",
        "postgresql_exits_total",
        "postgresql_in_recovery",
        "waiting_commits",
        "standby_streaming",
        "standby_lag_bytes",
    ];
    for name in unknown {
        assert_eq!(value(&lines, name), None, "{name} in {lines:#?}");
    }
}

#[tokio::test]
async fn a_process_without_pairs_tells_of_itself() {
    let directory = tempfile::tempdir().unwrap();
    let network = network(directory.path());
    let clock: SharedClock = Arc::new(BootClock);
    let beats = Beats::start(&Peers::new(&network, &[], &Dialect::default()), &clock);
    let (_keeper, session) = watch::channel(SessionView::default());
    let (region, pairs, traces) = (region("fsn"), Pairs::default(), Traces::off());
    let (core, acceptors) = (None, None);
    let rest = RestDesk::start(&AtRestConfig::default(), &pairs, &clock).unwrap();
    let backups = BackupDesk::new(&region, &[], &clock);
    let roles = RoleDesk::new(&region, &pairs, &clock);
    let scraped = Scraped {
        region,
        clock,
        network,
        pairs,
        session,
        core,
        beats,
        acceptors,
        traces,
        rest,
        backups,
        roles,
    };
    let text = scraped.text().unwrap();
    assert!(text.contains("continuum_agent_session_valid{region=\"fsn\"} 0.0"), "{text}");
    assert!(text.contains("continuum_agent_own_certificate_end_seconds{"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let absent =
        ["session_remaining", "core_link_up", "witness_answered", "trace_spans", "held_epoch"];
    assert!(absent.iter().all(|name| !text.contains(name)), "{text}");
}
