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
use continuum_domain::{PairId, RegionId, Tick};
use continuum_runtime::SharedClock;

pub(crate) use asks::{Around, Asks, Done, Wish};

use super::Cluster;
use super::status::Says;
use crate::config::ClusterMember;

/// A watch begins anew every 20 seconds; what was not heard of for longer is not known.
const SILENCE_MAX: Duration = Duration::from_secs(60);

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
        let health = {
            let seen = self.seen();
            let schedules = seen.get(&home.cluster).and_then(|seen| seen.schedules.known(now));
            schedules.map(|all| {
                let wall = self.0.clock.wall_ms();
                backups::health(&home.cluster, &standing, all.values(), wall)
            })
        };
        told.last_completed = standing.completed;
        told.running = standing.running;
        told.last_failed = standing.failed;
        let says = health.map(|(status, reason, text)| Says::new(status, reason, text));
        Some((told, says.unwrap_or_else(|| unseen("ScheduledBackup"))))
    }

    /// What the metrics tell.
    pub fn look(&self) -> Vec<Told> {
        let (now, wall) = (self.0.clock.now(), self.0.clock.wall_ms());
        let told = |home: &Home| {
            let standing = self.standing(&home.cluster, now)?;
            // One of the future has no age: a clock is wrong.
            let age_ms = standing.completed_ms.and_then(|ended| u64::try_from(wall - ended).ok());
            Some(Told { pair: home.pair.clone(), age_ms, failures: standing.failures })
        };
        self.0.homes.iter().filter_map(told).collect()
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
