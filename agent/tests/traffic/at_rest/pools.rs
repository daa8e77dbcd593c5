//! Node pools keep the contract.

use std::io::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use continuum_agent::node_pool::config::NodePoolConfig;
use continuum_agent::node_pool::contract::{self, Stand};
use continuum_agent::node_pool::{NodePool, PoolError, Scale, open_alone};
use continuum_runtime::{BootClock, SharedClock};
use continuum_test_kube::Effect;
use serde_json::{Value, json};

use super::eks::{Eks, KEYS};
use super::sink::{SECRET, Sink};
use crate::kubernetes::server::{MACHINES, Server};

const WORKERS: &str = "/apis/cluster.x-k8s.io/v1/namespaces/shop/machinedeployments/workers";

fn open(config: Value) -> Arc<dyn NodePool> {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let config: NodePoolConfig = serde_json::from_value(config).unwrap();
    assert_eq!(config.problems(), []);
    open_alone(&config, &(Arc::new(BootClock) as SharedClock)).unwrap()
}

struct Machines {
    server: Server,
    one: Arc<dyn NodePool>,
    other: Arc<dyn NodePool>,
}

impl Machines {
    async fn start() -> Self {
        let server = Server::start().await;
        let deployment = json!({
            "apiVersion": "cluster.x-k8s.io/v1",
            "kind": "MachineDeployment",
            "metadata": { "name": "workers" },
            "spec": { "clusterName": "fsn", "replicas": 3 },
        });
        server.post(MACHINES, deployment).await;
        let open = |agent: &str| {
            open(json!({
                "name": "workers", "pairs": ["app"], "kind": "machine-deployment",
                "kubeconfig": server.kubeconfig(agent), "namespace": "shop",
                "machine_deployment": "workers", "version": "v1",
            }))
        };
        let (one, other) = (open("one"), open("other"));
        Self { server, one, other }
    }
}

#[async_trait]
impl Stand for Machines {
    fn pool(&self) -> &dyn NodePool {
        self.one.as_ref()
    }

    fn another(&self) -> &dyn NodePool {
        self.other.as_ref()
    }

    async fn size(&mut self) -> u32 {
        let replicas = self.server.get(WORKERS).await["spec"]["replicas"].as_u64().unwrap();
        u32::try_from(replicas).unwrap()
    }

    async fn set_by_hand(&mut self, size: Option<u32>) {
        self.server.patch(WORKERS, json!({ "spec": { "replicas": size } })).await;
    }
}

struct Told {
    sink: Sink,
    one: Arc<dyn NodePool>,
    other: Arc<dyn NodePool>,
    _secret: tempfile::NamedTempFile,
}

impl Told {
    async fn start() -> Self {
        let sink = Sink::default();
        let url = sink.start().await;
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        writeln!(secret, "{SECRET}").unwrap();
        let open = || {
            open(json!({
                "name": "workers", "pairs": ["app"], "kind": "webhook", "url": url,
                "secret_file": secret.path(),
            }))
        };
        let (one, other) = (open(), open());
        Self { sink, one, other, _secret: secret }
    }
}

#[async_trait]
impl Stand for Told {
    fn pool(&self) -> &dyn NodePool {
        self.one.as_ref()
    }

    fn another(&self) -> &dyn NodePool {
        self.other.as_ref()
    }

    async fn size(&mut self) -> u32 {
        self.sink.pool().wanted.unwrap()
    }

    async fn set_by_hand(&mut self, size: Option<u32>) {
        self.sink.pool().wanted = size;
    }
}

struct Groups {
    eks: Eks,
    one: Arc<dyn NodePool>,
    other: Arc<dyn NodePool>,
    _keys: tempfile::NamedTempFile,
}

impl Groups {
    async fn start() -> Self {
        let eks = Eks::default();
        let endpoint = eks.start().await;
        let mut keys = tempfile::NamedTempFile::new().unwrap();
        write!(keys, "{KEYS}").unwrap();
        let open = || {
            open(json!({
                "name": "workers", "pairs": ["app"], "kind": "eks", "region": "eu-central-1",
                "cluster": "shop", "nodegroup": "workers", "key_file": keys.path(), "endpoint": endpoint,
            }))
        };
        let (one, other) = (open(), open());
        Self { eks, one, other, _keys: keys }
    }
}

#[async_trait]
impl Stand for Groups {
    fn pool(&self) -> &dyn NodePool {
        self.one.as_ref()
    }

    fn another(&self) -> &dyn NodePool {
        self.other.as_ref()
    }

    async fn size(&mut self) -> u32 {
        self.eks.group().desired.unwrap()
    }

    async fn set_by_hand(&mut self, size: Option<u32>) {
        let mut group = self.eks.group();
        group.min = group.min.min(size.unwrap_or(group.min));
        group.desired = size;
    }
}

#[tokio::test]
async fn a_machine_deployment_keeps_the_contract() {
    contract::goes_and_comes_back(&mut Machines::start().await).await;
    contract::leaves_what_a_person_sets(&mut Machines::start().await).await;
    contract::leaves_what_is_not_known(&mut Machines::start().await).await;
}

#[tokio::test]
async fn a_webhook_keeps_the_contract() {
    contract::goes_and_comes_back(&mut Told::start().await).await;
    contract::leaves_what_a_person_sets(&mut Told::start().await).await;
    contract::leaves_what_is_not_known(&mut Told::start().await).await;
}

#[tokio::test]
async fn a_node_group_of_eks_keeps_the_contract() {
    contract::goes_and_comes_back(&mut Groups::start().await).await;
    contract::leaves_what_a_person_sets(&mut Groups::start().await).await;
    contract::leaves_what_is_not_known(&mut Groups::start().await).await;
}

#[tokio::test]
async fn a_node_group_of_eks_gets_its_least_size_and_its_labels_back() {
    let groups = Groups::start().await;
    let stands = || {
        let group = groups.eks.group();
        (group.min, group.desired, group.max, group.labels.len())
    };
    groups.one.scale_to(Scale::Rest(0)).await.unwrap();
    assert_eq!(stands(), (0, Some(0), 6, 3));
    groups.other.scale_to(Scale::Former).await.unwrap();
    assert_eq!(stands(), (2, Some(3), 6, 1));
    // A lost answer forgets no size.
    groups.eks.group().lose_answer = true;
    let lost = groups.one.scale_to(Scale::Rest(1)).await;
    assert!(matches!(lost, Err(PoolError::Unreachable(_))), "{lost:?}");
    groups.one.scale_to(Scale::Rest(1)).await.unwrap();
    assert_eq!(groups.other.look().await.unwrap().former, Some(3), "not the small size");
    // A largest size that a person lowered meanwhile is kept to.
    groups.eks.group().max = 2;
    groups.one.scale_to(Scale::Former).await.unwrap();
    assert_eq!(stands(), (2, Some(2), 2, 1));
    assert_eq!(groups.eks.unsigned(), 0);
}

#[tokio::test]
async fn what_eks_refuses_changes_nothing_and_is_said() {
    let groups = Groups::start().await;
    groups.eks.group().updating = true;
    let busy = groups.one.scale_to(Scale::Rest(0)).await;
    let said = "nothing was changed: EKS says 409 Conflict ResourceInUseException: \
        Nodegroup cannot be updated";
    assert_eq!(busy.unwrap_err().to_string(), said);
    groups.eks.group().updating = false;
    // One label alone, or what is no number, is nobody's size.
    for (label, text) in [("desired", "3"), ("min", "many")] {
        let label = format!("dr.openova.io/{label}-before-rest");
        groups.eks.group().labels.insert(label, text.into());
        for scale in [Scale::Rest(0), Scale::Former] {
            let refused = groups.one.scale_to(scale).await;
            assert!(matches!(refused, Err(PoolError::Refused(_))), "{refused:?}");
        }
    }
    let group = groups.eks.group();
    assert_eq!((group.min, group.desired), (2, Some(3)));
}

#[tokio::test]
async fn a_machine_deployment_that_others_change_is_read_anew_and_a_lost_reply_forgets_no_size() {
    let mut machines = Machines::start().await;
    let writes = |call: &continuum_test_kube::Call| call.verb == "patch";
    let control = machines.server.api().control().clone();
    control.disturb(Effect::Answer(409), Some(2), writes);
    machines.one.scale_to(Scale::Rest(0)).await.unwrap();
    assert_eq!(machines.size().await, 0);
    control.disturb(Effect::LoseReply, Some(1), writes);
    let lost = machines.one.scale_to(Scale::Former).await;
    assert!(matches!(lost, Err(PoolError::Unreachable(_))), "{lost:?}");
    assert_eq!(machines.size().await, 3);
    machines.one.scale_to(Scale::Former).await.unwrap();
    assert_eq!(machines.size().await, 3);
    control.disturb(Effect::LoseReply, Some(1), writes);
    assert!(machines.one.scale_to(Scale::Rest(0)).await.is_err());
    machines.other.scale_to(Scale::Rest(0)).await.unwrap();
    assert_eq!(machines.other.look().await.unwrap().former, Some(3), "not the small size");
    // What cannot be read is nobody's size.
    let mark = json!({ "metadata": { "annotations": {
        "dr.openova.io/replicas-before-rest": "many" } } });
    machines.server.patch(WORKERS, mark).await;
    assert!(matches!(machines.one.scale_to(Scale::Former).await, Err(PoolError::Refused(_))));
    machines.server.delete(WORKERS).await;
    assert!(matches!(machines.one.look().await, Err(PoolError::Refused(_))));
}

#[tokio::test]
async fn a_webhook_is_signed_and_its_no_is_told_apart_from_silence() {
    let told = Told::start().await;
    told.sink.refuse(Some(403));
    assert!(matches!(told.one.look().await, Err(PoolError::Refused(_))));
    told.sink.refuse(Some(502));
    assert!(matches!(told.one.look().await, Err(PoolError::Unreachable(_))));
    told.sink.refuse(None);
    told.one.scale_to(Scale::Rest(0)).await.unwrap();
    assert_eq!(told.sink.unsigned(), 0);
}
