//! Writing a status: what changed, at most once a second, and one write at a time for an object.

use std::time::Duration;

use continuum_domain::Tick;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Failure, MANAGER, bounded};
use super::watch::Backoff;

/// Least time between two writes of one object.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the status of one object.
#[derive(Debug, Default)]
pub(super) struct Writes {
    busy: bool,
    next: Option<Tick>,
    backoff: Backoff,
    /// What was written last, and what the API server made of it: a server that does not know a field
    /// drops it, and is not asked again for that.
    settled: Option<(Value, Value)>,
    sent: Value,
}

impl Writes {
    /// Whether `wanted` is to be written now, where `found` stands there.
    pub fn is_due<S>(&mut self, wanted: &S, found: Option<&S>, now: Tick) -> bool
    where
        S: PartialEq + Serialize,
    {
        // Most looks end here: what is written out for a comparison costs a hundred times as much.
        if found == Some(wanted) || self.busy || self.next.is_some_and(|next| now < next) {
            return false;
        }
        let (wanted, found) = (value(&Some(wanted)), value(&found));
        let settled =
            self.settled.as_ref().is_some_and(|(last, made)| *last == wanted && *made == found);
        if settled || wanted == found {
            return false;
        }
        self.busy = true;
        self.sent = wanted;
        self.next = Some(now + PAUSE);
        true
    }

    /// Whether no write is on its way.
    pub fn is_idle(&self) -> bool {
        !self.busy
    }

    /// A write ended; `Ok` with the status as it stands now.
    pub fn ended(&mut self, result: Result<Value, &Failure>, now: Tick) {
        self.busy = false;
        match result {
            Ok(made) => {
                self.backoff.reset();
                self.settled = Some((std::mem::take(&mut self.sent), made));
            }
            Err(failure) => self.next = Some(now + self.backoff.next(failure).max(PAUSE)),
        }
    }
}

/// Writes the status of the object of that `uid`, and of no other that has its name by now.
pub(super) async fn write<K>(
    api: Api<K>,
    (kind, name, uid): (&'static str, String, String),
    status: Value,
) -> Result<K, Failure>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let object = json!({
        "apiVersion": "dr.openova.io/v1", "kind": kind,
        "metadata": { "name": name, "uid": uid }, "status": status,
    });
    // What others wrote into a status is not asked for: it says what is so.
    let options = PatchParams::apply(MANAGER).force();
    bounded(api.patch_status(&name, &options, &Patch::Apply(object))).await
}

/// A status as it is compared.
pub(super) fn value(status: &impl Serialize) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}
