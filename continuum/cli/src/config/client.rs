//! Configuration of the operators' commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_agent::config::ServerAddress;
use continuum_control_api::client::Credentials;
use continuum_domain::duration_text;
use continuum_runtime::Role;
use continuum_runtime::net::TlsFiles;
use continuum_witness_backends::WitnessAccess;
use serde::{Deserialize, Serialize};

use super::environment::Variables;
use super::loader::{Checks, Document};
use super::{Issue, Reading, witness_access};
use crate::failure::Failure;

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
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// A file with a token of the control core, or of the identity provider; decides beside `tls`.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates of the authority that signs all parties, where there is no `tls`.
    #[serde(default)]
    pub authority: Option<PathBuf>,
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
    way_in(&config, &mut checks);
    checks.finish()?;
    Ok(config)
}

/// By certificate or by token, and the nodes' authority must be known for either.
fn way_in(config: &ClientConfig, checks: &mut Checks<'_>) {
    match (&config.tls, &config.token_file) {
        (None, None) => checks.fail("tls", "is missing, and there is no token_file either"),
        (None, Some(_)) if config.authority.is_none() => {
            checks.fail("authority", "is missing: without tls it says whom to trust");
        }
        _ => {}
    }
    if let Some(tls) = &config.tls {
        checks.tls("tls", tls, Role::Operator, None);
    }
    for (key, file) in [("token_file", &config.token_file), ("authority", &config.authority)] {
        if let Some(file) = file {
            checks.readable(key, file);
        }
    }
}

impl ClientConfig {
    /// The certificate, for what takes no token: agents and acceptors.
    pub fn certificate(&self) -> Result<&TlsFiles, Failure> {
        self.tls.as_ref().ok_or_else(|| {
            Failure::usage("this needs a certificate: the client configuration has no [tls]")
        })
    }

    /// By what the control core is to know the caller.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        let Some(file) = &self.token_file else {
            return Ok(Credentials::Certificate(self.certificate()?.clone()));
        };
        let authority = self.authority.as_ref().or(self.tls.as_ref().map(|tls| &tls.authority));
        let missing = || Failure::usage("authority: is missing");
        let authority = authority.ok_or_else(missing)?.clone();
        let token = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("token_file: {}: {error}", file.display())))?;
        Ok(Credentials::Bearer { authority, token: token.trim().to_owned() })
    }
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
    fn a_token_is_a_way_in_of_its_own_and_counts_beside_a_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let token = at("token", " ctm_a_b\n");
        let tls = "[tls]\nauthority = \"/ca\"\ncertificate = \"/c\"\nkey = \"/k\"\n";
        let load = |more: &str| {
            let endpoints = "endpoints = [{ name = \"z\", address = \"h:1\" }]";
            let file = at("client.toml", &format!("{endpoints}\n{more}"));
            load(&file, Reading { variables: &Vec::new(), files: false })
        };
        assert!(load("").is_err() && load("authority = \"/ca\"\n").is_err(), "no way in");
        let by_token = format!("token_file = {token:?}\n");
        assert!(load(&by_token).is_err(), "nobody is trusted");
        for more in [format!("authority = \"/ca\"\n{by_token}"), format!("{by_token}{tls}")] {
            let config = load(&more).unwrap();
            match config.credentials().unwrap() {
                Credentials::Bearer { authority, token } => {
                    assert_eq!((authority, token.as_str()), ("/ca".into(), "ctm_a_b"));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(config.certificate().is_ok(), more.contains("[tls]"));
        }
        let config = load(tls).unwrap();
        assert!(matches!(config.credentials().unwrap(), Credentials::Certificate(_)));
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
