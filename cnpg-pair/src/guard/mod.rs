//! The guard: the one actuator of a member (R4), and what makes PostgreSQL's life end in time (R5).
//!
//! One process, one thread, one loop. The deadline is looked at every [`TICK`]; everything that
//! may touch a disk runs on the blocking pool or in a child process, so the look is never late for
//! long. PostgreSQL is the direct child of this thread and dies with it.
//!
//! What it keeps: commands of older generations and epochs are refused (R4, `authority`); a
//! deadline stands before a promotion is requested and PostgreSQL is stopped at it (R5,
//! `stopping`); names are only added at start and promotion (R10, `change`); the data directory loses its
//! identity before anything destructive and gets a new one after it (R13, `jobs`).

mod authority;
mod change;
mod config;
mod core;
mod files;
mod jobs;
mod lifecycle;
mod process;
mod serve;
mod shadow;
mod state;
mod stopping;
mod tail;
mod tools;

use std::time::Duration;

use continuum_domain::spec::SpecError;
use continuum_runtime::seed;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

pub use config::GuardConfig;
pub(crate) use config::{replication_role, slot_name};
pub(crate) use files::read_password;
pub(crate) use jobs::{Control, parse_control};
pub(crate) use state::fresh_identity;
pub use tools::locate_binaries;

/// How often the deadline is looked at.
pub const TICK: Duration = Duration::from_millis(10);

/// How often the data directory's identity is read again, to notice a disk that was replaced.
const IDENTITY_REFRESH: Duration = Duration::from_secs(1);

/// Why a guard could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The configuration is refused.
    #[error("the guard's configuration is refused: {0}")]
    Config(#[from] SpecError),
    /// Something around the guard is not as it must be.
    #[error("{what}: {reason}; {remedy}")]
    Environment {
        /// What is wrong.
        what: String,
        /// What was found.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

/// How a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("refused: {0}")]
    Refused(String),
    #[error("{what} failed: {reason}")]
    Failed { what: String, reason: String },
}

impl Failure {
    fn failed(what: &str, reason: impl std::fmt::Display) -> Self {
        Failure::Failed { what: what.into(), reason: reason.to_string() }
    }

    fn refused(why: impl Into<String>) -> Self {
        Failure::Refused(why.into())
    }
}

/// Runs file-system work off the loop's thread, so that a slow disk cannot delay the deadline.
async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match continuum_runtime::seed::blocking(work).await {
        Ok(result) => result.map_err(|error| Failure::failed(what, error)),
        Err(error) => Err(Failure::failed(what, error)),
    }
}

/// Runs a guard until it is told to end (SIGTERM or SIGINT). PostgreSQL is stopped before this
/// returns: at once if it is or was asked to become a primary, else by a fast shutdown.
///
/// Must run on the main thread of the process, on a current-thread runtime: kill-on-parent-death
/// follows the *thread* that spawned PostgreSQL.
pub async fn run(config: GuardConfig) -> Result<(), GuardError> {
    config.check()?;
    require_main_thread()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let guard = core::Guard::open(config).await?;
    let listener = serve::bind(&guard.config.socket)?;
    let mut terminate = on_signal(SignalKind::terminate())?;
    let mut interrupt = on_signal(SignalKind::interrupt())?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut refresh = tokio::time::interval(IDENTITY_REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tracing::info!(pair = %guard.config.pair, region = %guard.config.region, "guard ready");
    loop {
        // The deadline is looked at in this loop and not in a task of its own: if it panicked, the
        // guard must end, and PostgreSQL with it (R5).
        tokio::select! {
            biased;
            _ = tick.tick() => guard.look_at_deadline(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = refresh.tick() => drop(seed::spawn(guard.clone().refresh_identity())),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(seed::spawn(serve::connection(guard.clone(), stream))),
                Err(error) => tracing::error!(%error, "a connection could not be accepted"),
            },
        }
    }
    tracing::info!("told to end; stopping PostgreSQL first");
    let mut ending = std::pin::pin!(guard.clone().shut_down());
    loop {
        // A fast shutdown may take long: the deadline holds until the end.
        tokio::select! {
            biased;
            _ = tick.tick() => guard.look_at_deadline(),
            () = &mut ending => break,
        }
    }
    if let Err(error) = std::fs::remove_file(&guard.config.socket) {
        tracing::debug!(%error, "the socket was gone already");
    }
    Ok(())
}

fn on_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, GuardError> {
    signal(kind).map_err(|error| GuardError::Environment {
        what: "signals cannot be handled".into(),
        reason: error.to_string(),
        remedy: "check the limits of this process".into(),
    })
}

fn require_main_thread() -> Result<(), GuardError> {
    let main = rustix::thread::gettid() == rustix::process::getpid();
    let runtime = tokio::runtime::Handle::current();
    let current = runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread;
    if main && current {
        return Ok(());
    }
    Err(GuardError::Environment {
        what: "the guard does not run on the main thread of its process".into(),
        reason: "PostgreSQL would be killed when, and only when, that other thread ends (R5)"
            .into(),
        remedy: "block on it in main(), on a current-thread runtime".into(),
    })
}
