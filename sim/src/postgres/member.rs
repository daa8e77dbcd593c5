//! One member: its host, guard, data directory and PostgreSQL process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use continuum_cnpg_pair::plane::{Promoted, StopMode, Upstream};
use continuum_domain::observation::{ActuatorStatus, ProcessState};
use continuum_domain::{DataDirectoryId, Epoch, Generation, Lsn, SyncNames, Tick};

use super::cluster::MemberConfig;
use super::directory::Directory;
use super::judge::{RecordId, SessionId};
use super::reply::Reply;
use super::streaming::{Receiver, Sender};
use super::world::{Work, World};

/// What a host does to those who live on it.
#[derive(Default)]
pub(super) struct Host {
    pub off: bool,
    pub frozen: bool,
    /// What was due while it stood still, oldest first.
    pub parked: Vec<Work>,
    pub fsync_hangs: bool,
    /// Writes that wait for the disk to come back.
    pub hanging: Vec<Work>,
    pub full: bool,
    pub cannot_start: bool,
    pub replay_by: Duration,
    pub replay_stalls: bool,
    pub receiver_stuck: bool,
    pub checkpointer_slow: bool,
    pub commands_slow: bool,
}

/// What the guard keeps on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Durable {
    pub generation: Generation,
    pub epoch: Epoch,
    pub fence: Option<String>,
    /// Identity the directory must carry (R13).
    pub expected: Option<DataDirectoryId>,
    pub names: SyncNames,
    pub upstream: Option<Upstream>,
}

/// A `changed` request.
pub(super) struct Watcher {
    pub seen: ActuatorStatus,
    pub reply: Reply<ActuatorStatus>,
    pub number: u64,
}

#[derive(Default)]
pub(super) struct Guard {
    pub up: bool,
    /// Rises with each start and each end.
    pub boot: u64,
    pub durable: Durable,
    /// The same in memory: ahead of the disk, never behind.
    pub memory: Durable,
    pub identity: Option<DataDirectoryId>,
    pub deadline: Option<Tick>,
    /// Stops ordered so far: what was admitted before one does not take effect after it.
    pub stops: u64,
    pub exits: u64,
    pub last_exit: Option<String>,
    pub job: Option<&'static str>,
    pub turn: bool,
    pub turns: VecDeque<Work>,
    pub watchers: Vec<Watcher>,
    pub stop_waiters: Vec<Reply<()>>,
    /// When the write under way of its state ends.
    pub written: Duration,
}

/// How a commit's wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// As it must: every standby named has it, or nobody is named any more.
    Done,
    /// Somebody cancelled it.
    Cancelled,
}

/// What is done when a commit's wait ends. Dropped when the backend dies.
pub(super) type Then = Box<dyn FnOnce(&mut World, Release) + Send>;

/// A commit between its record and its answer.
pub(super) struct Commit {
    pub end: Lsn,
    pub record: RecordId,
    /// Whose; `None` for the agent's own sessions.
    pub session: Option<SessionId>,
    /// `synchronous_commit = local`.
    pub local: bool,
    /// Counted among the sessions that wait.
    pub counted: bool,
    pub then: Then,
}

/// PostgreSQL's processes.
pub(super) struct Process {
    pub life: u64,
    pub ready: bool,
    pub reload_when_ready: bool,
    /// A promotion was requested in this life (R5).
    pub promoted: bool,
    pub promoting: bool,
    /// When its promotion began it had a WAL receiver yet.
    pub received_at_promotion: bool,
    pub epoch: Epoch,
    pub stopping: Option<StopMode>,
    pub why: Option<String>,
    /// Backends and walsenders still do their work.
    pub serving: bool,
    /// All WAL of a fast stop is written; walsenders end when it is sent.
    pub shutting_down: bool,
    pub primary: bool,
    /// The timeline recovery is on, or the primary's own.
    pub timeline: u64,
    /// The promotion it writes under.
    pub line: u64,
    pub shown_timeline: u64,
    pub flushing: bool,
    pub replaying: bool,
    /// Received and flushed in this life.
    pub received: Option<Lsn>,
    /// Names as the postmaster last read them.
    pub names: SyncNames,
    /// Whether committing backends wait, as the checkpointer last said (R12).
    pub backends_wait: bool,
    pub reload_missed: bool,
    pub commits: VecDeque<Commit>,
    pub waiting: Vec<Commit>,
    /// Everything up to here was let go already.
    pub released: Lsn,
    /// Commits that others do not see yet.
    pub hidden: BTreeSet<RecordId>,
    pub receiver: Option<Receiver>,
    /// Number of the attempt to connect upstream that is under way.
    pub connecting: Option<u64>,
    pub senders: BTreeMap<usize, Sender>,
    pub starting: Option<Reply<()>>,
    pub promotions: Vec<Reply<Promoted>>,
    /// Who holds the register's row, and who waits for it.
    pub row: Option<SessionId>,
    pub row_queue: VecDeque<(SessionId, Work)>,
    /// Canaries by number: ended when a newer agent takes over.
    pub canaries: BTreeMap<u64, Canary>,
}

/// The backend of one canary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canary {
    pub record: RecordId,
    pub generation: Generation,
}

pub(super) struct Member {
    pub config: MemberConfig,
    pub host: Host,
    pub guard: Guard,
    pub directory: Option<Directory>,
    pub pg: Option<Process>,
    /// Names that somebody set behind the guard's back; they win until the guard strips them.
    pub tampered: Option<SyncNames>,
    /// Since when sessions here lower `synchronous_commit`, if they do: they wait for nobody.
    pub lowered_since: Option<Duration>,
}

impl Process {
    /// A postmaster that was just spawned. The flag that makes backends wait stands before the first
    /// client (R12).
    pub fn new(life: u64, names: SyncNames) -> Self {
        Self {
            life,
            ready: false,
            reload_when_ready: false,
            promoted: false,
            promoting: false,
            received_at_promotion: false,
            epoch: Epoch(0),
            stopping: None,
            why: None,
            serving: true,
            shutting_down: false,
            primary: false,
            timeline: 1,
            line: 0,
            shown_timeline: 0,
            flushing: false,
            replaying: false,
            received: None,
            backends_wait: !names.is_empty(),
            names,
            reload_missed: false,
            commits: VecDeque::new(),
            waiting: Vec::new(),
            released: Lsn(0),
            hidden: BTreeSet::new(),
            receiver: None,
            connecting: None,
            senders: BTreeMap::new(),
            starting: None,
            promotions: Vec::new(),
            row: None,
            row_queue: VecDeque::new(),
            canaries: BTreeMap::new(),
        }
    }

    pub fn state(&self) -> ProcessState {
        match (self.stopping, self.ready) {
            (Some(_), _) => ProcessState::Stopping,
            (None, true) => ProcessState::Running,
            (None, false) => ProcessState::Starting,
        }
    }

    /// New sessions are let in.
    pub fn accepts(&self) -> bool {
        self.ready && self.serving && self.stopping.is_none()
    }
}

impl Member {
    pub fn new(config: MemberConfig) -> Self {
        Self {
            config,
            host: Host::default(),
            guard: Guard { up: true, ..Guard::default() },
            directory: None,
            pg: None,
            tampered: None,
            lowered_since: None,
        }
    }

    /// What lowers `synchronous_commit` here, as a look by SQL finds it.
    pub fn lowered_commit(&self) -> Vec<String> {
        let text = "sessions of role app: synchronous_commit = local";
        self.lowered_since.map(|_| text.to_owned()).into_iter().collect()
    }

    /// Names as a process that reads its settings now finds them.
    pub fn names_on_file(&self) -> SyncNames {
        self.tampered.clone().unwrap_or_else(|| self.guard.durable.names.clone())
    }

    pub fn state(&self) -> ProcessState {
        self.pg.as_ref().map_or(ProcessState::Stopped, Process::state)
    }

    /// A primary whose backends still work.
    pub fn writes(&self) -> bool {
        self.pg.as_ref().is_some_and(|pg| pg.primary && pg.serving && pg.ready)
    }

    /// Anybody who connects gets in.
    pub fn accepts(&self) -> bool {
        self.pg.as_ref().is_some_and(Process::accepts)
    }

    /// The process of this life, if it still is.
    pub fn alive(&mut self, life: u64) -> Option<&mut Process> {
        self.pg.as_mut().filter(|pg| pg.life == life)
    }

    pub fn status(&self) -> ActuatorStatus {
        let guard = &self.guard;
        ActuatorStatus {
            process: self.state(),
            epoch: guard.memory.epoch,
            deadline: guard.deadline,
            promoted: self.pg.as_ref().is_some_and(|pg| pg.promoted),
            fenced: guard.memory.fence.clone(),
            data_directory: guard.identity.clone(),
            exits: guard.exits,
            last_exit: guard.last_exit.clone(),
            always_receives: false,
            hindrances: Vec::new(),
            against_leaving: Vec::new(),
            told_primary: None,
        }
    }
}
