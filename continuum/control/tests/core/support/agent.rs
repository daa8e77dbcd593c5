//! A scripted agent: it speaks the link's protocol and plays a region's part in moves, against the
//! shared register, with no PostgreSQL behind it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use continuum_control_api::heard::Heard;
use continuum_control_api::link::{
    self, Blocked, Directive, Fact, FromAgent, GrantAnswer, JournalEntry, MemberReport, MemberRole,
    Order, PairStanding, RegionAnswer, RegionAsk, ToAgent,
};
use continuum_control_api::pb::LinkFrame;
use continuum_control_api::pb::agent_link_client::AgentLinkClient;
use continuum_domain::observation::{SqlView, StandbyView};
use continuum_domain::operation::{Step, StepOutcome};
use continuum_domain::record::pair_key;
use continuum_domain::{
    DataDirectoryId, Epoch, Lsn, OperationId, PairId, PairRecord, RegionId, TimelineId, Version,
};
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role, seed};
use continuum_witness::memory::MemoryStore;
use continuum_witness::{Answer, RegisterStore};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::{Cluster, eventually, region, shop};

const TICK: Duration = Duration::from_millis(25);

#[derive(Default)]
struct Inner {
    role: Option<MemberRole>,
    directive: Option<Directive>,
    stage: u8,
    epoch_told: Option<Epoch>,
    journal: VecDeque<Heard<JournalEntry>>,
    behind: Option<Blocked>,
    seq: u64,
    held_at: Option<u8>,
    paused: bool,
    directives: Vec<Directive>,
    ask: Option<(Epoch, String)>,
    unlisted: bool,
    answers: Vec<GrantAnswer>,
    follows: bool,
    asks: Vec<RegionAsk>,
    told: BTreeMap<u64, RegionAnswer>,
    standings: BTreeMap<PairId, PairStanding>,
}

pub struct Agent {
    region: RegionId,
    store: Arc<MemoryStore>,
    inner: Mutex<Inner>,
}

pub fn disk(region: &RegionId) -> DataDirectoryId {
    DataDirectoryId::new(format!("d-{region}")).unwrap()
}

impl Agent {
    /// Starts the agent of a region; it finds the leader by itself.
    pub fn start(cluster: &Cluster, name: &str) -> Arc<Self> {
        let agent = Arc::new(Self {
            region: region(name),
            store: cluster.store.clone(),
            inner: Mutex::default(),
        });
        let network = cluster.network(&Identity::new(Role::Region, name));
        let (linked, playing) = (agent.clone(), agent.clone());
        let peers = cluster.peers.clone();
        seed::spawn(async move {
            for peer in peers.iter().cycle() {
                let core = Identity::new(Role::Core, &peer.name);
                let client = AgentLinkClient::new(channel(&network, &peer.address, &core));
                linked.link(client).await;
                tokio::time::sleep(TICK).await;
            }
        });
        seed::spawn(async move {
            loop {
                playing.play().await;
                tokio::time::sleep(TICK).await;
            }
        });
        agent
    }

    /// Holds the agent's switchover at a stage (1 told, 2 stopped, 3 catch-up proven), or lets it
    /// go on.
    pub fn hold(&self, stage: Option<u8>) {
        self.inner.lock().unwrap().held_at = stage;
    }

    pub fn directives(&self) -> Vec<Directive> {
        self.inner.lock().unwrap().directives.clone()
    }

    /// Whether the core has every journal entry.
    pub fn all_acknowledged(&self) -> bool {
        self.inner.lock().unwrap().journal.is_empty()
    }

    pub fn stage(&self) -> u8 {
        self.inner.lock().unwrap().stage
    }

    pub fn automation_paused(&self) -> bool {
        self.inner.lock().unwrap().paused
    }

    /// From now on it asks as a member that may lack acknowledged commits.
    pub fn drop_out_of_the_ledger(&self) {
        self.inner.lock().unwrap().unlisted = true;
    }

    /// Asks to fail over and waits for the answer.
    pub async fn ask(&self, epoch: u64) -> GrantAnswer {
        {
            let mut inner = self.inner.lock().unwrap();
            inner.answers.clear();
            inner.ask = Some((Epoch(epoch), "session-expired".into()));
        }
        let answer = eventually("an answer", || async {
            self.inner.lock().unwrap().answers.first().cloned()
        })
        .await;
        self.inner.lock().unwrap().ask = None;
        answer
    }

    /// Asks for its Kubernetes cluster and waits for the answer. It is asked once on each stream.
    pub async fn ask_core(&self, ask: RegionAsk) -> RegionAnswer {
        let request = ask.request;
        {
            let mut inner = self.inner.lock().unwrap();
            inner.told.remove(&request);
            inner.asks.push(ask);
        }
        eventually("an answer", || async { self.inner.lock().unwrap().told.get(&request).cloned() })
            .await
    }

    /// Asks to be told how its pairs stand, and waits until one is told to stand so.
    pub async fn stands(&self, pair: &PairId, so: impl Fn(&PairStanding) -> bool) -> PairStanding {
        self.inner.lock().unwrap().follows = true;
        eventually("the standing", || async {
            let inner = self.inner.lock().unwrap();
            inner.standings.get(pair).filter(|standing| so(standing)).cloned()
        })
        .await
    }

    /// Plays an acquisition that the core did not take part in.
    pub async fn take_over(&self, by: &str, autonomous: bool) {
        let (version, old) = self.read().await.unwrap();
        let from = old.holder.clone();
        let new = PairRecord {
            epoch: old.epoch.next(),
            holder: Some(self.region.clone()),
            in_sync: BTreeMap::from([(self.region.clone(), disk(&self.region))]),
            handover_to: None,
            paused: false,
            waits_for_all: false,
            rested_by: None,
        };
        let epoch = new.epoch;
        assert!(self.write(version, &new).await);
        self.note(epoch, None, Fact::Acquired { by: by.into(), from, autonomous });
        self.became_primary(epoch);
    }

    fn became_primary(&self, epoch: Epoch) {
        self.inner.lock().unwrap().role = Some(MemberRole::Primary);
        for step in [Step::Commit, Step::Promote, Step::Traffic] {
            self.step(epoch, None, step, StepOutcome::Done);
        }
    }

    fn step(&self, epoch: Epoch, operation: Option<OperationId>, step: Step, outcome: StepOutcome) {
        let fact = Fact::Step { step, outcome, took_us: Some(1_000), detail: String::new() };
        self.note(epoch, operation, fact);
    }

    fn note(&self, epoch: Epoch, operation: Option<OperationId>, fact: Fact) {
        let mut inner = self.inner.lock().unwrap();
        inner.seq += 1;
        let entry = JournalEntry { seq: inner.seq, at_ms: 1, pair: shop(), epoch, operation, fact };
        inner.journal.push_back(entry.into());
    }

    /// Something happens that only a newer version has a word for.
    pub fn notes_of_the_future(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.seq += 1;
        let entry = serde_json::json!({
            "seq": inner.seq, "at_ms": 1, "pair": shop(), "epoch": 1, "operation": null,
            "fact": { "fact": "teleported", "to": "mars" },
        });
        inner.journal.push_back(serde_json::from_value(entry).unwrap());
    }

    /// The pair's spec is not understood by this agent.
    pub fn is_behind(&self, state: Blocked) {
        self.inner.lock().unwrap().behind = Some(state);
    }

    async fn read(&self) -> Option<(Version, PairRecord)> {
        let found = self.store.read(&pair_key(&shop())).await.unwrap()?;
        Some((found.version, serde_json::from_slice(&found.value).unwrap()))
    }

    async fn write(&self, expected: Version, record: &PairRecord) -> bool {
        let value = serde_json::to_vec(record).unwrap();
        let answer = self.store.compare_and_swap(&pair_key(&shop()), expected, value).await;
        matches!(answer, Ok(Answer::Accepted(_)))
    }

    /// One round of the region's part.
    async fn play(&self) {
        let Some((version, record)) = self.read().await else { return };
        if record.held_by(&self.region) {
            self.play_holder(version, record).await;
        } else if record.handover_to.as_ref() == Some(&self.region) {
            self.take_over("handover", false).await;
        } else {
            let rejoined = {
                let mut inner = self.inner.lock().unwrap();
                let rejoined = inner.role != Some(MemberRole::Standby)
                    && inner.epoch_told != Some(record.epoch)
                    && inner.stage > 0;
                inner.role = Some(MemberRole::Standby);
                inner.stage = 0;
                inner.directive = None;
                inner.epoch_told = Some(record.epoch);
                rejoined
            };
            if rejoined {
                self.step(record.epoch, None, Step::Rejoin, StepOutcome::Done);
            }
        }
    }

    async fn play_holder(&self, version: Version, record: PairRecord) {
        let (directive, stage, held_at) = {
            let mut inner = self.inner.lock().unwrap();
            if inner.stage == 0 {
                inner.role = Some(MemberRole::Primary);
            }
            (inner.directive.clone(), inner.stage, inner.held_at)
        };
        let Some(directive) = directive.filter(|directive| directive.epoch == record.epoch) else {
            return self.grow(version, record).await;
        };
        let operation = Some(directive.operation.clone());
        let Order::SwitchOver { to, .. } = directive.order else {
            if stage > 0 {
                let back =
                    PairRecord { epoch: record.epoch.next(), handover_to: None, ..record.clone() };
                if self.write(version, &back).await {
                    let mut inner = self.inner.lock().unwrap();
                    (inner.stage, inner.directive) = (0, None);
                    inner.role = Some(MemberRole::Primary);
                    drop(inner);
                    self.note(
                        back.epoch,
                        operation.clone(),
                        Fact::Acquired {
                            by: "returned".into(),
                            from: Some(self.region.clone()),
                            autonomous: false,
                        },
                    );
                    self.step(record.epoch, operation, Step::StopWrites, StepOutcome::Undone);
                }
            }
            return;
        };
        if held_at == Some(stage) {
            return;
        }
        let (step, outcome) = match stage {
            0 => (Step::StopWrites, StepOutcome::Started),
            1 => (Step::StopWrites, StepOutcome::Done),
            2 => (Step::ProveCatchUp, StepOutcome::Done),
            3 => {
                let mut next = record.clone();
                next.in_sync.insert(to.clone(), disk(&to));
                next.handover_to = Some(to);
                if !self.write(version, &next).await {
                    return;
                }
                (Step::HandOver, StepOutcome::Done)
            }
            _ => return,
        };
        self.inner.lock().unwrap().role = Some(MemberRole::HandingOver);
        self.step(record.epoch, operation, step, outcome);
        self.inner.lock().unwrap().stage += 1;
    }

    /// Puts the other member back into the ledger.
    async fn grow(&self, version: Version, mut record: PairRecord) {
        let other = if self.region == region("fsn") { region("hel") } else { region("fsn") };
        let before: Vec<RegionId> = record.in_sync.keys().cloned().collect();
        if record.in_sync.insert(other.clone(), disk(&other)).is_none()
            && self.write(version, &record).await
        {
            let after = record.in_sync.keys().cloned().collect();
            let reason = "proven".to_owned();
            self.note(record.epoch, None, Fact::Ledger { before, after, reason });
            self.step(record.epoch, None, Step::RestoreLedger, StepOutcome::Done);
        }
    }

    async fn report(&self) -> MemberReport {
        let record = self.read().await;
        let role = self.inner.lock().unwrap().role.unwrap_or(MemberRole::Unknown);
        let primary = role == MemberRole::Primary;
        let standby = StandbyView {
            streaming: true,
            sync: true,
            flush: Some(Lsn(1_000)),
            replay: Some(Lsn(1_000)),
            lag_ms: Some(0),
        };
        let other = if self.region == region("fsn") { region("hel") } else { region("fsn") };
        let sql = SqlView {
            in_recovery: !primary,
            timeline: TimelineId(1),
            wal: Some(Lsn(1_000)),
            replay: Some(Lsn(1_000)),
            receiver_streaming: !primary,
            upstream_end: None,
            upstream_age_ms: None,
            sync_names: String::new(),
            standbys: if primary { BTreeMap::from([(other, standby)]) } else { BTreeMap::new() },
            waiting_commits: 0,
            lowered_commit: Some(Vec::new()),
        };
        MemberReport {
            role,
            record: record.map(|(version, record)| (version, record, 0)),
            lease_remaining_ms: primary.then_some(5_000),
            session_remaining_ms: Some(5_000),
            data_directory: Some(disk(&self.region)),
            sql: Some((sql, 0)),
            sql_failed: None,
            write_probe_age_ms: primary.then_some(0),
            fenced: None,
            blocked: None,
            guard_alive: true,
            witness_reachable: true,
            spec_version: 1,
            takeover_refusals: Some(Vec::new()),
            peers: BTreeMap::new(),
            names: None,
            hindrances: Vec::new(),
            against_leaving: Vec::new(),
            backups: None,
            role_writes: None,
        }
    }

    async fn link(&self, mut client: AgentLinkClient<tonic::transport::Channel>) {
        let (outbound, frames) = tokio::sync::mpsc::channel::<LinkFrame>(16);
        let journal_seq = self.inner.lock().unwrap().seq;
        let hello =
            FromAgent::Hello { region: self.region.clone(), version: "test".into(), journal_seq };
        outbound.send(link::pack(&hello)).await.unwrap();
        let connecting = client.connect(ReceiverStream::new(frames));
        let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(3), connecting).await else {
            return;
        };
        let mut inbound = answer.into_inner();
        let mut ticks = tokio::time::interval(TICK * 2);
        let mut request = 0;
        let mut followed = false;
        loop {
            tokio::select! {
                message = inbound.next() => match message {
                    Some(Ok(frame)) => {
                        if !self.take(link::unpack(&frame).unwrap()) {
                            return;
                        }
                    }
                    Some(Err(_)) | None => return,
                },
                _ = ticks.tick() => {
                    // An agent of another version: the core must live with what it does not know.
                    let future = serde_json::json!({ "type": "of-the-future", "pair": shop() });
                    if outbound.send(link::pack(&future)).await.is_err() {
                        return;
                    }
                    let behind = self.inner.lock().unwrap().behind.clone();
                    let report = FromAgent::Report {
                        members: BTreeMap::from([(shop(), self.report().await)]),
                        not_understood: behind.map(|state| (shop(), state)).into_iter().collect(),
                        acceptors: None,
                        traffic: None,
                    };
                    let mut messages = vec![report];
                    {
                        let mut inner = self.inner.lock().unwrap();
                        if inner.follows && !std::mem::replace(&mut followed, true) {
                            messages.push(FromAgent::Follow);
                        }
                        messages.extend(inner.asks.drain(..).map(FromAgent::Ask));
                        let entries: Vec<_> = inner.journal.iter().cloned().collect();
                        if !entries.is_empty() {
                            messages.push(FromAgent::Journal { entries });
                        }
                        if let Some((epoch, trigger)) = &inner.ask {
                            request += 1;
                            messages.push(FromAgent::GrantRequest {
                                request,
                                pair: shop(),
                                epoch: *epoch,
                                trigger: trigger.clone(),
                                evidence: "unchanged for 11 s".into(),
                                listed: !inner.unlisted,
                                lag_bytes: None,
                                corroboration: None,
                            });
                        }
                    }
                    for message in messages {
                        if outbound.send(link::pack(&message)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn take(&self, message: ToAgent) -> bool {
        let mut inner = self.inner.lock().unwrap();
        match message {
            ToAgent::NotLeader { .. } => return false,
            ToAgent::Specs { automation_paused, .. } => {
                inner.paused = automation_paused.contains_key(&shop());
            }
            ToAgent::Grant { answer, .. } => {
                inner.answers.extend(answer.understood().cloned());
            }
            ToAgent::Directive(directive) => {
                inner.directives.push(directive.clone());
                inner.directive = Some(directive);
            }
            ToAgent::Answer { request, answer } => {
                inner.told.insert(request, answer.understood().unwrap().clone());
            }
            ToAgent::Standings { whole, pairs } => {
                if whole {
                    inner.standings.clear();
                }
                for (pair, standing) in pairs {
                    match standing {
                        Some(standing) => {
                            inner.standings.insert(pair, standing.understood().unwrap().clone());
                        }
                        None => drop(inner.standings.remove(&pair)),
                    }
                }
            }
            ToAgent::JournalAck { seq } => {
                inner.journal.retain(|entry| entry.seq() > Some(seq));
            }
        }
        true
    }
}
