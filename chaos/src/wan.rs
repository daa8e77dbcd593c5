//! A network of its own for a lab: every region and every witness server in a network namespace,
//! joined by a switch that can cut, delay and lose packets per direction.
//!
//! ```text
//!   hub (control nodes, name server, clients)              10.77.0.1   10.78.0.1
//!    │
//!  switch ── region 1 (agent, guard, PostgreSQL)           10.77.0.2   10.78.0.2
//!    │
//!    ├────── region 2                                      10.77.0.3   10.78.0.3
//!    │
//!    └────── witness servers, one site each                10.77.0.4   10.78.0.4
//! ```
//!
//! Parts speak with each other from and to 10.77.0.0/24, which can be disturbed; clients reach
//! PostgreSQL at 10.78.0.0/24, which cannot: a region that is cut off must still find clients that
//! are willing to write to it, or nothing shows that it does not acknowledge.
//!
//! The process that starts such a lab runs in a namespace of its own ([`enter`]); nothing of the
//! machine's network is touched, and all of it ends with its processes.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;

use continuum_domain::RegionId;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tun_rs::{AsyncDevice, DeviceBuilder};

use crate::lab::Error;
use crate::manifest::MARK;

mod switch;

pub use switch::Line;
use switch::Switch;

/// Set in the environment of a process that [`enter`] has put into a namespace: the one it came from.
const CAME_FROM: &str = "CONTINUUM_LAB_CAME_FROM";
/// The site where everything is that has no site of its own.
pub const HUB: &str = "hub";
const HUB_NUMBER: usize = 0;
/// Second octet of the parts' network.
const PARTS: u8 = 77;
/// Second octet of the clients' network.
const CLIENTS: u8 = 78;
/// Networks whose hosts the lab's PostgreSQL lets in.
pub const NETWORKS: [&str; 2] = ["10.77.0.0/24", "10.78.0.0/24"];
const MTU: u16 = 1_500;

/// Replaces this process by itself in a new network namespace, unless it is in one already. Needs
/// root, or a kernel that allows user namespaces.
pub fn enter() -> io::Result<()> {
    let here = own_namespace()?;
    if is_inside(std::env::var(CAME_FROM).ok().as_deref(), &here) {
        return Ok(());
    }
    let mut command = std::process::Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        // Nobody else than before, as PostgreSQL demands, but free to make networks.
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.arg("--").arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Err(command.env(CAME_FROM, here).exec())
}

/// As the kernel names it, such as `net:[4026531840]`.
fn own_namespace() -> io::Result<String> {
    Ok(std::fs::read_link("/proc/self/ns/net")?.to_string_lossy().into_owned())
}

/// A variable that somebody else set must not have us change the machine's own network.
fn is_inside(came_from: Option<&str>, here: &str) -> bool {
    came_from.is_some_and(|outer| outer.starts_with("net:[") && outer != here)
}

/// A place in the network.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Where its parts are reached by other parts.
    pub parts: Ipv4Addr,
    /// Where its PostgreSQL is reached by clients.
    pub clients: Ipv4Addr,
    /// A process in its namespace.
    pub pid: u32,
}

/// The network of one lab.
#[derive(Debug)]
pub struct Wan {
    /// All but the hub.
    sites: Vec<(String, Site)>,
    switch: Switch,
    /// Keep the namespaces; they end with us.
    _holders: Vec<Child>,
}

impl Wan {
    /// Makes one namespace per name and connects them. The holders' processes carry the mark of the
    /// lab in `directory`.
    pub async fn start(names: &[&str], directory: &Path) -> io::Result<Self> {
        if !is_inside(std::env::var(CAME_FROM).ok().as_deref(), &own_namespace()?) {
            return Err(io::Error::other("this process is not in a network namespace of its own"));
        }
        ip(None, &["link", "set", "lo", "up"]).await?;
        let mut ports = vec![port(HUB, HUB_NUMBER, None).await?];
        let (mut holders, mut sites) = (Vec::new(), Vec::new());
        for (index, name) in names.iter().enumerate() {
            let number = index + 1;
            let (holder, pid) = namespace(directory).await?;
            ip(Some(pid), &["link", "set", "lo", "up"]).await?;
            ports.push(port(&format!("site{number}"), number, Some(pid)).await?);
            let site =
                Site { parts: address(PARTS, number), clients: address(CLIENTS, number), pid };
            sites.push(((*name).to_owned(), site));
            holders.push(holder);
        }
        Ok(Self { sites, switch: Switch::start(ports, site_of), _holders: holders })
    }

    /// Where the parts that have no site of their own are reached.
    pub fn hub() -> Ipv4Addr {
        address(PARTS, HUB_NUMBER)
    }

    /// The place of a region or witness server.
    pub fn site(&self, name: &str) -> Option<Site> {
        self.sites.iter().find(|(site, _)| site == name).map(|(_, site)| *site)
    }

    /// Sets what becomes of everything that a region says to anybody else.
    pub fn outgoing(&self, region: &RegionId, line: Line) -> Result<(), Error> {
        for (from, to) in self.directions(region)? {
            self.switch.set((from, to), line);
        }
        Ok(())
    }

    /// Sets what becomes of everything that is said to a region.
    pub fn incoming(&self, region: &RegionId, line: Line) -> Result<(), Error> {
        for (to, from) in self.directions(region)? {
            self.switch.set((from, to), line);
        }
        Ok(())
    }

    /// Sets what becomes of what one site says to another one: regions and witness servers by their
    /// names, everything else by [`HUB`].
    pub fn between(&self, from: &str, to: &str, line: Line) -> Result<(), Error> {
        self.switch.set((self.number(from)?, self.number(to)?), line);
        Ok(())
    }

    /// Makes all lines whole.
    pub fn heal(&self) {
        self.switch.heal();
    }

    fn number(&self, name: &str) -> Result<usize, Error> {
        if name == HUB {
            return Ok(HUB_NUMBER);
        }
        let index = self.sites.iter().position(|(site, _)| site == name);
        let unknown = || Error::Options(format!("the lab's network has no site {name}"));
        index.map(|index| index + 1).ok_or_else(unknown)
    }

    /// From a region to every other site.
    fn directions(&self, region: &RegionId) -> Result<Vec<switch::Direction>, Error> {
        let from = self.number(region.as_str())?;
        let others = (HUB_NUMBER..=self.sites.len()).filter(|to| *to != from);
        Ok(others.map(|to| (from, to)).collect())
    }
}

/// Which site an address belongs to, and whether it is of the clients' network.
pub(crate) fn site_of(address: Ipv4Addr) -> Option<(usize, bool)> {
    match address.octets() {
        [10, PARTS, 0, last] => Some((usize::from(last.checked_sub(1)?), false)),
        [10, CLIENTS, 0, last] => Some((usize::from(last.checked_sub(1)?), true)),
        _ => None,
    }
}

fn address(network: u8, number: usize) -> Ipv4Addr {
    let last = u8::try_from(number + 1).expect("at most 7 regions and 2 servers");
    Ipv4Addr::new(10, network, 0, last)
}

/// A namespace and the process that keeps it.
async fn namespace(directory: &Path) -> io::Result<(Child, u32)> {
    let mut command = Command::new("unshare");
    // It speaks once it is inside.
    command.args(["--net", "--", "sh", "-c", "echo; exec sleep infinity"]);
    command.env(MARK, directory).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut holder = command.spawn()?;
    let mut out = holder.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    out.read_exact(&mut [0]).await?;
    let pid = holder.id().ok_or_else(|| io::Error::other("a namespace's process has ended"))?;
    Ok((holder, pid))
}

/// A network device with both addresses of a site, in the namespace of `pid`; what is sent through it
/// comes out here.
async fn port(name: &str, number: usize, pid: Option<u32>) -> io::Result<AsyncDevice> {
    let device = DeviceBuilder::new().name(name).mtu(MTU).build_async()?;
    if let Some(pid) = pid {
        ip(None, &["link", "set", name, "netns", &pid.to_string()]).await?;
    }
    for network in [PARTS, CLIENTS] {
        let address = format!("{}/24", address(network, number));
        ip(pid, &["address", "add", &address, "dev", name]).await?;
    }
    ip(pid, &["link", "set", name, "up"]).await?;
    Ok(device)
}

/// The words that run a command in the namespace of `pid`.
pub fn inside(pid: u32) -> [String; 3] {
    ["nsenter".into(), format!("--net=/proc/{pid}/ns/net"), "--".into()]
}

async fn ip(pid: Option<u32>, arguments: &[&str]) -> io::Result<()> {
    let mut words: Vec<String> = pid.map(inside).into_iter().flatten().collect();
    words.push("ip".into());
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    let (program, rest) = words.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let output = Command::new(program).args(rest).stdin(Stdio::null()).output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{}: {said}", words.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_left_another_namespace_is_inside() {
        let (outer, here) = ("net:[4026531840]", "net:[4026532197]");
        assert!(is_inside(Some(outer), here));
        for came_from in [None, Some("1"), Some(""), Some(here)] {
            assert!(!is_inside(came_from, here), "{came_from:?}");
        }
    }

    #[test]
    fn addresses_name_their_site() {
        for number in 0..10 {
            assert_eq!(site_of(address(PARTS, number)), Some((number, false)));
            assert_eq!(site_of(address(CLIENTS, number)), Some((number, true)));
        }
        assert_eq!(site_of(Ipv4Addr::LOCALHOST), None);
        assert_eq!(site_of(Ipv4Addr::new(10, PARTS, 0, 0)), None);
    }
}
