//! The stand-in for the operator, with real PostgreSQL in two regions.

mod hand_over;
mod misbehaviours;
mod refusals;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use continuum_cnpg_pair::guard;
use continuum_test_kube::operator::open_definition;
use continuum_test_kube::{ApiServer, Misbehaviour, Operator, Options, Site};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::subject::{MERGE, Refused, Subject};
use crate::suite::published;

const NAMES: [&str; 2] = ["db-a", "db-b"];

/// One region: an API server, an operator, and the cluster it drives.
pub struct Region {
    pub name: &'static str,
    pub operator: Operator,
    pub server: ApiServer,
    pub s: Subject,
    /// The directory of its instance.
    place: std::path::PathBuf,
}

/// Two regions that know each other.
pub struct World {
    pub a: Region,
    pub b: Region,
    _directory: tempfile::TempDir,
}

impl Region {
    async fn start(name: &'static str, site: Site) -> Self {
        let server = ApiServer::start(Options::default()).await.unwrap();
        let s = Subject::new(server.client().unwrap(), "db").await;
        let definition = published::definitions()
            .map(|directory| published::read(&directory.join("postgresql.cnpg.io_clusters.yaml")));
        let definition = definition.unwrap_or_else(open_definition);
        s.define_as(definition, "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters").await;
        let place = site.directory.join("db").join(name);
        let operator = Operator::start(&server, site).unwrap();
        Self { name, operator, server, s, place }
    }

    /// One of the guard's files in the pod.
    pub fn guard_path(&self, name: &str) -> std::path::PathBuf {
        self.place.join("continuum").join(name)
    }

    /// Its first line.
    pub fn guard_file(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.guard_path(name)).ok()?;
        text.lines().next().map(str::to_owned)
    }

    /// How many old data directories stand beside the one in use.
    pub fn kept_directories(&self) -> usize {
        let entries = fs::read_dir(&self.place).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains(".kept-")).count()
    }

    fn path(&self) -> String {
        format!("/apis/postgresql.cnpg.io/v1/namespaces/db/clusters/{}", self.name)
    }

    pub fn port(&self) -> u16 {
        self.operator.port("db", self.name)
    }

    pub async fn cluster(&self) -> Value {
        self.s.get(&self.path()).await.unwrap()
    }

    pub async fn patch(&self, body: Value) -> Result<Value, Refused> {
        self.s.patch(MERGE, &self.path(), body).await
    }

    pub async fn replica(&self, replica: Value) -> Result<Value, Refused> {
        self.patch(json!({ "spec": { "replica": replica } })).await
    }

    pub fn misbehave(&self, how: Misbehaviour) {
        self.operator.misbehave(how).unwrap();
    }

    /// Looks until the status is so.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..3_000 {
            let status = self.cluster().await["status"].clone();
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let status = self.cluster().await["status"].clone();
        panic!("never on {}: {what}\n{status:#}\n{:?}", self.name, self.operator.troubles());
    }

    pub async fn until_ready(&self) {
        self.until("ready", |status| status["readyInstances"] == 1 && healthy(status)).await;
    }

    /// Fences the cluster's instances, or none.
    async fn fence(&self, instances: Option<&str>) {
        let fence = json!({ "cnpg.io/fencedInstances": instances });
        self.patch(json!({ "metadata": { "annotations": fence } })).await.unwrap();
    }

    pub async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let settings = format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres connect_timeout=5",
            self.port()
        );
        let (client, connection) = tokio_postgres::connect(&settings, NoTls).await?;
        continuum_runtime::seed::spawn(async move {
            let _ended = connection.await;
        });
        Ok(client)
    }

    pub async fn sql(&self, text: &str) -> String {
        let client = self.try_connect().await.unwrap();
        one(&client, text).await.unwrap()
    }
}

/// The first column of the first row, as text.
pub async fn one(client: &Client, text: &str) -> Result<String, tokio_postgres::Error> {
    use tokio_postgres::SimpleQueryMessage::Row;
    let rows = client.simple_query(text).await?;
    let found = rows.iter().find_map(|row| match row {
        Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(found.unwrap_or_default())
}

fn healthy(status: &Value) -> bool {
    status["phase"] == "Cluster in healthy state"
}

fn condition(status: &Value, kind: &str) -> String {
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|condition| condition["type"] == kind);
    found.map_or("", |condition| condition["status"].as_str().unwrap()).to_owned()
}

/// Whether a demotion has come to its end, whatever became of its token.
fn switched(status: &Value) -> bool {
    status["switchReplicaClusterStatus"]["inProgress"] == false
        && condition(status, "ReplicaClusterSwitch") == "True"
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl World {
    /// Two regions without clusters, or `None` with a printed reason where PostgreSQL is missing.
    pub async fn new() -> Option<Self> {
        let bin = match guard::locate_binaries(None) {
            Ok(bin) => bin,
            Err(error) => {
                println!("SKIPPED: {error}");
                return None;
            }
        };
        let directory = tempfile::Builder::new().prefix("ckube-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = |name: &str| {
            let site = Site::new(directory.path().join(name), bin.clone());
            // Entered by PostgreSQL's user.
            fs::create_dir_all(site.directory.join("db")).unwrap();
            site
        };
        let a = Region::start(NAMES[0], site("a")).await;
        let b = Region::start(NAMES[1], site("b")).await;
        Some(Self { a, b, _directory: directory })
    }

    /// A cluster of the pair, which follows `primary` where that is the other.
    fn cluster(&self, region: &Region, primary: &str, more: Value) -> Value {
        let external = [&self.a, &self.b].map(|region| {
            json!({ "name": region.name, "connectionParameters": {
                "host": "127.0.0.1", "port": region.port().to_string(), "user": "postgres",
                "dbname": "postgres",
            } })
        });
        let other = NAMES.into_iter().find(|name| *name != region.name).unwrap();
        let bootstrap = if region.name == primary {
            json!({ "initdb": { "database": "app", "owner": "app" } })
        } else {
            json!({ "pg_basebackup": { "source": primary } })
        };
        let mut spec = json!({
            "instances": 1,
            "storage": { "size": "1Gi" },
            "switchoverDelay": 30,
            "smartShutdownTimeout": 0,
            "bootstrap": bootstrap,
            "replica": { "self": region.name, "primary": primary, "source": other },
            "externalClusters": external,
        });
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        json!({
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": { "name": region.name },
            "spec": spec,
        })
    }

    /// Makes the pair: A leads, B is its copy.
    pub async fn pair(&self, more: Value) {
        self.make(&self.a, "db-a", more.clone()).await;
        self.make(&self.b, "db-a", more).await;
    }

    /// Makes one Cluster of the pair.
    pub async fn make(&self, region: &Region, primary: &str, more: Value) {
        let clusters = "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters";
        region.s.post(clusters, self.cluster(region, primary, more)).await.unwrap();
        region.until_ready().await;
    }
}
