//! Asking the agents of other regions.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_control_api::link::{PeerAnswer, PeerAsk, pack, unpack};
use continuum_control_api::pb::peer_client::PeerClient;
use continuum_domain::RegionId;
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role, SharedNetwork};
use tonic::transport::Channel;

use crate::config::PeerAddress;

/// Channels to the other regions' agents.
#[derive(Clone)]
pub(crate) struct Peers(BTreeMap<RegionId, PeerClient<Channel>>);

impl Peers {
    pub fn new(network: &SharedNetwork, peers: &[PeerAddress]) -> Self {
        let client = |peer: &PeerAddress| {
            let identity = Identity::new(Role::Region, peer.region.as_str());
            PeerClient::new(channel(network, &peer.address, &identity))
        };
        Self(peers.iter().map(|peer| (peer.region.clone(), client(peer))).collect())
    }

    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        self.0.keys()
    }

    /// Asks one peer; the error is for people.
    pub async fn ask(
        &self,
        region: &RegionId,
        ask: &PeerAsk,
        deadline: Duration,
    ) -> Result<PeerAnswer, String> {
        let mut client = self
            .0
            .get(region)
            .cloned()
            .ok_or_else(|| format!("no address of {region} is known"))?;
        let answer = tokio::time::timeout(deadline, client.ask(pack(ask)))
            .await
            .map_err(|_| format!("{region} did not answer within {deadline:?}"))?
            .map_err(|status| format!("{region}: {}", status.message()))?;
        unpack(&answer.into_inner()).map_err(|error| format!("{region} answered nonsense: {error}"))
    }
}
