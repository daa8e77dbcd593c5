//! The pairs as the API shows them: what the log says of each, and what its agents said last.
//!
//! Nothing here is kept between two answers. A report is shared and not copied, and its age is taken when
//! it is looked at, so that an answer about all pairs is cheap and still tells of now.

use std::collections::BTreeMap;

use continuum_control_api::rest::{
    AgedAcceptors, AgedReport, AgedSwitches, AutomationPause, Known, LeaseView, PairView,
    REPORT_AGE_MS_MAX,
};
use continuum_domain::mutation::{Bug, planted};
use continuum_domain::operation::Operation;
use continuum_domain::spec::PairSpec;
use continuum_domain::{Epoch, PairId, PairRecord, RegionId, Tick};

use crate::link::registry::{Links, millis};
use crate::state::{CoreState, EpochRecord};
use crate::takeover;
use crate::view::Reports;

/// What is looked up once for all pairs of an answer.
pub struct Scene<'a> {
    state: &'a CoreState,
    links: &'a Links,
    now: Tick,
    pauses: Vec<AutomationPause>,
    under_way: BTreeMap<&'a PairId, &'a Operation>,
}

impl<'a> Scene<'a> {
    /// How it is now.
    pub fn of(state: &'a CoreState, links: &'a Links, (now, now_ms): (Tick, i64)) -> Self {
        let mut under_way: BTreeMap<&PairId, &Operation> = BTreeMap::new();
        for operation in state.unfinished() {
            let newest = under_way.entry(&operation.pair).or_insert(operation);
            if (newest.created_ms, &newest.id) < (operation.created_ms, &operation.id) {
                *newest = operation;
            }
        }
        Self { state, links, now, pauses: state.pauses(now_ms), under_way }
    }

    /// One pair in it.
    pub fn picture(&self, (pair, version, spec): (&'a PairId, u64, &'a PairSpec)) -> Picture<'_> {
        let journalled = self.state.pair(pair).and_then(|known| known.newest_epoch());
        let reports = Reports::collect(self.links, pair, spec, self.now);
        Picture { scene: self, pair, version, spec, reports, journalled }
    }

    /// One pair with everything known of it.
    pub fn view(&self, pair: (&'a PairId, u64, &'a PairSpec)) -> PairView {
        self.picture(pair).view()
    }
}

/// A pair with everything known of it, nothing copied.
pub struct Picture<'a> {
    scene: &'a Scene<'a>,
    pair: &'a PairId,
    version: u64,
    spec: &'a PairSpec,
    reports: Reports,
    journalled: Option<(Epoch, &'a EpochRecord)>,
}

impl Picture<'_> {
    /// Of which pair.
    pub fn pair(&self) -> &PairId {
        self.pair
    }

    /// The newest register and its age.
    ///
    /// The journals may know a newer epoch than any register read that was reported; its holder and
    /// ledger are then not taken from the older register.
    fn record(&self) -> Option<(&PairRecord, u64)> {
        let (_, record, age) = self.reports.newest_record()?;
        let behind = self.journalled.is_some_and(|(epoch, _)| record.epoch < epoch);
        (!behind).then_some((record, age))
    }

    fn epoch(&self) -> Option<Epoch> {
        let journalled = || self.journalled.map(|(epoch, _)| epoch);
        self.record().map(|(record, _)| record.epoch).or_else(journalled)
    }

    fn holder(&self) -> Option<&RegionId> {
        match self.record() {
            Some((record, _)) => record.holder.as_ref(),
            None => self.journalled.map(|(_, known)| &known.holder),
        }
    }

    fn pause(&self) -> Option<&AutomationPause> {
        let fits =
            |pause: &&AutomationPause| pause.pair.as_ref().is_none_or(|only| only == self.pair);
        self.scene.pauses.iter().find(fits)
    }

    /// What says how the pair stands.
    pub fn known(&self) -> Known<'_> {
        let record = self.record();
        let links = self.scene.links;
        let members = self.spec.members.keys();
        Known {
            spec: self.spec,
            epoch: self.epoch(),
            holder: self.holder(),
            resting: record.and_then(|(record, _)| record.resting()),
            barred: record.is_some_and(|(one, _)| one.paused && one.holder.is_some()),
            record_age_ms: record.map(|(_, age)| age),
            in_sync: record.map(|(record, _)| record.in_sync.keys().collect()),
            members: self.reports.members().collect(),
            not_understood: members
                .filter(|region| links.not_understood(region, self.pair).is_some())
                .collect(),
            paused_by: self.pause().map(|pause| pause.actor.as_str()),
        }
    }

    /// Who holds what.
    pub fn lease(&self) -> LeaseView {
        let record = self.record();
        let holder = self.holder();
        let of_holder = self.reports.members().find(|(region, _)| Some(*region) == holder);
        let remaining_ms = of_holder.and_then(|(_, told)| {
            // An old word tells of no lease now, and 0 would be one that has run out.
            let (age, report) = told.filter(|(age, _)| *age <= REPORT_AGE_MS_MAX)?;
            Some(report.lease_remaining_ms?.saturating_sub(age))
        });
        LeaseView {
            pair: self.pair.clone(),
            epoch: self.epoch(),
            holder: holder.cloned(),
            record_age_ms: record.map(|(_, age)| age),
            remaining_ms,
            in_sync: record.map(|(record, _)| record.in_sync.keys().cloned().collect()),
        }
    }

    /// Everything, to be taken away.
    pub fn view(&self) -> PairView {
        let record = self.record();
        let (links, now) = (self.scene.links, self.scene.now);
        let each = || self.spec.members.keys();
        let members = self.reports.members().map(|(region, told)| {
            let shown = |(age, report): (u64, &_)| {
                let age_ms = if planted(Bug::AgeNotShown) { 0 } else { age };
                AgedReport { age_ms, report: Clone::clone(report) }
            };
            (region.clone(), told.map(shown))
        });
        PairView {
            spec: self.spec.clone(),
            version: self.version,
            epoch: self.epoch(),
            holder: self.holder().cloned(),
            resting: record.and_then(|(record, _)| record.resting().cloned()),
            barred: record.is_some_and(|(one, _)| one.paused && one.holder.is_some()),
            record_age_ms: record.map(|(_, age)| age),
            in_sync: record.map(|(record, _)| record.in_sync.keys().cloned().collect()),
            members: members.collect(),
            not_understood: each()
                .filter_map(|region| {
                    Some((region.clone(), links.not_understood(region, self.pair)?))
                })
                .collect(),
            acceptors: each()
                .filter_map(|region| {
                    let (age, acceptors) = links.acceptors(region, now)?;
                    Some((region.clone(), AgedAcceptors { age_ms: millis(age), acceptors }))
                })
                .collect(),
            traffic: each()
                .filter_map(|region| {
                    let (age, switches) = links.traffic(region, self.pair, now)?;
                    let told = AgedSwitches { age_ms: millis(age), switches };
                    (!told.switches.is_empty()).then(|| (region.clone(), told))
                })
                .collect(),
            automation: self.pause().cloned(),
            operation: self.scene.under_way.get(self.pair).map(|operation| operation.id.clone()),
            takeover: takeover::view(self.spec, record, &self.reports),
        }
    }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
