//! One peer's gRPC connection: dialled on first use, given up when it is silent, and what a failed
//! call tells.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use continuum_runtime::net::channel;
use continuum_runtime::{Identity, SharedNetwork};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::cell_service::NOT_CARRIED_OUT;
use crate::register::StoreError;

/// A connection that redials by itself: after a call that missed its deadline it is given up,
/// because a peer that is frozen, or gone without a word, would hold the following calls back too.
pub(crate) struct Line {
    network: SharedNetwork,
    address: String,
    peer: Identity,
    connection: Mutex<Connection>,
}

#[derive(Clone)]
struct Connection {
    generation: u64,
    channel: Channel,
}

/// A call that brought no answer.
pub(crate) struct Failed {
    /// What is known of its effect.
    pub error: StoreError,
    /// Who to ask instead, by name, when the peer knows.
    pub instead: Option<String>,
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.peer, self.address)
    }
}

impl Line {
    pub fn new(network: SharedNetwork, address: impl Into<String>, peer: Identity) -> Self {
        let address = address.into();
        let channel = channel(&network, &address, &peer);
        let connection = Mutex::new(Connection { generation: 0, channel });
        Self { network, address, peer, connection }
    }

    /// The peer's name, as in its certificate.
    pub fn name(&self) -> &str {
        &self.peer.name
    }

    fn connection(&self) -> Connection {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a fresh connection in the place of `generation`, unless another call did so already.
    fn redial(&self, generation: u64) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.generation == generation {
            let channel = channel(&self.network, &self.address, &self.peer);
            *connection = Connection { generation: generation + 1, channel };
        }
    }

    /// Runs one call under a deadline, dialling included, and turns what went wrong into what is
    /// known.
    pub async fn call<T, F>(
        &self,
        deadline: Duration,
        ask: impl FnOnce(Channel) -> F + Send,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let Connection { generation, channel } = self.connection();
        match tokio::time::timeout(deadline, ask(channel)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Failed {
                error: error_of(&self.address, &status),
                instead: instead(&status).filter(|name| !name.is_empty()).map(str::to_owned),
            }),
            Err(_) => {
                self.redial(generation);
                let text = format!("{} gave none in {deadline:?}", self.address);
                Err(Failed { error: StoreError::Unanswered(text), instead: None })
            }
        }
    }
}

fn instead(status: &Status) -> Option<&str> {
    status.metadata().get(NOT_CARRIED_OUT)?.to_str().ok()
}

/// Only what certainly was not carried out may be said to be so; the rest is unanswered.
fn error_of(address: &str, status: &Status) -> StoreError {
    let text = format!("{address}: {}", status.message());
    match status.code() {
        _ if never_connected(status) => StoreError::NotSent(format!("{address}: {}", root(status))),
        _ if instead(status).is_some() => StoreError::NotSent(text),
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
