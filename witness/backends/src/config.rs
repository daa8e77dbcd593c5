//! How a program is told where the witness is: one server, or the acceptors of a quorum.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::{Identity, SharedClock, SharedNetwork};
use continuum_witness::quorum::QuorumHealth;
use continuum_witness::{
    Acceptor, Cell, CellStore, CoreCells, Put, QuorumStore, RegisterStore, ServerCells,
    ServerStore, StoreError, Tag,
};
use serde::{Deserialize, Serialize};

use crate::cloudflare::{CloudflareCells, CloudflareConfig};
use crate::etcd::{EtcdConfig, EtcdStore};
use crate::kubernetes::{KubernetesConfig, KubernetesStore, MemberCluster, RefusedAcceptor};
use crate::object_store::{ObjectCells, ObjectStoreConfig};

/// Makes a register store. Each is a proposer of its own.
pub type StoreFactory = Arc<dyn Fn() -> Arc<dyn RegisterStore> + Send + Sync>;

/// The `[witness]` section: either one server by `name` and `address`, or a quorum by `[[acceptor]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessAccess {
    /// The one server's name, as in its certificate.
    #[serde(default)]
    pub name: Option<String>,
    /// Where the one server listens, `host:port`.
    #[serde(default)]
    pub address: Option<String>,
    /// The acceptors: 1, 3 or 5, and those on standby.
    #[serde(default)]
    pub acceptor: Vec<AcceptorConfig>,
    /// Names of those of them that are to replace others: known, and asked for nothing until then.
    #[serde(default)]
    pub standby: Vec<String>,
    /// Whether a quorum is accepted that the loss of one region would end.
    #[serde(default)]
    pub accept_single_region_risk: bool,
}

/// One acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AcceptorConfig {
    /// A witness server.
    Server(ServerAcceptor),
    /// The control core: all its nodes are one acceptor.
    Core(CoreAcceptor),
    /// A bucket with conditional writes.
    ObjectStore(StoreAcceptor<ObjectStoreConfig>),
    /// A Durable Object of Cloudflare.
    Cloudflare(StoreAcceptor<CloudflareConfig>),
    /// ConfigMaps of a Kubernetes cluster.
    Kubernetes(StoreAcceptor<KubernetesConfig>),
    /// An etcd.
    Etcd(StoreAcceptor<EtcdConfig>),
}

/// A store of others as an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreAcceptor<T> {
    /// What this acceptor is called.
    pub name: String,
    /// The region whose loss takes it away; a site of its own when absent.
    #[serde(default)]
    pub region: Option<String>,
    /// Where the store is.
    pub store: T,
}

/// A witness server as an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerAcceptor {
    /// Its name, as in its certificate.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// The region whose loss takes it away; a site of its own when absent.
    #[serde(default)]
    pub region: Option<String>,
}

/// The control core as an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreAcceptor {
    /// What this acceptor is called.
    pub name: String,
    /// The control nodes.
    pub nodes: Vec<CoreNode>,
    /// The region whose loss takes away the majority of its nodes; absent when none does.
    #[serde(default)]
    pub region: Option<String>,
}

/// A control node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoreNode {
    /// Its name, as in its certificate.
    pub name: String,
    /// Where it answers gRPC, `host:port`.
    pub address: String,
}

/// What is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, dotted, below `witness`; empty for the section as a whole.
    pub path: String,
    /// What is wrong, and what is accepted.
    pub text: String,
}

fn problem(path: impl Into<String>, text: impl Into<String>) -> Problem {
    Problem { path: path.into(), text: text.into() }
}

impl AcceptorConfig {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Server(server) => &server.name,
            Self::Core(core) => &core.name,
            Self::ObjectStore(store) => &store.name,
            Self::Cloudflare(store) => &store.name,
            Self::Kubernetes(store) => &store.name,
            Self::Etcd(store) => &store.name,
        }
    }

    /// The region whose loss takes it away.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Server(server) => server.region.as_deref(),
            Self::Core(core) => core.region.as_deref(),
            Self::ObjectStore(store) => store.region.as_deref(),
            Self::Cloudflare(store) => store.region.as_deref(),
            Self::Kubernetes(store) => store.region.as_deref(),
            Self::Etcd(store) => store.region.as_deref(),
        }
    }

    /// Addresses (`host:port`) it names, with their keys; the stores of others check theirs.
    pub fn addresses(&self) -> Vec<(String, &str)> {
        match self {
            Self::Server(server) => vec![("address".into(), &server.address)],
            Self::Core(core) => {
                let key = |(at, node)| (format!("nodes.{at}.address"), node);
                let nodes = core.nodes.iter().map(|node| &*node.address);
                nodes.enumerate().map(key).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Opens the way to it: calls return within `deadline`, or its own where that is shorter.
    pub async fn open(
        &self,
        network: &SharedNetwork,
        deadline: Duration,
    ) -> Result<Arc<dyn CellStore>, StoreError> {
        Ok(match self {
            Self::Server(ServerAcceptor { name, address, .. }) => {
                Arc::new(ServerCells::new(network.clone(), &**address, &**name, deadline))
            }
            Self::Core(core) => {
                let nodes = core.nodes.iter().map(|n| (n.name.clone(), n.address.clone()));
                Arc::new(CoreCells::new(network, nodes, deadline))
            }
            Self::ObjectStore(StoreAcceptor { store, .. }) => {
                let deadline = deadline.min(store.deadline);
                Arc::new(ObjectCells::open(&ObjectStoreConfig { deadline, ..store.clone() })?)
            }
            Self::Cloudflare(StoreAcceptor { store, .. }) => {
                let deadline = deadline.min(store.deadline);
                Arc::new(CloudflareCells::open(&CloudflareConfig { deadline, ..store.clone() })?)
            }
            Self::Kubernetes(StoreAcceptor { store, .. }) => {
                let deadline = deadline.min(store.deadline);
                let config = KubernetesConfig { deadline, ..store.clone() };
                Arc::new(KubernetesStore::new(&config).await?)
            }
            Self::Etcd(StoreAcceptor { store, .. }) => {
                let deadline = deadline.min(store.deadline);
                Arc::new(EtcdStore::new(&EtcdConfig { deadline, ..store.clone() })?)
            }
        })
    }
}

/// A store that is opened by its first call, on the runtime that makes it.
struct Lazy {
    config: AcceptorConfig,
    network: SharedNetwork,
    deadline: Duration,
    opened: tokio::sync::OnceCell<Arc<dyn CellStore>>,
}

impl Lazy {
    async fn opened(&self) -> Result<&dyn CellStore, StoreError> {
        let open = || self.config.open(&self.network, self.deadline);
        Ok(self.opened.get_or_try_init(open).await?.as_ref())
    }
}

#[async_trait]
impl CellStore for Lazy {
    async fn get(&self, key: &str) -> Result<Option<Cell>, StoreError> {
        self.opened().await?.get(key).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Option<&Tag>,
        bytes: Vec<u8>,
    ) -> Result<Put, StoreError> {
        self.opened().await?.put(key, expected, bytes).await
    }

    async fn delete(&self, key: &str, expected: &Tag) -> Result<bool, StoreError> {
        self.opened().await?.delete(key, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.opened().await?.list(prefix).await
    }
}

impl WitnessAccess {
    /// Finds everything that must not be.
    pub fn check(&self) -> Vec<Problem> {
        let one = (&self.name, &self.address);
        match (one, self.members().count()) {
            ((None, None), 1 | 3 | 5) => self.check_quorum(),
            ((None, None), 0) => vec![problem(
                "",
                "names no witness: give name and address of one server, or [[witness.acceptor]]",
            )],
            ((None, None), count) => vec![problem(
                "acceptor",
                format!(
                    "lists {count}; 1, 3 or 5 are accepted: an even number bears no more losses"
                ),
            )],
            ((Some(_), Some(_)), 0) => Vec::new(),
            ((None, Some(_)), 0) => vec![problem("name", "is needed and not set")],
            ((Some(_), None), 0) => vec![problem("address", "is needed and not set")],
            (_, _) => vec![problem("acceptor", "is given beside name or address: choose one")],
        }
    }

    /// The acceptors but those on standby.
    pub fn members(&self) -> impl Iterator<Item = &AcceptorConfig> {
        self.acceptor.iter().filter(|acceptor| !self.is_standby(acceptor.name()))
    }

    fn is_standby(&self, name: &str) -> bool {
        self.standby.iter().any(|standby| standby == name)
    }

    fn check_quorum(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut names = BTreeMap::new();
        for (at, acceptor) in self.acceptor.iter().enumerate() {
            if names.insert(acceptor.name(), at).is_some() {
                let text = format!("{} is the name of another acceptor", acceptor.name());
                problems.push(problem(format!("acceptor.{at}.name"), text));
            }
            if matches!(acceptor, AcceptorConfig::Core(core) if core.nodes.is_empty()) {
                problems.push(problem(format!("acceptor.{at}.nodes"), "names no control node"));
            }
        }
        for name in self.standby.iter().filter(|name| !names.contains_key(&***name)) {
            problems.push(problem("standby", format!("{name} is the name of no acceptor")));
        }
        let count = self.members().count();
        let majority = count / 2 + 1;
        for (region, lost) in self.regions() {
            if count - lost < majority && !self.accept_single_region_risk {
                problems.push(problem(
                    "acceptor",
                    format!(
                        "with region {region} {lost} of {count} acceptors are lost, and the lease \
                         with them; move one elsewhere, or set accept_single_region_risk = true"
                    ),
                ));
            }
        }
        problems
    }

    fn regions(&self) -> BTreeMap<&str, usize> {
        let mut regions = BTreeMap::new();
        for region in self.members().filter_map(AcceptorConfig::region) {
            *regions.entry(region).or_insert(0) += 1;
        }
        regions
    }

    /// What is allowed and should be known: acceptors that fail together.
    pub fn warnings(&self) -> Vec<String> {
        let shared = self.regions().into_iter().filter(|(_, count)| *count > 1);
        let names = |region: &str| -> String {
            let inside = self.members().filter(|a| a.region() == Some(region));
            inside.map(AcceptorConfig::name).collect::<Vec<_>>().join(", ")
        };
        shared
            .map(|(region, _)| {
                format!("acceptors {} share the failure domain {region}", names(region))
            })
            .collect()
    }

    /// Opens every acceptor once and lets it go, so that what cannot work is said at the start.
    pub async fn try_open(
        &self,
        network: &SharedNetwork,
        deadline: Duration,
    ) -> Result<(), (String, StoreError)> {
        for acceptor in &self.acceptor {
            let opened = acceptor.open(network, deadline).await;
            opened.map_err(|error| (acceptor.name().to_owned(), error))?;
        }
        Ok(())
    }

    /// Refuses a Kubernetes cluster as the only acceptor where this agent's member runs in it
    /// (`member`, or the cluster whose pod this is): with it both would be gone. More than one
    /// acceptor outlive a member's cluster, and nothing is refused.
    ///
    /// The name of the acceptor with what is wrong: [`StoreError::Misconfigured`].
    pub async fn refuse_member_cluster(
        &self,
        member: Option<&MemberCluster>,
        deadline: Duration,
    ) -> Result<(), (String, StoreError)> {
        let mut members = self.members();
        let (Some(AcceptorConfig::Kubernetes(only)), None) = (members.next(), members.next())
        else {
            return Ok(());
        };
        let named = |error| (only.name.clone(), error);
        let own = MemberCluster::identity(member, deadline).await.map_err(named)?;
        let Some(own) = own else { return Ok(()) };
        let config = KubernetesConfig { deadline, ..only.store.clone() };
        let acceptor = KubernetesStore::new(&config).await.map_err(named)?.identity().await;
        match acceptor.same_as(&own) {
            None => Ok(()),
            Some(same) => {
                Err(named(StoreError::Misconfigured(RefusedAcceptor { same }.to_string())))
            }
        }
    }

    /// The acceptors, each opened by its first call.
    pub fn acceptors(&self, network: &SharedNetwork, deadline: Duration) -> Vec<Acceptor> {
        let open = |acceptor: &AcceptorConfig| Acceptor {
            name: acceptor.name().to_owned(),
            store: Arc::new(Lazy {
                config: acceptor.clone(),
                network: network.clone(),
                deadline,
                opened: tokio::sync::OnceCell::new(),
            }),
        };
        self.acceptor.iter().map(open).collect()
    }

    /// Where to note what is seen of the acceptors; `None` where the witness is one server.
    pub fn health(&self, clock: &SharedClock) -> Option<QuorumHealth> {
        let names = self.acceptor.iter().map(|acceptor| acceptor.name().to_owned());
        (!self.acceptor.is_empty()).then(|| QuorumHealth::new(clock.clone(), names))
    }

    /// Register stores of a checked section, as `me` is known to the acceptors. Every call returns
    /// within `deadline`. What they see of the acceptors is noted in `health`.
    pub fn stores(
        &self,
        network: &SharedNetwork,
        me: &Identity,
        deadline: Duration,
        health: Option<QuorumHealth>,
    ) -> StoreFactory {
        let (network, me) = (network.clone(), me.clone());
        if let (Some(name), Some(address)) = (self.name.clone(), self.address.clone()) {
            return Arc::new(move || {
                Arc::new(ServerStore::new(network.clone(), &*address, &*name, deadline))
            });
        }
        let access = self.clone();
        // Each store opens its own way: a store that hangs must not hold another's calls back.
        Arc::new(move || {
            let acceptors = access.acceptors(&network, deadline);
            let store = QuorumStore::new(acceptors, me.clone(), deadline);
            match &health {
                Some(health) => Arc::new(store.watched(health.clone())),
                None => Arc::new(store),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, region: Option<&str>) -> AcceptorConfig {
        AcceptorConfig::Server(ServerAcceptor {
            name: name.into(),
            address: "127.0.0.1:1".into(),
            region: region.map(str::to_owned),
        })
    }

    fn quorum(acceptor: Vec<AcceptorConfig>) -> WitnessAccess {
        WitnessAccess { acceptor, ..WitnessAccess::default() }
    }

    #[test]
    fn a_region_that_takes_the_majority_along_is_refused_unless_accepted() {
        let three = |third| {
            quorum(vec![server("a", Some("fsn")), server("b", Some("fsn")), server("c", third)])
        };
        let mut access = three(Some("hel"));
        let problems = access.check();
        assert!(problems[0].text.contains("with region fsn 2 of 3"), "{problems:?}");
        access.accept_single_region_risk = true;
        assert_eq!(access.check(), []);
        assert_eq!(access.warnings(), ["acceptors a, b share the failure domain fsn"]);
        let apart = vec![server("a", Some("fsn")), server("b", Some("hel")), server("c", None)];
        assert_eq!(quorum(apart.clone()).check(), []);
        assert!(quorum(apart).warnings().is_empty());
    }

    #[test]
    fn who_is_on_standby_is_no_acceptor_yet() {
        let four = ["a", "b", "c", "d"].map(|name| server(name, (name > "b").then_some("fsn")));
        let mut access = quorum(four.to_vec());
        assert!(access.check()[0].text.contains("lists 4"), "{:?}", access.check());
        access.standby = vec!["d".into()];
        assert_eq!(access.check(), []);
        access.standby.push("e".into());
        let problems = access.check();
        assert_eq!(problems[0].text, "e is the name of no acceptor");
    }

    #[derive(Debug, Deserialize)]
    struct File {
        witness: WitnessAccess,
    }

    fn parse(text: &str) -> Result<WitnessAccess, String> {
        toml::from_str::<File>(text).map(|file| file.witness).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_documentation_is_right() {
        let page = include_str!("../../../docs/WITNESS.md");
        let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next());
        let access = parse(example.unwrap()).unwrap();
        assert_eq!(access.check(), []);
        let names: Vec<&str> = access.acceptor.iter().map(AcceptorConfig::name).collect();
        assert_eq!(names, ["core", "w1", "bucket"]);
    }

    #[test]
    fn every_kind_is_read_and_what_is_misspelt_is_refused() {
        let store = |kind: &str, store: &str| {
            parse(&format!(
                "[[witness.acceptor]]\nkind = {kind:?}\nname = \"x\"\nstore = {{ {store} }}\n"
            ))
        };
        for (kind, keys) in [
            ("object-store", "kind = \"azure\", bucket = \"b\""),
            ("cloudflare", "url = \"https://w.example\", prefix = \"p\", token_file = \"/t\""),
            ("kubernetes", "namespace = \"continuum\""),
            ("etcd", "endpoints = [\"http://127.0.0.1:2379\"]"),
        ] {
            let access = store(kind, keys).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(access.check(), [], "{kind}");
            let misspelt = store(kind, &format!("{keys}, typo = 1"));
            assert!(misspelt.is_err_and(|error| error.contains("typo")), "{kind}");
        }
        assert!(store("kv", "x = 1").is_err_and(|error| error.contains("kv")));
    }

    #[test]
    fn counts_names_and_mixtures_are_checked() {
        let two = quorum(vec![server("a", None), server("b", None)]);
        assert!(two.check()[0].text.contains("1, 3 or 5"));
        let twice = quorum(vec![server("a", None), server("a", None), server("b", None)]);
        assert_eq!(twice.check()[0].path, "acceptor.1.name");
        assert!(WitnessAccess::default().check()[0].text.contains("names no witness"));
        let both = WitnessAccess { name: Some("w".into()), ..quorum(vec![server("a", None)]) };
        assert!(both.check()[0].text.contains("choose one"));
        let half = WitnessAccess { name: Some("w".into()), ..WitnessAccess::default() };
        assert_eq!(half.check()[0].path, "address");
    }
}
