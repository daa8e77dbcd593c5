//! The long-running roles: configuration in, the role's own crate runs it, one file each.

pub mod agent;
pub mod dns;
pub mod guard;
pub mod lab;
pub mod server;
pub mod sim;
pub mod witness;

use std::sync::Arc;

use continuum_runtime::SharedNetwork;
use continuum_runtime::logging::{self, LogFormat};
use continuum_runtime::net::{TlsFiles, TlsNetwork};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::RoleArgs;
use crate::config::{Reading, Variables};
use crate::failure::{Exit, Failure};

/// How a role reads its configuration: everything is looked at before anything is started.
pub fn reading(variables: &Variables) -> Reading<'_> {
    Reading { variables, files: true }
}

/// Installs the log; the flag wins over the configuration.
pub fn start_log(args: &RoleArgs, configured: LogFormat) {
    logging::install(args.log.map_or(configured, Into::into), "info");
}

/// Mutual TLS with the role's certificate.
pub fn network(files: &TlsFiles) -> Result<SharedNetwork, Failure> {
    let network = TlsNetwork::load(files).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Arc::new(network))
}

/// Ready when the process is told to end (SIGTERM or SIGINT).
pub async fn shutdown() {
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "a signal handler cannot be installed");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => tracing::info!("told to end"),
        () = wait(SignalKind::interrupt()) => tracing::info!("interrupted"),
    }
}

/// A role that ended with an error.
pub fn ended(role: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("{role}: {error}"))
}
