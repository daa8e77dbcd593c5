//! The client of a witness server's cells.

use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::{Identity, Role, SharedNetwork};
use tonic::transport::Channel;

use crate::cells::{CELL_BYTES_MAX, Cell, CellStore, Put, Tag, check_cell_bounds};
use crate::line::{Failed, Line};
use crate::proto;
use crate::proto::cells_client::CellsClient;
use crate::proto::put_cell_response::Outcome;
use crate::register::StoreError;

/// Largest answer: a list of many keys.
const ANSWER_BYTES_MAX: usize = 256 * CELL_BYTES_MAX;

fn client(channel: Channel) -> CellsClient<Channel> {
    CellsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// One call of a cell store, to be asked of whoever serves it.
#[derive(Clone, Debug)]
pub(crate) enum CellCall {
    Get(proto::GetCellRequest),
    Put(proto::PutCellRequest),
    Delete(proto::DeleteCellRequest),
    List(proto::ListCellsRequest),
}

/// The answer to a [`CellCall`] of the same kind.
pub(crate) enum CellAnswer {
    Get(Option<Cell>),
    Put(Put),
    Delete(bool),
    List(Vec<String>),
}

impl CellCall {
    pub fn get(key: &str) -> Result<Self, StoreError> {
        check_cell_bounds(key, &[])?;
        Ok(CellCall::Get(proto::GetCellRequest { key: key.to_owned() }))
    }

    pub fn put(key: &str, expected: Option<&Tag>, content: Vec<u8>) -> Result<Self, StoreError> {
        check_cell_bounds(key, &content)?;
        let expected = expected.map(|tag| tag.0.clone());
        Ok(CellCall::Put(proto::PutCellRequest { key: key.to_owned(), expected, content }))
    }

    pub fn delete(key: &str, expected: &Tag) -> Result<Self, StoreError> {
        check_cell_bounds(key, &[])?;
        let (key, expected) = (key.to_owned(), expected.0.clone());
        Ok(CellCall::Delete(proto::DeleteCellRequest { key, expected }))
    }

    pub fn list(prefix: &str) -> Self {
        CellCall::List(proto::ListCellsRequest { prefix: prefix.to_owned() })
    }

    /// Whether it may be asked of another after one was silent.
    pub fn is_read(&self) -> bool {
        matches!(self, CellCall::Get(_) | CellCall::List(_))
    }

    /// Asks whoever is at the end of `line`.
    pub async fn ask(self, line: &Line, deadline: Duration) -> Result<CellAnswer, Failed> {
        match self {
            CellCall::Get(request) => {
                let asked = line
                    .call(deadline, |channel| async move { client(channel).get(request).await });
                Ok(CellAnswer::Get(asked.await?.current.map(cell)))
            }
            CellCall::Put(request) => {
                let asked = line
                    .call(deadline, |channel| async move { client(channel).put(request).await });
                match asked.await?.outcome {
                    Some(Outcome::Written(written)) => {
                        Ok(CellAnswer::Put(Put::Written(Tag(written.tag))))
                    }
                    Some(Outcome::Conflict(conflict)) => {
                        Ok(CellAnswer::Put(Put::Conflict(conflict.current.map(cell))))
                    }
                    None => Err(Failed {
                        error: StoreError::Unanswered("the answer carries no outcome".into()),
                        instead: None,
                    }),
                }
            }
            CellCall::Delete(request) => {
                let asked = line
                    .call(deadline, |channel| async move { client(channel).delete(request).await });
                Ok(CellAnswer::Delete(asked.await?.gone))
            }
            CellCall::List(request) => {
                let asked = line
                    .call(deadline, |channel| async move { client(channel).list(request).await });
                Ok(CellAnswer::List(asked.await?.keys))
            }
        }
    }
}

fn cell(held: proto::Cell) -> Cell {
    Cell { tag: Tag(held.tag), bytes: held.content }
}

/// An answer of another kind than the question: a bug, and nothing is known.
fn other_kind<T>() -> Result<T, StoreError> {
    Err(StoreError::Unanswered("the answer is one to another question".into()))
}

/// Something that carries calls to a store of cells.
#[async_trait]
pub(crate) trait Carrier: Send + Sync + 'static {
    async fn carry(&self, call: CellCall) -> Result<CellAnswer, StoreError>;
}

#[async_trait]
impl<C: Carrier> CellStore for C {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        match self.carry(CellCall::get(key)?).await? {
            CellAnswer::Get(cell) => Ok(cell),
            _ => other_kind(),
        }
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        match self.carry(CellCall::put(key, expected, bytes)?).await? {
            CellAnswer::Put(put) => Ok(put),
            _ => other_kind(),
        }
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        match self.carry(CellCall::delete(key, expected)?).await? {
            CellAnswer::Delete(gone) => Ok(gone),
            _ => other_kind(),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        match self.carry(CellCall::list(prefix)).await? {
            CellAnswer::List(keys) => Ok(keys),
            _ => other_kind(),
        }
    }
}

/// A witness server as a store of cells. Dials on first use and redials by itself.
pub struct ServerCells {
    line: Line,
    deadline: Duration,
}

impl std::fmt::Debug for ServerCells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerCells({})", self.line)
    }
}

impl ServerCells {
    /// The witness `name` at `address` (`host:port`). Every call returns within `deadline`,
    /// dialling included.
    pub fn new(
        network: SharedNetwork,
        address: impl Into<String>,
        name: impl Into<String>,
        deadline: Duration,
    ) -> Self {
        Self { line: Line::new(network, address, Identity::new(Role::Witness, name)), deadline }
    }
}

#[async_trait]
impl Carrier for ServerCells {
    async fn carry(&self, call: CellCall) -> Result<CellAnswer, StoreError> {
        Ok(call.ask(&self.line, self.deadline).await?)
    }
}
