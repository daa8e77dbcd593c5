//! What the guard remembers on disk, and the identity of the data directory (R13).

use std::io;
use std::path::{Path, PathBuf};

use continuum_domain::{DataDirectoryId, Epoch, Generation, SyncNames};
use continuum_runtime::{durable, seed};
use serde::{Deserialize, Serialize};

use super::files;
use super::tools::RunAs;
use crate::plane::Upstream;

/// The guard's state file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Durable {
    /// Newest agent generation (R4).
    pub generation: Generation,
    /// Newest epoch any command carried (R4).
    pub epoch: Epoch,
    /// Break-glass mark.
    pub fence: Option<String>,
    /// Identity the data directory must carry; `None` while there is none, or while a destructive
    /// step is under way (R13).
    pub data_directory: Option<DataDirectoryId>,
    /// Standbys a commit waits for (R10).
    pub names: SyncNames,
    /// Where this member streams from.
    pub upstream: Option<Upstream>,
}

/// R10: names with `more` added; nothing is ever taken away here.
pub(crate) fn add_names(to: &mut SyncNames, more: &SyncNames) {
    to.members.extend(more.members.iter().cloned());
    to.probe |= more.probe;
}

/// The mark inside the data directory. A copy of another member's directory carries that member's
/// mark, which then differs from the guard's own record and counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(crate) enum Mark {
    /// A destructive step is under way or was cut short.
    Pending,
    /// Usable.
    Ready {
        /// Its identity.
        id: DataDirectoryId,
    },
}

fn mark_path(data: &Path) -> PathBuf {
    data.join("continuum.id")
}

/// Writes the mark durably.
pub(crate) fn write_mark(data: &Path, mark: &Mark, owner: Option<&RunAs>) -> io::Result<()> {
    let text = serde_json::to_vec(mark).map_err(io::Error::other)?;
    files::replace(&mark_path(data), &text, owner, true)
}

/// Reads the mark; `None` when there is none or it cannot be read.
pub(crate) fn read_mark(data: &Path) -> Option<Mark> {
    match durable::read_json(&mark_path(data)) {
        Ok(mark) => mark,
        Err(error) => {
            tracing::error!(%error, "the mark of the data directory is unreadable");
            None
        }
    }
}

/// R13: the identity, if directory and record agree.
pub(crate) fn identity(data: &Path, expected: Option<&DataDirectoryId>) -> Option<DataDirectoryId> {
    match read_mark(data) {
        Some(Mark::Ready { id }) if Some(&id) == expected => Some(id),
        _ => None,
    }
}

/// A new identity.
pub(crate) fn fresh_identity() -> DataDirectoryId {
    DataDirectoryId::new(seed::random_id(20)).expect("20 lower-case characters are a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_a_copied_or_pending_mark_is_no_identity() {
        let directory = tempfile::tempdir().unwrap();
        let (mine, other) = (fresh_identity(), fresh_identity());
        assert_eq!(identity(directory.path(), Some(&mine)), None, "absent");
        write_mark(directory.path(), &Mark::Ready { id: mine.clone() }, None).unwrap();
        assert_eq!(identity(directory.path(), Some(&mine)), Some(mine.clone()));
        assert_eq!(identity(directory.path(), Some(&other)), None, "copied");
        assert_eq!(identity(directory.path(), None), None, "state file says pending");
        write_mark(directory.path(), &Mark::Pending, None).unwrap();
        assert_eq!(identity(directory.path(), Some(&mine)), None, "pending");
    }

    #[test]
    fn r10_adding_names_takes_none_away() {
        let region = |name: &str| continuum_domain::RegionId::new(name).unwrap();
        let mut names = SyncNames::of([region("hel")]).with_probe();
        add_names(&mut names, &SyncNames::of([region("ash")]));
        assert_eq!(names, SyncNames::of([region("hel"), region("ash")]).with_probe());
    }
}
