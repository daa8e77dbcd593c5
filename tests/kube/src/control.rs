//! The handle by which a test makes a server misbehave, and reads what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_runtime::{BootClock, Clock};
use tokio::sync::watch;

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
    /// Of a command in a pod: its words, with blanks between them.
    pub command: String,
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

/// Which side of a request its user is cut off at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It is not carried out.
    Before,
    /// It is carried out to its end, and not answered.
    After,
}

/// A user that one of its requests is the last of: from there on nothing of it gets through, as if it had
/// died there.
#[derive(Clone, Debug)]
pub struct Cut {
    id: u64,
    reached: watch::Receiver<bool>,
}

impl Cut {
    /// Returns once that request was there: before it was carried out, or after.
    pub async fn reached(&mut self) {
        // Without its fault it is never reached.
        if self.reached.wait_for(|reached| *reached).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it was there.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        *self.reached.borrow()
    }
}

/// A request that is carried out and whose answer is kept back, until it is released or this is dropped.
#[derive(Debug)]
pub struct Held {
    reached: watch::Receiver<bool>,
    released: watch::Sender<bool>,
}

impl Held {
    /// Returns once it was carried out.
    pub async fn carried_out(&mut self) {
        // A server that is gone carries nothing out.
        if self.reached.wait_for(|reached| *reached).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets the answer go.
    pub fn release(self) {
        self.released.send_replace(true);
    }
}

/// The server's side of one.
pub(crate) struct Holding {
    when: Predicate,
    reached: watch::Sender<bool>,
    released: watch::Receiver<bool>,
}

impl Holding {
    /// Tells that it was carried out, and returns when its answer may go.
    pub async fn wait(mut self) {
        self.reached.send_replace(true);
        // Nobody holds it any more: it may go too.
        let _dropped = self.released.wait_for(|released| *released).await;
    }
}

/// Told when the last request of a user that is cut off was carried out.
pub(crate) type Told = Arc<watch::Sender<bool>>;

struct Severed {
    id: u64,
    user: String,
    side: Side,
    /// Requests that fit until the last one.
    left: u32,
    when: Predicate,
    told: Told,
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
    severed: Vec<Severed>,
    holding: Vec<Holding>,
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

    /// Cuts a user off at the `nth` of its requests that fit, from 1 on.
    pub fn cut(
        &self,
        user: &str,
        (nth, side): (u32, Side),
        when: impl Fn(&Call) -> bool + Send + Sync + 'static,
    ) -> Cut {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        let (told, reached) = watch::channel(false);
        let severed = Severed {
            id,
            user: user.to_owned(),
            side,
            left: nth,
            when: Box::new(when),
            told: Arc::new(told),
        };
        inner.severed.push(severed);
        Cut { id, reached }
    }

    /// Keeps the answer of the next request back that fits; what it asks for is done.
    pub fn hold(&self, when: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Held {
        let (reached, carried_out) = watch::channel(false);
        let (release, released) = watch::channel(false);
        self.inner().holding.push(Holding { when: Box::new(when), reached, released });
        Held { reached: carried_out, released: release }
    }

    /// Whether the answer of a request is kept back.
    pub(crate) fn holding(&self, call: &Call) -> Option<Holding> {
        let mut inner = self.inner();
        let at = inner.holding.iter().position(|holding| (holding.when)(call))?;
        Some(inner.holding.remove(at))
    }

    /// Lets a user in again that was cut off.
    pub fn mend(&self, cut: &Cut) {
        self.inner().severed.retain(|severed| severed.id != cut.id);
    }

    /// What of a request gets through of a user that is being cut off; `None` where it is as ever.
    pub(crate) fn severed(&self, call: &Call) -> Option<(Side, Option<Told>)> {
        let mut inner = self.inner();
        let severed = inner.severed.iter_mut().find(|severed| severed.user == call.user)?;
        if severed.left == 0 {
            return Some((Side::Before, None));
        }
        if !(severed.when)(call) {
            return None;
        }
        severed.left -= 1;
        (severed.left == 0).then(|| (severed.side, Some(severed.told.clone())))
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
        inner.severed.clear();
        inner.holding.clear();
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
