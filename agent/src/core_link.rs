//! The stream to the control core: the agent dials out, nothing dials in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_control_api::heard::{Heard, NOT_UNDERSTOOD};
use continuum_control_api::link::{
    Dialect, Directive, FromAgent, GrantAnswer, MemberReport, Order, ToAgent, unpack,
};
use continuum_control_api::pb::LinkFrame;
use continuum_control_api::pb::agent_link_client::AgentLinkClient;
use continuum_domain::corroborate::Corroboration;
use continuum_domain::pair::types::{Event, Grant};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role, SharedClock, SharedNetwork, seed};
use continuum_witness::quorum::QuorumHealth;
use futures_util::{StreamExt, stream};
use rand::RngExt;
use tokio::sync::{mpsc, watch};

use crate::beats::Beats;
use crate::beside::Beside;
use crate::config::ServerAddress;
use crate::directives::DirectiveDesk;
use crate::driver::PairHandle;
use crate::journal::Journal;
use crate::kubernetes::desk::CoreDesk;
use crate::report::{Digest, acceptor_reports, member_report};
use crate::store::{Behind, Specs};
use crate::traffic::TrafficDesk;

/// Routine interval of reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Reports are not sent closer together than this, however often the state changes.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
/// A node that does not open the stream within this time is left for the next one; a stream that
/// stands is watched by the channel's own keep-alive.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Journal entries sent in one message at most.
const JOURNAL_BATCH: usize = 100;
/// Outgoing messages waiting at most.
const OUTGOING_MAX: usize = 64;

/// The running pairs, as they come.
pub(crate) type Pairs = Arc<Mutex<BTreeMap<PairId, PairHandle>>>;

/// A running pair by name.
pub(crate) fn find(pairs: &Pairs, pair: &PairId) -> Option<PairHandle> {
    pairs.lock().unwrap_or_else(PoisonError::into_inner).get(pair).cloned()
}

struct Shared {
    up: watch::Sender<bool>,
    outgoing: Mutex<Option<mpsc::Sender<FromAgent>>>,
    requests: Mutex<u64>,
}

/// What pairs use of the link. Cloned handles share it.
#[derive(Clone)]
pub(crate) struct CoreHandle(Arc<Shared>);

impl CoreHandle {
    pub fn new() -> Self {
        let (up, _) = watch::channel(false);
        Self(Arc::new(Shared { up, outgoing: Mutex::default(), requests: Mutex::default() }))
    }

    /// Whether the leader's stream stands.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.0.up.subscribe()
    }

    /// Asks for a grant, if the stream stands; the answer comes as an event of the pair.
    pub fn ask_grant(
        &self,
        pair: &PairId,
        epoch: Epoch,
        trigger: String,
        evidence: String,
        (listed, lag_bytes): (bool, Option<u64>),
        corroboration: Option<Corroboration>,
    ) {
        let mut request = self.0.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *request += 1;
        let message = FromAgent::GrantRequest {
            request: *request,
            pair: pair.clone(),
            epoch,
            trigger,
            evidence,
            listed,
            lag_bytes,
            corroboration: corroboration.map(Heard::from),
        };
        drop(request);
        let outgoing = self.0.outgoing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(outgoing) = outgoing
            && outgoing.try_send(message).is_err()
        {
            tracing::debug!(%pair, "the core's stream is full or gone; asked again later");
        }
    }

    /// Says something, if the stream stands and has room.
    pub fn say(&self, message: FromAgent) -> bool {
        let outgoing = self.0.outgoing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outgoing.is_some_and(|outgoing| outgoing.try_send(message).is_ok())
    }

    pub fn connected(&self, outgoing: Option<mpsc::Sender<FromAgent>>) {
        *self.0.outgoing.lock().unwrap_or_else(PoisonError::into_inner) = outgoing;
    }

    fn set_up(&self, up: bool) {
        self.0.up.send_if_modified(|now| std::mem::replace(now, up) != up);
    }
}

/// What the link is made of.
pub(crate) struct CoreLink {
    pub region: RegionId,
    pub network: SharedNetwork,
    pub clock: SharedClock,
    pub core: Vec<ServerAddress>,
    pub handle: CoreHandle,
    pub journal: Journal,
    pub pairs: Pairs,
    pub beats: Beats,
    pub beside: Beside,
    pub acceptors: Option<QuorumHealth>,
    pub traffic: TrafficDesk,
    pub specs: mpsc::Sender<Specs>,
    pub behind: watch::Receiver<Behind>,
    pub dialect: Dialect,
    pub directives: DirectiveDesk,
    /// Who brings requests of a Kubernetes cluster, and wants to know how pairs stand.
    pub desk: Option<CoreDesk>,
}

impl CoreLink {
    /// Keeps a stream to the leader for ever.
    pub async fn run(self) {
        if self.core.is_empty() {
            return;
        }
        let mut index = 0;
        loop {
            let node = &self.core[index % self.core.len()];
            let leader = self.one_stream(node).await;
            self.handle.connected(None);
            self.handle.set_up(false);
            if let Some(desk) = &self.desk {
                desk.lost();
            }
            let hinted =
                leader.and_then(|name| self.core.iter().position(|node| node.name == name));
            let pause = if hinted.is_some() { 10 } else { seed::rng().random_range(50..200) };
            index = hinted.unwrap_or(index + 1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Serves one stream to its end; returns the leader's name if the node said so.
    async fn one_stream(&self, node: &ServerAddress) -> Option<String> {
        let identity = Identity::new(Role::Core, node.name.as_str());
        let mut client = AgentLinkClient::new(channel(&self.network, &node.address, &identity));
        let (outgoing, queue) = mpsc::channel::<FromAgent>(OUTGOING_MAX);
        let hello = FromAgent::Hello {
            region: self.region.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            journal_seq: self.journal.seq(),
        };
        outgoing.try_send(hello).ok()?;
        if self.desk.is_some() {
            outgoing.try_send(FromAgent::Follow).ok()?;
        }
        let dialect = self.dialect.clone();
        let frames = tokio_stream::wrappers::ReceiverStream::new(queue)
            .flat_map(move |message| stream::iter(dialect.frames(&message)));
        let connected = tokio::time::timeout(CONNECT_DEADLINE, client.connect(frames)).await;
        let mut incoming = match connected {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                tracing::debug!(node = node.name, reason = status.message(), "no stream");
                return None;
            }
            Err(_) => return None,
        };
        self.handle.connected(Some(outgoing.clone()));
        let reporter = seed::spawn(report(
            (self.pairs.clone(), self.beats.clone(), self.behind.clone(), self.beside.clone()),
            (self.acceptors.clone(), self.traffic.clone()),
            self.clock.clone(),
            outgoing.clone(),
        ));
        let poster = seed::spawn(post(self.journal.clone(), outgoing));
        let leader = self.receive(&mut incoming).await;
        reporter.abort();
        poster.abort();
        leader
    }

    async fn receive(&self, incoming: &mut tonic::Streaming<LinkFrame>) -> Option<String> {
        loop {
            let frame = match incoming.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(status) => {
                    tracing::debug!(reason = status.message(), "the core's stream ended");
                    return None;
                }
            };
            match unpack::<ToAgent>(&frame) {
                Ok(ToAgent::NotLeader { leader }) => return leader,
                Ok(message) => self.take_in(message).await,
                Err(error) => {
                    tracing::warn!(code = NOT_UNDERSTOOD, %error, "a message of the core is ignored");
                    // Who says something new is there to be asked.
                    self.handle.set_up(true);
                }
            }
        }
    }

    async fn take_in(&self, message: ToAgent) {
        match message {
            ToAgent::NotLeader { .. } => {}
            ToAgent::Specs { specs, automation_paused } => {
                self.handle.set_up(true);
                if self.specs.send(Specs::received(specs, automation_paused)).await.is_err() {
                    tracing::debug!("the agent is stopping");
                }
            }
            ToAgent::Grant { pair, epoch, answer, .. } => {
                if let Some(granted) =
                    answer.understood().and_then(|one| carried_out(&pair, epoch, one))
                {
                    self.directives.taken(&granted);
                }
                self.tell(&pair, Event::Granted { epoch, grant: grant(answer) }).await;
            }
            ToAgent::Directive(directive) => {
                self.directives.taken(&directive);
                let Some(directive) = self.traffic.take(directive) else { return };
                let pair = directive.pair.clone();
                if let Some(event) = order(directive) {
                    self.tell(&pair, event).await;
                }
            }
            ToAgent::JournalAck { seq } => self.journal.acknowledged(seq),
            ToAgent::Standings { whole, pairs } => {
                if let Some(desk) = &self.desk {
                    desk.told(whole, pairs);
                }
            }
            ToAgent::Answer { request, answer } => {
                if let Some(desk) = &self.desk {
                    desk.answered(request, answer);
                }
            }
        }
    }

    async fn tell(&self, pair: &PairId, event: Event) {
        match find(&self.pairs, pair) {
            Some(handle) => {
                if handle.events.send(event).await.is_err() {
                    tracing::debug!(%pair, "the pair has ended");
                }
            }
            None => {
                tracing::warn!(%pair, ?event, "the core speaks of a pair that does not run here")
            }
        }
    }
}

/// An answer that is not understood allows nothing.
fn grant(answer: Heard<GrantAnswer>) -> Grant {
    match answer {
        Heard::Understood(GrantAnswer::Granted {
            operation, allow_data_loss, by_person, ..
        }) => Grant::Granted { operation, allow_data_loss, by_person },
        Heard::Understood(GrantAnswer::Denied { reasons }) => Grant::Denied(reasons),
        Heard::Understood(GrantAnswer::WaitForApproval { reason }) => Grant::Denied(vec![reason]),
        Heard::Other(other) => {
            let reason = format!("{NOT_UNDERSTOOD}: the core's answer: {}", other.problem);
            Grant::Denied(vec![reason])
        }
    }
}

/// A grant is told of as the order that it is as good as.
fn carried_out(pair: &PairId, epoch: Epoch, answer: &GrantAnswer) -> Option<Directive> {
    let GrantAnswer::Granted { operation, allow_data_loss, trace, .. } = answer else {
        return None;
    };
    Some(Directive {
        operation: operation.clone(),
        pair: pair.clone(),
        epoch,
        order: Order::FailOver { allow_data_loss: *allow_data_loss },
        trace: *trace,
    })
}

/// What a directive is to the pair's machine; nothing, where it is about traffic switches.
fn order(directive: Directive) -> Option<Event> {
    let Directive { operation, epoch, order, .. } = directive;
    Some(match order {
        Order::Checkpoint | Order::HoldTraffic { .. } | Order::ReleaseTraffic => return None,
        Order::SwitchOver { to, deadline_ms } => {
            Event::SwitchOver { operation, epoch, to, deadline: Duration::from_millis(deadline_ms) }
        }
        Order::Rest { deadline_ms } => {
            Event::Rest { operation, epoch, deadline: Duration::from_millis(deadline_ms) }
        }
        Order::AbortSwitchOver => Event::AbortSwitchOver { operation },
        Order::TakeOver { deadline_ms } => {
            Event::TakeOver { operation, epoch, deadline: Duration::from_millis(deadline_ms) }
        }
        Order::KeepOut { region, hold_ms } => {
            let hold = Duration::from_millis(hold_ms);
            Event::KeepOut { operation, epoch, region, hold }
        }
        Order::Rejoin { clone, deadline_ms } => {
            let deadline = Duration::from_millis(deadline_ms);
            Event::Rejoin { operation, epoch, clone, deadline }
        }
        Order::FailOver { allow_data_loss } => {
            Event::FailOver { operation, epoch, allow_data_loss }
        }
    })
}

/// What is reported: the pairs that run, the other agents, the specs that are not understood, and what goes on
/// beside members.
type Shown = (Pairs, Beats, watch::Receiver<Behind>, Beside);

fn reports(
    (pairs, beats, _, beside): &Shown,
    clock: &SharedClock,
) -> BTreeMap<PairId, MemberReport> {
    let now = clock.now();
    pairs
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .map(|(pair, handle)| {
            let mut report = member_report(&handle.status.borrow(), beats, &handle.names, now);
            beside.complete(pair, &mut report);
            (pair.clone(), report)
        })
        .collect()
}

/// What makes the reports of the pairs worth sending at once.
fn digests((pairs, ..): &Shown, clock: &SharedClock) -> Vec<Digest> {
    let now = clock.now();
    let pairs = pairs.lock().unwrap_or_else(PoisonError::into_inner);
    pairs.values().map(|pair| Digest::of(&pair.status.borrow(), &pair.names, now)).collect()
}

/// Sends reports: at once when a role, epoch or blocked state changes, else by the interval.
async fn report(
    shown: Shown,
    (acceptors, traffic): (Option<QuorumHealth>, TrafficDesk),
    clock: SharedClock,
    outgoing: mpsc::Sender<FromAgent>,
) {
    let mut sent = clock.now();
    let mut last = Default::default();
    loop {
        // Looked at often, and made seldom: a report holds copies of nearly all that is known.
        let digest = (digests(&shown, &clock), shown.2.borrow().clone());
        if digest != last || clock.now().since(sent) >= REPORT_INTERVAL {
            let members = reports(&shown, &clock);
            let not_understood = digest.1.clone();
            last = digest;
            sent = clock.now();
            let acceptors = acceptors.as_ref().map(|seen| acceptor_reports(&seen.view(), sent));
            let traffic = traffic.report(sent);
            let report = FromAgent::Report { members, not_understood, acceptors, traffic };
            if outgoing.send(report).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(REPORT_PAUSE).await;
    }
}

/// Sends journal entries as they come, each once per stream.
async fn post(journal: Journal, outgoing: mpsc::Sender<FromAgent>) {
    let mut changed = journal.watch();
    let mut posted = 0;
    loop {
        changed.borrow_and_update();
        let entries = journal.after(posted, JOURNAL_BATCH);
        if let Some(last) = entries.last() {
            posted = last.seq().unwrap_or(posted);
            if outgoing.send(FromAgent::Journal { entries }).await.is_err() {
                return;
            }
            continue;
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}
