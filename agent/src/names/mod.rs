//! The names of one pair: what they should say, and a task of its own for each place that says it.
//!
//! ```text
//!  PublishNames, each second ──> NameDesk ──┬─ one task per embedded name server and change
//!                                           ├─ line: one per name and server of a provider
//!                                           └─ look: one per name, asks its authorities
//! ```
//!
//! A line has one publish in flight and knows only the newest that is due after it, so that a server
//! that is slow or away delays neither the machine nor any other line.

mod line;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use continuum_dns::provider::places::Places;
use continuum_dns::records::due::{due, paused};
use continuum_dns::records::{Records, Wanted};
use continuum_dns::{NameChange, NameService};
use continuum_domain::name_spec::{absolute, readers};
use continuum_domain::observation::SqlView;
use continuum_domain::pair::PairStatus;
use continuum_domain::spec::{NamePolicy, NameRole, NameSpec, PairSpec, Routing};
use continuum_domain::{Epoch, PairId, RegionId, Tick};
use continuum_runtime::{SharedClock, seed};
use tokio::sync::watch;

use line::{Due, Job};
pub(crate) use seen::{NameDigest, NamesSeen};

use crate::journal::Journal;

/// What an observation says of standbys counts up to this age.
const LAG_AGE_MAX: Duration = Duration::from_secs(2);

/// Providers of an agent's file, by name.
pub type NameProviders = BTreeMap<String, Arc<dyn Places>>;

/// How the names of a pair are published from here.
pub(crate) struct NameDesk {
    pair: PairId,
    region: RegionId,
    clock: SharedClock,
    services: Vec<Arc<dyn NameService>>,
    providers: NameProviders,
    seen: NamesSeen,
    journal: Journal,
    embedded: Vec<NameSpec>,
    followed: BTreeMap<String, Followed>,
}

/// A name at a provider, or one whose authorities are asked.
struct Followed {
    spec: NameSpec,
    authorities: Vec<SocketAddr>,
    /// By the label of the place.
    lines: BTreeMap<String, watch::Sender<Option<Job>>>,
    look: watch::Sender<Option<Due>>,
    /// Since when it is followed.
    opened: Tick,
    readers: BTreeSet<RegionId>,
}

impl NameDesk {
    /// Follows the names of `spec`.
    pub fn new(
        (region, clock): (RegionId, SharedClock),
        services: Vec<Arc<dyn NameService>>,
        providers: NameProviders,
        journal: Journal,
        spec: &PairSpec,
    ) -> Self {
        let mut desk = Self {
            pair: spec.id.clone(),
            region,
            clock,
            services,
            providers,
            seen: NamesSeen::default(),
            journal,
            embedded: Vec::new(),
            followed: BTreeMap::new(),
        };
        desk.spec_changed(spec);
        desk
    }

    /// What was seen of the names that are followed; a handle that goes on showing it.
    pub fn seen(&self) -> NamesSeen {
        self.seen.clone()
    }

    /// Takes up another spec. A name that stays where it is keeps its lines: what it should say comes
    /// with the next publish, after the one in flight.
    pub fn spec_changed(&mut self, spec: &PairSpec) {
        self.embedded = spec.names.iter().filter(|name| name.provider.is_none()).cloned().collect();
        let mut before = std::mem::take(&mut self.followed);
        let mut all = BTreeMap::new();
        for name in spec.names.iter().filter(|name| name.is_followed()) {
            let key = absolute(&name.name);
            let stays =
                |old: &Followed| old.spec.provider == name.provider && old.spec.zone == name.zone;
            let opened = match before.remove(&key).filter(stays) {
                Some(old) => self.checked(name).map(|authorities| Followed {
                    spec: name.clone(),
                    authorities,
                    ..old
                }),
                None => self.open(name),
            };
            let places = opened.map(|followed| {
                let places = followed.lines.keys().cloned().collect();
                self.followed.insert(key, followed);
                places
            });
            if let Err(problem) = &places
                && self.seen.problem(&name.name).as_ref() != Some(problem)
            {
                tracing::error!(pair = %self.pair, name = name.name, problem,
                    "a name of the spec cannot follow the lease from here");
            }
            all.insert(name.name.clone(), places);
        }
        self.seen.follow(all);
    }

    /// The authorities of a name that this agent can keep, or why it can not.
    fn checked(&self, name: &NameSpec) -> Result<Vec<SocketAddr>, String> {
        let listed: Vec<SocketAddr> = name.authorities.iter().map(|one| one.0).collect();
        let Some(wanted) = name.provider.as_deref() else { return Ok(listed) };
        let Some(provider) = self.providers.get(wanted) else {
            return Err(format!("the agent's file has no name_provider {wanted:?}"));
        };
        let takes = provider.takes();
        if name.policy == NamePolicy::Follow && !takes.lua {
            return Err(format!(
                "policy \"follow\" needs LUA records, which provider {wanted} does not keep; use \
                 one of kind powerdns, or policy \"flip\""
            ));
        }
        if name.routing != Routing::Simple && !takes.routing {
            return Err(format!(
                "routing needs health checks of the provider, which {wanted} does not have; use one \
                 of kind route53, or routing \"simple\""
            ));
        }
        Ok(if listed.is_empty() { provider.authorities() } else { listed })
    }

    fn open(&self, name: &NameSpec) -> Result<Followed, String> {
        let authorities = self.checked(name)?;
        let provider = name.provider.as_deref().and_then(|name| self.providers.get(name));
        let zone = name.zone.as_deref().unwrap_or_default();
        let places = provider.map(|provider| provider.in_zone(zone)).transpose();
        let places = places.map_err(|error| error.to_string())?.unwrap_or_default();
        let mut lines = BTreeMap::new();
        for place in places {
            let (jobs, inbox) = watch::channel(None);
            let (label, records) = (place.label.clone(), place.records);
            seed::spawn(line::keep((label, records), inbox, self.seen.clone(), self.clock.clone()));
            lines.insert(place.label, jobs);
        }
        let (look, inbox) = watch::channel(None);
        let told = (self.seen.clone(), self.journal.clone());
        seed::spawn(line::look(inbox, told, self.clock.clone()));
        let (opened, readers) = (self.clock.now(), BTreeSet::new());
        Ok(Followed { spec: name.clone(), authorities, lines, look, opened, readers })
    }

    /// Makes every name say what its spec wants said while the pair rests; `epoch` is the one under
    /// which this region put it to rest.
    fn publish_paused(&mut self, epoch: Epoch) {
        let now = self.clock.now();
        for followed in self.followed.values_mut() {
            let name = &followed.spec;
            let Some(records) = paused(name) else { continue };
            let change = change(&self.pair, &self.region, epoch, name);
            self.seen.wants(&name.name, epoch, &records);
            followed.send(now, None, change, records);
        }
    }

    /// Makes every name say that this region holds `epoch`, as `status` shows the pair. Returns at
    /// once; what comes of it is in [`NamesSeen`].
    pub fn publish(&mut self, epoch: Epoch, status: &PairStatus) {
        let rests = status.record.as_ref().is_some_and(|(_, record, _)| record.resting().is_some());
        if rests {
            return self.publish_paused(epoch);
        }
        for name in &self.embedded {
            self.publish_embedded(epoch, name);
        }
        let now = self.clock.now();
        let lags = lags(status, now);
        for followed in self.followed.values_mut() {
            let name = &followed.spec;
            if let (NameRole::Standby, Some(lag_max)) = (name.role, name.lag_max) {
                followed.readers = readers(&lags, lag_max, &followed.readers);
            }
            let records = match due(&self.pair, name, &self.region, &followed.readers) {
                Ok(records) => records,
                Err(error) => {
                    self.seen.refuse(&name.name, error.to_string());
                    continue;
                }
            };
            let change = change(&self.pair, &self.region, epoch, name);
            self.seen.wants(&name.name, epoch, &records);
            followed.send(now, status.acquired_at, change, records);
        }
    }

    fn publish_embedded(&self, epoch: Epoch, name: &NameSpec) {
        let change = change(&self.pair, &self.region, epoch, name);
        for service in &self.services {
            let (service, change) = (service.clone(), change.clone());
            seed::spawn(async move {
                if let Err(error) = service.publish(&change).await {
                    tracing::warn!(name = change.name, %epoch, %error, "name not published");
                }
            });
        }
    }
}

impl Followed {
    /// Wants it said at `now`, under an epoch that was won at `won` if this process won it.
    fn send(&self, now: Tick, won: Option<Tick>, change: NameChange, records: Records) {
        let wanted = Wanted {
            name: absolute(&change.name),
            pair: change.pair.clone(),
            epoch: change.epoch,
            holder: change.holder.clone(),
            records: records.clone(),
        };
        let job = Job { change, records, at: now };
        for line in self.lines.values() {
            line.send_replace(Some(job.clone()));
        }
        let zone = absolute(self.spec.zone.as_deref().unwrap_or_default());
        let (name, authorities) = (self.spec.name.clone(), self.authorities.clone());
        let (since, from_then) = (won.unwrap_or(now), won.is_some_and(|won| self.opened <= won));
        let due = Due { name, wanted, zone, authorities, at: now, since, from_then };
        self.look.send_replace(Some(due));
    }
}

fn change(pair: &PairId, region: &RegionId, epoch: Epoch, name: &NameSpec) -> NameChange {
    NameChange {
        pair: pair.clone(),
        name: name.name.clone(),
        epoch,
        holder: region.clone(),
        ttl: name.ttl,
    }
}

/// How far each standby is behind by the primary's last look; unknown where it does not stream or
/// the look is old.
fn lags(status: &PairStatus, now: Tick) -> BTreeMap<RegionId, Option<Duration>> {
    let sql = status.observation.sql.as_ref();
    let Some((_, sql)) = sql.filter(|(at, sql)| now.since(*at) <= LAG_AGE_MAX && !sql.in_recovery)
    else {
        return BTreeMap::new();
    };
    sql.standbys.keys().map(|region| (region.clone(), lag(sql, region))).collect()
}

/// PostgreSQL measures no lag of a standby that has nothing left to replay.
fn lag(sql: &SqlView, region: &RegionId) -> Option<Duration> {
    let standby = sql.standbys.get(region).filter(|standby| standby.streaming)?;
    let caught_up = sql.wal.zip(standby.replay).is_some_and(|(wal, replay)| replay >= wal);
    if caught_up { Some(Duration::ZERO) } else { standby.lag_ms.map(Duration::from_millis) }
}

#[cfg(test)]
#[path = "../names_tests.rs"]
mod tests;
