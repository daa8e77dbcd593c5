//! What must hold of the control core, seen from outside: on its nodes' disks, and in the journal
//! that it shows to operators.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_domain::operation::{Operation, OperationKind, OperationState, Step, StepOutcome};
use continuum_domain::{OperationId, PairRecord};

/// A vote that stood on a disk for this long was given: it may not be forgotten any more.
const GIVEN_AFTER: Duration = Duration::from_secs(1);
/// Time between two looks at the disks.
const LOOK: Duration = Duration::from_millis(100);
/// Where the vote file has its two slots, and how many bytes of each are looked at.
const SLOTS: [usize; 2] = [0, 4096];

/// A vote: its number in the file, its term, and for whom.
type Vote = (u64, u64, u64);

fn number(slot: &[u8], at: usize) -> Option<u64> {
    slot.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// The newest vote of a vote file.
fn vote_of(file: &[u8]) -> Option<Vote> {
    let slot_at = |at: usize| {
        let slot = file.get(at..at + 32)?;
        let whole = slot.starts_with(b"CtV1");
        whole.then_some((number(slot, 8)?, number(slot, 16)?, number(slot, 24)?))
    };
    SLOTS.into_iter().filter_map(slot_at).max()
}

#[derive(Default)]
struct Seen {
    newest: Vote,
    since: Duration,
    given: Vote,
}

/// The votes of all control nodes, as they stand on their disks.
#[derive(Default)]
pub struct Votes {
    nodes: BTreeMap<String, Seen>,
    looked: Duration,
}

impl Votes {
    /// Whether it is time to look again.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.looked + LOOK;
        if due {
            self.looked = now;
        }
        due
    }

    /// Looks at a node's vote file; says what is wrong with it.
    pub fn look(&mut self, now: Duration, node: &str, file: &[u8]) -> Option<String> {
        // A torn slot is for the node to find; the other one holds the vote.
        let vote = vote_of(file)?;
        let seen = self.nodes.entry(node.to_owned()).or_default();
        if vote < seen.given {
            let (was, is) = (seen.given.1, vote.1);
            return Some(format!("vote: {node} forgot its vote of term {was}; on disk is {is}"));
        }
        if vote != seen.newest {
            (seen.newest, seen.since) = (vote, now);
        }
        if now >= seen.since + GIVEN_AFTER {
            seen.given = seen.newest;
        }
        None
    }
}

/// What is wrong with the journal of operations: `accepted` were answered to operators, `registers`
/// are all values of the pair's register.
pub fn judge_journal(
    operations: &[Operation],
    accepted: &[OperationId],
    registers: &[(Duration, PairRecord)],
) -> Option<String> {
    let lost = accepted.iter().find(|id| !operations.iter().any(|operation| operation.id == **id));
    if let Some(id) = lost {
        return Some(format!("journal: operation {id} was accepted and is in no journal"));
    }
    operations.iter().find_map(|operation| {
        let wrong = unannounced(operation).or_else(|| denied(operation, registers))?;
        Some(format!("journal: operation {} {wrong}", operation.id))
    })
}

/// The old holder may be stopped only after the journal says so: a new leader must know it.
fn unannounced(operation: &Operation) -> Option<String> {
    let OperationKind::Switchover { from, .. } = &operation.kind else { return None };
    let first =
        operation.steps.iter().find(|line| matches!(line.step, Step::StopWrites | Step::Commit))?;
    let announced = first.region.is_none() && first.outcome == StepOutcome::Started;
    (!announced).then(|| format!("stopped {from} before the journal announced it"))
}

/// A move that the register shows cannot be undone, refused or failed.
fn denied(operation: &Operation, registers: &[(Duration, PairRecord)]) -> Option<String> {
    let OperationKind::Switchover { to, .. } = &operation.kind else { return None };
    let OperationState::Undone { .. } = &operation.state else { return None };
    let before = operation.at_epoch;
    let next = registers.iter().find(|(_, record)| record.epoch > before)?;
    let handed = registers
        .iter()
        .any(|(_, record)| record.epoch == before && record.handover_to.as_ref() == Some(to));
    let moved = handed && next.1.held_by(to);
    moved.then(|| format!("is undone, and {to} took over from epoch {before}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(sequence: u64, term: u64) -> Vec<u8> {
        let mut file = vec![0; 4096 + 64];
        file[..4].copy_from_slice(b"CtV1");
        file[8..16].copy_from_slice(&sequence.to_le_bytes());
        file[16..24].copy_from_slice(&term.to_le_bytes());
        file
    }

    #[test]
    fn only_a_vote_that_stood_may_not_be_forgotten() {
        let mut votes = Votes::default();
        let at = Duration::from_millis;
        assert_eq!(votes.look(at(0), "c1", &file(1, 1)), None);
        assert_eq!(votes.look(at(1_100), "c1", &file(2, 2)), None);
        assert_eq!(votes.look(at(1_200), "c1", &file(1, 1)), None, "it was being written");
        assert_eq!(votes.look(at(1_300), "c1", &file(2, 2)), None);
        assert_eq!(votes.look(at(2_400), "c1", &file(2, 2)), None);
        assert!(votes.look(at(2_500), "c1", &file(1, 1)).is_some());
    }
}
