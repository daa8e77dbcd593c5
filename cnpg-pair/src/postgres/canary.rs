//! The canary commit of the growth proof (R12), and commits that never wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_domain::Lsn;
use continuum_runtime::seed;
use tokio::task::JoinHandle;

use super::WRITE_RECORD;
use super::access::Access;
use super::sql::{Session, SessionOptions, failed};
use crate::plane::{CanaryLook, PlaneError};

/// Longest time for opening the canary's session and for one look.
const STEP_LIMIT: Duration = Duration::from_secs(2);
/// A canary that waits longer than this is of no use to anybody.
const CANARY_LIMIT: Duration = Duration::from_secs(3_600);

/// One commit that must wait.
#[derive(Debug)]
pub(crate) struct Canary {
    backend: String,
    /// Set when the commit has returned, whatever it said: it does not wait any more.
    returned: Arc<AtomicBool>,
    commit: Option<Lsn>,
    task: JoinHandle<()>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Canary {
    /// Starts a commit in a session of its own, under the pair's own `synchronous_commit`.
    pub async fn start(access: &Access, name: &str) -> Result<Self, PlaneError> {
        let options = SessionOptions { local_commit: false, limit: CANARY_LIMIT };
        let opening = async {
            let session = Session::local(access, name, options).await?;
            let backend = session.value("starting the canary", "select pg_backend_pid()").await?;
            Ok((session, backend))
        };
        let (session, backend) = tokio::time::timeout(STEP_LIMIT, opening)
            .await
            .map_err(|_| super::sql::timeout("starting the canary", STEP_LIMIT))??;
        let returned = Arc::new(AtomicBool::new(false));
        let flag = returned.clone();
        let task = seed::spawn(async move {
            let result = session.text("the canary", WRITE_RECORD).await;
            flag.store(true, Ordering::Release);
            match result {
                Ok(_) if session.wait_was_cancelled() => {
                    tracing::error!("somebody cancelled the canary's wait for its standbys (R11)");
                }
                Ok(_) => tracing::debug!("the canary's commit returned"),
                Err(error) => tracing::debug!(%error, "the canary ended"),
            }
        });
        Ok(Self { backend, returned, commit: None, task })
    }
}

/// Looks at the canary from another session.
pub(crate) async fn look(
    canary: &Mutex<Option<Canary>>,
    session: &Session,
) -> Result<CanaryLook, PlaneError> {
    let what = "looking at the canary";
    let (backend, returned) = {
        let canary = canary.lock().unwrap_or_else(PoisonError::into_inner);
        let started = canary.as_ref().ok_or_else(|| failed(what, &"no canary was started"))?;
        (started.backend.clone(), started.returned.clone())
    };
    let statement = format!(
        "select case when exists (select from pg_stat_activity \
         where pid = {backend} and wait_event = 'SyncRep') then pg_current_wal_flush_lsn() end"
    );
    let position = session.text(what, &statement).await?;
    let position: Option<Lsn> = match position {
        Some(text) => Some(text.parse().map_err(|error| failed(what, &error))?),
        None => None,
    };
    let waiting = position.is_some() && !returned.load(Ordering::Acquire);
    let mut canary = canary.lock().unwrap_or_else(PoisonError::into_inner);
    let current = canary.as_mut().filter(|current| current.backend == backend);
    let commit_lsn = current.and_then(|current| {
        if waiting && current.commit.is_none() {
            // It waits, so its commit record lies before this position.
            current.commit = position;
        }
        current.commit
    });
    Ok(CanaryLook { waiting, commit_lsn })
}
