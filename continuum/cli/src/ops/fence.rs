//! `fence` and `unfence`: straight to the agent, because the core may be down.

use std::sync::Arc;

use continuum_agent::operator_client::{self, OperatorError};
use continuum_runtime::SharedNetwork;
use continuum_runtime::net::TlsNetwork;

use crate::args::ops::FenceArgs;
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session;
use crate::render;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop the member and keep it stopped.
    Fence,
    /// Take the mark away.
    Unfence,
}

/// Tells the agent.
pub async fn run(args: FenceArgs, order: Order, variables: &Variables) -> Result<Exit, Failure> {
    let config = session::configuration(&args.client, variables, false)?;
    let network = TlsNetwork::load(config.certificate()?)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let network: SharedNetwork = Arc::new(network);
    let FenceArgs { pair, agent, region, reason, .. } = &args;
    let asked = async {
        match order {
            Order::Fence => operator_client::fence(&network, agent, region, pair, reason).await,
            Order::Unfence => operator_client::unfence(&network, agent, region, pair, reason).await,
        }
    };
    match tokio::time::timeout(config.timeout, asked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(told(&error, order)),
        Err(_) => return Err(unanswered(format!("no answer from the agent at {agent}"), order)),
    }
    render::line(&match order {
        Order::Fence => format!("{pair} in {region} is stopped and stays so until unfence"),
        Order::Unfence => format!("{pair} in {region} may run again, under the lease as always"),
    })?;
    Ok(Exit::Done)
}

fn told(error: &OperatorError, order: Order) -> Failure {
    match error {
        OperatorError::Unanswered { .. } => unanswered(error.to_string(), order),
        OperatorError::Failed(_) => Failure::new(Exit::Failed, error.to_string())
            .meaning(match order {
                Order::Fence => "the member may still accept writes, as far as its lease allows",
                Order::Unfence => "the mark stands; the member stays stopped",
            })
            .next("see the agent's and the guard's log"),
    }
}

fn unanswered(what: String, order: Order) -> Failure {
    Failure::new(Exit::Unknown, what)
        .meaning(match order {
            Order::Fence => {
                "whether the member is stopped is not known; an agent that is dead cannot renew \
                 its lease, and its guard stops PostgreSQL by the deadline"
            }
            Order::Unfence => "whether the mark is gone is not known; nothing runs without a lease",
        })
        .next("ask again, or look at the member's host")
}
