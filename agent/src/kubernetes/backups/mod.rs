//! Backups of the Clusters that this agent runs members of: seen by watch, asked for on demand, told in the
//! status of their `CnpgPair` and by metrics.
//!
//! Nothing is watched for a pair that wants no backups.

mod asks;
mod follow;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_cnpg_pair::kubernetes::backups::{self, Standing};
use continuum_cnpg_pair::kubernetes::cnpg::{Backup, ScheduledBackup};
use continuum_cnpg_pair::kubernetes::crd::{CnpgPairSpec, ConditionStatus, RegionBackups};
use continuum_cnpg_pair::kubernetes::gates;
use continuum_control_api::link::BackupsReport;
use continuum_domain::observation::Hindrance;
use continuum_domain::{PairId, RegionId, Tick};
use continuum_runtime::SharedClock;

pub(crate) use asks::{Around, Asks, Done, Wish};

use super::Cluster;
use super::status::Says;
use crate::config::ClusterMember;

/// A watch begins anew every 20 seconds; what was not heard of for longer is not known.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest text of a report: an operator's errors have no bound.
const REPORT_CHARS_MAX: usize = 400;

/// What is seen of one Cluster's backups.
#[derive(Default)]
struct Seen {
    backups: Kind<Backup>,
    schedules: Kind<ScheduledBackup>,
}

/// The objects of one kind, by name.
struct Kind<K> {
    /// `None` until they were listed.
    all: Option<BTreeMap<String, K>>,
    /// When the API server was last heard of.
    heard: Option<Tick>,
}

impl<K> Default for Kind<K> {
    fn default() -> Self {
        Self { all: None, heard: None }
    }
}

impl<K> Kind<K> {
    /// What there is, if that is known at `now`.
    fn known(&self, now: Tick) -> Option<&BTreeMap<String, K>> {
        let fresh = self.heard.is_some_and(|heard| now.since(heard) <= SILENCE_MAX);
        self.all.as_ref().filter(|_| fresh)
    }
}

/// The Cluster of a pair here.
#[derive(Clone, Debug)]
struct Home {
    pair: PairId,
    namespace: String,
    cluster: String,
    kubeconfig: Option<std::path::PathBuf>,
}

struct Inner {
    region: RegionId,
    homes: Vec<Home>,
    clock: SharedClock,
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// What the metrics tell of a Cluster's backups; what is not known is absent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub pair: PairId,
    pub age_ms: Option<u64>,
    pub failures: u32,
    pub well: Option<bool>,
}

/// The desk. Cloned handles share it.
#[derive(Clone)]
pub(crate) struct BackupDesk(Arc<Inner>);

impl BackupDesk {
    /// A desk for these members; it asks nobody yet.
    pub fn new(region: &RegionId, members: &[ClusterMember], clock: &SharedClock) -> Self {
        let home = |member: &ClusterMember| {
            Some(Home {
                pair: member.id.clone(),
                namespace: member.namespace.clone(),
                cluster: member.clusters.get(region)?.clone(),
                kubeconfig: member.kubeconfig.clone(),
            })
        };
        Self(Arc::new(Inner {
            region: region.clone(),
            homes: members.iter().filter_map(home).collect(),
            clock: clock.clone(),
            seen: Mutex::default(),
        }))
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Cluster here of these two, if this agent runs it.
    fn home(&self, spec: &CnpgPairSpec) -> Option<&Home> {
        let region = self.0.region.as_str();
        let own = match region {
            _ if spec.primary_region == region => &spec.primary_cluster,
            _ if spec.replica_region == region => &spec.replica_cluster,
            _ => return None,
        };
        self.0.homes.iter().find(|home| home.cluster == *own)
    }

    /// Begins to watch the backups of a pair that wants some, once. `agents` is the cluster that the agent
    /// itself is in.
    pub fn follow(&self, spec: &CnpgPairSpec, agents: &Cluster) {
        let Some(home) = self.home(spec).filter(|_| spec.backups.is_some()) else { return };
        let mut seen = self.seen();
        if !seen.contains_key(&home.cluster) {
            seen.insert(home.cluster.clone(), Seen::default());
            follow::begin(self, home.clone(), agents.clone());
        }
    }

    fn learn<T>(&self, cluster: &str, change: impl FnOnce(&mut Seen) -> T) -> Option<T> {
        self.seen().get_mut(cluster).map(change)
    }

    /// What is known of a Cluster's backups at `now`.
    fn standing(&self, cluster: &str, now: Tick) -> Option<Standing> {
        let seen = self.seen();
        let all = seen.get(cluster)?.backups.known(now)?;
        Some(backups::standing(cluster, all.values()))
    }

    /// How far the `Backup` of a request is: `None` while that is not known, and nothing where there is
    /// none.
    fn of_request(&self, cluster: &str, request: &str) -> Option<Option<Backup>> {
        let seen = self.seen();
        let all = seen.get(cluster)?.backups.known(self.0.clock.now())?;
        let found = all.get(&backups::name_of(cluster, request)).cloned();
        Some(found.filter(|found| backups::is_of(found, cluster, request)))
    }

    /// The part of a status that is about this region's backups, and its condition; nothing where none are
    /// wanted.
    pub fn status(&self, spec: &CnpgPairSpec, asks: &Asks) -> Option<(RegionBackups, Says)> {
        spec.backups.as_ref()?;
        let mut told = RegionBackups {
            region: self.0.region.to_string(),
            handled_requests: asks.handled().to_vec(),
            ..Default::default()
        };
        let Some(home) = self.home(spec) else {
            let text =
                "this agent runs no member of the pair: how its backups are is not known here";
            return Some((told, Says::new(ConditionStatus::Unknown, "NoMember", text)));
        };
        told.last_request = asks.told(|request| self.of_request(&home.cluster, request).flatten());
        let now = self.0.clock.now();
        let Some(standing) = self.standing(&home.cluster, now) else {
            return Some((told, unseen("Backup")));
        };
        let says = self.health(&home.cluster, &standing, now);
        told.last_completed = standing.completed;
        told.running = standing.running;
        told.last_failed = standing.failed;
        Some((told, says))
    }

    /// How a Cluster's backups are, by its schedules.
    fn health(&self, cluster: &str, standing: &Standing, now: Tick) -> Says {
        let seen = self.seen();
        let schedules = seen.get(cluster).and_then(|seen| seen.schedules.known(now));
        let Some(all) = schedules else { return unseen("ScheduledBackup") };
        let wall = self.0.clock.wall_ms();
        let (status, reason, text) = backups::health(cluster, standing, all.values(), wall);
        Says::new(status, reason, text)
    }

    /// The Cluster of a pair here whose backups are followed.
    fn followed(&self, pair: &PairId) -> Option<&Home> {
        let home = self.0.homes.iter().find(|home| home.pair == *pair)?;
        self.seen().contains_key(&home.cluster).then_some(home)
    }

    /// What a report says of a pair's backups here; nothing where they are not followed.
    pub fn report(&self, pair: &PairId) -> Option<BackupsReport> {
        let home = self.followed(pair)?;
        let (now, wall) = (self.0.clock.now(), self.0.clock.wall_ms());
        let standing = self.standing(&home.cluster, now);
        let says = match &standing {
            Some(standing) => self.health(&home.cluster, standing, now),
            None => unseen("Backup"),
        };
        Some(BackupsReport {
            well: truth(says.status),
            reason: says.reason.into(),
            text: says.message.chars().take(REPORT_CHARS_MAX).collect(),
            completed_age_ms: standing.as_ref().and_then(|standing| age_ms(standing, wall)),
            failures: standing.map(|standing| standing.failures),
        })
    }

    /// What a planned move away from a pair's Cluster here would end, where backups are followed.
    pub fn bars_leaving(&self, pair: &PairId) -> Option<Hindrance> {
        let home = self.followed(pair)?;
        let running = {
            let seen = self.seen();
            let all =
                seen.get(&home.cluster).and_then(|seen| seen.backups.known(self.0.clock.now()));
            all.map(|all| backups::running(&home.cluster, all.values()))
        };
        gates::backup(running.as_deref())
    }

    /// What the metrics tell.
    pub fn look(&self) -> Vec<Told> {
        let (now, wall) = (self.0.clock.now(), self.0.clock.wall_ms());
        let told = |home: &Home| {
            let standing = self.standing(&home.cluster, now)?;
            Some(Told {
                pair: home.pair.clone(),
                age_ms: age_ms(&standing, wall),
                failures: standing.failures,
                well: truth(self.health(&home.cluster, &standing, now).status),
            })
        };
        self.0.homes.iter().filter_map(told).collect()
    }
}

/// One of the future has no age: a clock is wrong.
fn age_ms(standing: &Standing, wall_ms: i64) -> Option<u64> {
    standing.completed_ms.and_then(|ended| u64::try_from(wall_ms - ended).ok())
}

fn truth(status: ConditionStatus) -> Option<bool> {
    match status {
        ConditionStatus::True => Some(true),
        ConditionStatus::False => Some(false),
        ConditionStatus::Unknown => None,
    }
}

fn unseen(kind: &str) -> Says {
    let text = format!(
        "{kind} objects are not seen: the API server does not answer, does not know the kind, or the agent \
         has no right to list them. Its log has the reason"
    );
    Says::new(ConditionStatus::Unknown, "NotSeen", text)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
