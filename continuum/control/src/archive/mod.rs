//! The audit archive: every record that this node has applied, on its own disk, for years.
//!
//! ```text
//!   manifest.json                     what was removed by age, and what this node never had
//!   audit-00000000000000000001.jsonl  the records from 1 on, one a line
//!   audit-00000000000000010001.jsonl  the next 10,000
//! ```
//!
//! It follows what was applied and is never waited for: a disk that is full or broken stops no
//! operation, is told of, and is tried again. What the node never saw, because it joined later or was
//! sent a snapshot, is a gap with a beginning and an end, not a silence.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use continuum_control_api::rest::{AuditGap, AuditHead};
use continuum_runtime::disk::{SharedDisk, read_json, write_json};
use serde::{Deserialize, Serialize};

pub mod file;
mod follow;
pub mod line;
pub(crate) mod read;
mod retention;
mod settings;
pub(crate) mod verify;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use follow::run;
pub use settings::AuditSettings;

/// Records in one segment.
pub(crate) const SEGMENT_RECORDS: u64 = 10_000;
/// A segment ends early at this size, so that one always fits into memory.
const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
const MANIFEST: &str = "manifest.json";
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";

/// What the segments themselves do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// The newest record that was removed because its time was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expired: Option<AuditHead>,
    /// Records this node never had, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing: Vec<AuditGap>,
}

/// What is known of the files without reading them.
#[derive(Clone, Debug, Default)]
struct Index {
    opened: bool,
    manifest: Manifest,
    /// Position of the first record of each segment.
    segments: Vec<u64>,
    /// Durable bytes of the last segment.
    bytes: u64,
    /// Where the last write that was begun ends; nothing may stand after it.
    begun: u64,
    /// Position of the newest record, and its hash unless that record is damaged.
    newest: Option<(u64, Option<String>)>,
    trouble: Option<String>,
}

/// How the archive stands, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub newest: u64,
    pub missing: u64,
    pub failing: bool,
}

/// The archive of this node.
#[derive(Debug)]
pub(crate) struct Archive {
    disk: SharedDisk,
    index: Mutex<Index>,
}

fn name_of(first: u64) -> String {
    format!("{PREFIX}{first:020}{SUFFIX}")
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

impl Archive {
    /// The archive on a disk; nothing is read yet.
    pub(crate) fn new(disk: SharedDisk) -> Self {
        Self { disk, index: Mutex::default() }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands; `None` before it was opened.
    pub(crate) fn standing(&self) -> Option<Standing> {
        let index = self.index();
        index.opened.then(|| Standing {
            newest: index.newest(),
            missing: index.manifest.missing.iter().map(|gap| gap.to - gap.from + 1).sum(),
            failing: index.trouble.is_some(),
        })
    }

    /// Position of the newest record that is safe here.
    pub(crate) fn newest(&self) -> u64 {
        self.index().newest()
    }

    /// Notes why nothing can be written, or that it can be again. Told once, not at each attempt.
    fn trouble(&self, trouble: Option<String>) {
        let mut index = self.index();
        match (&index.trouble, &trouble) {
            (None, Some(why)) => {
                tracing::error!(%why, "the audit archive cannot be written; operations go on, and it is tried again");
            }
            (Some(_), None) => tracing::info!("the audit archive is written again"),
            _ => {}
        }
        index.trouble = trouble;
    }

    /// Reads what is there. A last line without an end was being written when the node died: it is
    /// cut, and comes again from what was applied.
    async fn open(&self) -> io::Result<()> {
        let manifest: Manifest = read_json(&*self.disk, MANIFEST).await?.unwrap_or_default();
        let names = self.disk.list().await?;
        let mut segments: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
        segments.sort_unstable();
        // The node died between writing down what it removes and removing it.
        while let (Some(expired), Some(next)) = (&manifest.expired, segments.get(1))
            && *next <= expired.index + 1
        {
            self.disk.remove(&name_of(segments.remove(0))).await?;
        }
        let expired = manifest.expired.clone().map(|head| (head.index, Some(head.hash)));
        let mut index = Index { opened: true, manifest, ..Index::default() };
        index.newest = expired;
        while let Some(first) = segments.last().copied() {
            let name = name_of(first);
            let content = self.disk.read(&name).await?.unwrap_or_default();
            let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < content.len() {
                self.disk.open(&name).await?.cut(whole as u64).await?;
            }
            if whole == 0 {
                self.disk.remove(&name).await?;
                segments.pop();
                continue;
            }
            let content = content.get(..whole).unwrap_or_default();
            let lines = content.iter().filter(|byte| **byte == b'\n').count() as u64;
            let last = content.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
            // A line that was edited is told of by who verifies; here it only must not shift the end.
            let record = last.and_then(|line| line::read(line).ok());
            index.newest = Some(match record {
                Some(record) => (record.index, Some(record.hash)),
                None => (first + lines - 1, None),
            });
            (index.bytes, index.begun) = (whole as u64, whole as u64);
            break;
        }
        index.segments = segments;
        *self.index() = index;
        Ok(())
    }

    /// What the files are, as known now.
    fn plan(&self) -> Index {
        self.index().clone()
    }

    async fn write_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        write_json(&*self.disk, MANIFEST, manifest).await
    }
}

impl Index {
    fn newest(&self) -> u64 {
        self.newest.as_ref().map_or(0, |(index, _)| *index)
    }

    /// The segments with the last position that each should hold, oldest first.
    fn ranges(&self) -> BTreeMap<u64, u64> {
        let ends = self.segments.iter().skip(1).map(|next| next - 1).chain([self.newest()]);
        let one = |(first, end): (&u64, u64)| {
            let gap = self.manifest.missing.iter().find(|gap| gap.from > *first && gap.from <= end);
            (*first, gap.map_or(end, |gap| gap.from - 1))
        };
        self.segments.iter().zip(ends).map(one).collect()
    }
}
