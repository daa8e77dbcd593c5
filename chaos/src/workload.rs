//! The client workload: writers that follow the name and record every attempt.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use continuum_domain::Tick;
use continuum_runtime::{SharedClock, seed};
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;

use crate::history::{Attempt, Outcome, Recorder};
use crate::ledger::Survivors;
use crate::names::{Name, Resolver};

mod connection;

pub use connection::{CLIENT_ROLE, Connection, OWNER_ROLE, classify};

/// How long a client waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client waits for one statement.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(2);
/// How long a pinned client does: longer than any freeze in a scenario.
const PINNED_DEADLINE: Duration = Duration::from_secs(150);
/// How long one behind a pooler does: so that a client that hangs is seen to.
const POOLED_DEADLINE: Duration = Duration::from_secs(60);
/// Pause after an acknowledgement.
const PACE: Duration = Duration::from_millis(5);
/// Pause after an error: at least this, at most twice this, so that writers do not march in step.
const BACKOFF_MS: u64 = 10;
/// How often a writer that knows every member tries to connect again where it lost its connection.
const REOPEN: Duration = Duration::from_millis(300);
/// Pinned writers number from here.
const PINNED_FROM: u32 = 100;
/// How long reading the whole table may take.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// The table the writers fill. There is no unique constraint on purpose: a row that was written
/// twice must be seen, not refused.
pub const TABLE: &str = "continuum_ledger";
const INSERT: &str =
    "INSERT INTO continuum_ledger (run, writer, seq, address) VALUES ($1, $2, $3, $4)";
const READ: &str =
    "SELECT writer, seq, count(*) FROM continuum_ledger WHERE run = $1 GROUP BY 1, 2";

/// The table, and the writers' role.
fn create() -> String {
    format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{CLIENT_ROLE}') THEN \
         CREATE ROLE {CLIENT_ROLE} LOGIN; END IF; END $$; \
         CREATE TABLE IF NOT EXISTS continuum_ledger (run bigint NOT NULL, writer int NOT NULL, \
         seq bigint NOT NULL, address text NOT NULL, at timestamptz NOT NULL DEFAULT now()); \
         GRANT INSERT ON continuum_ledger TO {CLIENT_ROLE}"
    )
}

/// What can go wrong around the workload itself; a writer's errors are part of the record instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name did not lead anywhere.
    #[error("the writer's name cannot be resolved: {0}")]
    Name(String),
    /// No connection.
    #[error("no connection to {address}: {reason}")]
    Connect {
        /// The server.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A statement of ours failed.
    #[error("{what} failed at {address}: {reason}")]
    Statement {
        /// What was tried.
        what: &'static str,
        /// The server.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
}

/// Running writers.
#[derive(Debug)]
pub struct Workload {
    /// The run's number in the table.
    pub run: i64,
    recorder: Recorder,
    clock: SharedClock,
    name: Name,
    port: u16,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    unpinned: u32,
    pinned: u32,
}

impl Workload {
    /// Creates the table through the name and starts `writers` writers.
    pub async fn start(
        name: Name,
        port: u16,
        writers: usize,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        let resolved = name.resolve().await.map_err(Error::Name)?;
        let ip = *resolved.addresses.first().ok_or_else(|| Error::Name("no address".into()))?;
        let address = SocketAddr::new(ip, port);
        let connection = connect(address, CONNECT_TIMEOUT).await?;
        statement("creating the table", address, connection.batch(&create())).await?;
        let (stop, _) = watch::channel(false);
        let run = seed::rng().random_range(1..i64::from(u32::MAX));
        let recorder = Recorder::default();
        let tasks = Vec::new();
        let mut workload =
            Self { run, recorder, clock, name, port, stop, tasks, unpinned: 0, pinned: 0 };
        for _ in 0..writers {
            let target =
                Target::Follow(Resolver::new(workload.name.clone(), workload.clock.clone()));
            workload.spawn_unpinned(target);
        }
        Ok(workload)
    }

    /// Starts a writer that knows every member, keeps a connection to each and writes where it is let:
    /// it sees how long the database takes, without names and without new connections.
    pub fn direct(&mut self, members: Vec<IpAddr>) {
        self.spawn_unpinned(Target::Members(members));
    }

    fn spawn_unpinned(&mut self, target: Target) {
        let number = self.unpinned;
        assert!(number < PINNED_FROM, "numbers from {PINNED_FROM} on are of pinned writers");
        self.unpinned += 1;
        self.spawn(number, target);
    }

    /// Starts a writer behind poolers, the `first` of which (counted round) it prefers. It prepares
    /// nothing, because its statements come to several sessions, and waits long.
    pub fn pooled(&mut self, poolers: &[SocketAddr], first: usize) {
        let mut turns: VecDeque<SocketAddr> = poolers.iter().copied().collect();
        turns.rotate_left(first % poolers.len().max(1));
        self.spawn_unpinned(Target::Poolers(turns));
    }

    /// Starts a writer that stays at one address whatever the name says, and waits long: the kind
    /// of client that finds a second primary.
    pub fn pin(&mut self, address: IpAddr) {
        let number = PINNED_FROM + self.pinned;
        self.pinned += 1;
        self.spawn(number, Target::Pinned(address));
    }

    fn spawn(&mut self, number: u32, target: Target) {
        let writer = Writer {
            run: self.run,
            number,
            next_seq: 1,
            target,
            port: self.port,
            clock: self.clock.clone(),
            recorder: self.recorder.clone(),
        };
        self.tasks.push(seed::spawn(writer.run(self.stop.subscribe())));
    }

    /// The record so far.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Tells the writers to end and waits for their last attempts. A pinned writer that still hangs
    /// has its attempt recorded as indeterminate.
    pub async fn stop(&mut self) -> Vec<Attempt> {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a writer ended badly");
            }
        }
        self.recorder.attempts()
    }

    /// Reads this run's rows from the primary at `ip`.
    pub async fn survivors(&self, ip: IpAddr) -> Result<Survivors, Error> {
        let address = SocketAddr::new(ip, self.port);
        let connection = connect(address, STATEMENT_DEADLINE).await?;
        let params: [&(dyn ToSql + Sync); 1] = [&self.run];
        let rows = connection.rows(READ, &params);
        let rows =
            tokio::time::timeout(READ_DEADLINE, statement("reading the table", address, rows));
        let rows = rows.await.map_err(|_| Error::Statement {
            what: "reading the table",
            address,
            reason: format!("no answer within {READ_DEADLINE:?}"),
        })??;
        let mut survivors = Survivors::new();
        for row in rows {
            let (writer, seq, copies): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let key = (u32::try_from(writer).unwrap_or(0), u64::try_from(seq).unwrap_or(0));
            survivors.insert(key, u64::try_from(copies).unwrap_or(0));
        }
        Ok(survivors)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<Connection, Error> {
    let opened = Connection::open(OWNER_ROLE, address, limit).await;
    opened.map_err(|reason| Error::Connect { address, reason })
}

async fn statement<T>(
    what: &'static str,
    address: SocketAddr,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    work.await.map_err(|error| Error::Statement {
        what,
        address,
        reason: connection::explain(&error),
    })
}

enum Target {
    Follow(Resolver),
    Members(Vec<IpAddr>),
    Pinned(IpAddr),
    /// The first is where it writes; it goes on to the next where it gets no connection.
    Poolers(VecDeque<SocketAddr>),
}

type Opened = (Connection, tokio_postgres::Statement, IpAddr);

struct Writer {
    run: i64,
    number: u32,
    next_seq: u64,
    target: Target,
    port: u16,
    clock: SharedClock,
    recorder: Recorder,
}

impl Writer {
    async fn run(mut self, stop: watch::Receiver<bool>) {
        match &self.target {
            Target::Members(members) => {
                let members = members.clone();
                self.write_where_it_can(&members, stop).await;
            }
            Target::Poolers(poolers) => {
                let poolers = poolers.clone();
                self.write_through(poolers, stop).await;
            }
            Target::Follow(_) | Target::Pinned(_) => self.write_at_its_address(stop).await,
        }
    }

    /// Goes from member to member until one takes the write; connections that were lost are made anew
    /// while writes go well.
    async fn write_where_it_can(&mut self, members: &[IpAddr], mut stop: watch::Receiver<bool>) {
        let mut open: BTreeMap<IpAddr, Opened> = BTreeMap::new();
        let mut tried = self.clock.now();
        let mut turn = members.iter().copied().cycle();
        let mut at = turn.next();
        while !*stop.borrow()
            && let Some(ip) = at
        {
            let good = match open.get(&ip) {
                Some((connection, insert, _)) if !connection.is_closed() => {
                    self.attempt(connection, insert, ip, &mut stop).await
                }
                _ => false,
            };
            if !good {
                at = turn.next();
            }
            let missing = |ip: &&IpAddr| open.get(*ip).is_none_or(|(old, ..)| old.is_closed());
            let missing = members.iter().find(missing).copied();
            let due = self.clock.now().since(tried) >= REOPEN || open.len() < members.len();
            if let Some(ip) = missing.filter(|_| due) {
                tried = self.clock.now();
                match self.open_at(ip).await {
                    Ok(opened) => drop(open.insert(ip, opened)),
                    Err(problem) => self.recorder.trouble(problem),
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    async fn write_at_its_address(&mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let opened = tokio::select! {
                opened = self.open() => opened,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match opened {
                Ok((connection, insert, ip)) => {
                    while !*stop.borrow() && self.attempt(&connection, &insert, ip, &mut stop).await
                    {
                        tokio::time::sleep(PACE).await;
                    }
                }
                Err(problem) => self.recorder.trouble(problem),
            }
            // Whatever went wrong, the address may be why: ask again at once.
            if let Target::Follow(resolver) = &mut self.target {
                resolver.forget();
            }
            let pause = seed::rng().random_range(BACKOFF_MS..=2 * BACKOFF_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn open(&mut self) -> Result<Opened, String> {
        let ip = match &mut self.target {
            Target::Follow(resolver) => resolver.address().await?,
            Target::Members(members) => *members.first().ok_or("no member is known")?,
            Target::Poolers(poolers) => poolers.front().ok_or("no pooler is known")?.ip(),
            Target::Pinned(ip) => *ip,
        };
        self.open_at(ip).await
    }

    async fn open_at(&self, ip: IpAddr) -> Result<Opened, String> {
        let address = SocketAddr::new(ip, self.port);
        let opening = async {
            let connection = Connection::open(CLIENT_ROLE, address, CONNECT_TIMEOUT).await?;
            let insert = connection.prepare(INSERT).await.map_err(|e| connection::explain(&e))?;
            Ok((connection, insert, ip))
        };
        tokio::time::timeout(CONNECT_TIMEOUT, opening)
            .await
            .map_err(|_| format!("{address}: no connection within {CONNECT_TIMEOUT:?}"))?
            .map_err(|problem: String| format!("{address}: {problem}"))
    }

    /// Writes through a pooler; every statement and connection that fails counts against it.
    async fn write_through(
        &mut self,
        mut poolers: VecDeque<SocketAddr>,
        mut stop: watch::Receiver<bool>,
    ) {
        while !*stop.borrow()
            && let Some(at) = poolers.front().copied()
        {
            let opened = tokio::select! {
                opened = Connection::open(CLIENT_ROLE, at, POOLED_DEADLINE) => opened,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match opened {
                Ok(connection) => {
                    while !*stop.borrow() && self.attempt_through(&connection, at).await {
                        tokio::time::sleep(PACE).await;
                    }
                }
                Err(problem) => {
                    self.recorder.trouble(format!("{at}: {problem}"));
                    poolers.rotate_left(1);
                }
            }
            let pause = seed::rng().random_range(BACKOFF_MS..=2 * BACKOFF_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One insert through a pooler, recorded with the server that took it.
    async fn attempt_through(&mut self, connection: &Connection, at: SocketAddr) -> bool {
        if connection.is_closed() {
            return false;
        }
        let (run, writer, seq) = (self.run, self.number, self.next_seq);
        self.next_seq += 1;
        let insert = format!(
            "INSERT INTO {TABLE} (run, writer, seq, address) VALUES ({run}, {writer}, {seq}, '{at}') \
             RETURNING host(inet_server_addr())"
        );
        let sent = self.clock.now();
        let answer = tokio::time::timeout(POOLED_DEADLINE, connection.said(&insert)).await;
        let (outcome, server) = answer.unwrap_or_else(|_| {
            let why = format!("no answer within {POOLED_DEADLINE:?}");
            (Outcome::Indeterminate { why }, None)
        });
        let good = outcome == Outcome::Acknowledged;
        self.recorder.push(Attempt {
            writer,
            seq,
            pinned: false,
            sent,
            done: self.clock.now(),
            address: server.and_then(|text| text.parse().ok()).unwrap_or(at.ip()),
            outcome,
        });
        good
    }

    /// One insert, recorded whatever becomes of it; whether the connection is still good.
    async fn attempt(
        &mut self,
        connection: &Connection,
        insert: &tokio_postgres::Statement,
        ip: IpAddr,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        if connection.is_closed() {
            return false;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let pinned = matches!(self.target, Target::Pinned(_));
        let sent = self.clock.now();
        let outcome = self.insert(connection, insert, ip, seq, pinned, stop).await;
        let done: Tick = self.clock.now();
        let good = outcome == Outcome::Acknowledged;
        self.recorder.push(Attempt {
            writer: self.number,
            seq,
            pinned,
            sent,
            done,
            address: ip,
            outcome,
        });
        good
    }

    async fn insert(
        &self,
        connection: &Connection,
        insert: &tokio_postgres::Statement,
        ip: IpAddr,
        seq: u64,
        pinned: bool,
        stop: &mut watch::Receiver<bool>,
    ) -> Outcome {
        let (writer, row) = (self.number.cast_signed(), seq.cast_signed());
        let address = ip.to_string();
        let params: [&(dyn ToSql + Sync); 4] = [&self.run, &writer, &row, &address];
        let work = connection.execute(insert, &params);
        let deadline = if pinned { PINNED_DEADLINE } else { STATEMENT_DEADLINE };
        // The end of the run does not cut a short attempt off; only a pinned one may hang for long.
        let ended = async {
            let stopped = stop.wait_for(|stop| *stop).await.is_ok();
            if stopped {
                tokio::time::sleep(STATEMENT_DEADLINE).await;
            }
        };
        tokio::select! {
            outcome = work => outcome,
            () = tokio::time::sleep(deadline) => Outcome::Indeterminate {
                why: format!("no answer within {deadline:?}"),
            },
            () = ended => Outcome::Indeterminate { why: "no answer at the end of the run".into() },
        }
    }
}
