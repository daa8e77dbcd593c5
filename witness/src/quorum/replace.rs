//! Replacing an acceptor, or taking one in again that lost its state, while the quorum is in use.
//!
//! ```text
//!  1  which acceptors come next is decided, once, in a register of the generation before
//!  2  their stores are marked: no new cell is made in the generation before, and none is forgotten
//!  3  every register is carried over: sealed at a majority before, its value put to one after
//!  4  the marks say that nothing is left to carry over
//!  5  the cells of the generation before are removed
//! ```
//!
//! The marks are the journal. Each step may be repeated, by two at once too, so that whoever finds
//! a replacement half-made finishes it. Nobody waits for it to end: who meets a sealed cell follows the marks,
//! carries over what it may write, and goes on.
//!
//! An acceptor that loses its state meanwhile is passed over while the others are a majority of those
//! before and of those after: it counts for nothing, and is taken in again by a replacement of its own.
//!
//! Why no register is forgotten by step 3: a register that was chosen has cells with promises at a
//! majority of the acceptors before. A majority of them was marked by step 2. So one of them is in both,
//! and its cell was made before it was marked (else the mark would not have stood behind it, and no promise
//! would be in it); the list is taken after that, and shows it. That the list is of a store which has lost
//! nothing is shown by its mark, which is read after it.

use std::collections::BTreeSet;
use std::time::Duration;

use continuum_domain::Version;
use continuum_runtime::Identity;
use serde::{Deserialize, Serialize};

use crate::cells::Put;
use crate::register::{Answer, RegisterStore, StoreError};

use super::found::{incarnation, read_mark};
use super::mark::{MARK_KEY, Mark, Membership, Phase};
use super::planted::{Bug, planted};
use super::standing::{
    Marks, check_begin, enough, is_done, newest, read_marks, told, under_way, without_state,
};
use super::store::{Acceptor, QuorumStore};
use super::view::View;

/// Times a store is asked that does not answer.
pub(super) const TRIES_MAX: u32 = 4;

/// Repeats what may be repeated while a store does not answer.
macro_rules! patiently {
    ($work:expr) => {{
        let mut tried = 0;
        loop {
            crate::quorum::place::pause(tried).await;
            tried += 1;
            match $work.await {
                Err(StoreError::Unanswered(_) | StoreError::NotSent(_))
                    if tried < crate::quorum::replace::TRIES_MAX => {}
                answer => break answer,
            }
        }
    }};
}
pub(super) use patiently;

/// The register in which each generation decides what comes after it.
pub(super) const NEXT_KEY: &str = "next";

/// What comes after a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    old: String,
    new: String,
    now: Membership,
    /// Who decided it.
    by: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The acceptors now.
    pub now: Membership,
    /// Registers that there are.
    pub registers: usize,
    /// How many of them were carried over by this call, not by those who use them.
    pub carried: usize,
    /// Cells of the generation before that could not be removed; they are of no meaning any more.
    pub left: usize,
    /// Acceptors that have lost their state meanwhile: they do not count until each is replaced.
    pub lost: BTreeSet<String>,
}

/// How far it has come, for who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These acceptors come next; that is final.
    Decided(Membership),
    /// All of them are marked.
    Marked,
    /// So many registers of so many are carried over.
    Carried(usize, usize),
    /// Nothing is left to carry over.
    Opened,
}

/// Why an acceptor was not replaced. What was done already is taken up by the next try, and does no harm
/// until then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// A store did not do what it was asked.
    #[error("acceptor {acceptor}: {error}; mend it and repeat the same command")]
    Store {
        /// Whose store.
        acceptor: String,
        /// What it said.
        error: StoreError,
    },
    /// A register could not be carried over, or it could not be decided who comes next.
    #[error("register {register}: {error}; repeat the same command")]
    Register {
        /// The register.
        register: String,
        /// Why not.
        error: StoreError,
    },
    /// Another replacement has begun.
    #[error(
        "{old} is being replaced by {new}: finish that first, by the same command with these names"
    )]
    UnderWay {
        /// Who goes.
        old: String,
        /// Who comes.
        new: String,
    },
    /// Too few acceptors say who they all are; nothing was changed.
    #[error("too few acceptors tell who they all are: {0}; nothing was changed")]
    Silent(String),
    /// What is asked for makes no sense here; nothing was changed.
    #[error("{0}; nothing was changed")]
    Refused(String),
}

/// Replaces acceptor `old` by `new`; with the same name twice, takes it in again with nothing of the
/// state it had. All acceptors are given, and all that will be must answer. May be repeated, and is
/// done when it has been done.
pub async fn replace(
    acceptors: &[Acceptor],
    (old, new): (&str, &str),
    (me, deadline): (&Identity, Duration),
    tell: &mut (dyn FnMut(Step) + Send),
) -> Result<Replacement, ReplaceError> {
    let marks = read_marks(acceptors).await;
    let view = newest(&marks)?;
    if is_done(&view, &marks, (old, new))? {
        let lost = without_state(&view.now, &marks);
        return Ok(Replacement { now: view.now, registers: 0, carried: 0, left: 0, lost });
    }
    let work = Work { acceptors, me, deadline };
    let (from, now) = match &view.from {
        Some(from) => {
            under_way(&view, from, (old, new))?;
            (from.clone(), view.now.clone())
        }
        None => {
            check_begin(&view, &marks, (old, new))?;
            (view.now.clone(), work.decide(&view, (old, new)).await?)
        }
    };
    tell(Step::Decided(now.clone()));
    let view = View { quorum: view.quorum, now, from: Some(from.clone()) };
    let early = match planted(Bug::ListFirst) {
        true => Some(work.list(&view, &from, &mut BTreeSet::new()).await?),
        false => None,
    };
    let mut lost = work.mark_all(&view, (old, new), &marks).await?;
    tell(Step::Marked);
    // The first that is open says that nothing was left to carry over.
    let opened = told(&marks, |mark| mark.now == view.now && mark.phase == Phase::Open);
    let registers = match (opened, early) {
        (true, _) => BTreeSet::new(),
        (_, Some(early)) => early,
        _ => work.list(&view, &from, &mut lost).await?,
    };
    let carried = work.carry(&view, &registers, tell).await?;
    for name in view.now.members.keys() {
        if !lost.contains(name) && !work.mark(&view, name, Phase::Open).await? {
            lost.insert(name.clone());
        }
    }
    enough(&view, &lost)?;
    // For people only: it is asked for nothing any more.
    let _gone = work.mark(&view, old, Phase::Open).await;
    tell(Step::Opened);
    let left = work.clean(&view, &from).await;
    Ok(Replacement { now: view.now, registers: registers.len(), carried, left, lost })
}

/// The means by which it is done.
struct Work<'a> {
    acceptors: &'a [Acceptor],
    me: &'a Identity,
    deadline: Duration,
}

impl Work<'_> {
    fn acceptor(&self, name: &str) -> Result<&Acceptor, ReplaceError> {
        self.acceptors.iter().find(|acceptor| acceptor.name == name).ok_or_else(|| {
            ReplaceError::Refused(format!("the configuration lists no acceptor {name}"))
        })
    }

    /// A proposer at the acceptors of `view`.
    fn quorum(&self, view: &View) -> QuorumStore {
        let acceptors = self.acceptors.to_vec();
        QuorumStore::at(acceptors, self.me.clone(), self.deadline, view.clone())
    }

    /// Decides who comes next, or learns what was decided before.
    async fn decide(
        &self,
        view: &View,
        (old, new): (&str, &str),
    ) -> Result<Membership, ReplaceError> {
        let mut members = view.now.members.clone();
        members.remove(old);
        members.insert(new.to_owned(), incarnation());
        let now = Membership { generation: view.now.generation + 1, members };
        let by = self.me.to_string();
        let plan = Plan { old: old.to_owned(), new: new.to_owned(), now, by };
        let bytes = serde_json::to_vec(&plan).expect("a plain struct of plain fields");
        let failed = |error| ReplaceError::Register { register: NEXT_KEY.into(), error };
        let answer = self.quorum(view).compare_and_swap(NEXT_KEY, Version::ABSENT, bytes).await;
        let held = match answer.map_err(failed)? {
            Answer::Accepted(_) => return Ok(plan.now),
            Answer::Refused(Some(held)) => held,
            Answer::Refused(None) => unreachable!("refused for being there, and not there"),
        };
        let damaged = |error: serde_json::Error| {
            failed(StoreError::Misconfigured(format!("what was decided is damaged: {error}")))
        };
        let decided: Plan = serde_json::from_slice(&held.value).map_err(damaged)?;
        match (decided.old == old, decided.new == new) {
            (true, true) => Ok(decided.now),
            _ => Err(ReplaceError::UnderWay { old: decided.old, new: decided.new }),
        }
    }

    /// Marks all stores, and says which have lost their state. The one that comes is marked twice: it is
    /// used only once the others are marked, so that one without its first mark either was never used,
    /// or has lost what it promised since. Then it is not taken for new.
    async fn mark_all(
        &self,
        view: &View,
        (old, new): (&str, &str),
        marks: &Marks,
    ) -> Result<BTreeSet<String>, ReplaceError> {
        let begun = told(marks, |mark| mark.now == view.now && mark.phase != Phase::Founding);
        let unmarked = match marks.get(new) {
            Some(Ok(Some((_, mark)))) => mark.now != view.now,
            Some(Ok(None)) | None => true,
            Some(Err(error)) => {
                return Err(ReplaceError::Store { acceptor: new.into(), error: error.clone() });
            }
        };
        let mut lost = BTreeSet::new();
        if begun && unmarked {
            lost.insert(new.to_owned());
        } else {
            self.mark(view, new, Phase::Founding).await?;
        }
        let stays = view.now.members.keys().filter(|name| *name != new);
        for name in stays.chain([&new.to_owned()]) {
            if !lost.contains(name) && !self.mark(view, name, Phase::Filling).await? {
                lost.insert(name.clone());
            }
        }
        if old != new {
            let marked = self.mark(view, old, Phase::Filling).await;
            if view.counts_before(old) && !marked? {
                lost.insert(old.to_owned());
            }
        }
        enough(view, &lost)?;
        Ok(lost)
    }

    /// Brings a store's mark to `phase` of `view`, never back; not one that was lost.
    async fn mark(&self, view: &View, name: &str, phase: Phase) -> Result<bool, ReplaceError> {
        let acceptor = self.acceptor(name)?;
        let marked = patiently!(mark(acceptor, view, phase));
        marked.map_err(|error| ReplaceError::Store { acceptor: name.to_owned(), error })
    }

    /// The registers that the generation before may have, by a majority of its acceptors; those that
    /// turn out to have lost their state are added to `lost`.
    async fn list(
        &self,
        view: &View,
        from: &Membership,
        lost: &mut BTreeSet<String>,
    ) -> Result<BTreeSet<String>, ReplaceError> {
        let mut registers = BTreeSet::new();
        let asked = from.members.keys().filter(|name| view.counts_before(name));
        let asked: Vec<&String> = asked.filter(|name| !lost.contains(*name)).collect();
        for name in asked {
            let failed = |error| ReplaceError::Store { acceptor: name.clone(), error };
            let prefix = from.cell_key(name, "").map_err(failed)?;
            let acceptor = self.acceptor(name)?;
            let keys = patiently!(acceptor.store.list(&prefix)).map_err(failed)?;
            if patiently!(read_mark(acceptor)).map_err(failed)?.is_none() {
                lost.insert(name.clone());
            }
            registers
                .extend(keys.iter().filter_map(|key| Some(key.strip_prefix(&prefix)?.to_owned())));
        }
        enough(view, lost)?;
        registers.remove(NEXT_KEY);
        Ok(registers)
    }

    async fn carry(
        &self,
        view: &View,
        registers: &BTreeSet<String>,
        tell: &mut (dyn FnMut(Step) + Send),
    ) -> Result<usize, ReplaceError> {
        let (quorum, mut carried) = (self.quorum(view), 0);
        for (done, register) in registers.iter().enumerate() {
            let failed = |error| ReplaceError::Register { register: register.clone(), error };
            let wrote = patiently!(quorum.carry_over(register));
            carried += usize::from(wrote.map_err(failed)?);
            tell(Step::Carried(done + 1, registers.len()));
        }
        Ok(carried)
    }

    /// Removes what the generation before left in the stores that go on; how much is still there. A
    /// late caller finds nothing, and the mark says where to go.
    async fn clean(&self, view: &View, from: &Membership) -> usize {
        let mut left = 0;
        let stay = |name: &&String| view.now.members.contains_key(*name);
        let stores: Vec<&String> = from.members.keys().filter(stay).collect();
        for name in stores {
            let (Ok(acceptor), Ok(prefix)) = (self.acceptor(name), from.cell_key(name, "")) else {
                continue;
            };
            let keys = acceptor.store.list(&prefix).await.unwrap_or_default();
            for key in keys {
                left += usize::from(!remove(acceptor, &key).await);
            }
        }
        left
    }
}

/// Brings a store's mark to `phase` of `view`, never back. Whether it is there: a store without one has
/// lost its state, and gets another only to begin with.
async fn mark(acceptor: &Acceptor, view: &View, phase: Phase) -> Result<bool, StoreError> {
    let wrong = |text: String| Err(StoreError::Misconfigured(text));
    let held = read_mark(acceptor).await?;
    match &held {
        Some((_, held)) if held.quorum != view.quorum || held.acceptor != acceptor.name => {
            let names = held.now.names();
            return wrong(format!("its store is acceptor {} of {names}", held.acceptor));
        }
        Some((_, held)) if (held.now.generation, held.phase) >= (view.now.generation, phase) => {
            return Ok(true);
        }
        None if phase != Phase::Founding => return Ok(false),
        _ => {}
    }
    let mark = Mark {
        acceptor: acceptor.name.clone(),
        quorum: view.quorum.clone(),
        now: view.now.clone(),
        phase,
        from: view.from.clone().filter(|_| phase != Phase::Open),
    };
    let tag = held.map(|(tag, _)| tag);
    match acceptor.store.put(MARK_KEY, tag.as_ref(), mark.encode()).await? {
        Put::Written(_) => Ok(true),
        Put::Conflict(_) => Err(StoreError::Unanswered("somebody else is replacing it too".into())),
    }
}

/// Whether the cell is gone.
async fn remove(acceptor: &Acceptor, key: &str) -> bool {
    match acceptor.store.get(key).await {
        Ok(Some(cell)) => acceptor.store.delete(key, &cell.tag).await.unwrap_or(false),
        Ok(None) => true,
        Err(_) => false,
    }
}
