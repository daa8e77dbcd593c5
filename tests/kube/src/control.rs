//! The handle by which a test makes a server misbehave, and reads what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_runtime::{BootClock, Clock};

/// What one request asks for, as faults and rules are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core's.
    pub group: String,
    /// The kind's name in paths.
    pub resource: String,
    /// `status`, `exec`, or empty.
    pub subresource: String,
    /// Empty where none is named.
    pub namespace: String,
    /// Empty where none is named.
    pub name: String,
    /// Who asks: what is in the bearer token, or `admin`.
    pub user: String,
    /// The user agent.
    pub agent: String,
}

/// How a request is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This status is answered and nothing is changed.
    Answer(u16),
    /// 429, with the seconds after which to come back; nothing is changed.
    RetryAfter(u32),
    /// The connection ends and nothing is changed.
    Drop,
    /// The change takes effect, and then the connection ends.
    LoseReply,
    /// The change takes effect, and then this status is answered.
    AnswerAfter(u16),
    /// It is answered as ever, but later.
    Delay(Duration),
}

type Predicate = Box<dyn Fn(&Call) -> bool + Send + Sync>;

struct Fault {
    id: u64,
    effect: Effect,
    left: Option<u32>,
    when: Predicate,
}

/// One request, as it was answered.
#[derive(Clone, Debug)]
pub struct Logged {
    /// What was asked.
    pub call: Call,
    /// Milliseconds since the log began.
    pub at_ms: u64,
    /// The HTTP status; 0 where the connection ended instead.
    pub code: u16,
}

#[derive(Default)]
struct Inner {
    next: u64,
    faults: Vec<Fault>,
    forbidden: Vec<(u64, Predicate)>,
    log: Vec<Logged>,
    since: Option<continuum_domain::Tick>,
}

/// Faults, refusals and the log of one server. Copies are the same handle.
#[derive(Clone, Default)]
pub struct Control(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Control {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Control")
    }
}

impl Control {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Disturbs the next `times` requests that fit, or all of them. The number takes it back.
    pub fn disturb(
        &self,
        effect: Effect,
        times: Option<u32>,
        when: impl Fn(&Call) -> bool + Send + Sync + 'static,
    ) -> u64 {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.faults.push(Fault { id, effect, left: times, when: Box::new(when) });
        id
    }

    /// Refuses every request that fits, as role-based access control does.
    pub fn forbid(&self, when: impl Fn(&Call) -> bool + Send + Sync + 'static) -> u64 {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.forbidden.push((id, Box::new(when)));
        id
    }

    /// Takes one disturbance or refusal back.
    pub fn relent(&self, id: u64) {
        let mut inner = self.inner();
        inner.faults.retain(|fault| fault.id != id);
        inner.forbidden.retain(|(at, _)| *at != id);
    }

    /// Takes all of them back.
    pub fn relent_all(&self) {
        let mut inner = self.inner();
        inner.faults.clear();
        inner.forbidden.clear();
    }

    pub(crate) fn is_forbidden(&self, call: &Call) -> bool {
        self.inner().forbidden.iter().any(|(_, when)| when(call))
    }

    /// What is to happen to a request. The first disturbance that fits counts down.
    pub(crate) fn effect(&self, call: &Call) -> Option<Effect> {
        let mut inner = self.inner();
        let fault =
            inner.faults.iter_mut().find(|fault| fault.left != Some(0) && (fault.when)(call))?;
        if let Some(left) = &mut fault.left {
            *left -= 1;
        }
        Some(fault.effect)
    }

    pub(crate) fn note(&self, call: Call, code: u16) {
        let now = BootClock.now();
        let mut inner = self.inner();
        let since = *inner.since.get_or_insert(now);
        let at_ms = now.0.saturating_sub(since.0) / 1_000_000;
        inner.log.push(Logged { call, at_ms, code });
    }

    /// Every request since the log began.
    #[must_use]
    pub fn requests(&self) -> Vec<Logged> {
        self.inner().log.clone()
    }

    /// Begins the log anew.
    pub fn forget_requests(&self) {
        let mut inner = self.inner();
        inner.log.clear();
        inner.since = Some(BootClock.now());
    }

    /// Requests per minute since the log began, by verb, kind and user agent.
    #[must_use]
    pub fn per_minute(&self) -> BTreeMap<(String, String, String), f64> {
        let inner = self.inner();
        let since = inner.since.unwrap_or_else(|| BootClock.now());
        let nanos = BootClock.now().0.saturating_sub(since.0).max(1);
        let minutes = Duration::from_nanos(nanos).as_secs_f64() / 60.0;
        let mut counted: BTreeMap<_, f64> = BTreeMap::new();
        for Logged { call, .. } in &inner.log {
            let key = (call.verb.clone(), call.resource.clone(), call.agent.clone());
            *counted.entry(key).or_default() += 1.0 / minutes;
        }
        counted
    }
}
