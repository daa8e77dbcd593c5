//! A pair at rest as its agents report it, for the tests beside what is made of reports.

use std::collections::BTreeMap;

use continuum_control_api::link::{MemberReport, MemberRole};
use continuum_domain::observation::{SqlView, StandbyView};
use continuum_domain::spec::{MemberSpec, PairSpec, Takeover};
use continuum_domain::{
    DataDirectoryId, Epoch, Lsn, PairId, PairRecord, RegionId, Tick, TimelineId, Version,
};

use crate::link::registry::Links;
use crate::view::Reports;

pub const NOW: Tick = Tick(60_000_000_000);

pub fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub struct Reported {
    pub spec: PairSpec,
    pub record: PairRecord,
    /// What each agent said, and how many milliseconds ago.
    pub members: BTreeMap<RegionId, (u64, MemberReport)>,
    pub links: Links,
}

fn standbys() -> [RegionId; 2] {
    [region("hel"), region("ash")]
}

fn report(
    is_primary: bool,
    record: &PairRecord,
    directory: Option<DataDirectoryId>,
) -> MemberReport {
    let lsn = Some(Lsn(1_000));
    let standby =
        StandbyView { streaming: true, sync: true, flush: lsn, replay: lsn, lag_ms: Some(0) };
    let sql = SqlView {
        in_recovery: !is_primary,
        timeline: TimelineId(1),
        wal: lsn,
        replay: lsn,
        receiver_streaming: !is_primary,
        upstream_end: None,
        upstream_age_ms: None,
        sync_names: r#"FIRST 2 ("ash", "hel")"#.into(),
        standbys: standbys().into_iter().map(|region| (region, standby.clone())).collect(),
        waiting_commits: 0,
        lowered_commit: is_primary.then(Vec::new),
    };
    MemberReport {
        role: if is_primary { MemberRole::Primary } else { MemberRole::Standby },
        record: Some((Version(9), record.clone(), 0)),
        lease_remaining_ms: is_primary.then_some(5_000),
        session_remaining_ms: Some(5_000),
        data_directory: directory,
        sql: Some((sql, 0)),
        sql_failed: None,
        write_probe_age_ms: None,
        fenced: None,
        blocked: None,
        guard_alive: true,
        witness_reachable: true,
        spec_version: 1,
        takeover_refusals: Some(Vec::new()),
        peers: BTreeMap::new(),
        names: None,
        hindrances: Vec::new(),
        against_leaving: Vec::new(),
        backups: None,
        role_writes: None,
    }
}

impl Reported {
    /// fsn holds epoch 7, hel and ash are listed, and everything was reported just now.
    pub fn at_rest() -> Self {
        let member = MemberSpec { priority: 100, host: "h".into(), port: 5432, health_name: None };
        let all = standbys().into_iter().chain([region("fsn")]);
        let members = all.clone().map(|region| (region, member.clone())).collect();
        let mut spec = PairSpec::new(PairId::new("app").unwrap(), members, region("fsn"));
        spec.takeover = Takeover::Ledger;
        let disk = |region: &RegionId| DataDirectoryId::new(format!("d-{region}")).unwrap();
        let record = PairRecord {
            epoch: Epoch(7),
            holder: Some(region("fsn")),
            in_sync: all.clone().map(|region| (region.clone(), disk(&region))).collect(),
            handover_to: None,
            paused: false,
            waits_for_all: true,
            rested_by: None,
        };
        let links = Links::default();
        let mut told = BTreeMap::new();
        for member in all {
            let report = report(member == region("fsn"), &record, Some(disk(&member)));
            told.insert(member.clone(), (0, report));
            links.attach(&member, tokio::sync::mpsc::channel(1).0);
        }
        Self { spec, record, members: told, links }
    }

    /// The register as everybody read it.
    pub fn with_record(mut self, change: impl FnOnce(&mut PairRecord)) -> Self {
        change(&mut self.record);
        for (_, report) in self.members.values_mut() {
            report.record = Some((Version(9), self.record.clone(), 0));
        }
        self
    }

    pub fn member(&mut self, name: &str) -> &mut (u64, MemberReport) {
        self.members.get_mut(&region(name)).unwrap()
    }

    /// A member's agent reports reasons against a takeover.
    pub fn refusing(mut self, name: &str, reasons: &[&str]) -> Self {
        let reasons = reasons.iter().map(ToString::to_string).collect();
        self.member(name).1.takeover_refusals = Some(reasons);
        self
    }

    /// A member's agent reported so long ago.
    pub fn silent(mut self, name: &str, age_ms: u64) -> Self {
        self.member(name).0 = age_ms;
        self
    }

    pub fn reports(&self) -> Reports {
        for (region, (age_ms, report)) in &self.members {
            let at = Tick(NOW.0 - age_ms * 1_000_000);
            let members = BTreeMap::from([(self.spec.id.clone(), report.clone())]);
            self.links.report(region, members, BTreeMap::new(), at);
        }
        Reports::collect(&self.links, &self.spec.id, &self.spec, NOW)
    }
}
