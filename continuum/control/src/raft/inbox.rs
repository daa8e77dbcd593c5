//! Puts a snapshot together from its chunks.

use tonic::Status;

use super::frame::{ChunkHeader, SNAPSHOT_BYTES_MAX};
use super::types::{Snapshot, Vote};

/// The snapshot that is arriving; a new one replaces an unfinished one.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    arriving: Option<Arriving>,
}

#[derive(Debug)]
struct Arriving {
    first: ChunkHeader,
    bytes: Vec<u8>,
}

impl Inbox {
    /// Takes one chunk; returns the snapshot when it was the last.
    pub fn take(
        &mut self,
        header: ChunkHeader,
        bytes: &[u8],
    ) -> Result<Option<(Vote, Snapshot)>, Status> {
        if header.total > SNAPSHOT_BYTES_MAX {
            let text = format!("a snapshot of {} bytes is too large", header.total);
            return Err(Status::invalid_argument(text));
        }
        if header.offset == 0 {
            self.arriving = Some(Arriving { first: header.clone(), bytes: Vec::new() });
        }
        // A chunk whose answer was lost comes again, or the sender has begun anew: it starts over.
        let mut arriving =
            self.arriving.take().filter(|arriving| arriving.continues(&header, bytes)).ok_or_else(
                || Status::aborted("the chunk does not continue a snapshot; start over"),
            )?;
        arriving.bytes.extend(bytes);
        if arriving.held() < header.total {
            self.arriving = Some(arriving);
            return Ok(None);
        }
        Ok(Some((header.vote, Snapshot { meta: header.meta, snapshot: arriving.bytes })))
    }
}

impl Arriving {
    fn held(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    fn continues(&self, next: &ChunkHeader, bytes: &[u8]) -> bool {
        let same = self.first.vote == next.vote
            && self.first.meta == next.meta
            && self.first.total == next.total;
        let added = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        same && next.offset == self.held() && next.offset.saturating_add(added) <= next.total
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::SnapshotMeta;
    use super::*;

    fn header(offset: u64, total: u64) -> ChunkHeader {
        ChunkHeader {
            vote: Vote::new_committed(1, 1),
            meta: SnapshotMeta::default(),
            offset,
            total,
        }
    }

    #[test]
    fn chunks_in_order_make_a_snapshot_and_others_start_over() {
        let mut inbox = Inbox::default();
        assert!(inbox.take(header(0, 5), b"abc").unwrap().is_none());
        let (_, snapshot) = inbox.take(header(3, 5), b"de").unwrap().unwrap();
        assert_eq!(snapshot.snapshot, b"abcde");

        assert!(inbox.take(header(0, 5), b"abc").unwrap().is_none());
        assert!(inbox.take(header(4, 5), b"e").is_err(), "a gap");
        assert!(inbox.take(header(3, 5), b"de").is_err(), "nothing is left to continue");
        assert!(inbox.take(header(0, 2), b"abc").is_err(), "more than announced");
        assert!(inbox.take(header(0, 0), b"").unwrap().is_some(), "an empty state is a state");
    }
}
