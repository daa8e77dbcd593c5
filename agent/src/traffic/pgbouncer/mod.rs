//! A PgBouncer: led by a file that it includes, and by its admin console.
//!
//! What its console does was tried on 1.18: `PAUSE` closes idle server sessions at once and the others
//! as their transaction ends, holds new transactions from its first moment on, and outlives the session
//! that asked for it; `RELOAD` alone leaves a session at a server that does not answer where it is, and
//! its client with it, so that only `KILL` frees them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::config::PgBouncerConfig;
use super::{CALL_DEADLINE, Held, Pointing, Seen, SwitchError, TrafficSwitch};

mod admin;
mod file;

use admin::{Admin, Row};
use file::{DatabasesFile, State};

/// A session that waits for `PAUSE` to be done is closed after this; the pause goes on without it.
const PAUSE_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between looks whether a `PAUSE` has begun.
const LOOK: Duration = Duration::from_millis(2);

/// The switch.
#[derive(Debug)]
pub struct PgBouncer {
    admin: Admin,
    file: Arc<DatabasesFile>,
    databases: BTreeSet<String>,
}

impl PgBouncer {
    /// Reads the password file; connects later.
    pub fn open(config: &PgBouncerConfig) -> std::io::Result<Self> {
        Ok(Self {
            admin: Admin::open(config)?,
            file: Arc::new(DatabasesFile::new(&config.databases_file, &config.databases)),
            databases: config.databases.keys().cloned().collect(),
        })
    }

    /// Reads or changes the file, on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DatabasesFile) -> Result<T, SwitchError> + Send + 'static,
    ) -> Result<T, SwitchError> {
        let file = self.file.clone();
        let done = continuum_runtime::seed::blocking(move || work(&file)).await;
        done.map_err(|error| SwitchError::refused("the databases file", error))?
    }

    /// Rows of an answer that are about our databases.
    async fn ours(&self, command: &str, column: &str) -> Result<Vec<Row>, SwitchError> {
        let mut rows = self.admin.say(command).await?;
        rows.retain(|row| row.get(column).is_some_and(|name| self.databases.contains(name)));
        Ok(rows)
    }

    async fn paused(&self) -> Result<BTreeSet<String>, SwitchError> {
        let rows = self.ours("SHOW DATABASES", "name").await?;
        Ok(rows.iter().filter(|row| text(row, "paused") == "1").map(name).collect())
    }

    /// Says `command` of every one of `databases`; what fails as `harmless` was so already.
    async fn each(
        &self,
        command: &str,
        databases: &BTreeSet<String>,
        harmless: &str,
    ) -> Result<(), SwitchError> {
        for database in databases {
            match self.admin.say(&format!("{command} {}", quoted(database))).await {
                Err(SwitchError::Refused { reason, .. }) if reason.contains(harmless) => {}
                other => drop(other?),
            }
        }
        Ok(())
    }
}

fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).map_or("", String::as_str)
}

fn name(row: &Row) -> String {
    text(row, "name").to_owned()
}

fn quoted(database: &str) -> String {
    format!("\"{}\"", database.replace('"', "\"\""))
}

fn leads_to(row: &Row, target: &Pointing) -> bool {
    text(row, "host") == target.host && text(row, "port") == target.port.to_string()
}

/// Whether a server session is at another server than `target`. Of a host that is a name, PgBouncer
/// alone knows the address; it marks what is at an old one.
fn is_stale(row: &Row, target: &Pointing, state: &State) -> bool {
    match (target.host.parse::<IpAddr>(), text(row, "addr").parse::<IpAddr>()) {
        (Ok(wanted), Ok(at)) => {
            (wanted, target.port.to_string().as_str()) != (at, text(row, "port"))
        }
        _ => state.before.is_some() && text(row, "close_needed") == "1",
    }
}

#[async_trait]
impl TrafficSwitch for PgBouncer {
    fn can_hold(&self) -> bool {
        true
    }

    async fn look(&self) -> Result<Seen, SwitchError> {
        let state = self.on_disk(DatabasesFile::read).await?;
        let databases = self.ours("SHOW DATABASES", "name").await?;
        let servers = self.ours("SHOW SERVERS", "database").await?;
        let known: BTreeSet<String> = databases.iter().map(name).collect();
        let paused = databases.iter().filter(|row| text(row, "paused") == "1").count();
        let held = match &state.held {
            Some(why) => Held::Ours { why: why.clone(), complete: paused == self.databases.len() },
            None if paused > 0 => Held::Others,
            None => Held::No,
        };
        let in_force = state.target.as_ref().is_some_and(|target| {
            known == self.databases && databases.iter().all(|row| leads_to(row, target))
        });
        let stale = state
            .target
            .as_ref()
            .map_or(0, |target| servers.iter().filter(|row| is_stale(row, target, &state)).count());
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        Ok(Seen {
            target: state.target,
            in_force,
            held,
            sessions: count(servers.len()),
            stale: count(stale),
        })
    }

    async fn point(&self, to: &Pointing) -> Result<(), SwitchError> {
        let target = to.clone();
        self.on_disk(move |file| file.point(&target)).await?;
        self.admin.say("RELOAD").await?;
        let rows = self.ours("SHOW DATABASES", "name").await?;
        let there: BTreeSet<String> = rows.iter().map(name).collect();
        match self.databases.difference(&there).next() {
            None => Ok(()),
            Some(missing) => Err(SwitchError::refused(
                "RELOAD",
                format!(
                    "PgBouncer knows no database {missing} afterwards; its configuration must \
                     %include the databases_file, and its user must be able to read that; see its log"
                ),
            )),
        }
    }

    async fn hold(&self, why: &str) -> Result<(), SwitchError> {
        let text = why.to_owned();
        self.on_disk(move |file| file.set_held(Some(&text))).await?;
        let paused = self.paused().await?;
        let open: BTreeSet<&String> = self.databases.difference(&paused).collect();
        for database in open {
            let command = format!("PAUSE {}", quoted(database));
            self.admin.say_apart(command, PAUSE_PATIENCE).await?;
        }
        // It answers when the last transaction has ended; what counts is that it has begun.
        let begun = async {
            while self.paused().await? != self.databases {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let late = || SwitchError::Unreachable(format!("PAUSE did not begin in {CALL_DEADLINE:?}"));
        tokio::time::timeout(CALL_DEADLINE, begun).await.map_err(|_| late())?
    }

    async fn let_through(&self) -> Result<(), SwitchError> {
        if self.on_disk(DatabasesFile::read).await?.held.is_none() {
            return Ok(());
        }
        let paused = self.paused().await?;
        self.each("RESUME", &paused, "not paused").await?;
        // Afterwards, so that an agent that dies in between does it again.
        self.on_disk(|file| file.set_held(None)).await
    }

    async fn end_stale(&self) -> Result<(), SwitchError> {
        let state = self.on_disk(DatabasesFile::read).await?;
        let by_others = state.held.is_none() && !self.paused().await?.is_empty();
        if state.held.is_none() && !by_others {
            // KILL leaves the database paused: that this is our doing must be known to whoever comes next.
            self.on_disk(|file| file.set_held(Some("ending sessions"))).await?;
        }
        self.each("KILL", &self.databases, "no such database").await?;
        match state.held.is_none() && !by_others {
            true => self.let_through().await,
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use continuum_domain::{Epoch, PairId, RegionId};

    use super::*;

    fn server(addr: &str, port: &str, close_needed: &str) -> Row {
        let column = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        [("addr", addr), ("port", port), ("close_needed", close_needed)].map(column).into()
    }

    #[test]
    fn a_session_is_stale_by_its_address_or_where_that_is_a_name_by_the_mark() {
        let mut to = Pointing {
            pair: PairId::new("app").unwrap(),
            epoch: Epoch(8),
            holder: RegionId::new("hel").unwrap(),
            host: "10.2.0.5".into(),
            port: 5432,
        };
        let state = State::default();
        let moved = State { before: RegionId::new("fsn").ok(), ..State::default() };
        assert!(!is_stale(&server("10.2.0.5", "5432", "1"), &to, &moved), "closed in its own time");
        assert!(is_stale(&server("10.1.0.5", "5432", "0"), &to, &state));
        assert!(is_stale(&server("10.2.0.5", "5433", "0"), &to, &state));
        to.host = "db-b.internal".into();
        assert!(!is_stale(&server("10.2.0.5", "5432", "0"), &to, &moved));
        assert!(is_stale(&server("10.1.0.5", "5432", "1"), &to, &moved));
        assert!(!is_stale(&server("10.1.0.5", "5432", "1"), &to, &state), "nobody moved");
    }
}
