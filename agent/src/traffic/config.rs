//! The `[[traffic]]` sections of an agent's configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use continuum_domain::PairId;
use serde::{Deserialize, Serialize};

use super::kubernetes::config::{EndpointSliceConfig, HttpRouteConfig, PoolerConfig};

/// One traffic switch that this agent drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TrafficConfig {
    /// A PgBouncer.
    Pgbouncer(PgBouncerConfig),
    /// A webhook.
    Webhook(WebhookConfig),
    /// A Gateway API `HTTPRoute`.
    HttpRoute(HttpRouteConfig),
    /// The `EndpointSlice` of a Service.
    EndpointSlice(EndpointSliceConfig),
    /// A CloudNativePG `Pooler`.
    Pooler(PoolerConfig),
}

/// A PgBouncer, reached by its admin console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PgBouncerConfig {
    /// Its name among this agent's switches.
    pub name: String,
    /// The pair whose clients it leads.
    pub pair: PairId,
    /// Where it listens: `host:port`, or the absolute directory of its unix socket, `:` and the port.
    pub admin: String,
    /// A user that its `admin_users` names.
    pub admin_user: String,
    /// File with that user's password, one line.
    #[serde(default)]
    pub admin_password_file: Option<PathBuf>,
    /// The file that this agent writes and that PgBouncer's own includes (`%include`). Its directory
    /// belongs to the agent; PgBouncer must be able to read it.
    pub databases_file: PathBuf,
    /// The databases as clients name them, each with what follows `host` and `port` in its line.
    pub databases: BTreeMap<String, String>,
}

/// A URL that is told of every new holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Its name among this agent's switches.
    pub name: String,
    /// The pair it is told of.
    pub pair: PairId,
    /// `http://` or `https://`.
    pub url: String,
    /// File with the secret that requests are signed with, one line.
    pub secret_file: PathBuf,
}

/// Shortest secret that is accepted, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// The parts of `admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAt {
    Tcp(String, u16),
    Unix(PathBuf, u16),
}

pub(crate) fn admin_at(text: &str) -> Result<AdminAt, String> {
    let wrong = || {
        format!("{text:?} is neither host:port nor /socket/directory:port, such as 127.0.0.1:6432")
    };
    let (place, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if place.is_empty() {
        return Err(wrong());
    }
    Ok(match place.starts_with('/') {
        true => AdminAt::Unix(place.into(), port),
        false => AdminAt::Tcp(place.trim_matches(['[', ']']).to_owned(), port),
    })
}

impl TrafficConfig {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Pgbouncer(config) => &config.name,
            Self::Webhook(config) => &config.name,
            Self::HttpRoute(config) => &config.name,
            Self::EndpointSlice(config) => &config.name,
            Self::Pooler(config) => &config.name,
        }
    }

    /// The pair whose clients it leads.
    pub fn pair(&self) -> &PairId {
        match self {
            Self::Pgbouncer(config) => &config.pair,
            Self::Webhook(config) => &config.pair,
            Self::HttpRoute(config) => &config.pair,
            Self::EndpointSlice(config) => &config.pair,
            Self::Pooler(config) => &config.pair,
        }
    }

    /// The word for it in a file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pgbouncer(_) => "pgbouncer",
            Self::Webhook(_) => "webhook",
            Self::HttpRoute(_) => "http-route",
            Self::EndpointSlice(_) => "endpoint-slice",
            Self::Pooler(_) => "pooler",
        }
    }

    /// The file it writes, which no other switch may.
    pub fn databases_file(&self) -> Option<&Path> {
        match self {
            Self::Pgbouncer(config) => Some(&config.databases_file),
            _ => None,
        }
    }

    /// The files it needs to read, by key.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::Pgbouncer(config) => {
                let file = config.admin_password_file.as_deref();
                file.map(|file| ("admin_password_file", file)).into_iter().collect()
            }
            Self::Webhook(config) => vec![("secret_file", &config.secret_file)],
            Self::HttpRoute(HttpRouteConfig { kubeconfig, .. })
            | Self::EndpointSlice(EndpointSliceConfig { kubeconfig, .. })
            | Self::Pooler(PoolerConfig { kubeconfig, .. }) => {
                let file = kubeconfig.as_deref();
                file.map(|file| ("kubeconfig", file)).into_iter().collect()
            }
        }
    }

    /// What is wrong with it beyond its types: key and problem. Files are not looked at.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut fail = |key: &str, problem: String| problems.push((key.to_owned(), problem));
        if self.name().is_empty() {
            fail("name", "must not be empty".into());
        }
        match self {
            Self::Pgbouncer(config) => {
                if let Err(problem) = admin_at(&config.admin) {
                    fail("admin", problem);
                }
                if config.admin_user.is_empty() {
                    fail("admin_user", "must not be empty".into());
                }
                if !config.databases_file.is_absolute() {
                    fail("databases_file", "must be an absolute path".into());
                }
                if config.databases.is_empty() {
                    fail("databases", "names no database".into());
                }
                for (name, rest) in &config.databases {
                    if let Some(problem) = database_problem(name, rest) {
                        fail(&format!("databases.{name}"), problem);
                    }
                }
            }
            Self::Webhook(config) => {
                if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
                    fail("url", "must begin with http:// or https://".into());
                }
            }
            Self::HttpRoute(config) => problems.extend(config.problems()),
            Self::EndpointSlice(config) => problems.extend(config.problems()),
            Self::Pooler(config) => problems.extend(config.problems()),
        }
        problems
    }
}

/// PgBouncer reads its file line by line, and quotes nothing in names.
fn database_problem(name: &str, rest: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || !name.chars().all(plain) || name == "pgbouncer" {
        return Some("a name of letters, digits, _, - and . is accepted, but pgbouncer".into());
    }
    if rest.chars().any(char::is_control) {
        return Some("must be one line".into());
    }
    let taken = |word: &str| {
        let key = word.split('=').next().unwrap_or_default().trim();
        ["host", "port"].contains(&key).then(|| key.to_owned())
    };
    let taken = rest.split_whitespace().find_map(taken);
    taken.map(|key| format!("{key} is what the agent writes; leave it out"))
}

/// The one line of a file that holds a secret.
pub(crate) fn read_secret(file: &Path) -> io::Result<String> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(named)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains('\n') {
        return Err(named(io::Error::other("must hold one line")));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooler(databases: &[(&str, &str)]) -> TrafficConfig {
        let text = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        TrafficConfig::Pgbouncer(PgBouncerConfig {
            name: "pooler".into(),
            pair: PairId::new("app").unwrap(),
            admin: "127.0.0.1:6432".into(),
            admin_user: "continuum".into(),
            admin_password_file: None,
            databases_file: "/etc/pgbouncer/continuum/app.ini".into(),
            databases: databases.iter().map(text).collect(),
        })
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        assert_eq!(pooler(&[("app", "dbname=app pool_size=20")]).problems(), []);
        for (name, rest, says) in [
            ("app", "host=10.0.0.1", "host is what the agent writes"),
            ("app", "dbname=app port = 5432", "port is what the agent writes"),
            ("a b", "", "letters, digits"),
            ("pgbouncer", "", "but pgbouncer"),
            ("app", "dbname=app\nother = host=x", "one line"),
        ] {
            let problems = pooler(&[(name, rest)]).problems();
            assert!(problems[0].1.contains(says), "{name} {rest}: {problems:?}");
        }
        assert_eq!(pooler(&[]).problems(), [("databases".into(), "names no database".into())]);
    }

    #[test]
    fn the_console_is_reached_by_address_or_by_socket() {
        assert_eq!(admin_at("127.0.0.1:6432"), Ok(AdminAt::Tcp("127.0.0.1".into(), 6432)));
        assert_eq!(admin_at("[::1]:6432"), Ok(AdminAt::Tcp("::1".into(), 6432)));
        assert_eq!(
            admin_at("/run/pgbouncer:6432"),
            Ok(AdminAt::Unix("/run/pgbouncer".into(), 6432))
        );
        for wrong in ["127.0.0.1", ":6432", "host:0", "host:many"] {
            assert!(admin_at(wrong).is_err(), "{wrong}");
        }
    }
}
