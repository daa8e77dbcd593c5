//! The places of a provider: what an agent's file says, opened for a zone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::SharedClock;

use super::config::ProviderConfig;
use super::powerdns::{PowerDns, PowerDnsAt};
use super::rfc2136::{Rfc2136, TsigKey};
use super::{ProviderError, RecordProvider, key_file};

/// One server of a provider, for one zone.
#[derive(Clone, Debug)]
pub struct Place {
    /// What people call it: the provider and the server.
    pub label: String,
    /// Where records are written.
    pub records: Arc<dyn RecordProvider>,
}

/// A provider as an agent uses it.
pub trait Places: Send + Sync + 'static {
    /// Each of its servers, for this zone; all of them are written to.
    fn in_zone(&self, zone: &str) -> Result<Vec<Place>, ProviderError>;

    /// Whether it keeps LUA records.
    fn takes_lua(&self) -> bool;

    /// Servers that are asked whether they serve what was written.
    fn authorities(&self) -> Vec<SocketAddr>;
}

/// How the server is spoken to.
enum Access {
    Update { servers: Vec<SocketAddr>, key: Option<TsigKey> },
    Api { api: String, key: String, server: SocketAddr },
}

/// A provider of an agent's file, with its key read.
pub struct OpenProvider {
    name: String,
    access: Access,
    authorities: Vec<SocketAddr>,
    deadline: Duration,
    clock: SharedClock,
}

impl OpenProvider {
    /// Reads the key. `clock` tells the time in signatures.
    pub fn open(config: &ProviderConfig, clock: SharedClock) -> Result<Self, ProviderError> {
        let (access, deadline) = match config {
            ProviderConfig::Rfc2136(config) => {
                let key = config.key_file.as_deref().map(key_file::tsig).transpose()?;
                let servers = config.servers.iter().map(|server| server.0).collect();
                (Access::Update { servers, key }, config.deadline)
            }
            ProviderConfig::PowerDns(config) => {
                let (api, key) = (config.api.clone(), key_file::api(&config.key_file)?);
                (Access::Api { api, key, server: config.server.0 }, config.deadline)
            }
        };
        let (name, authorities) = (config.name().to_owned(), config.authorities());
        Ok(Self { name, access, authorities, deadline, clock })
    }

    fn label(&self, server: &SocketAddr) -> String {
        format!("{} at {server}", self.name)
    }
}

impl Places for OpenProvider {
    fn in_zone(&self, zone: &str) -> Result<Vec<Place>, ProviderError> {
        match &self.access {
            Access::Update { servers, key } => {
                let place = |server: &SocketAddr| {
                    let (key, clock) = (key.clone(), self.clock.clone());
                    let records = Rfc2136::new(*server, zone, key, clock, self.deadline)?;
                    Ok(Place { label: self.label(server), records: Arc::new(records) })
                };
                servers.iter().map(place).collect()
            }
            Access::Api { api, key, server } => {
                let records = PowerDns::new(PowerDnsAt {
                    api: api.clone(),
                    key: key.clone(),
                    dns: *server,
                    zone: zone.to_owned(),
                    deadline: self.deadline,
                })?;
                Ok(vec![Place { label: self.label(server), records: Arc::new(records) }])
            }
        }
    }

    fn takes_lua(&self) -> bool {
        matches!(self.access, Access::Api { .. })
    }

    fn authorities(&self) -> Vec<SocketAddr> {
        self.authorities.clone()
    }
}
