//! How a stopped member's history relates to its primary's, and the copy that replaces it.
//!
//! As for every member, numbers of timelines prove nothing: where its records end within the primary's
//! history, the bytes before the end are compared. What is past the fork is decoded and kept, and so is
//! the whole old directory beside the copy that takes its place, until a person lets go of it.

use std::time::Duration;

use super::clusters::failed;
use super::hands::Said;
use super::{Inner, lock, marks};
use crate::guard::{Control, fresh_identity, parse_control, read_password};
use crate::plane::{PlaneError, TailArtefact, Upstream};
use crate::postgres::access::Access;
use crate::postgres::lineage::{PrimaryHistory, primary_history, primary_now};
use crate::postgres::sql::{Session, SessionOptions, literal};
use crate::wal::segment_name;
use continuum_domain::observation::{ControlData, Lineage};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, TimelineId};

const ASK_LIMIT: Duration = Duration::from_secs(10);
/// It reads all WAL since the last checkpoint.
const WALK_LIMIT: Duration = Duration::from_secs(300);
const COPY_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// How often the copy is looked at.
const COPY_POLL: Duration = Duration::from_millis(500);
/// Bytes that are compared.
const SAMPLE_BYTES: u64 = 4_096;

/// Where a primary's history leaves a timeline; its end on the last one.
pub(super) fn end_of(history: &PrimaryHistory, timeline: TimelineId) -> Option<Lsn> {
    if timeline == history.timeline {
        return Some(history.flushed);
    }
    let left = history.ancestors.iter().find(|ancestor| ancestor.timeline == timeline);
    left.map(|ancestor| ancestor.switch)
}

/// What the bytes before the end of this member's WAL say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Same,
    Different,
    /// One of the two does not have them.
    Gone,
}

/// The judgement. `last` is where this member's last record begins; `standby` whether the directory is
/// a standby's, whose WAL all came from a primary.
pub(super) fn judge(
    history: &PrimaryHistory,
    timeline: TimelineId,
    last: Lsn,
    standby: bool,
    bytes: Bytes,
) -> Lineage {
    let apart = |fork| Lineage::Apart { fork, end: last, timeline };
    let unprovable = |reason: String| Lineage::Unprovable { reason };
    match end_of(history, timeline) {
        None if standby => {
            unprovable(format!("timeline {timeline} is not in the primary's history"))
        }
        None => apart(Lsn(0)),
        Some(fork) if last >= fork => apart(fork),
        Some(_) => match bytes {
            Bytes::Same => Lineage::Follows,
            Bytes::Gone if standby => {
                unprovable(format!("the primary has no WAL at {last} any more"))
            }
            Bytes::Different if standby => unprovable(format!("the WAL at {last} is another")),
            Bytes::Different | Bytes::Gone => apart(Lsn(0)),
        },
    }
}

impl Inner {
    async fn control(&self, pod: &str) -> Result<Control, PlaneError> {
        let text = self.hands.output(pod, &["control"], None, ASK_LIMIT).await?;
        parse_control(&text).map_err(|reason| failed("reading pg_control", &reason))
    }

    /// `pg_control`; after a demotion what its token says, which is about the shutdown of the primary.
    pub(super) async fn control_data(&self) -> Result<ControlData, PlaneError> {
        let token = lock(&self.token).clone().filter(|_| self.known().held);
        if let Some((_, token)) = token {
            return Ok(ControlData {
                system_identifier: token.system_id,
                clean_shutdown: true,
                in_recovery: false,
                checkpoint: token.redo,
                timeline: token.timeline,
            });
        }
        self.control(&self.pod()?).await.map(|control| control.data)
    }

    /// Compares this member's history with the primary's.
    pub(super) async fn compare_with(&self, primary: &Upstream) -> Result<Lineage, PlaneError> {
        let remote = self.config.remote(&primary.host, primary.port);
        let role = &self.config.replication_role;
        let access = Access::remote(remote, &self.config.clusters, role);
        let options = SessionOptions { local_commit: true, limit: ASK_LIMIT };
        let session = Session::local(&access, "continuum_lineage", options).await?;
        // Before anything is read here: what is promoted meanwhile cannot be compared with yet.
        primary_now(&session).await?;
        let pod = self.pod()?;
        let control = self.control(&pod).await?;
        let told = self.tell(&pod).await?.0;
        let standby = told.text("standby") == Some("yes");
        let timeline = control.data.timeline.max(control.recovery_timeline);
        let walked = self.walk(&pod, control.data.checkpoint, timeline).await?;
        // After what this member has: a standby that streams meanwhile must not seem to be ahead.
        let now = primary_now(&session).await?;
        if now.system != control.data.system_identifier.to_string() {
            let found = control.data.system_identifier;
            let reason = format!("system identifier {found}, and the primary's is {}", now.system);
            return Ok(Lineage::Foreign { reason });
        }
        let history = primary_history(&session, &now).await?;
        let Some(last) = walked.text("last").and_then(|text| text.parse::<Lsn>().ok()) else {
            let reason = format!("no record is found at {}", control.data.checkpoint);
            return Ok(Lineage::Unprovable { reason });
        };
        let fork = end_of(&history, timeline);
        let bytes = match fork {
            Some(fork) if last < fork => {
                self.compare_bytes(&pod, &session, &history, (timeline, last), &control).await?
            }
            _ => Bytes::Gone,
        };
        Ok(judge(&history, timeline, last, standby, bytes))
    }

    /// Reads records of a timeline from a position on, and keeps them decoded.
    async fn walk(&self, pod: &str, from: Lsn, timeline: TimelineId) -> Result<Said, PlaneError> {
        let (from, timeline) = (from.to_string(), timeline.to_string());
        self.hands.run(pod, &["save_tail", &from, &timeline], WALK_LIMIT).await
    }

    /// Compares the bytes before a position, within its segment. The primary holds them in a segment of
    /// that timeline or, copied at a switch, of a later one.
    async fn compare_bytes(
        &self,
        pod: &str,
        session: &Session,
        history: &PrimaryHistory,
        (timeline, at): (TimelineId, Lsn),
        control: &Control,
    ) -> Result<Bytes, PlaneError> {
        let into = at.0 % control.segment_bytes;
        let length = into.min(SAMPLE_BYTES);
        let start = Lsn(at.0 - length);
        if length == 0 {
            return Ok(Bytes::Gone);
        }
        let offset = start.0 % control.segment_bytes;
        let name = |timeline| segment_name(timeline, start, control.segment_bytes);
        let (file, from, count) = (name(timeline), offset.to_string(), length.to_string());
        let read = self.hands.run(pod, &["wal", &file, &from, &count], ASK_LIMIT).await;
        let Ok(own) = read else { return Ok(Bytes::Gone) };
        let Some(own) = own.text("bytes").filter(|text| !text.is_empty()).map(str::to_owned) else {
            return Ok(Bytes::Gone);
        };
        let later = history.ancestors.iter().map(|ancestor| ancestor.timeline);
        let mut found = Bytes::Gone;
        for timeline in later.chain([history.timeline]).filter(|other| *other >= timeline) {
            let file = literal(&format!("pg_wal/{}", name(timeline)));
            let query = format!(
                "select encode(pg_read_binary_file({file}, {offset}, {length}, true), 'hex')"
            );
            match session.text("reading the primary's WAL", &query).await? {
                Some(hex) if hex == own => return Ok(Bytes::Same),
                Some(_) => found = Bytes::Different,
                None => {}
            }
        }
        Ok(found)
    }

    /// Decodes and keeps what lies past the fork.
    pub(super) async fn save_tail(
        &self,
        fork: Lsn,
        timeline: TimelineId,
    ) -> Result<TailArtefact, PlaneError> {
        let what = "saving the tail";
        let pod = self.pod()?;
        // Without a fork there is no saying where the tail begins: at the last checkpoint.
        let from = if fork == Lsn(0) { self.control(&pod).await?.data.checkpoint } else { fork };
        let said = self.walk(&pod, from, timeline).await?;
        let untold = |name: &str| failed(what, &format!("{name} was not told"));
        let path = said.text("path").ok_or_else(|| untold("its path"))?;
        Ok(TailArtefact {
            path: format!("{}/{pod}:{path}", self.config.namespace),
            fork,
            end: said.text("last").and_then(|text| text.parse().ok()).unwrap_or(from),
            commits: said.number("commits").ok_or_else(|| untold("the number of commits"))?,
        })
    }

    /// Replaces the data directory by a copy of the primary's; the old one stays beside it.
    pub(super) async fn reclone(
        &self,
        epoch: Epoch,
        primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError> {
        self.raise(epoch)?;
        let _turn = self.turn.lock().await;
        self.learn(|known| known.busy = true);
        let copied = self.copy(epoch, primary).await;
        self.learn(|known| known.busy = false);
        copied
    }

    async fn copy(&self, epoch: Epoch, primary: &Upstream) -> Result<DataDirectoryId, PlaneError> {
        let what = "copying the primary";
        self.mark_fenced(epoch).await?;
        let pod = self.pod()?;
        let system = self.control(&pod).await?.data.system_identifier.to_string();
        // R13: without an identity until the copy is whole.
        let directory = |id| marks::Directory { id, instance: pod.clone(), system: system.clone() };
        self.mark_directory(&directory(None)).await?;
        let secret = match self.config.password_file.clone() {
            Some(path) => Some(
                continuum_runtime::seed::blocking(move || read_password(&path))
                    .await
                    .map_err(|error| failed(what, &error))?
                    .map_err(|error| failed(what, &error))?,
            ),
            None => None,
        };
        let encrypted = if self.config.tls.is_some() { "require" } else { "prefer" };
        let connection = format!(
            "host={} port={} user={} dbname=postgres sslmode={encrypted}",
            primary.host, primary.port, self.config.user
        );
        let (generation, name) =
            (self.generation().to_string(), format!("{epoch}-{}", fresh_identity()));
        let words = ["clone", &generation, &name, &connection];
        self.hands.output(&pod, &words, secret.as_deref(), ASK_LIMIT).await?;
        let until = self.clock.now() + COPY_LIMIT;
        loop {
            let (said, now) = self.tell(&pod).await?;
            match said.text("job") {
                Some("done") => break,
                Some(job) if job.starts_with("failed") => return Err(failed(what, &job)),
                _ if now >= until => {
                    return Err(PlaneError::Timeout {
                        what: what.into(),
                        seconds: COPY_LIMIT.as_secs(),
                    });
                }
                _ => tokio::time::sleep(COPY_POLL).await,
            }
        }
        let id = fresh_identity();
        self.mark_directory(&directory(Some(id.clone()))).await?;
        Ok(id)
    }
}

#[cfg(test)]
#[path = "lineage_tests.rs"]
mod tests;
