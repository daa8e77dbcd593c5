//! What makes a store an acceptor: a mark in it, written once when the quorum is founded.
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

/// How far the founding has come at this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not all stores have their mark yet; nobody uses them.
    Founding,
    /// In use.
    Open,
}

/// The mark of one acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// This acceptor's name in the configuration.
    pub acceptor: String,
    /// Counts the memberships of this quorum; part of the cells' keys.
    pub generation: u64,
    /// All acceptors of the quorum, each with the incarnation drawn for it when it was founded.
    pub members: BTreeMap<String, String>,
    /// How far the founding has come.
    pub phase: Phase,
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
        self.acceptor == acceptor && self.same_quorum(of) && self.phase == Phase::Open
    }

    /// Whether both tell of the same quorum.
    pub fn same_quorum(&self, other: &Mark) -> bool {
        (self.generation, &self.members) == (other.generation, &other.members)
    }

    /// The cell of a register at this acceptor.
    pub fn cell_key(&self, register: &str) -> Result<String, StoreError> {
        let incarnation = self.members.get(&self.acceptor).ok_or_else(|| {
            StoreError::Misconfigured(format!(
                "the mark of {} names other acceptors: {:?}",
                self.acceptor,
                self.members.keys()
            ))
        })?;
        Ok(format!("g{}/{incarnation}/{register}", self.generation))
    }
}
