//! `continuum lab`: a pair that is moved on purpose, loses a region, and becomes whole again.

use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::rest::PairView;
use continuum_domain::operation::{Method, Operation, OperationState};
use continuum_domain::spec::Takeover;
use continuum_domain::{Epoch, OperationId, RegionId};
use continuum_runtime::{BootClock, Identity, Role, SharedClock, durable};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{LabArgs, LabNames, LabOptions, LabWitness};
use crate::history::Attempt;
use crate::judge::Judged;
use crate::lab::{Error, Lab};
use crate::layout::NAME;
use crate::progress::{self, Progress};
use crate::report::{self, Event, Evidence, LabReport};
use crate::stall::{self, StallReport};

/// All invariants held and everything happened.
pub const EXIT_HELD: u8 = 0;
/// An invariant broke, or something did not happen.
pub const EXIT_FAILED: u8 = 1;
/// It was asked for something that cannot be run; nothing was started.
pub const EXIT_USAGE: u8 = 2;
/// Interrupted by a signal.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Writes go on for this long before and between events, so that there is something to lose.
const UNDISTURBED: Duration = Duration::from_secs(3);
/// With poolers: how often the pair goes there and back by each method.
const POOLED_ROUNDS: usize = 3;
/// How long a planned move may take, redundancy restored.
const MOVE_LIMIT: Duration = Duration::from_secs(60);
/// How long a rejoin may take, with a rewind or a new clone.
const REJOIN_LIMIT: Duration = Duration::from_secs(120);
/// Shortest pause in writes worth a line while the lab stays.
const NOTABLE_GAP: Duration = Duration::from_millis(250);
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the lab from start to end and returns the exit code. Whatever happens, nothing is left.
pub async fn run(args: LabArgs) -> u8 {
    let options = LabOptions::from_args(&args);
    if let Err(problem) = options.check() {
        eprintln!("{problem}");
        return EXIT_USAGE;
    }
    let clock: SharedClock = Arc::new(BootClock);
    let progress = Progress::new(clock);
    let witness = match options.witness {
        LabWitness::Server => "a witness",
        LabWitness::Servers => "two witness servers",
        LabWitness::ObjectStore => "a witness server, an object store",
    };
    let names = match options.names {
        LabNames::Embedded => "a name server",
        LabNames::PowerDns | LabNames::PowerDnsFollow => "a PowerDNS",
        LabNames::Bind => "a BIND",
        LabNames::HiddenPrimary => "a name server and a Knot that transfers from it",
        LabNames::Everywhere => {
            "a name server and a Knot that transfers from it, a BIND, a PowerDNS"
        }
    };
    progress.line(&format!(
        "starting 3 control nodes, {witness}, {names}, and per region a guard and an agent"
    ));
    let started = tokio::select! {
        started = Lab::start(options) => started,
        () = interrupted() => return interrupted_exit(),
    };
    let mut lab = match started {
        Ok(lab) => lab,
        Err(error) => return failed(&error),
    };
    let mut code = tokio::select! {
        result = scenario(&mut lab, &args, &progress) => match result {
            Ok(true) => EXIT_HELD,
            Ok(false) => EXIT_FAILED,
            Err(error) => {
                show_blocked(&lab, &progress).await;
                failed(&error)
            }
        },
        () = interrupted() => interrupted_exit(),
    };
    if args.stay && code != EXIT_INTERRUPTED {
        // A signal is how a stay is meant to end: the exit code is the scenario's.
        tokio::select! {
            Err(error) = stay(&mut lab, &args, &progress) => code = failed(&error),
            () = interrupted() => progress.line("stopping everything"),
        }
    }
    match lab.stop().await {
        Ok(()) => code,
        Err(error) => failed(&error).max(code),
    }
}

fn failed(error: &Error) -> u8 {
    eprintln!("the lab failed: {error}");
    EXIT_FAILED
}

fn interrupted_exit() -> u8 {
    eprintln!("interrupted; stopping everything");
    EXIT_INTERRUPTED
}

async fn interrupted() {
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

/// What the pair looked like when something did not happen.
async fn show_blocked(lab: &Lab, progress: &Progress) {
    match lab.pair().await {
        Ok(view) => {
            let text = serde_json::to_string_pretty(&view);
            progress.line(&format!("the pair at that time: {}", text.unwrap_or_default()));
        }
        Err(error) => progress.line(&format!("the pair at that time is unknown: {error}")),
    }
}

async fn scenario(lab: &mut Lab, args: &LabArgs, progress: &Progress) -> Result<bool, Error> {
    let home = lab.options.regions.first().cloned();
    let away = lab.options.regions.get(1).cloned();
    let (Some(home), Some(away)) = (home, away) else {
        return Err(Error::Options("two regions are needed".into()));
    };
    progress.line(&format!(
        "the pair is whole: {home} is primary; files are in {}",
        lab.layout.directory.display()
    ));
    lab.start_workload(args.writers).await?;
    lab.wait_acknowledged(None, MOVE_LIMIT).await?;
    progress.line(&format!("{} writers write through {NAME}", args.writers));
    tokio::time::sleep(UNDISTURBED).await;
    let pooled = pooled_moves(lab, &home, &away, progress).await?;
    let mut events: Vec<Event> = pooled.iter().map(|(_, event)| event.clone()).collect();
    events.push(planned_move(lab, (&home, &away), None, progress).await?);
    tokio::time::sleep(UNDISTURBED).await;
    events.push(lost_region(lab, &away, &home, progress).await?);
    tokio::time::sleep(UNDISTURBED).await;
    let methods: Vec<Method> = pooled.iter().map(|(method, _)| *method).collect();
    let report = judge(lab, args, &events, &methods).await?;
    progress::print(&format!("\n{}", report::table(&report)));
    if let Some(file) = &args.json {
        durable::write_json(file, &report)
            .map_err(|reason| Error::Environment { what: "the report's file", reason })?;
    }
    Ok(report.passed())
}

/// In a lab with poolers: there and back several times by each method, for what clients see of it.
async fn pooled_moves(
    lab: &Lab,
    home: &RegionId,
    away: &RegionId,
    progress: &Progress,
) -> Result<Vec<(Method, Event)>, Error> {
    let mut moves = Vec::new();
    let rounds = if lab.options.pooler { POOLED_ROUNDS } else { 0 };
    for method in [Method::Clean, Method::Hot] {
        let possible = method == Method::Clean || lab.options.durability.is_synchronous();
        for _ in (0..rounds).filter(|_| possible) {
            for route in [(home, away), (away, home)] {
                moves.push((method, planned_move(lab, route, Some(method), progress).await?));
                tokio::time::sleep(UNDISTURBED).await;
            }
        }
    }
    Ok(moves)
}

/// (1) A planned switchover through the API; without a method, by the one that the lab is to show.
async fn planned_move(
    lab: &Lab,
    (from, to): (&RegionId, &RegionId),
    method: Option<Method>,
    progress: &Progress,
) -> Result<Event, Error> {
    if method == Some(Method::Hot) {
        lab.wait_hot(to, MOVE_LIMIT).await?;
    }
    progress.line(&format!("switchover {from} -> {to} asked for through the API"));
    let (at, wall_ms) = (lab.clock.now(), lab.clock.wall_ms());
    // Hot where the lab shows what the ledger makes possible, else by the steps of every durability.
    let method = method.or((lab.options.takeover == Takeover::Ttl).then_some(Method::Clean));
    let operation = lab.switchover(to, method, "the lab's planned move").await?;
    let operation = follow(lab, &operation.id, MOVE_LIMIT, progress).await?;
    require_done(&operation)?;
    let view = lab.wait_healthy(MOVE_LIMIT).await?;
    let whole = lab.clock.now();
    progress.line(&format!("{to} is primary under epoch {}, the pair is whole", epoch(&view)));
    Ok(Event {
        what: format!("switchover {from} -> {to}"),
        at,
        wall_ms,
        from: from.clone(),
        to: to.clone(),
        operation: Some(operation),
        whole: Some(whole),
    })
}

/// (2) to (4) A region dies, the other takes over by itself, and the dead one comes back.
async fn lost_region(
    lab: &mut Lab,
    lost: &RegionId,
    survivor: &RegionId,
    progress: &Progress,
) -> Result<Event, Error> {
    let before = epoch(&lab.pair().await?);
    let limit = lab.options.ttl * 2 + MOVE_LIMIT;
    progress.line(&format!("SIGKILL of all of {lost}: agent, guard, PostgreSQL"));
    let (at, wall_ms) = (lab.clock.now(), lab.clock.wall_ms());
    lab.kill_region(lost).await?;
    let survivors_address = lab.address(survivor)?;
    lab.wait_acknowledged(Some(survivors_address), limit).await?;
    let silence = lab.clock.now().since(at);
    progress.line(&format!(
        "{survivor} took over by itself; writes go on {:.1} s after the kill",
        silence.as_secs_f64()
    ));
    let view = lab.wait_moved(before, limit).await?;
    let operation = lab.failover_after(before, limit).await?;
    progress.steps(&operation);
    progress.line(&format!("epoch {}; starting guard and agent of {lost} again", epoch(&view)));
    lab.start_region(lost).await?;
    let operation = follow(lab, &operation.id, REJOIN_LIMIT, progress).await?;
    require_done(&operation)?;
    lab.wait_healthy(REJOIN_LIMIT).await?;
    let whole = lab.clock.now();
    progress.line(&format!("{lost} streams from {survivor} and is in the ledger again"));
    Ok(Event {
        what: format!("region {lost} killed"),
        at,
        wall_ms,
        from: lost.clone(),
        to: survivor.clone(),
        operation: Some(operation),
        whole: Some(whole),
    })
}

fn epoch(view: &PairView) -> Epoch {
    view.epoch.unwrap_or_default()
}

fn require_done(operation: &Operation) -> Result<(), Error> {
    match &operation.state {
        OperationState::Done => Ok(()),
        other => Err(Error::Options(format!("operation {} ended as {other:?}", operation.id))),
    }
}

/// Waits for an operation's end and prints its steps as they are journalled.
async fn follow(
    lab: &Lab,
    id: &OperationId,
    limit: Duration,
    progress: &Progress,
) -> Result<Operation, Error> {
    lab.until(&format!("the end of operation {id}"), limit, async || {
        let operation = lab.api().operation(id).await.map_err(|error| error.to_string())?;
        progress.steps(&operation);
        let state = &operation.state;
        if state.is_final() { Ok(operation) } else { Err(format!("it is {state:?}")) }
    })
    .await
}

/// Stops the writers and judges the whole run.
async fn judge(
    lab: &mut Lab,
    args: &LabArgs,
    events: &[Event],
    pooled: &[Method],
) -> Result<LabReport, Error> {
    let moves = report::moves(events, |region| lab.layout.address(region));
    // What had not reached the standby when its region's peer was killed; a planned move may lose
    // nothing, whatever the durability.
    let kill = events.last().map(|event| event.at - UNDISTURBED);
    let Judged { attempts, survivors, verdict } = lab.judge(&moves, kill).await?;
    let evidence = Evidence { attempts: &attempts, survivors: &survivors, names: lab.names() };
    let timing = lab.options.timing();
    let reports = events.iter().enumerate().filter_map(|(index, event)| {
        let to = lab.layout.address(&event.to)?;
        let until = events.get(index + 1).map(|next| next.at);
        Some(report::event_report(event, to, until, &evidence))
    });
    let stalls = stalls(&attempts, events, pooled);
    let mut violations = verdict.violations();
    violations.extend(stalls.iter().filter(|stall| stall.failed > 0).map(|stall| {
        let (failed, method) = (stall.failed, stall.method_name());
        format!("{failed} statements failed in {method} moves that a pooler was to hide")
    }));
    Ok(LabReport {
        ttl_ms: timing.ttl.as_millis().try_into().unwrap_or(u64::MAX),
        renew_ms: timing.renew.as_millis().try_into().unwrap_or(u64::MAX),
        writers: args.writers,
        durability: lab.options.durability,
        events: reports.collect(),
        stalls,
        violations,
        verdict,
    })
}

/// What clients saw of the moves that poolers were to hide, which are the first of the events.
fn stalls(attempts: &[Attempt], events: &[Event], pooled: &[Method]) -> Vec<StallReport> {
    let by = |wanted: Method| {
        let moves = pooled.iter().enumerate().filter(|(_, method)| **method == wanted);
        let until = |index: usize| events.get(index + 1).map(|next| next.at);
        let moves: Vec<_> = moves.map(|(index, _)| (events[index].at, until(index))).collect();
        (!moves.is_empty()).then(|| stall::report(attempts, wanted, &moves))
    };
    [Method::Clean, Method::Hot].into_iter().filter_map(by).collect()
}

/// Keeps the lab and fresh writers running until a signal, and tells what becomes of writes.
async fn stay(
    lab: &mut Lab,
    args: &LabArgs,
    progress: &Progress,
) -> Result<std::convert::Infallible, Error> {
    progress::print(&to_try(lab));
    lab.start_workload(args.writers).await?;
    lab.wait_acknowledged(None, MOVE_LIMIT).await?;
    let mut last = None;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let (_, newest) = lab.workload()?.recorder().progress();
        if let (Some((before, _)), Some((now, address))) = (last, newest) {
            let gap = now.since(before);
            if gap >= NOTABLE_GAP + WATCH_INTERVAL {
                progress.line(&format!(
                    "writes stood still for {:.2} s; they go to {address} now",
                    gap.as_secs_f64()
                ));
            }
        }
        last = newest;
    }
}

/// The API without a client of ours.
fn by_curl(lab: &Lab) -> Option<String> {
    let manifest = lab.manifest();
    let node = manifest.parts.iter().find(|part| part.ports.contains_key("api"))?;
    let port = node.ports.get("api")?;
    let tls = lab.operator();
    // The names that the pages of the API use.
    Some(format!(
        "  export CA={} CERT={} KEY={} NODE=127.0.0.1:{port} NAME={}\n  \
         curl --cacert $CA --cert $CERT --key $KEY --connect-to ::$NODE \\\n    \
         https://{}/api/v1/fleet   # /api/v1/reference tells of the rest\n",
        tls.authority.display(),
        tls.certificate.display(),
        tls.key.display(),
        node.name,
        Identity::new(Role::Core, &node.name).dns_name(),
    ))
}

fn to_try(lab: &Lab) -> String {
    let manifest = lab.manifest();
    let binary = manifest.parts.first().and_then(|part| part.argv.first());
    let binary = binary.map_or("continuum", String::as_str);
    let config = manifest.operator_config.display();
    let mut text = format!(
        "The lab stays until Ctrl-C, with {NAME} under fresh writes. In another terminal:\n\n  \
         export CONTINUUM_CONFIG={config}\n  {binary} status\n  {binary} pair show {pair}\n",
        pair = manifest.pair,
    );
    if let Some(away) = lab.options.regions.get(1) {
        text.push_str(&format!("  {binary} switchover {} --to {away} --wait\n", manifest.pair));
    }
    text.push_str(&format!("  {binary} operation list\n"));
    text.push_str(&by_curl(lab).unwrap_or_default());
    text.push_str(&format!(
        "  {binary} token create ci --tier viewer --for 1h   # then curl -H \"Authorization: Bearer ...\"\n"
    ));
    for (region, address) in &manifest.postgresql {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "5432"));
        text.push_str(&format!("  psql -h {host} -p {port} -U postgres   # {region}\n"));
    }
    let (host, port) = manifest.dns.rsplit_once(':').unwrap_or((&manifest.dns, "53"));
    text.push_str(&format!("  dig @{host} -p {port} {NAME} A\n"));
    text.push_str(&format!(
        "  kill -9 PID        # any process listed in {}/{}; start it again by its argv\n",
        manifest.directory.display(),
        crate::manifest::FILE
    ));
    text
}
