//! What a `Cluster` asks for, read as the operator reads it. Pure.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How long a fast shutdown may take where the cluster does not say.
const SWITCHOVER_DELAY: u64 = 3_600;
/// How long a smart shutdown waits for sessions where the cluster does not say.
const SMART_TIMEOUT: u64 = 180;

/// The fields of a token.
pub const TOKEN_FIELDS: &[&str] = &[
    "latestCheckpointTimelineID",
    "redoWalFile",
    "databaseSystemIdentifier",
    "latestCheckpointREDOLocation",
    "timeOfLatestCheckpoint",
    "operatorVersion",
];

/// Whether the cluster follows another: `enabled` where it is set, else by the topology's names.
#[must_use]
pub fn is_replica(cluster: &Value) -> bool {
    let replica = &cluster["spec"]["replica"];
    if let Some(enabled) = replica["enabled"].as_bool() {
        return enabled;
    }
    let own = replica["self"].as_str().or(cluster["metadata"]["name"].as_str());
    replica["primary"].as_str().is_some_and(|primary| Some(primary) != own)
}

fn annotation<'a>(cluster: &'a Value, name: &str) -> Option<&'a str> {
    cluster["metadata"]["annotations"].get(name).and_then(Value::as_str)
}

/// Whether the annotation names this instance, or all.
#[must_use]
pub fn is_fenced(cluster: &Value, instance: &str) -> bool {
    let listed = annotation(cluster, "cnpg.io/fencedInstances").unwrap_or("[]");
    let listed: Vec<String> = serde_json::from_str(listed).unwrap_or_default();
    listed.iter().any(|name| name == "*" || name == instance)
}

/// Whether it is put to sleep.
#[must_use]
pub fn is_hibernated(cluster: &Value) -> bool {
    annotation(cluster, "cnpg.io/hibernation") == Some("on")
}

/// Whether the operator is told to leave it alone.
#[must_use]
pub fn is_left_alone(cluster: &Value) -> bool {
    annotation(cluster, "cnpg.io/reconciliationLoop") == Some("disabled")
}

fn seconds(cluster: &Value, field: &str, default: u64) -> Duration {
    Duration::from_secs(cluster["spec"][field].as_u64().unwrap_or(default))
}

/// How long a fast shutdown may take before it is an immediate one.
#[must_use]
pub fn switchover_delay(cluster: &Value) -> Duration {
    seconds(cluster, "switchoverDelay", SWITCHOVER_DELAY)
}

/// How long a shutdown waits for sessions to end by themselves.
#[must_use]
pub fn smart_timeout(cluster: &Value) -> Duration {
    seconds(cluster, "smartShutdownTimeout", SMART_TIMEOUT)
}

/// The connection string of an external cluster, with the host and port taken apart for tools.
#[must_use]
pub fn external(cluster: &Value, name: &str) -> Option<String> {
    let all = cluster["spec"]["externalClusters"].as_array()?;
    let one = all.iter().find(|one| one["name"] == name)?;
    let parameters = one["connectionParameters"].as_object()?;
    let quoted = parameters.iter().filter_map(|(key, value)| {
        // Certificates are not part of this stand-in: its PostgreSQL speaks plain on loopback.
        let value = value.as_str().filter(|_| key != "sslmode")?;
        Some(format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
    });
    Some(quoted.collect::<Vec<_>>().join(" "))
}

/// The connection string of what it follows.
#[must_use]
pub fn upstream(cluster: &Value) -> Option<String> {
    external(cluster, cluster["spec"]["replica"]["source"].as_str()?)
}

/// The settings of PostgreSQL that the cluster asks for.
#[must_use]
pub fn settings(cluster: &Value) -> Vec<(String, String)> {
    let postgresql = &cluster["spec"]["postgresql"];
    let given = postgresql["parameters"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut settings: Vec<(String, String)> =
        given.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
    let synchronous = &postgresql["synchronous"];
    if let Some(number) = synchronous["number"].as_u64() {
        let method = if synchronous["method"] == "any" { "ANY" } else { "FIRST" };
        let names = ["standbyNamesPre", "standbyNamesPost"].into_iter().flat_map(|list| {
            synchronous[list].as_array().into_iter().flatten().filter_map(Value::as_str)
        });
        let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
        if !names.is_empty() {
            let value = format!("{method} {number} ({})", names.join(","));
            settings.push(("synchronous_standby_names".into(), value));
        }
    }
    settings
}

/// What `pg_controldata` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Whether it was shut down, and how.
    pub state: String,
    /// The system identifier.
    pub system: String,
    /// The timeline of the last checkpoint.
    pub timeline: String,
    /// Where its redo begins.
    pub redo: String,
    /// In which file.
    pub redo_file: String,
    /// When it was.
    pub time: String,
}

impl Control {
    /// Reads the tool's output.
    #[must_use]
    pub fn read(output: &str) -> Self {
        let line = |name: &str| {
            let found = output.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim_start_matches(':').trim().to_owned()
        };
        Self {
            state: line("Database cluster state"),
            system: line("Database system identifier"),
            timeline: line("Latest checkpoint's TimeLineID"),
            redo: line("Latest checkpoint's REDO location"),
            redo_file: line("Latest checkpoint's REDO WAL file"),
            time: line("Time of latest checkpoint"),
        }
    }

    /// The token of a primary that was shut down here.
    #[must_use]
    pub fn token(&self) -> String {
        let content = json!({
            "latestCheckpointTimelineID": self.timeline,
            "redoWalFile": self.redo_file,
            "databaseSystemIdentifier": self.system,
            "latestCheckpointREDOLocation": self.redo,
            "timeOfLatestCheckpoint": self.time,
            "operatorVersion": "1.30.0",
        });
        STANDARD.encode(content.to_string())
    }
}

/// A token's content; `None` unless every field is there.
#[must_use]
pub fn decode(token: &str) -> Option<Value> {
    let bytes = STANDARD.decode(token).ok()?;
    let content: Value = serde_json::from_slice(&bytes).ok()?;
    TOKEN_FIELDS.iter().all(|field| content[*field].is_string()).then_some(content)
}

/// Whether an instance may be promoted by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stands exactly where the token says.
    Fits,
    /// It has not received everything yet.
    Behind,
    /// It is another, or has gone on by itself.
    Wrong,
}

pub(super) fn location(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some((u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?)
}

/// Holds a token against an instance.
#[must_use]
pub fn judge(token: &str, is: &Control) -> Verdict {
    let Some(token) = decode(token) else { return Verdict::Wrong };
    let same = token["databaseSystemIdentifier"] == is.system.as_str()
        && token["latestCheckpointTimelineID"] == is.timeline.as_str();
    let due = token["latestCheckpointREDOLocation"].as_str().and_then(location);
    match (same, location(&is.redo), due) {
        (true, Some(is), Some(due)) if is == due => Verdict::Fits,
        (true, Some(is), Some(due)) if is < due => Verdict::Behind,
        _ => Verdict::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, Verdict, is_fenced, is_replica, judge, settings};
    use serde_json::json;

    #[test]
    fn the_topology_says_who_follows() {
        let cluster =
            |replica| json!({ "metadata": { "name": "a" }, "spec": { "replica": replica } });
        assert!(!is_replica(&json!({ "metadata": { "name": "a" }, "spec": {} })));
        assert!(!is_replica(&cluster(json!({ "primary": "a" }))));
        assert!(is_replica(&cluster(json!({ "primary": "b" }))));
        assert!(is_replica(&cluster(json!({ "self": "x", "primary": "a" }))));
        assert!(is_replica(&cluster(json!({ "enabled": true, "primary": "a" }))));
        assert!(!is_replica(&cluster(json!({ "enabled": false, "primary": "b" }))));
    }

    #[test]
    fn a_token_fits_exactly() {
        let at = |redo: &str| Control {
            system: "7".into(),
            timeline: "2".into(),
            redo: redo.into(),
            redo_file: "f".into(),
            time: "t".into(),
            state: "shut down".into(),
        };
        let token = at("1/A0").token();
        assert_eq!(judge(&token, &at("1/A0")), Verdict::Fits);
        assert_eq!(judge(&token, &at("0/FFFFFFFF")), Verdict::Behind);
        assert_eq!(judge(&token, &at("1/A1")), Verdict::Wrong);
        let other = Control { system: "8".into(), ..at("1/A0") };
        assert_eq!(judge(&token, &other), Verdict::Wrong);
        let other = Control { timeline: "3".into(), ..at("1/A0") };
        assert_eq!(judge(&token, &other), Verdict::Wrong);
        assert_eq!(judge("nothing", &at("1/A0")), Verdict::Wrong);
    }

    #[test]
    fn fences_and_standbys_are_read() {
        let fenced = |list: &str| {
            let cluster =
                json!({ "metadata": { "annotations": { "cnpg.io/fencedInstances": list } } });
            is_fenced(&cluster, "a-1")
        };
        assert!(fenced("[\"*\"]") && fenced("[\"a-1\"]") && !fenced("[\"a-2\"]") && !fenced("[]"));
        let cluster = json!({ "spec": { "postgresql": { "synchronous": {
            "method": "first", "number": 1, "standbyNamesPre": ["b"],
        } } } });
        let due = [("synchronous_standby_names".to_owned(), "FIRST 1 (\"b\")".to_owned())];
        assert_eq!(settings(&cluster), due);
    }
}
