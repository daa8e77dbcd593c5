//! Sessions that each renew at an interval, spread evenly over it, on one witness server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use continuum_runtime::certificates::Authority;
use continuum_runtime::{Role, seed};
use serde::Serialize;
use tokio::time::Instant;

use crate::Failure;
use crate::figures::{Samples, cpu_time, put_down};
use crate::servers::{NAME, Session, Witness, issue, until_ready};

/// Connections that are opened at once: a queue of a listener holds few.
const DIALLING_AT_ONCE: usize = 32;

#[derive(Args)]
pub struct Options {
    /// Sessions, each of a region of its own with a connection of its own.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Interval between the renewals of one session, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    renew_ms: u64,
    /// How long it is measured, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The processor that the server runs on; where it likes by default.
    #[arg(long)]
    server_core: Option<u32>,
    /// Where the server's directory is made.
    #[arg(long, default_value = "target/bench")]
    directory: PathBuf,
    /// Where the figures go; to the standard output by default.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Figures {
    sessions: usize,
    renew_ms: u64,
    seconds: f64,
    due: u64,
    renewed: u64,
    /// Of the renewals that were due, those not answered before the next one was due.
    missed: u64,
    first_failure: Option<String>,
    renewals_per_second: f64,
    /// From when a renewal was due to its answer.
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    /// Of one processor.
    server_cpu_share: f64,
    server_cpu_ms_per_1000: f64,
}

#[derive(Default)]
struct Outcome {
    samples: Samples,
    due: u64,
    missed: u64,
    failure: Option<String>,
}

/// Measures and writes the figures down.
pub async fn run(options: Options) -> Result<(), Failure> {
    std::fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let authority = Authority::create(&directory.path().join("tls"))?;
    let tls = issue(&authority, Role::Witness, NAME)?;
    let server = Witness::start(directory.path(), &tls, options.server_core)?;
    let renew = Duration::from_millis(options.renew_ms);
    let sessions = open(&options, &authority, &server.address).await?;
    eprintln!("{} sessions are open", sessions.len());

    let first = Instant::now() + renew;
    let rounds = u32::try_from(options.seconds * 1000 / options.renew_ms.max(1))?;
    let tasks: Vec<_> = sessions
        .into_iter()
        .enumerate()
        .map(|(number, session)| {
            let share = number as f64 / options.sessions as f64;
            seed::spawn(keep(session, first + renew.mul_f64(share), renew, rounds))
        })
        .collect();
    tokio::time::sleep_until(first).await;
    let (before, start) = (cpu_time(server.process.id())?, Instant::now());
    tokio::time::sleep_until(first + renew * rounds).await;
    let (cpu, span) = (cpu_time(server.process.id())? - before, start.elapsed());
    let mut all = Outcome::default();
    for task in tasks {
        let one = task.await?;
        all.samples.join(one.samples);
        all.due += one.due;
        all.missed += one.missed;
        all.failure = all.failure.or(one.failure);
    }
    let renewed = all.samples.count();
    let figures = Figures {
        sessions: options.sessions,
        renew_ms: options.renew_ms,
        seconds: span.as_secs_f64(),
        due: all.due,
        renewed,
        missed: all.missed,
        first_failure: all.failure,
        renewals_per_second: renewed as f64 / span.as_secs_f64(),
        p50_ms: all.samples.quantile_ms(0.5),
        p99_ms: all.samples.quantile_ms(0.99),
        p999_ms: all.samples.quantile_ms(0.999),
        server_cpu_share: cpu.as_secs_f64() / span.as_secs_f64(),
        server_cpu_ms_per_1000: cpu.as_secs_f64() * 1_000_000.0 / renewed as f64,
    };
    eprintln!(
        "{renewed} of {} renewals, {} missed; p50 {:.2} ms, p99 {:.2} ms; {:.0} % of a processor",
        figures.due,
        figures.missed,
        figures.p50_ms,
        figures.p99_ms,
        figures.server_cpu_share * 100.0
    );
    put_down(&figures, options.json.as_deref())
}

/// All sessions, each renewed once.
async fn open(
    options: &Options,
    authority: &Authority,
    address: &str,
) -> Result<Vec<Session>, Failure> {
    let renew = Duration::from_millis(options.renew_ms);
    let mut probe = Session::new(authority, "probe", address, renew)?;
    until_ready("the witness server", async || probe.renew().await).await?;
    let mut open = Vec::with_capacity(options.sessions);
    while open.len() < options.sessions {
        let batch = DIALLING_AT_ONCE.min(options.sessions - open.len());
        let tasks = (0..batch).map(|at| {
            let session =
                Session::new(authority, &format!("r{}", open.len() + at), address, renew * 5);
            seed::spawn(async move {
                let mut session = session?;
                session.renew().await?;
                Ok::<_, Failure>(session)
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            open.push(task.await??);
        }
    }
    Ok(open)
}

/// Renews at each due instant. One that is late makes the next start late, and that is counted from
/// when it was due.
async fn keep(mut session: Session, first: Instant, renew: Duration, rounds: u32) -> Outcome {
    let mut outcome = Outcome::default();
    for round in 0..rounds {
        let due = first + renew * round;
        tokio::time::sleep_until(due).await;
        outcome.due += 1;
        let answer = session.renew().await;
        let took = due.elapsed();
        outcome.missed += u64::from(answer.is_err() || took > renew);
        match answer {
            Ok(()) => outcome.samples.add(took),
            Err(error) => outcome.failure = outcome.failure.or(Some(error.to_string())),
        }
    }
    outcome
}
