//! A server under test, and plain requests to it through the client that the product uses.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use hyper::{Method, Request};
use kube::Client;
use kube::api::WatchEvent;
use serde_json::{Value, json};

/// How often a condition is looked at that another part of the server brings about.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 1_000;
/// How long an event may take that is due.
const EVENT: Duration = Duration::from_secs(20);

/// One server, and a namespace in it of the case's own.
pub struct Subject {
    pub client: Client,
    /// The minor version the server says it is.
    pub minor: u32,
    pub namespace: String,
    /// What this version cannot know, said by the case.
    pub skipped: Mutex<Vec<String>>,
}

/// A refusal, as the client reads it.
#[derive(Debug)]
pub struct Refused {
    pub code: u16,
    pub reason: String,
    pub message: String,
    pub details: Value,
}

impl Refused {
    /// The fields that are named as causes, with the reason of each.
    pub fn causes(&self) -> Vec<(String, String)> {
        let causes = self.details["causes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        causes.iter().map(|cause| (text(&cause["field"]), text(&cause["reason"]))).collect()
    }

    /// Fails unless it is this refusal.
    #[track_caller]
    pub fn is(&self, code: u16, reason: &str) {
        assert_eq!((self.code, self.reason.as_str()), (code, reason), "{self:?}");
    }
}

pub type Answer = Result<Value, Refused>;

/// The media types of patches.
pub const JSON: &str = "application/json-patch+json";
pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

impl Subject {
    /// A namespace of its own on the server, named as the case.
    pub async fn new(client: Client, name: &str) -> Self {
        let version = client.apiserver_version().await.unwrap();
        let minor = version.minor.trim_end_matches('+').parse().unwrap();
        let namespace = name.replace('_', "-");
        let subject = Self { client, minor, namespace, skipped: Mutex::default() };
        let body = json!({ "metadata": { "name": subject.namespace } });
        subject.post("/api/v1/namespaces", body).await.unwrap();
        subject
    }

    /// Takes back what the case made, as far as others could stumble over it.
    pub async fn clean(&self) {
        let kind = format!("{DEFINITIONS}/things.{}", self.group());
        let _none = self.delete(&kind, Value::Null).await;
        let _gone =
            self.delete(&format!("/api/v1/namespaces/{}", self.namespace), Value::Null).await;
    }

    /// True, and said, where the server is older than what the rest of the case is about.
    pub fn is_older_than(&self, minor: u32, about: &str) -> bool {
        let older = self.minor < minor;
        if older {
            let what =
                format!("{}: {about} (1.{} is before 1.{minor})", self.namespace, self.minor);
            println!("SKIPPED {what}");
            self.skipped.lock().unwrap().push(what);
        }
        older
    }

    pub async fn ask(&self, method: Method, path: &str, media_type: &str, body: Value) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .body(bytes)
            .unwrap();
        self.client.request::<Value>(request).await.map_err(|error| match error {
            kube::Error::Api(status) => Refused {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                details: serde_json::to_value(&status.details).unwrap(),
            },
            other => panic!("{path}: {other}"),
        })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "application/json", Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, "application/json", body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, "application/json", body).await
    }

    pub async fn delete(&self, path: &str, options: Value) -> Answer {
        self.ask(Method::DELETE, path, "application/json", options).await
    }

    pub async fn patch(&self, kind: &str, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, kind, body).await
    }

    /// Applies as `manager`; `force` takes what is somebody else's.
    pub async fn apply(&self, path: &str, manager: &str, force: bool, body: Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}&force={force}");
        self.patch(APPLY, &path, body).await
    }

    /// The path of a core kind in the case's namespace.
    pub fn core(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    /// The group of the kinds that the case defines.
    pub fn group(&self) -> String {
        format!("{}.test", self.namespace)
    }

    /// The path of the kind that the case defines.
    pub fn things(&self) -> String {
        format!("/apis/{}/v1/namespaces/{}/things", self.group(), self.namespace)
    }

    /// A thing of that name.
    pub fn thing(&self, name: &str, spec: Value) -> Value {
        json!({
            "apiVersion": format!("{}/v1", self.group()),
            "kind": "Thing",
            "metadata": { "name": name },
            "spec": spec,
        })
    }

    /// A definition of `Thing`, with a status of its own, whose spec has these properties.
    pub fn definition(&self, spec: Value) -> Value {
        let group = self.group();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("things.{group}") },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {
                    "plural": "things", "singular": "thing", "kind": "Thing", "shortNames": ["th"]
                },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": spec,
                            "status": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": true,
                            },
                        },
                    } },
                }],
            },
        })
    }

    /// Defines `Thing`, and waits until it is served.
    pub async fn define(&self, spec: Value) {
        self.define_as(self.definition(spec), &self.things()).await;
    }

    /// Makes a kind by its definition, and waits until it is served at the path.
    pub async fn define_as(&self, definition: Value, path: &str) {
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        if let Err(refused) = self.post(DEFINITIONS, definition).await {
            // A server of somebody's may have it already.
            refused.is(409, "AlreadyExists");
        }
        self.until("it is established", async || {
            let kept = self.get(&format!("{DEFINITIONS}/{name}")).await.unwrap();
            let conditions = kept["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|is| is["type"] == "Established" && is["status"] == "True")
        })
        .await;
        self.until("it is served", async || self.get(path).await.is_ok()).await;
    }

    /// Looks until the condition holds.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..LOOKS {
            if holds().await {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("never: {what}");
    }

    /// Begins a watch.
    pub async fn watch(&self, path: &str) -> Events {
        let request = Request::get(path).body(Vec::new()).unwrap();
        let events = self.client.request_events::<Value>(request).await.unwrap();
        Events(events.boxed())
    }
}

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The events of a watch.
pub struct Events(futures_util::stream::BoxStream<'static, kube::Result<WatchEvent<Value>>>);

impl Events {
    /// The next event, as its kind and the object's name.
    pub async fn next(&mut self) -> Option<(&'static str, Value)> {
        let next = tokio::time::timeout(EVENT, self.0.next()).await.expect("an event is due");
        Some(match next?.unwrap() {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            WatchEvent::Bookmark(bookmark) => {
                let metadata = bookmark.metadata;
                let object = json!({ "metadata": {
                    "resourceVersion": metadata.resource_version,
                    "annotations": metadata.annotations,
                } });
                ("BOOKMARK", object)
            }
            WatchEvent::Error(status) => ("ERROR", json!({ "code": status.code })),
        })
    }

    /// The next event's kind and name.
    pub async fn named(&mut self) -> (&'static str, String) {
        let (kind, object) = self.next().await.expect("the watch goes on");
        (kind, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }

    /// As a stream, for its end.
    pub fn stream(&mut self) -> &mut (impl Stream<Item = kube::Result<WatchEvent<Value>>> + use<>) {
        &mut self.0
    }
}

/// The names of a list's items.
pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// A config map of that name.
pub fn map(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "app": name } }, "data": data,
    })
}

/// An object's version.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}
