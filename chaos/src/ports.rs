//! Free ports on loopback.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use continuum_runtime::seed;
use rand::RngExt;

const LOWEST: u16 = 10_240;
const TRIES_MAX: usize = 2_000;

/// Loopback address of the region with this index: one each, so that all can use one port and be
/// told apart by DNS A records, which carry no port.
pub fn region_address(index: usize) -> Ipv4Addr {
    let last = u8::try_from(index + 2).expect("at most 7 regions");
    Ipv4Addr::new(127, 0, 0, last)
}

/// Hands out ports that nobody listens on, each at most once.
///
/// They lie below the kernel's range for outgoing connections: otherwise a client's connection
/// could take the port of a part that is down for a while, and keep it from coming back.
#[derive(Debug)]
pub struct Ports {
    highest: u16,
    taken: BTreeSet<u16>,
}

impl Ports {
    /// Reads the kernel's range.
    pub fn new() -> Self {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let lowest_outgoing: Option<u16> = range
            .ok()
            .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
            .filter(|lowest| *lowest > LOWEST + 1_000);
        Self { highest: lowest_outgoing.unwrap_or(u16::MAX), taken: BTreeSet::new() }
    }

    /// A port that is free, for TCP and UDP, on all of `addresses`.
    pub fn free_on(&mut self, addresses: &[Ipv4Addr]) -> io::Result<u16> {
        let mut rng = seed::rng();
        for _ in 0..TRIES_MAX {
            let port = rng.random_range(LOWEST..self.highest);
            if !self.taken.contains(&port) && addresses.iter().all(|ip| is_free(*ip, port)) {
                self.taken.insert(port);
                return Ok(port);
            }
        }
        Err(io::Error::other("no free port on loopback"))
    }

    /// A port that is free on 127.0.0.1.
    pub fn free(&mut self) -> io::Result<u16> {
        self.free_on(&[Ipv4Addr::LOCALHOST])
    }
}

fn is_free(ip: Ipv4Addr, port: u16) -> bool {
    let at = (IpAddr::V4(ip), port);
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_on_one_of_the_addresses_is_passed_over_and_none_is_given_twice() {
        let mut ports = Ports::new();
        let addresses = [region_address(0), region_address(1)];
        let first = ports.free_on(&addresses).unwrap();
        let _held = TcpListener::bind((region_address(1), first)).unwrap();
        assert!(!is_free(region_address(1), first));
        assert!(is_free(region_address(0), first), "the same port on another address");
        let more: BTreeSet<u16> = (0..50).map(|_| ports.free().unwrap()).collect();
        assert_eq!(more.len(), 50);
        assert!(!more.contains(&first));
    }
}
