//! What breaks a member, from outside.

use continuum_domain::{Lsn, SyncNames};

use super::judge::{Event, SessionId};
use super::world::World;

impl World {
    pub fn kill_postmaster(&mut self, r: usize) {
        if self.members[r].pg.is_some() && !self.members[r].host.frozen {
            let takes = self.draw(self.settings.orphans);
            if let Some(pg) = self.pg(r) {
                pg.stopping.get_or_insert(continuum_cnpg_pair::plane::StopMode::Immediate);
                pg.why = Some("it ended by itself".into());
            }
            self.notify(r);
            self.after_in(r, takes, move |w| w.process_gone(r, false));
        }
    }

    /// The guard is killed: its postmaster with it, and backends when they notice (R5).
    pub fn kill_guard(&mut self, r: usize) {
        if !self.members[r].guard.up {
            return;
        }
        self.end_guard(r);
        let takes = self.draw(self.settings.orphans);
        if let Some(pg) = self.pg(r) {
            pg.stopping = Some(continuum_cnpg_pair::plane::StopMode::Immediate);
            pg.why = Some("its guard died".into());
            pg.starting = None;
            pg.promotions.clear();
            self.after_in(r, takes, move |w| w.process_gone(r, false));
        }
        let text = format!("the guard of {} was killed", self.region(r));
        self.note(Event::Note(text));
    }

    pub fn start_guard(&mut self, r: usize) {
        let member = &self.members[r];
        if !member.guard.up && !member.host.off {
            self.begin_guard(r);
        }
    }

    /// Power goes: what is in memory is gone, and nobody is told.
    pub fn power_off(&mut self, r: usize) {
        let host = &mut self.members[r].host;
        if std::mem::replace(&mut host.off, true) {
            return;
        }
        host.frozen = false;
        let forgotten = (std::mem::take(&mut host.parked), std::mem::take(&mut host.hanging));
        drop(forgotten);
        self.end_guard(r);
        if let Some(pg) = self.pg(r) {
            pg.why = Some("the power went".into());
            pg.starting = None;
            pg.promotions.clear();
        }
        self.forget_process(r, false);
        let text = format!("power off in {}", self.region(r));
        self.note(Event::Note(text));
    }

    pub fn power_on(&mut self, r: usize) {
        if std::mem::replace(&mut self.members[r].host.off, false) {
            self.begin_guard(r);
        }
    }

    pub fn freeze(&mut self, r: usize) {
        let host = &mut self.members[r].host;
        host.frozen = !host.off;
    }

    pub fn thaw(&mut self, r: usize) {
        let host = &mut self.members[r].host;
        if std::mem::replace(&mut host.frozen, false) {
            let parked = std::mem::take(&mut host.parked);
            self.go_on(r, parked);
        }
    }

    pub fn fsync_hang(&mut self, r: usize, on: bool) {
        let host = &mut self.members[r].host;
        host.fsync_hangs = on;
        if !on {
            let hanging = std::mem::take(&mut host.hanging);
            self.go_on(r, hanging);
        }
    }

    pub fn replay_stall(&mut self, r: usize, on: bool) {
        self.members[r].host.replay_stalls = on;
        if !on {
            self.replay_soon(r);
        }
    }

    pub fn slow_checkpointer(&mut self, r: usize, on: bool) {
        self.members[r].host.checkpointer_slow = on;
        if !on && self.pg(r).is_some_and(|pg| std::mem::take(&mut pg.reload_missed)) {
            let takes = self.draw(self.settings.reload_checkpointer);
            self.after_in(r, takes, move |w| w.checkpointer_reloads(r));
        }
    }

    /// Sessions lower `synchronous_commit` from now on, or no longer.
    pub fn lower_commit(&mut self, r: usize, on: bool) {
        let now = self.now;
        let since = &mut self.members[r].lowered_since;
        *since = on.then(|| since.unwrap_or(now));
    }

    /// The disk is new: directory gone, and PostgreSQL with it. The guard's own state is elsewhere.
    pub fn wipe(&mut self, r: usize) {
        if self.members[r].pg.is_some() {
            self.ended_by_itself(r, "its data directory is gone");
        }
        self.members[r].directory = None;
        self.refresh_identity(r);
        let member = self.region(r);
        self.note(Event::Directory { member, id: None, how: "wiped".into() });
        self.notify(r);
    }

    /// `ALTER SYSTEM SET synchronous_standby_names = ''` and a reload, by somebody else.
    pub fn tamper_names(&mut self, r: usize) {
        self.members[r].tampered = Some(SyncNames::default());
        if self.members[r].pg.as_ref().is_some_and(|pg| pg.ready) {
            self.reload(r);
        }
    }

    pub fn cancel(&mut self, r: usize) -> Option<SessionId> {
        if self.members[r].host.frozen { None } else { self.cancel_wait(r) }
    }

    pub fn heal(&mut self) {
        for r in 0..self.members.len() {
            self.power_on(r);
            self.thaw(r);
            self.fsync_hang(r, false);
            self.slow_checkpointer(r, false);
            self.lower_commit(r, false);
            let host = &mut self.members[r].host;
            host.full = false;
            host.cannot_start = false;
            host.receiver_stuck = false;
            host.commands_slow = false;
            host.replay_by = std::time::Duration::ZERO;
            self.replay_stall(r, false);
            self.start_guard(r);
        }
    }

    /// Whether a commit that came now would be carried out.
    pub fn accepts_writes(&self, r: usize) -> bool {
        let member = &self.members[r];
        member.writes() && member.accepts() && !member.host.frozen && !member.host.off
    }

    /// Position that a slot holds WAL back to, for people.
    pub fn slot(&self, r: usize, standby: usize) -> Option<(Lsn, bool)> {
        let slot = self.members[r].directory.as_ref()?.slots.get(&standby)?;
        Some((slot.restart, slot.lost))
    }
}
