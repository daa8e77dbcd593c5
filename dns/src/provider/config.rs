//! Providers as an agent's file lists them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_domain::corroborate::Resolver;
use continuum_domain::duration_text;
use serde::{Deserialize, Serialize};

use super::{ProviderError, key_file};
use crate::config::ConfigError;

/// Bounds of `deadline`: below, a healthy server far away may miss it; above, a publish would hang on.
const DEADLINE_MIN: Duration = Duration::from_millis(100);
const DEADLINE_MAX: Duration = Duration::from_secs(10);

fn default_deadline() -> Duration {
    Duration::from_secs(2)
}

/// A name server of others that this agent writes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ProviderConfig {
    /// Dynamic update: PowerDNS, BIND and others.
    Rfc2136(Rfc2136Config),
    /// PowerDNS by its HTTP API.
    PowerDns(PowerDnsConfig),
}

/// Servers that take dynamic updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rfc2136Config {
    /// What specs call it.
    pub name: String,
    /// Primary servers of the zones: each is written to by itself.
    pub servers: Vec<Resolver>,
    /// File with the TSIG key, as `tsig-keygen` writes it. Without one the address alone decides.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Every server that clients' resolvers may ask; `servers` without any.
    #[serde(default)]
    pub authorities: Vec<Resolver>,
    /// Longest time of one message.
    #[serde(default = "default_deadline", with = "duration_text")]
    pub deadline: Duration,
}

/// A PowerDNS with its HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerDnsConfig {
    /// What specs call it.
    pub name: String,
    /// The API, such as `http://10.3.0.20:8081`.
    pub api: String,
    /// Where it answers questions.
    pub server: Resolver,
    /// File with the API's key, one line.
    pub key_file: PathBuf,
    /// Every server that clients' resolvers may ask; `server` without any.
    #[serde(default)]
    pub authorities: Vec<Resolver>,
    /// Longest time of one call.
    #[serde(default = "default_deadline", with = "duration_text")]
    pub deadline: Duration,
}

impl ProviderConfig {
    /// What specs call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Rfc2136(config) => &config.name,
            Self::PowerDns(config) => &config.name,
        }
    }

    /// The file with its key.
    pub fn key_file(&self) -> Option<&Path> {
        match self {
            Self::Rfc2136(config) => config.key_file.as_deref(),
            Self::PowerDns(config) => Some(&config.key_file),
        }
    }

    /// Every server that is asked whether it serves what was written.
    pub fn authorities(&self) -> Vec<SocketAddr> {
        let (listed, own) = match self {
            Self::Rfc2136(config) => (&config.authorities, config.servers.as_slice()),
            Self::PowerDns(config) => (&config.authorities, std::slice::from_ref(&config.server)),
        };
        let listed = if listed.is_empty() { own } else { listed.as_slice() };
        listed.iter().map(|server| server.0).collect()
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |path: &str, problem: &str| {
            Err(ConfigError { path: path.into(), problem: problem.into() })
        };
        if self.name().trim().is_empty() {
            return fail("name", "must not be empty");
        }
        let deadline = match self {
            Self::Rfc2136(config) => {
                if config.servers.is_empty() {
                    return fail("servers", "at least one is needed");
                }
                let twice = |(at, one): (usize, &Resolver)| config.servers[..at].contains(one);
                if config.servers.iter().enumerate().any(twice) {
                    return fail("servers", "lists a server twice");
                }
                config.deadline
            }
            Self::PowerDns(config) => {
                let host = config.api.strip_prefix("http://");
                let host = host.or_else(|| config.api.strip_prefix("https://"));
                if host.is_none_or(|host| host.trim_end_matches('/').is_empty()) {
                    return fail("api", "must be a URL such as http://10.3.0.20:8081");
                }
                config.deadline
            }
        };
        if !(DEADLINE_MIN..=DEADLINE_MAX).contains(&deadline) {
            return fail("deadline", "100ms to 10s is accepted");
        }
        Ok(())
    }

    /// Reads the key as it will be used, and says what is wrong with its file.
    pub fn check_key(&self) -> Result<(), ProviderError> {
        match self {
            Self::Rfc2136(config) => {
                config.key_file.as_deref().map_or(Ok(()), |file| key_file::tsig(file).map(drop))
            }
            Self::PowerDns(config) => key_file::api(&config.key_file).map(drop),
        }
    }
}
