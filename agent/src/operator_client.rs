//! Break-glass from the command line: straight to a region's agent, without the core.

use std::time::Duration;

use continuum_control_api::link::{MemberReport, OperatorAnswer, OperatorAsk, pack, unpack};
use continuum_control_api::pb::peer_client::PeerClient;
use continuum_domain::{PairId, RegionId};
use continuum_runtime::net::channel;
use continuum_runtime::{Identity, Role, SharedNetwork};

/// Longest time a fence may take: the stop itself is bounded by the guard's stop budget.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why the agent did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OperatorError {
    /// No answer: whether it was done is not known. Ask again, or look at the member.
    #[error("no answer from the agent at {address}: {reason}; whether it was done is not known")]
    Unanswered {
        /// Address dialled.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The agent says that it could not.
    #[error("the agent could not: {0}")]
    Failed(String),
}

/// Stops the pair's PostgreSQL in `region` and keeps it stopped until unfenced.
pub async fn fence(
    network: &SharedNetwork,
    address: &str,
    region: &RegionId,
    pair: &PairId,
    reason: &str,
) -> Result<(), OperatorError> {
    let ask = OperatorAsk::Fence { pair: pair.clone(), reason: reason.into() };
    done(operate(network, address, region, &ask).await?)
}

/// Takes the fence mark away.
pub async fn unfence(
    network: &SharedNetwork,
    address: &str,
    region: &RegionId,
    pair: &PairId,
    reason: &str,
) -> Result<(), OperatorError> {
    let ask = OperatorAsk::Unfence { pair: pair.clone(), reason: reason.into() };
    done(operate(network, address, region, &ask).await?)
}

/// The member's state as its own agent knows it.
pub async fn show(
    network: &SharedNetwork,
    address: &str,
    region: &RegionId,
    pair: &PairId,
) -> Result<MemberReport, OperatorError> {
    let ask = OperatorAsk::Show { pair: pair.clone() };
    match operate(network, address, region, &ask).await? {
        OperatorAnswer::Member { report } => Ok(*report),
        OperatorAnswer::Failed { reason } => Err(OperatorError::Failed(reason)),
        OperatorAnswer::Done => Err(OperatorError::Failed("an answer without a member".into())),
    }
}

fn done(answer: OperatorAnswer) -> Result<(), OperatorError> {
    match answer {
        OperatorAnswer::Failed { reason } => Err(OperatorError::Failed(reason)),
        OperatorAnswer::Done | OperatorAnswer::Member { .. } => Ok(()),
    }
}

async fn operate(
    network: &SharedNetwork,
    address: &str,
    region: &RegionId,
    ask: &OperatorAsk,
) -> Result<OperatorAnswer, OperatorError> {
    let unanswered = |reason: String| OperatorError::Unanswered { address: address.into(), reason };
    let identity = Identity::new(Role::Region, region.as_str());
    let mut client = PeerClient::new(channel(network, address, &identity));
    let answer = tokio::time::timeout(DEADLINE, client.operate(pack(ask)))
        .await
        .map_err(|_| unanswered(format!("nothing within {DEADLINE:?}")))?
        .map_err(|status| unanswered(status.message().into()))?;
    unpack(&answer.into_inner()).map_err(|error| unanswered(error.to_string()))
}
