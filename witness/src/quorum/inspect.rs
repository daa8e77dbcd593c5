//! A look at one acceptor from outside, for people.

use crate::register::StoreError;

use super::acceptor::{AcceptorState, Ballot};
use super::mark::{MARK_KEY, Mark};
use super::store::Acceptor;

/// What one acceptor holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its mark; `None` when it was never founded, or has lost its state.
    pub mark: Option<Mark>,
    /// Registers it has a part of, with the newest ballot it promised in each.
    pub registers: Vec<(String, Ballot)>,
}

/// Looks at an acceptor. Reads every cell: not for a hot path.
pub async fn inspect(acceptor: &Acceptor) -> Result<Inspection, StoreError> {
    let store = &acceptor.store;
    let mark = store.get(MARK_KEY).await?.map(|cell| Mark::decode(&cell.bytes)).transpose()?;
    let mut registers = Vec::new();
    if let Some(mark) = &mark {
        let prefix = mark.now.cell_key(&acceptor.name, "")?;
        let mut keys = store.list(&prefix).await?;
        keys.sort();
        for key in keys {
            let Some(cell) = store.get(&key).await? else { continue };
            let state = AcceptorState::decode(&cell.bytes)?;
            registers.push((key[prefix.len()..].to_owned(), state.promised));
        }
    }
    Ok(Inspection { mark, registers })
}
