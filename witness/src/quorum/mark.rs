//! What makes a store an acceptor: a mark in it, written when the quorum is founded and rewritten
//! when an acceptor is replaced.
//!
//! A store that lost its cells lost its promises; were it asked again, a change that a majority had
//! refused could win. It lost its mark too. So an absent cell counts only when the mark is read
//! *after* it and still names the same incarnation. A cell is made in two writes: first an empty one
//! (which counts for as little as an absent one), then, when the mark was seen standing after it, the
//! first promise on top of it, by its tag. A cell with a promise in it therefore never lies in a store
//! that lost its state since: its tag would have been lost too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::register::StoreError;

/// Key of the mark's cell.
pub const MARK_KEY: &str = "mark";

/// Who the acceptors are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Counts the memberships of this quorum; part of the cells' keys.
    pub generation: u64,
    /// All acceptors, each with the incarnation drawn for it when it was taken in.
    pub members: BTreeMap<String, String>,
}

impl Membership {
    /// The cell of a register at one of the acceptors.
    pub fn cell_key(&self, acceptor: &str, register: &str) -> Result<String, StoreError> {
        let incarnation = self.members.get(acceptor).ok_or_else(|| {
            StoreError::Misconfigured(format!("{acceptor} is none of {:?}", self.members.keys()))
        })?;
        Ok(format!("g{}/{incarnation}/{register}", self.generation))
    }

    /// Whether `acceptor` is in both, with the state it had.
    pub fn keeps(&self, before: &Membership, acceptor: &str) -> bool {
        let incarnation = self.members.get(acceptor);
        incarnation.is_some() && incarnation == before.members.get(acceptor)
    }

    /// The names, for a message.
    pub fn names(&self) -> String {
        self.members.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

/// How far the membership has come at this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not all stores have their mark yet; nobody uses them.
    Founding,
    /// In use; but a register may still have to be carried over from the membership before.
    Filling,
    /// In use.
    Open,
}

/// The mark of one acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// This acceptor's name in the configuration.
    pub acceptor: String,
    /// Drawn when the quorum was founded, and never changed.
    pub quorum: String,
    /// Who the acceptors are.
    #[serde(flatten)]
    pub now: Membership,
    /// How far that has come.
    pub phase: Phase,
    /// Who they were, while registers are carried over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Membership>,
}

/// What a mark says of a lane to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The store is this acceptor, and has lost nothing.
    Stands,
    /// The quorum has other acceptors by now.
    Moved,
    /// The store is something else, or is not in use.
    Other,
}

impl Mark {
    /// As bytes for the cell: JSON, because a person may have to read it.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plain struct of plain fields")
    }

    /// From the cell.
    pub fn decode(bytes: &[u8]) -> Result<Mark, StoreError> {
        serde_json::from_slice(bytes)
            .map_err(|error| StoreError::Misconfigured(format!("the mark is damaged: {error}")))
    }

    /// Whether a store with this mark is `acceptor` of the quorum that `of` tells of, and in use. A
    /// store that is reached under another acceptor's name is not: its cells would be a second,
    /// empty acceptor, and two majorities need not meet.
    pub fn serves(&self, acceptor: &str, of: &Mark) -> bool {
        self.acceptor == acceptor && self.same_quorum(of) && self.phase != Phase::Founding
    }

    /// Whether both tell of the same acceptors of the same quorum.
    pub fn same_quorum(&self, other: &Mark) -> bool {
        (&self.quorum, &self.now) == (&other.quorum, &other.now)
    }

    /// What it says to somebody who comes for `acceptor` of a quorum's membership; `sealing` if only
    /// to end what is under way there.
    pub(super) fn standing(
        &self,
        acceptor: &str,
        (quorum, of): (&str, &Membership),
        sealing: bool,
    ) -> Standing {
        if self.acceptor != acceptor || self.quorum != quorum {
            return Standing::Other;
        }
        let here = self.now == *of && self.phase != Phase::Founding;
        let left = self.phase == Phase::Filling && self.from.as_ref() == Some(of);
        match self.now.generation > of.generation {
            _ if here || (sealing && left) => Standing::Stands,
            true => Standing::Moved,
            false => Standing::Other,
        }
    }
}
