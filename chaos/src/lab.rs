//! A whole lab as a value: start it, break it, look at it, stop it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::client::{ApiClient, ClientError};
use continuum_control_api::rest::{
    ApplyPair, OperationsQuery, PairView, Started, SwitchoverRequest,
};
use continuum_domain::operation::{Method, Operation, OperationKind};
use continuum_domain::{Epoch, OperationId, RegionId, Tick};
use continuum_runtime::net::TlsFiles;
use continuum_runtime::{BootClock, SharedClock};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::args::{LabOptions, LabWitness};
use crate::janitor::{self, READY};
use crate::layout::{self, Layout, NAME};
use crate::manifest::Manifest;
use crate::names::{Name, NameWatch};
use crate::supervise::{self, Supervisor};
use crate::wan::Wan;
use crate::workload::{self, Workload};
use crate::{authority, azurite, config, health, pooler};

mod breaks;

/// How often a condition is looked at while it is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long the janitor may take to be ready, and to finish.
const JANITOR_LIMIT: Duration = Duration::from_secs(30);
/// How long the control core may take to elect its first leader.
const ELECTION_LIMIT: Duration = Duration::from_secs(30);
/// How long the first start may take: two PostgreSQL instances are made.
const FIRST_HEALTH_LIMIT: Duration = Duration::from_secs(120);

/// What went wrong with a lab.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was asked for something that cannot be run.
    #[error("{0}")]
    Options(String),
    /// A file, directory or port.
    #[error("{what}: {reason}")]
    Environment {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: std::io::Error,
    },
    /// A part.
    #[error(transparent)]
    Part(#[from] supervise::Error),
    /// The core's API.
    #[error("{what}: {source}")]
    Api {
        /// What was asked.
        what: &'static str,
        /// The answer.
        source: ClientError,
    },
    /// The workload.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// A condition did not come about.
    #[error("{what} did not happen within {limit:?}: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// How it stood at the last look.
        last: String,
    },
}

/// A running lab. Dropping it stops everything too, but does not wait for that.
#[derive(Debug)]
pub struct Lab {
    /// Where everything is.
    pub layout: Layout,
    /// How it was built.
    pub options: LabOptions,
    /// The clock all of the lab's records use.
    pub clock: SharedClock,
    supervisor: Supervisor,
    api: ApiClient,
    names: NameWatch,
    workload: Option<Workload>,
    janitor: Child,
    wan: Option<Wan>,
}

impl Lab {
    /// Starts everything and waits until the pair is healthy.
    pub async fn start(options: LabOptions) -> Result<Self, Error> {
        let lab = Self::start_parts(options).await?;
        lab.apply_spec().await?;
        let view = lab.wait_healthy(FIRST_HEALTH_LIMIT).await?;
        if let Some(holder) = &view.holder {
            lab.wait_named(holder, ELECTION_LIMIT).await?;
        }
        Ok(lab)
    }

    /// Starts every part, without a pair yet.
    pub async fn start_parts(options: LabOptions) -> Result<Self, Error> {
        options.check().map_err(Error::Options)?;
        let binary = supervise::find_binary(options.binary.as_deref()).map_err(Error::Options)?;
        let failed = |what| move |reason| Error::Environment { what, reason };
        let azurite = match options.witness {
            LabWitness::ObjectStore => Some(azurite::find(&binary).await.map_err(Error::Options)?),
            LabWitness::Server | LabWitness::Servers => None,
        };
        let authorities = authority::find(options.names).map_err(Error::Options)?;
        let pgbouncer = match options.pooler {
            true => Some(pooler::find().map_err(Error::Options)?),
            false => None,
        };
        let directory = layout::make_directory().map_err(failed("the lab's directory"))?;
        let janitor = start_janitor(&binary, &directory).await.map_err(failed("the janitor"))?;
        let wan = match options.own_network {
            true => Some(
                Wan::start(&options.sites(), &directory)
                    .await
                    .map_err(failed("the lab's network"))?,
            ),
            false => None,
        };
        let layout = Layout::create(directory, &options, wan.as_ref())
            .map_err(failed("ports, certificates and directories"))?;
        let prepared = authority::prepare(&authorities, &layout).await;
        prepared.map_err(failed("the name servers' zones"))?;
        let programs = (azurite.as_deref(), pgbouncer.as_deref());
        let manifest = config::write(&layout, &options, &binary, programs, &authorities)
            .map_err(failed("configuration files"))?;
        let mut supervisor = Supervisor::new(manifest)?;
        for node in &layout.core {
            supervisor.set_environment(&node.name, options.server_env.clone());
        }
        let endpoints = layout
            .core
            .iter()
            .map(|node| (node.name.clone(), format!("{}:{}", layout.hub, node.api_port)))
            .collect();
        let api = ApiClient::new(endpoints, &layout.operator)
            .map_err(|source| Error::Api { what: "setting up the API client", source })?;
        let names: Vec<String> =
            supervisor.manifest().parts.iter().map(|part| part.name.clone()).collect();
        for name in &names {
            supervisor.start(name)?;
        }
        let clock: SharedClock = Arc::new(BootClock);
        let watch = NameWatch::start(name_of(&layout), clock.clone());
        let lab = Self {
            layout,
            options,
            clock,
            supervisor,
            api,
            names: watch,
            workload: None,
            janitor,
            wan,
        };
        lab.wait_leader(ELECTION_LIMIT).await?;
        if lab.layout.object_store.is_some() {
            lab.create_container().await?;
        }
        if lab.options.witness.is_quorum() {
            lab.found_witness(&binary).await?;
        }
        Ok(lab)
    }

    /// Creates the object store's container, as an operator does once.
    async fn create_container(&self) -> Result<(), Error> {
        let Some(port) = self.layout.object_store else { return Ok(()) };
        self.until("the object store's container", ELECTION_LIMIT, async || {
            azurite::create_container(port).await
        })
        .await
    }

    /// Founds the quorum of acceptors, as an operator does once.
    async fn found_witness(&self, binary: &Path) -> Result<(), Error> {
        let config = self.layout.config_file("client");
        self.until("the witness's quorum to be founded", ELECTION_LIMIT, async || {
            let mut command = tokio::process::Command::new(binary);
            command.args(["witness", "init", "--config"]).arg(&config).kill_on_drop(true);
            let done = command.output().await.map_err(|error| error.to_string())?;
            match done.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
            }
        })
        .await
    }

    /// Gives the core the pair's spec.
    pub async fn apply_spec(&self) -> Result<(), Error> {
        let body = ApplyPair {
            spec: config::spec(&self.layout, &self.options),
            reason: "the lab's pair".into(),
        };
        self.until("the pair's spec to be accepted", ELECTION_LIMIT, async || {
            self.api.apply_pair(&body).await.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// Waits until `look` succeeds; its error says how it stands. A part that ends by itself ends
    /// the wait.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl AsyncFn() -> Result<T, String>,
    ) -> Result<T, Error> {
        let deadline = self.clock.now() + limit;
        loop {
            let last = match look().await {
                Ok(value) => return Ok(value),
                Err(last) => last,
            };
            self.supervisor.check()?;
            if self.clock.now() >= deadline {
                return Err(Error::Timeout { what: what.into(), limit, last });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until the core has a leader that answers, and says who.
    pub async fn wait_leader(&self, limit: Duration) -> Result<String, Error> {
        self.until("the control core's election", limit, async || {
            let core = self.api.core().await.map_err(|error| error.to_string())?;
            core.leader.ok_or_else(|| "no leader".to_owned())
        })
        .await
    }

    /// Waits until the pair is whole: one primary, the others streaming, the ledger full.
    pub async fn wait_healthy(&self, limit: Duration) -> Result<PairView, Error> {
        self.until("the pair to be whole", limit, async || {
            let view = self.view().await?;
            let problems = health::problems(&view);
            if problems.is_empty() { Ok(view) } else { Err(problems.join("; ")) }
        })
        .await
    }

    /// Waits until some region holds the lease under an epoch later than `before`.
    pub async fn wait_moved(&self, before: Epoch, limit: Duration) -> Result<PairView, Error> {
        self.until("the lease to move", limit, async || {
            let view = self.view().await?;
            match (view.epoch, &view.holder) {
                (Some(epoch), Some(_)) if epoch > before => Ok(view),
                (epoch, holder) => Err(format!("epoch {epoch:?}, holder {holder:?}")),
            }
        })
        .await
    }

    /// Waits until the name leads to a region.
    pub async fn wait_named(&self, region: &RegionId, limit: Duration) -> Result<(), Error> {
        let (name, due) = (name_of(&self.layout), vec![self.address(region)?]);
        self.until(&format!("the name to lead to {region}"), limit, async || {
            let resolved = name.resolve().await?;
            let right = resolved.addresses == due;
            if right { Ok(()) } else { Err(format!("it says {:?}", resolved.addresses)) }
        })
        .await
    }

    async fn view(&self) -> Result<PairView, String> {
        self.api.pair(&self.layout.pair()).await.map_err(|error| error.to_string())
    }

    /// The pair as the core knows it.
    pub async fn pair(&self) -> Result<PairView, Error> {
        let view = self.api.pair(&self.layout.pair()).await;
        view.map_err(|source| Error::Api { what: "reading the pair", source })
    }

    /// Asks for a switchover and returns the accepted operation; without a method it is the best that
    /// the pair allows.
    pub async fn switchover(
        &self,
        to: &RegionId,
        method: Option<Method>,
        reason: &str,
    ) -> Result<Operation, Error> {
        let request =
            SwitchoverRequest { to: to.clone(), method, dry_run: false, reason: reason.to_owned() };
        match self.api.switchover(&self.layout.pair(), &request).await {
            Ok(Started::Operation(operation)) => Ok(operation),
            Ok(Started::Plan(plan)) => Err(Error::Options(format!("only planned: {plan:?}"))),
            Err(source) => Err(Error::Api { what: "asking for a switchover", source }),
        }
    }

    /// Waits until nothing speaks against a hot switchover to `to`.
    pub async fn wait_hot(&self, to: &RegionId, limit: Duration) -> Result<(), Error> {
        let request = SwitchoverRequest {
            to: to.clone(),
            method: Some(Method::Hot),
            dry_run: true,
            reason: String::new(),
        };
        self.until("a hot switchover to be possible", limit, async || {
            match self.api.switchover(&self.layout.pair(), &request).await {
                Ok(Started::Plan(plan)) if plan.allowed => Ok(()),
                Ok(Started::Plan(plan)) => Err(plan.refusals.join("; ")),
                Ok(Started::Operation(operation)) => Err(format!("{} runs", operation.id)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Waits until an operation has ended, and returns it.
    pub async fn wait_ended(&self, id: &OperationId, limit: Duration) -> Result<Operation, Error> {
        self.until(&format!("the end of operation {id}"), limit, async || {
            let operation = self.api.operation(id).await.map_err(|error| error.to_string())?;
            let last = operation.steps.last().map(|step| (step.step, step.outcome.clone()));
            let standing = format!("{:?}, last step {last:?}", operation.state);
            if operation.state.is_final() { Ok(operation) } else { Err(standing) }
        })
        .await
    }

    /// Waits until the failover that superseded `before` is known to the core, and returns it.
    pub async fn failover_after(&self, before: Epoch, limit: Duration) -> Result<Operation, Error> {
        let query = OperationsQuery { pair: Some(self.layout.pair()), ..Default::default() };
        let fits = |operation: &Operation| {
            operation.at_epoch >= before && matches!(operation.kind, OperationKind::Failover { .. })
        };
        self.until("the failover's journal to reach the core", limit, async || {
            let operations =
                self.api.operations(&query).await.map_err(|error| error.to_string())?;
            operations.into_iter().find(fits).ok_or_else(|| "no such operation yet".to_owned())
        })
        .await
    }

    /// The core's API.
    pub fn api(&self) -> &ApiClient {
        &self.api
    }

    /// The operator's certificate.
    pub fn operator(&self) -> &TlsFiles {
        &self.layout.operator
    }

    /// What `lab.json` says.
    pub fn manifest(&self) -> &Manifest {
        self.supervisor.manifest()
    }

    /// What the name answered over time.
    pub fn names(&self) -> &NameWatch {
        &self.names
    }

    /// Starts writers that follow the name or, in a lab with poolers, write through these.
    pub async fn start_workload(&mut self, writers: usize) -> Result<(), Error> {
        let (name, port) = (name_of(&self.layout), self.layout.postgres_port);
        let poolers: Vec<_> = self.layout.regions.iter().filter_map(pooler::address).collect();
        let following = if poolers.is_empty() { writers } else { 0 };
        let mut workload = Workload::start(name, port, following, self.clock.clone()).await?;
        if !poolers.is_empty() {
            for first in 0..writers {
                workload.pooled(&poolers, first);
            }
        }
        self.workload = Some(workload);
        Ok(())
    }

    /// Starts writers that all stay with one region's pooler.
    pub async fn start_workload_at(
        &mut self,
        region: &RegionId,
        writers: usize,
    ) -> Result<(), Error> {
        let (name, port) = (name_of(&self.layout), self.layout.postgres_port);
        let pooler = self.pooler(region)?;
        let mut workload = Workload::start(name, port, 0, self.clock.clone()).await?;
        for _ in 0..writers {
            workload.pooled(&[pooler], 0);
        }
        self.workload = Some(workload);
        Ok(())
    }

    /// Where a region's pooler answers.
    pub fn pooler(&self, region: &RegionId) -> Result<SocketAddr, Error> {
        let none = || Error::Options(format!("{region} has no pooler"));
        self.layout.region(region).and_then(pooler::address).ok_or_else(none)
    }

    /// The workload; an error when none was started.
    pub fn workload(&mut self) -> Result<&mut Workload, Error> {
        self.workload.as_mut().ok_or_else(|| Error::Options("no workload was started".into()))
    }

    /// The newest thing that kept a client from trying.
    pub fn trouble(&self) -> Option<String> {
        self.workload.as_ref().and_then(|workload| workload.recorder().last_trouble())
    }

    /// Waits for an acknowledgement of a statement sent from now on, by `from` if given.
    pub async fn wait_acknowledged(
        &self,
        from: Option<IpAddr>,
        limit: Duration,
    ) -> Result<Tick, Error> {
        let since = self.clock.now();
        let waited = self.until("an acknowledged write", limit, async || {
            let recorder = self.workload.as_ref().map(Workload::recorder);
            let recorder = recorder.ok_or_else(|| "no workload was started".to_owned())?;
            let trouble = || format!("the last trouble was: {:?}", recorder.last_trouble());
            recorder.first_acknowledged(since, from).ok_or_else(trouble)
        });
        match waited.await {
            Err(Error::Timeout { what, limit, last }) => {
                let pair = match self.view().await {
                    Ok(view) => health::problems(&view).join("; "),
                    Err(error) => error,
                };
                Err(Error::Timeout { what, limit, last: format!("{last}; the pair: {pair}") })
            }
            other => other,
        }
    }

    /// The lab's own network; an error when it runs on loopback.
    pub fn wan(&self) -> Result<&Wan, Error> {
        let none = || Error::Options("this lab has no network of its own".into());
        self.wan.as_ref().ok_or_else(none)
    }

    /// Where a region's PostgreSQL answers.
    pub fn address(&self, region: &RegionId) -> Result<IpAddr, Error> {
        let unknown = || Error::Options(format!("the lab has no region {region}"));
        self.layout.address(region).ok_or_else(unknown)
    }

    /// Stops everything and removes the lab's directory; returns when nothing is left.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.workload.take());
        let directory = self.layout.directory.clone();
        let failed = |reason| Error::Environment { what: "clearing the lab away", reason };
        // Closing its standard input is what the janitor waits for.
        drop(self.janitor.stdin.take());
        let ended = tokio::time::timeout(JANITOR_LIMIT, self.janitor.wait()).await;
        // Does nothing when the janitor did its work, and its work when it could not.
        let swept = continuum_runtime::seed::blocking(move || janitor::sweep(&directory)).await;
        swept.and_then(|result| result).map_err(failed)?;
        ended.map_err(std::io::Error::from).and_then(|result| result).map_err(failed)?;
        Ok(())
    }
}

fn name_of(layout: &Layout) -> Name {
    Name { servers: vec![layout.name_server()], name: NAME.into() }
}

/// Starts the janitor and waits until nothing at the lab's terminal can end it.
async fn start_janitor(binary: &std::path::Path, directory: &PathBuf) -> std::io::Result<Child> {
    let mut command = Command::new(binary);
    command.args(["lab-janitor", "--parent-pid", &std::process::id().to_string(), "--directory"]);
    command.arg(directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn()?;
    let mut out = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
    let mut said = vec![0; READY.len()];
    tokio::time::timeout(JANITOR_LIMIT, out.read_exact(&mut said)).await??;
    if said != READY {
        return Err(std::io::Error::other("the janitor did not say that it is ready"));
    }
    Ok(child)
}

/// The `continuum` binary a lab would start its parts from.
pub fn binary() -> Result<PathBuf, Error> {
    supervise::find_binary(None).map_err(Error::Options)
}
