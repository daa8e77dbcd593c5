//! The control API under load: three control nodes with many pairs, two agents that report all of them
//! each second, readers and writers at a rate of their own, and readers of the stream of events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use continuum_control::config::{AccessConfig, CoreConfig, Peer, RaftTiming};
use continuum_control_api::client::ApiClient;
use continuum_control_api::rest::{API, ApplyPair, FleetQuery, OperationsQuery};
use continuum_domain::spec::{MemberSpec, PairSpec};
use continuum_domain::{PairId, RegionId};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::TlsFiles;
use continuum_runtime::{Identity, Role, seed};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::Failure;
use crate::agents;
use crate::figures::{Samples, cpu_time, put_down};
use crate::servers::{self, ControlNode, issue, until_ready};

/// Pairs that are made in a second: fewer than one caller may ask for.
const PAIRS_A_SECOND: u32 = 200;
/// Streams that are opened at once.
const DIALLING_AT_ONCE: usize = 16;

#[derive(Args)]
pub struct Options {
    /// Pairs of two members each.
    #[arg(long, default_value_t = 1_000)]
    pairs: usize,
    /// Requests a second, nine of ten of them reads.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Readers of the stream of events, each with a connection of its own.
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// How long it is measured, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Where the nodes' directory is made.
    #[arg(long, default_value = "target/bench")]
    directory: PathBuf,
    /// Where the figures go; to the standard output by default.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Figures {
    pairs: usize,
    rate: u64,
    streams: usize,
    seconds: f64,
    /// From when a request was due to its answer, by what was asked.
    requests: BTreeMap<&'static str, Quantiles>,
    failed: u64,
    first_failure: Option<String>,
    /// Events that all streams together should have had, and had.
    events_due: u64,
    events_received: u64,
    /// Of one processor, all nodes together.
    nodes_cpu_share: f64,
}

#[derive(Serialize)]
struct Quantiles {
    answered: u64,
    p50_ms: f64,
    p99_ms: f64,
    worst_ms: f64,
}

/// What is asked, and how often of twenty times.
const ASKED: [(&str, u64); 6] = [
    ("GET /pairs/{pair}", 10),
    ("GET /operations", 2),
    ("GET /audit", 2),
    ("GET /leases", 2),
    ("GET /fleet", 2),
    ("PUT /pairs/{pair}", 2),
];

fn kind(number: u64) -> &'static str {
    let mut at = number * 7 % 20;
    for (name, weight) in ASKED {
        if at < weight {
            return name;
        }
        at -= weight;
    }
    ASKED[0].0
}

/// Measures and writes the figures down.
pub async fn run(options: Options) -> Result<(), Failure> {
    std::fs::create_dir_all(&options.directory)?;
    let directory = tempfile::tempdir_in(&options.directory)?;
    let authority = Authority::create(&directory.path().join("tls"))?;
    let operator = issue(&authority, Role::Operator, "bench")?;
    let nodes = start(&authority, directory.path())?;
    let endpoints: Vec<(String, String)> =
        nodes.iter().map(|node| (node.peer.name.clone(), node.peer.api_address.clone())).collect();
    let client = Arc::new(ApiClient::new(endpoints.clone(), &operator)?);
    until_ready("the core", async || Ok(client.status().await?)).await?;
    let pairs: Vec<PairId> = (0..options.pairs).map(pair_name).collect::<Result<_, _>>()?;
    // One caller may ask so often; a burst of all of them is refused.
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PAIRS_A_SECOND);
    for pair in &pairs {
        ticks.tick().await;
        client.apply_pair(&ApplyPair { spec: spec(pair, 0)?, reason: "bench".into() }).await?;
    }
    let regions = ["fsn", "hel"];
    let peers: Vec<Peer> = nodes.iter().map(|node| node.peer.clone()).collect();
    for name in regions {
        let files = issue(&authority, Role::Region, name)?;
        agents::start(name.parse::<RegionId>()?, &files, peers.clone(), pairs.clone())?;
    }
    until_ready("the agents", async || {
        let fleet = client.fleet(&FleetQuery::default()).await?;
        let known = fleet.pairs.iter().filter(|pair| pair.holder.is_some()).count();
        if known == pairs.len() { Ok(()) } else { Err(format!("{known} pairs are known").into()) }
    })
    .await?;
    eprintln!("{} pairs are reported", pairs.len());
    let received = Arc::new(AtomicU64::new(0));
    listen(&options, &endpoints, &operator, &received).await?;
    eprintln!("{} streams are open", options.streams);

    let load = Load { client, pairs: Arc::new(pairs) };
    let busy = || nodes.iter().map(|node| cpu_time(node.process.id())).sum::<Result<Duration, _>>();
    let (cpu, began, before) = (busy()?, Instant::now(), received.load(Ordering::Relaxed));
    let outcome = load.run(options.rate, options.seconds).await;
    let (took, cpu) = (began.elapsed(), busy()? - cpu);
    let changes = outcome.samples.get("PUT /pairs/{pair}").map_or(0, Samples::count);
    let events_due = changes * u64::try_from(options.streams)?;
    let all_came = async || match received.load(Ordering::Relaxed) - before >= events_due {
        true => Ok(()),
        false => Err("events are missing".into()),
    };
    // What is late is told by the figures, not by waiting for it.
    let _late =
        tokio::time::timeout(Duration::from_secs(5), until_ready("streams", all_came)).await;
    let requests = outcome.samples.into_iter().map(|(name, samples)| (name, quantiles(samples)));
    let figures = Figures {
        pairs: options.pairs,
        rate: options.rate,
        streams: options.streams,
        seconds: took.as_secs_f64(),
        requests: requests.collect(),
        failed: outcome.failed,
        first_failure: outcome.failure,
        events_due,
        events_received: received.load(Ordering::Relaxed) - before,
        nodes_cpu_share: cpu.as_secs_f64() / took.as_secs_f64(),
    };
    put_down(&figures, options.json.as_deref())
}

fn quantiles(mut samples: Samples) -> Quantiles {
    Quantiles {
        answered: samples.count(),
        p50_ms: samples.quantile_ms(0.5),
        p99_ms: samples.quantile_ms(0.99),
        worst_ms: samples.quantile_ms(1.0),
    }
}

fn pair_name(number: usize) -> Result<PairId, Failure> {
    Ok(format!("pair-{number:04}").parse()?)
}

fn spec(pair: &PairId, change: u64) -> Result<PairSpec, Failure> {
    let member =
        |host: &str| MemberSpec { priority: 100, host: host.into(), port: 5432, health_name: None };
    let (fsn, hel): (RegionId, RegionId) = ("fsn".parse()?, "hel".parse()?);
    let members = BTreeMap::from([(fsn.clone(), member("10.1.0.5")), (hel, member("10.2.0.5"))]);
    let mut spec = PairSpec::new(pair.clone(), members, fsn);
    spec.labels.insert("change".into(), change.to_string());
    Ok(spec)
}

fn start(authority: &Authority, directory: &Path) -> Result<Vec<ControlNode>, Failure> {
    let mut peers = Vec::new();
    for id in 1..=3 {
        let address = || servers::free_port().map(|port| format!("127.0.0.1:{port}"));
        peers.push(Peer {
            name: format!("core-{id}"),
            id,
            address: address()?,
            api_address: address()?,
        });
    }
    let node = |peer: &Peer| {
        let config = CoreConfig {
            name: peer.name.clone(),
            id: peer.id,
            listen_rpc: peer.address.clone(),
            listen_api: peer.api_address.clone(),
            advertise_rpc: None,
            advertise_api: None,
            data_directory: directory.join(&peer.name),
            peers: peers.clone(),
            max_failovers_at_once: 2,
            drills: false,
            raft: RaftTiming::default(),
            access: AccessConfig::default(),
            audit: Default::default(),
            sinks: Vec::new(),
            traces: None,
        };
        let tls = issue(authority, Role::Core, &peer.name)?;
        ControlNode::start(peer.clone(), &config, &tls)
    };
    peers.iter().map(node).collect()
}

struct Load {
    client: Arc<ApiClient>,
    pairs: Arc<Vec<PairId>>,
}

#[derive(Default)]
struct Outcome {
    samples: BTreeMap<&'static str, Samples>,
    failed: u64,
    failure: Option<String>,
}

impl Load {
    /// Asks at the rate, whether answers come or not.
    async fn run(&self, rate: u64, seconds: u64) -> Outcome {
        let (send, mut answers) = mpsc::unbounded_channel();
        let mut ticks =
            tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap_or(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0..rate * seconds {
            let due = ticks.tick().await;
            let (client, pairs, send) = (self.client.clone(), self.pairs.clone(), send.clone());
            seed::spawn(async move {
                let name = kind(number);
                let asked = ask(&client, &pairs, name, number).await;
                // The receiver waits for all of them.
                let _gone = send.send((name, due.elapsed(), asked));
            });
        }
        drop(send);
        let mut outcome = Outcome::default();
        while let Some((name, took, asked)) = answers.recv().await {
            match asked {
                Ok(()) => outcome.samples.entry(name).or_default().add(took),
                Err(error) => {
                    outcome.failed += 1;
                    outcome.failure.get_or_insert(format!("{name}: {error}"));
                }
            }
        }
        outcome
    }
}

async fn ask(client: &ApiClient, pairs: &[PairId], name: &str, number: u64) -> Result<(), Failure> {
    let at = usize::try_from(number)? * 31 % pairs.len();
    let pair = &pairs[at];
    match name {
        "GET /pairs/{pair}" => drop(client.pair(pair).await?),
        "GET /operations" => drop(client.operations(&OperationsQuery::default()).await?),
        "GET /audit" => drop(client.audit(&Default::default()).await?),
        "GET /leases" => drop(client.leases().await?),
        "GET /fleet" => drop(client.fleet(&FleetQuery::default()).await?),
        _ => {
            let body = ApplyPair { spec: spec(pair, number + 1)?, reason: "bench".into() };
            drop(client.apply_pair(&body).await?);
        }
    }
    Ok(())
}

/// Opens the streams, spread over the nodes, and counts what comes.
async fn listen(
    options: &Options,
    endpoints: &[(String, String)],
    files: &TlsFiles,
    received: &Arc<AtomicU64>,
) -> Result<(), Failure> {
    let (opened, mut told) = mpsc::channel::<Result<(), String>>(DIALLING_AT_ONCE);
    let slots = Arc::new(tokio::sync::Semaphore::new(DIALLING_AT_ONCE));
    for number in 0..options.streams {
        let (name, address) = endpoints[number % endpoints.len()].clone();
        let (slots, opened, received) = (slots.clone(), opened.clone(), received.clone());
        let files = files.clone();
        seed::spawn(async move {
            let slot = slots.acquire().await;
            let response = stream(&name, &address, &files).await;
            drop(slot);
            let mut response = match response {
                Ok(response) => response,
                Err(error) => {
                    let _gone = opened.send(Err(error.to_string())).await;
                    return;
                }
            };
            let _gone = opened.send(Ok(())).await;
            drop(opened);
            while let Ok(Some(bytes)) = response.chunk().await {
                let events = bytes.windows(6).filter(|part| part == b"event:").count();
                received.fetch_add(u64::try_from(events).unwrap_or(0), Ordering::Relaxed);
            }
        });
    }
    drop(opened);
    for _ in 0..options.streams {
        told.recv().await.ok_or("a stream ended before it was open")??;
    }
    Ok(())
}

async fn stream(name: &str, address: &str, files: &TlsFiles) -> Result<reqwest::Response, Failure> {
    let host = Identity::new(Role::Core, name).dns_name();
    let address: std::net::SocketAddr = address.parse()?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(files.client_config(&[b"h2"])?)
        .no_proxy()
        .resolve(&host, address)
        .build()?;
    let url = format!("https://{host}:{}{API}/events", address.port());
    Ok(client.get(url).send().await?.error_for_status()?)
}
