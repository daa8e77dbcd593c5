//! Jobs on the stopped data directory: initialise, rewind, clone, read `pg_control`.

use std::fs;
use std::path::Path;

use continuum_domain::observation::ControlData;
use continuum_domain::{DataDirectoryId, Lsn, TimelineId};
use tokio::process::Command;

use super::core::{Guard, Ticket, sibling};
use super::files::{self, sync_parent, tool_conninfo};
use super::state::{self, Mark, fresh_identity};
use super::{Failure, blocking};
use crate::plane::Upstream;
use crate::wire::Answer;

const CONTROL_TOOL: &str = "pg_controldata";

/// The one job slot; free again when dropped.
pub(crate) struct JobSlot<'a> {
    guard: &'a Guard,
}

impl Drop for JobSlot<'_> {
    fn drop(&mut self) {
        self.guard.inner().job = None;
        self.guard.notify();
    }
}

/// `pg_controldata`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub data: ControlData,
    pub clean_as_primary: bool,
    pub redo: Lsn,
    /// Timeline of the minimum recovery point; 0 when there is none.
    pub recovery_timeline: TimelineId,
    pub segment_bytes: u64,
}

impl Guard {
    /// Takes the job slot: nothing else is under way and PostgreSQL is stopped.
    pub async fn begin_job(
        &self,
        ticket: &Ticket,
        what: &'static str,
    ) -> Result<JobSlot<'_>, Failure> {
        let _turn = self.enter(ticket).await?;
        let mut inner = self.inner();
        if let Some(other) = inner.job {
            return Err(Failure::refused(format!("{other} is under way")));
        }
        if inner.running.is_some() {
            return Err(Failure::refused(format!("PostgreSQL runs; stop it before {what}")));
        }
        if inner.ending {
            return Err(Failure::refused("the guard is ending"));
        }
        inner.job = Some(what);
        drop(inner);
        Ok(JobSlot { guard: self })
    }

    /// R13: from here on the directory has no identity, in memory, in the state file and in
    /// the directory itself, in that order.
    async fn forget_identity(&self) -> Result<(), Failure> {
        {
            let mut inner = self.inner();
            inner.expected = None;
            inner.identity = None;
        }
        self.persist().await?;
        let (data, owner) = (self.config.data_directory.clone(), self.owner());
        blocking("marking the data directory", move || {
            if data.is_dir() {
                state::write_mark(&data, &Mark::Pending, owner.as_ref())
            } else {
                Ok(())
            }
        })
        .await
    }

    /// R13: records the identity that the directory already carries.
    async fn adopt_identity(&self, id: &DataDirectoryId) -> Result<(), Failure> {
        self.inner().expected = Some(id.clone());
        self.persist().await?;
        self.inner().identity = Some(id.clone());
        Ok(())
    }

    /// A tool that reads this member's password from the passfile.
    async fn tool_with_password(&self, program: &str) -> Result<Command, Failure> {
        let (config, layout, owner) = (self.config.clone(), self.layout.clone(), self.owner());
        let path = layout.passfile();
        blocking("writing the passfile", move || {
            let password = files::read_password(&config.replication_password_file)?;
            let text = files::passfile_text(&config, &password);
            files::replace(&layout.passfile(), text.as_bytes(), owner.as_ref(), false)
        })
        .await?;
        let mut command = self.tools.command(program);
        command.env("PGPASSFILE", path);
        Ok(command)
    }

    /// Makes an empty directory beside the data directory for PostgreSQL's user.
    async fn make_new_directory(&self) -> Result<std::path::PathBuf, Failure> {
        let (new, owner) = (sibling(&self.config.data_directory, "new"), self.owner());
        let path = new.clone();
        blocking("making a directory", move || {
            if path.exists() {
                fs::remove_dir_all(&path)?;
            }
            files::make_directory(&path, 0o700, owner.as_ref())
        })
        .await?;
        Ok(new)
    }

    /// Creates the first primary's data directory.
    pub async fn initialise(&self, ticket: &Ticket) -> Result<Answer, Failure> {
        let slot = self.begin_job(ticket, "initialising").await?;
        let data = self.config.data_directory.clone();
        let occupied = fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            return Err(Failure::refused(format!("{} is not empty", data.display())));
        }
        let new = self.make_new_directory().await?;
        let mut command = self.tools.command("initdb");
        command.arg("-D").arg(&new).args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
        command.args(["--no-locale", "--data-checksums"]);
        self.tools.run("initdb", command).await?.ok("initdb")?;
        let id = fresh_identity();
        self.put_in_place(ticket, &new, &id).await?;
        drop(slot);
        Ok(Answer::Directory(id))
    }

    /// Swaps `new` in for the data directory. Everything up to the swap leaves the old directory
    /// and its identity as they were.
    async fn put_in_place(
        &self,
        ticket: &Ticket,
        new: &Path,
        id: &DataDirectoryId,
    ) -> Result<(), Failure> {
        let owner = self.owner();
        let (path, mark) = (new.to_path_buf(), Mark::Ready { id: id.clone() });
        blocking("marking the new directory", move || {
            // A clone carries the source's mark and may carry its signal files.
            for name in ["standby.signal", "recovery.signal", "promote", "postmaster.pid"] {
                files::remove_if_there(&path.join(name))?;
            }
            files::strip_overrides(&path, owner.as_ref())?;
            state::write_mark(&path, &mark, owner.as_ref())
        })
        .await?;
        // R4: a newer agent took over while the copy was made; nothing is destroyed for an old one.
        self.inner().recheck(ticket)?;
        self.forget_identity().await?;
        let (data, new) = (self.config.data_directory.clone(), new.to_path_buf());
        let old = sibling(&data, "old");
        let removed = old.clone();
        blocking("swapping directories", move || {
            if data.exists() {
                fs::rename(&data, &old)?;
            }
            fs::rename(&new, &data)?;
            sync_parent(&data)
        })
        .await?;
        self.adopt_identity(id).await?;
        blocking("removing the old directory", move || {
            if removed.is_dir() { fs::remove_dir_all(&removed) } else { Ok(()) }
        })
        .await
    }

    /// Replaces the data directory by a base backup. The old one stays until the copy is whole.
    pub async fn reclone(&self, ticket: &Ticket, upstream: &Upstream) -> Result<Answer, Failure> {
        let slot = self.begin_job(ticket, "cloning").await?;
        let new = self.make_new_directory().await?;
        let mut command = self.tool_with_password("pg_basebackup").await?;
        command.arg("-D").arg(&new).args(["-X", "stream", "-c", "fast", "--no-password"]);
        command.arg("-d").arg(tool_conninfo(&self.config, upstream, "continuum_clone"));
        self.tools.run("pg_basebackup", command).await?.ok("pg_basebackup")?;
        let id = fresh_identity();
        self.put_in_place(ticket, &new, &id).await?;
        drop(slot);
        Ok(Answer::Directory(id))
    }

    /// Rewinds the data directory to the upstream's history. Cut short, it leaves a directory
    /// without identity, which only a clone makes usable again.
    pub async fn rewind(&self, ticket: &Ticket, upstream: &Upstream) -> Result<Answer, Failure> {
        let slot = self.begin_job(ticket, "rewinding").await?;
        let data = self.config.data_directory.clone();
        if self.inner().identity.is_none() {
            return Err(Failure::refused("there is no usable data directory to rewind; clone it"));
        }
        self.write_configuration().await?;
        self.inner().recheck(ticket)?;
        self.forget_identity().await?;
        let path = data.clone();
        blocking("preparing the rewind", move || {
            // pg_rewind runs crash recovery in single-user mode, which refuses a standby's mark.
            for name in ["standby.signal", "recovery.signal", "promote"] {
                files::remove_if_there(&path.join(name))?;
            }
            super::process::remove_stale_lock(&path.join("postmaster.pid"))
        })
        .await?;
        let mut command = self.tool_with_password("pg_rewind").await?;
        command.arg("--target-pgdata").arg(&data);
        command.arg("--config-file").arg(self.layout.for_rewind());
        command.arg("--source-server").arg(tool_conninfo(
            &self.config,
            upstream,
            "continuum_rewind",
        ));
        let output = self.tools.run("pg_rewind", command).await?.ok("pg_rewind")?;
        if format!("{}{}", output.stdout, output.stderr).contains("no rewind required") {
            // It compares timeline numbers, and two promotions apart can share one.
            let why = "pg_rewind sees no difference where the WAL differs; clone the member anew";
            return Err(Failure::failed("pg_rewind", why));
        }
        let id = fresh_identity();
        let (path, mark, owner) = (data.clone(), Mark::Ready { id: id.clone() }, self.owner());
        blocking("marking the rewound directory", move || {
            files::remove_if_there(&path.join("postmaster.pid"))?;
            files::strip_overrides(&path, owner.as_ref())?;
            state::write_mark(&path, &mark, owner.as_ref())
        })
        .await?;
        self.adopt_identity(&id).await?;
        drop(slot);
        Ok(Answer::Directory(id))
    }

    /// Reads `pg_control`.
    pub async fn control_data(&self) -> Result<ControlData, Failure> {
        self.control().await.map(|control| control.data)
    }

    /// Reads `pg_control` with what only the guard needs.
    pub async fn control(&self) -> Result<Control, Failure> {
        let text = self.control_text().await?;
        parse_control(&text).map_err(|reason| Failure::failed(CONTROL_TOOL, reason))
    }

    /// The output of `pg_controldata`.
    pub async fn control_text(&self) -> Result<String, Failure> {
        let mut command = self.tools.command(CONTROL_TOOL);
        command.arg("-D").arg(&self.config.data_directory);
        Ok(self.tools.run(CONTROL_TOOL, command).await?.ok(CONTROL_TOOL)?.stdout)
    }
}

/// Reads the output of `pg_controldata` in the C locale.
pub(crate) fn parse_control(text: &str) -> Result<Control, String> {
    let find = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim).ok_or_else(|| format!("it does not say {key:?}"))
    };
    let number = |key: &str| {
        let value = find(key)?;
        value.parse::<u64>().map_err(|_| format!("{key:?} is {value:?}, not a number"))
    };
    let lsn = |key: &str| {
        let value = find(key)?;
        value.parse::<Lsn>().map_err(|error| format!("{key:?}: {error}"))
    };
    let state = find("Database cluster state")?;
    let data = ControlData {
        system_identifier: number("Database system identifier")?,
        clean_shutdown: state.starts_with("shut down"),
        in_recovery: matches!(state, "shut down in recovery" | "in archive recovery"),
        checkpoint: lsn("Latest checkpoint location")?,
        timeline: TimelineId(number("Latest checkpoint's TimeLineID")?),
    };
    Ok(Control {
        data,
        clean_as_primary: state == "shut down",
        redo: lsn("Latest checkpoint's REDO location")?,
        recovery_timeline: TimelineId(number("Min recovery ending loc's timeline")?),
        segment_bytes: number("Bytes per WAL segment")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Database system identifier:           7710434089495249645
Database cluster state:               shut down in recovery
Latest checkpoint location:           0/17414D0
Latest checkpoint's REDO location:    0/17414A8
Latest checkpoint's REDO WAL file:    000000010000000000000001
Latest checkpoint's TimeLineID:       2
Min recovery ending loc's timeline:   3
Bytes per WAL segment:                16777216
";

    #[test]
    fn control_data_is_read() {
        let control = parse_control(TEXT).unwrap();
        assert_eq!(control.data.system_identifier, 7_710_434_089_495_249_645);
        assert!(control.data.clean_shutdown && control.data.in_recovery);
        assert!(!control.clean_as_primary);
        assert_eq!(control.data.checkpoint, Lsn(0x17414D0));
        assert_eq!(
            (control.data.timeline, control.recovery_timeline),
            (TimelineId(2), TimelineId(3))
        );
        assert!(parse_control("").is_err());
    }

    #[test]
    fn a_crash_is_not_clean() {
        let text = TEXT.replace("shut down in recovery", "in production");
        let control = parse_control(&text).unwrap();
        assert!(!control.data.clean_shutdown && !control.data.in_recovery);
    }
}
