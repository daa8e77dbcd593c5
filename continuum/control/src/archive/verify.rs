//! Verifying the archive against itself and against the replicated chain.

use std::collections::BTreeMap;
use std::io;

use continuum_control_api::rest::ArchiveVerdict;
use continuum_runtime::seed;

use super::line::{Fault, Walk};
use super::{Archive, Index, name_of};

/// Segments looked at for one request: 200,000 records.
const SEGMENTS_AT_ONCE: usize = 20;

/// What one look found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub verdict: ArchiveVerdict,
    pub fault: Option<Fault>,
}

impl Archive {
    /// Walks the archive from the segment that holds the record `after`. `known` are positions and
    /// hashes of the replicated chain.
    pub(crate) async fn verify(
        &self,
        after: Option<u64>,
        known: BTreeMap<u64, String>,
    ) -> io::Result<Found> {
        let plan = self.plan();
        let mut found = Found::default();
        found.verdict.trouble.clone_from(&plan.trouble);
        if !plan.opened {
            let why = plan.trouble.unwrap_or_else(|| "it was not read yet".into());
            return Err(io::Error::other(why));
        }
        found.verdict.expired.clone_from(&plan.manifest.expired);
        found.verdict.missing.clone_from(&plan.manifest.missing);
        let ranges = plan.ranges();
        let start = after.and_then(|after| Some(*ranges.range(..=after).next_back()?.0));
        let mut walk = match (start, &plan.manifest.expired) {
            (Some(first), _) if Some(&first) != plan.segments.first() => {
                Walk::after_unknown(first - 1)
            }
            (_, Some(expired)) => Walk::after(expired),
            _ => Walk::default(),
        };
        let mut known = known;
        for (number, (first, last)) in ranges.range(start.unwrap_or(0)..).enumerate() {
            if number == SEGMENTS_AT_ONCE {
                found.verdict.next = Some(first - 1);
                break;
            }
            if let Err(fault) = bridge(&plan, &mut walk, *first) {
                found.fault = Some(fault);
                break;
            }
            let Some(mut content) = self.disk.read(&name_of(*first)).await? else {
                let problem = format!("record {first} is missing: its file is gone");
                found.fault = Some(Fault { wrong: *first, problem });
                break;
            };
            if Some(first) == plan.segments.last() {
                found.fault = self.foreign_end(*first, content.len());
                // What is being written right now comes after it.
                content.truncate(usize::try_from(plan.bytes).unwrap_or(usize::MAX));
            }
            let last = *last;
            // Hashing would hold up everything else on this thread.
            let work = seed::blocking(move || {
                let fault = segment(&mut walk, &content, last, &known).err();
                (walk, known, fault)
            });
            let fault;
            (walk, known, fault) = work.await?;
            found.verdict.first.get_or_insert(*first);
            found.verdict.records += (walk.index() + 1).saturating_sub(*first);
            found.verdict.head = walk.head();
            found.fault = fault.or(found.fault);
            if found.fault.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Whether more stands at the end of the last segment than was ever written there.
    fn foreign_end(&self, segment: u64, bytes: usize) -> Option<Fault> {
        let index = self.index();
        let is_foreign = index.segments.last() == Some(&segment) && bytes as u64 > index.begun;
        is_foreign.then(|| {
            let wrong = index.newest() + 1;
            Fault { wrong, problem: format!("record {wrong} was not written by this node") }
        })
    }
}

/// From the end of one segment to the beginning of the next: directly, or over a gap that is known.
fn bridge(plan: &Index, walk: &mut Walk, first: u64) -> Result<(), Fault> {
    if first == walk.index() + 1 {
        return Ok(());
    }
    while let Some(gap) = plan.manifest.missing.iter().find(|gap| gap.from == walk.index() + 1) {
        *walk = Walk::after_unknown(gap.to);
    }
    let next = walk.index() + 1;
    if first == next {
        return Ok(());
    }
    let problem = match first.checked_sub(1) {
        Some(last) if last >= next => {
            format!("record {next} is missing, as all up to {last}, and nothing says why")
        }
        _ => format!("record {first} begins a second time"),
    };
    Err(Fault { wrong: next.min(first), problem })
}

/// The lines of one segment, each of which must be there and the only one of its position.
fn segment(
    walk: &mut Walk,
    content: &[u8],
    last: u64,
    known: &BTreeMap<u64, String>,
) -> Result<(), Fault> {
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    while walk.index() < last {
        let wrong = walk.index() + 1;
        let fault = |what: &str| Fault { wrong, problem: format!("record {wrong} {what}") };
        let line = lines.next().ok_or_else(|| fault("is missing: its file ends before it"))?;
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(fault("was changed: its line has no end"));
        };
        let record = walk.step(line)?;
        if known.get(&record.index).is_some_and(|hash| *hash != record.hash) {
            return Err(fault("is another one than in the replicated chain"));
        }
    }
    match lines.next() {
        None => Ok(()),
        Some(_) => {
            let wrong = last + 1;
            let problem = format!("record {wrong} stands in a file that should end before it");
            Err(Fault { wrong, problem })
        }
    }
}

/// Positions and hashes by position.
pub(crate) fn known<'a>(hashes: impl Iterator<Item = (u64, &'a str)>) -> BTreeMap<u64, String> {
    hashes.map(|(index, hash)| (index, hash.to_owned())).collect()
}
