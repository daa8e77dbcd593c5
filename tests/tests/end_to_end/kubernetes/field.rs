//! Two regions with an API server and an operator's stand-in each, and the lab's agents on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use continuum_chaos::lab::Error;
use continuum_chaos::{Lab, LabOptions, NAMESPACE, cluster_name};
use continuum_cnpg_pair::guard;
use continuum_cnpg_pair::kubernetes::cnpg::Cluster;
use continuum_cnpg_pair::kubernetes::crd::{self, Continuum};
use continuum_control_api::access::GrantBody;
use continuum_domain::access::{Selector, Tier};
use continuum_domain::{AccessName, RegionId};
use continuum_test_kube::operator::open_definition;
use continuum_test_kube::{ApiServer, Misbehaviour, Operator, Options, Site};
use continuum_tests::*;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

const FIRST_HEALTH_LIMIT: Duration = Duration::from_secs(120);
const NAMED_LIMIT: Duration = Duration::from_secs(30);

/// One region's Kubernetes.
pub struct Region {
    pub server: ApiServer,
    clusters: Api<DynamicObject>,
    continuums: Api<Continuum>,
    name: String,
    operator: Option<Operator>,
    site: Site,
}

impl Region {
    /// The Cluster as it is.
    pub async fn cluster(&self) -> Value {
        serde_json::to_value(self.clusters.get(&self.name).await.unwrap()).unwrap()
    }

    /// Writes to the Cluster as somebody who is not Continuum.
    pub async fn patch(&self, body: Value) {
        let parameters = PatchParams { field_manager: Some("gitops".into()), ..Default::default() };
        self.clusters.patch(&self.name, &parameters, &Patch::Merge(body)).await.unwrap();
    }

    /// Makes a Cluster as the one here, for another pair.
    pub async fn make(&self, name: &str, other: &str) {
        let mut object = self.cluster().await;
        object["metadata"] = json!({ "name": name, "namespace": NAMESPACE });
        object["spec"]["replica"] = json!({ "self": name, "primary": name, "source": other });
        for (at, name) in [name, other].into_iter().enumerate() {
            object["spec"]["externalClusters"][at]["name"] = json!(name);
        }
        object.as_object_mut().unwrap().remove("status");
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.clusters.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Asks for a pair here.
    pub async fn want(&self, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "dr.openova.io/v1",
            "kind": "Continuum",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": spec,
        });
        let object: Continuum = serde_json::from_value(object).unwrap();
        self.continuums.create(&PostParams::default(), &object).await.unwrap();
    }

    /// The reason of a condition of what was asked for; nothing while the agent has not said it.
    pub async fn says(&self, name: &str, condition: &str) -> Option<String> {
        let status = self.continuums.get(name).await.unwrap().status?;
        let found = status.conditions.into_iter().find(|one| one.name == condition);
        found.map(|one| one.reason)
    }

    /// Has the operator behave so.
    pub fn misbehave(&self, how: Misbehaviour) {
        let operator = self.operator.as_ref().expect("the operator runs");
        operator.misbehave(how).unwrap();
    }

    /// The whole region but its agent is gone: PostgreSQL, operator, API server.
    pub async fn lose(&mut self) {
        self.operator.take();
        self.server.down().await;
    }

    /// It is back, with what was on its disks.
    pub async fn come_back(&mut self) {
        self.server.up().await.unwrap();
        self.operator = Some(Operator::start(&self.server, self.site.clone()).unwrap());
    }
}

/// The lab and its two regions.
pub struct Field {
    pub lab: Lab,
    pub regions: BTreeMap<RegionId, Region>,
    _directory: tempfile::TempDir,
}

fn kubeconfig(server: &ApiServer) -> String {
    let authority = server.authority().map(|authority| STANDARD.encode(pem(&authority)));
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "it", "cluster": {
            "server": server.url(), "certificate-authority-data": authority,
        } }],
        "users": [{ "name": "agent", "user": { "token": "agent" } }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "agent" } }],
        "current-context": "it",
    })
    .to_string()
}

/// A certificate as files of certificates have it.
fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}

fn environment(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |reason| Error::Environment { what, reason }
}

impl Field {
    /// A healthy pair of Clusters under writes.
    pub async fn writing(options: LabOptions) -> Result<Self, Error> {
        let failed = environment("a region's Kubernetes");
        let directory = tempfile::Builder::new().prefix("cfield-").tempdir().map_err(&failed)?;
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).map_err(&failed)?;
        let mut servers = BTreeMap::new();
        let mut clusters = BTreeMap::new();
        for region in [fsn(), hel()] {
            let server = ApiServer::start(Options { tls: true, ..Options::default() }).await;
            let server = server.map_err(&failed)?;
            let file = directory.path().join(format!("{region}.kubeconfig"));
            fs::write(&file, kubeconfig(&server)).map_err(&failed)?;
            clusters.insert(region.clone(), file);
            servers.insert(region, server);
        }
        let lab = Lab::start_parts(LabOptions { clusters, ..options }).await?;
        let mut regions = BTreeMap::new();
        for (region, server) in servers {
            let made = make_region(&lab, &region, server, directory.path().join(region.as_str()));
            regions.insert(region.clone(), made.await.map_err(&failed)?);
        }
        let mut field = Self { lab, regions, _directory: directory };
        field.make_clusters().await;
        field.lab.apply_spec().await?;
        let view =
            field.lab.wait_healthy(FIRST_HEALTH_LIMIT).await.inspect_err(|_| field.tell())?;
        if let Some(holder) = &view.holder {
            field.lab.wait_named(holder, NAMED_LIMIT).await?;
        }
        field.lab.start_workload(WRITERS).await?;
        field.lab.wait_acknowledged(None, NAMED_LIMIT).await?;
        undisturbed().await;
        Ok(field)
    }

    /// What the operators could not do, for a test that fails.
    pub fn tell(&self) {
        for region in self.regions.values() {
            let troubles = region.operator.as_ref().map(Operator::troubles);
            println!("{}: {troubles:?}", region.name);
        }
    }

    pub fn region(&self, region: &RegionId) -> &Region {
        &self.regions[region]
    }

    pub fn region_mut(&mut self, region: &RegionId) -> &mut Region {
        self.regions.get_mut(region).expect("a region of the field")
    }

    /// Lets a region's agent do so much on behalf of objects in its cluster.
    pub async fn grant(&self, region: &RegionId, tier: Tier) {
        let name: AccessName = format!("objects-of-{region}").parse().unwrap();
        let body = GrantBody {
            subjects: vec![format!("region:{region}").parse().unwrap()],
            tier,
            selector: Selector::default(),
            break_glass: false,
            reason: "an end-to-end test".into(),
        };
        self.lab.api().set_grant(&name, &body).await.unwrap();
    }

    /// A pair as it is rendered, as far as the operator's stand-in looks.
    async fn make_clusters(&self) {
        let port = self.lab.layout.postgres_port.to_string();
        let external: Vec<Value> = self
            .regions
            .keys()
            .map(|region| {
                let host = self.lab.address(region).unwrap().to_string();
                json!({ "name": cluster_name(region), "connectionParameters": {
                    "host": host, "port": port, "user": "postgres", "dbname": "postgres",
                    "application_name": "replaced below",
                } })
            })
            .collect();
        let primary = cluster_name(&fsn());
        for (region, it) in &self.regions {
            let mut external = external.clone();
            for one in &mut external {
                one["connectionParameters"]["application_name"] = json!(it.name);
            }
            let other = if *region == fsn() { hel() } else { fsn() };
            let bootstrap = if *region == fsn() {
                json!({ "initdb": { "database": "app", "owner": "app" } })
            } else {
                json!({ "pg_basebackup": { "source": primary } })
            };
            let object = json!({
                "apiVersion": "postgresql.cnpg.io/v1",
                "kind": "Cluster",
                "metadata": { "name": it.name, "namespace": NAMESPACE },
                "spec": {
                    "instances": 1,
                    "storage": { "size": "1Gi" },
                    "switchoverDelay": 10,
                    "smartShutdownTimeout": 0,
                    "bootstrap": bootstrap,
                    "replica": {
                        "self": it.name, "primary": primary, "source": cluster_name(&other),
                    },
                    "externalClusters": external,
                    "postgresql": { "parameters": { "synchronous_commit": "remote_apply" } },
                },
            });
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            it.clusters.create(&PostParams::default(), &object).await.unwrap();
        }
    }
}

async fn make_region(
    lab: &Lab,
    region: &RegionId,
    server: ApiServer,
    directory: PathBuf,
) -> std::io::Result<Region> {
    let other = |error: kube::Error| std::io::Error::other(error);
    let client = server.client().map_err(other)?;
    define(&client).await.map_err(other)?;
    let name = cluster_name(region);
    fs::create_dir_all(directory.join(NAMESPACE))?;
    let bin = guard::locate_binaries(None).map_err(std::io::Error::other)?;
    let address = lab.address(region).map_err(std::io::Error::other)?;
    let site = Site { address, port: Some(lab.layout.postgres_port), ..Site::new(directory, bin) };
    let operator = Some(Operator::start(&server, site.clone()).map_err(other)?);
    let resource = ApiResource::erase::<Cluster>(&());
    let clusters = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let continuums = Api::namespaced(client, NAMESPACE);
    Ok(Region { server, clusters, continuums, name, operator, site })
}

/// Makes the namespace and the definitions of Clusters and of what is asked for, and waits until Clusters
/// are served.
async fn define(client: &Client) -> kube::Result<()> {
    use k8s_openapi::api::core::v1::Namespace;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } })).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let own = crd::definitions().map(|(_, definition)| definition);
    for definition in own.into_iter().chain([open_definition()]) {
        let made = serde_json::from_value(definition).unwrap();
        definitions.create(&PostParams::default(), &made).await?;
    }
    let resource = ApiResource::erase::<Cluster>(&());
    let clusters: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    while clusters.list(&Default::default()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
