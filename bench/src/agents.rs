//! Agents that report their members once a second, and do nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_control::config::Peer;
use continuum_control_api::link::{self, FromAgent, MemberReport, MemberRole};
use continuum_control_api::pb::agent_link_client::AgentLinkClient;
use continuum_domain::{DataDirectoryId, Epoch, PairId, PairRecord, RegionId, Version};
use continuum_runtime::net::{SharedNetwork, TlsFiles, TlsNetwork, channel};
use continuum_runtime::{Identity, Role, seed};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::Failure;

const REPORT: Duration = Duration::from_secs(1);
/// Largest message in either direction, as at the nodes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Starts a region's agent; it finds the leader by itself. `fsn` holds all pairs.
pub fn start(
    region: RegionId,
    files: &TlsFiles,
    peers: Vec<Peer>,
    pairs: Vec<PairId>,
) -> Result<(), Failure> {
    let network: SharedNetwork = Arc::new(TlsNetwork::load(files)?);
    let report = report(&region)?;
    let members: BTreeMap<_, _> = pairs.into_iter().map(|pair| (pair, report.clone())).collect();
    seed::spawn(async move {
        for peer in peers.iter().cycle() {
            // It ends when the node does not lead, or not any more.
            let _ended = follow(&network, peer, &region, &members).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Ok(())
}

async fn follow(
    network: &SharedNetwork,
    peer: &Peer,
    region: &RegionId,
    members: &BTreeMap<PairId, MemberReport>,
) -> Result<(), Failure> {
    let identity = Identity::new(Role::Core, &peer.name);
    let mut client = AgentLinkClient::new(channel(network, &peer.address, &identity))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (outbound, frames) = tokio::sync::mpsc::channel(4);
    let hello =
        FromAgent::Hello { region: region.clone(), version: "bench".into(), journal_seq: 0 };
    outbound.send(link::pack(&hello)).await?;
    let mut inbound = client.connect(ReceiverStream::new(frames)).await?.into_inner();
    let mut ticks = tokio::time::interval(REPORT);
    loop {
        tokio::select! {
            message = inbound.next() => drop(message.ok_or("ended")??),
            _ = ticks.tick() => {
                let report = FromAgent::Report {
                    members: members.clone(),
                    not_understood: BTreeMap::new(),
                    acceptors: None,
                    traffic: None,
                };
                outbound.send(link::pack(&report)).await?;
            }
        }
    }
}

fn report(region: &RegionId) -> Result<MemberReport, Failure> {
    let regions: [RegionId; 2] = ["fsn".parse()?, "hel".parse()?];
    let disk = |region: &RegionId| format!("d-{region}").parse::<DataDirectoryId>();
    let in_sync = regions.iter().map(|one| Ok((one.clone(), disk(one)?)));
    let holder = regions[0].clone();
    let is_holder = *region == holder;
    let record = PairRecord {
        epoch: Epoch(1),
        holder: Some(holder),
        in_sync: in_sync.collect::<Result<_, Failure>>()?,
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    };
    Ok(MemberReport {
        role: if is_holder { MemberRole::Primary } else { MemberRole::Standby },
        record: Some((Version(1), record, 100)),
        lease_remaining_ms: is_holder.then_some(8_000),
        session_remaining_ms: Some(8_000),
        data_directory: Some(disk(region)?),
        sql: None,
        sql_failed: None,
        write_probe_age_ms: Some(100),
        fenced: None,
        blocked: None,
        guard_alive: true,
        witness_reachable: true,
        spec_version: 1,
        takeover_refusals: None,
        peers: BTreeMap::new(),
        names: None,
        hindrances: Vec::new(),
        against_leaving: Vec::new(),
        backups: None,
        role_writes: None,
    })
}
