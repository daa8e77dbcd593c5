//! Whether a replacement makes sense and may go on, from what the marks say.

use std::collections::{BTreeMap, BTreeSet};

use crate::cells::Tag;
use crate::register::StoreError;

use super::found::read_mark;
use super::mark::{Mark, Membership, Phase};
use super::replace::{ReplaceError, patiently};
use super::store::Acceptor;
use super::view::View;

/// The marks of all stores, as far as they could be read.
pub(super) type Marks = BTreeMap<String, Result<Option<(Tag, Mark)>, StoreError>>;

/// The acceptors whose stores answer, and have no mark.
pub(super) fn without_state(of: &Membership, marks: &Marks) -> BTreeSet<String> {
    let lost = |name: &&String| matches!(marks.get(*name), Some(Ok(None)));
    of.members.keys().filter(lost).cloned().collect()
}

/// Whether those that have their state are a majority, of the acceptors before and of those after.
pub(super) fn enough(view: &View, lost: &BTreeSet<String>) -> Result<(), ReplaceError> {
    let Some(one) = lost.first() else { return Ok(()) };
    let has = |name: &&String| !lost.contains(*name);
    let after = view.now.members.keys().filter(has).count() > view.now.members.len() / 2;
    let before = view.from.as_ref().is_none_or(|from| {
        let asked = from.members.keys().filter(|name| view.counts_before(name));
        asked.filter(has).count() > from.members.len() / 2
    });
    if before && after {
        return Ok(());
    }
    Err(ReplaceError::Store {
        acceptor: one.clone(),
        error: StoreError::Misconfigured(
            "it has lost its state meanwhile, and too few others have theirs".into(),
        ),
    })
}

pub(super) fn told(marks: &Marks, what: impl Fn(&Mark) -> bool) -> bool {
    marks.values().flatten().flatten().any(|(_, mark)| what(mark))
}

pub(super) async fn read_marks(acceptors: &[Acceptor]) -> Marks {
    let mut marks = Marks::new();
    for acceptor in acceptors {
        let mark = patiently!(read_mark(acceptor));
        marks.insert(acceptor.name.clone(), mark);
    }
    marks
}

/// The newest acceptors that the marks tell of; as long as one of them has not been told that nothing
/// is left to carry over, that is still to be done.
pub(super) fn newest(marks: &Marks) -> Result<View, ReplaceError> {
    let refuse = |why: String| Err(ReplaceError::Refused(why));
    let mut found: Vec<(&String, &Mark)> = Vec::new();
    for (name, mark) in marks {
        match mark {
            Ok(Some((_, mark))) if mark.phase != Phase::Founding => found.push((name, mark)),
            Ok(Some((_, mark))) if mark.now.generation == 1 => {
                return refuse(format!(
                    "{name} is only half founded: finish 'continuum witness init' first"
                ));
            }
            // Begun and used by nobody: what was decided is found again.
            _ => {}
        }
    }
    let rank = |name: &str, mark: &Mark| {
        let left = mark.from.is_some() && mark.now.members.contains_key(name);
        (mark.now.generation, left, mark.from.is_none())
    };
    let newest = found.iter().max_by_key(|(name, mark)| rank(name, mark));
    if let Some((name, mark)) = newest
        && let Some((other, _)) = found.iter().find(|(_, other)| other.quorum != mark.quorum)
    {
        return refuse(format!("{other} and {name} are acceptors of different quorums"));
    }
    let answers = |view: &View| {
        let members = view.now.members.keys();
        members.filter(|name| marks.get(*name).is_some_and(Result::is_ok)).count()
    };
    match newest.map(|(_, mark)| View::of((*mark).clone())) {
        Some(view) if answers(&view) > view.now.members.len() / 2 => Ok(view),
        _ => Err(ReplaceError::Silent(
            marks.iter().map(|(name, mark)| unfounded(name, mark)).collect::<Vec<_>>().join("; "),
        )),
    }
}

fn unfounded(name: &str, mark: &Result<Option<(Tag, Mark)>, StoreError>) -> String {
    match mark {
        Ok(Some((_, mark))) => format!("{name}: generation {}", mark.now.generation),
        Ok(None) => format!("{name}: not founded"),
        Err(error) => format!("{name}: {error}"),
    }
}

/// Whether it was done before, by every acceptor's own word.
pub(super) fn is_done(
    view: &View,
    marks: &Marks,
    (old, new): (&str, &str),
) -> Result<bool, ReplaceError> {
    let members = &view.now.members;
    let done = old != new && members.contains_key(new) && !members.contains_key(old);
    if !done || view.from.is_some() {
        return Ok(false);
    }
    for name in members.keys() {
        if let Some(Err(error)) = marks.get(name) {
            return Err(ReplaceError::Store { acceptor: name.clone(), error: error.clone() });
        }
    }
    Ok(true)
}

/// Whether the replacement that the marks tell of is the one asked for.
pub(super) fn under_way(
    view: &View,
    from: &Membership,
    (old, new): (&str, &str),
) -> Result<(), ReplaceError> {
    let changed = |one: &Membership, other: &Membership| {
        one.members.keys().find(|name| !other.keeps(one, name)).cloned().unwrap_or_default()
    };
    let (goes, comes) = (changed(from, &view.now), changed(&view.now, from));
    match (goes.as_str(), comes.as_str()) == (old, new) {
        true => Ok(()),
        false => Err(ReplaceError::UnderWay { old: goes, new: comes }),
    }
}

/// Whether a replacement may begin.
pub(super) fn check_begin(
    view: &View,
    marks: &Marks,
    (old, new): (&str, &str),
) -> Result<(), ReplaceError> {
    let refuse = |why: String| Err(ReplaceError::Refused(why));
    let members = &view.now.members;
    if !members.contains_key(old) {
        return refuse(format!("{old} is none of the acceptors {}", view.now.names()));
    }
    if old != new && members.contains_key(new) {
        return refuse(format!("{new} is an acceptor already"));
    }
    if old == new && members.len() == 1 {
        return refuse(format!(
            "{old} is the only acceptor: if it lost its state, nothing tells what was in it"
        ));
    }
    let mut lost = None;
    let mut have_state = 0;
    for name in members.keys().filter(|name| *name != old).map(|name| &**name).chain([new]) {
        match marks.get(name) {
            None => return refuse(format!("the configuration lists no acceptor {name}")),
            Some(Err(error)) => {
                return Err(ReplaceError::Store { acceptor: name.into(), error: error.clone() });
            }
            Some(Ok(None)) if name != new => lost = Some(name),
            Some(Ok(None)) => {}
            Some(Ok(Some((_, mark)))) => {
                check_store(view, name, mark, name == new)?;
                have_state += usize::from(name != new);
            }
        }
    }
    match lost {
        Some(lost) if have_state <= members.len() / 2 => refuse(format!(
            "{lost} has lost its state too, and the others are no majority: what the registers held \
             can not be told"
        )),
        _ => Ok(()),
    }
}

/// Whether a store is what it has to be before a replacement: an acceptor that stays is in use, and
/// one that comes is nobody else's.
fn check_store(view: &View, name: &str, mark: &Mark, comes: bool) -> Result<(), ReplaceError> {
    let own = mark.quorum == view.quorum && mark.acceptor == name;
    match own && (comes || mark.now == view.now) {
        true => Ok(()),
        false => Err(ReplaceError::Refused(format!(
            "the store of {name} is acceptor {} of {}",
            mark.acceptor,
            mark.now.names()
        ))),
    }
}
