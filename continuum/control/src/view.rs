//! What the core knows of a pair, from the agents' reports: for the API, for plans and for the
//! runner. Every piece carries its age; what is not known stays unknown (I7).

use std::collections::BTreeMap;

use continuum_control_api::link::{Blocked, MemberReport, MemberRole};
use continuum_control_api::rest::{AgedAcceptors, AgedReport, AgedSwitches, PairView};
use continuum_domain::candidate::{CandidateFacts, REPORT_AGE_MS_MAX};
use continuum_domain::mutation::{Bug, planted};
use continuum_domain::observation::SqlView;
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, PairRecord, RegionId, Tick, Version};

use crate::link::registry::{Links, millis};
use crate::state::CoreState;
use crate::takeover;

/// Whether a member accepts writes is taken from reports no older than this.
pub const WRITABLE_AGE_MS_MAX: u64 = 2_000;
/// Positions and roles by SQL count as known up to this age.
pub const SQL_AGE_MS_MAX: u64 = 5_000;

/// The reports on one pair.
pub struct Reports {
    members: BTreeMap<RegionId, Option<(u64, MemberReport)>>,
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

    fn get(&self, region: &RegionId) -> Option<&(u64, MemberReport)> {
        self.members.get(region)?.as_ref()
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
    pub fn newest_record(&self) -> Option<(Version, PairRecord, u64)> {
        self.members
            .values()
            .flatten()
            .filter_map(|(age, report)| {
                let (version, record, inner) = report.record.as_ref()?;
                Some((*version, record.clone(), age.saturating_add(*inner)))
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
            report_age_ms: Some(*age),
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
                .map(|remaining| remaining.saturating_sub(*age)),
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

/// A pair with everything known of it.
pub fn pair_view(
    state: &CoreState,
    links: &Links,
    (pair, version, spec): (&PairId, u64, &PairSpec),
    (now, now_ms): (Tick, i64),
) -> PairView {
    let reports = Reports::collect(links, pair, spec, now);
    let record = reports.newest_record();
    let journalled = state.pair(pair).and_then(|known| known.newest_epoch());
    // The journals may know a newer epoch than any register read that was reported; its holder and
    // ledger are then not taken from the older register.
    let behind = match (&record, &journalled) {
        (Some((_, record, _)), Some((epoch, _))) => record.epoch < *epoch,
        _ => false,
    };
    let record = record.filter(|_| !behind);
    let epoch = record.as_ref().map(|(_, record, _)| record.epoch);
    let newest = record.as_ref().map(|(_, record, age)| (record, *age));
    let takeover = takeover::view(spec, newest, &reports);
    PairView {
        spec: spec.clone(),
        version,
        epoch: epoch.or_else(|| journalled.map(|(epoch, _)| epoch)),
        holder: match &record {
            Some((_, record, _)) => record.holder.clone(),
            None => journalled.map(|(_, known)| known.holder.clone()),
        },
        resting: record.as_ref().and_then(|(_, record, _)| record.resting().cloned()),
        barred: record.as_ref().is_some_and(|(_, one, _)| one.paused && one.holder.is_some()),
        record_age_ms: record.as_ref().map(|(_, _, age)| *age),
        in_sync: record.as_ref().map(|(_, record, _)| record.in_sync.keys().cloned().collect()),
        members: reports
            .members
            .into_iter()
            .map(|(region, report)| {
                let shown = |(age, report)| {
                    let age_ms = if planted(Bug::AgeNotShown) { 0 } else { age };
                    AgedReport { age_ms, report }
                };
                (region, report.map(shown))
            })
            .collect(),
        not_understood: spec
            .members
            .keys()
            .filter_map(|region| Some((region.clone(), links.not_understood(region, pair)?)))
            .collect(),
        acceptors: spec
            .members
            .keys()
            .filter_map(|region| {
                let (age, acceptors) = links.acceptors(region, now)?;
                Some((region.clone(), AgedAcceptors { age_ms: millis(age), acceptors }))
            })
            .collect(),
        traffic: spec
            .members
            .keys()
            .filter_map(|region| {
                let (age, mut switches) = links.traffic(region, now)?;
                switches.retain(|_, switch| switch.pair == *pair);
                let told = AgedSwitches { age_ms: millis(age), switches };
                (!told.switches.is_empty()).then(|| (region.clone(), told))
            })
            .collect(),
        automation: state
            .pauses(now_ms)
            .into_iter()
            .find(|pause| pause.pair.as_ref().is_none_or(|only| only == pair)),
        operation: state.under_way_on(pair).map(|operation| operation.id.clone()),
        takeover,
    }
}
