//! The trait, put together.

use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::observation::{
    ActuatorStatus, ControlData, Lineage, Observation, ProcessState,
};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, RegionId, SyncNames, Tick, TimelineId};
use serde::Deserialize;

use super::canary::{self, Canary};
use super::sql::{Session, SessionOptions, failed, timeout};
use super::{PostgresPlane, WRITE_RECORD, unexpected};
use crate::plane::{
    CanaryLook, DataPlane, PlaneError, Promoted, StopMode, TailArtefact, Taken, Upstream,
};
use crate::wal::{history_name, parse_history};
use crate::wire::{Answer, Command};

/// Limits of the calls. Where one is reached the command may still take effect.
const QUICK_LIMIT: Duration = Duration::from_secs(2);
/// Names, upstream: a small write and a signal, perhaps behind a start's writes.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// Longer than the guard lets a `changed` request wait.
const CHANGED_LIMIT: Duration = Duration::from_secs(10);
const IMMEDIATE_STOP_LIMIT: Duration = Duration::from_secs(30);
const FAST_STOP_LIMIT: Duration = Duration::from_secs(300);
/// Crash recovery may have much WAL to read.
const START_LIMIT: Duration = Duration::from_secs(600);
const PROMOTE_LIMIT: Duration = Duration::from_secs(60);
/// A receiver ends within milliseconds; one that hangs is not waited for.
const RECEIVER_LIMIT: Duration = Duration::from_secs(2);
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(600);
/// A checkpoint that was written since is not written again: a move asks for one before clients wait, and
/// once more before it stops PostgreSQL.
const CHECKPOINT_AGE_MAX: Duration = Duration::from_secs(3);
const COMMIT_LIMIT: Duration = Duration::from_secs(30);
/// Initialise, rewind, clone, save a tail.
const JOB_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// How often PostgreSQL is asked whether it is there, or promoted.
const POLL: Duration = Duration::from_millis(2);

const PROMOTED: &str = "\
select json_build_object('timeline', t.id, 'history', case when t.id > 1 then
  pg_read_file('pg_wal/' || lpad(upper(to_hex(t.id)), 8, '0') || '.history') end)::text
from (select ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int as id
      offset 0) t";

/// A receiver that still connects is in no statistics view but this one.
const RECEIVERS: &str = "\
select json_build_object('receivers',
    (select count(*) from pg_stat_activity where backend_type = 'walreceiver'),
  'received', greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()))::text";

#[derive(Deserialize)]
struct Receivers {
    receivers: u64,
    received: Option<Lsn>,
}

#[derive(Deserialize)]
struct PromotedNow {
    timeline: u64,
    history: Option<String>,
}

/// Runs `work` until it is done, at most `limit`.
async fn bounded<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, PlaneError>>,
) -> Result<T, PlaneError> {
    tokio::time::timeout(limit, work).await.map_err(|_| timeout(what, limit))?
}

impl PostgresPlane {
    async fn order(
        &self,
        what: &'static str,
        epoch: Option<Epoch>,
        command: Command,
        limit: Duration,
    ) -> Result<(), PlaneError> {
        match self.ask(&self.bulk, what, epoch, command, limit).await? {
            Answer::Nothing => Ok(()),
            other => Err(unexpected(what, &other)),
        }
    }

    async fn order_now(
        &self,
        what: &'static str,
        epoch: Option<Epoch>,
        command: Command,
        limit: Duration,
    ) -> Result<(), PlaneError> {
        match self.ask(&self.urgent, what, epoch, command, limit).await? {
            Answer::Nothing => Ok(()),
            other => Err(unexpected(what, &other)),
        }
    }

    async fn ask_status(
        &self,
        what: &'static str,
        command: Command,
        limit: Duration,
    ) -> Result<ActuatorStatus, PlaneError> {
        match self.ask(&self.urgent, what, None, command, limit).await? {
            Answer::Status(status) => Ok(status),
            other => Err(unexpected(what, &other)),
        }
    }

    async fn directory_job(
        &self,
        what: &'static str,
        epoch: Option<Epoch>,
        command: Command,
    ) -> Result<DataDirectoryId, PlaneError> {
        match self.ask(&self.bulk, what, epoch, command, JOB_LIMIT).await? {
            Answer::Directory(id) => Ok(id),
            other => Err(unexpected(what, &other)),
        }
    }

    /// A session as soon as PostgreSQL lets one in.
    async fn session_when_there(&self) -> Result<Session, PlaneError> {
        loop {
            match self.local_session(QUICK_LIMIT).await {
                Ok(session) => return Ok(session),
                Err(error) => {
                    if self.status().await?.process == ProcessState::Stopped {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn wait_promoted(&self, session: &Session) -> Result<Promoted, PlaneError> {
        let what = "promoting";
        while session.value(what, "select pg_is_in_recovery()").await? != "f" {
            tokio::time::sleep(POLL).await;
        }
        promoted_now(session).await
    }
}

/// Where a primary that was just promoted has begun.
pub(crate) async fn promoted_now(session: &Session) -> Result<Promoted, PlaneError> {
    let what = "promoting";
    let now: PromotedNow = session.json(what, PROMOTED).await?;
    let timeline = TimelineId(now.timeline);
    let history = now.history.unwrap_or_default();
    let history = parse_history(&history).map_err(|reason| failed(what, &reason))?;
    let starts_at = history.last().map(|ancestor| ancestor.switch);
    let missing = || failed(what, &format!("{} says no switch", history_name(timeline)));
    Ok(Promoted { timeline, starts_at: starts_at.ok_or_else(missing)? })
}

#[async_trait]
impl DataPlane for PostgresPlane {
    /// If PostgreSQL runs but lets nobody in within a few seconds this fails, yet the generation
    /// is taken: a stop is possible, and `take` can be called again.
    async fn take(&self) -> Result<Taken, PlaneError> {
        let what = "taking the actuator";
        let answer = self.ask(&self.urgent, what, None, Command::Take, CHANGE_LIMIT).await?;
        let Answer::Taken { generation, status } = answer else {
            return Err(unexpected(what, &answer));
        };
        self.generation.store(generation.0, Ordering::Release);
        self.observer.forget_sessions().await;
        self.canary.lock().unwrap_or_else(PoisonError::into_inner).take();
        if matches!(status.process, ProcessState::Running | ProcessState::Stopping) {
            let ended = self.end_older_agents().await;
            // Stopped meanwhile: then no session is left either.
            if ended.is_err() && self.status().await?.process != ProcessState::Stopped {
                ended?;
            }
        }
        Ok(Taken { generation, status })
    }

    async fn status(&self) -> Result<ActuatorStatus, PlaneError> {
        self.ask_status("asking for the status", Command::Status, QUICK_LIMIT).await
    }

    async fn changed(&self, seen: &ActuatorStatus) -> Result<ActuatorStatus, PlaneError> {
        loop {
            let command = Command::Changed { seen: seen.clone() };
            let now = self.ask_status("waiting for a change", command, CHANGED_LIMIT).await?;
            if now.differs(seen) {
                return Ok(now);
            }
        }
    }

    async fn arm(&self, epoch: Epoch, deadline: Tick) -> Result<(), PlaneError> {
        self.order_now("arming", Some(epoch), Command::Arm { deadline }, QUICK_LIMIT).await
    }

    async fn start(
        &self,
        epoch: Epoch,
        names: &SyncNames,
        upstream: Option<&Upstream>,
    ) -> Result<(), PlaneError> {
        let command = Command::Start { names: names.clone(), upstream: upstream.cloned() };
        self.order("starting", Some(epoch), command, START_LIMIT).await?;
        bounded("starting", START_LIMIT, self.session_when_there()).await.map(drop)
    }

    async fn promote(&self, epoch: Epoch, names: &SyncNames) -> Result<Promoted, PlaneError> {
        let work = async {
            let command = Command::Promote { names: names.clone() };
            // Writes wait: the connection that watches is made meanwhile. A refusal waits for nothing.
            let (session, ()) = tokio::try_join!(
                async { Ok(self.local_session(PROMOTE_LIMIT).await) },
                self.order("promoting", Some(epoch), command, PROMOTE_LIMIT),
            )?;
            let session = match session {
                Ok(session) => session,
                Err(_) => self.session_when_there().await?,
            };
            self.wait_promoted(&session).await
        };
        bounded("promoting", PROMOTE_LIMIT, work).await
    }

    async fn set_names(&self, epoch: Epoch, names: &SyncNames) -> Result<(), PlaneError> {
        let command = Command::SetNames { names: names.clone() };
        self.order("setting the names", Some(epoch), command, CHANGE_LIMIT).await
    }

    async fn follow(&self, epoch: Epoch, upstream: Option<&Upstream>) -> Result<(), PlaneError> {
        let command = Command::Follow { upstream: upstream.cloned() };
        self.order("following", Some(epoch), command, CHANGE_LIMIT).await
    }

    async fn stop_receiving(&self, epoch: Epoch) -> Result<Lsn, PlaneError> {
        let what = "stopping the WAL receiver";
        let session = self.local_session(QUICK_LIMIT).await?;
        let command = Command::Follow { upstream: None };
        self.order(what, Some(epoch), command, CHANGE_LIMIT).await?;
        let until = self.clock.now() + RECEIVER_LIMIT;
        loop {
            let now: Receivers = session.json(what, RECEIVERS).await?;
            if now.receivers == 0 {
                let unknown = || failed(what, &"how far it has received is not known");
                return now.received.ok_or_else(unknown);
            }
            if self.clock.now() >= until {
                return Err(failed(what, &"it does not end"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn stop(&self, epoch: Epoch, mode: StopMode) -> Result<(), PlaneError> {
        let limit = match mode {
            StopMode::Fast => FAST_STOP_LIMIT,
            StopMode::Immediate => IMMEDIATE_STOP_LIMIT,
        };
        self.order_now("stopping", Some(epoch), Command::Stop { mode }, limit).await
    }

    async fn set_fence(&self, reason: Option<&str>) -> Result<(), PlaneError> {
        let command = match reason {
            Some(reason) => Command::Fence { reason: reason.to_owned() },
            None => Command::Unfence,
        };
        self.order_now("fencing", None, command, IMMEDIATE_STOP_LIMIT).await
    }

    async fn control_data(&self) -> Result<ControlData, PlaneError> {
        let what = "reading pg_control";
        match self.ask(&self.bulk, what, None, Command::ControlData, CHANGE_LIMIT).await? {
            Answer::Control(control) => Ok(control),
            other => Err(unexpected(what, &other)),
        }
    }

    async fn observe(&self) -> Observation {
        self.observer.look(&self.access, &self.session_name(), &self.clock).await
    }

    async fn checkpoint(&self) -> Result<(), PlaneError> {
        let last = *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| self.clock.now().since(last) < CHECKPOINT_AGE_MAX) {
            return Ok(());
        }
        let session = self.local_session(CHECKPOINT_LIMIT).await?;
        session.text("writing a checkpoint", "checkpoint").await?;
        let now = self.clock.now();
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }

    async fn ensure_replication(&self, standbys: &[RegionId]) -> Result<(), PlaneError> {
        self.make_replication(standbys).await
    }

    async fn start_canary(&self) -> Result<(), PlaneError> {
        let canary = Canary::start(&self.access, &self.session_name()).await?;
        *self.canary.lock().unwrap_or_else(PoisonError::into_inner) = Some(canary);
        Ok(())
    }

    async fn look_canary(&self) -> Result<CanaryLook, PlaneError> {
        let session = self.local_session(QUICK_LIMIT).await?;
        canary::look(&self.canary, &session).await
    }

    async fn wake(&self) -> Result<Lsn, PlaneError> {
        let what = "waking waiting commits";
        let session = self.local_session(CHANGE_LIMIT).await?;
        session.text(what, WRITE_RECORD).await?;
        let position = session.value(what, "select pg_current_wal_flush_lsn()").await?;
        position.parse().map_err(|error| failed(what, &error))
    }

    async fn commit_probe(&self) -> Result<(), PlaneError> {
        let what = "committing a probe";
        let options = SessionOptions { local_commit: false, limit: COMMIT_LIMIT };
        let session = Session::local(&self.access, "continuum_probe_commit", options).await?;
        session.text(what, WRITE_RECORD).await?;
        if session.wait_was_cancelled() {
            return Err(failed(
                what,
                &"its wait for the standbys was cancelled; it counts for nothing (R11)",
            ));
        }
        Ok(())
    }

    async fn end_sessions(&self) -> Result<u32, PlaneError> {
        self.end_client_sessions().await
    }

    async fn initialise(&self) -> Result<DataDirectoryId, PlaneError> {
        self.directory_job("initialising", None, Command::Initialise).await
    }

    async fn lineage(&self, primary: &Upstream) -> Result<Lineage, PlaneError> {
        self.compare_with(primary).await
    }

    async fn save_tail(&self, fork: Lsn, timeline: TimelineId) -> Result<TailArtefact, PlaneError> {
        let what = "saving the tail";
        let command = Command::SaveTail { fork, timeline };
        match self.ask(&self.bulk, what, None, command, JOB_LIMIT).await? {
            Answer::Tail(artefact) => Ok(artefact),
            other => Err(unexpected(what, &other)),
        }
    }

    async fn rewind(
        &self,
        epoch: Epoch,
        primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError> {
        // pg_rewind reads the source's control file, which shows the new timeline only after a
        // checkpoint.
        let session = Session::remote(&self.config, primary, CHECKPOINT_LIMIT).await?;
        session.text("writing a checkpoint on the primary", "checkpoint").await?;
        let command = Command::Rewind { upstream: primary.clone() };
        self.directory_job("rewinding", Some(epoch), command).await
    }

    async fn reclone(
        &self,
        epoch: Epoch,
        primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError> {
        let command = Command::Reclone { upstream: primary.clone() };
        self.directory_job("cloning", Some(epoch), command).await
    }
}
