//! A witness server on loopback with certificates of its own authority.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::{PairId, RegionId};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::{TlsFiles, TlsNetwork};
use continuum_runtime::{Identity, SharedNetwork, seed};
use continuum_witness::{ServeError, Server, ServerStore, WitnessConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Lab {
    pub directory: tempfile::TempDir,
    authority: Authority,
}

pub struct Running {
    pub address: String,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap().unwrap();
    }
}

impl Lab {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("tls")).unwrap();
        Self { directory, authority }
    }

    pub fn issue(&self, identity: &str) -> TlsFiles {
        let identity: Identity = identity.parse().unwrap();
        self.authority.issue(&identity).unwrap()
    }

    pub fn network(&self, identity: &str) -> SharedNetwork {
        Arc::new(TlsNetwork::load(&self.issue(identity)).unwrap())
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn config(&self, name: &str, listen: &str) -> WitnessConfig {
        config(name, listen, self.data())
    }

    pub async fn start(&self, name: &str) -> Running {
        self.start_at(name, "127.0.0.1:0").await
    }

    pub async fn start_at(&self, name: &str, listen: &str) -> Running {
        let network = self.network(&format!("witness/{name}"));
        let server = Server::bind(self.config(name, listen), &network).await.unwrap();
        let address = server.local().to_string();
        let (stop, stopped) = oneshot::channel();
        let server = seed::spawn(server.run(async move {
            stopped.await.unwrap();
        }));
        Running { address, stop, server }
    }

    pub fn client(&self, identity: &str, address: &str, deadline: Duration) -> ServerStore {
        ServerStore::new(self.network(identity), address, "w1", deadline)
    }
}

pub fn config(name: &str, listen: &str, data_directory: PathBuf) -> WitnessConfig {
    let members = ["fsn", "hel"].map(|name| RegionId::new(name).unwrap());
    WitnessConfig {
        name: name.into(),
        listen: listen.into(),
        data_directory,
        pairs: BTreeMap::from([(PairId::new("app").unwrap(), BTreeSet::from(members))]),
    }
}
