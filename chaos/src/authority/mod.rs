//! Name servers of others as the lab's: records that the holder's agent writes by dynamic update, with a
//! key of its own for each region, or by an API; and a secondary of the embedded server. They are the
//! lab's own, at free ports, and gone with it.

mod bind;
mod knot;
mod powerdns;

use std::io;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use continuum_domain::corroborate::Resolver;
use continuum_domain::spec::{NamePolicy, NameSpec};
use continuum_runtime::{durable, seed};
use serde_json::{Value, json};

use crate::args::{LabNames, LabOptions};
use crate::layout::{Layout, NAME, Region, ZONE};
use crate::manifest::Part;

/// The last field of its SOA, seconds: how long an answer of no address is remembered.
const NEGATIVE_TTL: u32 = 1;

/// Which name server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// PowerDNS with a SQLite database; agents write to it.
    PowerDns,
    /// BIND; agents write to it.
    Bind,
    /// Knot, a secondary of the embedded server.
    Knot,
}

impl Make {
    /// What its part, the spec and the agents' files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerDns => "powerdns",
            Self::Bind => "bind",
            Self::Knot => "knot",
        }
    }
}

/// The programs of a name server of others.
#[derive(Clone, Debug)]
pub enum Authority {
    /// PowerDNS with a SQLite database.
    PowerDns(powerdns::Programs),
    /// BIND, by its `named`.
    Bind(PathBuf),
    /// Knot, by its `knotd`.
    Knot(PathBuf),
}

/// A TSIG key, by the algorithm hmac-sha256.
struct Key {
    name: String,
    secret: String,
    /// As `tsig-keygen` writes it.
    statement: String,
}

/// Finds the programs of the name servers of others, clients' first; the error says how to install them.
pub fn find(names: LabNames) -> Result<Vec<Authority>, String> {
    let found = |make: &Make| match make {
        Make::PowerDns => powerdns::find().map(Authority::PowerDns),
        Make::Bind => program("named").map(Authority::Bind),
        Make::Knot => program("knotd").map(Authority::Knot),
    };
    names.makes().iter().map(found).collect()
}

/// Makes the zones, a key for each region, and the configurations.
pub async fn prepare(authorities: &[Authority], layout: &Layout) -> io::Result<()> {
    let keys: Vec<Key> = layout.regions.iter().map(|region| Key::new(region.id.as_str())).collect();
    let api_key = seed::random_id(32);
    if !authorities.is_empty() {
        for (key, region) in keys.iter().zip(&layout.regions) {
            let file = layout.tsig_key_file(&region.id);
            durable::write_atomic(&file, key.statement.as_bytes())?;
        }
    }
    if layout.powerdns_api.is_some() {
        for region in &layout.regions {
            durable::write_atomic(&layout.api_key_file(&region.id), api_key.as_bytes())?;
        }
    }
    for authority in authorities {
        authority.prepare(layout, &keys, &api_key).await?;
    }
    Ok(())
}

impl Authority {
    fn make(&self) -> Make {
        match self {
            Self::PowerDns(_) => Make::PowerDns,
            Self::Bind(_) => Make::Bind,
            Self::Knot(_) => Make::Knot,
        }
    }

    fn directory(&self, layout: &Layout) -> PathBuf {
        layout.directory.join(self.make().name())
    }

    async fn prepare(&self, layout: &Layout, keys: &[Key], api_key: &str) -> io::Result<()> {
        let directory = self.directory(layout);
        std::fs::create_dir_all(&directory)?;
        match self {
            Self::PowerDns(programs) => {
                powerdns::prepare(layout, &directory, programs, keys, api_key).await
            }
            Self::Bind(_) => bind::prepare(layout, &directory, keys),
            Self::Knot(_) => {
                let key = Key::new("transfer");
                durable::write_atomic(&layout.transfer_key_file(), key.statement.as_bytes())?;
                knot::prepare(layout, &directory, &key)
            }
        }
    }

    /// The part that runs it.
    pub fn part(&self, layout: &Layout) -> Part {
        let (name, data_directory) = (self.make().name(), self.directory(layout));
        let argv = match self {
            Self::PowerDns(programs) => powerdns::command(programs, &data_directory),
            Self::Bind(named) => bind::command(named, &data_directory),
            Self::Knot(knotd) => knot::command(knotd, &data_directory),
        };
        let port = layout.authority(self.make()).map(|server| server.port());
        Part {
            name: name.into(),
            role: name.into(),
            region: None,
            pid: None,
            started: None,
            argv,
            ports: port.map(|port| ("dns".to_owned(), port)).into_iter().collect(),
            data_directory,
            log: layout.log_file(name),
        }
    }
}

impl Key {
    fn new(name: &str) -> Self {
        let secret = STANDARD.encode(seed::random_id(32));
        let statement =
            format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        Self { name: name.into(), secret, statement }
    }
}

/// The pair's names: the clients' first, then one at each name server that is not theirs.
pub fn names(layout: &Layout, options: &LabOptions) -> Vec<NameSpec> {
    let address = |region: &Region| (region.id.clone(), [region.address.into()].into());
    let at = |name: &str, provider: &str, zone: &str| {
        let addresses = layout.regions.iter().map(address).collect();
        NameSpec::at_provider(name, options.name_ttl, (provider, zone), addresses)
    };
    let mut names = Vec::new();
    if options.names.has_embedded() {
        let mut embedded = NameSpec::new(NAME, options.name_ttl);
        if let Some(secondary) = layout.authority(Make::Knot) {
            embedded.zone = Some(ZONE.into());
            embedded.addresses = layout.regions.iter().map(address).collect();
            embedded.authorities = vec![Resolver(secondary)];
        }
        names.push(embedded);
    }
    for make in written(options.names) {
        let name = match names.is_empty() {
            true => NAME.to_owned(),
            false => format!("{}.{ZONE}", make.name()),
        };
        names.push(at(&name, make.name(), ZONE));
    }
    if let (Some(name), Some(port)) = (names.first_mut(), layout.probed) {
        name.policy = NamePolicy::Follow;
        name.health_port = std::num::NonZeroU16::new(port);
    }
    let more = &options.names_elsewhere;
    names.extend(more.iter().map(|more| at(&more.name, &more.provider, &more.zone)));
    names
}

/// The name servers that agents write to.
fn written(names: LabNames) -> impl Iterator<Item = Make> {
    names.makes().iter().copied().filter(|make| *make != Make::Knot)
}

/// Every `name_provider` of a region's agent.
pub fn providers(layout: &Layout, options: &LabOptions, region: &Region) -> Vec<Value> {
    let own = written(options.names).filter_map(|make| provider(layout, region, make));
    let more = options.names_elsewhere.iter();
    own.chain(more.filter_map(|more| more.sections.get(&region.id).cloned())).collect()
}

fn provider(layout: &Layout, region: &Region, make: Make) -> Option<Value> {
    let server = layout.authority(make)?.to_string();
    if let (Make::PowerDns, Some(port)) = (make, layout.powerdns_api) {
        return Some(json!({
            "name": make.name(),
            "kind": "powerdns",
            "api": format!("http://{}:{port}", layout.hub),
            "server": server,
            "key_file": layout.api_key_file(&region.id),
        }));
    }
    Some(json!({
        "name": make.name(),
        "kind": "rfc2136",
        "servers": [server],
        "key_file": layout.tsig_key_file(&region.id),
    }))
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
         pdns-server, pdns-backend-sqlite3 and sqlite3 for powerdns, bind9 for bind, knot for \
         hidden-primary, all of them for everywhere"
    )
}
