//! The `Cells` service over any store of cells: identity, rules, bounds, and what is certain.

use std::sync::Arc;

use continuum_runtime::net::Caller;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};

use crate::cell_rules::{self, CellKey, Members};
use crate::cells::{CELL_BYTES_MAX, Cell, CellStore, Put, Tag, check_cell_bounds};
use crate::proto;
use crate::proto::cells_server::{Cells, CellsServer};
use crate::proto::put_cell_response::Outcome;
use crate::register::StoreError;
use crate::server::refusal;

/// Metadata of a refusal that is certain: nothing was carried out, nor will be. Its value names the
/// node to ask instead, or is empty.
pub const NOT_CARRIED_OUT: &str = "continuum-not-carried-out";

/// Largest request; a key and a cell at their bounds fit many times over.
const REQUEST_BYTES_MAX: usize = 4 * CELL_BYTES_MAX;
/// Probe cells that may exist.
const PROBES_MAX: usize = 256;
/// Cells of one register that may exist, over all generations and incarnations. The operator removes
/// those of generations that have ended.
const CELLS_PER_REGISTER_MAX: usize = 64;

/// What a process that serves cells knows beside them.
pub trait CellHost: Members + Send + Sync + 'static {
    /// The cells.
    fn cells(&self) -> &dyn CellStore;

    /// The name of the node to ask instead, when another one takes the changes.
    fn instead(&self) -> Option<String> {
        None
    }
}

/// The gRPC service of these cells.
pub fn service(host: Arc<dyn CellHost>) -> CellsServer<CellService> {
    CellsServer::new(CellService { host }).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// See [`service`].
pub struct CellService {
    host: Arc<dyn CellHost>,
}

impl CellService {
    fn refuse(&self, error: StoreError, caller: &Option<Caller>) -> Status {
        let certain = matches!(error, StoreError::NotSent(_));
        let mut status = refusal(error, caller);
        if certain {
            let instead = self.host.instead().unwrap_or_default();
            let instead = AsciiMetadataValue::try_from(instead);
            let value = instead.unwrap_or(AsciiMetadataValue::from_static(""));
            status.metadata_mut().insert(NOT_CARRIED_OUT, value);
        }
        status
    }

    /// Bounds what callers may take of the store by making up keys.
    async fn check_room(&self, key: &str, parsed: &CellKey) -> Result<(), StoreError> {
        let (what, most, taken): (_, _, usize) = match parsed {
            CellKey::Mark => return Ok(()),
            probe if probe.is_probe() => {
                let is_probe = |key: &String| CellKey::parse(key).is_ok_and(|key| key.is_probe());
                let all = self.host.cells().list("").await?;
                ("probe cells", PROBES_MAX, all.iter().filter(|key| is_probe(key)).count())
            }
            _ => {
                let all = self.host.cells().list("g").await?;
                let same = |other: &&String| CellKey::parse(other).as_ref() == Ok(parsed);
                ("cells of this register", CELLS_PER_REGISTER_MAX, all.iter().filter(same).count())
            }
        };
        if taken < most {
            return Ok(());
        }
        Err(StoreError::Misconfigured(format!(
            "{key}: there are {most} {what} already; remove those no longer needed"
        )))
    }

    async fn put_checked(
        &self,
        caller: &Option<Caller>,
        request: proto::PutCellRequest,
    ) -> Result<Put, StoreError> {
        let proto::PutCellRequest { key, expected, content } = request;
        check_cell_bounds(&key, &content)?;
        let parsed = cell_rules::check_put(identity(caller), &key, self.host.as_ref())?;
        // Not before it is known who asks; and a read here would be in vain.
        if let Some(other) = self.host.instead() {
            return Err(StoreError::NotSent(format!("{other} is to be asked")));
        }
        let expected = expected.map(Tag);
        // What is there already needs no room; whether it is as expected is decided later.
        if expected.is_none() && self.host.cells().get(&key).await?.is_none() {
            self.check_room(&key, &parsed).await?;
        }
        self.host.cells().put(&key, expected.as_ref(), content).await
    }

    async fn delete_checked(
        &self,
        caller: &Option<Caller>,
        request: proto::DeleteCellRequest,
    ) -> Result<bool, StoreError> {
        check_cell_bounds(&request.key, &[])?;
        cell_rules::check_delete(identity(caller), &request.key)?;
        self.host.cells().delete(&request.key, &Tag(request.expected)).await
    }

    async fn get_checked(
        &self,
        caller: &Option<Caller>,
        key: &str,
    ) -> Result<Option<Cell>, StoreError> {
        check_cell_bounds(key, &[])?;
        cell_rules::check_get(identity(caller), key)?;
        self.host.cells().get(key).await
    }

    async fn list_checked(
        &self,
        caller: &Option<Caller>,
        prefix: &str,
    ) -> Result<Vec<String>, StoreError> {
        cell_rules::check_list(identity(caller), prefix)?;
        self.host.cells().list(prefix).await
    }
}

fn identity(caller: &Option<Caller>) -> Option<&continuum_runtime::Identity> {
    caller.as_ref().and_then(|caller| caller.identity.as_ref())
}

fn caller_of<T>(request: &Request<T>) -> Option<Caller> {
    request.extensions().get::<Caller>().cloned()
}

fn cell(held: Cell) -> proto::Cell {
    proto::Cell { tag: held.tag.0, content: held.bytes }
}

#[tonic::async_trait]
impl Cells for CellService {
    async fn get(
        &self,
        request: Request<proto::GetCellRequest>,
    ) -> Result<Response<proto::GetCellResponse>, Status> {
        let caller = caller_of(&request);
        let found = self.get_checked(&caller, &request.into_inner().key).await;
        let current = found.map_err(|error| self.refuse(error, &caller))?.map(cell);
        Ok(Response::new(proto::GetCellResponse { current }))
    }

    async fn put(
        &self,
        request: Request<proto::PutCellRequest>,
    ) -> Result<Response<proto::PutCellResponse>, Status> {
        let caller = caller_of(&request);
        let decided = self.put_checked(&caller, request.into_inner()).await;
        let outcome = match decided.map_err(|error| self.refuse(error, &caller))? {
            Put::Written(Tag(tag)) => Outcome::Written(proto::CellWritten { tag }),
            Put::Conflict(current) => {
                Outcome::Conflict(proto::CellConflict { current: current.map(cell) })
            }
        };
        Ok(Response::new(proto::PutCellResponse { outcome: Some(outcome) }))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteCellRequest>,
    ) -> Result<Response<proto::DeleteCellResponse>, Status> {
        let caller = caller_of(&request);
        let decided = self.delete_checked(&caller, request.into_inner()).await;
        let gone = decided.map_err(|error| self.refuse(error, &caller))?;
        Ok(Response::new(proto::DeleteCellResponse { gone }))
    }

    async fn list(
        &self,
        request: Request<proto::ListCellsRequest>,
    ) -> Result<Response<proto::ListCellsResponse>, Status> {
        let caller = caller_of(&request);
        let found = self.list_checked(&caller, &request.into_inner().prefix).await;
        let keys = found.map_err(|error| self.refuse(error, &caller))?;
        Ok(Response::new(proto::ListCellsResponse { keys }))
    }
}
