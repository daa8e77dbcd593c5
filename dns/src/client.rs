//! The client of an embedded name server.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Epoch;
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role, SharedNetwork};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::proto;
use crate::proto::names_client::NamesClient;
use crate::proto::publish_response::Outcome;
use crate::service::{NameChange, NameError, NameService, Published};

/// An embedded name server as a name service. Dials on first use and redials by itself.
pub struct RpcNameService {
    network: SharedNetwork,
    address: String,
    server: Identity,
    deadline: Duration,
    /// Counts connections; one that missed a deadline is given up.
    connection: Mutex<(u64, NamesClient<Channel>)>,
}

impl std::fmt::Debug for RpcNameService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RpcNameService({} at {})", self.server, self.address)
    }
}

impl RpcNameService {
    /// The name server `name` at `address` (`host:port`). Every call returns within `deadline`,
    /// dialling included; a new epoch may take the server half a second when the witness hangs.
    pub fn new(
        network: SharedNetwork,
        address: impl Into<String>,
        name: impl Into<String>,
        deadline: Duration,
    ) -> Self {
        let (address, server) = (address.into(), Identity::new(Role::Dns, name));
        let client = NamesClient::new(channel(&network, &address, &server));
        Self { network, address, server, deadline, connection: Mutex::new((0, client)) }
    }

    fn redial(&self, generation: u64) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.0 == generation {
            let fresh = channel(&self.network, &self.address, &self.server);
            *connection = (generation + 1, NamesClient::new(fresh));
        }
    }
}

#[async_trait]
impl NameService for RpcNameService {
    async fn publish(&self, change: &NameChange) -> Result<Published, NameError> {
        let request = proto::PublishRequest {
            pair: change.pair.to_string(),
            name: change.name.clone(),
            epoch: change.epoch.0,
            holder: change.holder.to_string(),
            ttl_ms: u64::try_from(change.ttl.as_millis()).unwrap_or(u64::MAX),
        };
        let (generation, mut client) =
            self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = match tokio::time::timeout(self.deadline, client.publish(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(error_of(&self.address, &status)),
            Err(_) => {
                self.redial(generation);
                let span = self.deadline;
                return Err(NameError::Unanswered(format!(
                    "{} gave none in {span:?}",
                    self.address
                )));
            }
        };
        match response.outcome {
            Some(Outcome::Published(done)) => {
                Ok(Published { epoch: Epoch(done.epoch), ttl: Duration::from_millis(done.ttl_ms) })
            }
            Some(Outcome::Refused(refused)) => {
                Err(NameError::Refused { newest: Epoch(refused.newest) })
            }
            Some(Outcome::Contradicted(known)) => Err(NameError::Contradicted(known.why)),
            None => Err(NameError::Unanswered("the answer carries no outcome".into())),
        }
    }
}

fn error_of(address: &str, status: &Status) -> NameError {
    let text = format!("{address}: {}", status.message());
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => NameError::Unauthorised(text),
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            NameError::Misconfigured(text)
        }
        _ => NameError::Unanswered(text),
    }
}
