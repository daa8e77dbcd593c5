//! What was seen of a pair's names that are followed: for people; nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::link::{AuthorityReport, NameReport, PlaceReport};
use continuum_dns::records::Records;
use continuum_dns::records::plan::ForeignWrite;
use continuum_dns::verify::Verdict;
use continuum_dns::{NameChange, NameError};
use continuum_domain::{Epoch, Tick};

use crate::report::millis;

/// Shared by the tasks that write and the one that reports.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamesSeen(Arc<Mutex<BTreeMap<String, NameSeen>>>);

#[derive(Clone, Debug, Default)]
struct NameSeen {
    problem: Option<String>,
    epoch: Option<Epoch>,
    records: Records,
    places: BTreeMap<String, PlaceSeen>,
    authorities: BTreeMap<SocketAddr, (Tick, Verdict)>,
    converged: Option<(Epoch, Duration)>,
}

#[derive(Clone, Debug, Default)]
struct PlaceSeen {
    published: Option<(Tick, Epoch)>,
    failures: u64,
    last_error: Option<(Tick, &'static str, String)>,
    foreign_writes: u64,
    last_foreign: Option<(Tick, String)>,
    /// Since when a change is on its way to the servers of the place.
    spreading: Option<Tick>,
}

impl NamesSeen {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, NameSeen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the names of a spec: where each is written, or why it cannot be followed. What was seen
    /// before of what stays is kept.
    pub fn follow(&self, names: BTreeMap<String, Result<BTreeSet<String>, String>>) {
        let mut all = self.all();
        all.retain(|name, _| names.contains_key(name));
        for (name, places) in names {
            let seen = all.entry(name).or_default();
            seen.problem = places.as_ref().err().cloned();
            let places = places.unwrap_or_default();
            seen.places.retain(|label, _| places.contains(label));
            for label in places {
                seen.places.entry(label).or_default();
            }
        }
    }

    /// Why a name cannot be followed from here.
    pub fn problem(&self, name: &str) -> Option<String> {
        self.all().get(name)?.problem.clone()
    }

    /// Notes why a name cannot be followed from here.
    pub fn refuse(&self, name: &str, problem: String) {
        if let Some(seen) = self.all().get_mut(name) {
            seen.problem = Some(problem);
        }
    }

    /// Notes what is wanted at a name.
    pub fn wants(&self, name: &str, epoch: Epoch, records: &Records) {
        if let Some(seen) = self.all().get_mut(name) {
            (seen.problem, seen.epoch) = (None, Some(epoch));
            seen.records = records.clone();
        }
    }

    /// Notes how a publish ended.
    pub fn published(
        &self,
        change: &NameChange,
        label: &str,
        told: Result<Option<ForeignWrite>, NameError>,
        now: Tick,
    ) {
        let mut all = self.all();
        // What was taken out of the spec meanwhile is told of no more.
        let seen = all.get_mut(&change.name);
        let Some(place) = seen.and_then(|seen| seen.places.get_mut(label)) else { return };
        match told {
            Ok(foreign) => {
                place.published = Some((now, change.epoch));
                (place.failures, place.last_error) = (0, None);
                if let Some(foreign) = foreign {
                    place.foreign_writes += 1;
                    place.last_foreign = Some((now, foreign.to_string()));
                }
            }
            Err(error) => {
                tracing::warn!(name = change.name, place = label, epoch = %change.epoch, %error,
                    "name not published");
                place.failures = place.failures.saturating_add(1);
                place.last_error = Some((now, error.code(), error.to_string()));
            }
        }
    }

    /// Notes how far the last change has come at a place: whether it is at all its servers, or that
    /// this is not known.
    pub fn spreads(&self, change: &NameChange, label: &str, everywhere: Option<bool>, now: Tick) {
        let mut all = self.all();
        let seen = all.get_mut(&change.name);
        let Some(place) = seen.and_then(|seen| seen.places.get_mut(label)) else { return };
        if everywhere == Some(false) {
            place.spreading.get_or_insert(now);
        } else if let (Some(since), Some(true)) = (place.spreading.take(), everywhere) {
            let took = now.since(since);
            tracing::info!(name = change.name, place = label, epoch = %change.epoch, ?took,
                "all servers of the place have the change");
        }
    }

    /// Notes what the authorities serve of what is due under an epoch that was won at `since`. How long
    /// it took until all did, when that is seen for the first time.
    pub fn served(
        &self,
        name: &str,
        (epoch, since): (Epoch, Tick),
        verdicts: BTreeMap<SocketAddr, Verdict>,
        now: Tick,
    ) -> Option<Duration> {
        let mut all = self.all();
        let seen = all.get_mut(name)?;
        let served =
            !verdicts.is_empty() && verdicts.values().all(|verdict| *verdict == Verdict::Serves);
        let first = served && seen.converged.is_none_or(|(before, _)| before != epoch);
        let took = first.then(|| now.since(since));
        if let Some(took) = took {
            tracing::info!(name, %epoch, ?took, "every authority serves the name");
            seen.converged = Some((epoch, took));
        }
        let verdicts = verdicts.into_iter();
        seen.authorities = verdicts.map(|(server, verdict)| (server, (now, verdict))).collect();
        took
    }

    /// What is reported at `now`; nothing where no name is followed.
    pub fn report(&self, now: Tick) -> Option<BTreeMap<String, NameReport>> {
        let all = self.all();
        let report = |(name, seen): (&String, &NameSeen)| (name.clone(), seen.report(now));
        (!all.is_empty()).then(|| all.iter().map(report).collect())
    }

    /// What of the names is worth telling at once, in their order.
    pub fn digest(&self) -> Vec<NameDigest> {
        self.all().values().map(NameSeen::digest).collect()
    }
}

/// What of a name is worth telling at once: why it is not followed, how each place stands, and how long its
/// authorities took.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NameDigest {
    problem: Option<String>,
    places: Vec<(Option<Epoch>, bool, u64)>,
    converged: Option<(Epoch, Duration)>,
}

impl NameSeen {
    fn digest(&self) -> NameDigest {
        let place = |place: &PlaceSeen| {
            (place.published.map(|(_, epoch)| epoch), place.failures > 0, place.foreign_writes)
        };
        NameDigest {
            problem: self.problem.clone(),
            places: self.places.values().map(place).collect(),
            converged: self.converged,
        }
    }

    fn report(&self, now: Tick) -> NameReport {
        let authority = |(server, (at, verdict)): (&SocketAddr, &(Tick, Verdict))| {
            let report = AuthorityReport {
                age_ms: millis(*at, now),
                serves: verdict.serves(),
                said: verdict.to_string(),
            };
            (server.to_string(), report)
        };
        NameReport {
            problem: self.problem.clone(),
            epoch: self.epoch,
            ttl: self.records.ttl,
            records: self.records.lines(),
            places: self.places.iter().map(|(at, seen)| (at.clone(), seen.report(now))).collect(),
            authorities: self.authorities.iter().map(authority).collect(),
            converged: self.converged.map(|(epoch, took)| (epoch, millis(Tick(0), Tick(0) + took))),
        }
    }
}

impl PlaceSeen {
    fn report(&self, now: Tick) -> PlaceReport {
        let error = |(at, code, text): &(Tick, &str, String)| {
            (millis(*at, now), (*code).to_owned(), text.clone())
        };
        PlaceReport {
            published_age_ms: self.published.map(|(at, _)| millis(at, now)),
            epoch: self.published.map(|(_, epoch)| epoch),
            failures: self.failures,
            last_error: self.last_error.as_ref().map(error),
            foreign_writes: self.foreign_writes,
            spreading_ms: self.spreading.map(|since| millis(since, now)),
            last_foreign: self
                .last_foreign
                .as_ref()
                .map(|(at, what)| (millis(*at, now), what.clone())),
        }
    }
}
