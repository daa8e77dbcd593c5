//! Regions killed and hot switchovers, many times in a row.

use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_chaos::ledger::{Move, write_gap};
use continuum_domain::operation::{Method, OperationState, Step};

use crate::stand::{self, Run, WHOLE_LIMIT, WRITE_LIMIT};

/// How long a planned move may take, the old primary's rejoin included.
const OPERATION_LIMIT: Duration = Duration::from_secs(120);

/// How clients find the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    /// By its name, as DNS answers it.
    ByName,
    /// They keep a connection to each member.
    Direct,
}

pub async fn run(kills: usize, hot: usize) -> Result<(String, bool), Error> {
    let mut table = String::from(
        "| what, ttl 10 s | runs | write gap, s (lowest / median / highest) | acknowledged | lost |\n\
         |---|---|---|---|---|\n",
    );
    let mut held = true;
    if kills > 0 {
        let runs = killed(kills).await?;
        held &= runs.iter().all(|run| run.violations.is_empty() && run.moved);
        table.push_str(&line("region killed (SIGKILL), ledger takeover", &runs));
    }
    if hot > 0 {
        for clients in [Clients::Direct, Clients::ByName] {
            let (row, good) = hot_moves(hot, clients).await?;
            held &= good;
            table.push_str(&row);
        }
    }
    Ok((table, held))
}

fn line(what: &str, runs: &[Run]) -> String {
    let gaps = stand::spread(runs.iter().map(|run| run.gap).collect());
    let acknowledged: u64 = runs.iter().map(|run| run.acknowledged).sum();
    let lost: usize = runs.iter().map(|run| run.lost).sum();
    format!("| {what} | {} | {gaps} | {acknowledged} | {lost} |\n", runs.len())
}

/// The primary's region is killed again and again, each time wherever it is.
async fn killed(runs: usize) -> Result<Vec<Run>, Error> {
    let mut lab = Lab::start(stand::options(false)).await?;
    let mut out = Vec::new();
    for number in 1..=runs {
        let (holder, other, before) = stand::write_everywhere(&mut lab).await?;
        let at = lab.clock.now();
        lab.kill_region(&holder).await?;
        lab.wait_acknowledged(Some(lab.address(&other)?), WRITE_LIMIT).await?;
        lab.wait_moved(before, WRITE_LIMIT).await?;
        lab.start_region(&holder).await?;
        lab.wait_healthy(WHOLE_LIMIT).await?;
        stand::undisturbed().await;
        let what = format!("kill {number}");
        out.push(stand::judge(&mut lab, &what, (&holder, &other), at).await?);
    }
    lab.stop().await?;
    Ok(out)
}

/// Back and forth, the old primary alive each time.
async fn hot_moves(rounds: usize, clients: Clients) -> Result<(String, bool), Error> {
    let mut lab = Lab::start(stand::options(false)).await?;
    let followers = if clients == Clients::ByName { stand::WRITERS } else { 0 };
    lab.start_workload(followers).await?;
    if clients == Clients::Direct {
        let regions = lab.options.regions.clone();
        let members = regions.iter().map(|region| lab.address(region));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        for _ in 0..stand::WRITERS {
            lab.workload()?.direct(members.clone());
        }
    }
    lab.wait_acknowledged(None, WRITE_LIMIT).await?;
    let (mut moves, mut rewound, mut copied) = (Vec::new(), 0, 0);
    for number in 1..=rounds {
        let (holder, other, _) = stand::sides(&lab.wait_healthy(WHOLE_LIMIT).await?)?;
        lab.wait_hot(&other, OPERATION_LIMIT).await?;
        stand::undisturbed().await;
        let at = lab.clock.now();
        let accepted = lab.switchover(&other, Some(Method::Hot), "a study").await?;
        let operation = lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
        if operation.state != OperationState::Done {
            return Err(Error::Options(format!("hot move {number}: {operation:?}")));
        }
        let rejoined = operation.steps.iter().rev().find(|line| line.step == Step::Rejoin);
        let how = rejoined.map_or("?", |line| line.detail.as_str());
        rewound += usize::from(how.contains("rewound"));
        copied += usize::from(how.contains("cloned"));
        eprintln!("hot move {number}, {clients:?}: {holder} -> {other}, {how}");
        moves.push(Move { at, from: lab.address(&holder)?, to: lab.address(&other)? });
    }
    lab.wait_healthy(WHOLE_LIMIT).await?;
    stand::undisturbed().await;
    let judged = lab.judge(&moves, None).await?;
    lab.stop().await?;
    let gaps: Option<Vec<Duration>> = moves
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let until = moves.get(index + 1).map(|next| next.at);
            write_gap(&judged.attempts, step.at, until).map(|gap| gap.length())
        })
        .collect();
    let violations = judged.verdict.violations();
    for violation in &violations {
        eprintln!("BROKEN  hot moves, {clients:?}: {violation}");
    }
    let held = violations.is_empty() && gaps.is_some() && copied == 0;
    let who = match clients {
        Clients::ByName => "clients by name",
        Clients::Direct => "clients connected to both members",
    };
    let tally = &judged.verdict.tally;
    let row = format!(
        "| hot switchover, {who}; {rewound} rejoined by rewind, {copied} by a new clone | {rounds} | {} | {} | {} |\n",
        stand::spread(gaps.unwrap_or_default()),
        tally.acknowledged,
        tally.lost.len(),
    );
    Ok((row, held))
}
