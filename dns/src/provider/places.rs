//! The places of a provider: what an agent's file says, opened for a zone.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::name_spec::absolute;
use continuum_runtime::SharedClock;

use super::config::{PdmConfig, ProviderConfig, Route53Config};
use super::pdm::{Pdm, PdmAt};
use super::powerdns::{PowerDns, PowerDnsAt};
use super::rfc2136::{Rfc2136, TsigKey};
use super::route53::{Route53, Route53At};
use super::{ProviderError, RecordProvider, key_file};

/// One server of a provider, for one zone.
#[derive(Clone, Debug)]
pub struct Place {
    /// What people call it: the provider and the server.
    pub label: String,
    /// Where records are written.
    pub records: Arc<dyn RecordProvider>,
}

/// What a provider keeps beside plain records that are answered as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// LUA records: policy `follow`.
    pub lua: bool,
    /// Records that it chooses among by health checks of its own.
    pub routing: bool,
}

/// A provider as an agent uses it.
pub trait Places: Send + Sync + 'static {
    /// Each of its servers, for this zone; all of them are written to.
    fn in_zone(&self, zone: &str) -> Result<Vec<Place>, ProviderError>;

    /// What it keeps.
    fn takes(&self) -> Takes;

    /// Servers that are asked whether they serve what was written.
    fn authorities(&self) -> Vec<SocketAddr>;
}

/// How the server is spoken to.
enum Access {
    Update { servers: Vec<SocketAddr>, key: Option<TsigKey> },
    Api { api: String, key: String, server: SocketAddr },
    Route53(Route53Config),
    Pdm(PdmConfig),
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
            // These read theirs anew for each call, and must be able to at the start.
            ProviderConfig::Route53(own) => {
                config.check_key()?;
                (Access::Route53(own.clone()), own.deadline)
            }
            ProviderConfig::Pdm(own) => {
                config.check_key()?;
                (Access::Pdm(own.clone()), own.deadline)
            }
        };
        let (name, authorities) = (config.name().to_owned(), config.authorities());
        Ok(Self { name, access, authorities, deadline, clock })
    }

    fn place(&self, server: impl fmt::Display, records: impl RecordProvider) -> Place {
        Place { label: format!("{} at {server}", self.name), records: Arc::new(records) }
    }

    fn route53(&self, config: &Route53Config, zone: &str) -> Result<Route53, ProviderError> {
        let zone = absolute(zone);
        let listed = config.zones.iter().find(|(name, _)| absolute(name) == zone);
        let zone_id = listed.map(|(_, id)| id.clone()).ok_or_else(|| {
            let name = &self.name;
            ProviderError::Misconfigured(format!(
                "the agent's file does not say which hosted zone {zone} is: name_provider {name} \
                 has no such key in zones"
            ))
        })?;
        let at = Route53At {
            zone,
            zone_id,
            key_file: config.key_file.clone(),
            region: config.region.clone(),
            endpoint: config.endpoint.clone(),
            deadline: self.deadline,
            look_again: config.look_again,
        };
        Ok(Route53::new(at, self.clock.clone()))
    }
}

impl Places for OpenProvider {
    fn in_zone(&self, zone: &str) -> Result<Vec<Place>, ProviderError> {
        let (zone, deadline) = (zone.to_owned(), self.deadline);
        let place = match &self.access {
            Access::Update { servers, key } => {
                let place = |server: &SocketAddr| {
                    let (key, clock) = (key.clone(), self.clock.clone());
                    let records = Rfc2136::new(*server, &zone, key, clock, deadline)?;
                    Ok(self.place(server, records))
                };
                return servers.iter().map(place).collect();
            }
            Access::Api { api, key, server } => {
                let (api, key) = (api.clone(), key.clone());
                let at = PowerDnsAt { api, key, dns: *server, zone, deadline };
                self.place(server, PowerDns::new(at)?)
            }
            Access::Route53(config) => {
                let records = self.route53(config, &zone)?;
                self.place(records.zone_id().to_owned(), records)
            }
            Access::Pdm(config) => {
                let (api, token_file) = (config.api.clone(), config.key_file.clone());
                let records = Pdm::new(PdmAt { api, token_file, zone, deadline })?;
                self.place(&config.api, records)
            }
        };
        Ok(vec![place])
    }

    fn takes(&self) -> Takes {
        Takes {
            lua: matches!(self.access, Access::Api { .. }),
            routing: matches!(self.access, Access::Route53(_)),
        }
    }

    fn authorities(&self) -> Vec<SocketAddr> {
        self.authorities.clone()
    }
}
