//! The Helm chart: rendered by Helm itself, and held against what Kubernetes, its restricted Pod
//! security, this binary's own configuration and the agent's calls ask of it.
//!
//! ```text
//!  values ── Helm ──┬── objects ───── Kubernetes' own types, fields nobody knows refused
//!                   ├── pods ──────── restricted security, and what ours is beside it
//!                   ├── references ── what one object says of another is there
//!                   ├── files ─────── the loader of each role
//!                   └── Role ──────── the calls that the agent makes, no more and no fewer
//! ```

mod container;
mod files;
mod objects;
mod pods;
mod references;
mod rights;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Values that are rendered in every check: those of the documentation, and those of the tests.
const CASES: [&str; 7] = ["fsn", "hel", "third", "one-cluster", "witness", "agent", "full"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn values(case: &str) -> Value {
    let documented = project().join(format!("docs/examples/kubernetes/{case}.yaml"));
    let own = project().join(format!("continuum/cli/tests/chart/values/{case}.yaml"));
    let file = if documented.exists() { documented } else { own };
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_yaml_ng::from_str(&text).unwrap()
}

/// One question to Helm.
fn helm(question: &Value) -> Value {
    helm_all(std::slice::from_ref(question)).remove(0)
}

/// Many questions at once: to start Helm takes longer than to ask it.
fn helm_all(questions: &[Value]) -> Vec<Value> {
    assert!(project().join("target/helm/complete").exists(), "Helm is not here: run 'make helm'");
    let mut asked = Command::new("python3")
        .arg(project().join("scripts/helm/helm.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    asked.stdin.take().unwrap().write_all(json!(questions).to_string().as_bytes()).unwrap();
    let output = asked.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn question(values: &Value) -> Value {
    json!({
        "chart": project().join("continuum/chart"),
        "name": "dr",
        "namespace": "db",
        "values": values,
    })
}

/// What Helm refuses, or nothing.
fn refused(values: &Value) -> Option<String> {
    helm(&question(values))["refused"].as_str().map(str::to_owned)
}

/// The text of every template, by its name.
fn rendered(answer: &Value) -> serde_json::Map<String, Value> {
    let files = answer["files"].as_object();
    files.unwrap_or_else(|| panic!("refused: {}", answer["refused"])).clone()
}

/// The objects of every case.
fn cases() -> Vec<(&'static str, Vec<Value>)> {
    let answers = helm_all(&CASES.map(|case| question(&values(case))));
    CASES.into_iter().zip(answers.iter().map(|answer| parsed(&rendered(answer)))).collect()
}

/// All objects that values render to.
fn objects(values: &Value) -> Vec<Value> {
    parsed(&rendered(&helm(&question(values))))
}

fn parsed(files: &serde_json::Map<String, Value>) -> Vec<Value> {
    let rendered = files.iter().filter(|(name, _)| name.ends_with(".yaml"));
    let documents = rendered.flat_map(|(_, text)| {
        serde_yaml_ng::Deserializer::from_str(text.as_str().unwrap())
            .map(|document| serde::Deserialize::deserialize(document).unwrap())
            .collect::<Vec<Value>>()
    });
    documents.filter(|object| !object.is_null()).collect()
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn of_kind<'a>(objects: &'a [Value], wanted: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| kind(object) == wanted).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn helm_has_nothing_to_say_against_the_chart() {
    let questions = CASES.map(|case| {
        let mut question = question(&values(case));
        question["lint"] = json!(true);
        question
    });
    for (case, answer) in CASES.iter().zip(helm_all(&questions)) {
        // 1 is information: a chart without an icon.
        let worse: Vec<_> = list(&answer["findings"])
            .iter()
            .filter(|f| f["severity"].as_i64() != Some(1))
            .collect();
        assert!(worse.is_empty(), "{case}: {worse:?}");
    }
}

#[test]
fn the_same_values_give_the_same_bytes_and_an_upgrade_too() {
    let questions = CASES.map(|case| question(&values(case)));
    let mut upgrades = questions.clone();
    upgrades.iter_mut().for_each(|question| question["upgrade"] = json!(true));
    let first = helm_all(&questions);
    assert_eq!(first, helm_all(&questions));
    assert_eq!(first, helm_all(&upgrades));
}

#[test]
fn values_that_nobody_knows_are_refused_wherever_they_stand() {
    fn spots(value: &Value, at: String, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.push(at.clone());
                map.iter().for_each(|(key, inner)| {
                    spots(inner, format!("{at}/{}", key.replace('/', "~1")), found);
                });
            }
            Value::Array(items) => {
                let numbered = items.iter().enumerate();
                numbered.for_each(|(n, inner)| spots(inner, format!("{at}/{n}"), found));
            }
            _ => {}
        }
    }
    /// Maps whose keys are the user's own.
    const OWN: &[&str] = &[
        "annotations",
        "labels",
        "matchLabels",
        "nodeSelector",
        "pairs",
        "zones",
        "global",
        "clusters",
        "addresses",
        "backends",
    ];
    let full = values("full");
    let mut found = Vec::new();
    spots(&full, String::new(), &mut found);
    assert!(found.len() > 60, "{}", found.len());
    found.retain(|at| !OWN.iter().any(|own| at.ends_with(own)));
    let planted = found.iter().map(|at| {
        let mut planted = full.clone();
        planted.pointer_mut(at).unwrap()["unheardOf"] = json!("x");
        question(&planted)
    });
    let answers = helm_all(&planted.collect::<Vec<_>>());
    for (at, answer) in found.iter().zip(answers) {
        let said = answer["refused"].as_str().unwrap_or_else(|| panic!("{at}/unheardOf was taken"));
        assert!(said.contains("unheardOf") || said.contains("oneOf"), "{at}: {said}");
    }
}

#[test]
fn what_cannot_be_installed_is_refused_with_the_key() {
    for (at, wrong, said) in [
        ("/agent/region", json!(""), "/agent/region"),
        ("/server/nodes", json!([]), "/server/nodes"),
        ("/server/nodes/0/id", json!(0), "/server/nodes/0/id"),
        ("/witness/pairs/app", json!(["fsn"]), "/witness/pairs/app"),
        ("/tls/certManager/issuerRef/name", json!(""), "/tls/certManager/issuerRef/name"),
        ("/monitoring/serviceMonitor/certificateSecret", json!(""), "certificateSecret is needed"),
        ("/witness", json!({ "enabled": false }), "witness.access is needed"),
    ] {
        let mut planted = values("full");
        *planted.pointer_mut(at).unwrap() = wrong;
        let refusal = refused(&planted).unwrap_or_else(|| panic!("{at} was taken"));
        assert!(refusal.contains(said), "{at}: {refusal}");
    }
}
