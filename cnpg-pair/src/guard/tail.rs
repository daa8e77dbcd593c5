//! The history of the stopped data directory: where its WAL ends, and saving what lies past a fork.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use continuum_domain::{Lsn, TimelineId};
use continuum_runtime::{durable, seed};
use serde::Serialize;

use super::core::{Guard, Ticket};
use super::jobs::Control;
use super::{Failure, blocking, files};
use crate::plane::TailArtefact;
use crate::wal::{Ancestor, history_name, parse_history, parse_segment_name, segment_name};
use crate::wire::{Answer, LocalHistory, WalSample};

/// WAL compared with the primary's own, in bytes.
const SAMPLE_BYTES: u64 = 8 * 1024;

/// What a directory's own WAL says.
#[derive(Clone, Debug)]
struct Chain {
    timeline: TimelineId,
    ancestors: Option<Vec<Ancestor>>,
    end: Lsn,
}

/// The manifest written beside a saved tail.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    pair: &'a str,
    region: &'a str,
    system_identifier: u64,
    timeline: TimelineId,
    fork: Lsn,
    end: Lsn,
    commits: u64,
    files: &'a [String],
}

impl Guard {
    pub(super) fn wal(&self) -> PathBuf {
        self.config.data_directory.join("pg_wal")
    }

    /// The history of the stopped directory, for comparison with a primary's.
    pub async fn history(&self, ticket: &Ticket) -> Result<Answer, Failure> {
        let slot = self.begin_job(ticket, "reading the history").await?;
        if self.inner().identity.is_none() {
            let reason =
                "there is no data directory, or a destructive step was cut short".to_owned();
            return Ok(Answer::NoHistory { reason });
        }
        self.uncover_wal().await?;
        let control = self.control().await?;
        let chain = self.chain(&control).await?;
        let (wal, bytes) = (self.wal(), control.segment_bytes);
        let (timeline, end) = (chain.timeline, chain.end);
        let sample = blocking("reading WAL", move || sample(&wal, timeline, end, bytes)).await?;
        drop(slot);
        Ok(Answer::History(Box::new(LocalHistory {
            control: control.data,
            timeline: chain.timeline,
            end: chain.end,
            ancestors: chain.ancestors,
            sample,
            segment_bytes: control.segment_bytes,
        })))
    }

    /// The WAL of the stopped directory just before `end`.
    pub async fn sample(
        &self,
        ticket: &Ticket,
        timeline: TimelineId,
        end: Lsn,
    ) -> Result<Answer, Failure> {
        let slot = self.begin_job(ticket, "reading WAL").await?;
        let bytes = self.control().await?.segment_bytes;
        let wal = self.wal();
        let read = move || match sample(&wal, timeline, end, bytes) {
            Ok(sample) => Ok(Some(sample)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let found = blocking("reading WAL", read).await?;
        drop(slot);
        Ok(Answer::Sample(found))
    }

    /// Finds the newest timeline with WAL and the end of its last whole record.
    async fn chain(&self, control: &Control) -> Result<Chain, Failure> {
        let (wal, copy) = (self.wal(), control.clone());
        let (timeline, ancestors) =
            blocking("listing WAL", move || newest_timeline(&wal, &copy)).await?;
        let own_start = ancestors.as_ref().and_then(|list| list.last()).map(|last| last.switch);
        let start = match (timeline == control.data.timeline, own_start) {
            (true, _) if control.clean_as_primary => control.data.checkpoint,
            (true, _) | (false, None) => control.redo,
            // It left the checkpoint's timeline since: records of its own begin at the switch.
            (false, Some(switch)) => switch.max(control.redo),
        };
        let end = self.end_of_wal(timeline, start, None).await?;
        let recorded = timeline == control.data.timeline;
        match end {
            Some(end) => Ok(Chain { timeline, ancestors, end }),
            None if !recorded => Ok(Chain { timeline, ancestors, end: start }),
            None => Err(Failure::failed(
                "pg_waldump",
                format!("no record at {start} on timeline {timeline}, where pg_control points"),
            )),
        }
    }

    /// End of the last whole record from `start` on; `None` when there is no record. WAL past
    /// `limit` is not read.
    pub(super) async fn end_of_wal(
        &self,
        timeline: TimelineId,
        start: Lsn,
        limit: Option<Lsn>,
    ) -> Result<Option<Lsn>, Failure> {
        let mut command = self.tools.command("pg_waldump");
        command.arg("-p").arg(self.wal()).arg("-t").arg(timeline.to_string());
        command.arg("-s").arg(start.to_string()).arg("--stats");
        if let Some(limit) = limit {
            command.arg("-e").arg(limit.to_string());
        }
        // Without a limit it always ends with an error, at the first thing that is no record.
        let output = self.tools.run("pg_waldump", command).await?;
        if let Some(end) = parse_stats_end(&output.stdout) {
            return Ok(Some(end));
        }
        if output.stderr.contains("could not find a valid record") {
            return Ok(None);
        }
        Err(Failure::failed("pg_waldump", output.stderr.trim()))
    }

    /// Saves the WAL past the fork, raw and decoded, before it is rewound away. Whole and on disk
    /// when this returns.
    pub async fn save_tail(
        &self,
        ticket: &Ticket,
        fork: Lsn,
        timeline: TimelineId,
    ) -> Result<Answer, Failure> {
        let slot = self.begin_job(ticket, "saving the tail").await?;
        let control = self.control().await?;
        let chain = self.chain(&control).await?;
        let name = format!("tail-{timeline}-{:016X}-{}", fork.0, seed::random_id(6));
        let target = self.layout.artefacts().join(name);
        let (wal, to) = (self.wal(), target.clone());
        let (bytes, end) = (control.segment_bytes, chain.end);
        let mut files = blocking("copying WAL", move || {
            fs::create_dir(&to)?;
            copy_segments(&wal, &to, fork, end, bytes)
        })
        .await?;
        let mut commits = 0;
        for (timeline, from, to) in spans(&chain, fork) {
            let file = format!("waldump-{timeline}.txt");
            commits += self.dump(&target.join(&file), timeline, from, to).await?;
            files.push(file);
        }
        let manifest = serde_json::to_vec_pretty(&Manifest {
            pair: self.config.pair.as_str(),
            region: self.config.region.as_str(),
            system_identifier: control.data.system_identifier,
            timeline: chain.timeline,
            fork,
            end,
            commits,
            files: &files,
        })
        .map_err(|error| Failure::failed("writing the manifest", error))?;
        let directory = target.clone();
        blocking("writing the manifest", move || {
            durable::write_atomic(&directory.join("manifest.json"), &manifest)?;
            files::sync_parent(&directory)
        })
        .await?;
        drop(slot);
        let path = target.to_string_lossy().into_owned();
        Ok(Answer::Tail(TailArtefact { path, fork, end, commits }))
    }

    /// Decodes one span of WAL into a file; returns the number of commit records.
    async fn dump(
        &self,
        file: &Path,
        timeline: TimelineId,
        from: Lsn,
        to: Lsn,
    ) -> Result<u64, Failure> {
        let what = "pg_waldump";
        let failed = |error: io::Error| Failure::failed(what, error);
        let output = File::create(file).map_err(failed)?;
        let mut command = self.tools.command(what);
        command.arg("-p").arg(self.wal()).arg("-t").arg(timeline.to_string());
        command.arg("-s").arg(from.to_string()).arg("-e").arg(to.to_string());
        command.stdout(output.try_clone().map_err(failed)?).stderr(output).kill_on_drop(true);
        let status = command.status().await.map_err(failed)?;
        let file = file.to_path_buf();
        let (commits, text) = blocking("counting commits", move || {
            File::open(&file)?.sync_all()?;
            count_commits(&file)
        })
        .await?;
        if status.success() || from >= to {
            return Ok(commits);
        }
        Err(Failure::failed(what, text))
    }
}

/// The spans of WAL past the fork, one for each timeline of the member's own chain.
fn spans(chain: &Chain, fork: Lsn) -> Vec<(TimelineId, Lsn, Lsn)> {
    let mut begin = Lsn(0);
    let mut spans = Vec::new();
    let ancestors = chain.ancestors.iter().flatten().map(|a| (a.timeline, a.switch));
    for (timeline, end) in ancestors.chain([(chain.timeline, chain.end)]) {
        if end > fork {
            spans.push((timeline, begin.max(fork), end));
        }
        begin = end;
    }
    spans
}

/// Newest timeline with a segment here, and the timelines before it. A segment of a timeline
/// without history file is a promotion cut short before it counted.
fn newest_timeline(
    wal: &Path,
    control: &Control,
) -> io::Result<(TimelineId, Option<Vec<Ancestor>>)> {
    let mut newest = control.data.timeline.max(control.recovery_timeline);
    for entry in fs::read_dir(wal)? {
        let name = entry?.file_name();
        let parsed = parse_segment_name(&name.to_string_lossy(), control.segment_bytes);
        if let Some((timeline, _)) = parsed
            && timeline > newest
            && wal.join(history_name(timeline)).is_file()
        {
            newest = timeline;
        }
    }
    if newest == TimelineId(1) {
        return Ok((newest, Some(Vec::new())));
    }
    match fs::read_to_string(wal.join(history_name(newest))) {
        Ok(text) => Ok((newest, Some(parse_history(&text).map_err(io::Error::other)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((newest, None)),
        Err(error) => Err(error),
    }
}

/// The last bytes of WAL before `end`, from within one segment.
fn sample(wal: &Path, timeline: TimelineId, end: Lsn, segment_bytes: u64) -> io::Result<WalSample> {
    let last = Lsn(end.0.saturating_sub(1));
    let segment_start = last.0 - last.0 % segment_bytes;
    let start = end.0.saturating_sub(SAMPLE_BYTES).max(segment_start);
    let mut bytes = vec![0; usize::try_from(end.0 - start).map_err(io::Error::other)?];
    let mut file = File::open(wal.join(segment_name(timeline, last, segment_bytes)))?;
    file.seek(SeekFrom::Start(start - segment_start))?;
    file.read_exact(&mut bytes)?;
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(WalSample { start: Lsn(start), hex })
}

/// Copies every segment that holds WAL between fork and end, and all histories.
fn copy_segments(
    wal: &Path,
    to: &Path,
    fork: Lsn,
    end: Lsn,
    bytes: u64,
) -> io::Result<Vec<String>> {
    let first = fork.0 - fork.0 % bytes;
    let mut copied = Vec::new();
    for entry in fs::read_dir(wal)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let segment = parse_segment_name(&name, bytes);
        let wanted = segment.is_some_and(|(_, start)| start.0 >= first && start < end);
        if wanted || name.ends_with(".history") {
            fs::copy(wal.join(&name), to.join(&name))?;
            File::open(to.join(&name))?.sync_all()?;
            copied.push(name);
        }
    }
    copied.sort();
    Ok(copied)
}

/// Commit records in a decoded text, and its last line for an error.
fn count_commits(file: &Path) -> io::Result<(u64, String)> {
    let (mut commits, mut last) = (0, String::new());
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if line.contains("desc: COMMIT") {
            commits += 1;
        }
        last = line;
    }
    Ok((commits, last))
}

/// `WAL statistics between 0/17414D0 and 0/1741548:`
fn parse_stats_end(text: &str) -> Option<Lsn> {
    let rest = text.lines().find_map(|line| line.strip_prefix("WAL statistics between "))?;
    rest.split_once(" and ")?.1.trim_end_matches(':').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_wal_is_read_from_statistics() {
        let text = "WAL statistics between 0/17414D0 and 0/1741548:\nType  N\n";
        assert_eq!(parse_stats_end(text), Some(Lsn(0x174_1548)));
        assert_eq!(parse_stats_end(""), None);
    }

    #[test]
    fn spans_follow_the_members_own_timelines() {
        let chain = Chain {
            timeline: TimelineId(3),
            ancestors: Some(vec![
                Ancestor { timeline: TimelineId(1), switch: Lsn(100) },
                Ancestor { timeline: TimelineId(2), switch: Lsn(200) },
            ]),
            end: Lsn(300),
        };
        let expected =
            vec![(TimelineId(2), Lsn(150), Lsn(200)), (TimelineId(3), Lsn(200), Lsn(300))];
        assert_eq!(spans(&chain, Lsn(150)), expected);
    }
}
