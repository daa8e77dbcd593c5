//! The Kubernetes backend on a real API server: `make test-kube`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Etcd, Process, free_ports, ready};
use continuum_runtime::seed;
use continuum_witness::cell_contract::{self, CellSubject};
use continuum_witness::recorded::Plan;
use continuum_witness::{Cell, CellStore, Put, StoreError, Tag};
use continuum_witness_backends::WitnessAccess;
use continuum_witness_backends::kubernetes::{
    KubernetesConfig, KubernetesStore, MemberCluster, Same,
};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role as K8sRole, RoleBinding, RoleRef, Subject};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use rustix::process::Signal;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const DEADLINE: Duration = Duration::from_secs(10);

/// An API server on an etcd of its own.
struct Cluster {
    // Ends before the etcd it needs.
    server: Process,
    etcd: Etcd,
    directory: tempfile::TempDir,
    port: u16,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        crate::common::certificates(directory.path());
        let tokens =
            ["nobody", "fsn", "hel", "nbg", "all"].map(|name| format!("{name},{name},{name}\n"));
        let tokens = tokens.concat();
        std::fs::write(directory.path().join("tokens.csv"), tokens).unwrap();
        let etcd = Etcd::start(directory.path(), &[]);
        let [port] = free_ports();
        let server = Self::run(directory.path(), &etcd, port);
        let mut cluster = Self { server, etcd, directory, port };
        cluster.wait().await;
        cluster
    }

    fn run(directory: &Path, etcd: &Etcd, port: u16) -> Process {
        let program = std::env::var_os("CONTINUUM_KUBE_APISERVER").map(PathBuf::from);
        let file = |name: &str| directory.join(name).display().to_string();
        let mut arguments: Vec<String> = [
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--service-account-issuer=https://kubernetes.default.svc",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--secure-port={port}"));
        arguments.push(format!("--etcd-servers={}", etcd.url()));
        for (name, path) in [
            ("cert-dir", "."),
            ("tls-cert-file", "server.crt"),
            ("tls-private-key-file", "server.key"),
            ("client-ca-file", "ca.crt"),
            ("token-auth-file", "tokens.csv"),
            // No service account logs in here, but the server insists on a key for them.
            ("service-account-key-file", "server.crt"),
            ("service-account-signing-key-file", "server.key"),
        ] {
            arguments.push(format!("--{name}={}", file(path)));
        }
        let program = program.unwrap_or_else(|| "kube-apiserver".into());
        Process::start(&program, &arguments, &directory.join("apiserver.log"))
    }

    /// Writes a kubeconfig for the user, whose contexts differ in the authority they trust.
    fn kubeconfig(&self, user: &str) -> PathBuf {
        let directory = self.directory.path();
        let login = match user {
            "admin" => format!(
                "client-certificate: {0}/client.crt, client-key: {0}/client.key",
                directory.display()
            ),
            token => format!("token: {token}"),
        };
        let mut text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: ca\nusers:\n- name: user\n  user: {{{login}}}\n"
        );
        let (mut clusters, mut contexts) = ("clusters:\n".to_owned(), "contexts:\n".to_owned());
        for authority in ["ca", "other"] {
            let port = self.port;
            let file = directory.join(format!("{authority}.crt"));
            clusters += &format!(
                "- name: {authority}\n  cluster:\n    server: https://127.0.0.1:{port}\n    \
                 certificate-authority: {}\n",
                file.display()
            );
            contexts +=
                &format!("- name: {authority}\n  context: {{cluster: {authority}, user: user}}\n");
        }
        text += &clusters;
        text += &contexts;
        let path = directory.join(format!("kubeconfig-{user}"));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn config(&self, user: &str) -> KubernetesConfig {
        KubernetesConfig {
            kubeconfig: Some(self.kubeconfig(user)),
            context: None,
            namespace: "default".into(),
            deadline: DEADLINE,
        }
    }

    async fn store(&self) -> KubernetesStore {
        KubernetesStore::new(&self.config("admin")).await.unwrap()
    }

    /// Waits for the namespaces, which the server makes a moment after it serves.
    async fn wait(&mut self) {
        let store = self.store().await;
        ready(&mut self.server, async || {
            let tag = match store.put("ready", None, b"ready".to_vec()).await.ok()? {
                Put::Written(tag) | Put::Conflict(Some(Cell { tag, .. })) => tag,
                Put::Conflict(None) => return None,
            };
            store.delete("ready", &tag).await.ok()?;
            store.identity().await.kube_system
        })
        .await;
    }
}

async fn written(store: &KubernetesStore, key: &str, expected: Option<&Tag>, bytes: &str) -> Tag {
    match store.put(key, expected, bytes.into()).await.unwrap() {
        Put::Written(tag) => tag,
        Put::Conflict(cell) => panic!("{key} is {cell:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn kubernetes_keeps_the_contract() {
    let cluster = Cluster::start().await;
    let config = cluster.config("admin");
    // Clients with connections of their own, made beforehand because the suite opens them in place.
    let mut stores = Vec::new();
    for _ in 0..48 {
        stores.push(Arc::new(KubernetesStore::new(&config).await.unwrap()));
    }
    let next = AtomicUsize::new(0);
    let open = move || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        stores[at % stores.len()].clone() as Arc<dyn CellStore>
    };
    let subject = CellSubject { open: Arc::new(open), space: "probe/".into(), rounds: 10 };
    cell_contract::all(&subject).await.unwrap();
    let tally = cell_contract::history(&subject, Plan::of(10_000)).await.unwrap();
    tally.check_substance("kubernetes").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn what_a_renewal_costs_on_the_wire() {
    let mut cluster = Cluster::start().await;
    let (way, at) = crate::common::wire::Wire::to(cluster.port).await;
    cluster.port = at;
    crate::common::wire::check_cost("kubernetes", Arc::new(cluster.store().await), &way).await;
}

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn long_lists_are_whole_and_a_restart_keeps_them() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store().await;
    let mut keys: Vec<_> = (0..403).map(|at| format!("many/{at}")).collect();
    for key in &keys {
        written(&store, key, None, "x").await;
    }
    written(&store, "many0", None, "beside").await;
    keys.sort();
    let mut listed = store.list("many/").await.unwrap();
    listed.sort();
    assert_eq!(listed, keys);

    let tag = written(&store, "cell", None, "kept").await;
    cluster.server.kill();
    cluster.server = Cluster::run(cluster.directory.path(), &cluster.etcd, cluster.port);
    let seen = ready(&mut cluster.server, async || store.get("cell").await.ok()).await;
    assert_eq!(seen, Some(Cell { tag: tag.clone(), bytes: b"kept".to_vec() }));
    written(&store, "cell", Some(&tag), "changed").await;
}

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn a_cell_made_again_accepts_no_tag_of_before() {
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    let old = written(&store, "cell", None, "before").await;
    assert!(store.delete("cell", &old).await.unwrap());
    let new = written(&store, "cell", None, "after").await;
    let due = Put::Conflict(Some(Cell { tag: new.clone(), bytes: b"after".to_vec() }));
    assert_eq!(store.put("cell", Some(&old), b"x".to_vec()).await.unwrap(), due);
    // The version of now under the uid of before, as a restored cluster could show them.
    let (uid, _) = old.0.split_once('.').unwrap();
    let (_, version) = new.0.split_once('.').unwrap();
    let mixed = Tag(format!("{uid}.{version}"));
    assert_eq!(store.put("cell", Some(&mixed), b"x".to_vec()).await.unwrap(), due);
    assert!(!store.delete("cell", &mixed).await.unwrap());
    written(&store, "cell", Some(&new), "changed").await;
}

/// Puts another key's annotation on the only cell there is.
async fn rename_cell(config: &KubernetesConfig) {
    let file = Kubeconfig::read_from(config.kubeconfig.as_ref().unwrap()).unwrap();
    let settings = Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    let client = Client::try_from(settings).unwrap();
    let cells: Api<ConfigMap> = Api::namespaced(client, "default");
    let label = ListParams::default().labels("continuum.internal/witness");
    let mut found = cells.list(&label).await.unwrap().items;
    assert_eq!(found.len(), 1);
    let mut cell = found.remove(0);
    let annotations = cell.metadata.annotations.as_mut().unwrap();
    annotations.insert("continuum.internal/key".into(), "another".into());
    let name = cell.metadata.name.clone().unwrap();
    cells.replace(&name, &PostParams::default(), &cell).await.unwrap();
}

fn unauthorised(answer: Result<(), StoreError>, why: &str) {
    assert!(matches!(answer, Err(StoreError::Unauthorised(_))), "{why}: {answer:?}");
}

fn misconfigured(answer: Result<(), StoreError>, why: &str) {
    assert!(matches!(answer, Err(StoreError::Misconfigured(_))), "{why}: {answer:?}");
}

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn what_went_wrong_is_told_apart() {
    let cluster = Cluster::start().await;
    let good = cluster.config("admin");
    let put = async |config: &KubernetesConfig| {
        KubernetesStore::new(config).await?.put("cell", None, b"x".to_vec()).await.map(drop)
    };
    unauthorised(put(&cluster.config("nobody")).await, "no rights");
    unauthorised(put(&cluster.config("unknown")).await, "no such token");
    let elsewhere = KubernetesConfig { namespace: "missing".into(), ..good.clone() };
    misconfigured(put(&elsewhere).await, "no such namespace");
    let stranger = KubernetesConfig { context: Some("other".into()), ..good.clone() };
    misconfigured(put(&stranger).await, "another authority");
    let context = KubernetesConfig { context: Some("missing".into()), ..good.clone() };
    misconfigured(put(&context).await, "no such context");
    let file = KubernetesConfig { kubeconfig: Some("missing".into()), ..good.clone() };
    misconfigured(put(&file).await, "no such file");
    let pod = KubernetesConfig { kubeconfig: None, ..good.clone() };
    misconfigured(put(&pod).await, "not in a pod");

    let store = cluster.store().await;
    let bad = store.put("cell", Some(&Tag("7".into())), b"x".to_vec()).await;
    assert!(matches!(bad, Err(StoreError::Misconfigured(_))), "{bad:?}");
    written(&store, "cell", None, "one").await;
    rename_cell(&good).await;
    let collided = store.get("cell").await;
    assert!(matches!(collided, Err(StoreError::Misconfigured(_))), "{collided:?}");
    misconfigured(put(&good).await, "a collision");

    let short = KubernetesConfig { deadline: Duration::from_secs(2), ..good.clone() };
    let connected = KubernetesStore::new(&short).await.unwrap();
    connected.get("other").await.unwrap();
    cluster.server.signal(Signal::STOP);
    // Taken in by a server that does not answer; thawed, it may carry it out.
    let frozen = connected.put("other", None, b"x".to_vec()).await;
    assert!(matches!(frozen, Err(StoreError::Unanswered(_))), "{frozen:?}");
    drop(cluster.server);
    let gone = put(&short).await;
    assert!(matches!(gone, Err(StoreError::NotSent(_))), "{gone:?}");
}

/// Makes a role and gives it to the user of that name.
async fn allow(config: &KubernetesConfig, role: &str, rules: Vec<PolicyRule>) {
    let file = Kubeconfig::read_from(config.kubeconfig.as_ref().unwrap()).unwrap();
    let settings = Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    let client = Client::try_from(settings).unwrap();
    let (roles, bindings) = (
        Api::<K8sRole>::namespaced(client.clone(), "default"),
        Api::<RoleBinding>::namespaced(client, "default"),
    );
    let metadata = ObjectMeta { name: Some(role.into()), ..Default::default() };
    let made = K8sRole { metadata: metadata.clone(), rules: Some(rules) };
    roles.create(&PostParams::default(), &made).await.unwrap();
    let api_group = "rbac.authorization.k8s.io";
    let subject = Subject {
        api_group: Some(api_group.into()),
        kind: "User".into(),
        name: role.into(),
        namespace: None,
    };
    let role_ref = RoleRef { api_group: api_group.into(), kind: "Role".into(), name: role.into() };
    let binding = RoleBinding { metadata, role_ref, subjects: Some(vec![subject]) };
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

fn rule(verbs: &[&str], names: &[String]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["configmaps".into()]),
        resource_names: (!names.is_empty()).then(|| names.to_vec()),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

/// The policy of docs/WITNESS.md, after the first start: the cells are made, and nobody but the
/// operator makes more.
#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn roles_keep_regions_to_their_own_cells() {
    let cluster = Cluster::start().await;
    let admin = cluster.config("admin");
    let store = cluster.store().await;
    let [fsn, hel, app] = ["g1/ab/session/fsn", "g1/ab/session/hel", "g1/ab/pair/app"];
    let named = |key: &str| {
        let digest = sha2::Sha256::digest(key);
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("continuum-{digits}")
    };
    let mut tags = std::collections::BTreeMap::new();
    for key in [fsn, hel, app, "mark"] {
        tags.insert(key, written(&store, key, None, "made").await);
    }
    let look = || rule(&["get", "list"], &[]);
    allow(&admin, "fsn", vec![look(), rule(&["update"], &[named(fsn), named(app)])]).await;
    allow(&admin, "hel", vec![look(), rule(&["update"], &[named(hel), named(app)])]).await;
    allow(&admin, "nbg", vec![look()]).await;
    allow(&admin, "all", vec![rule(&["get", "list", "create", "update", "delete"], &[])]).await;
    let open = async |user: &str| KubernetesStore::new(&cluster.config(user)).await.unwrap();
    let (of_fsn, of_hel, of_nbg, operator) =
        (open("fsn").await, open("hel").await, open("nbg").await, open("all").await);
    let put = async |store: &KubernetesStore, key: &str| {
        store.put(key, tags.get(key), b"changed".to_vec()).await.map(drop)
    };
    put(&of_fsn, fsn).await.unwrap();
    assert_eq!(of_hel.get(fsn).await.unwrap().unwrap().bytes, b"changed");
    put(&of_hel, app).await.unwrap();
    unauthorised(put(&of_hel, fsn).await, "another's session");
    unauthorised(put(&of_fsn, hel).await, "another's session");
    unauthorised(put(&of_nbg, app).await, "a pair it is no member of");
    unauthorised(put(&of_fsn, "mark").await, "the mark");
    unauthorised(put(&of_fsn, "g1/ab/session/nbg").await, "a new cell");
    unauthorised(of_fsn.delete(fsn, &tags[fsn]).await.map(drop), "a removal");
    assert_eq!(of_nbg.list("g1/").await.unwrap().len(), 3);
    put(&operator, "mark").await.unwrap();
    put(&operator, "g1/ab/session/nbg").await.unwrap();
    assert!(operator.delete(hel, &tags[hel]).await.unwrap());
}

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn clusters_are_recognised() {
    let (one, another) = (Cluster::start().await, Cluster::start().await);
    let own = one.store().await.identity().await;
    let other = another.store().await.identity().await;
    assert_eq!(own.same_as(&other), None);
    assert_eq!(own.same_as(&own), Some(Same::KubeSystem));
    // Who may not read the namespace is recognised by the address.
    let nobody = KubernetesStore::new(&one.config("nobody")).await.unwrap();
    let blind = nobody.identity().await;
    assert_eq!(blind.kube_system, None);
    assert_eq!(own.same_as(&blind), Some(Same::Server));
}

#[tokio::test]
#[ignore = "needs a kube-apiserver: make test-kube"]
async fn the_cluster_of_a_member_is_no_only_acceptor() {
    let (mut one, another) = (Cluster::start().await, Cluster::start().await);
    let inside = |cluster: &Cluster, user| MemberCluster {
        kubeconfig: cluster.kubeconfig(user),
        context: None,
    };
    let acceptor = |name: &str, cluster: &Cluster| {
        let (user, file) = (name, cluster.kubeconfig("admin"));
        format!(
            "[[acceptor]]\nkind = 'kubernetes'\nname = '{user}'\n\
             store = {{ namespace = 'default', kubeconfig = '{}' }}\n",
            file.display()
        )
    };
    let alone: WitnessAccess = toml::from_str(&acceptor("k1", &one)).unwrap();
    let of_three = ["k1", "k2", "k3"].map(|name| acceptor(name, &one)).concat();
    let of_three: WitnessAccess = toml::from_str(&of_three).unwrap();
    let refusal = alone.refuse_member_cluster(Some(&inside(&one, "admin")), DEADLINE).await;
    let (name, error) = refusal.unwrap_err();
    assert_eq!(name, "k1");
    assert!(error.to_string().contains("namespace kube-system has the same uid"), "{error}");
    alone.refuse_member_cluster(Some(&inside(&another, "admin")), DEADLINE).await.unwrap();
    of_three.refuse_member_cluster(Some(&inside(&one, "admin")), DEADLINE).await.unwrap();
    // No member in a cluster: nothing to compare.
    alone.refuse_member_cluster(None, DEADLINE).await.unwrap();
    // An API server that may not be asked, or is gone, is known by its address.
    let (_, error) =
        alone.refuse_member_cluster(Some(&inside(&one, "nobody")), DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains("same address"), "{error}");
    one.server.kill();
    let (_, error) =
        alone.refuse_member_cluster(Some(&inside(&one, "admin")), DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains("same address"), "{error}");
}

/// Answers every request with this status, and counts them.
async fn answering(status: u16) -> (KubernetesConfig, Arc<AtomicUsize>, tempfile::TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let cluster = format!("server: 'http://{}'", listener.local_addr().unwrap());
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
         clusters: [{{name: a, cluster: {{{cluster}}}}}]\nusers: [{{name: a, user: {{}}}}]\n\
         contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n"
    );
    std::fs::write(&file, text).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let config = KubernetesConfig {
        kubeconfig: Some(file),
        context: None,
        namespace: "default".into(),
        deadline: DEADLINE,
    };
    let seen = asked.clone();
    seed::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            seen.fetch_add(1, Ordering::Relaxed);
            let answer = format!(
                "HTTP/1.1 {status} x\r\nconnection: close\r\n\
                 retry-after: 0\r\ncontent-length: 0\r\n\r\n"
            );
            let _written = stream.write_all(answer.as_bytes()).await;
        }
    });
    (config, asked, directory)
}

#[tokio::test]
async fn a_write_is_sent_once_and_a_failed_server_decides_nothing() {
    for status in [429, 500, 502, 503, 504] {
        let (config, asked, _directory) = answering(status).await;
        let store = KubernetesStore::new(&config).await.unwrap();
        for tag in [None, Some(Tag("uid.7".into()))] {
            let put = store.put("cell", tag.as_ref(), b"x".to_vec()).await;
            assert!(matches!(put, Err(StoreError::Unanswered(_))), "{status}: {put:?}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2, "{status}: repeated");
    }
}

/// Whoever may read nothing of an API server is told by its address; the real ones are under
/// `make test-kube`.
#[tokio::test]
async fn a_member_in_the_only_acceptors_cluster_is_refused() {
    let (config, _asked, _directory) = answering(403).await;
    let (elsewhere, _asked, _directory_elsewhere) = answering(403).await;
    let inside = |config: &KubernetesConfig| MemberCluster {
        kubeconfig: config.kubeconfig.clone().unwrap(),
        context: None,
    };
    let text = format!(
        "[[acceptor]]\nkind = 'kubernetes'\nname = 'k1'\n\
         store = {{ namespace = 'default', kubeconfig = '{}' }}\n",
        config.kubeconfig.as_ref().unwrap().display()
    );
    let alone: WitnessAccess = toml::from_str(&text).unwrap();
    let refused = alone.refuse_member_cluster(Some(&inside(&config)), DEADLINE).await;
    let (name, error) = refused.unwrap_err();
    assert_eq!(name, "k1");
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    assert!(error.to_string().contains("same address"), "{error}");
    alone.refuse_member_cluster(Some(&inside(&elsewhere)), DEADLINE).await.unwrap();
}

#[test]
fn settings_are_read() {
    let least: KubernetesConfig = toml::from_str("namespace = 'witness'").unwrap();
    assert_eq!((least.kubeconfig, least.deadline), (None, Duration::from_secs(2)));
    assert!(toml::from_str::<KubernetesConfig>("namespace = 'w'\nprefix = 'x'").is_err());
}
