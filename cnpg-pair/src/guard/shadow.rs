//! Copies of a fork's segment that hide WAL this member holds.
//!
//! ```text
//!   timeline 2   ..3: |====== flushed and reported =======F             F: the fork
//!   timeline 3   ..3: |=== received again ==|                           killed here
//! ```
//!
//! A standby that follows its upstream to a new timeline receives the segment of the fork once
//! more from its first byte, into a file of the new timeline. Recovery reads each segment from the
//! newest timeline that has it. A standby that was killed before the new file reached what the old
//! one holds would not see the rest at its next start: with its upstream there it receives it
//! again, but alone it waits for it for ever, or can be promoted without it, and what it had
//! reported as flushed would be lost. Such a copy is removed: every byte of it is in the old file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use continuum_domain::{Lsn, TimelineId};

use super::core::Guard;
use super::jobs::Control;
use super::{Failure, blocking, files};
use crate::wal::{Ancestor, history_name, parse_history, segment_name};

/// First two bytes of a WAL page in use are never these.
const EMPTY_PAGE: [u8; 2] = [0, 0];

/// One timeline's copy of the segment in which it began.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    timeline: TimelineId,
    /// First position of the segment.
    segment: Lsn,
    /// Timelines that end in or past this segment, newest first.
    ancestors: Vec<Ancestor>,
}

impl Guard {
    /// Removes what hides WAL of the stopped data directory. Timelines up to the checkpoint's need
    /// no look: recovery begins past their forks.
    pub async fn uncover_wal(&self) -> Result<(), Failure> {
        let control = self.control().await?;
        let (wal, of) = (self.wal(), control.clone());
        for copy in blocking("listing timelines", move || copies(&wal, &of)).await? {
            if let Some(hidden) = self.hidden_by(&copy, control.segment_bytes).await? {
                let (wal, timeline) = (self.wal(), copy.timeline);
                let name = segment_name(timeline, copy.segment, control.segment_bytes);
                tracing::warn!(file = name, %timeline, holder = %hidden.timeline, until = %hidden.switch,
                    "a copy that was received in part hides this member's own WAL: removed");
                blocking("removing a copy of WAL", move || {
                    files::remove_if_there(&wal.join(&name))?;
                    files::sync_parent(&wal.join(&name))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// The timeline whose own file reaches further than the copy, and how far.
    async fn hidden_by(&self, copy: &Copy, bytes: u64) -> Result<Option<Ancestor>, Failure> {
        let name = |timeline| self.wal().join(segment_name(timeline, copy.segment, bytes));
        let mut end_of_copy = None;
        for ancestor in &copy.ancestors {
            let (own, old) = (name(copy.timeline), name(ancestor.timeline));
            let limit = ancestor.switch.0.min(copy.segment.0 + bytes) - copy.segment.0;
            let compare = move || equal_start(&own, &old, limit);
            // No such file, or nothing that the copy lacks.
            if blocking("comparing WAL", compare).await?.is_none_or(|equal| equal == limit) {
                continue;
            }
            let copied = match end_of_copy {
                Some(end) => end,
                None => self.end_of_segment(copy.timeline, copy.segment, ancestor, bytes).await?,
            };
            end_of_copy = Some(copied);
            let held =
                self.end_of_segment(ancestor.timeline, copy.segment, ancestor, bytes).await?;
            let (own, old) = (name(copy.timeline), name(ancestor.timeline));
            let length = copied.0 - copy.segment.0;
            let same = blocking("comparing WAL", move || equal_start(&own, &old, length)).await?;
            if same != Some(length) {
                tracing::warn!(timeline = %copy.timeline, ancestor = %ancestor.timeline,
                    "the segment of the fork is not a copy of the ancestor's: left alone");
                continue;
            }
            if held > copied {
                return Ok(Some(Ancestor { timeline: ancestor.timeline, switch: held }));
            }
        }
        Ok(None)
    }

    /// Where the whole records of one segment's file end, at most where the ancestor was left.
    async fn end_of_segment(
        &self,
        timeline: TimelineId,
        segment: Lsn,
        ancestor: &Ancestor,
        bytes: u64,
    ) -> Result<Lsn, Failure> {
        let path = self.wal().join(segment_name(timeline, segment, bytes));
        if !blocking("reading WAL", move || begins_with(&path, segment)).await? {
            return Ok(segment);
        }
        let limit = ancestor.switch.min(Lsn(segment.0 + bytes));
        Ok(self.end_of_wal(timeline, segment, Some(limit)).await?.unwrap_or(segment).min(limit))
    }
}

/// Copies that recovery would read: of timelines newer than the checkpoint's, newest first.
fn copies(wal: &Path, control: &Control) -> io::Result<Vec<Copy>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(wal)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(timeline) = name
            .strip_suffix(".history")
            .and_then(|number| u64::from_str_radix(number, 16).ok())
            .map(TimelineId)
        else {
            continue;
        };
        if timeline > control.data.timeline && history_name(timeline) == name {
            let text = fs::read_to_string(wal.join(&name))?;
            let ancestors = parse_history(&text).map_err(io::Error::other)?;
            copies.extend(copy_of(timeline, ancestors, control.segment_bytes));
        }
    }
    copies.retain(|copy| {
        wal.join(segment_name(copy.timeline, copy.segment, control.segment_bytes)).is_file()
    });
    copies.sort_by_key(|copy| std::cmp::Reverse(copy.timeline));
    Ok(copies)
}

/// The copy a timeline begins with; `None` when it begins with its segment.
fn copy_of(timeline: TimelineId, mut ancestors: Vec<Ancestor>, bytes: u64) -> Option<Copy> {
    let fork = ancestors.last()?.switch;
    let segment = Lsn(fork.0 - fork.0 % bytes);
    ancestors.retain(|ancestor| ancestor.switch > segment);
    ancestors.reverse();
    (!ancestors.is_empty()).then_some(Copy { timeline, segment, ancestors })
}

/// How many of the first `limit` bytes two files have in common; `None` when one is missing.
fn equal_start(one: &Path, other: &Path, limit: u64) -> io::Result<Option<u64>> {
    let open = |path: &Path| match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (Some(one), Some(other)) = (open(one)?, open(other)?) else { return Ok(None) };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    one.take(limit).read_to_end(&mut left)?;
    other.take(limit).read_to_end(&mut right)?;
    let equal = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    Ok(Some(u64::try_from(equal).map_err(io::Error::other)?))
}

/// Whether a segment's first page is of this segment: a new file holds zeros, a recycled one the
/// pages of an older segment.
fn begins_with(path: &Path, segment: Lsn) -> io::Result<bool> {
    let mut header = [0; 16];
    File::open(path)?.read_exact(&mut header)?;
    let address = header[8..16].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Ok(header[..2] != EMPTY_PAGE && address == segment.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB16: u64 = 16 * 1024 * 1024;

    fn left(timeline: u64, switch: u64) -> Ancestor {
        Ancestor { timeline: TimelineId(timeline), switch: Lsn(switch) }
    }

    #[test]
    fn a_timeline_begins_with_a_copy_unless_it_begins_with_a_segment() {
        let forks = vec![left(1, 0x100_0060), left(2, 0x300_0028), left(3, 0x300_4148)];
        let copy = copy_of(TimelineId(4), forks, MB16).unwrap();
        assert_eq!(copy.segment, Lsn(0x300_0000));
        assert_eq!(copy.ancestors, [left(3, 0x300_4148), left(2, 0x300_0028)]);
        assert_eq!(copy_of(TimelineId(2), vec![left(1, 0x300_0000)], MB16), None);
        assert_eq!(copy_of(TimelineId(2), vec![], MB16), None);
    }

    #[test]
    fn files_are_compared_from_their_start() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        fs::write(&one, [1, 2, 3, 4]).unwrap();
        assert_eq!(equal_start(&one, &other, 4).unwrap(), None);
        fs::write(&other, [1, 2, 0, 4]).unwrap();
        assert_eq!(equal_start(&one, &other, 4).unwrap(), Some(2));
        assert_eq!(equal_start(&one, &other, 2).unwrap(), Some(2));
    }

    #[test]
    fn a_new_or_recycled_segment_holds_nothing_yet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let mut page = [0; 64];
        fs::write(&path, page).unwrap();
        assert!(!begins_with(&path, Lsn(0)).unwrap());
        page[0] = 0x10;
        page[8..16].copy_from_slice(&0x300_0000u64.to_le_bytes());
        fs::write(&path, page).unwrap();
        assert!(begins_with(&path, Lsn(0x300_0000)).unwrap());
        assert!(!begins_with(&path, Lsn(0x400_0000)).unwrap());
    }
}
