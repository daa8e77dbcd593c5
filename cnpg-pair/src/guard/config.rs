//! Configuration of one guard.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use continuum_domain::spec::{Durability, SpecError};
use continuum_domain::{PairId, RegionId, duration_text};
use serde::{Deserialize, Serialize};

use super::GuardError;

/// Configuration of one guard: one member of one pair. Fields left out take the documented default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardConfig {
    /// The pair.
    pub pair: PairId,
    /// The region of this member.
    pub region: RegionId,
    /// All regions of the pair, this one included: each gets its own replication role.
    pub members: BTreeSet<RegionId>,
    /// Unix socket the agent speaks to; made for its owner only.
    pub socket: PathBuf,
    /// PostgreSQL's data directory. Clones are built beside it, so its parent must be writable for
    /// the user PostgreSQL runs as.
    pub data_directory: PathBuf,
    /// The guard's own state, the generated PostgreSQL configuration, logs and artefacts.
    pub state_directory: PathBuf,
    /// Directory with PostgreSQL's programs; by default `CONTINUUM_PG_BIN`, then the newest
    /// `/usr/lib/postgresql/*/bin`, then `PATH`.
    #[serde(default)]
    pub bin_directory: Option<PathBuf>,
    /// Whom PostgreSQL runs as when the guard runs as root.
    #[serde(default = "default_os_user")]
    pub os_user: String,
    /// `listen_addresses`.
    pub listen_host: String,
    /// `port`.
    pub port: u16,
    /// Directory of PostgreSQL's own unix socket; made for its owner only. Local connections are
    /// trusted, so this directory is what protects the superuser.
    pub socket_directory: PathBuf,
    /// File with the password of the replication roles, one line.
    pub replication_password_file: PathBuf,
    /// Durability of the pair: decides `synchronous_commit`.
    #[serde(default)]
    pub durability: Durability,
    /// `max_slot_wal_keep_size`: WAL kept for a standby that is away before it must be cloned anew.
    #[serde(default = "default_slot_size")]
    pub max_slot_wal_keep_size: String,
    /// Further PostgreSQL settings. Those the guard owns are refused.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Networks from which role `postgres` is let in without a password. For laboratories only.
    #[serde(default)]
    pub trusted_networks: Vec<String>,
    /// Lines appended to the generated `pg_hba.conf`, for applications.
    #[serde(default)]
    pub hba: Vec<String>,
    /// Longest time PostgreSQL may take to stop; the same value as in the lease timing.
    #[serde(default = "default_stop_budget", with = "duration_text")]
    pub stop_budget: Duration,
}

fn default_os_user() -> String {
    "postgres".into()
}
fn default_slot_size() -> String {
    "1GB".into()
}
fn default_stop_budget() -> Duration {
    Duration::from_secs(3)
}

/// Settings that would take authority from the guard or break its assumptions.
const OWNED_SETTINGS: &[&str] = &[
    "archive_cleanup_command",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "logging_collector",
    "max_slot_wal_keep_size",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "superuser_reserved_connections",
    "synchronous_commit",
    "synchronous_standby_names",
    "unix_socket_directories",
];

/// Connections kept for the agent, which is a superuser: observer, probe, canary, and commands.
/// Clients that wait for a second copy can take every other one.
pub(crate) const AGENT_CONNECTIONS: u32 = 8;

/// Fewest connections PostgreSQL may be given: the agent's and as many for clients.
const CONNECTIONS_MIN: u32 = 2 * AGENT_CONNECTIONS;

/// Whether the guard alone decides this PostgreSQL setting.
pub(crate) fn is_owned_setting(name: &str) -> bool {
    OWNED_SETTINGS.contains(&name.to_ascii_lowercase().as_str())
}

/// Longest path of a unix socket, in bytes, and what PostgreSQL adds to its directory.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const POSTGRES_SOCKET_SUFFIX_BYTES: usize = "/.s.PGSQL.65535".len();

impl GuardConfig {
    /// Reads a TOML file and checks it.
    pub fn load(path: &Path) -> Result<Self, GuardError> {
        let text = std::fs::read_to_string(path).map_err(|error| GuardError::Environment {
            what: format!("{} cannot be read", path.display()),
            reason: error.to_string(),
            remedy: "give the path of the guard's configuration".into(),
        })?;
        let config: Self = toml::from_str(&text).map_err(|error| GuardError::Environment {
            what: format!("{} is not a guard configuration", path.display()),
            reason: error.to_string(),
            remedy: "mend the field that is named".into(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SpecError> {
        let fail = |path: &str, problem: String| Err(SpecError { path: path.into(), problem });
        if !self.members.contains(&self.region) {
            return fail("members", format!("does not list this region, {}", self.region));
        }
        if self.port == 0 {
            return fail("port", "must be set".into());
        }
        if self.stop_budget.is_zero() {
            return fail("stop_budget", "must be longer than zero".into());
        }
        for (name, path) in [
            ("socket", &self.socket),
            ("data_directory", &self.data_directory),
            ("state_directory", &self.state_directory),
            ("socket_directory", &self.socket_directory),
            ("replication_password_file", &self.replication_password_file),
        ] {
            let sound = path.is_absolute()
                && path.parent().is_some()
                && path.to_str().is_some_and(|text| !text.contains(['\n', '\0']));
            if !sound {
                return fail(name, "must be an absolute path in UTF-8".into());
            }
        }
        if self.state_directory.starts_with(&self.data_directory) {
            return fail("state_directory", "must lie outside the data directory".into());
        }
        if self.socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return fail("socket", format!("is longer than {SOCKET_PATH_BYTES_MAX} bytes"));
        }
        let most = SOCKET_PATH_BYTES_MAX - POSTGRES_SOCKET_SUFFIX_BYTES;
        if self.socket_directory.as_os_str().len() > most {
            return fail("socket_directory", format!("is longer than {most} bytes"));
        }
        self.check_settings()
    }

    fn check_settings(&self) -> Result<(), SpecError> {
        for (name, value) in &self.settings {
            let path = format!("settings.{name}");
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            if !plain || name.is_empty() {
                return Err(SpecError { path, problem: "is not the name of a setting".into() });
            }
            if is_owned_setting(name) {
                return Err(SpecError { path, problem: "is decided by the guard".into() });
            }
            if value.contains(['\n', '\0']) {
                return Err(SpecError { path, problem: "must be one line".into() });
            }
            let connections = name.eq_ignore_ascii_case("max_connections");
            if connections && value.parse::<u32>().is_ok_and(|count| count < CONNECTIONS_MIN) {
                let problem = format!("must be at least {CONNECTIONS_MIN}");
                return Err(SpecError { path, problem });
            }
        }
        let lines = self.hba.iter().chain(&self.trusted_networks);
        let texts = lines.chain([&self.listen_host, &self.max_slot_wal_keep_size]);
        for text in texts {
            if text.contains(['\n', '\0']) {
                let problem = format!("{text:?} must be one line");
                return Err(SpecError {
                    path: "hba, trusted_networks, listen_host".into(),
                    problem,
                });
            }
        }
        Ok(())
    }
}

/// Name of a member's replication role.
pub(crate) fn replication_role(region: &RegionId) -> String {
    format!("continuum_repl_{}", region.as_str().replace('-', "_"))
}

/// Name of a member's replication slot.
pub(crate) fn slot_name(region: &RegionId) -> String {
    format!("continuum_{}", region.as_str().replace('-', "_"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const EXAMPLE: &str = r#"
        pair = "shop"
        region = "fsn"
        members = ["fsn", "hel"]
        socket = "/run/continuum/shop.sock"
        data_directory = "/var/lib/continuum/shop/data"
        state_directory = "/var/lib/continuum/shop/guard"
        listen_host = "10.0.0.1"
        port = 5432
        socket_directory = "/run/continuum/shop"
        replication_password_file = "/etc/continuum/shop.password"
        stop_budget = "3s"
        [settings]
        shared_buffers = "4GB"
    "#;

    #[test]
    fn an_example_is_read_with_its_defaults() {
        let config: GuardConfig = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.os_user, "postgres");
        assert_eq!(config.stop_budget, Duration::from_secs(3));
        assert_eq!(config.durability, Durability::Available);
    }

    #[test]
    fn unknown_fields_and_owned_settings_are_refused() {
        assert!(toml::from_str::<GuardConfig>(&format!("colour = 'red'\n{EXAMPLE}")).is_err());
        let text = format!("{EXAMPLE}\nsynchronous_standby_names = ''");
        let config: GuardConfig = toml::from_str(&text).unwrap();
        assert_eq!(config.check().unwrap_err().path, "settings.synchronous_standby_names");
    }
}
