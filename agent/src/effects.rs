//! Performing what a pair machine asks for. Every effect runs in a task of its own and ends in one
//! event; nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_cnpg_pair::plane::{StopMode, Upstream};
use continuum_cnpg_pair::{DataPlane, PlaneError};
use continuum_control_api::link::{Fact, PeerAnswer, PeerAsk};
use continuum_domain::corroborate::Resolver;
use continuum_domain::mutation::{Bug, planted};
use continuum_domain::pair::PairStatus;
use continuum_domain::pair::types::{CasAnswer, Effect, Event, PlaneCommand, PlaneOutcome};
use continuum_domain::record::pair_key;
use continuum_domain::spec::PairSpec;
use continuum_domain::{Epoch, PairId, PairRecord, RegionId, Tick, Version};
use continuum_runtime::seed;
use continuum_runtime::traces::Began;
use continuum_witness::{Answer, StoreError, Versioned};

use crate::driver::{Events, Parts, PromiseDesk, watch_guard};
use crate::names::{NameDesk, NamesSeen};
use crate::report;

/// Pause before a lost guard is reported, so that taking it again is not a busy loop.
const GUARD_RETRY: Duration = Duration::from_millis(100);
/// Longest wait for an identity or a promise of a peer.
const PEER_DEADLINE: Duration = Duration::from_millis(1_000);

/// Performs effects of one pair.
pub(crate) struct Performer {
    parts: Parts,
    pair: PairId,
    spec: Arc<PairSpec>,
    events: Events,
    promises: PromiseDesk,
    /// When the promises written so far are over; held while the file is touched.
    promised: Arc<tokio::sync::Mutex<Tick>>,
    names: NameDesk,
    /// How long others were waited for by what the steps so far say.
    waited: BTreeMap<&'static str, Duration>,
}

impl Performer {
    pub fn new(parts: Parts, spec: PairSpec, events: Events, promises: PromiseDesk) -> Self {
        let promised = Arc::default();
        let (services, providers) = (parts.names.clone(), parts.name_providers.clone());
        let here = (parts.region.clone(), parts.clock.clone());
        let names = NameDesk::new(here, services, providers, parts.journal.clone(), &spec);
        let (pair, spec) = (spec.id.clone(), Arc::new(spec));
        Self { parts, pair, spec, events, promises, promised, names, waited: BTreeMap::new() }
    }

    /// What is seen of the pair's names.
    pub fn names(&self) -> NamesSeen {
        self.names.seen()
    }

    pub fn spec_changed(&mut self, spec: PairSpec) {
        self.names.spec_changed(&spec);
        self.spec = Arc::new(spec);
    }

    /// Starts performing one effect; `status` is the machine's after the step that asked for it.
    pub fn perform(&mut self, effect: Effect, status: &PairStatus) {
        match effect {
            Effect::Take => self.take(),
            Effect::ReadPair => self.read_pair(),
            Effect::ReadSession { region, not_before } => self.read_session(region, not_before),
            Effect::Cas { expected, value } => self.cas(expected, value),
            Effect::Arm { epoch, deadline } => self.arm(epoch, deadline),
            Effect::Fence { epoch, reason } => self.fence(epoch, &reason),
            Effect::Plane { epoch, command } => self.plane(epoch, command),
            Effect::AskGrant { epoch, trigger, evidence, listed, lag_bytes, corroboration } => {
                let (core, standing) = (&self.parts.core, (listed, lag_bytes));
                core.ask_grant(&self.pair, epoch, trigger, evidence, standing, corroboration);
            }
            Effect::AskResolver { question, resolver, name, deadline } => {
                self.ask_resolver(question, resolver, name, deadline);
            }
            Effect::AskReplayed { region, epoch, timeline, lsn, wait } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let pair = self.pair.clone();
                let evidence = None;
                let ask = PeerAsk::Replayed { pair, epoch, timeline, lsn, wait_ms, evidence };
                self.ask_replayed(region, ask, wait);
            }
            Effect::AskIdentity { region, epoch } => self.ask_identity(region, epoch),
            Effect::AskPromise { region, epoch, hold } => self.ask_promise(region, epoch, hold),
            Effect::StorePromise { request, hold } => self.store_promise(request, hold),
            Effect::AnswerPromise { request, answer } => self.promises.answer(request, answer),
            Effect::NudgePeers => self.nudge_peers(),
            Effect::PublishNames { epoch } => self.names.publish(epoch, status),
            Effect::Note { epoch, operation, note } => {
                tracing::info!(pair = %self.pair, %epoch, ?operation, ?note, "fact");
                let mut fact = report::fact(note);
                if let Fact::Step { detail, .. } = &mut fact {
                    self.tell_waits(detail);
                }
                self.parts.journal.append(&self.pair, epoch, operation, fact);
            }
        }
    }

    /// A step also says how long others were waited for since the one before.
    fn tell_waits(&mut self, detail: &mut String) {
        for wait in self.parts.plane.operator_waits() {
            let told = self.waited.insert(wait.what, wait.took).unwrap_or_default();
            let since = wait.took.saturating_sub(told).as_millis();
            if since > 0 {
                let comma = if detail.is_empty() { "" } else { "; " };
                detail
                    .push_str(&format!("{comma}{since} ms of it for the operator: {}", wait.what));
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = Option<Event>> + Send + 'static) {
        let events = self.events.clone();
        seed::spawn(async move {
            if let Some(event) = work.await
                && events.send(event).await.is_err()
            {
                tracing::debug!("the pair has ended");
            }
        });
    }

    fn take(&self) {
        let (plane, events, pair) =
            (self.parts.plane.clone(), self.events.clone(), self.pair.clone());
        self.spawn(async move {
            match plane.take().await {
                Ok(taken) => {
                    tracing::info!(%pair, generation = %taken.generation, "actuator taken");
                    seed::spawn(watch_guard(plane, taken.status.clone(), events, pair));
                    Some(Event::Taken(taken.generation, taken.status))
                }
                Err(error) => {
                    tokio::time::sleep(GUARD_RETRY).await;
                    Some(Event::GuardLost(error.to_string()))
                }
            }
        });
    }

    fn read_pair(&self) {
        let (store, key) = (self.parts.store.clone(), pair_key(&self.pair));
        let sent = self.parts.clock.now();
        self.spawn(async move {
            let answer = store.read(&key).await.map_err(|error| error.to_string());
            let answer = answer.and_then(|found| found.map(parse_pair).transpose());
            Some(Event::PairRead { sent, answer })
        });
    }

    fn read_session(&self, region: RegionId, not_before: Tick) {
        let sessions = self.parts.sessions.clone();
        self.spawn(async move {
            let (sent, answer) = sessions.read(&region, not_before).await;
            Some(Event::SessionRead { region, sent, answer })
        });
    }

    fn cas(&self, expected: Version, value: PairRecord) {
        let (store, key, pair) =
            (self.parts.store.clone(), pair_key(&self.pair), self.pair.clone());
        tracing::info!(%pair, epoch = %value.epoch, holder = ?value.holder, in_sync = ?value.in_sync,
            handover_to = ?value.handover_to, "writing the pair register");
        self.spawn(async move {
            let bytes = serde_json::to_vec(&value).expect("pair records are plain data");
            let answer = match store.compare_and_swap(&key, expected, bytes).await {
                Ok(Answer::Accepted(version)) => CasAnswer::Accepted(version),
                Ok(Answer::Refused(current)) => match current.map(parse_pair).transpose() {
                    Ok(found) => CasAnswer::Refused(found),
                    // Refused is certain, what stands there is not: a read will show it.
                    Err(_) => CasAnswer::Unanswered,
                },
                Err(error @ StoreError::Unanswered(_)) => {
                    tracing::warn!(%pair, %error, "unresolved write of the pair register");
                    CasAnswer::Unanswered
                }
                Err(error) => {
                    tracing::warn!(%pair, %error, "pair register not written");
                    CasAnswer::NotSent
                }
            };
            Some(Event::PairCas(answer))
        });
    }

    fn arm(&self, epoch: Epoch, deadline: Tick) {
        let (plane, pair) = (self.parts.plane.clone(), self.pair.clone());
        self.spawn(async move {
            match plane.arm(epoch, deadline).await {
                Ok(()) => Some(Event::Armed { epoch, deadline }),
                Err(error) => {
                    tracing::warn!(%pair, %epoch, %error, "guard not armed");
                    None
                }
            }
        });
    }

    fn fence(&self, epoch: Epoch, reason: &str) {
        let (plane, pair) = (self.parts.plane.clone(), self.pair.clone());
        tracing::warn!(%pair, %epoch, reason, "fencing: PostgreSQL is stopped immediately");
        let (events, directives) = (self.events.clone(), self.parts.directives.clone());
        let span = Began::now(&self.parts.clock);
        self.spawn(async move {
            let result = plane.stop(epoch, StopMode::Immediate).await;
            directives.commanded(&pair, ("fence", epoch), span, result.is_err());
            send_status(plane.as_ref(), &events).await;
            Some(Event::FenceEnded(result.map_err(|error| error.to_string())))
        });
    }

    fn upstream(&self, region: &RegionId) -> Result<Upstream, PlaneError> {
        let member = self.spec.members.get(region).ok_or_else(|| PlaneError::Failed {
            what: "finding the holder's address".into(),
            reason: format!("{region} is not a member in spec {}", self.pair),
        })?;
        Ok(Upstream { region: region.clone(), host: member.host.clone(), port: member.port })
    }

    fn plane(&self, epoch: Epoch, command: PlaneCommand) {
        let plane = self.parts.plane.clone();
        let source = match &command {
            PlaneCommand::Start { upstream: Some(region), .. }
            | PlaneCommand::Follow(Some(region))
            | PlaneCommand::Lineage(region)
            | PlaneCommand::Rewind(region)
            | PlaneCommand::Reclone(region) => match self.upstream(region) {
                Ok(upstream) => Some(upstream),
                Err(error) => {
                    let outcome = PlaneOutcome::Failed(error.to_string());
                    return self.spawn(async move { Some(Event::Plane(outcome)) });
                }
            },
            _ => None,
        };
        let standbys: Vec<_> = self.spec.others(&self.parts.region).into_iter().collect();
        let pair = self.pair.clone();
        let clock = self.parts.clock.clone();
        let (events, directives) = (self.events.clone(), self.parts.directives.clone());
        self.spawn(async move {
            let (began, span) = (clock.now(), Began::now(&clock));
            let told = told_as(&command);
            let what = format!("{command:?}");
            let changes_state = changes_state(&command);
            let outcome = run_command(plane.as_ref(), epoch, command, source, &standbys).await;
            let took = clock.now().since(began);
            match &outcome {
                Ok(PlaneOutcome::Canary { .. }) => tracing::debug!(%pair, %what, "looked"),
                Ok(_) => tracing::info!(%pair, %epoch, %what, ?took, "done"),
                Err(error) => tracing::warn!(%pair, %epoch, %what, ?took, %error, "failed"),
            }
            if let Some(name) = told {
                directives.commanded(&pair, (name, epoch), span, outcome.is_err());
            }
            if changes_state {
                send_status(plane.as_ref(), &events).await;
            }
            Some(Event::Plane(outcome.unwrap_or_else(|error| match error {
                PlaneError::Refused(_) | PlaneError::Failed { .. } => {
                    PlaneOutcome::Failed(error.to_string())
                }
                PlaneError::GuardLost(_) | PlaneError::Timeout { .. } => {
                    PlaneOutcome::Unknown(error.to_string())
                }
            })))
        });
    }

    fn ask_replayed(&self, region: RegionId, mut ask: PeerAsk, wait: Duration) {
        let (peers, plane) = (self.parts.peers.clone(), self.parts.plane.clone());
        self.spawn(async move {
            if let PeerAsk::Replayed { evidence, .. } = &mut ask {
                *evidence = plane.handover_evidence().await;
            }
            let answer = match peers.ask(&region, &ask, wait + PEER_DEADLINE).await {
                Ok(PeerAnswer::Replayed { data_directory, .. }) => Ok(data_directory),
                Ok(PeerAnswer::Refused { reason }) => Err(reason),
                Ok(other) => Err(format!("{region} answered {other:?}")),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = &answer {
                tracing::info!(%region, reason, "catch-up not proven yet");
            }
            Some(Event::PeerReplayed { region, answer })
        });
    }

    fn ask_identity(&self, region: RegionId, epoch: Epoch) {
        let (peers, pair) = (self.parts.peers.clone(), self.pair.clone());
        self.spawn(async move {
            let answer =
                peers.ask(&region, &PeerAsk::Identify { pair, epoch }, PEER_DEADLINE).await;
            match answer {
                Ok(PeerAnswer::Identity { data_directory }) => {
                    Some(Event::PeerIdentity { region, data_directory })
                }
                // No answer says nothing new about the directory.
                _ => None,
            }
        });
    }

    fn ask_resolver(&self, question: u64, resolver: Resolver, name: String, deadline: Duration) {
        let resolvers = self.parts.resolvers.clone();
        self.spawn(async move {
            let answer = resolvers.ask(resolver, &name, deadline).await;
            tracing::debug!(%resolver, name, ?answer, "asked for a health name");
            Some(Event::ResolverAnswered { question, resolver, answer })
        });
    }

    fn ask_promise(&self, region: RegionId, epoch: Epoch, hold: Duration) {
        let (peers, pair) = (self.parts.peers.clone(), self.pair.clone());
        let sent = self.parts.clock.now();
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        self.spawn(async move {
            let ask = PeerAsk::Promise { pair, epoch, hold_ms };
            let answer = peers.ask(&region, &ask, PEER_DEADLINE).await;
            let promised = matches!(answer, Ok(PeerAnswer::Promised));
            if !promised {
                tracing::warn!(%region, ?answer, "no promise: the lease will run out");
            }
            Some(Event::PeerPromised { region, sent, hold, promised })
        });
    }

    fn store_promise(&self, request: u64, hold: Duration) {
        let (state, pair) = (self.parts.state.clone(), self.pair.clone());
        let (latest, over) = (self.promised.clone(), self.parts.clock.now() + hold * 2);
        self.forget_promise_at(over);
        self.spawn(async move {
            let mut latest = latest.lock().await;
            *latest = over.max(*latest);
            let written = if planted(Bug::PromiseInMemory) {
                Ok(())
            } else {
                state.write_promise(&pair, hold).await
            };
            if let Err(error) = &written {
                tracing::error!(%error, "a promise could not be written to disk");
            }
            Some(Event::PromiseStored { request, stored: written.is_ok() })
        });
    }

    /// Removes the promise file at `over`, when everything promised until now is certainly done;
    /// a promise given meanwhile keeps it.
    pub fn forget_promise_at(&self, over: Tick) {
        let (state, pair) = (self.parts.state.clone(), self.pair.clone());
        let (latest, clock) = (self.promised.clone(), self.parts.clock.clone());
        self.spawn(async move {
            while clock.now() < over {
                tokio::time::sleep(clock.now().until(over)).await;
            }
            let latest = latest.lock().await;
            if *latest > over {
                return None;
            }
            if let Err(error) = state.clear_promise(&pair).await {
                tracing::warn!(%error, "an old promise could not be removed; it is served again");
            }
            None
        });
    }

    fn nudge_peers(&self) {
        for region in self.parts.peers.regions().cloned().collect::<Vec<_>>() {
            let (peers, pair) = (self.parts.peers.clone(), self.pair.clone());
            self.spawn(async move {
                if let Err(reason) =
                    peers.ask(&region, &PeerAsk::Nudge { pair }, PEER_DEADLINE).await
                {
                    tracing::debug!(%region, reason, "peer not nudged; it reads by itself");
                }
                None
            });
        }
    }
}

fn parse_pair(found: Versioned) -> Result<(Version, PairRecord), String> {
    serde_json::from_slice(&found.value)
        .map(|record| (found.version, record))
        .map_err(|error| format!("the pair register does not parse: {error}"))
}

/// Whether the guard's state is another after the command: the machine sees the new state before
/// it sees that the command ended, so that it never asks for the same thing twice.
fn changes_state(command: &PlaneCommand) -> bool {
    matches!(
        command,
        PlaneCommand::Initialise
            | PlaneCommand::Start { .. }
            | PlaneCommand::Promote { .. }
            | PlaneCommand::StopFast
            | PlaneCommand::Rewind(_)
            | PlaneCommand::Reclone(_)
    )
}

/// What a command is called where it is told of as part of a move. Looks and settings are many, and say
/// nothing of it.
fn told_as(command: &PlaneCommand) -> Option<&'static str> {
    Some(match command {
        PlaneCommand::Initialise => "initialise",
        PlaneCommand::Start { .. } => "start",
        PlaneCommand::Promote { .. } => "promote",
        PlaneCommand::StopReceiving => "stop-receiving",
        PlaneCommand::StopFast => "stop",
        PlaneCommand::SaveTail { .. } => "save-tail",
        PlaneCommand::Rewind(_) => "rewind",
        PlaneCommand::Reclone(_) => "reclone",
        PlaneCommand::SetNames(_)
        | PlaneCommand::Follow(_)
        | PlaneCommand::Checkpoint
        | PlaneCommand::ControlData
        | PlaneCommand::EnsureReplication
        | PlaneCommand::StartCanary
        | PlaneCommand::LookCanary
        | PlaneCommand::WakeWaiters
        | PlaneCommand::Lineage(_) => return None,
    })
}

async fn send_status(plane: &dyn DataPlane, events: &Events) {
    if let Ok(status) = plane.status().await
        && events.send(Event::Status(status)).await.is_err()
    {
        tracing::debug!("the pair has ended");
    }
}

async fn run_command(
    plane: &dyn DataPlane,
    epoch: Epoch,
    command: PlaneCommand,
    source: Option<Upstream>,
    standbys: &[RegionId],
) -> Result<PlaneOutcome, PlaneError> {
    let no_source = || PlaneError::Failed {
        what: "finding the holder's address".into(),
        reason: "the command names no holder".into(),
    };
    Ok(match command {
        PlaneCommand::Initialise => PlaneOutcome::Directory(plane.initialise().await?),
        PlaneCommand::Start { names, .. } => {
            plane.start(epoch, &names, source.as_ref()).await?;
            PlaneOutcome::Done
        }
        PlaneCommand::Promote { names } => {
            let promoted = plane.promote(epoch, &names).await?;
            PlaneOutcome::Promoted { timeline: promoted.timeline, starts_at: promoted.starts_at }
        }
        PlaneCommand::SetNames(names) => {
            plane.set_names(epoch, &names).await?;
            PlaneOutcome::Done
        }
        PlaneCommand::Follow(_) => {
            plane.follow(epoch, source.as_ref()).await?;
            PlaneOutcome::Done
        }
        PlaneCommand::StopReceiving => PlaneOutcome::Stopped(plane.stop_receiving(epoch).await?),
        PlaneCommand::StopFast => {
            plane.stop(epoch, StopMode::Fast).await?;
            PlaneOutcome::Done
        }
        PlaneCommand::Checkpoint => {
            plane.checkpoint().await?;
            PlaneOutcome::Done
        }
        PlaneCommand::ControlData => PlaneOutcome::Control(plane.control_data().await?),
        PlaneCommand::EnsureReplication => {
            plane.ensure_replication(standbys).await?;
            PlaneOutcome::Done
        }
        PlaneCommand::StartCanary => {
            plane.start_canary().await?;
            PlaneOutcome::Done
        }
        PlaneCommand::LookCanary => {
            let look = plane.look_canary().await?;
            PlaneOutcome::Canary { waiting: look.waiting, commit_lsn: look.commit_lsn }
        }
        PlaneCommand::WakeWaiters => PlaneOutcome::Woken(plane.wake().await?),
        PlaneCommand::Lineage(_) => {
            PlaneOutcome::Lineage(plane.lineage(&source.ok_or_else(no_source)?).await?)
        }
        PlaneCommand::SaveTail { fork, timeline } => {
            let tail = plane.save_tail(fork, timeline).await?;
            PlaneOutcome::Tail { path: tail.path, commits: tail.commits }
        }
        PlaneCommand::Rewind(_) => {
            PlaneOutcome::Directory(plane.rewind(epoch, &source.ok_or_else(no_source)?).await?)
        }
        PlaneCommand::Reclone(_) => {
            PlaneOutcome::Directory(plane.reclone(epoch, &source.ok_or_else(no_source)?).await?)
        }
    })
}
