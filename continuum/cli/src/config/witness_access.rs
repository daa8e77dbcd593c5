//! The `[witness]` section of the roles and commands that use the witness.

use std::time::Duration;

use continuum_runtime::SharedNetwork;
use continuum_witness_backends::WitnessAccess;

use super::loader::{Checks, Document};
use crate::failure::Failure;

/// A role's own part with its way to the witness.
#[derive(Clone, Debug)]
pub struct Witnessed<T> {
    /// The role's own part.
    pub own: T,
    /// Where the witness is.
    pub witness: WitnessAccess,
}

/// Takes the section out of the document.
pub fn take(document: &mut Document) -> WitnessAccess {
    // Absent only with an issue noted, with which `typed` ends the reading.
    document.need("witness").unwrap_or_default()
}

/// Checks the section.
pub fn check(access: &WitnessAccess, checks: &mut Checks<'_>) {
    for problem in access.check() {
        let key = match problem.path.as_str() {
            "" => "witness".to_owned(),
            path => format!("witness.{path}"),
        };
        checks.fail(&key, problem.text);
    }
    if let Some(name) = &access.name {
        checks.filled("witness.name", name);
    }
    if let Some(address) = &access.address {
        checks.address("witness.address", address);
    }
    for (at, acceptor) in access.acceptor.iter().enumerate() {
        checks.filled(&format!("witness.acceptor.{at}.name"), acceptor.name());
        for (key, address) in acceptor.addresses() {
            checks.address(&format!("witness.acceptor.{at}.{key}"), address);
        }
    }
}

/// Says what is allowed and should be known, and refuses what cannot work, before a role starts.
pub async fn ready(access: &WitnessAccess, network: &SharedNetwork) -> Result<(), Failure> {
    for warning in access.warnings() {
        tracing::warn!("witness: {warning}");
    }
    let opened = access.try_open(network, Duration::from_secs(1)).await;
    opened.map_err(|(name, error)| Failure::usage(format!("witness acceptor {name}: {error}")))
}
