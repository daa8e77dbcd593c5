//! The client of a witness server.

use std::error::Error;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role, SharedNetwork};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::proto;
use crate::proto::compare_and_swap_response::Outcome;
use crate::proto::witness_client::WitnessClient;
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::table::check_bounds;

/// A witness server as a register store. Dials on first use and redials by itself: after a call
/// that missed its deadline the connection is given up, because a peer that is frozen, or gone
/// without a word, would hold the following calls back too.
pub struct ServerStore {
    network: SharedNetwork,
    address: String,
    witness: Identity,
    deadline: Duration,
    connection: Mutex<Connection>,
}

#[derive(Clone)]
struct Connection {
    generation: u64,
    client: WitnessClient<Channel>,
}

impl std::fmt::Debug for ServerStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerStore({} at {})", self.witness, self.address)
    }
}

impl ServerStore {
    /// The witness `name` at `address` (`host:port`). Every call returns within `deadline`,
    /// dialling included.
    pub fn new(
        network: SharedNetwork,
        address: impl Into<String>,
        name: impl Into<String>,
        deadline: Duration,
    ) -> Self {
        let (address, witness) = (address.into(), Identity::new(Role::Witness, name));
        let client = WitnessClient::new(channel(&network, &address, &witness));
        let connection = Mutex::new(Connection { generation: 0, client });
        Self { network, address, witness, deadline, connection }
    }

    fn connection(&self) -> Connection {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a fresh connection in the place of `generation`, unless another call did so already.
    fn redial(&self, generation: u64) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.generation == generation {
            let fresh = channel(&self.network, &self.address, &self.witness);
            *connection =
                Connection { generation: generation + 1, client: WitnessClient::new(fresh) };
        }
    }

    /// Runs one call under the deadline and turns what went wrong into what is known.
    async fn call<T, F>(
        &self,
        ask: impl FnOnce(WitnessClient<Channel>) -> F + Send,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let Connection { generation, client } = self.connection();
        match tokio::time::timeout(self.deadline, ask(client)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(error_of(&self.address, &status)),
            Err(_) => {
                self.redial(generation);
                let span = self.deadline;
                Err(StoreError::Unanswered(format!("{} gave none in {span:?}", self.address)))
            }
        }
    }
}

#[async_trait]
impl RegisterStore for ServerStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_bounds(key, &[])?;
        let request = proto::ReadRequest { key: key.to_owned() };
        let response = self.call(|mut client| async move { client.read(request).await }).await?;
        Ok(response.current.map(versioned))
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        check_bounds(key, &value)?;
        let request = proto::CompareAndSwapRequest {
            key: key.to_owned(),
            expected_version: expected.0,
            value,
        };
        let response =
            self.call(|mut client| async move { client.compare_and_swap(request).await }).await?;
        match response.outcome {
            Some(Outcome::Accepted(accepted)) => Ok(Answer::Accepted(Version(accepted.version))),
            Some(Outcome::Refused(refused)) => Ok(Answer::Refused(refused.current.map(versioned))),
            None => Err(StoreError::Unanswered("the answer carries no outcome".into())),
        }
    }
}

fn versioned(register: proto::Register) -> Versioned {
    Versioned { version: Version(register.version), value: register.value }
}

/// Only what certainly was not carried out may be said to be so; the rest is unanswered.
fn error_of(address: &str, status: &Status) -> StoreError {
    let text = format!("{address}: {}", status.message());
    match status.code() {
        _ if never_connected(status) => StoreError::NotSent(format!("{address}: {}", root(status))),
        Code::PermissionDenied | Code::Unauthenticated => StoreError::Unauthorised(text),
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            StoreError::Misconfigured(text)
        }
        _ => StoreError::Unanswered(text),
    }
}

/// Whether the request failed because no connection came about to send it on.
fn never_connected(status: &Status) -> bool {
    let mut next = status.source();
    while let Some(error) = next {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn root(status: &Status) -> String {
    let mut deepest: &dyn Error = status;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
