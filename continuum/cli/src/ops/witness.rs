//! `witness init`, `check`, `status` and `replace`: straight to the acceptors, because the core may be one of
//! them, or down.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::net::TlsNetwork;
use continuum_runtime::{BootClock, Clock, SharedNetwork};
use continuum_witness::quorum::{self, Inspection, MARK_KEY, Mark, Step};
use continuum_witness::{Acceptor, StoreError, probe};
use serde::Serialize;

use crate::args::ops::{ClientFlags, WitnessReplaceArgs, WitnessVerb};
use crate::config::Variables;
use crate::config::client::ClientConfig;
use crate::failure::{Exit, Failure};
use crate::ops::session;
use crate::render;
use crate::render::text;

/// Deadline of one call to an acceptor.
const DEADLINE: Duration = Duration::from_secs(5);
/// Reads of the mark that a latency is told from.
const SAMPLES: usize = 20;

/// Runs a verb.
pub async fn run(verb: WitnessVerb, variables: &Variables) -> Result<Exit, Failure> {
    match verb {
        WitnessVerb::Serve(_) => Err(Failure::usage("serve is a role")),
        WitnessVerb::Init(args) => init(&members(&args.client, variables)?).await,
        WitnessVerb::Check(args) => check(&acceptors(&args.client, variables)?).await,
        WitnessVerb::Replace(args) => replace(&args, variables).await,
        WitnessVerb::Status(args) => {
            let found = look(&acceptors(&args.client, variables)?).await;
            let config = session::configuration(&args.client, variables, false)?;
            render::show(config.output, &found, || told(&found))?;
            let up = found.iter().filter(|row| row.problem.is_none()).count();
            Ok(if up > found.len() / 2 { Exit::Done } else { Exit::Failed })
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

fn configured(
    client: &ClientFlags,
    variables: &Variables,
) -> Result<(ClientConfig, Arc<TlsNetwork>), Failure> {
    let config = session::configuration(client, variables, false)?;
    if config.witness.as_ref().is_none_or(|access| access.acceptor.is_empty()) {
        return Err(Failure::usage(
            "the client configuration lists no [[witness.acceptor]]; give the same ones as the agents'",
        ));
    }
    let network =
        TlsNetwork::load(&config.tls).map_err(|error| Failure::usage(error.to_string()))?;
    Ok((config, Arc::new(network)))
}

async fn replace(args: &WitnessReplaceArgs, variables: &Variables) -> Result<Exit, Failure> {
    let (config, network) = configured(&args.client, variables)?;
    let me = config.tls.identity().map_err(|error| Failure::usage(error.to_string()))?;
    let access = config.witness.unwrap_or_default();
    let network: SharedNetwork = network;
    let acceptors = access.acceptors(&network, DEADLINE);
    let failed = |error: String| Failure::new(Exit::Failed, error);
    // A store that accepts a conflicting write must not come to hold what decides who writes.
    if let Some(new) = acceptors.iter().find(|acceptor| acceptor.name == args.new) {
        let passed = probe::run(new.store.clone()).await;
        passed.map_err(|error| failed(format!("{} failed its test: {error}", args.new)))?;
    }
    let mut shown = Ok(());
    let mut tell = |step: Step| {
        if let Some(text) = step_text(&step)
            && shown.is_ok()
        {
            shown = render::line(&text);
        }
    };
    let names = (args.old.as_str(), args.new.as_str());
    let done = quorum::replace(&acceptors, names, (&me, DEADLINE), &mut tell).await;
    shown?;
    let done = done.map_err(|error| failed(format!("not replaced: {error}")))?;
    render::line(&format!(
        "done: generation {}, acceptors {}; {} registers, {} of them carried over here and the others \
         by their users; {} old cells left",
        done.now.generation,
        done.now.names(),
        done.registers,
        done.carried,
        done.left
    ))?;
    Ok(Exit::Done)
}

fn step_text(step: &Step) -> Option<String> {
    Some(match step {
        Step::Decided(now) => {
            format!("decided: generation {}, acceptors {}", now.generation, now.names())
        }
        Step::Marked => "marked: no register is made in the generation before any more".into(),
        Step::Carried(done, of) if done == of || done % 100 == 0 => {
            format!("carried over: {done} of {of} registers")
        }
        Step::Carried(..) => return None,
        Step::Opened => "opened: nothing is left to carry over".into(),
    })
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

/// One acceptor, as it is shown.
#[derive(Clone, Debug, Serialize)]
struct Row {
    acceptor: String,
    /// Why it does not count now; absent when it does.
    problem: Option<String>,
    generation: Option<u64>,
    incarnation: Option<String>,
    registers: Option<usize>,
    /// Newest ballot over all registers.
    ballot: Option<u64>,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
}

async fn look(acceptors: &[Acceptor]) -> Vec<Row> {
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
    let of = marks.max_by_key(|mark| mark.now.generation);
    let rows = seen.into_iter();
    rows.map(|(acceptor, found, times)| row(acceptor, found, &times, of.as_ref())).collect()
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
        problem: None,
        generation: None,
        incarnation: None,
        registers: None,
        ballot: None,
        p50_us: at(50).copied(),
        p99_us: at(99).copied(),
    };
    match found {
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

fn told(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let state = match &row.problem {
            Some(problem) => format!("does not count: {problem}"),
            None => format!(
                "counts; generation {}, incarnation {}, {} registers, newest ballot {}, read p50 {} \
                 p99 {}",
                text::or_unknown(row.generation),
                text::or_unknown(row.incarnation.as_deref()),
                text::or_unknown(row.registers),
                text::or_unknown(row.ballot),
                text::or_unknown(row.p50_us.map(text::took)),
                text::or_unknown(row.p99_us.map(text::took)),
            ),
        };
        writeln!(out, "{}  {state}", row.acceptor).expect("a string takes all");
    }
    let up = rows.iter().filter(|row| row.problem.is_none()).count();
    let verdict = if up > rows.len() / 2 { "a majority" } else { "NO MAJORITY" };
    write!(out, "{up} of {} acceptors count: {verdict}", rows.len()).expect("a string takes all");
    out
}
