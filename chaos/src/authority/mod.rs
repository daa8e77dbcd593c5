//! A name server of others as the lab's: records that the holder's agent writes by dynamic update, with a
//! key of its own for each region. It is the lab's own, at a free port, and gone with it.

mod bind;
mod powerdns;

use std::io;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use continuum_domain::RegionId;
use continuum_runtime::{durable, seed};
use serde_json::{Value, json};

use crate::args::LabNames;
use crate::layout::{Layout, Region};
use crate::manifest::Part;

/// What the lab's spec and its agents' files call it.
pub const PROVIDER: &str = "ns";
/// The last field of its SOA, seconds: how long an answer of no address is remembered.
const NEGATIVE_TTL: u32 = 1;

/// The programs of a name server of others.
#[derive(Clone, Debug)]
pub enum Authority {
    /// PowerDNS with a SQLite database.
    PowerDns(powerdns::Programs),
    /// BIND, by its `named`.
    Bind(PathBuf),
}

/// A region's key.
struct Key {
    region: RegionId,
    secret: String,
    /// As `tsig-keygen` writes it.
    statement: String,
}

/// Finds the programs, where the names are at such a server; the error says how to install them.
pub fn find(names: LabNames) -> Result<Option<Authority>, String> {
    match names {
        LabNames::Embedded => Ok(None),
        LabNames::PowerDns | LabNames::PowerDnsFollow => {
            powerdns::find().map(|found| Some(Authority::PowerDns(found)))
        }
        LabNames::Bind => program("named").map(|found| Some(Authority::Bind(found))),
    }
}

impl Authority {
    /// The part's name and role.
    fn part_name(&self) -> &'static str {
        match self {
            Self::PowerDns(_) => "powerdns",
            Self::Bind(_) => "bind",
        }
    }

    fn directory(&self, layout: &Layout) -> PathBuf {
        layout.directory.join(self.part_name())
    }

    /// Makes its zone, a key for each region, and its configuration.
    pub async fn prepare(&self, layout: &Layout) -> io::Result<()> {
        let directory = self.directory(layout);
        std::fs::create_dir_all(&directory)?;
        let keys: Vec<Key> = layout.regions.iter().map(|region| Key::of(&region.id)).collect();
        for key in &keys {
            let file = layout.tsig_key_file(&key.region);
            durable::write_atomic(&file, key.statement.as_bytes())?;
        }
        let api_key = seed::random_id(32);
        if layout.follow.is_some() {
            for region in &layout.regions {
                durable::write_atomic(&layout.api_key_file(&region.id), api_key.as_bytes())?;
            }
        }
        match self {
            Self::PowerDns(programs) => {
                powerdns::prepare(layout, &directory, programs, &keys, &api_key).await
            }
            Self::Bind(_) => bind::prepare(layout, &directory, &keys),
        }
    }

    /// The part that runs it.
    pub fn part(&self, layout: &Layout) -> Part {
        let (name, data_directory) = (self.part_name(), self.directory(layout));
        let argv = match self {
            Self::PowerDns(programs) => powerdns::command(programs, &data_directory),
            Self::Bind(named) => bind::command(named, &data_directory),
        };
        Part {
            name: name.into(),
            role: name.into(),
            region: None,
            pid: None,
            started: None,
            argv,
            ports: [("dns".to_owned(), layout.dns.0)].into(),
            data_directory,
            log: layout.log_file(name),
        }
    }
}

impl Key {
    fn of(region: &RegionId) -> Self {
        let secret = STANDARD.encode(seed::random_id(32));
        let statement =
            format!("key \"{region}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        Self { region: region.clone(), secret, statement }
    }
}

/// The `name_provider` of a region's agent.
pub fn provider(layout: &Layout, region: &Region) -> Value {
    if let Some(follow) = layout.follow {
        return json!({
            "name": PROVIDER,
            "kind": "powerdns",
            "api": format!("http://{}:{}", layout.hub, follow.api_port),
            "server": layout.name_server().to_string(),
            "key_file": layout.api_key_file(&region.id),
        });
    }
    json!({
        "name": PROVIDER,
        "kind": "rfc2136",
        "servers": [layout.name_server().to_string()],
        "key_file": layout.tsig_key_file(&region.id),
    })
}

/// A program, from PATH or where Debian keeps programs of administrators.
fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    let mut files = places.map(|place: PathBuf| place.join(name));
    files.find(|file| file.is_file()).ok_or_else(|| missing(name))
}

fn missing(what: &str) -> String {
    format!(
        "--names: {what} is not installed: run `make powerdns` in the project, or install \
         pdns-server, pdns-backend-sqlite3 and sqlite3 for powerdns, bind9 for bind"
    )
}
