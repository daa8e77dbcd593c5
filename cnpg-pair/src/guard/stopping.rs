//! Stopping PostgreSQL: the deadline, the fence, and the orderly way.

use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::seed;
use rustix::process::Signal;

use super::Failure;
use super::core::{Guard, Ticket};
use super::process::{Handle, Instance};
use crate::plane::StopMode;
use crate::wire::Answer;

/// How often a stop looks for what is left.
const STOP_POLL: Duration = Duration::from_millis(1);
/// Longest time SIGQUIT alone is given, if the stop budget leaves it.
const QUIT_SHARE_MAX: Duration = Duration::from_secs(1);
/// Sweeps before the postmaster is killed although something of it is still there: a process
/// hanging in the kernel.
const SWEEPS_MAX: u32 = 200;

impl Guard {
    /// R5: at the deadline PostgreSQL is stopped if it is a primary or may become one. A standby
    /// without a promotion requested cannot acknowledge anything and goes on.
    pub fn look_at_deadline(self: &Arc<Self>) {
        let now = self.now();
        let due = {
            let inner = self.inner();
            let primary = inner.running.as_ref().is_some_and(|running| {
                running.promoted && running.stopping != Some(StopMode::Immediate)
            });
            primary && inner.authority.expired(now)
        };
        if due {
            tracing::error!("the deadline has come: stopping PostgreSQL (R5)");
            self.stop_now("the armed deadline came");
        }
    }

    /// Stops PostgreSQL; returns when no process of it is left.
    pub async fn stop(
        self: &Arc<Self>,
        ticket: &Ticket,
        mode: StopMode,
    ) -> Result<Answer, Failure> {
        match mode {
            StopMode::Immediate => {
                self.inner().stops += 1;
                self.stop_now("an immediate stop was ordered");
            }
            StopMode::Fast => {
                let _turn = self.enter(ticket).await?;
                self.stop_fast();
            }
        }
        self.wait_stopped().await;
        Ok(Answer::Nothing)
    }

    fn stop_fast(&self) {
        let mut inner = self.inner();
        inner.stops += 1;
        if let Some(running) = inner.running.as_mut().filter(|running| running.stopping.is_none()) {
            running.stopping = Some(StopMode::Fast);
            running.why = Some("a fast stop was ordered".into());
            running.handle.signal(Signal::INT);
        }
        drop(inner);
        self.notify();
    }

    async fn wait_stopped(&self) {
        let mut changes = self.subscribe();
        while self.inner().running.is_some() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The fence: begins the immediate stop and returns at once.
    pub fn stop_now(self: &Arc<Self>, why: &str) {
        let (handle, instance, pid) = {
            let mut inner = self.inner();
            let Some(running) = inner.running.as_mut() else { return };
            if running.stopping == Some(StopMode::Immediate) {
                return;
            }
            running.stopping = Some(StopMode::Immediate);
            running.why = Some(why.to_owned());
            (running.handle.clone(), running.instance, running.pid)
        };
        // The first signal goes out before anything else may run.
        handle.signal(Signal::QUIT);
        self.notify();
        drop(seed::spawn(self.clone().kill_if_needed(handle, instance, pid)));
    }

    /// R11: SIGQUIT, then SIGKILL of everything. The postmaster is frozen first, so that it cannot
    /// start new processes or tidy up while its children are killed.
    async fn kill_if_needed(self: Arc<Self>, handle: Arc<Handle>, instance: Instance, pid: i32) {
        let quit_until = self.now() + (self.config.stop_budget / 3).min(QUIT_SHARE_MAX);
        let gone = || self.inner().running.as_ref().is_none_or(|running| running.pid != pid);
        while self.now() < quit_until {
            if gone() {
                return;
            }
            tokio::time::sleep(STOP_POLL).await;
        }
        tracing::warn!("SIGQUIT was not enough: killing every process of PostgreSQL");
        handle.signal(Signal::STOP);
        let mut sweeps = 0;
        while !gone() && sweeps < SWEEPS_MAX && instance.kill_all(Some(pid)) > 0 {
            sweeps += 1;
            tokio::time::sleep(STOP_POLL).await;
        }
        handle.signal(Signal::KILL);
    }

    /// Sets or clears the durable fence. Setting it stops PostgreSQL first and writes then: a full
    /// disk must not keep it alive.
    pub async fn fence(self: &Arc<Self>, reason: Option<String>) -> Result<Answer, Failure> {
        let setting = reason.is_some();
        {
            let mut inner = self.inner();
            inner.fence = reason;
            if setting {
                inner.stops += 1;
            }
        }
        if setting {
            tracing::warn!("fenced");
            self.stop_now("the member was fenced");
        }
        self.notify();
        let written = self.persist().await;
        if setting {
            self.wait_stopped().await;
        }
        written.map(|()| Answer::Nothing)
    }

    /// The end of the guard: PostgreSQL goes first.
    pub async fn shut_down(self: Arc<Self>) {
        let primary = {
            let mut inner = self.inner();
            inner.stops += 1;
            inner.ending = true;
            inner.running.as_ref().is_some_and(|running| running.promoted)
        };
        if primary {
            self.stop_now("the guard was told to end");
        } else {
            self.stop_fast();
        }
        self.wait_stopped().await;
    }
}
