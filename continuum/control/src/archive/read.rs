//! Reading the audit chain from its beginning: from the archive, then from what was applied.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use continuum_control_api::rest::{AuditGap, AuditRecord};
use continuum_runtime::seed;

use super::{Archive, line, name_of};
use crate::core::Core;

/// Records taken from memory at once.
const BATCH: usize = 500;

/// What stands at a position, or positions, of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A record.
    Record(Box<AuditRecord>),
    /// This node does not have them.
    Missing(AuditGap),
    /// This node's disk has something else there.
    Damaged(u64),
}

/// Reads forward, a piece at a time.
pub(crate) struct Reader {
    core: Arc<Core>,
    /// First and last position of the segments to come.
    segments: VecDeque<(u64, u64)>,
    /// The position that comes next.
    next: u64,
    /// The last one that is wanted.
    until: u64,
}

impl Reader {
    /// From the position after `after` to what is the newest one now.
    pub(crate) fn new(core: Arc<Core>, after: u64) -> Self {
        let plan = core.archive.plan();
        let expired = plan.manifest.expired.as_ref().map_or(0, |head| head.index);
        let segments = plan.ranges().into_iter().filter(|(_, last)| *last > after).collect();
        let head = core.node.read(|state| state.audit().next_back().map_or(0, |last| last.index));
        let until = head.max(plan.newest());
        Self { core, segments, next: after.max(expired) + 1, until }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<Vec<Item>>> {
        if self.next > self.until {
            return Ok(None);
        }
        // The newest ones are read from memory, which is never behind.
        let in_memory = self.core.node.read(|state| {
            let records = state.audit_after(self.next - 1).ok()?;
            Some(records.take(BATCH).cloned().collect::<Vec<_>>())
        });
        match in_memory {
            Some(records) if !records.is_empty() => {
                self.next = records.last().map_or(self.next, |last| last.index + 1);
                Ok(Some(records.into_iter().map(|record| Item::Record(Box::new(record))).collect()))
            }
            // The chain in memory is shorter than the archive: a node that is catching up.
            _ => self.segment().await.map(Some),
        }
    }

    async fn segment(&mut self) -> io::Result<Vec<Item>> {
        let next = self.next;
        let Some((first, last)) = self.segments.pop_front() else {
            let kept = self.core.node.read(|state| state.audit_after(next - 1).err());
            let to = kept.map_or(self.until, |first| first - 1);
            self.next = to + 1;
            return Ok(vec![Item::Missing(AuditGap { from: next, to })]);
        };
        if last < next {
            return Ok(Vec::new());
        }
        let mut items = Vec::new();
        if first > next {
            items.push(Item::Missing(AuditGap { from: next, to: first - 1 }));
        }
        self.next = last + 1;
        let from = next.max(first);
        let content = self.core.archive.content(first).await?;
        let Some(content) = content else {
            items.push(Item::Missing(AuditGap { from, to: last }));
            return Ok(items);
        };
        let parse = move || items_of(&content, (from, last));
        items.extend(seed::blocking(parse).await?);
        Ok(items)
    }
}

/// The records of a segment from one position to another; each position once.
fn items_of(content: &[u8], (from, last): (u64, u64)) -> Vec<Item> {
    let mut items = Vec::new();
    let mut next = from;
    for line in content.split(|byte| *byte == b'\n') {
        let Ok(record) = line::read(line) else { continue };
        if record.index < next || record.index > last {
            continue;
        }
        items.extend((next..record.index).map(Item::Damaged));
        next = record.index + 1;
        items.push(Item::Record(Box::new(record)));
    }
    items.extend((next..=last).map(Item::Damaged));
    items
}

impl Archive {
    /// A segment's content; `None` where it is gone.
    async fn content(&self, first: u64) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(&name_of(first)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::records;

    #[test]
    fn a_damaged_record_is_told_of_in_its_place() {
        let records = records(4);
        let mut lines: Vec<Vec<u8>> = records.iter().map(line::of).collect();
        lines[1][5] ^= 1;
        let content = lines.join(&b'\n');
        let items = items_of(&content, (1, 5));
        let kinds: Vec<_> = items
            .iter()
            .map(|item| match item {
                Item::Record(record) => (record.index, true),
                Item::Damaged(index) => (*index, false),
                Item::Missing(gap) => panic!("{gap:?}"),
            })
            .collect();
        assert_eq!(kinds, [(1, true), (2, false), (3, true), (4, true), (5, false)]);
    }
}
