//! Asking the agents of other regions.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_control_api::link::{Dialect, PeerAnswer, PeerAsk, unpack};
use continuum_control_api::pb::peer_client::PeerClient;
use continuum_domain::RegionId;
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role, SharedNetwork};
use tonic::transport::Channel;

use crate::config::PeerAddress;

/// Why a peer did not say that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Its host is there and nobody listens.
    Refused,
    /// Nothing came in time, or something else went wrong.
    Silence,
}

/// Channels to the other regions' agents.
#[derive(Clone)]
pub(crate) struct Peers {
    clients: BTreeMap<RegionId, PeerClient<Channel>>,
    dialect: Dialect,
}

impl Peers {
    pub fn new(network: &SharedNetwork, peers: &[PeerAddress], dialect: &Dialect) -> Self {
        let client = |peer: &PeerAddress| {
            let identity = Identity::new(Role::Region, peer.region.as_str());
            PeerClient::new(channel(network, &peer.address, &identity))
        };
        let clients = peers.iter().map(|peer| (peer.region.clone(), client(peer))).collect();
        Self { clients, dialect: dialect.clone() }
    }

    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        self.clients.keys()
    }

    /// Asks one peer whether it lives. Whatever it answers, also that it did not understand, it lives.
    pub async fn beat(
        &self,
        region: &RegionId,
        sequence: u64,
        deadline: Duration,
    ) -> Result<(), NoAnswer> {
        let mut client = self.clients.get(region).cloned().ok_or(NoAnswer::Silence)?;
        let ask = self.dialect.frame(&PeerAsk::Beat { sequence });
        match tokio::time::timeout(deadline, client.ask(ask)).await {
            Ok(Ok(answer)) => match unpack(&answer.into_inner()) {
                Ok(PeerAnswer::Beat { sequence: answered }) if answered != sequence => {
                    Err(NoAnswer::Silence)
                }
                _ => Ok(()),
            },
            Ok(Err(status)) if refused(&status) => Err(NoAnswer::Refused),
            _ => Err(NoAnswer::Silence),
        }
    }

    /// Asks one peer; the error is for people.
    pub async fn ask(
        &self,
        region: &RegionId,
        ask: &PeerAsk,
        deadline: Duration,
    ) -> Result<PeerAnswer, String> {
        let mut client = self
            .clients
            .get(region)
            .cloned()
            .ok_or_else(|| format!("no address of {region} is known"))?;
        let answer = tokio::time::timeout(deadline, client.ask(self.dialect.frame(ask)))
            .await
            .map_err(|_| format!("{region} did not answer within {deadline:?}"))?
            .map_err(|status| format!("{region}: {}", status.message()))?;
        unpack(&answer.into_inner())
            .map_err(|error| format!("the answer of {region} is not understood: {error}"))
    }
}

/// Whether a connection was refused by the peer's host.
fn refused(status: &tonic::Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
