//! Configuration of the operators' commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_agent::config::ServerAddress;
use continuum_domain::duration_text;
use continuum_runtime::Role;
use continuum_runtime::net::TlsFiles;
use continuum_witness_backends::WitnessAccess;
use serde::{Deserialize, Serialize};

use super::environment::Variables;
use super::loader::{Checks, Document};
use super::{Issue, Reading, witness_access};

/// Names the file, where no flag does.
pub const FILE_VARIABLE: &str = "CONTINUUM_CONFIG";
/// Replaces the endpoints of the file: `name=host:port,name=host:port`.
pub const ENDPOINTS_VARIABLE: &str = "CONTINUUM_ENDPOINTS";

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// The API's own data.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Where the control core is and who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// REST addresses of the control nodes; any of them takes any request.
    pub endpoints: Vec<ServerAddress>,
    /// The operator's certificate, key and the authority.
    pub tls: TlsFiles,
    /// The acceptors of the witness, for the `witness` commands.
    #[serde(default)]
    pub witness: Option<WitnessAccess>,
    /// How results are printed.
    #[serde(default)]
    pub output: OutputFormat,
    /// How long a command may take, `--wait` included.
    #[serde(default = "default_timeout", with = "duration_text")]
    pub timeout: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

/// The file to read: the flag's, else `CONTINUUM_CONFIG`, else the user's, else the system's.
/// `None` when none is there; then everything must come from the environment.
pub fn locate(flag: Option<&Path>, variables: &Variables) -> Option<PathBuf> {
    let variable = |name: &str| {
        variables.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, v)| v)
    };
    if let Some(file) = flag {
        return Some(file.to_owned());
    }
    if let Some(file) = variable(FILE_VARIABLE) {
        return Some(file.into());
    }
    let home = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(home).join(".config")));
    let candidates = home.into_iter().map(|home| home.join("continuum/client.toml"));
    candidates.chain(["/etc/continuum/client.toml".into()]).find(|file| file.is_file())
}

/// Reads and checks a client configuration.
pub fn load(file: &Path, reading: Reading<'_>) -> Result<ClientConfig, Vec<Issue>> {
    finish(Document::read(file, "client", reading.variables)?, reading, None)
}

/// As [`load`]; without a file everything comes from the environment. `endpoints` are those of the
/// flag, already parsed, and win over the file's.
pub fn resolve(
    file: Option<&Path>,
    reading: Reading<'_>,
    endpoints: Option<Vec<ServerAddress>>,
) -> Result<ClientConfig, Vec<Issue>> {
    let document = match file {
        Some(file) => Document::read(file, "client", reading.variables)?,
        None => Document::parse(Path::new("(no client.toml)"), "", "client", reading.variables)?,
    };
    finish(document, reading, endpoints)
}

fn finish(
    mut document: Document,
    reading: Reading<'_>,
    endpoints: Option<Vec<ServerAddress>>,
) -> Result<ClientConfig, Vec<Issue>> {
    if let Some(endpoints) = &endpoints {
        document.replace("endpoints", endpoints);
    }
    let loaded = document.typed::<ClientConfig>()?;
    let config = loaded.value;
    let mut checks = Checks::new(&loaded.places, reading.files);
    if config.endpoints.is_empty() {
        checks.fail("endpoints", "names no control node");
    }
    for (index, endpoint) in config.endpoints.iter().enumerate() {
        checks.filled(&format!("endpoints.{index}.name"), &endpoint.name);
        checks.address(&format!("endpoints.{index}.address"), &endpoint.address);
    }
    let names = config.endpoints.iter().map(|endpoint| &endpoint.name);
    checks.distinct("name", names, |index| format!("endpoints.{index}.name"));
    if let Some(witness) = &config.witness {
        witness_access::check(witness, &mut checks);
    }
    if config.timeout.is_zero() {
        checks.fail("timeout", "must be longer than zero");
    }
    checks.tls("tls", &config.tls, Role::Operator, None);
    checks.finish()?;
    Ok(config)
}

/// Parses one `name=host:port`.
pub fn endpoint(text: &str) -> Result<ServerAddress, String> {
    match text.trim().split_once('=') {
        Some((name, address)) if !name.is_empty() && address.contains(':') => {
            Ok(ServerAddress { name: name.to_owned(), address: address.to_owned() })
        }
        _ => Err(format!("{text:?} is not an endpoint; write it as name=host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_variable() {
        let variables = [(FILE_VARIABLE.to_owned(), "/from/env.toml".to_owned())];
        assert_eq!(locate(Some(Path::new("/flag")), &variables), Some("/flag".into()));
        assert_eq!(locate(None, &variables), Some("/from/env.toml".into()));
    }

    #[test]
    fn endpoints_are_parsed_and_win_over_the_file() {
        let parsed = endpoint("a=10.0.0.1:7443").unwrap();
        assert_eq!((parsed.name.as_str(), parsed.address.as_str()), ("a", "10.0.0.1:7443"));
        assert!(endpoint("10.0.0.1:7443").is_err());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("client.toml");
        let text = "endpoints = [{ name = \"z\", address = \"h:1\" }]\n[tls]\nauthority = \"a\"\n\
                    certificate = \"c\"\nkey = \"k\"\n";
        std::fs::write(&file, text).unwrap();
        let variables = [("CONTINUUM_CLIENT__TIMEOUT".to_owned(), "5s".to_owned())];
        let reading = Reading { variables: &variables, files: false };
        let config = resolve(Some(&file), reading, Some(vec![parsed.clone()])).unwrap();
        assert_eq!(config.endpoints, [parsed]);
        assert_eq!(config.timeout, Duration::from_secs(5));
    }
}
