//! Writing at the end of the archive.

use std::io;

use continuum_control_api::rest::{AuditGap, AuditRecord};
use continuum_runtime::disk::DiskFile;

use super::{Archive, SEGMENT_BYTES_MAX, SEGMENT_RECORDS, line, name_of};

/// The one who writes.
pub(super) struct Writer<'a> {
    archive: &'a Archive,
    /// The last segment, open; absent after an error, because nothing is known of its end then.
    file: Option<(u64, Box<dyn DiskFile>)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(archive: &'a Archive) -> Self {
        Self { archive, file: None }
    }

    /// Appends records that follow each other. Durable when it returns; after an error nothing of
    /// them counts, and the same may be written again.
    pub(super) async fn append(&mut self, records: &[AuditRecord]) -> io::Result<()> {
        let mut rest = records;
        while let Some(first) = rest.first() {
            self.note_gap(first).await?;
            let (segment, held, bytes) = self.place(first.index);
            let room = usize::try_from(SEGMENT_RECORDS - held).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            let written = self.write((segment, bytes), now).await;
            if written.is_err() {
                self.file = None;
            }
            written?;
            rest = later;
        }
        Ok(())
    }

    /// Writes down which records were never seen, before any that follow them.
    async fn note_gap(&mut self, first: &AuditRecord) -> io::Result<()> {
        let (newest, hash, mut manifest) = {
            let index = self.archive.index();
            let hash = index.newest.as_ref().and_then(|(_, hash)| hash.clone());
            (index.newest(), hash, index.manifest.clone())
        };
        if first.index == newest + 1 {
            return match hash {
                Some(hash) if hash != first.previous_hash => Err(io::Error::other(format!(
                    "record {newest} is not the one that the replicated chain goes on from; \
                     is this the archive of another core?"
                ))),
                _ => Ok(()),
            };
        }
        let gap = AuditGap { from: newest + 1, to: first.index - 1 };
        tracing::warn!(
            from = gap.from,
            to = gap.to,
            "records were never seen by this node; its audit archive has a gap"
        );
        manifest.missing.retain(|known| known.from != gap.from);
        manifest.missing.push(gap);
        self.archive.write_manifest(&manifest).await?;
        let mut index = self.archive.index();
        index.manifest = manifest;
        // A gap begins a new segment, so that a segment never has one inside.
        index.newest = Some((gap.to, None));
        index.bytes = SEGMENT_BYTES_MAX;
        Ok(())
    }

    /// The segment that the next record goes into, the records it holds, and its length.
    fn place(&self, next: u64) -> (u64, u64, u64) {
        let index = self.archive.index();
        match index.segments.last() {
            Some(first) if next - first < SEGMENT_RECORDS && index.bytes < SEGMENT_BYTES_MAX => {
                (*first, next - first, index.bytes)
            }
            _ => (next, 0, 0),
        }
    }

    async fn write(
        &mut self,
        (segment, offset): (u64, u64),
        records: &[AuditRecord],
    ) -> io::Result<()> {
        let Some(last) = records.last() else { return Ok(()) };
        let mut text = Vec::new();
        for record in records {
            text.extend(line::of(record));
            text.push(b'\n');
        }
        let bytes = offset + text.len() as u64;
        let is_open = self.file.as_ref().is_some_and(|(open, _)| *open == segment);
        if !is_open {
            let mut file = self.archive.disk.open(&name_of(segment)).await?;
            // What an attempt that failed left behind.
            file.cut(offset).await?;
            self.file = Some((segment, file));
        }
        let Some((_, file)) = &mut self.file else { return Ok(()) };
        self.archive.index().begun = bytes;
        file.write_at(offset, text, true).await?;
        let mut index = self.archive.index();
        if index.segments.last() != Some(&segment) {
            index.segments.push(segment);
        }
        index.bytes = bytes;
        index.newest = Some((last.index, Some(last.hash.clone())));
        Ok(())
    }
}
