//! Where everything of a lab is: directories, ports, certificates.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use continuum_domain::{PairId, RegionId};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::TlsFiles;
use continuum_runtime::{Identity, Role};

use crate::args::{LabNames, LabOptions, LabWitness};
use crate::authority::Make;
use crate::janitor::DIRECTORY_PREFIX;
use crate::ports::{Ports, region_address};
use crate::wan::Wan;

/// The lab's pair.
pub const PAIR: &str = "app";
/// The name its clients use.
pub const NAME: &str = "app.lab.continuum.test";
/// The zone of that name.
pub const ZONE: &str = "lab.continuum.test";
/// Control nodes.
pub const CORE_NODES: usize = 3;
/// A unix socket's path must fit in 107 bytes; this leaves room for what comes below.
const DIRECTORY_BYTES_MAX: usize = 60;

/// One control node.
#[derive(Clone, Debug)]
pub struct CoreNode {
    /// Name, as in its certificate.
    pub name: String,
    /// Raft number.
    pub id: u64,
    /// gRPC port.
    pub port: u16,
    /// REST port.
    pub api_port: u16,
    /// Its certificate.
    pub tls: TlsFiles,
}

/// One region.
#[derive(Clone, Debug)]
pub struct Region {
    /// Its name.
    pub id: RegionId,
    /// Where clients reach its PostgreSQL.
    pub address: Ipv4Addr,
    /// Where other regions reach its agent and its PostgreSQL.
    pub peer_address: Ipv4Addr,
    /// A process in the network namespace that its parts are started in, if it has one.
    pub namespace: Option<u32>,
    /// Its agent's gRPC port.
    pub peer_port: u16,
    /// Its agent's health port.
    pub health_port: u16,
    /// Port of its pooler, at the address of its PostgreSQL, if it has one.
    pub pooler_port: Option<u16>,
    /// The agent's certificate.
    pub tls: TlsFiles,
}

/// A witness server.
#[derive(Clone, Debug)]
pub struct WitnessServer {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// A process in the network namespace that it is started in, if it has one.
    pub namespace: Option<u32>,
    /// Its gRPC port.
    pub port: u16,
    /// Its certificate.
    pub tls: TlsFiles,
}

/// Everything that is decided before anything is started.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The lab's directory.
    pub directory: PathBuf,
    /// Where everything listens that belongs to no region.
    pub hub: Ipv4Addr,
    /// Port of every region's PostgreSQL.
    pub postgres_port: u16,
    /// Control nodes.
    pub core: Vec<CoreNode>,
    /// Witness servers: one alone, or one or two that are acceptors beside the core.
    pub witnesses: Vec<WitnessServer>,
    /// Whether the witness is a quorum of acceptors.
    pub is_quorum: bool,
    /// Port of the object store, where it is an acceptor.
    pub object_store: Option<u16>,
    /// The embedded name server's DNS port, gRPC port and certificate.
    pub dns: (u16, u16, TlsFiles),
    /// Ports of the name servers of others; clients ask the first one.
    pub authorities: Vec<(Make, u16)>,
    /// Port of PowerDNS's API, where agents write by it.
    pub powerdns_api: Option<u16>,
    /// Where records are probed instead of written: the port of every agent's health URLs, at its
    /// region's own address.
    pub probed: Option<u16>,
    /// The operator's certificate.
    pub operator: TlsFiles,
    /// Regions; the first holds the lease first.
    pub regions: Vec<Region>,
}

/// Where a region is.
struct Place {
    address: Ipv4Addr,
    peer_address: Ipv4Addr,
    namespace: Option<u32>,
}

impl Place {
    fn of(index: usize, region: &RegionId, wan: Option<&Wan>) -> Self {
        match wan.and_then(|wan| wan.site(region.as_str())) {
            Some(site) => {
                Self { address: site.clients, peer_address: site.parts, namespace: Some(site.pid) }
            }
            None => Self {
                address: region_address(index),
                peer_address: Ipv4Addr::LOCALHOST,
                namespace: None,
            },
        }
    }
}

impl Layout {
    /// Chooses free ports and makes certificates in `directory`; on loopback, or in the network `wan`.
    pub fn create(directory: PathBuf, options: &LabOptions, wan: Option<&Wan>) -> io::Result<Self> {
        let regions = &options.regions;
        let tls = directory.join("tls");
        let authority = Authority::create(&tls)?;
        let issue = |role, name: &str| authority.issue(&Identity::new(role, name));
        let mut ports = Ports::new();
        let places: Vec<Place> =
            regions.iter().enumerate().map(|(index, id)| Place::of(index, id, wan)).collect();
        // Every namespace has its ports to itself.
        let loopback = places.iter().filter(|place| place.namespace.is_none());
        let loopback: Vec<Ipv4Addr> = loopback.map(|place| place.address).collect();
        let core = (1..=CORE_NODES)
            .map(|number| {
                let name = format!("core-{number}");
                let tls = issue(Role::Core, &name)?;
                let id = u64::try_from(number).map_err(io::Error::other)?;
                Ok(CoreNode { name, id, port: ports.free()?, api_port: ports.free()?, tls })
            })
            .collect::<io::Result<_>>()?;
        let regions = regions
            .iter()
            .zip(&places)
            .map(|(id, place)| {
                Ok(Region {
                    id: id.clone(),
                    address: place.address,
                    peer_address: place.peer_address,
                    namespace: place.namespace,
                    peer_port: ports.free()?,
                    health_port: ports.free()?,
                    pooler_port: match options.pooler {
                        true => Some(ports.free_on(&[place.address])?),
                        false => None,
                    },
                    tls: issue(Role::Region, id.as_str())?,
                })
            })
            .collect::<io::Result<_>>()?;
        let witness = |name: &&str| {
            let site = wan.and_then(|wan| wan.site(name));
            Ok(WitnessServer {
                name: (*name).to_owned(),
                address: site.map_or(Ipv4Addr::LOCALHOST, |site| site.parts),
                namespace: site.map(|site| site.pid),
                port: ports.free()?,
                tls: issue(Role::Witness, name)?,
            })
        };
        let witnesses = options.witness.servers().iter().map(witness).collect::<io::Result<_>>()?;
        let object_store = match options.witness {
            LabWitness::ObjectStore => Some(ports.free()?),
            LabWitness::Server | LabWitness::Servers => None,
        };
        let layout = Self {
            hub: wan.map_or(Ipv4Addr::LOCALHOST, |_| Wan::hub()),
            postgres_port: ports.free_on(&loopback)?,
            core,
            witnesses,
            is_quorum: options.witness.is_quorum(),
            object_store,
            dns: (ports.free()?, ports.free()?, issue(Role::Dns, "dns")?),
            authorities: options
                .names
                .makes()
                .iter()
                .map(|make| Ok((*make, ports.free()?)))
                .collect::<io::Result<_>>()?,
            powerdns_api: options.names.by_api().then(|| ports.free()).transpose()?,
            probed: (options.names == LabNames::PowerDnsFollow)
                .then(|| ports.free_on(&loopback))
                .transpose()?,
            operator: issue(Role::Operator, "lab")?,
            regions,
            directory,
        };
        layout.make_directories()?;
        Ok(layout)
    }

    fn make_directories(&self) -> io::Result<()> {
        let owner = postgres_owner();
        for name in ["config", "log"] {
            fs::create_dir_all(self.directory.join(name))?;
        }
        for region in &self.regions {
            let members = self.region_directory(&region.id).join("postgresql");
            fs::create_dir_all(&members)?;
            // PostgreSQL refuses to run as root, so its files belong to whom it runs as.
            if let Some((uid, gid)) = owner {
                std::os::unix::fs::chown(&members, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }

    /// The pair.
    pub fn pair(&self) -> PairId {
        PairId::new(PAIR).expect("a valid pair name")
    }

    /// Everything of one region lies below here.
    pub fn region_directory(&self, region: &RegionId) -> PathBuf {
        self.directory.join(region.as_str())
    }

    /// PostgreSQL's data directory of one region.
    pub fn data_directory(&self, region: &RegionId) -> PathBuf {
        self.region_directory(region).join("postgresql/data")
    }

    /// The guard's state of one region.
    pub fn guard_state(&self, region: &RegionId) -> PathBuf {
        self.region_directory(region).join("guard")
    }

    /// Configuration file of a part.
    pub fn config_file(&self, part: &str) -> PathBuf {
        self.directory.join("config").join(format!("{part}.toml"))
    }

    /// Log of a part.
    pub fn log_file(&self, part: &str) -> PathBuf {
        self.directory.join("log").join(format!("{part}.log"))
    }

    /// A region's key for dynamic updates, where the names are at a server of others.
    pub fn tsig_key_file(&self, region: &RegionId) -> PathBuf {
        self.directory.join(format!("config/tsig-{region}.key"))
    }

    /// The key of the name server's API, as a region's agent has it.
    pub fn api_key_file(&self, region: &RegionId) -> PathBuf {
        self.directory.join(format!("config/api-{region}.key"))
    }

    /// The key by which a secondary transfers the zone from the embedded server.
    pub fn transfer_key_file(&self) -> PathBuf {
        self.directory.join("config/tsig-transfer.key")
    }

    /// Where the name server answers that clients ask.
    pub fn name_server(&self) -> SocketAddr {
        let first = self.authorities.first();
        first.map_or_else(|| self.embedded(), |(_, port)| SocketAddr::from((self.hub, *port)))
    }

    /// Where the embedded name server answers, if there is one.
    pub fn embedded(&self) -> SocketAddr {
        SocketAddr::from((self.hub, self.dns.0))
    }

    /// Where the name server of a make answers.
    pub fn authority(&self, make: Make) -> Option<SocketAddr> {
        let found = self.authorities.iter().find(|(known, _)| *known == make);
        found.map(|(_, port)| SocketAddr::from((self.hub, *port)))
    }

    /// The region with this name.
    pub fn region(&self, region: &RegionId) -> Option<&Region> {
        self.regions.iter().find(|candidate| candidate.id == *region)
    }

    /// Where a region's PostgreSQL answers.
    pub fn address(&self, region: &RegionId) -> Option<IpAddr> {
        self.region(region).map(|region| IpAddr::V4(region.address))
    }

    /// Where each region's PostgreSQL answers.
    pub fn postgresql(&self) -> BTreeMap<String, String> {
        let address = |region: &Region| format!("{}:{}", region.address, self.postgres_port);
        self.regions.iter().map(|region| (region.id.to_string(), address(region))).collect()
    }
}

/// Makes the lab's directory: short enough for unix sockets, passable for PostgreSQL's user.
pub fn make_directory() -> io::Result<PathBuf> {
    let usual = std::env::temp_dir();
    let parent =
        if usual.as_os_str().len() > DIRECTORY_BYTES_MAX { Path::new("/tmp") } else { &usual };
    let directory = tempfile::Builder::new().prefix(DIRECTORY_PREFIX).tempdir_in(parent)?.keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    // Canonical, because the working directories in /proc are.
    fs::canonicalize(directory)
}

/// User and group of `postgres` when we run as root, whom the guard then runs PostgreSQL as.
pub(crate) fn postgres_owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    owner_in(&fs::read_to_string("/etc/passwd").ok()?)
}

fn owner_in(passwd: &str) -> Option<(u32, u32)> {
    let mut fields = passwd.lines().find(|line| line.starts_with("postgres:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ports_differ_and_regions_share_one_port_on_their_own_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let regions = ["fsn", "hel", "ash"].map(|name| RegionId::new(name).unwrap());
        let options = LabOptions {
            witness: LabWitness::ObjectStore,
            names: LabNames::Everywhere,
            regions: regions.to_vec(),
            ..LabOptions::default()
        };
        let layout = Layout::create(directory.path().to_owned(), &options, None).unwrap();
        let mut ports: Vec<u16> = layout.core.iter().flat_map(|n| [n.port, n.api_port]).collect();
        ports.extend(layout.regions.iter().flat_map(|r| [r.peer_port, r.health_port]));
        ports.extend(layout.witnesses.iter().map(|server| server.port));
        ports.extend(layout.object_store);
        ports.extend(layout.authorities.iter().map(|(_, port)| *port));
        ports.extend(layout.powerdns_api);
        ports.extend([layout.postgres_port, layout.dns.0, layout.dns.1]);
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
        assert_eq!(layout.address(&regions[2]).unwrap().to_string(), "127.0.0.4");
        for tls in layout.core.iter().map(|node| &node.tls) {
            assert!(tls.server_config().is_ok(), "{tls:?}");
        }
        assert!(layout.data_directory(&regions[0]).parent().unwrap().is_dir());
    }

    #[test]
    fn the_owner_is_read_from_the_user_database() {
        let passwd = "root:x:0:0::/:/bin/sh\npostgres:x:104:112:PG:/var:/bin/bash\n";
        assert_eq!(owner_in(passwd), Some((104, 112)));
        assert_eq!(owner_in("root:x:0:0::/:/bin/sh\n"), None);
    }
}
