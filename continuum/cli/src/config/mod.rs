//! Configuration of every role: TOML, overridden by the environment, overridden by flags.
//!
//! ```text
//!  file ─┐
//!        ├─ Document (keys with their lines) ── typed ── checks ── the role's configuration
//!  env ──┘          │                             │        │
//!                   └────────── Issue: one line with file, line, key and what is accepted
//! ```
//!
//! Nothing is started and nothing is written before a configuration is found to be right.

pub mod agent;
mod at_rest;
mod checks;
pub mod client;
pub mod dns;
pub mod environment;
pub mod examples;
pub mod guard;
pub mod loader;
pub mod locate;
pub mod manifests;
pub mod pair;
pub mod server;
mod traces;
mod traffic;
pub mod witness;
pub mod witness_access;

#[cfg(test)]
mod tests;

use std::path::Path;

use continuum_runtime::logging::LogFormat;
use continuum_runtime::net::TlsFiles;

pub use environment::Variables;
pub use locate::Issue;

/// What a configuration file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A region's agent.
    Agent,
    /// A control node.
    Server,
    /// The guard beside one PostgreSQL.
    Guard,
    /// A witness server.
    Witness,
    /// A name server.
    Dns,
    /// The operators' commands.
    Client,
    /// The spec of a pair.
    Pair,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: &[Kind] = &[
        Kind::Agent,
        Kind::Server,
        Kind::Guard,
        Kind::Witness,
        Kind::Dns,
        Kind::Client,
        Kind::Pair,
    ];

    /// The name as typed, which is also the prefix of its environment variables.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Agent => "agent",
            Kind::Server => "server",
            Kind::Guard => "guard",
            Kind::Witness => "witness",
            Kind::Dns => "dns",
            Kind::Client => "client",
            Kind::Pair => "pair",
        }
    }
}

/// How to read configuration.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The environment.
    pub variables: &'a Variables,
    /// Whether the files that a configuration names are looked at.
    pub files: bool,
}

/// What a network role reads from its file: its own part, and what all share.
#[derive(Clone, Debug)]
pub struct RoleFile<T> {
    /// The role's own part.
    pub config: T,
    /// Certificate, key and authority.
    pub tls: TlsFiles,
    /// How log lines look.
    pub log: LogFormat,
}

/// Reads and checks a file without doing anything else.
pub fn check_file(kind: Kind, file: &Path, reading: Reading<'_>) -> Result<(), Vec<Issue>> {
    match kind {
        Kind::Agent => agent::load(file, reading).map(drop),
        Kind::Server => server::load(file, reading).map(drop),
        Kind::Guard => guard::load(file, reading).map(drop),
        Kind::Witness => witness::load(file, reading).map(drop),
        Kind::Dns => dns::load(file, reading).map(drop),
        Kind::Client => client::load(file, reading).map(drop),
        Kind::Pair => pair::load(file).map(drop),
    }
}
