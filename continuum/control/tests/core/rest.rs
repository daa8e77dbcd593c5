//! The REST API as any HTTP client sees it: keys, conditions, pages, streams and its own description.

use std::collections::{BTreeMap, BTreeSet};

use continuum_control_api::grpc::{DESCRIPTOR, PACKAGE, SERVICE};
use continuum_control_api::rest::{API, PauseRequest};
use continuum_runtime::Identity;
use continuum_runtime::Role;
use http::HeaderMap;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};
use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, eventually, spec};

struct Client<'a> {
    cluster: &'a Cluster,
    node: String,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Client<'_> {
    async fn leader(cluster: &Cluster) -> Client<'_> {
        let node = cluster.leader().await;
        Client { cluster, node }
    }

    async fn follower(cluster: &Cluster) -> Client<'_> {
        let leader = cluster.leader().await;
        let node = cluster.peers.iter().find(|peer| peer.name != leader).unwrap().name.clone();
        Client { cluster, node }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let peer = self.cluster.peers.iter().find(|peer| peer.name == self.node).unwrap();
        let host = Identity::new(Role::Core, &peer.name).dns_name();
        let address: std::net::SocketAddr = peer.api_address.parse().unwrap();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.cluster.operator.client_config(&[b"h2"]).unwrap())
            .no_proxy()
            .resolve(&host, address)
            .build()
            .unwrap();
        let url = format!("https://{host}:{}{API}{path}", address.port());
        client.request(method.parse().unwrap(), url)
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
        Reply { status, headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], None).await
    }
}

fn pair(name: &str, labels: &[(&str, &str)]) -> Value {
    let mut spec = spec();
    spec.id = name.parse().unwrap();
    spec.labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    json!({ "spec": spec, "reason": "test" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_made_on_the_version_that_was_read_and_on_no_other() {
    let cluster = Cluster::start().await;
    // Through a node that does not lead: conditions and tags are carried.
    let api = Client::follower(&cluster).await;
    let create = |body| api.call("PUT", "/pairs/blog", &[("if-none-match", "*")], Some(body));
    let made = create(pair("blog", &[])).await;
    assert_eq!((made.status, made.header("etag")), (200, "\"1\""), "{}", made.body);
    let again = create(pair("blog", &[("env", "prod")])).await;
    assert_eq!((again.status, again.code()), (412, "precondition-failed"));
    assert_eq!(again.header("content-type"), "application/problem+json");

    let read = api.get("/pairs/blog").await;
    let tag = read.header("etag").to_owned();
    let change = |label: &'static str| pair("blog", &[("env", label)]);
    let put = |tag: String, body| async move {
        let headers = [("if-match", tag.as_str())];
        api.call("PUT", "/pairs/blog", &headers, Some(body)).await
    };
    let api = Client::follower(&cluster).await;
    let first = put(tag.clone(), change("prod")).await;
    assert_eq!((first.status, first.header("etag")), (200, "\"2\""));
    let stale = {
        let headers = [("if-match", tag.as_str())];
        api.call("PUT", "/pairs/blog", &headers, Some(change("test"))).await
    };
    assert_eq!((stale.status, stale.code()), (412, "precondition-failed"), "{}", stale.body);
    assert!(stale.body["detail"].as_str().unwrap().contains("version 2"), "{}", stale.body);
    let removed = api.call("DELETE", "/pairs/blog", &[("if-match", "\"1\"")], None).await;
    assert_eq!(removed.status, 412);

    let differs = api.get("/pairs/blog/diff?from=1").await;
    assert_eq!(differs.body["changes"][0]["path"], "labels", "{}", differs.body);
    let dry = api.call("PUT", "/pairs/blog?dry_run=true", &[], Some(change("test"))).await;
    assert_eq!(dry.body["changes"][0]["path"], "labels.env", "{}", dry.body);
    assert_eq!(api.get("/pairs/blog").await.header("etag"), "\"2\"", "a dry run changed it");
    let back = json!({ "version": 1, "reason": "back" });
    let back = api.call("POST", "/pairs/blog/rollback", &[("if-match", "\"2\"")], Some(back)).await;
    assert_eq!((back.status, back.header("etag")), (200, "\"3\""), "{}", back.body);
    assert!(back.body["spec"]["labels"].is_null());
    let nowhere = json!({ "version": 9 });
    let nowhere = api.call("POST", "/pairs/blog/rollback", &[], Some(nowhere)).await;
    assert_eq!((nowhere.status, nowhere.code()), (404, "version-not-found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_takes_effect_once_also_across_a_change_of_leader() {
    let cluster = Cluster::start().await;
    let pause = |for_ms| {
        let body = PauseRequest { pair: None, reason: "test".into(), for_ms };
        serde_json::to_value(body).unwrap()
    };
    let key = [("idempotency-key", "k-1")];
    let api = Client::follower(&cluster).await;
    let first = api.call("PUT", "/automation/pause", &key, Some(pause(60_000))).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let records = |audit: &Value| -> usize {
        let records = audit.as_array().unwrap();
        records.iter().filter(|record| record["action"] == "automation.pause").count()
    };
    // The leader goes; whoever comes knows the key.
    let gone = cluster.leader().await;
    cluster.kill(&gone).await;
    let api = eventually("a new leader", || async {
        let api = Client::leader(&cluster).await;
        (api.node != gone).then_some(api)
    })
    .await;
    let again = eventually("an answer", || async {
        let again = api.call("PUT", "/automation/pause", &key, Some(pause(60_000))).await;
        (again.status != 503).then_some(again)
    })
    .await;
    assert_eq!((again.status, &again.body), (200, &first.body), "answered alike");
    assert_eq!(records(&api.get("/audit?limit=1000").await.body), 1, "it took effect once");
    let other = api.call("PUT", "/automation/pause", &key, Some(pause(90_000))).await;
    assert_eq!((other.status, other.code()), (422, "idempotency-key-reused"));
    let resume = |path: &'static str| api.call("DELETE", path, &[("idempotency-key", "k-2")], None);
    assert_eq!(resume("/automation/pause?pair=a").await.status, 200);
    let elsewhere = resume("/automation/pause?pair=b").await;
    assert_eq!(elsewhere.code(), "idempotency-key-reused", "the query is part of what is asked");
    let without = api.call("PUT", "/automation/pause", &[], Some(pause(90_000))).await;
    assert_eq!(without.status, 200);
    assert_eq!(records(&api.get("/audit?limit=1000").await.body), 2);
    // What is no key is refused at every node, and never carried on without it.
    let left = cluster.peers.iter().map(|peer| peer.name.clone()).filter(|name| *name != gone);
    for node in left {
        let api = Client { cluster: &cluster, node };
        for key in ["a b", "\u{d7}1"] {
            let bad = [("idempotency-key", key)];
            let bad = api.call("PUT", "/automation/pause", &bad, Some(pause(60_000))).await;
            assert_eq!((bad.status, bad.code()), (400, "idempotency-key-refused"), "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_and_by_label() {
    let cluster = Cluster::start().await;
    let api = Client::follower(&cluster).await;
    for number in 0..7 {
        let name = format!("pair-{number}");
        let env = if number % 2 == 0 { "prod" } else { "test" };
        let path = format!("/pairs/{name}");
        let made = api.call("PUT", &path, &[], Some(pair(&name, &[("env", env)]))).await;
        assert_eq!(made.status, 200, "{}", made.body);
    }
    let mut path = "/pairs?limit=2&selector=env%3Dprod".to_owned();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let page = api.get(&path).await;
        let names = page.body.as_array().unwrap().iter();
        seen.extend(names.map(|pair| pair["spec"]["id"].as_str().unwrap().to_owned()));
        let link = page.header("link");
        let Some(next) = link.split(['<', '>']).nth(1) else { break };
        assert!(link.ends_with("rel=\"next\""), "{link}");
        path = next.strip_prefix(API).unwrap().to_owned();
    }
    assert_eq!(seen, ["pair-0", "pair-2", "pair-4", "pair-6"]);
    assert_eq!(api.get("/pairs?selector=env%3D").await.code(), "query-refused");
    assert_eq!(api.get("/pairs?limit=0").await.code(), "query-refused");
    assert_eq!(api.get("/operations?cursor=x").await.code(), "query-refused");

    // No agent ever reported: nothing is known, and nothing is well.
    let fleet = api.get("/fleet?selector=env%21%3Dprod").await.body;
    assert_eq!(fleet["counts"], json!({ "unknown": 3 }), "{fleet}");
    let leases = api.get("/leases").await.body;
    assert!(leases[0]["holder"].is_null() && leases[0]["remaining_ms"].is_null(), "{leases}");
    let regions = api.get("/regions").await.body;
    assert_eq!(regions[0]["connected"], false, "{regions}");
    assert!(regions[0]["report_age_ms"].is_null() && regions[0]["witness_reachable"].is_null());
}

/// The events of a stream until `wanted` of them came.
async fn events(mut response: reqwest::Response, wanted: usize) -> Vec<(u64, Value)> {
    let (mut text, mut found) = (String::new(), Vec::new());
    let reading = async {
        while found.len() < wanted {
            text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
            while let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                    found.push((id.parse().unwrap(), serde_json::from_str(data).unwrap()));
                }
                text = rest.to_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("events come");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_where_they_ended_at_any_node() {
    let cluster = Cluster::start().await;
    let (leader, follower) = (Client::leader(&cluster).await, Client::follower(&cluster).await);
    let open = follower.request("GET", "/events").send().await.unwrap();
    assert_eq!(open.headers()["content-type"], "text/event-stream");
    for number in 0..5 {
        let name = format!("pair-{number}");
        let path = format!("/pairs/{name}");
        leader.call("PUT", &path, &[], Some(pair(&name, &[]))).await;
    }
    let told = events(open, 5).await;
    let positions: Vec<u64> = told.iter().map(|(id, _)| *id).collect();
    let from = positions[0];
    assert_eq!(positions, (from..from + 5).collect::<Vec<_>>(), "in order and without a gap");
    assert!(told.iter().all(|(id, record)| record["index"] == *id), "{told:?}");
    // Resumed at another node, from the middle; and of one pair alone.
    let last = (from + 1).to_string();
    let again = leader.request("GET", "/events").header("last-event-id", last).send();
    let again = events(again.await.unwrap(), 3).await;
    assert_eq!(again[..], told[2..]);
    let one = leader.request("GET", "/events?after=0&pair=pair-3").send().await.unwrap();
    assert_eq!(events(one, 1).await[0].1["pair"], "pair-3");
    let bad = leader.call("GET", "/events", &[("last-event-id", "x")], None).await;
    assert_eq!((bad.status, bad.code()), (400, "query-refused"));
}

/// Every schema that a value stands against, with what does not fit.
fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&whole).map_err(|error| error.to_string())?;
    let wrong: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Reads an answer as the message of the call of the same name, which must have a field for all of it.
fn as_message(id: &str, body: &Value) -> Result<(), String> {
    let pool = DescriptorPool::decode(DESCRIPTOR).unwrap();
    let service = pool.get_service_by_name(&format!("{PACKAGE}.{SERVICE}")).unwrap();
    let mut methods = service.methods();
    let method = methods.find(|method| method.name().eq_ignore_ascii_case(id)).ok_or("no call")?;
    let body = if body.is_array() { json!({ "items": body }) } else { body.clone() };
    let strict = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(method.output(), &body, &strict)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_describes_itself_truly() {
    let cluster = Cluster::start().await;
    cluster.apply_spec().await;
    let api = Client::follower(&cluster).await;
    let document = api.get("/openapi.json").await.body;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20);
    let mut looked = BTreeSet::new();
    for (path, item) in paths {
        let Some(get) = item.get("get") else { continue };
        let short = path.strip_prefix(API).unwrap();
        let asked = short.replace("{pair}", "shop").replace("{operation}", "op-none");
        let asked = asked.replace("{approval}", "apr-none");
        let asked = if short.ends_with("/diff") { format!("{asked}?from=1") } else { asked };
        if asked == "/events" {
            continue;
        }
        let reply = api.get(&asked).await;
        let media = reply.header("content-type").split(';').next().unwrap().to_owned();
        let told = &get["responses"][reply.status.to_string()]["content"][&media]["schema"];
        assert!(told.is_object(), "{asked}: {} {media} is not told of", reply.status);
        if media.ends_with("json") {
            check(&document, told, &reply.body).unwrap_or_else(|wrong| panic!("{asked}: {wrong}"));
            if reply.status == 200 && short != "/openapi.json" {
                let call = get["operationId"].as_str().unwrap();
                as_message(call, &reply.body).unwrap_or_else(|wrong| panic!("{asked}: {wrong}"));
            }
            looked.insert(reply.status);
        }
    }
    assert_eq!(looked, BTreeSet::from([200, 404]));
    let reference = api.request("GET", "/reference").send().await.unwrap().text().await.unwrap();
    for id in paths.values().flat_map(|item| item.as_object().unwrap().values()) {
        let anchor = format!("id=\"{}\"", id["operationId"].as_str().unwrap());
        assert!(reference.contains(&anchor), "{anchor}");
    }
    let leases = json!([{ "pair": "shop", "weather": "fine" }]);
    assert!(as_message("listLeases", &leases).is_err(), "planted: a field without a place");
    // Planted: a schema that does not fit is noticed.
    let wrong = BTreeMap::from([("intact", "yes")]);
    let schema = &document["paths"]["/api/v1/audit/verify"]["get"]["responses"]["200"]["content"]["application/json"]
        ["schema"];
    assert!(check(&document, schema, &json!(wrong)).is_err());
}
