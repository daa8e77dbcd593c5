//! Answering the agents of other regions, and operators.

use std::time::Duration;

use continuum_control_api::link::{
    Dialect, MemberRole, OperatorAnswer, OperatorAsk, PeerAnswer, PeerAsk, unpack,
};
use continuum_control_api::pb::LinkFrame;
use continuum_control_api::pb::peer_server::Peer;
use continuum_domain::pair::types::Event;
use continuum_domain::{DataDirectoryId, Epoch, Lsn, PairId, RegionId, TimelineId};
use continuum_runtime::net::Caller;
use continuum_runtime::{Role, SharedClock};
use tonic::{Request, Response, Status};

use crate::beats::Beats;
use crate::core_link::{Pairs, find};
use crate::driver::PairHandle;
use crate::report::{member_report, role};

/// Interval of looks while a catch-up is waited for.
const LOOK: Duration = Duration::from_millis(2);
/// A promise that takes longer to write is not given.
const PROMISE_DEADLINE: Duration = Duration::from_millis(900);
/// A catch-up is waited for no longer than this, whatever the asker says.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The service.
pub(crate) struct PeerService {
    pub clock: SharedClock,
    pub pairs: Pairs,
    pub beats: Beats,
    pub dialect: Dialect,
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn ask(&self, request: Request<LinkFrame>) -> Result<Response<LinkFrame>, Status> {
        let region = caller_region(&request)?;
        let answer = match unpack(request.get_ref()) {
            Ok(ask) => self.answer(&region, ask).await,
            Err(error) => PeerAnswer::Refused { reason: not_understood(&error) },
        };
        Ok(Response::new(self.dialect.frame(&answer)))
    }

    async fn operate(&self, request: Request<LinkFrame>) -> Result<Response<LinkFrame>, Status> {
        let caller =
            request.extensions().get::<Caller>().and_then(|caller| caller.identity.clone());
        let operator = caller
            .filter(|identity| identity.role == Role::Operator)
            .ok_or_else(|| Status::permission_denied("only operators may do this"))?;
        let answer = match unpack(request.get_ref()) {
            Ok(ask) => {
                tracing::warn!(%operator, ?ask, "break-glass order");
                self.operate_on(ask).await
            }
            Err(error) => OperatorAnswer::Failed { reason: not_understood(&error) },
        };
        Ok(Response::new(self.dialect.frame(&answer)))
    }
}

/// The plain answer to who speaks of what this version does not know.
fn not_understood(error: &serde_json::Error) -> String {
    format!("not understood by version {}: {error}", env!("CARGO_PKG_VERSION"))
}

fn caller_region(request: &Request<LinkFrame>) -> Result<RegionId, Status> {
    let caller = request.extensions().get::<Caller>().and_then(|caller| caller.identity.clone());
    let identity = caller
        .filter(|identity| identity.role == Role::Region)
        .ok_or_else(|| Status::permission_denied("only agents of other regions may ask"))?;
    RegionId::new(identity.name).map_err(|error| Status::permission_denied(error.to_string()))
}

/// The member's data directory, if its WAL is proven to be the beginning of that holder's: a position
/// and a timeline's number may be those of another history.
fn proven_directory(handle: &PairHandle, epoch: Epoch) -> Option<DataDirectoryId> {
    let status = handle.status.borrow();
    let guard = status.actuator.as_ref().filter(|_| status.proven_at == Some(epoch))?;
    guard.data_directory.clone()
}

/// What comes with the holder's stop is kept before anything is built on it.
async fn take_evidence(
    handle: &PairHandle,
    epoch: Epoch,
    evidence: Option<&str>,
) -> Result<(), String> {
    match evidence {
        Some(evidence) => {
            handle.plane.take_evidence(epoch, evidence).await.map_err(|error| error.to_string())
        }
        None => Ok(()),
    }
}

impl PeerService {
    async fn answer(&self, from: &RegionId, ask: PeerAsk) -> PeerAnswer {
        let pair = match &ask {
            PeerAsk::Beat { sequence } => return PeerAnswer::Beat { sequence: *sequence },
            PeerAsk::Replayed { pair, .. }
            | PeerAsk::Nudge { pair }
            | PeerAsk::Identify { pair, .. }
            | PeerAsk::Writable { pair, .. }
            | PeerAsk::Promise { pair, .. } => pair.clone(),
        };
        let Some(handle) = find(&self.pairs, &pair) else {
            return PeerAnswer::Refused { reason: format!("pair {pair} does not run here") };
        };
        match ask {
            PeerAsk::Beat { sequence } => PeerAnswer::Beat { sequence },
            PeerAsk::Nudge { .. } => {
                if handle.events.send(Event::Nudged).await.is_err() {
                    return PeerAnswer::Refused { reason: "the pair is stopping".into() };
                }
                PeerAnswer::Noted
            }
            PeerAsk::Identify { epoch, .. } => {
                PeerAnswer::Identity { data_directory: proven_directory(&handle, epoch) }
            }
            PeerAsk::Replayed { epoch, timeline, lsn, wait_ms, evidence, .. } => {
                let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
                let evidence = evidence.as_deref();
                self.wait_replayed(&handle, epoch, (timeline, lsn), evidence, wait).await
            }
            PeerAsk::Writable { epoch, wait_ms, .. } => {
                let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
                self.wait_writable(&handle, epoch, wait).await
            }
            PeerAsk::Promise { epoch, hold_ms, .. } => {
                let (request, answer) = handle.promises.open();
                let hold = Duration::from_millis(hold_ms);
                let from = from.clone();
                let asked = Event::PromiseAsked { request, from, epoch, hold };
                if handle.events.send(asked).await.is_err() {
                    return PeerAnswer::Refused { reason: "the pair is stopping".into() };
                }
                match tokio::time::timeout(PROMISE_DEADLINE, answer).await {
                    Ok(Ok(Ok(()))) => PeerAnswer::Promised,
                    Ok(Ok(Err(reason))) => PeerAnswer::Refused { reason },
                    _ => {
                        PeerAnswer::Refused { reason: "the promise was not written in time".into() }
                    }
                }
            }
        }
    }

    /// R14: exactly to the shutdown checkpoint, on its timeline, with the directory that has it.
    async fn wait_replayed(
        &self,
        handle: &PairHandle,
        epoch: Epoch,
        (timeline, lsn): (TimelineId, Lsn),
        evidence: Option<&str>,
        wait: Duration,
    ) -> PeerAnswer {
        let until = self.clock.now() + wait;
        let mut seen = String::from("PostgreSQL here does not answer");
        loop {
            let directory = proven_directory(handle, epoch);
            let observation = handle.plane.observe().await;
            if let Some((at, sql)) = &observation.sql
                && self.clock.now().since(*at) < wait
            {
                let there = sql.in_recovery && sql.timeline == timeline;
                let past = sql.replay.filter(|replay| there && *replay > lsn);
                if let (Some(replay), Some(data_directory)) = (past, directory) {
                    match take_evidence(handle, epoch, evidence).await {
                        Ok(()) => return PeerAnswer::Replayed { data_directory, replay },
                        Err(reason) => return PeerAnswer::Refused { reason },
                    }
                }
                let replay = sql.replay.map_or_else(|| "unknown".into(), |lsn| lsn.to_string());
                seen = format!("replayed to {replay} on timeline {}", sql.timeline);
                if handle.status.borrow().proven_at != Some(epoch) {
                    seen.push_str(", which is not proven to be the WAL of this holder");
                }
            }
            if self.clock.now() >= until {
                return PeerAnswer::Refused { reason: seen };
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether this region holds the epoch and its PostgreSQL accepts writes, as the health URL says.
    async fn wait_writable(&self, handle: &PairHandle, epoch: Epoch, wait: Duration) -> PeerAnswer {
        let until = self.clock.now() + wait;
        let mut status = handle.status.clone();
        loop {
            let now = self.clock.now();
            {
                let seen = status.borrow_and_update();
                let held = seen.record.as_ref().map(|(_, record, _)| record.epoch) == Some(epoch);
                let role = role(&seen, now);
                if held && role == MemberRole::Primary {
                    return PeerAnswer::Writable;
                }
                if now >= until {
                    let reason = format!("{role:?}, and not under epoch {epoch} a primary");
                    return PeerAnswer::Refused { reason };
                }
            }
            tokio::select! {
                changed = status.changed() => if changed.is_err() {
                    return PeerAnswer::Refused { reason: "the pair is stopping".into() };
                },
                () = tokio::time::sleep(now.until(until)) => {}
            }
        }
    }

    async fn operate_on(&self, ask: OperatorAsk) -> OperatorAnswer {
        let failed = |reason: String| OperatorAnswer::Failed { reason };
        let none = |pair: &PairId| failed(format!("pair {pair} does not run here"));
        match ask {
            OperatorAsk::Fence { pair, reason } => match find(&self.pairs, &pair) {
                Some(handle) => match handle.plane.set_fence(Some(&reason)).await {
                    Ok(()) => OperatorAnswer::Done,
                    Err(error) => failed(error.to_string()),
                },
                None => none(&pair),
            },
            OperatorAsk::Unfence { pair, .. } => match find(&self.pairs, &pair) {
                Some(handle) => match handle.plane.set_fence(None).await {
                    Ok(()) => OperatorAnswer::Done,
                    Err(error) => failed(error.to_string()),
                },
                None => none(&pair),
            },
            OperatorAsk::Show { pair } => match find(&self.pairs, &pair) {
                Some(handle) => {
                    let report = member_report(
                        &handle.status.borrow(),
                        &self.beats,
                        &handle.names,
                        self.clock.now(),
                    );
                    OperatorAnswer::Member { report: Box::new(report) }
                }
                None => none(&pair),
            },
        }
    }
}
