//! The guard's state and the rules every command passes.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_domain::observation::{ActuatorStatus, ProcessState};
use continuum_domain::{DataDirectoryId, Epoch, Generation, Tick};
use continuum_runtime::{BootClock, SharedClock, durable};
use tokio::sync::watch;

use super::authority::Authority;
use super::config::GuardConfig;
use super::files::{self, Layout};
use super::lifecycle::Running;
use super::process::Instance;
use super::state::{self, Durable};
use super::tools::{RunAs, Tools, first_closed_directory};
use super::{Failure, GuardError, blocking};
use crate::wire::{Answer, Command, Request};

/// How long a `changed` request waits before it answers all the same, so that an agent notices a
/// guard that hangs.
const CHANGED_WAIT: Duration = Duration::from_secs(5);

/// The guard: shared by its loop and the tasks of its requests, all on one thread.
pub(crate) struct Guard {
    pub config: GuardConfig,
    pub layout: Layout,
    pub tools: Tools,
    pub clock: SharedClock,
    inner: Mutex<Inner>,
    /// Held by whoever changes PostgreSQL or its configuration: commands take turns (R4). Arming,
    /// immediate stop and fence never wait for it.
    turn: tokio::sync::Mutex<()>,
    /// What the state file holds.
    written: tokio::sync::Mutex<Durable>,
    changed: watch::Sender<()>,
    /// Locked for the life of the process: one guard per data directory.
    _lock: File,
}

/// Everything in memory.
pub(crate) struct Inner {
    pub authority: Authority,
    pub fence: Option<String>,
    pub expected: Option<DataDirectoryId>,
    pub identity: Option<DataDirectoryId>,
    pub names: continuum_domain::SyncNames,
    pub upstream: Option<crate::plane::Upstream>,
    pub running: Option<Running>,
    /// Rises at each order to stop; a start or promotion under way gives up when it has.
    pub stops: u64,
    pub exits: u64,
    pub last_exit: Option<String>,
    pub job: Option<&'static str>,
    /// The guard was told to end: nothing starts any more.
    pub ending: bool,
}

/// What a command was admitted with; checked again right before it takes effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    generation: Generation,
    epoch: Option<Epoch>,
    stops: u64,
}

fn environment(what: &str, reason: impl std::fmt::Display, remedy: &str) -> GuardError {
    GuardError::Environment { what: what.into(), reason: reason.to_string(), remedy: remedy.into() }
}

/// A sibling of the data directory, `NAME.SUFFIX`.
pub(crate) fn sibling(data: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

impl Guard {
    /// Opens the guard's state and leaves no PostgreSQL of an earlier guard alive (R5).
    pub async fn open(config: GuardConfig) -> Result<Arc<Self>, GuardError> {
        let tools = Tools::find(&config).await?;
        let layout = Layout { root: config.state_directory.clone() };
        let unwritable = |error: std::io::Error| {
            environment(
                "the guard's directories cannot be made",
                error,
                "check their owner and space",
            )
        };
        layout.create().map_err(unwritable)?;
        let user = tools.run_as;
        files::make_directory(&config.socket_directory, 0o700, user.as_ref())
            .map_err(unwritable)?;
        check_reach(&config, &layout, user)?;
        let lock = lock_data_directory(&config)?;
        let durable: Option<Durable> = durable::read_json(&layout.state()).map_err(|error| {
            environment(
                "the guard's state cannot be read",
                error,
                "restore the file; do not delete it",
            )
        })?;
        let durable = durable.unwrap_or_default();
        kill_leftovers(&config).await;
        restore_after_cut(&config);
        let identity = state::identity(&config.data_directory, durable.data_directory.as_ref());
        let inner = Inner {
            authority: Authority::new(durable.generation, durable.epoch),
            fence: durable.fence.clone(),
            expected: durable.data_directory.clone(),
            identity,
            names: durable.names.clone(),
            upstream: durable.upstream.clone(),
            running: None,
            stops: 0,
            exits: 0,
            last_exit: None,
            job: None,
            ending: false,
        };
        Ok(Arc::new(Self {
            config,
            layout,
            tools,
            clock: Arc::new(BootClock),
            inner: Mutex::new(inner),
            turn: tokio::sync::Mutex::new(()),
            written: tokio::sync::Mutex::new(durable),
            changed: watch::Sender::new(()),
            _lock: lock,
        }))
    }

    /// The state in memory. Never held across an await.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Tick {
        self.clock.now()
    }

    pub fn owner(&self) -> Option<RunAs> {
        self.tools.run_as
    }

    /// Wakes everybody who waits for a change of status.
    pub fn notify(&self) {
        self.changed.send_replace(());
    }

    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The status as agents see it.
    pub fn status(&self) -> ActuatorStatus {
        let inner = self.inner();
        ActuatorStatus {
            process: inner.running.as_ref().map_or(ProcessState::Stopped, Running::state),
            epoch: inner.authority.epoch(),
            deadline: inner.authority.deadline(),
            promoted: inner.running.as_ref().is_some_and(|running| running.promoted),
            fenced: inner.fence.clone(),
            data_directory: inner.identity.clone(),
            exits: inner.exits,
            last_exit: inner.last_exit.clone(),
            always_receives: false,
            hindrances: Vec::new(),
            against_leaving: Vec::new(),
            told_primary: None,
        }
    }

    /// Brings the state file up to date. Values are raised in memory first: until they are on disk
    /// older commands are refused already, and if the guard dies, PostgreSQL dies with it.
    pub async fn persist(&self) -> Result<(), Failure> {
        let mut written = self.written.lock().await;
        let snapshot = self.inner().durable();
        if *written == snapshot {
            return Ok(());
        }
        let (path, copy) = (self.layout.state(), snapshot.clone());
        blocking("writing the guard's state", move || durable::write_json(&path, &copy)).await?;
        *written = snapshot;
        Ok(())
    }

    /// R4: admits a command or refuses it.
    fn admit(
        &self,
        generation: Option<Generation>,
        epoch: Option<Epoch>,
    ) -> Result<Ticket, Failure> {
        let mut inner = self.inner();
        inner.authority.admit(generation, epoch).map_err(Failure::Refused)?;
        Ok(Ticket { generation: inner.authority.generation(), epoch, stops: inner.stops })
    }

    /// Waits for this command's turn and checks it once more.
    pub async fn enter(&self, ticket: &Ticket) -> Result<tokio::sync::MutexGuard<'_, ()>, Failure> {
        let turn = self.turn.lock().await;
        self.inner().recheck(ticket)?;
        Ok(turn)
    }

    /// R4: hands the actuator to a new agent. Older commands are refused from the first line on;
    /// one that was under way has finished when this returns.
    async fn take(&self) -> Result<Answer, Failure> {
        let generation = self.inner().authority.take();
        let _turn = self.turn.lock().await;
        self.persist().await?;
        tracing::info!(%generation, "a new agent took the actuator");
        Ok(Answer::Taken { generation, status: self.status() })
    }

    /// R5: sets the deadline. In memory at once; a newer epoch is also written.
    async fn arm(&self, deadline: Tick) -> Result<Answer, Failure> {
        self.inner().authority.arm(deadline);
        self.persist().await?;
        Ok(Answer::Nothing)
    }

    async fn wait_for_change(&self, seen: &ActuatorStatus) -> ActuatorStatus {
        let mut changes = self.subscribe();
        let until = self.now() + CHANGED_WAIT;
        loop {
            let status = self.status();
            let left = self.now().until(until);
            if status.differs(seen) || left.is_zero() {
                return status;
            }
            // A timeout only ends the wait; the status is read again above.
            let _ = tokio::time::timeout(left, changes.changed()).await;
        }
    }

    /// Carries out one request.
    pub async fn handle(self: Arc<Self>, request: Request) -> Result<Answer, Failure> {
        match request.command {
            Command::Status => return Ok(Answer::Status(self.status())),
            Command::Changed { seen } => {
                return Ok(Answer::Status(self.wait_for_change(&seen).await));
            }
            Command::Take => return self.take().await,
            // Break-glass: a person needs no generation.
            Command::Fence { reason } => return self.fence(Some(reason)).await,
            Command::Unfence => return self.fence(None).await,
            _ => {}
        }
        let ticket = self.admit(request.generation, request.epoch)?;
        match request.command {
            Command::Arm { deadline } => self.arm(deadline).await,
            Command::Start { names, upstream } => self.start(&ticket, &names, upstream).await,
            Command::Promote { names } => self.promote(&ticket, &names).await,
            Command::SetNames { names } => self.set_names(&ticket, names).await,
            Command::Follow { upstream } => self.follow(&ticket, upstream).await,
            Command::Stop { mode } => self.stop(&ticket, mode).await,
            Command::ControlData => self.control_data().await.map(Answer::Control),
            Command::Initialise => self.initialise(&ticket).await,
            Command::History => self.history(&ticket).await,
            Command::Sample { timeline, end } => self.sample(&ticket, timeline, end).await,
            Command::SaveTail { fork, timeline } => self.save_tail(&ticket, fork, timeline).await,
            Command::Rewind { upstream } => self.rewind(&ticket, &upstream).await,
            Command::Reclone { upstream } => self.reclone(&ticket, &upstream).await,
            Command::Status
            | Command::Changed { .. }
            | Command::Take
            | Command::Fence { .. }
            | Command::Unfence => Err(Failure::refused("handled above")),
        }
    }

    /// Reads the identity again; a directory that was replaced behind the guard is noticed (R13).
    pub async fn refresh_identity(self: Arc<Self>) {
        let expected = self.inner().expected.clone();
        let (data, wanted) = (self.config.data_directory.clone(), expected.clone());
        let found =
            blocking("reading the identity", move || Ok(state::identity(&data, wanted.as_ref())))
                .await;
        let mut inner = self.inner();
        let counts = inner.expected == expected && inner.job.is_none();
        let Ok(found) = found else { return };
        if counts && inner.identity != found {
            inner.identity = found;
            drop(inner);
            self.notify();
        }
    }
}

impl Inner {
    fn durable(&self) -> Durable {
        Durable {
            generation: self.authority.generation(),
            epoch: self.authority.epoch(),
            fence: self.fence.clone(),
            data_directory: self.expected.clone(),
            names: self.names.clone(),
            upstream: self.upstream.clone(),
        }
    }

    /// R4, right before a command takes effect: still the newest generation and epoch, and no stop
    /// was ordered since it was admitted.
    pub fn recheck(&self, ticket: &Ticket) -> Result<(), Failure> {
        if ticket.generation != self.authority.generation() {
            return Err(Failure::refused("another agent took the actuator meanwhile"));
        }
        if ticket.epoch.is_some_and(|epoch| epoch < self.authority.epoch()) {
            return Err(Failure::refused("a newer epoch was seen meanwhile"));
        }
        if ticket.stops != self.stops {
            return Err(Failure::refused("a stop was ordered meanwhile"));
        }
        Ok(())
    }
}

/// Only one guard may own a data directory: a second would kill the first one's PostgreSQL.
fn lock_data_directory(config: &GuardConfig) -> Result<File, GuardError> {
    let path = sibling(&config.data_directory, "guard-lock");
    let failed = |reason: String| {
        environment(
            &format!("{} cannot be locked", path.display()),
            reason,
            "end the other guard of this data directory, or check the directory's owner",
        )
    };
    if let Some(parent) = config.data_directory.parent()
        && !parent.is_dir()
    {
        files::make_directory(parent, 0o755, None).map_err(|error| failed(error.to_string()))?;
    }
    let file = File::create(&path).map_err(|error| failed(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed("another guard holds it".into())),
        Err(TryLockError::Error(error)) => Err(failed(error.to_string())),
    }
}

/// PostgreSQL's own errors about a closed directory are hard to read: say it at start.
fn check_reach(
    config: &GuardConfig,
    layout: &Layout,
    user: Option<RunAs>,
) -> Result<(), GuardError> {
    let Some(user) = user else { return Ok(()) };
    let paths = [&layout.configuration(), &config.data_directory, &config.socket_directory];
    for path in paths {
        if let Some(closed) = first_closed_directory(path, user) {
            return Err(environment(
                &format!("{} is out of reach for the user of PostgreSQL", path.display()),
                format!("{} is closed to uid {}", closed.display(), user.uid),
                "open that directory for passing through (chmod o+x)",
            ));
        }
    }
    Ok(())
}

/// R5: a process of an earlier guard is killed, never adopted. Nothing is served before the last
/// one is gone; one that hangs in the kernel cannot answer anybody either.
async fn kill_leftovers(config: &GuardConfig) {
    let Ok(instance) = Instance::of(&config.data_directory) else { return };
    let mut rounds = 0u64;
    loop {
        let left = instance.kill_all(None);
        if left == 0 {
            return;
        }
        if rounds.is_multiple_of(500) {
            tracing::warn!(left, "killing PostgreSQL processes an earlier guard left");
        }
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Finishes a swap of directories that was cut short, and removes half-made clones.
fn restore_after_cut(config: &GuardConfig) {
    let data = &config.data_directory;
    let (old, new) = (sibling(data, "old"), sibling(data, "new"));
    let attempt = || -> std::io::Result<()> {
        if old.is_dir() && !data.exists() {
            // Its mark says pending: it is kept for people and for a re-clone, never started.
            std::fs::rename(&old, data)?;
        }
        for path in [&old, &new] {
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    };
    if let Err(error) = attempt() {
        tracing::error!(%error, "leftovers of a clone that was cut short could not be tidied");
    }
}
