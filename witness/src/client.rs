//! The client of a witness server.

use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_runtime::{Identity, Role, SharedNetwork};

use crate::line::Line;
use crate::proto;
use crate::proto::compare_and_swap_response::Outcome;
use crate::proto::witness_client::WitnessClient;
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::table::check_bounds;

/// A witness server as a register store. Dials on first use and redials by itself.
pub struct ServerStore {
    line: Line,
    deadline: Duration,
}

impl std::fmt::Debug for ServerStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerStore({})", self.line)
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
        Self { line: Line::new(network, address, Identity::new(Role::Witness, name)), deadline }
    }
}

#[async_trait]
impl RegisterStore for ServerStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_bounds(key, &[])?;
        let request = proto::ReadRequest { key: key.to_owned() };
        let asked = self.line.call(self.deadline, |channel| async move {
            WitnessClient::new(channel).read(request).await
        });
        let response = asked.await?;
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
        let asked = self.line.call(self.deadline, |channel| async move {
            WitnessClient::new(channel).compare_and_swap(request).await
        });
        match asked.await?.outcome {
            Some(Outcome::Accepted(accepted)) => Ok(Answer::Accepted(Version(accepted.version))),
            Some(Outcome::Refused(refused)) => Ok(Answer::Refused(refused.current.map(versioned))),
            None => Err(StoreError::Unanswered("the answer carries no outcome".into())),
        }
    }
}

fn versioned(register: proto::Register) -> Versioned {
    Versioned { version: Version(register.version), value: register.value }
}
