//! The operator's loop: from what a `Cluster` asks for to what its PostgreSQL does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_runtime::{BootClock, Clock};
use hyper::{Method, Request};
use serde_json::{Value, json};

use crate::operator::instance::{Instance, Stop};
use crate::operator::spec::{self, Verdict};
use crate::operator::{Common, Site};
use crate::store::Key;

pub(super) const CLUSTERS: &str = "/apis/postgresql.cnpg.io/v1";
const MERGE: &str = "application/merge-patch+json";
const HEALTHY: &str = "Cluster in healthy state";
const WAITING: &str = "Waiting for the instances to become active";
const PROMOTING: &str = "Promoting to primary cluster";
const UNRECOVERABLE: &str = "Cluster is unrecoverable and needs manual intervention";
/// How long the API server may take for one answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// One cluster's instance, and what is said of it.
pub(super) struct Member {
    pub instance: Instance,
    conditions: BTreeMap<&'static str, (bool, &'static str)>,
    phase: (&'static str, String),
    switching: bool,
    token: String,
    first_token: String,
    last_promotion: String,
    timeline: i64,
    system: String,
    since: String,
    wrote: Value,
}

/// The state of the loop.
pub(crate) struct Reconciler {
    client: kube::Client,
    pub(super) site: Site,
    pub(super) common: Arc<Common>,
    pub(super) members: BTreeMap<Key, Member>,
    /// Looks that are left out before it is asked again whether backups are a kind here.
    pub(super) without_backups: u32,
}

pub(super) type Done = Result<(), String>;

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Reconciler {
    pub(crate) fn new(client: kube::Client, site: Site, common: Arc<Common>) -> Self {
        Self { client, site, common, members: BTreeMap::new(), without_backups: 0 }
    }

    /// Looks at every cluster once.
    pub(crate) async fn look(&mut self) {
        if self.common.misbehaviour().down {
            return;
        }
        let list = match self.ask(Method::GET, &format!("{CLUSTERS}/clusters"), Value::Null).await {
            Ok(list) => list,
            Err(error) => return self.common.trouble(error),
        };
        let mut seen = Vec::new();
        for cluster in list["items"].as_array().into_iter().flatten() {
            let metadata = &cluster["metadata"];
            let key = (text(&metadata["namespace"]), text(&metadata["name"]));
            if let Err(error) = self.reconcile(&key, cluster).await {
                self.common.trouble(format!("{}: {error}", key.1));
            }
            seen.push(key);
        }
        // A cluster that is gone takes its instance along.
        self.members.retain(|key, _| seen.contains(key));
        if let Err(error) = self.look_at_backups().await {
            self.common.trouble(error);
        }
    }

    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<Value, String> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let media_type = if method == Method::PATCH { MERGE } else { "application/json" };
        let request =
            Request::builder().method(method).uri(path).header("content-type", media_type);
        let request = request.body(bytes).map_err(|error| error.to_string())?;
        let asked = tokio::time::timeout(DEADLINE, self.client.request::<Value>(request)).await;
        asked.map_err(|_| format!("{path}: late"))?.map_err(|error| format!("{path}: {error}"))
    }

    async fn reconcile(&mut self, key: &Key, cluster: &Value) -> Done {
        if spec::is_left_alone(cluster) {
            return Ok(());
        }
        let mut member = match self.members.remove(key) {
            Some(member) => member,
            None => self.member(key, cluster)?,
        };
        let done = self.steps(key, cluster, &mut member).await;
        let done = match (&done, self.write(key, &mut member).await) {
            (Ok(()), Err(error)) => Err(error),
            _ => done,
        };
        self.members.insert(key.clone(), member);
        done
    }

    fn member(&self, key: &Key, cluster: &Value) -> Result<Member, String> {
        let directory = self.site.directory.join(&key.0).join(&key.1);
        let port = self.common.port(&key.0, &key.1);
        let instance = Instance::new(&self.site.bin, &directory, self.site.address, port);
        Ok(Member {
            instance: instance.map_err(|error| error.to_string())?,
            conditions: BTreeMap::new(),
            phase: ("Setting up primary", String::new()),
            switching: false,
            token: text(&cluster["status"]["demotionToken"]),
            first_token: String::new(),
            last_promotion: text(&cluster["status"]["lastPromotionToken"]),
            timeline: cluster["status"]["timelineID"].as_i64().unwrap_or_default(),
            system: text(&cluster["status"]["systemID"]),
            since: now(),
            wrote: Value::Null,
        })
    }

    async fn steps(&self, key: &Key, cluster: &Value, member: &mut Member) -> Done {
        let how = self.common.misbehaviour();
        let bound = spec::switchover_delay(cluster);
        if spec::is_hibernated(cluster) {
            member.instance.stop(Stop::Fast, bound).await;
            member.conditions.insert("cnpg.io/hibernation", (true, "Hibernated"));
            return self.remove_pod(key).await;
        }
        member.conditions.remove("cnpg.io/hibernation");
        if !member.instance.exists() {
            bootstrap(key, cluster, member).await?;
        }
        if how.token_wiped && !member.switching {
            member.token.clear();
        }
        let follows = spec::is_replica(cluster);
        let leads = !member.instance.is_standby();
        if member.switching || (follows && leads) {
            return self.demote(key, cluster, member).await;
        }
        if spec::is_fenced(cluster, &format!("{}-1", key.1)) {
            member.instance.stop(Stop::Fast, bound).await;
            let phase = if how.healthy_while_fenced { HEALTHY } else { WAITING };
            member.phase = (phase, String::new());
            // The container is there, without PostgreSQL in it.
            return self.make_pod(key, member).await;
        }
        self.keep_running(key, cluster, member).await?;
        if !follows && !leads {
            return self.promote(key, cluster, member).await;
        }
        if !follows {
            member.token.clear();
        }
        if cluster["spec"]["replica"]["promotionToken"].is_null() {
            member.last_promotion.clear();
        }
        member.phase = (HEALTHY, String::new());
        observe(member).await
    }

    /// Keeps PostgreSQL running as it is configured, and its pod there. A pod that was deleted is
    /// shut down as its cluster says, and made again.
    async fn keep_running(&self, key: &Key, cluster: &Value, member: &mut Member) -> Done {
        let runs = member.instance.runs();
        if runs && self.ask(Method::GET, &pod_path(key), Value::Null).await.is_err_and(is_missing) {
            let smart = Stop::Smart(spec::smart_timeout(cluster));
            member.instance.stop(smart, spec::switchover_delay(cluster)).await;
        }
        configure(key, cluster, member)?;
        if !member.instance.runs() {
            member.instance.start().await?;
        }
        self.make_pod(key, member).await
    }

    async fn make_pod(&self, key: &Key, member: &Member) -> Done {
        let role = if member.instance.is_standby() { "replica" } else { "primary" };
        let pod = format!("{}-1", key.1);
        let labels = json!({
            "cnpg.io/cluster": key.1,
            "cnpg.io/instanceName": pod,
            "cnpg.io/instanceRole": role,
            "cnpg.io/podRole": "instance",
            "role": role,
        });
        let body = json!({
            "metadata": { "name": pod, "labels": labels },
            "spec": { "containers": [{ "name": "postgres", "image": "postgresql" }] },
        });
        let path = format!("/api/v1/namespaces/{}/pods", key.0);
        match self.ask(Method::GET, &pod_path(key), Value::Null).await {
            Ok(pod) if pod["metadata"]["labels"]["cnpg.io/instanceRole"] == role => return Ok(()),
            Ok(_) => {
                let labels = json!({ "metadata": { "labels": labels } });
                self.ask(Method::PATCH, &pod_path(key), labels).await?;
            }
            Err(_) => {
                self.ask(Method::POST, &path, body).await?;
            }
        }
        let ready = json!({ "status": {
            "phase": "Running",
            "podIP": self.site.address.to_string(),
            "conditions": [{ "type": "Ready", "status": "True" }],
        } });
        self.ask(Method::PATCH, &format!("{}/status", pod_path(key)), ready).await.map(|_| ())
    }

    async fn remove_pod(&self, key: &Key) -> Done {
        let _none = self.ask(Method::DELETE, &pod_path(key), Value::Null).await;
        Ok(())
    }

    /// From a primary to a replica, with a token that says where it stopped.
    async fn demote(&self, key: &Key, cluster: &Value, member: &mut Member) -> Done {
        let began = !member.switching;
        if began {
            member.switching = true;
            member.conditions.insert("ReplicaClusterDesignatedPrimaryTransition", (false, "Begun"));
            member.conditions.insert("ReplicaClusterFencing", (true, "FencingActive"));
            member.conditions.insert("ReplicaClusterSwitch", (false, "Begun"));
            self.write(key, member).await?;
            self.fence(key, Some("[\"*\"]")).await?;
            let _down = member.instance.sql("CHECKPOINT").await;
            member.instance.stop(Stop::Fast, spec::switchover_delay(cluster)).await;
            member.instance.make_standby().map_err(|error| error.to_string())?;
            member.conditions.insert("ReplicaClusterDesignatedPrimaryTransition", (true, "Done"));
        }
        let control = member.instance.control().await?;
        if !matches!(control.state.as_str(), "shut down" | "shut down in recovery") {
            // What is fenced is shut down, and what nobody fences runs meanwhile.
            if began || spec::is_fenced(cluster, &format!("{}-1", key.1)) {
                member.instance.stop(Stop::Fast, spec::switchover_delay(cluster)).await;
            } else {
                self.keep_running(key, cluster, member).await?;
            }
            return Err(format!("no token: PostgreSQL is \"{}\"", control.state));
        }
        if self.common.misbehaviour().token_withheld {
            return Ok(());
        }
        member.token = control.token();
        if member.first_token.is_empty() {
            member.first_token.clone_from(&member.token);
        }
        if self.common.misbehaviour().token_stale {
            member.token.clone_from(&member.first_token);
        }
        self.fence(key, None).await?;
        member.conditions.insert("ReplicaClusterFencing", (false, "FencingEnded"));
        member.conditions.insert("ReplicaClusterSwitch", (true, "Done"));
        member.switching = false;
        configure(key, cluster, member)?;
        member.instance.start().await?;
        self.make_pod(key, member).await?;
        member.phase = (HEALTHY, String::new());
        observe(member).await
    }

    async fn fence(&self, key: &Key, instances: Option<&str>) -> Done {
        let body =
            json!({ "metadata": { "annotations": { "cnpg.io/fencedInstances": instances } } });
        self.ask(Method::PATCH, &cluster_path(key), body).await.map(|_| ())
    }

    /// From a replica to a primary, where a token lets it, or without one.
    async fn promote(&self, key: &Key, cluster: &Value, member: &mut Member) -> Done {
        let token = text(&cluster["spec"]["replica"]["promotionToken"]);
        // One that was used is not looked at again.
        if !token.is_empty() && token != member.last_promotion {
            member.instance.sql("CHECKPOINT").await?;
            match spec::judge(&token, &member.instance.control().await?) {
                Verdict::Fits => {}
                Verdict::Behind => {
                    member.phase = (PROMOTING, "behind the promotion token".to_owned());
                    return Ok(());
                }
                Verdict::Wrong => {
                    let why = "Promotion token content is not correct for current instance";
                    member.phase = (UNRECOVERABLE, why.to_owned());
                    return Ok(());
                }
            }
        }
        if member.instance.sql("SELECT pg_promote(true, 30)").await? != "t" {
            return Err("pg_promote gave up".to_owned());
        }
        member.last_promotion = token;
        member.token.clear();
        member.since = now();
        member.phase = (HEALTHY, String::new());
        self.make_pod(key, member).await?;
        observe(member).await
    }

    /// Says what is, where it is not what was said last.
    async fn write(&self, key: &Key, member: &mut Member) -> Done {
        let ready = i32::from(member.instance.runs());
        let pod = format!("{}-1", key.1);
        member.conditions.insert("Ready", (ready == 1, "ClusterIsReady"));
        if !member.system.is_empty() {
            member.conditions.insert("ConsistentSystemID", (true, "Unique"));
        }
        let conditions = member.conditions.iter().map(|(kind, (holds, reason))| {
            json!({
                "type": kind, "status": if *holds { "True" } else { "False" }, "reason": reason,
                "message": "", "lastTransitionTime": member.since,
            })
        });
        let or_null = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        let status = json!({
            "phase": member.phase.0,
            "phaseReason": or_null(&member.phase.1),
            "instances": 1,
            "readyInstances": ready,
            "currentPrimary": pod,
            "currentPrimaryTimestamp": member.since,
            "targetPrimary": pod,
            "timelineID": member.timeline,
            "systemID": or_null(&member.system),
            "demotionToken": or_null(&member.token),
            "lastPromotionToken": or_null(&member.last_promotion),
            "switchReplicaClusterStatus": { "inProgress": member.switching },
            "instancesReportedState": { &pod: {
                "isPrimary": !member.instance.is_standby(), "timeLineID": member.timeline,
                "ip": self.site.address.to_string(),
            } },
            "conditions": conditions.collect::<Vec<_>>(),
        });
        if status != member.wrote {
            let path = format!("{}/status", cluster_path(key));
            self.ask(Method::PATCH, &path, json!({ "status": status })).await?;
            member.wrote = status;
        }
        Ok(())
    }
}

pub(super) fn is_missing(error: String) -> bool {
    error.contains("not found")
}

fn pod_path((namespace, name): &Key) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}-1")
}

fn cluster_path((namespace, name): &Key) -> String {
    format!("{CLUSTERS}/namespaces/{namespace}/clusters/{name}")
}

pub(super) fn now() -> String {
    let time = jiff::Timestamp::from_millisecond(BootClock.wall_ms()).unwrap_or_default();
    time.to_string()
}

fn configure(key: &Key, cluster: &Value, member: &mut Member) -> Done {
    let upstream = spec::upstream(cluster);
    let done = member.instance.configure(&key.1, upstream.as_deref(), &spec::settings(cluster));
    done.map_err(|error| error.to_string())
}

async fn bootstrap(key: &Key, cluster: &Value, member: &mut Member) -> Done {
    let source = cluster["spec"]["bootstrap"]["pg_basebackup"]["source"].as_str();
    match source {
        Some(source) => {
            let from = spec::external(cluster, source)
                .ok_or_else(|| format!("no external cluster {source}"))?;
            member.instance.copy(&from).await?;
        }
        None => member.instance.initialise().await?,
    }
    configure(key, cluster, member)?;
    member.conditions.insert("Initialized", (true, "Done"));
    member.system = member.instance.control().await?.system;
    Ok(())
}

/// Reads what the instance says of itself.
async fn observe(member: &mut Member) -> Done {
    let control = member.instance.control().await?;
    member.system = control.system;
    // Of a standby the control file knows the timeline only after its next restart point.
    let asked = member
        .instance
        .sql(
            "SELECT CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT received_tli \
             FROM pg_stat_wal_receiver), 0) ELSE ('x' || substr(pg_walfile_name(\
             pg_current_wal_lsn()), 1, 8))::bit(32)::int END",
        )
        .await?;
    let received = asked.parse().unwrap_or(0);
    let checkpoint = control.timeline.parse().unwrap_or(0);
    // Neither goes back, also while nothing is received.
    member.timeline = member.timeline.max(received).max(checkpoint);
    Ok(())
}
