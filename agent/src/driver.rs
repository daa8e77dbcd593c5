//! One pair: the machine's loop, and the watchers that feed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_cnpg_pair::DataPlane;
use continuum_dns::{HealthNames, NameService};
use continuum_domain::observation::ProcessState;
use continuum_domain::pair::types::{Effect, Event, SessionView};
use continuum_domain::pair::{PairMachine, PairStatus};
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, RegionId, Tick, Timing};
use continuum_runtime::{SharedClock, seed};
use continuum_witness::RegisterStore;
use tokio::sync::{mpsc, oneshot, watch};

use crate::beats::Beats;
use crate::core_link::CoreHandle;
use crate::directives::DirectiveDesk;
use crate::edges::Onlooker;
use crate::effects::Performer;
use crate::journal::Journal;
use crate::names::{NameProviders, NamesSeen};
use crate::peers::Peers;
use crate::session_reads::SessionReads;
use crate::store::StateDisk;

/// Events waiting for the machine at most; senders wait beyond that.
const EVENTS_MAX: usize = 1_024;
/// Routine interval of looks at PostgreSQL, and the one while a move or a proof goes on.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(100);
const OBSERVE_EAGERLY: Duration = Duration::from_millis(5);

/// What a driver is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub region: RegionId,
    pub timing: Timing,
    pub clock: SharedClock,
    pub store: Arc<dyn RegisterStore>,
    pub sessions: SessionReads,
    pub plane: Arc<dyn DataPlane>,
    pub names: Vec<Arc<dyn NameService>>,
    pub name_providers: NameProviders,
    pub resolvers: Arc<dyn HealthNames>,
    pub peers: Peers,
    pub core: CoreHandle,
    pub beats: Beats,
    pub journal: Journal,
    pub state: StateDisk,
    pub onlooker: Option<Onlooker>,
    pub directives: DirectiveDesk,
}

/// Brings events to a pair's machine. Its queue holds pointers: it keeps dozens of slots ready for every pair,
/// each as large as the largest event.
#[derive(Clone)]
pub(crate) struct Events(mpsc::Sender<Box<Event>>);

/// The pair has ended.
#[derive(Debug)]
pub(crate) struct Ended;

impl Events {
    /// Waits for room where too many wait already.
    pub async fn send(&self, event: Event) -> Result<(), Ended> {
        self.0.send(Box::new(event)).await.map_err(|_| Ended)
    }
}

/// What others may ask of a running pair.
#[derive(Clone)]
pub(crate) struct PairHandle {
    pub events: Events,
    pub status: watch::Receiver<PairStatus>,
    pub plane: Arc<dyn DataPlane>,
    pub promises: PromiseDesk,
    pub names: NamesSeen,
}

/// Answers to promise requests, by request number.
#[derive(Clone, Default)]
pub(crate) struct PromiseDesk(Arc<std::sync::Mutex<(u64, Waiting)>>);

type Waiting = BTreeMap<u64, oneshot::Sender<Result<(), String>>>;

impl PromiseDesk {
    fn inner(&self) -> std::sync::MutexGuard<'_, (u64, Waiting)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A number for a new request and where its answer will come.
    pub fn open(&self) -> (u64, oneshot::Receiver<Result<(), String>>) {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.inner();
        inner.0 += 1;
        let request = inner.0;
        inner.1.insert(request, sender);
        (request, receiver)
    }

    pub fn answer(&self, request: u64, answer: Result<(), String>) {
        if let Some(sender) = self.inner().1.remove(&request)
            && sender.send(answer).is_err()
        {
            tracing::debug!(request, "nobody waits for this promise any more");
        }
    }
}

/// Starts the machine of one pair with its watchers.
pub(crate) async fn start(
    parts: Parts,
    spec: PairSpec,
    version: u64,
    session: watch::Receiver<SessionView>,
) -> std::io::Result<PairHandle> {
    let pair = spec.id.clone();
    let promised = parts.state.read_promise(&pair).await?;
    let now = parts.clock.now();
    let promised_until = promised.map(|hold| now + hold);
    let machine = PairMachine::new(
        parts.region.clone(),
        parts.timing,
        spec.clone(),
        version,
        now,
        promised_until,
    );
    let (sender, inbox) = mpsc::channel(EVENTS_MAX);
    let events = Events(sender);
    let (status_sender, status) = watch::channel(machine.status(now));
    let promises = PromiseDesk::default();
    let (eager, hurry) = watch::channel(false);
    let plane = parts.plane.clone();

    seed::spawn(forward_session(session, events.clone()));
    seed::spawn(parts.beats.clone().forward(events.clone()));
    seed::spawn(forward_core_link(parts.core.up(), events.clone()));
    seed::spawn(observe(plane.clone(), status.clone(), events.clone(), hurry));
    let performer = Box::new(Performer::new(parts.clone(), spec, events.clone(), promises.clone()));
    if let Some(until) = promised_until {
        performer.forget_promise_at(until);
    }
    let steps = Box::new(Steps { machine, clock: parts.clock, onlooker: parts.onlooker, eager });
    let names = performer.names();
    seed::spawn(steps.run(performer, inbox, status_sender));
    tracing::info!(%pair, "pair started");
    Ok(PairHandle { events, status, plane, promises, names })
}

/// The machine of a pair, with what its steps need.
struct Steps {
    machine: PairMachine,
    clock: SharedClock,
    onlooker: Option<Onlooker>,
    eager: watch::Sender<bool>,
}

impl Steps {
    /// Both are boxed: a future keeps room for what it is called with twice.
    async fn run(
        mut self: Box<Self>,
        mut performer: Box<Performer>,
        mut inbox: mpsc::Receiver<Box<Event>>,
        status: watch::Sender<PairStatus>,
    ) {
        loop {
            let now = self.clock.now();
            let wake = self.machine.next_wake(now);
            let pause = now.until(wake).max(Duration::from_millis(1));
            let event = tokio::select! {
                biased;
                event = inbox.recv() => match event {
                    Some(event) => *event,
                    None => return,
                },
                () = tokio::time::sleep(pause) => Event::Wake,
            };
            if let Event::Spec(_, spec) = &event {
                performer.spec_changed(spec.clone());
            }
            let now = self.clock.now();
            let effects = self.step(now, event);
            let seen = self.machine.status(now);
            for effect in effects {
                performer.perform(effect, &seen);
            }
            status.send_replace(seen);
        }
    }

    fn step(&mut self, now: Tick, event: Event) -> Vec<Effect> {
        if let Some(onlooker) = &self.onlooker {
            onlooker(&self.machine, now, &event);
        }
        let effects = self.machine.step(now, event);
        let quiet = effects.iter().all(|effect| {
            matches!(effect, Effect::ReadPair | Effect::ReadSession { .. } | Effect::Arm { .. })
        });
        let eager = self.machine.eager();
        self.eager.send_if_modified(|known| std::mem::replace(known, eager) != eager);
        if !quiet {
            tracing::trace!(pair = %self.machine.pair_id(), "step with effects");
        }
        effects
    }
}

async fn forward_session(mut session: watch::Receiver<SessionView>, events: Events) {
    loop {
        let view = *session.borrow_and_update();
        if events.send(Event::Session(view)).await.is_err() || session.changed().await.is_err() {
            return;
        }
    }
}

async fn forward_core_link(mut up: watch::Receiver<bool>, events: Events) {
    loop {
        let now_up = *up.borrow_and_update();
        if events.send(Event::CoreLink(now_up)).await.is_err() || up.changed().await.is_err() {
            return;
        }
    }
}

/// Looks at PostgreSQL by SQL while it runs. A look that is wanted sooner does not wait for the routine
/// one: while a proof goes on, client commits wait for what the next look shows.
async fn observe(
    plane: Arc<dyn DataPlane>,
    mut status: watch::Receiver<PairStatus>,
    events: Events,
    mut hurry: watch::Receiver<bool>,
) {
    loop {
        let process = status.borrow_and_update().actuator.as_ref().map(|guard| guard.process);
        if process == Some(ProcessState::Running) {
            let observation = plane.observe().await;
            if events.send(Event::Observed(observation)).await.is_err() {
                return;
            }
            if *hurry.borrow() {
                tokio::time::sleep(OBSERVE_EAGERLY).await;
                continue;
            }
            tokio::select! {
                biased;
                wanted = hurry.wait_for(|hurry| *hurry) => if wanted.is_err() { return },
                () = tokio::time::sleep(OBSERVE_INTERVAL) => {}
            }
        } else if status.changed().await.is_err() {
            return;
        }
    }
}

/// Follows the guard's state until it stops answering.
pub(crate) async fn watch_guard(
    plane: Arc<dyn DataPlane>,
    mut seen: continuum_domain::observation::ActuatorStatus,
    events: Events,
    pair: PairId,
) {
    loop {
        let event = match plane.changed(&seen).await {
            Ok(status) => {
                seen = status.clone();
                Event::Status(status)
            }
            Err(error) => {
                tracing::warn!(%pair, %error, "guard lost");
                let lost = Event::GuardLost(error.to_string());
                if events.send(lost).await.is_err() {
                    tracing::debug!(%pair, "pair ended");
                }
                return;
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}
