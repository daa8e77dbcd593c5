//! What the core knows of a pair, from the agents' reports: for plans, for the runner and for pictures.
//! Every piece carries its age; what is not known stays unknown (I7).

use std::collections::BTreeMap;
use std::sync::Arc;

use continuum_control_api::link::{Blocked, MemberReport, MemberRole};
use continuum_domain::candidate::{CandidateFacts, REPORT_AGE_MS_MAX};
use continuum_domain::observation::SqlView;
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, PairRecord, RegionId, Tick, Version};

use crate::link::registry::{Links, millis};

/// Whether a member accepts writes is taken from reports no older than this.
pub const WRITABLE_AGE_MS_MAX: u64 = 2_000;
/// Positions and roles by SQL count as known up to this age.
pub const SQL_AGE_MS_MAX: u64 = 5_000;

/// The reports on one pair.
pub struct Reports {
    members: BTreeMap<RegionId, Option<(u64, Arc<MemberReport>)>>,
}

impl Reports {
    /// Collects what the agents said last.
    pub fn collect(links: &Links, pair: &PairId, spec: &PairSpec, now: Tick) -> Self {
        let members = spec
            .members
            .keys()
            .map(|region| {
                let last = links.last(region, pair, now);
                (region.clone(), last.map(|(age, report)| (millis(age), report)))
            })
            .collect();
        Self { members }
    }

    /// What each member's agent said last, and how many milliseconds ago.
    pub fn members(&self) -> impl Iterator<Item = (&RegionId, Option<(u64, &MemberReport)>)> {
        self.members.keys().map(|region| (region, self.get(region)))
    }

    fn get(&self, region: &RegionId) -> Option<(u64, &MemberReport)> {
        let (age, report) = self.members.get(region)?.as_ref()?;
        Some((*age, report))
    }

    fn fresh(&self, region: &RegionId, age_max: u64) -> Option<&MemberReport> {
        self.get(region).filter(|(age, _)| *age <= age_max).map(|(_, report)| report)
    }

    fn sql(&self, region: &RegionId) -> Option<&SqlView> {
        let (age, report) = self.get(region)?;
        let (view, inner) = report.sql.as_ref()?;
        (age.saturating_add(*inner) <= SQL_AGE_MS_MAX).then_some(view)
    }

    /// The newest register any agent read: highest version, then least age.
    pub fn newest_record(&self) -> Option<(Version, &PairRecord, u64)> {
        self.members
            .values()
            .flatten()
            .filter_map(|(age, report)| {
                let (version, record, inner) = report.record.as_ref()?;
                Some((*version, record, age.saturating_add(*inner)))
            })
            .max_by_key(|(version, _, age)| (*version, std::cmp::Reverse(*age)))
    }

    /// Whether a region's agent reported lately.
    pub fn is_fresh(&self, region: &RegionId) -> bool {
        self.fresh(region, REPORT_AGE_MS_MAX).is_some()
    }

    /// What a region's member does; unknown without a fresh report.
    pub fn role(&self, region: &RegionId) -> Option<MemberRole> {
        Some(self.fresh(region, REPORT_AGE_MS_MAX)?.role)
    }

    /// Whether a region's member accepts writes under its lease; unknown without a fresh report.
    pub fn writable(&self, region: &RegionId) -> Option<bool> {
        let report = self.fresh(region, WRITABLE_AGE_MS_MAX)?;
        match report.role {
            MemberRole::Unknown => None,
            role => Some(role == MemberRole::Primary),
        }
    }

    /// Why a region's member may not take over by the ledger or, if it holds the pair, does not promise
    /// to wait for every listed member; unknown without a fresh report.
    pub fn takeover_refusals(&self, region: &RegionId) -> Option<&[String]> {
        self.fresh(region, REPORT_AGE_MS_MAX)?.takeover_refusals.as_deref()
    }

    /// Whether a region's member receives WAL, as its own PostgreSQL says; unknown without a fresh look.
    pub fn streams(&self, region: &RegionId) -> Option<bool> {
        Some(self.sql(region)?.receiver_streaming)
    }

    /// The named state that a region's member stands in; unknown without a fresh report.
    pub fn blocked(&self, region: &RegionId) -> Option<Option<&str>> {
        let report = self.fresh(region, REPORT_AGE_MS_MAX)?;
        Some(report.blocked.as_ref().map(|blocked| blocked.code.as_str()))
    }

    /// Whether an operator keeps a region's PostgreSQL stopped; unknown without a fresh report.
    pub fn is_fenced(&self, region: &RegionId) -> Option<bool> {
        Some(self.fresh(region, REPORT_AGE_MS_MAX)?.fenced.is_some())
    }

    /// The epoch a region's agent acts by.
    pub fn epoch_seen(&self, region: &RegionId) -> Option<continuum_domain::Epoch> {
        let (_, record, _) = self.get(region)?.1.record.as_ref()?;
        Some(record.epoch)
    }

    /// Whether the primary in `region` sees a standby stream.
    pub fn any_standby_streams(&self, region: &RegionId) -> Option<bool> {
        Some(self.sql(region)?.standbys.values().any(|standby| standby.streaming))
    }

    /// What is known of a standby as a candidate, seen beside `primary`.
    pub fn candidate(
        &self,
        spec: &PairSpec,
        region: &RegionId,
        primary: Option<&RegionId>,
    ) -> CandidateFacts {
        let priority = spec.members.get(region).map_or(0, |member| member.priority);
        let Some((age, report)) = self.get(region) else {
            return CandidateFacts { priority, ..CandidateFacts::default() };
        };
        let own = self.sql(region);
        let primary_sql = primary.and_then(|primary| self.sql(primary));
        let seen = primary_sql.and_then(|view| view.standbys.get(region));
        let flush = own.and_then(|view| view.wal);
        // Both positions of one look at the primary, where there is one: two looks at different
        // instants would measure the time between them.
        let lag_bytes = primary_sql.and_then(|view| {
            let at = seen.and_then(|standby| standby.flush).or(flush)?;
            Some(view.wal?.bytes_since(at))
        });
        CandidateFacts {
            priority,
            report_age_ms: Some(age),
            data_directory: report.data_directory.clone(),
            flush,
            lag_bytes,
            streaming: seen
                .map(|standby| standby.streaming)
                .or_else(|| own.map(|view| view.receiver_streaming)),
            is_standby: own.map(|view| view.in_recovery),
            guard_alive: Some(report.guard_alive),
            witness_reachable: Some(report.witness_reachable),
            session_remaining_ms: report
                .session_remaining_ms
                .map(|remaining| remaining.saturating_sub(age)),
            fenced: report.fenced.clone(),
            blocked: report.blocked.as_ref().map(|blocked| blocked.code.clone()),
            hindrances: report.hindrances.iter().map(told).collect(),
        }
    }

    /// What stands against a planned move away from a region; nothing without a fresh report, which bars one
    /// by itself.
    pub fn against_leaving(&self, region: &RegionId) -> Vec<String> {
        let Some(report) = self.fresh(region, REPORT_AGE_MS_MAX) else { return Vec::new() };
        report.hindrances.iter().chain(&report.against_leaving).map(told).collect()
    }
}

/// What stands against something, and what to do about it.
fn told(one: &Blocked) -> String {
    format!("{}: {}; {}", one.code, one.meaning, one.action)
}
