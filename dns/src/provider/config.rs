//! Providers as an agent's file lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_domain::corroborate::Resolver;
use continuum_domain::duration_text;
use continuum_domain::name_spec::absolute;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{ProviderError, key_file};
use crate::config::ConfigError;

/// Bounds of `deadline`: below, a healthy server far away may miss it; above, a publish would hang on.
const DEADLINE_MIN: Duration = Duration::from_millis(100);
const DEADLINE_MAX: Duration = Duration::from_secs(10);

/// What was confirmed longer ago than 10 s counts as not known.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(8);
/// Longest id of a hosted zone.
const ZONE_ID_MAX: usize = 32;

fn default_deadline() -> Duration {
    Duration::from_secs(2)
}

fn default_region() -> String {
    "us-east-1".into()
}

fn default_look_again() -> Duration {
    Duration::from_secs(5)
}

/// A name server of others that this agent writes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ProviderConfig {
    /// Dynamic update: PowerDNS, BIND and others.
    Rfc2136(Rfc2136Config),
    /// PowerDNS by its HTTP API.
    PowerDns(PowerDnsConfig),
    /// Route 53 by its API.
    Route53(Route53Config),
    /// A pool-domain-manager.
    Pdm(PdmConfig),
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

/// Hosted zones of Route 53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route53Config {
    /// What specs call it.
    pub name: String,
    /// The id of each hosted zone, by the zone's name.
    pub zones: BTreeMap<String, String>,
    /// File with the keys, as `~/.aws/credentials` has them.
    pub key_file: PathBuf,
    /// The region that requests are signed for.
    #[serde(default = "default_region")]
    pub region: String,
    /// Where the API is, if not at the usual place of the region.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Servers that are asked whether they serve it; without any, nobody is.
    #[serde(default)]
    pub authorities: Vec<Resolver>,
    /// Longest time of one call.
    #[serde(default = "default_deadline", with = "duration_text")]
    pub deadline: Duration,
    /// How long a name that stands as wanted is not looked at again.
    #[serde(default = "default_look_again", with = "duration_text")]
    pub look_again: Duration,
}

/// A pool-domain-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PdmConfig {
    /// What specs call it.
    pub name: String,
    /// The service, such as `https://pdm.example.net`.
    pub api: String,
    /// File with the bearer token, one line.
    pub key_file: PathBuf,
    /// Servers that are asked whether they serve it; without any, nobody is.
    #[serde(default)]
    pub authorities: Vec<Resolver>,
    /// Longest time of one call.
    #[serde(default = "default_deadline", with = "duration_text")]
    pub deadline: Duration,
}

fn fail(path: &str, problem: &str) -> Result<(), ConfigError> {
    Err(ConfigError { path: path.into(), problem: problem.into() })
}

impl Rfc2136Config {
    fn check(&self) -> Result<(), ConfigError> {
        if self.servers.is_empty() {
            return fail("servers", "at least one is needed");
        }
        let twice = |(at, one): (usize, &Resolver)| self.servers[..at].contains(one);
        if self.servers.iter().enumerate().any(twice) {
            return fail("servers", "lists a server twice");
        }
        Ok(())
    }
}

impl PowerDnsConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let host = self.api.strip_prefix("http://");
        let host = host.or_else(|| self.api.strip_prefix("https://"));
        if host.is_none_or(|host| host.trim_end_matches('/').is_empty()) {
            return fail("api", "must be a URL such as http://10.3.0.20:8081");
        }
        Ok(())
    }
}

impl Route53Config {
    fn check(&self) -> Result<(), ConfigError> {
        if self.zones.is_empty() {
            return fail("zones", "at least one is needed: \"ZONE\" = \"ID\"");
        }
        let mut seen = BTreeSet::new();
        for (zone, id) in &self.zones {
            if !seen.insert(absolute(zone)) {
                return fail("zones", &format!("lists {zone} twice"));
            }
            let fits = (1..=ZONE_ID_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if !fits {
                let problem = format!("{id:?} is not the id of a hosted zone: Z0123456789ABC");
                return fail(&format!("zones.{zone}"), &problem);
            }
        }
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.region.is_empty() || !self.region.bytes().all(word) {
            return fail("region", "must be a region such as us-east-1");
        }
        if self.look_again > LOOK_AGAIN_MAX {
            return fail("look_again", "at most 8s is accepted");
        }
        self.endpoint.as_deref().map_or(Ok(()), |url| secret_url("endpoint", url))
    }
}

/// A URL to which a secret is sent: encrypted, or on this machine.
fn secret_url(path: &str, text: &str) -> Result<(), ConfigError> {
    let Ok(url) = Url::parse(text) else {
        return fail(path, "must be a URL such as https://pdm.example.net");
    };
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let near = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        _ if !bare => fail(path, "carries a user, a password or a query; secrets have a file"),
        "https" => Ok(()),
        "http" if near => Ok(()),
        _ => fail(path, "must be https; http is accepted to a loopback address only"),
    }
}

impl ProviderConfig {
    /// What specs call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Rfc2136(config) => &config.name,
            Self::PowerDns(config) => &config.name,
            Self::Route53(config) => &config.name,
            Self::Pdm(config) => &config.name,
        }
    }

    /// The file with its key.
    pub fn key_file(&self) -> Option<&Path> {
        match self {
            Self::Rfc2136(config) => config.key_file.as_deref(),
            Self::PowerDns(config) => Some(&config.key_file),
            Self::Route53(config) => Some(&config.key_file),
            Self::Pdm(config) => Some(&config.key_file),
        }
    }

    /// Every server that is asked whether it serves what was written.
    pub fn authorities(&self) -> Vec<SocketAddr> {
        let (listed, own): (&[Resolver], &[Resolver]) = match self {
            Self::Rfc2136(config) => (&config.authorities, &config.servers),
            Self::PowerDns(config) => (&config.authorities, std::slice::from_ref(&config.server)),
            Self::Route53(config) => (&config.authorities, &[]),
            Self::Pdm(config) => (&config.authorities, &[]),
        };
        let listed = if listed.is_empty() { own } else { listed };
        listed.iter().map(|server| server.0).collect()
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.name().trim().is_empty() {
            return fail("name", "must not be empty");
        }
        let deadline = match self {
            Self::Rfc2136(config) => config.check().map(|()| config.deadline)?,
            Self::PowerDns(config) => config.check().map(|()| config.deadline)?,
            Self::Route53(config) => config.check().map(|()| config.deadline)?,
            Self::Pdm(config) => secret_url("api", &config.api).map(|()| config.deadline)?,
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
            Self::Route53(config) => {
                let file = &config.key_file;
                key_file::aws(file, std::fs::read_to_string(file)).map(drop)
            }
            Self::Pdm(config) => key_file::api(&config.key_file).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE53: &str = r#"
        name = "aws"
        kind = "route53"
        zones = { "db.example" = "Z0123456789ABC" }
        key_file = "/k"
    "#;
    const PDM: &str = r#"
        name = "pool"
        kind = "pdm"
        api = "https://pdm.example.net"
        key_file = "/k"
    "#;

    fn checked(text: &str) -> Result<(), String> {
        let config: ProviderConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn route_53_and_pool_domain_managers_are_checked_field_by_field() {
        for text in [ROUTE53, PDM] {
            assert_eq!(checked(text), Ok(()));
            assert_eq!(toml::from_str::<ProviderConfig>(text).unwrap().authorities(), []);
        }
        let zones = "{ \"db.example\" = \"Z0123456789ABC\" }";
        for (text, from, to, due) in [
            (ROUTE53, zones, "{}", "zones: at least one is needed"),
            (ROUTE53, zones, "{ \"a.b\" = \"Z1\", \"A.b.\" = \"Z2\" }", "zones: lists a.b twice"),
            (ROUTE53, "Z0123456789ABC", "/hostedzone/Z1", "zones.db.example: "),
            (ROUTE53, "key_file", "region = \"Here\"\nkey_file", "region: must be a region"),
            (ROUTE53, "key_file", "look_again = \"9s\"\nkey_file", "look_again: at most 8s"),
            (ROUTE53, "key_file", "endpoint = \"http://aws\"\nkey_file", "endpoint: must be https"),
            (ROUTE53, "key_file", "deadline = \"1m\"\nkey_file", "deadline: 100ms to 10s"),
            (ROUTE53, "key_file", "secret = \"x\"\nkey_file", "unknown field `secret`"),
            (ROUTE53, "\"aws\"", "\" \"", "name: must not be empty"),
            (PDM, "https://", "http://", "api: must be https"),
            (PDM, "https://pdm", "https://a:b@pdm", "api: carries a user"),
            (PDM, "https://pdm.example.net", "pdm", "api: must be a URL"),
            (PDM, "https://pdm.example.net", "http://127.0.0.1:1", ""),
            (PDM, "https://pdm.example.net", "http://[::1]:1", ""),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let told = checked(&changed).err().unwrap_or_default();
            assert!(told.contains(due) && told.is_empty() == due.is_empty(), "{to}: {told}");
        }
    }
}
