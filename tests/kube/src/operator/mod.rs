//! A stand-in for the CloudNativePG operator: it drives real PostgreSQL for the `Cluster` objects of
//! one API server, by the protocol that the real one documents. One instance a cluster.
//!
//! What it leaves out: further instances, archives, certificates (its PostgreSQL speaks plain on
//! loopback), upgrades.

pub mod admission;
mod backups;
pub mod instance;
pub mod reconcile;
mod schedule;
pub mod spec;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::server::ApiServer;
use crate::server::exec::{Command, Streams};
use crate::store::Key;
use reconcile::Reconciler;

/// A definition of `Cluster` that takes everything, where there is no published one.
#[must_use]
pub fn open_definition() -> Value {
    open_definition_of("Cluster")
}

/// The same of a kind of the operator's.
#[must_use]
pub fn open_definition_of(kind: &str) -> Value {
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.postgresql.cnpg.io") },
        "spec": {
            "group": "postgresql.cnpg.io",
            "scope": "Namespaced",
            "names": { "plural": plural, "singular": singular, "kind": kind },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "type": "object", "properties": { "spec": open, "status": open },
                } },
            }],
        },
    })
}

/// The user that the operator asks as: faults of a test can leave it out.
pub const USER: &str = "operator";

/// How often it looks again at what is not done.
const REQUEUE: Duration = Duration::from_millis(100);

/// What the real operator was seen to do wrong; each can be switched on and off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misbehaviour {
    /// The token is gone again after the next look.
    pub token_wiped: bool,
    /// The demotion stops before its token.
    pub token_withheld: bool,
    /// The demotion ends with the token of this Cluster's first one.
    pub token_stale: bool,
    /// A fenced cluster is said to be healthy.
    pub healthy_while_fenced: bool,
    /// The archiver hangs, and a fast shutdown waits for it until the bound.
    pub slow_shutdown: bool,
    /// What the archiver tries fails.
    pub archive_failing: bool,
    /// Nothing is done at all; PostgreSQL lives on.
    pub down: bool,
    /// No backup is made: the plugin that is asked for is not there.
    pub backup_plugin_missing: bool,
    /// No backup comes further: WAL is not archived.
    pub backup_archive_failing: bool,
    /// A backup that has begun does not end.
    pub backup_held: bool,
}

/// Where the instances of one operator are.
#[derive(Clone, Debug)]
pub struct Site {
    /// A directory that PostgreSQL's user may enter.
    pub directory: PathBuf,
    /// The directory of PostgreSQL's programs.
    pub bin: PathBuf,
    /// The address that they listen at, one of loopback.
    pub address: IpAddr,
    /// The port of the only cluster; each gets a free one where there is none.
    pub port: Option<u16>,
}

impl Site {
    /// At 127.0.0.1 and free ports.
    #[must_use]
    pub fn new(directory: PathBuf, bin: PathBuf) -> Self {
        Self { directory, bin, address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None }
    }
}

/// What the handle, the loop and the commands in pods share.
#[derive(Debug, Default)]
pub(crate) struct Common {
    misbehaviour: Mutex<Misbehaviour>,
    ports: Mutex<BTreeMap<Key, u16>>,
    troubles: Mutex<Vec<String>>,
    looks: watch::Sender<u64>,
    given: Option<u16>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Common {
    pub(crate) fn misbehaviour(&self) -> Misbehaviour {
        *lock(&self.misbehaviour)
    }

    pub(crate) fn port(&self, namespace: &str, name: &str) -> u16 {
        let key = (namespace.to_owned(), name.to_owned());
        *lock(&self.ports).entry(key).or_insert_with(|| self.given.unwrap_or_else(free_port))
    }

    pub(crate) fn trouble(&self, what: String) {
        let mut troubles = lock(&self.troubles);
        // The same trouble at every look is told once.
        if troubles.last() != Some(&what) {
            troubles.push(what);
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0");
    listener.and_then(|listener| listener.local_addr()).map_or(0, |address| address.port())
}

/// A running operator. Its PostgreSQL ends with it.
#[derive(Debug)]
pub struct Operator {
    common: Arc<Common>,
    site: Site,
    running: JoinHandle<()>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Operator {
    /// Starts one for a server, whose webhook and whose commands in pods it becomes too. Call it
    /// from a thread that outlives it: PostgreSQL ends with the thread.
    ///
    /// # Errors
    /// The client could not be made.
    pub fn start(server: &ApiServer, site: Site) -> kube::Result<Self> {
        let client = kube::Client::try_from(server.config(USER))?;
        let common = Arc::new(Common { given: site.port, ..Common::default() });
        server.on_admission("vcluster.cnpg.io", |resource, object| {
            let own = resource.group == "postgresql.cnpg.io" && resource.kind == "Cluster";
            if own { admission::refusals(object) } else { Vec::new() }
        });
        let (shared, place) = (common.clone(), site.clone());
        server.on_exec(Arc::new(move |command, streams| {
            run(shared.clone(), place.clone(), command, streams).boxed()
        }));
        let mut reconciler = Reconciler::new(client, site.clone(), common.clone());
        let looked = common.clone();
        let running = continuum_runtime::seed::spawn(async move {
            loop {
                reconciler.look().await;
                looked.looks.send_modify(|looks| *looks += 1);
                tokio::time::sleep(REQUEUE).await;
            }
        });
        Ok(Self { common, site, running })
    }

    /// Returns once it has looked so often again, from a look that began after the call. A look of an
    /// operator that is down sees nothing.
    pub async fn looks(&self, often: u64) {
        let mut looks = self.common.looks.subscribe();
        let end = *looks.borrow() + often + 1;
        let over = looks.wait_for(|looks| *looks >= end).await;
        over.expect("the operator runs as long as this handle");
    }

    /// The port at which a cluster's PostgreSQL is or will be, on 127.0.0.1.
    #[must_use]
    pub fn port(&self, namespace: &str, name: &str) -> u16 {
        self.common.port(namespace, name)
    }

    /// Makes it behave so from its next look on; an archiver hangs, fails or goes on at once.
    ///
    /// # Errors
    /// The archiver could not be told.
    pub fn misbehave(&self, how: Misbehaviour) -> std::io::Result<()> {
        *lock(&self.common.misbehaviour) = how;
        for (namespace, name) in lock(&self.common.ports).keys() {
            let directory = self.site.directory.join(namespace).join(name);
            instance::mark(&directory, instance::SLOW, how.slow_shutdown)?;
            instance::mark(&directory, instance::FAILING, how.archive_failing)?;
        }
        Ok(())
    }

    /// What it could not do, for a failed test.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        lock(&self.common.troubles).clone()
    }
}

/// Runs a command in a pod: in the directory of its PostgreSQL, as its user.
async fn run(common: Arc<Common>, site: Site, command: Command, mut streams: Streams) -> i32 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let name = command.pod.rsplit_once('-').map_or("", |(name, _)| name);
    let directory = site.directory.join(&command.namespace).join(name);
    let port = common.port(&command.namespace, name);
    let started =
        instance::Instance::new(&site.bin, &directory, site.address, port).and_then(|instance| {
            let Some((program, arguments)) = command.line.split_first() else {
                return Err(std::io::ErrorKind::InvalidInput.into());
            };
            let mut command = instance.command(program);
            let piped = std::process::Stdio::piped;
            command.args(arguments).stdin(piped()).stdout(piped()).stderr(piped()).spawn()
        });
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            let _gone = streams.stderr.send(error.to_string().into_bytes()).await;
            return 126;
        }
    };
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        let Some(mut stdin) = stdin else { return };
        while let Some(bytes) = streams.stdin.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let outputs = async {
        let (mut printed, mut complained) = (Vec::new(), Vec::new());
        let one = async {
            if let Some(mut out) = out {
                let _ended = out.read_to_end(&mut printed).await;
            }
            let _gone = streams.stdout.send(printed).await;
        };
        let other = async {
            if let Some(mut err) = err {
                let _ended = err.read_to_end(&mut complained).await;
            }
            let _gone = streams.stderr.send(complained).await;
        };
        tokio::join!(one, other);
        child.wait().await.ok().and_then(|status| status.code()).unwrap_or(137)
    };
    tokio::pin!(outputs);
    tokio::select! {
        code = &mut outputs => code,
        () = feed => outputs.await,
    }
}
