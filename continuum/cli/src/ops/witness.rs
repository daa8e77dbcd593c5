//! `witness init`, `check` and `status`: straight to the acceptors, because the core may be one of
//! them, or down.

use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::net::TlsNetwork;
use continuum_runtime::{BootClock, Clock, SharedNetwork};
use continuum_witness::quorum::{self, Inspection, MARK_KEY, Mark, Phase};
use continuum_witness::{Acceptor, StoreError, probe};

use crate::args::ops::{ClientFlags, WitnessOpsArgs, WitnessVerb};
use crate::config::Variables;
use crate::config::client::ClientConfig;
use crate::failure::{Exit, Failure};
use crate::ops::session::{self, Session};
use crate::ops::witness_replace;
use crate::render;
use crate::render::acceptors::{Row, Told, page, seen_by, told};

/// Deadline of one call to an acceptor.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How long the core may take to say how the agents see the acceptors.
const CORE_DEADLINE: Duration = Duration::from_secs(3);
/// Reads of the mark that a latency is told from.
const SAMPLES: usize = 20;

/// Runs a verb.
pub async fn run(verb: WitnessVerb, variables: &Variables) -> Result<Exit, Failure> {
    match verb {
        WitnessVerb::Serve(_) => Err(Failure::usage("serve is a role")),
        WitnessVerb::Init(args) => init(&members(&args.client, variables)?).await,
        WitnessVerb::Check(args) => check(&acceptors(&args.client, variables)?).await,
        WitnessVerb::Replace(args) => witness_replace::replace(&args, variables).await,
        WitnessVerb::Status(args) => {
            let asked = acceptors(&args.client, variables)?;
            let config = session::configuration(&args.client, variables, false)?;
            let ((mut found, members), told) = tokio::join!(look(&asked), agents(&args, variables));
            for row in &mut found {
                let seen = |told| seen_by(told, &row.acceptor);
                row.seen_by = told.as_ref().ok().map(seen);
            }
            let unheard = told.as_ref().err().map(String::as_str);
            render::show(config.output, &found, || page(&found, members, unheard))?;
            let up = found.iter().filter(|row| row.problem.is_none()).count();
            Ok(if up > members / 2 { Exit::Done } else { Exit::Failed })
        }
    }
}

/// All acceptors of the configuration.
fn acceptors(client: &ClientFlags, variables: &Variables) -> Result<Vec<Acceptor>, Failure> {
    let (config, network) = configured(client, variables)?;
    let network: SharedNetwork = network;
    Ok(config.witness.unwrap_or_default().acceptors(&network, DEADLINE))
}

/// Those that are not on standby.
fn members(client: &ClientFlags, variables: &Variables) -> Result<Vec<Acceptor>, Failure> {
    let (config, network) = configured(client, variables)?;
    let network: SharedNetwork = network;
    let access = config.witness.unwrap_or_default();
    let mut acceptors = access.acceptors(&network, DEADLINE);
    acceptors.retain(|acceptor| access.members().any(|member| member.name() == acceptor.name));
    Ok(acceptors)
}

pub(super) fn configured(
    client: &ClientFlags,
    variables: &Variables,
) -> Result<(ClientConfig, Arc<TlsNetwork>), Failure> {
    let config = session::configuration(client, variables, false)?;
    if config.witness.as_ref().is_none_or(|access| access.acceptor.is_empty()) {
        return Err(Failure::usage(
            "the client configuration lists no [[witness.acceptor]]; give the same ones as the agents'",
        ));
    }
    let network = TlsNetwork::load(config.certificate()?)
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok((config, Arc::new(network)))
}

async fn init(acceptors: &[Acceptor]) -> Result<Exit, Failure> {
    let members = quorum::found(acceptors)
        .await
        .map_err(|error| Failure::new(Exit::Failed, format!("not founded: {error}")))?;
    for (name, incarnation) in members {
        render::line(&format!("{name}  founded, incarnation {incarnation}"))?;
    }
    Ok(Exit::Done)
}

async fn check(acceptors: &[Acceptor]) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for Acceptor { name, store } in acceptors {
        match probe::run(store.clone()).await {
            Ok(steps) => render::line(&format!("{name}  passed: {}", steps.join("; ")))?,
            Err(error) => {
                exit = Exit::Failed;
                render::line(&format!("{name}  FAILED: {error}"))?;
            }
        }
    }
    Ok(exit)
}

/// How the agents see the acceptors, as the core tells it; or why it does not. The core may be down,
/// and one of the acceptors: nothing waits for it.
async fn agents(args: &WitnessOpsArgs, variables: &Variables) -> Result<Told, String> {
    let session =
        Session::open(&args.client, variables).map_err(|failure| failure.what.join("; "))?;
    match tokio::time::timeout(CORE_DEADLINE, session.api.status()).await {
        Ok(Ok(status)) => Ok(told(&status.pairs)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the control core did not answer within {CORE_DEADLINE:?}")),
    }
}

/// A look at each of them, and how many acceptors there are by the newest mark; those listed while
/// there is none.
async fn look(acceptors: &[Acceptor]) -> (Vec<Row>, usize) {
    let mut seen = Vec::new();
    for acceptor in acceptors {
        let inspection = quorum::inspect(acceptor).await;
        let times = match &inspection {
            Ok(_) => latencies(acceptor).await,
            Err(_) => Vec::new(),
        };
        seen.push((acceptor, inspection, times));
    }
    let marks = seen.iter().filter_map(|(_, found, _)| found.as_ref().ok()?.mark.clone());
    // Who is only prepared says nothing of who is in use.
    let marks = marks.filter(|mark| mark.phase != Phase::Founding);
    let of = marks.max_by_key(|mark| mark.now.generation);
    let members = of.as_ref().map_or(acceptors.len(), |of| of.now.members.len());
    let rows = seen.into_iter();
    let row =
        |(acceptor, found, times): (_, _, Vec<u64>)| row(acceptor, found, &times, of.as_ref());
    (rows.map(row).collect(), members)
}

async fn latencies(acceptor: &Acceptor) -> Vec<u64> {
    let mut times = Vec::new();
    for _sample in 0..SAMPLES {
        let before = BootClock.now();
        if acceptor.store.get(MARK_KEY).await.is_ok() {
            let took = before.until(BootClock.now());
            times.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
    times.sort_unstable();
    times
}

/// `of`: the quorum that all are to be parts of.
fn row(
    acceptor: &Acceptor,
    found: Result<Inspection, StoreError>,
    times: &[u64],
    of: Option<&Mark>,
) -> Row {
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().max(1) - 1));
    let mut row = Row {
        acceptor: acceptor.name.clone(),
        member: true,
        problem: None,
        generation: None,
        incarnation: None,
        registers: None,
        ballot: None,
        p50_us: at(50).copied(),
        p99_us: at(99).copied(),
        seen_by: None,
    };
    row.member = of.is_none_or(|of| of.now.members.contains_key(&acceptor.name));
    match found {
        _ if !row.member => row.problem = Some("it is not one of the acceptors".to_owned()),
        Err(error) => row.problem = Some(error.to_string()),
        Ok(Inspection { mark: None, .. }) => {
            row.problem =
                Some("not founded, or it has lost its state: it does not count".to_owned());
        }
        Ok(Inspection { mark: Some(mark), registers }) => {
            if of.is_none_or(|of| !mark.serves(&acceptor.name, of)) {
                row.problem = Some(format!(
                    "the store is acceptor {} of {:?}, {:?}",
                    mark.acceptor,
                    mark.now.members.keys(),
                    mark.phase
                ));
            }
            row.generation = Some(mark.now.generation);
            row.incarnation = mark.now.members.get(&acceptor.name).cloned();
            row.ballot = registers.iter().map(|(_, ballot)| ballot.round).max();
            row.registers = Some(registers.len());
        }
    }
    row
}
