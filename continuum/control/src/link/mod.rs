//! The agents' side of the core: one stream per region, dialled by the agent.
//!
//! Only the leader serves. It keeps each region's last report in memory, takes facts into the
//! replicated log before it acknowledges them, and answers wishes to fail over with one proposal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use continuum_control_api::heard::{Heard, NOT_UNDERSTOOD};
use continuum_control_api::link::{
    self, FromAgent, JournalEntry, MemberReport, MemberRole, ToAgent,
};
use continuum_control_api::pb::LinkFrame;
use continuum_domain::{PairId, RegionId, Tick};
use continuum_runtime::net::Caller;
use continuum_runtime::{Role, seed};
use tokio::sync::{Semaphore, mpsc};
use tonic::{Status, Streaming};

use crate::core::Core;
use crate::state::{Change, Reply};

mod grant;
mod region;
pub mod registry;
mod specs;
mod standing;

pub(crate) use grant::Asks;
use registry::{OUTBOUND_MAX, Outbound, millis};

/// How long an agent may take for its first message.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How often specs and pauses are looked at again, for pauses that run out.
const SPECS_INTERVAL: Duration = Duration::from_secs(1);
/// Journal entries per proposal.
const ENTRIES_MAX: usize = 64;
/// Requests of a region that are answered at once; an agent has one for each object on its way.
const ASKS_MAX: usize = 128;

/// Checks who calls and starts serving its stream.
pub(crate) fn accept(
    core: Arc<Core>,
    caller: Option<&Caller>,
    inbound: Streaming<LinkFrame>,
) -> Result<mpsc::Receiver<Result<LinkFrame, Status>>, Status> {
    let ends_ms = caller.and_then(|caller| caller.ends_ms);
    let identity = caller
        .and_then(|caller| caller.identity.as_ref())
        .filter(|identity| identity.role == Role::Region)
        .ok_or_else(|| Status::permission_denied("only a region's agent may connect here"))?;
    let region = RegionId::new(identity.name.clone())
        .map_err(|error| Status::permission_denied(error.to_string()))?;
    let (outbound, frames) = mpsc::channel(OUTBOUND_MAX);
    seed::spawn(async move {
        let followed = AtomicBool::new(false);
        let asks = Arc::new(Semaphore::new(ASKS_MAX));
        let session = Session { core, region, ends_ms, outbound, followed, asks };
        if let Err(status) = session.run(inbound).await {
            tracing::info!(region = %session.region, %status, "agent link ended");
            // A stream whose reader is gone needs no status any more.
            let _gone = session.outbound.send(Err(status)).await;
        }
    });
    Ok(frames)
}

struct Session {
    core: Arc<Core>,
    region: RegionId,
    /// When the agent's certificate ends.
    ends_ms: Option<i64>,
    outbound: Outbound,
    /// Whether the agent asked to be told how its pairs stand.
    followed: AtomicBool,
    /// Requests for its Kubernetes cluster that may still be begun.
    asks: Arc<Semaphore>,
}

impl Session {
    async fn run(&self, mut inbound: Streaming<LinkFrame>) -> Result<(), Status> {
        let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello"))??;
        let Some(frame) = first else { return Ok(()) };
        let FromAgent::Hello { region, version, journal_seq } = unpack(&frame)? else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        if region != self.region {
            let text = format!("the certificate says {}, the hello says {region}", self.region);
            return Err(Status::permission_denied(text));
        }
        // A deposed leader finds out here, before it says anything.
        if !self.core.leadership().i_lead || self.core.node.linearizable().await.is_err() {
            return self.not_leader().await;
        }
        tracing::info!(%region, %version, journal_seq, "agent connected");
        self.greet(journal_seq).await?;
        let number = self.core.links.attach(&self.region, self.outbound.clone());
        self.core.links.certificate_ends(&self.region, self.ends_ms);
        let result = self.serve(inbound, number).await;
        self.core.links.detach(&self.region, number);
        result
    }

    async fn greet(&self, journal_seq: u64) -> Result<(), Status> {
        let known = self.core.node.read(|state| state.journal_seq(&self.region));
        if journal_seq < known {
            // The agent's disk was replaced: its new entries count from the beginning, and would
            // otherwise be taken for old ones and lost.
            let change = Change::JournalReset { region: self.region.clone() };
            self.propose(change).await?;
        } else if known > 0 {
            self.send(&ToAgent::JournalAck { seq: known }).await?;
        }
        Ok(())
    }

    async fn serve(&self, mut inbound: Streaming<LinkFrame>, number: u64) -> Result<(), Status> {
        let mut leadership = self.core.node.leadership();
        let mut applied = self.core.node.watch_applied();
        let mut ticks = tokio::time::interval(SPECS_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sent = specs::Sent::default();
        let mut told = standing::Told::default();
        loop {
            let leads = leadership.borrow_and_update().i_lead;
            // A leader that was deposed and elected again has forgotten its streams; to go on here would
            // be to take reports from an agent that can be told nothing.
            if !leads || !self.core.links.holds(&self.region, number) {
                return self.not_leader().await;
            }
            self.send_specs(&mut sent).await?;
            if self.followed.load(Ordering::Relaxed)
                && let Some((whole, pairs)) = told.news(&self.core, &self.region)
            {
                self.send(&ToAgent::Standings { whole, pairs }).await?;
            }
            tokio::select! {
                message = inbound.message() => match message? {
                    Some(frame) => match link::unpack(&frame) {
                        Ok(message) => self.take(message).await?,
                        // A newer agent says more than this node knows; the link goes on.
                        Err(error) => self.not_understood(&error.to_string()),
                    },
                    None => return Ok(()),
                },
                changed = leadership.changed() => {
                    changed.map_err(|_| Status::unavailable("the node has stopped"))?;
                }
                changed = applied.changed() => {
                    changed.map_err(|_| Status::unavailable("the node has stopped"))?;
                }
                _ = ticks.tick() => {}
                () = sent.due(), if sent.is_waiting() => {}
                () = self.outbound.closed() => return Ok(()),
            }
        }
    }

    /// Sends the region's specs when they differ from what was sent last.
    async fn send_specs(&self, sent: &mut specs::Sent) -> Result<(), Status> {
        match sent.news(&self.core, &self.region) {
            Some(message) => self.send(&message).await,
            None => Ok(()),
        }
    }

    async fn take(&self, message: FromAgent) -> Result<(), Status> {
        match message {
            FromAgent::Hello { .. } => Err(Status::invalid_argument("a second hello")),
            FromAgent::Report { members, not_understood, acceptors, traffic } => {
                let now = self.core.clock.now();
                self.core.links.traffic_seen(&self.region, traffic, now);
                self.note_writes(&members, now);
                self.core.links.report(&self.region, members, not_understood, now);
                self.core.links.acceptors_seen(&self.region, acceptors, now);
                Ok(())
            }
            FromAgent::GrantRequest {
                request,
                pair,
                epoch,
                trigger,
                evidence,
                listed,
                lag_bytes,
                corroboration,
            } => {
                let corroboration = corroboration.and_then(|said| said.understood().cloned());
                let ask = grant::Ask {
                    request,
                    pair,
                    epoch,
                    trigger,
                    evidence,
                    listed,
                    lag_bytes,
                    corroboration,
                };
                let (core, region) = (self.core.clone(), self.region.clone());
                let outbound = self.outbound.clone();
                // Beside the stream, so that an answer never waits behind a journal.
                seed::spawn(async move {
                    let answer = grant::answer(&core, &region, ask).await;
                    if let Some(answer) = answer
                        && say(&core, &outbound, &answer).await.is_err()
                    {
                        tracing::debug!(%region, "the agent left before its answer");
                    }
                });
                Ok(())
            }
            FromAgent::Journal { entries } => self.take_journal(entries).await,
            FromAgent::Follow => {
                self.followed.store(true, Ordering::Relaxed);
                Ok(())
            }
            FromAgent::Ask(ask) => {
                let (core, region) = (self.core.clone(), self.region.clone());
                let outbound = self.outbound.clone();
                let place = self.asks.clone().try_acquire_owned().ok();
                // Beside the stream, as with wishes to fail over.
                seed::spawn(async move {
                    let request = ask.request;
                    let answer = match &place {
                        Some(_place) => region::answer(&core, &region, ask).await,
                        None => region::too_many(&region),
                    };
                    let answer = answer.into();
                    let answer = ToAgent::Answer { request, answer };
                    if say(&core, &outbound, &answer).await.is_err() {
                        tracing::debug!(%region, "the agent left before its answer");
                    }
                });
                Ok(())
            }
        }
    }

    /// Looks at which writes were told of, for how long a move took.
    fn note_writes(&self, members: &BTreeMap<PairId, MemberReport>, now: Tick) {
        for (pair, report) in members {
            let Some((_, record, _)) = &report.record else { continue };
            let holds = report.role == MemberRole::Primary && record.held_by(&self.region);
            let Some(age_ms) = report.write_probe_age_ms.filter(|_| holds) else { continue };
            let at = Tick(now.0.saturating_sub(age_ms.saturating_mul(1_000_000)));
            let Some(outage) = self.core.links.written(pair, record.epoch, at) else { continue };
            let (core, epoch) = (self.core.clone(), record.epoch);
            let change =
                Change::WritesResumed { pair: pair.clone(), epoch, outage_ms: millis(outage) };
            // Beside the stream: what is lost of it is a figure, and no report waits for it.
            seed::spawn(async move {
                let actor = format!("core/{}", core.config.name);
                if let Err(error) = core.propose(&actor, change).await {
                    tracing::debug!(%error, %epoch, "how long the move took is not recorded");
                }
            });
        }
    }

    /// Facts are acknowledged once they are in the replicated log, not before.
    async fn take_journal(&self, entries: Vec<Heard<JournalEntry>>) -> Result<(), Status> {
        let entries: Vec<_> = entries.into_iter().filter_map(|entry| self.entry(entry)).collect();
        for chunk in entries.chunks(ENTRIES_MAX) {
            let change = Change::Facts { region: self.region.clone(), entries: chunk.to_vec() };
            if let Reply::Journalled { seq, .. } = self.propose(change).await? {
                self.send(&ToAgent::JournalAck { seq }).await?;
            }
        }
        Ok(())
    }

    /// A newer agent's fact is recorded as it came. An entry that does not say where it belongs is
    /// left out, and the chain then tells of the gap.
    fn entry(&self, entry: Heard<JournalEntry>) -> Option<JournalEntry> {
        let entry = entry.into_entry();
        entry.map_err(|other| self.not_understood(&other.problem)).ok()
    }

    fn not_understood(&self, problem: &str) {
        tracing::warn!(code = NOT_UNDERSTOOD, region = %self.region, problem, "an agent said more");
    }

    async fn propose(&self, change: Change) -> Result<Reply, Status> {
        let actor = format!("{}/{}", Role::Region.label(), self.region);
        // What was not committed stays in the agent's journal and comes again on its next stream.
        self.core
            .propose(&actor, change)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))
    }

    async fn not_leader(&self) -> Result<(), Status> {
        let leader = self.core.leadership().leader.map(|leader| leader.name);
        let leader = leader.filter(|name| *name != self.core.config.name);
        self.send(&ToAgent::NotLeader { leader }).await
    }

    async fn send(&self, message: &ToAgent) -> Result<(), Status> {
        say(&self.core, &self.outbound, message).await
    }
}

async fn say(core: &Core, outbound: &Outbound, message: &ToAgent) -> Result<(), Status> {
    for frame in core.links.dialect().frames(message) {
        let sent = outbound.send(Ok(frame)).await;
        sent.map_err(|_| Status::cancelled("the agent is gone"))?;
    }
    Ok(())
}

fn unpack(frame: &LinkFrame) -> Result<FromAgent, Status> {
    link::unpack(frame)
        .map_err(|error| Status::invalid_argument(format!("the message does not parse: {error}")))
}
