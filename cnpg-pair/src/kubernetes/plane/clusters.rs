//! One Cluster at its API server: read, written under this agent's generation, and watched.

use std::time::Duration;

use continuum_domain::Generation;
use futures_util::StreamExt as _;
use kube::api::{DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::ApiResource;
use kube::{Api, Resource as _};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{ApiClients, marks};
use crate::kubernetes::cnpg::Cluster;
use crate::kubernetes::foreign::{self, FIELD_MANAGER};
use crate::kubernetes::patches::{ClusterPatch, PatchError};
use crate::plane::PlaneError;

/// Longest wait for one answer of the API server.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Seconds after which the API server ends a watch, to be begun anew.
const WATCH_SECONDS: u32 = 240;
/// After what silence a watch is begun anew by ourselves: the server should have ended it before.
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// How often a write is tried that others were quicker than.
const TRIES: usize = 10;
/// How many answers may be lost on the way.
const LOST_MAX: u32 = 3;
/// Pause before the next try.
const AGAIN: Duration = Duration::from_millis(20);

/// A Cluster as it was read. An agent keeps one of each: what nobody looks at is let go of.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `spec.postgresql.synchronous`, all of it: it is compared and replaced whole. Null where there is none.
    pub synchronous: Value,
    /// What is decided on.
    pub cluster: Cluster,
}

impl Seen {
    pub fn read(mut raw: Value) -> Result<Self, PlaneError> {
        let mut cluster =
            Cluster::deserialize(&raw).map_err(|error| failed("reading the Cluster", &error))?;
        foreign::keep_writers_of_the_role(&mut cluster);
        let synchronous = raw.pointer_mut("/spec/postgresql/synchronous").map(Value::take);
        Ok(Self { synchronous: synchronous.unwrap_or_default(), cluster })
    }

    /// The pod of the instance that leads it.
    pub fn pod(&self) -> Option<&str> {
        let status = self.cluster.status.as_ref()?;
        status.current_primary.as_deref().filter(|name| !name.is_empty())
    }
}

/// The way to one Cluster.
#[derive(Clone)]
pub(crate) struct Clusters {
    api: Api<DynamicObject>,
    watched: Api<DynamicObject>,
    name: String,
}

impl Clusters {
    pub fn new(clients: ApiClients, namespace: &str, name: &str) -> Self {
        let resource = ApiResource::erase::<Cluster>(&());
        debug_assert_eq!(resource.kind, Cluster::kind(&()));
        let api = |client| Api::namespaced_with(client, namespace, &resource);
        let ApiClients { asking, watching, .. } = clients;
        Self { api: api(asking), watched: api(watching), name: name.to_owned() }
    }

    /// Reads it.
    pub async fn get(&self) -> Result<Seen, PlaneError> {
        let what = format!("reading the Cluster {}", self.name);
        let read = tokio::time::timeout(ANSWER_LIMIT, self.api.get(&self.name)).await;
        let object = read
            .map_err(|_| PlaneError::GuardLost(format!("{what}: no answer")))?
            .map_err(|error| refused_or_lost(&what, &error))?;
        Seen::read(serde_json::to_value(object).map_err(|error| failed(&what, &error))?)
    }

    /// Makes a patch of what is read and sends it, again with what is read then where somebody was
    /// quicker. `None` where there was nothing to do. After a lost answer it may have taken effect.
    pub async fn change(
        &self,
        what: &str,
        generation: Generation,
        make: impl Fn(&Seen) -> Result<ClusterPatch, PatchError> + Send + Sync,
    ) -> Result<Option<Seen>, PlaneError> {
        let mut lost = 0;
        for _ in 0..TRIES {
            let seen = match self.get().await {
                Err(PlaneError::GuardLost(_)) if lost < LOST_MAX => {
                    lost += 1;
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                seen => seen?,
            };
            // Also where there is nothing to do: what stands there is not this agent's any more (R4).
            marks::is_had_by(&seen.cluster, generation)?;
            let patch = match make(&seen) {
                Ok(patch) => patch,
                Err(PatchError::Already) => return Ok(None),
                Err(error @ (PatchError::Stale { .. } | PatchError::Token(_))) => {
                    return Err(PlaneError::Refused(error.to_string()));
                }
                Err(error) => return Err(failed(what, &error)),
            };
            let patch = marks::under(patch, &seen.cluster, generation)?;
            match self.send(what, &patch).await {
                Err(Unsent::Outrun) => tokio::time::sleep(AGAIN).await,
                // It may have taken effect, which the next read shows; one that lands later than that
                // finds another object than it tests for.
                Err(Unsent::Other(PlaneError::GuardLost(_))) if lost < LOST_MAX => {
                    lost += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                Err(Unsent::Other(error)) => return Err(error),
                Ok(seen) => return Ok(Some(seen)),
            }
        }
        Err(failed(what, &"others change the Cluster all the time"))
    }

    /// Takes the Cluster for a new agent (R4): from here on the patches of older ones fail their test.
    pub async fn take(&self) -> Result<(Generation, Seen), PlaneError> {
        let what = "taking the Cluster";
        for _ in 0..TRIES {
            let seen = self.get().await?;
            let next = marks::generation(&seen.cluster)?.unwrap_or(Generation(0)).next();
            let patch = marks::take(&seen.cluster, next).map_err(|error| failed(what, &error))?;
            match self.send(what, &patch).await {
                Err(Unsent::Outrun) => tokio::time::sleep(AGAIN).await,
                Err(Unsent::Other(error)) => return Err(error),
                Ok(seen) => return Ok((next, seen)),
            }
        }
        Err(failed(what, &"others change the Cluster all the time"))
    }

    async fn send(&self, what: &str, patch: &ClusterPatch) -> Result<Seen, Unsent> {
        let operations = serde_json::from_value(json!(patch.operations))
            .map_err(|error| Unsent::Other(failed(what, &error)))?;
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        let patch: Patch<Value> = Patch::Json(operations);
        let sent = self.api.patch(&self.name, &parameters, &patch);
        let answer = match tokio::time::timeout(ANSWER_LIMIT, sent).await {
            Ok(answer) => answer,
            Err(_) => {
                return Err(Unsent::Other(PlaneError::GuardLost(format!("{what}: no answer"))));
            }
        };
        let object = match answer {
            Ok(object) => object,
            // A test that failed is answered as an invalid object, or as a conflict.
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 429) => {
                return Err(Unsent::Outrun);
            }
            Err(kube::Error::Api(status)) if is_failed_test(status.code, &status.message) => {
                return Err(Unsent::Outrun);
            }
            Err(error) => return Err(Unsent::Other(refused_or_lost(what, &error))),
        };
        let raw =
            serde_json::to_value(object).map_err(|error| Unsent::Other(failed(what, &error)))?;
        Seen::read(raw).map_err(Unsent::Other)
    }

    /// Follows the Cluster from the version that was read last, until the watch ends: what is new goes to
    /// `tell`.
    pub async fn follow(&self, version: String, tell: impl Fn(Seen)) -> Result<(), PlaneError> {
        let what = "watching the Cluster";
        let parameters = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        let begun =
            tokio::time::timeout(ANSWER_LIMIT, self.watched.watch(&parameters, &version)).await;
        let stream = begun
            .map_err(|_| PlaneError::GuardLost(format!("{what}: no answer")))?
            .map_err(|error| refused_or_lost(what, &error))?;
        let mut stream = std::pin::pin!(stream);
        loop {
            // A connection that died unseen says nothing any more, and not that it ended either.
            let next = tokio::time::timeout(WATCH_SILENCE, stream.next()).await;
            let Some(event) = next.ok().flatten() else { return Ok(()) };
            match event.map_err(|error| refused_or_lost(what, &error))? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let raw = serde_json::to_value(object).map_err(|error| failed(what, &error))?;
                    tell(Seen::read(raw)?);
                }
                WatchEvent::Deleted(_) => return Err(failed(what, &"the Cluster was deleted")),
                WatchEvent::Bookmark(_) => {}
                // The version is forgotten: read anew.
                WatchEvent::Error(_) => return Ok(()),
            }
        }
    }
}

/// Why a patch did not get through.
enum Unsent {
    /// Somebody changed the Cluster first; nothing was changed by us.
    Outrun,
    Other(PlaneError),
}

fn is_failed_test(code: u16, message: &str) -> bool {
    matches!(code, 400 | 422) && message.to_ascii_lowercase().contains("test")
}

/// An answer of the API server that says no is certain; without one nobody knows.
fn refused_or_lost(what: &str, error: &kube::Error) -> PlaneError {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            failed(what, &status.message)
        }
        error => PlaneError::GuardLost(format!("{what}: {error}")),
    }
}

pub(crate) fn failed(what: &str, reason: &dyn std::fmt::Display) -> PlaneError {
    PlaneError::Failed { what: what.to_owned(), reason: reason.to_string() }
}
