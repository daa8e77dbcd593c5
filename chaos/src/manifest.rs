//! `lab.json`: what runs, for people, tools and the janitor.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use continuum_runtime::durable;
use serde::{Deserialize, Serialize};

/// Name of the file in the lab's directory.
pub const FILE: &str = "lab.json";

/// Environment variable that marks every process a lab starts with the lab's directory.
pub const MARK: &str = "CONTINUUM_LAB";

/// One part of the lab: a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Unique name: `core-1`, `witness`, `dns`, `fsn-guard`, `fsn-agent`, ...
    pub name: String,
    /// `server`, `witness`, `dns`, `guard`, `agent`; `object-store`, `powerdns`, `bind` and
    /// `pooler` are of others.
    pub role: String,
    /// The region it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Process id; absent while it is not running.
    pub pid: Option<i32>,
    /// Start time of that process in clock ticks since boot, so that a reused pid is not mistaken
    /// for it.
    pub started: Option<u64>,
    /// Command line; start it again with exactly this.
    pub argv: Vec<String>,
    /// Ports by purpose.
    pub ports: BTreeMap<String, u16>,
    /// Where it keeps its state.
    pub data_directory: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// The whole lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The lab's directory; everything is below it.
    pub directory: PathBuf,
    /// The lab's own process.
    pub lab_pid: i32,
    /// The pair.
    pub pair: String,
    /// The name clients resolve.
    pub name: String,
    /// Where the name server answers.
    pub dns: String,
    /// Where each region's PostgreSQL answers (role `postgres`, database `postgres`, trust).
    pub postgresql: BTreeMap<String, String>,
    /// Configuration for the command line: `export CONTINUUM_CONFIG=...`.
    pub operator_config: PathBuf,
    /// Its processes.
    pub parts: Vec<Part>,
}

impl Manifest {
    /// Writes it atomically into its directory.
    pub fn write(&self) -> io::Result<()> {
        durable::write_json(&self.directory.join(FILE), self)
    }

    /// Reads it from a lab's directory; `None` when there is none.
    pub fn read(directory: &Path) -> io::Result<Option<Self>> {
        durable::read_json(&directory.join(FILE))
    }
}
