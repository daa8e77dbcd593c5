//! As many renewals as so many clients bring about, on the witness server and on etcd in turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use continuum_runtime::certificates::Authority;
use continuum_runtime::{Role, seed};
use serde::Serialize;
use tokio::time::Instant;

use crate::Failure;
use crate::etcd::{self, Key, Lease};
use crate::figures::{Samples, cpu_time, put_down};
use crate::servers::{Etcd, NAME, Session, Witness, issue, until_ready};

const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct Options {
    /// Clients, each with a connection, a session and one renewal under way at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long each measurement lasts, in seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The processor that the servers run on; where they like by default.
    #[arg(long)]
    server_core: Option<u32>,
    /// Where the servers' directories are made; all on one disk.
    #[arg(long, default_value = "target/bench")]
    directory: PathBuf,
    /// Where the figures go; to the standard output by default.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One client of one of the servers.
enum Client {
    Witness(Session),
    Transaction(Key),
    Lease(Lease),
}

impl Client {
    async fn renew(&mut self) -> Result<(), Failure> {
        match self {
            Client::Witness(session) => session.renew().await,
            Client::Transaction(key) => key.renew().await,
            Client::Lease(lease) => lease.renew().await,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Subject {
    Witness,
    EtcdTransactions,
    EtcdLeases,
}

const SUBJECTS: [Subject; 3] = [Subject::Witness, Subject::EtcdTransactions, Subject::EtcdLeases];

#[derive(Clone, Serialize)]
struct Measured {
    subject: Subject,
    renewals_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor time of the server, user and system.
    cpu_ms_per_1000: f64,
}

/// The median of the rounds of one subject.
#[derive(Serialize)]
struct Figures {
    clients: usize,
    rounds: Vec<Measured>,
    medians: Vec<Measured>,
    /// The witness server's figures divided by those of etcd's transactions, which are as durable.
    witness_to_transactions: Ratios,
    /// The same by those of etcd's leases, which are not on disk when they are answered.
    witness_to_leases: Ratios,
}

#[derive(Serialize)]
struct Ratios {
    renewals_per_second: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

struct Bench {
    options: Options,
    authority: Authority,
    witness: Witness,
    etcd: Etcd,
}

/// Measures and writes the figures down.
pub async fn run(options: Options) -> Result<(), Failure> {
    std::fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let bench = Bench::start(options, directory.path())?;
    let mut rounds = Vec::new();
    for round in 0..bench.options.rounds {
        for subject in SUBJECTS {
            let measured = bench.measure(round, subject).await?;
            eprintln!(
                "round {}: {subject:?}: {:.0} renewals/s, p50 {:.2} ms, p99 {:.2} ms, {:.1} ms of \
                 processor per 1,000",
                round + 1,
                measured.renewals_per_second,
                measured.p50_ms,
                measured.p99_ms,
                measured.cpu_ms_per_1000
            );
            rounds.push(measured);
        }
    }
    let medians = SUBJECTS.map(|subject| median(subject, &rounds));
    let [witness, transactions, leases] = &medians;
    let figures = Figures {
        clients: bench.options.clients,
        witness_to_transactions: ratios(witness, transactions),
        witness_to_leases: ratios(witness, leases),
        medians: medians.to_vec(),
        rounds,
    };
    put_down(&figures, bench.options.json.as_deref())
}

impl Bench {
    fn start(options: Options, directory: &Path) -> Result<Self, Failure> {
        let authority = Authority::create(&directory.join("tls"))?;
        let tls = issue(&authority, Role::Witness, NAME)?;
        let witness = Witness::start(directory, &tls, options.server_core)?;
        let etcd = Etcd::start(directory, &tls, options.server_core)?;
        Ok(Self { options, authority, witness, etcd })
    }

    async fn client(&self, subject: Subject, name: &str) -> Result<Client, Failure> {
        let files = issue(&self.authority, Role::Region, name)?;
        let channel = || etcd::connect(self.etcd.port, &files);
        let mut client = match subject {
            Subject::Witness => {
                let address = &self.witness.address;
                Client::Witness(Session::new(&self.authority, name, address, DEADLINE)?)
            }
            Subject::EtcdTransactions => Client::Transaction(Key::new(channel().await?, name)),
            Subject::EtcdLeases => Client::Lease(Lease::grant(channel().await?).await?),
        };
        client.renew().await?;
        Ok(client)
    }

    async fn measure(&self, round: usize, subject: Subject) -> Result<Measured, Failure> {
        let mut clients = Vec::new();
        for number in 0..self.options.clients {
            // Each tries a name of its own: one that was tried may have been created.
            let mut tried = 0;
            let client = until_ready("the server", async || {
                tried += 1;
                self.client(subject, &format!("r{round}-{number}-{tried}")).await
            });
            clients.push(client.await?);
        }
        let server = match subject {
            Subject::Witness => self.witness.process.id(),
            Subject::EtcdTransactions | Subject::EtcdLeases => self.etcd.process.id(),
        };
        let (before, start) = (cpu_time(server)?, Instant::now());
        let end = start + Duration::from_secs(self.options.seconds);
        let tasks: Vec<_> =
            clients.into_iter().map(|client| seed::spawn(renew_until(client, end))).collect();
        let mut samples = Samples::default();
        for task in tasks {
            samples.join(task.await??);
        }
        let (span, cpu) = (start.elapsed(), cpu_time(server)? - before);
        let thousands = samples.count() as f64 / 1000.0;
        Ok(Measured {
            subject,
            renewals_per_second: samples.count() as f64 / span.as_secs_f64(),
            p50_ms: samples.quantile_ms(0.5),
            p99_ms: samples.quantile_ms(0.99),
            cpu_ms_per_1000: cpu.as_secs_f64() * 1000.0 / thousands,
        })
    }
}

async fn renew_until(mut client: Client, end: Instant) -> Result<Samples, Failure> {
    let mut samples = Samples::default();
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(samples);
        }
        client.renew().await?;
        samples.add(start.elapsed());
    }
}

fn median(subject: Subject, rounds: &[Measured]) -> Measured {
    let of = |figure: fn(&Measured) -> f64| {
        let mut all: Vec<f64> =
            rounds.iter().filter(|round| round.subject == subject).map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Measured {
        subject,
        renewals_per_second: of(|round| round.renewals_per_second),
        p50_ms: of(|round| round.p50_ms),
        p99_ms: of(|round| round.p99_ms),
        cpu_ms_per_1000: of(|round| round.cpu_ms_per_1000),
    }
}

fn ratios(ours: &Measured, theirs: &Measured) -> Ratios {
    Ratios {
        renewals_per_second: ours.renewals_per_second / theirs.renewals_per_second,
        p50: ours.p50_ms / theirs.p50_ms,
        p99: ours.p99_ms / theirs.p99_ms,
        cpu: ours.cpu_ms_per_1000 / theirs.cpu_ms_per_1000,
    }
}
