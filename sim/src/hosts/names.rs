//! The name server: the product's service, asked over the simulated network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use continuum_dns::config::{DnsConfig, NameConfig};
use continuum_dns::embedded::EmbeddedNames;
use continuum_dns::server::serve_names;
use continuum_dns::zone::Question;
use continuum_domain::RegionId;
use continuum_runtime::{Role, seed};
use hickory_proto::rr::{Name, RData, RecordType};
use turmoil::net::UdpSocket;

use super::{DNS_PORT, Host, PAIR_NAME, RPC_PORT, listen_on, pair};
use crate::plan::REGIONS;

/// How long an answer may be kept.
pub const TTL: Duration = Duration::from_secs(1);
/// What is known counts as unknown when older; the product's default.
pub const MAX_AGE: Duration = Duration::from_secs(2);
/// Time between two looks at the register; the product's default.
pub const POLL: Duration = Duration::from_millis(100);

/// The address that stands for a region in answers.
fn address(region: &str) -> Option<IpAddr> {
    let index = REGIONS.iter().position(|name| *name == region)?;
    Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(index).ok()?)))
}

/// The region an answer means.
fn region_of(address: Ipv4Addr) -> Option<&'static str> {
    REGIONS.get(usize::from(address.octets()[3])).copied()
}

pub(super) async fn run(host: &Host) -> Result<(), String> {
    let network = host.network(Role::Dns);
    let deadline = MAX_AGE / 2;
    let config = config(host);
    let store = host.witness(&network, Role::Dns, deadline);
    let names = EmbeddedNames::new(&config, Vec::new(), store, host.shared_clock())
        .map_err(|error| error.to_string())?;
    let rpc = network.listen(&listen_on(RPC_PORT)).await.map_err(|error| error.to_string())?;
    seed::spawn(answer(names.clone()));
    let served = serve_names(names, rpc, std::future::pending()).await;
    served.map_err(|error| error.to_string())
}

fn config(host: &Host) -> DnsConfig {
    let regions = host.shared.plan.region_names();
    let addresses: BTreeMap<RegionId, Vec<IpAddr>> = regions
        .iter()
        .filter_map(|name| Some((RegionId::new(name).ok()?, vec![address(name)?])))
        .collect();
    DnsConfig {
        name: host.name.clone(),
        listen_dns: listen_on(DNS_PORT),
        listen_rpc: listen_on(RPC_PORT),
        zone: "sim.test.".into(),
        names: vec![NameConfig::plain(PAIR_NAME, pair(), TTL, addresses)],
        poll: POLL,
        max_age: MAX_AGE,
        edition: 0,
        name_servers: Vec::new(),
        secondaries: Vec::new(),
        expire: MAX_AGE,
    }
}

/// Answers questions: a number comes in, the number and a region, or nothing, go out. What stands
/// at the name is asked of the product.
async fn answer(names: Arc<EmbeddedNames>) {
    let socket = UdpSocket::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), DNS_PORT)).await;
    let Ok(socket) = socket else { return };
    let question = Question {
        name: Name::from_str(PAIR_NAME).expect("a valid name"),
        record_type: RecordType::A,
    };
    let mut buffer = [0; 64];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let number = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let region = names.answer(&question).answers.iter().find_map(|record| match &record.data {
            RData::A(address) => region_of(address.0),
            _ => None,
        });
        let text = format!("{number} {}", region.unwrap_or("-"));
        if socket.send_to(text.as_bytes(), from).await.is_err() {
            return;
        }
    }
}
