//! Which replica of an agent acts: by a Lease in the local cluster.
//!
//! This is about not doing things twice, not about safety: two agents of a region that both believe to
//! act are told apart by the incarnation of the region's session at the witness. So an API server that
//! is away ends nobody's turn: whoever acts goes on, and nobody can take over either. No two clocks are
//! compared: a replica takes over once it has seen the same record for a whole duration of its own clock.

use std::time::Duration;

use continuum_domain::Tick;
use continuum_runtime::{SharedClock, seed};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rand::RngExt as _;

use super::Cluster;
use super::client::{Failure, bounded};

/// For how long a record must have stood still before another replica takes over.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often whoever acts renews its record.
pub const RENEW: Duration = Duration::from_secs(4);
/// How often it is looked at by who waits, and tried again after a failure.
const LOOK: Duration = Duration::from_secs(2);
const CONFLICT: u16 = 409;

/// How long the turns are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// See [`DURATION`].
    pub duration: Duration,
    /// See [`RENEW`].
    pub renew: Duration,
    /// How often it is looked at by who waits.
    pub look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { duration: DURATION, renew: RENEW, look: LOOK }
    }
}

/// What is known of the record of somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    seen: Option<(Record, Tick)>,
}

/// A record, by what changes with each renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who acts; empty where the turn was given back.
    pub holder: String,
    /// The version of the object.
    pub version: String,
}

/// What a replica that waits does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It waits.
    Wait,
    /// It writes its own name into the record it has seen.
    Take,
}

impl Patience {
    /// Looks at the record at `now`; a record under the own name is one of an earlier life.
    pub fn look(&mut self, me: &str, record: &Record, now: Tick, duration: Duration) -> Turn {
        if record.holder.is_empty() || record.holder == me {
            return Turn::Take;
        }
        match &self.seen {
            Some((seen, since)) if seen == record => {
                if now.since(*since) >= duration {
                    Turn::Take
                } else {
                    Turn::Wait
                }
            }
            _ => {
                self.seen = Some((record.clone(), now));
                Turn::Wait
            }
        }
    }
}

/// One replica of the agent, and the Lease it wants.
#[derive(Clone)]
pub struct Election {
    leases: Api<Lease>,
    name: String,
    me: String,
    clock: SharedClock,
    pace: Pace,
}

impl Election {
    /// A replica that is named at random: a name that outlives a process would be taken for its own
    /// by the next.
    pub fn new(cluster: &Cluster, name: &str, region: &str, clock: SharedClock) -> Self {
        let leases = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let me = format!("{region}-{}", seed::random_id(12));
        Self { leases, name: name.to_owned(), me, clock, pace: Pace::default() }
    }

    /// The same with other turns.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Under which name this replica acts.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Waits until it is this replica's turn.
    pub async fn win(&self) -> Acting {
        let mut patience = Patience::default();
        loop {
            match self.try_win(&mut patience).await {
                Ok(Some(lease)) => {
                    tracing::info!(lease = self.name, me = self.me, "this replica acts");
                    return Acting { election: self.clone(), lease };
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::warn!(lease = self.name, %failure, "the Lease could not be looked at");
                }
            }
            let jitter = seed::rng().random_range(0.8..1.0);
            tokio::time::sleep(self.pace.look.mul_f64(jitter)).await;
        }
    }

    async fn try_win(&self, patience: &mut Patience) -> Result<Option<Lease>, Failure> {
        let Some(lease) = bounded(self.leases.get_opt(&self.name)).await? else {
            let made = self.written(None);
            return won(bounded(self.leases.create(&PostParams::default(), &made)).await);
        };
        let record = record(&lease);
        match patience.look(&self.me, &record, self.clock.now(), self.pace.duration) {
            Turn::Wait => Ok(None),
            Turn::Take => {
                let taken = self.written(Some(&lease));
                won(bounded(self.leases.replace(&self.name, &PostParams::default(), &taken)).await)
            }
        }
    }

    /// The record with this replica in it, on top of the one that was seen.
    fn written(&self, old: Option<&Lease>) -> Lease {
        let now = Timestamp::from_millisecond(self.clock.wall_ms()).ok().map(MicroTime);
        let before = old.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let mine = before.holder_identity.as_deref() == Some(self.me.as_str());
        let transitions = before.lease_transitions.unwrap_or(0) + i32::from(!mine && old.is_some());
        let metadata = old.map(|lease| lease.metadata.clone()).unwrap_or_else(|| ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        });
        let spec = LeaseSpec {
            acquire_time: if mine { before.acquire_time } else { now.clone() },
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.pace.duration.as_secs().max(1)).ok(),
            lease_transitions: Some(transitions),
            renew_time: now,
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

/// Somebody else was quicker: no failure.
fn won(answer: Result<Lease, Failure>) -> Result<Option<Lease>, Failure> {
    match answer {
        Ok(lease) => Ok(Some(lease)),
        Err(failure) if failure.code() == Some(CONFLICT) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn record(lease: &Lease) -> Record {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    Record { holder: holder.unwrap_or_default(), version }
}

/// A replica that acts.
pub struct Acting {
    election: Election,
    lease: Lease,
}

impl std::fmt::Debug for Acting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Acting({})", self.election.me)
    }
}

impl Acting {
    /// Renews the record. Completes with the name of whoever else is in it: then this replica stops.
    /// An API server that is away, or refuses, ends nothing.
    pub async fn keep(&mut self) -> String {
        loop {
            tokio::time::sleep(self.election.pace.renew).await;
            match self.renew().await {
                Ok(None) => {}
                Ok(Some(other)) => return other,
                Err(failure) => {
                    tracing::warn!(%failure, "the Lease is not renewed; this replica goes on");
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<Option<String>, Failure> {
        let Election { leases, name, .. } = &self.election;
        let renewed = self.election.written(Some(&self.lease));
        match bounded(leases.replace(name, &PostParams::default(), &renewed)).await {
            Ok(lease) => {
                self.lease = lease;
                return Ok(None);
            }
            Err(failure) if failure.code() == Some(CONFLICT) => {}
            Err(failure) if failure.code() == Some(404) => {
                // Deleted by hand: made anew, unless somebody was quicker, which the next turn shows.
                self.lease.metadata = ObjectMeta { name: Some(name.clone()), ..Default::default() };
                let made = self.election.written(None);
                if let Some(lease) =
                    won(bounded(leases.create(&PostParams::default(), &made)).await)?
                {
                    self.lease = lease;
                    return Ok(None);
                }
            }
            Err(failure) => return Err(failure),
        }
        // The own write whose answer was lost, somebody's label, or another holder.
        let Some(lease) = bounded(leases.get_opt(name)).await? else { return Ok(None) };
        let holder = record(&lease).holder;
        if holder == self.election.me {
            self.lease = lease;
            return Ok(None);
        }
        Ok(Some(if holder.is_empty() { "nobody".to_owned() } else { holder }))
    }

    /// Gives the turn back, so that the next replica need not wait.
    pub async fn release(mut self) {
        if let Some(spec) = &mut self.lease.spec {
            spec.holder_identity = None;
        }
        let Election { leases, name, .. } = &self.election;
        if let Err(failure) =
            bounded(leases.replace(name, &PostParams::default(), &self.lease)).await
        {
            tracing::info!(%failure, "the Lease is not given back; it runs out by itself");
        }
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
