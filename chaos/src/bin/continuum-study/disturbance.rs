//! What makes a living holder look dead.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_chaos::process::{self, Process};
use continuum_chaos::wan::Line;
use continuum_chaos::workload::{Connection, OWNER_ROLE};
use continuum_domain::RegionId;
use continuum_runtime::seed;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Added to every packet of the holder's region, each way.
const LATENCY: Duration = Duration::from_millis(300);
const LOSS: f64 = 0.2;
/// A starved agent runs for the first of these and then waits for the second.
const RUNS: Duration = Duration::from_millis(10);
const WAITS: Duration = Duration::from_millis(190);
/// Programs that do nothing but run, at the same time.
const BUSY: usize = 8;
/// Every twentieth flush of each process takes a second more.
const SLOW_FLUSH: &str = "inject=fsync,fdatasync:delay_enter=1000000:when=1+20";
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Rows of 992 bytes, too short to be compressed: 200 MB, and 1 GB.
const MANY_ROWS: u32 = 200_000;
const GIGABYTE_ROWS: u32 = 1_040_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    Nothing,
    Latency,
    Loss,
    AgentStarved,
    MachineBusy,
    PostgresFlushes,
    WitnessFlushes,
    Checkpoints,
    BigTransaction,
}

/// A disturbance that goes on.
#[derive(Debug, Default)]
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
    programs: Vec<Child>,
    stopped: Option<Process>,
    nice: Option<Process>,
}

impl Disturbance {
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Latency,
        Self::Loss,
        Self::AgentStarved,
        Self::MachineBusy,
        Self::PostgresFlushes,
        Self::WitnessFlushes,
        Self::Checkpoints,
        Self::BigTransaction,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Latency => "300 ms of latency, each way",
            Self::Loss => "20 % of packets lost, each way",
            Self::AgentStarved => "agent gets 10 ms of each 200 ms",
            Self::MachineBusy => "8 busy programs on 2 cores, agent at the lowest priority",
            Self::PostgresFlushes => "PostgreSQL: every 20th flush takes 1 s more",
            Self::WitnessFlushes => "witness: every 20th flush takes 1 s more",
            Self::Checkpoints => "200 MB written and checkpointed, again and again",
            Self::BigTransaction => "one transaction of 1 GB",
        }
    }

    pub async fn begin(self, lab: &Lab, holder: &RegionId) -> Result<Running, Error> {
        let mut running = Running::default();
        match self {
            Self::Nothing => {}
            Self::Latency => spoil(lab, holder, Line { delay: LATENCY, ..Line::default() })?,
            Self::Loss => spoil(lab, holder, Line { loss: LOSS, ..Line::default() })?,
            Self::AgentStarved => {
                let agent = agent_of(lab, holder)?;
                running.stopped = Some(agent.clone());
                running.tasks.push(seed::spawn(starve(agent)));
            }
            Self::MachineBusy => {
                let agent = agent_of(lab, holder)?;
                renice(&agent, "19").await?;
                running.nice = Some(agent);
                for _ in 0..BUSY {
                    running.programs.push(program("sh", &["-c", "while :; do :; done"])?);
                }
            }
            Self::PostgresFlushes => {
                let processes = lab.postgres_processes(holder);
                running.programs.push(slow_flushes(&processes)?);
            }
            Self::WitnessFlushes => {
                let witness = lab.process("witness").into_iter().collect::<Vec<_>>();
                running.programs.push(slow_flushes(&witness)?);
            }
            Self::Checkpoints => {
                let address = postgres_of(lab, holder)?;
                running.tasks.push(seed::spawn(checkpoints(address)));
            }
            Self::BigTransaction => {
                let address = postgres_of(lab, holder)?;
                running.tasks.push(seed::spawn(big_transaction(address)));
            }
        }
        Ok(running)
    }
}

impl Running {
    /// Ends it, and undoes what it changed.
    pub async fn end(mut self, lab: &Lab) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(agent) = &self.stopped {
            process::signal_all(std::slice::from_ref(agent), Signal::CONT);
        }
        if let Some(agent) = &self.nice
            && let Err(error) = renice(agent, "0").await
        {
            eprintln!("the agent keeps its priority: {error}");
        }
        for program in &mut self.programs {
            let found =
                program.id().and_then(|pid| i32::try_from(pid).ok()).and_then(process::read);
            // A tracer lets go of what it traces when it is asked to end.
            process::signal_all(found.as_slice(), Signal::TERM);
            if let Err(error) = program.wait().await {
                eprintln!("a disturbing program cannot be waited for: {error}");
            }
        }
        if let Ok(wan) = lab.wan() {
            wan.heal();
        }
    }
}

fn spoil(lab: &Lab, holder: &RegionId, line: Line) -> Result<(), Error> {
    let wan = lab.wan()?;
    wan.outgoing(holder, line)?;
    wan.incoming(holder, line)
}

fn agent_of(lab: &Lab, region: &RegionId) -> Result<Process, Error> {
    let missing = || Error::Options(format!("{region} has no agent"));
    lab.process(&format!("{region}-agent")).ok_or_else(missing)
}

fn postgres_of(lab: &Lab, region: &RegionId) -> Result<SocketAddr, Error> {
    Ok(SocketAddr::new(lab.address(region)?, lab.layout.postgres_port))
}

/// What a quota on processor time does to a process: it runs for a moment of each period.
async fn starve(agent: Process) {
    loop {
        process::signal_all(std::slice::from_ref(&agent), Signal::STOP);
        tokio::time::sleep(WAITS).await;
        process::signal_all(std::slice::from_ref(&agent), Signal::CONT);
        tokio::time::sleep(RUNS).await;
    }
}

fn program(name: &'static str, arguments: &[&str]) -> Result<Child, Error> {
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = command.kill_on_drop(true).spawn();
    started.map_err(|reason| Error::Environment { what: name, reason })
}

async fn renice(process: &Process, value: &str) -> Result<(), Error> {
    let pid = process.pid.to_string();
    let mut child = program("renice", &["-n", value, "-p", &pid])?;
    let ended = child.wait().await.and_then(|status| match status.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(status.to_string())),
    });
    ended.map_err(|reason| Error::Environment { what: "renice", reason })
}

/// Slow flushes in these processes and those that they start.
fn slow_flushes(processes: &[Process]) -> Result<Child, Error> {
    let pids: Vec<String> = processes.iter().map(|process| process.pid.to_string()).collect();
    let mut arguments = vec!["-f", "-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"];
    arguments.extend(["-e", SLOW_FLUSH]);
    for pid in &pids {
        arguments.extend(["-p", pid]);
    }
    program("strace", &arguments)
}

fn rows(count: u32) -> String {
    format!("SELECT repeat(md5(i::text), 31) AS filler FROM generate_series(1, {count}) i")
}

async fn checkpoints(address: SocketAddr) {
    let create = format!("CREATE TABLE study AS {}", rows(MANY_ROWS));
    loop {
        let Ok(connection) = Connection::open(OWNER_ROLE, address, CONNECT_LIMIT).await else {
            return;
        };
        for statement in ["DROP TABLE IF EXISTS study", &create, "CHECKPOINT", "DROP TABLE study"] {
            if let Err(error) = connection.batch(statement).await {
                eprintln!("{statement}: {error}");
                return;
            }
        }
    }
}

async fn big_transaction(address: SocketAddr) {
    let Ok(connection) = Connection::open(OWNER_ROLE, address, CONNECT_LIMIT).await else { return };
    let create = format!("CREATE TABLE study_big AS {}", rows(GIGABYTE_ROWS));
    for statement in ["DROP TABLE IF EXISTS study_big", &create, "DROP TABLE study_big"] {
        if let Err(error) = connection.batch(statement).await {
            eprintln!("{statement}: {error}");
            return;
        }
    }
    eprintln!("the transaction of 1 GB is through");
}
