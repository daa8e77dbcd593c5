//! Founding a quorum: gives each store its mark, once.

use std::collections::{BTreeMap, BTreeSet};

use continuum_runtime::seed;
use rand::RngExt;

use crate::cells::{Put, Tag};
use crate::register::StoreError;

use super::mark::{MARK_KEY, Mark, Membership, Phase};
use super::store::Acceptor;

/// Why a quorum was not founded. What was done already is taken up by the next try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// A store did not do what it was asked.
    #[error("acceptor {acceptor}: {error}; founding needs all of them: mend it and repeat")]
    Store {
        /// Whose store.
        acceptor: String,
        /// What it said.
        error: StoreError,
    },
    /// The quorum was founded before, and this store has no mark.
    #[error(
        "acceptor {0} is empty, and the others were founded before: it has lost its state, or is \
         new. It is not taken in by founding again, because it may have made promises"
    )]
    Lost(String),
    /// A store belongs to another quorum, or is another acceptor of this one.
    #[error(
        "the store of acceptor {acceptor} is marked as one of {members} already: it cannot be of two \
         quorums, nor two acceptors of one"
    )]
    Other {
        /// Whose store.
        acceptor: String,
        /// The acceptors of that quorum.
        members: String,
    },
    /// An acceptor is being replaced.
    #[error(
        "an acceptor is being replaced, by what the store of {0} says: finish that with 'continuum \
         witness replace'"
    )]
    Replacing(String),
    /// Not 1, 3 or 5 acceptors, or a name twice.
    #[error("{0}")]
    Shape(String),
}

type Found = (String, Option<(Tag, Mark)>);

/// Gives each store its mark. May be repeated, also after it was cut off half-way; founding what is
/// founded changes nothing. The stores must all answer. Returns the incarnation of each.
pub async fn found(acceptors: &[Acceptor]) -> Result<BTreeMap<String, String>, FoundError> {
    check_shape(acceptors)?;
    let mut marks: Vec<Found> = Vec::new();
    for acceptor in acceptors {
        let found = read_mark(acceptor).await.map_err(|error| failed(acceptor, error))?;
        marks.push((acceptor.name.clone(), found));
    }
    let filling = |(_, mark): &&(Tag, Mark)| mark.from.is_some();
    if let Some((_, mark)) = marks.iter().flat_map(|(_, mark)| mark).find(filling) {
        return Err(FoundError::Replacing(mark.acceptor.clone()));
    }
    let opened = marks.iter().flat_map(|(_, mark)| mark).any(|(_, mark)| mark.phase == Phase::Open);
    if let Some((name, _)) = marks.iter().find(|(_, mark)| opened && mark.is_none()) {
        return Err(FoundError::Lost(name.clone()));
    }
    let begun = marks.iter().find_map(|(_, mark)| mark.as_ref().map(|(_, mark)| mark.clone()));
    let draw = |acceptor: &Acceptor| (acceptor.name.clone(), incarnation());
    let plan = begun.unwrap_or_else(|| Mark {
        acceptor: String::new(),
        quorum: incarnation(),
        now: Membership { generation: 1, members: acceptors.iter().map(draw).collect() },
        phase: Phase::Founding,
        from: None,
    });
    let named: BTreeSet<&String> = acceptors.iter().map(|acceptor| &acceptor.name).collect();
    for (name, mark) in &marks {
        let fits = |mark: &Mark| mark.same_quorum(&plan) && mark.acceptor == *name;
        let other = mark.as_ref().is_some_and(|(_, mark)| !fits(mark));
        if other || plan.now.members.keys().any(|member| !named.contains(member)) {
            let theirs = mark.as_ref().map_or(&plan.now.members, |(_, mark)| &mark.now.members);
            let members = theirs.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(FoundError::Other { acceptor: name.clone(), members });
        }
    }
    // All are marked before the first is opened: an empty store among open ones is a lost one.
    for phase in [Phase::Founding, Phase::Open] {
        for acceptor in acceptors {
            let mark = Mark { acceptor: acceptor.name.clone(), phase, ..plan.clone() };
            write_mark(acceptor, &mark).await?;
        }
    }
    Ok(plan.now.members)
}

/// Wide enough that two never meet.
pub(super) fn incarnation() -> String {
    format!("{:032x}", seed::rng().random::<u128>())
}

fn check_shape(acceptors: &[Acceptor]) -> Result<(), FoundError> {
    let mut names: Vec<&str> = acceptors.iter().map(|acceptor| &*acceptor.name).collect();
    names.sort_unstable();
    names.dedup();
    match (acceptors.len(), names.len()) {
        (1 | 3 | 5, distinct) if distinct == acceptors.len() => Ok(()),
        (1 | 3 | 5, _) => Err(FoundError::Shape("two acceptors have one name".into())),
        (count, _) => Err(FoundError::Shape(format!(
            "{count} acceptors; a quorum has 1, 3 or 5 (an even number tolerates no more losses)"
        ))),
    }
}

fn failed(acceptor: &Acceptor, error: StoreError) -> FoundError {
    FoundError::Store { acceptor: acceptor.name.clone(), error }
}

pub(super) async fn read_mark(acceptor: &Acceptor) -> Result<Option<(Tag, Mark)>, StoreError> {
    let cell = acceptor.store.get(MARK_KEY).await?;
    cell.map(|cell| Ok((cell.tag, Mark::decode(&cell.bytes)?))).transpose()
}

/// Brings the mark to `mark`, never back from open.
async fn write_mark(acceptor: &Acceptor, mark: &Mark) -> Result<(), FoundError> {
    let failed = |error| failed(acceptor, error);
    let held = read_mark(acceptor).await.map_err(failed)?;
    let tag = match held {
        Some((_, held)) if !held.same_quorum(mark) || held.acceptor != mark.acceptor => {
            let members = held.now.members.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(FoundError::Other { acceptor: acceptor.name.clone(), members });
        }
        Some((_, held)) if held.phase >= mark.phase => return Ok(()),
        Some((tag, _)) => Some(tag),
        None if mark.phase == Phase::Open => return Err(FoundError::Lost(mark.acceptor.clone())),
        None => None,
    };
    match acceptor.store.put(MARK_KEY, tag.as_ref(), mark.encode()).await.map_err(failed)? {
        Put::Written(_) => Ok(()),
        Put::Conflict(_) => {
            Err(failed(StoreError::Unanswered("somebody else is founding it too".into())))
        }
    }
}
