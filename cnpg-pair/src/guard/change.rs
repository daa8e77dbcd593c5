//! What changes in a running PostgreSQL: promotion, names, upstream. No SQL takes part (R4).

use std::sync::Arc;

use continuum_domain::{SyncNames, Tick};
use rustix::process::Signal;

use super::core::{Guard, Inner, Ticket};
use super::{Failure, blocking, files, state};
use crate::plane::Upstream;
use crate::wire::Answer;

impl Guard {
    /// Promotes: the file and the signal `pg_ctl promote` uses, so no statement can land late (R4).
    pub async fn promote(
        self: &Arc<Self>,
        ticket: &Ticket,
        names: &SyncNames,
    ) -> Result<Answer, Failure> {
        let _turn = self.enter(ticket).await?;
        let now = self.now();
        {
            let mut inner = self.inner();
            inner.may_promote(now)?;
            // R10: promotion only adds names.
            state::add_names(&mut inner.names, names);
        }
        self.apply_replication().await?;
        let handle = {
            let now = self.now();
            let mut inner = self.inner();
            inner.recheck(ticket)?;
            inner.may_promote(now)?;
            // R5: from here on the deadline stops it. Any signal to the postmaster makes it look
            // for the file, so the mark stands before the file does.
            let running = inner.running.as_mut().ok_or_else(not_running)?;
            running.promoted = true;
            running.handle.clone()
        };
        let (path, owner) = (self.config.data_directory.join("promote"), self.owner());
        let file = path.clone();
        blocking("requesting the promotion", move || {
            files::replace(&file, b"", owner.as_ref(), false)
        })
        .await?;
        let now = self.now();
        let late = {
            let inner = self.inner();
            inner.recheck(ticket).and_then(|()| inner.may_promote(now)).err()
        };
        if let Some(failure) = late {
            blocking("withdrawing the promotion", move || files::remove_if_there(&path)).await?;
            return Err(failure);
        }
        handle.signal(Signal::USR1);
        tracing::info!("promotion requested");
        Ok(Answer::Nothing)
    }

    /// Sets the names exactly: the relax step is the agent's to decide (R10).
    pub async fn set_names(&self, ticket: &Ticket, names: SyncNames) -> Result<Answer, Failure> {
        let _turn = self.enter(ticket).await?;
        self.inner().names = names;
        self.apply_replication().await?;
        Ok(Answer::Nothing)
    }

    /// Points a standby elsewhere; no upstream ends its receiver.
    pub async fn follow(
        &self,
        ticket: &Ticket,
        upstream: Option<Upstream>,
    ) -> Result<Answer, Failure> {
        let _turn = self.enter(ticket).await?;
        self.inner().upstream = upstream;
        self.apply_replication().await?;
        Ok(Answer::Nothing)
    }

    pub fn replication_text(&self) -> String {
        let inner = self.inner();
        let (names, upstream) = (&inner.names, inner.upstream.as_ref());
        files::replication_text(&self.config, &self.layout, names, upstream)
    }

    /// Writes names and upstream to state and configuration, and has PostgreSQL reload.
    async fn apply_replication(&self) -> Result<(), Failure> {
        self.persist().await?;
        let (path, owner) = (self.layout.replication(), self.owner());
        let (text, data) = (self.replication_text(), self.config.data_directory.clone());
        blocking("writing the replication settings", move || {
            if data.is_dir() {
                files::strip_overrides(&data, owner.as_ref())?;
            }
            files::replace(&path, text.as_bytes(), owner.as_ref(), false)
        })
        .await?;
        if let Some(running) = self.inner().running.as_mut() {
            // Before PostgreSQL has its handlers, SIGHUP would end it.
            if running.ready {
                running.handle.signal(Signal::HUP);
            } else {
                running.reload_when_ready = true;
            }
        }
        Ok(())
    }
}

fn not_running() -> Failure {
    Failure::refused("PostgreSQL does not run")
}

impl Inner {
    fn may_promote(&self, now: Tick) -> Result<(), Failure> {
        self.not_barred()?;
        self.authority.may_promote(now).map_err(Failure::Refused)?;
        match &self.running {
            Some(running) if running.stopping.is_none() && running.ready => Ok(()),
            Some(running) if running.stopping.is_some() => {
                Err(Failure::refused("PostgreSQL is stopping"))
            }
            Some(_) => Err(Failure::refused("PostgreSQL does not accept connections yet")),
            None => Err(not_running()),
        }
    }
}
