//! Every route against every tier, in scope and out of it, as `docs/SECURITY.md` says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use continuum_control_api::link::GrantAnswer;
use continuum_control_api::routes::endpoints;
use continuum_domain::access::{Labels, Selector, Tier};
use continuum_domain::spec::{PairMode, PairSpec};
use continuum_domain::{Epoch, PairRecord, Version};
use continuum_witness::RegisterStore;
use serde_json::{Value, json};

use crate::access_support::{Client, Shows, nodes, owner, selector, token};
use crate::support::agent::{Agent, disk};
use crate::support::{Cluster, eventually, region, spec};

const DOCUMENT: &str = include_str!("../../../../docs/SECURITY.md");

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    method: String,
    path: String,
    when: String,
    tier: String,
    place: String,
}

/// The lines of the table in the document.
fn lines() -> Vec<Line> {
    let (_, rest) = DOCUMENT.split_once("<!-- needs -->").expect("the table begins");
    let (table, _) = rest.split_once("<!-- /needs -->").expect("the table ends");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = table.trim().lines().skip(2).map(cells);
    rows.map(|cells| {
        let [route, when, tier, place] = cells.try_into().expect("four cells");
        let (method, path) = route.trim_matches('`').split_once(' ').expect("method and path");
        Line { method: method.into(), path: path.into(), when, tier, place }
    })
    .collect()
}

#[test]
fn the_table_is_what_the_routes_say() {
    let said: BTreeSet<Line> = endpoints()
        .iter()
        .flat_map(|endpoint| {
            endpoint.needs().iter().map(|need| Line {
                method: endpoint.method.into(),
                path: endpoint.path.into(),
                when: need.when.into(),
                tier: if endpoint.is_open() { "-".into() } else { need.tier.label().into() },
                place: need.place.label().into(),
            })
        })
        .collect();
    assert_eq!(lines().into_iter().collect::<BTreeSet<_>>(), said);
    assert_eq!(lines().len(), said.len(), "a line stands twice");
}

fn labelled(name: &str, environment: &str) -> PairSpec {
    let mut spec = spec();
    spec.id = name.parse().unwrap();
    spec.labels = Labels::from([("env-type".into(), environment.into())]);
    spec
}

/// A core with a pair of each environment; on one of them an operation waits for an approval.
struct World {
    cluster: Cluster,
    operation: String,
    token: String,
    approval: String,
    _hel: Arc<Agent>,
}

async fn world(with_loss: bool) -> World {
    let cluster = Cluster::start().await;
    let in_sync = ["fsn", "hel"].map(|name| (region(name), disk(&region(name))));
    let record = PairRecord {
        epoch: Epoch(1),
        holder: Some(region("fsn")),
        in_sync: BTreeMap::from(in_sync),
        handover_to: None,
        paused: false,
        waits_for_all: false,
        rested_by: None,
    };
    let value = serde_json::to_vec(&record).unwrap();
    cluster.store.compare_and_swap("pair/shop", Version::ABSENT, value).await.unwrap();
    let mut shop = labelled("shop", "test");
    shop.mode = PairMode::SemiAutomatic;
    cluster.apply(shop).await;
    cluster.apply(labelled("till", "prod")).await;
    let hel = Agent::start(&cluster, "hel");
    if with_loss {
        hel.drop_out_of_the_ledger();
    }
    let answer = hel.ask(1).await;
    assert!(!matches!(answer, GrantAnswer::Granted { .. }), "{answer:?}");
    let (leader, _) = nodes(&cluster).await;
    let owner = owner(&cluster, &leader);
    let operation = eventually("an operation that waits", || async {
        let waiting = owner.get("/approvals").await.body;
        waiting[0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let (token, _) = token(&owner, "looked-at", Tier::Viewer, &selector("env-type=test")).await;
    // One that the rule keeps which is there from the beginning.
    let (_, asks) = self::token(&owner, "asks", Tier::Operator, &everything()).await;
    let asks = Client::new(&cluster, &leader, &asks);
    let kept = asks.send("POST", "/pairs/till/switchover", json!({ "to": "hel" })).await;
    let approval = kept.body["id"].as_str().unwrap_or_else(|| panic!("{}", kept.body)).to_owned();
    World { cluster, operation, token, approval, _hel: hel }
}

fn everything() -> Selector {
    Selector::default()
}

/// A request of a line that passes the gate, and is then refused before it changes anything.
fn request(world: &World, line: &Line) -> (String, Option<Value>) {
    let (pair, environment) = ("shop", "test");
    let mut path = line
        .path
        .replace("{pair}", pair)
        .replace("{operation}", &world.operation)
        .replace("{token}", &world.token)
        .replace("{approval}", &world.approval)
        .replace("{name}", "dba")
        .replace("{sink}", "none")
        .replace("{node}", "99");
    let dry = line.when == "dry run";
    let loss = line.when == "allow_data_loss";
    let one = line.when != "all pairs";
    let body = match (line.method.as_str(), line.path.as_str()) {
        ("PUT", "/pairs/{pair}") => json!({ "spec": labelled(pair, environment) }),
        (_, "/pairs/{pair}/rollback") => json!({ "version": 1 }),
        (_, "/pairs/{pair}/switchover") => json!({ "to": "hel", "dry_run": dry }),
        (_, "/pairs/{pair}/rejoin") => {
            json!({ "region": "hel", "method": "clone", "dry_run": dry })
        }
        (_, "/pairs/{pair}/failover") => {
            json!({ "to": "hel", "dry_run": dry, "allow_data_loss": loss, "epoch": 1 })
        }
        (_, "/pairs/{pair}/failback" | "/pairs/{pair}/pause" | "/pairs/{pair}/resume") => {
            json!({ "dry_run": dry })
        }
        ("PUT", "/automation/pause") => {
            json!({ "pair": one.then_some(pair), "reason": "test", "for_ms": 1 })
        }
        ("POST", "/access/tokens") => {
            json!({ "name": "new", "tier": "viewer", "selector": "env-type=test", "for_ms": 1 })
        }
        ("GET", _) => Value::Null,
        _ => json!({}),
    };
    match (line.method.as_str(), line.path.as_str()) {
        ("PUT", "/pairs/{pair}") if dry => path += "?dry_run=true",
        ("DELETE", "/automation/pause") if one => path += "?pair=shop",
        ("GET", "/pairs/{pair}/diff") => path += "?from=1",
        _ => {}
    }
    (path, (line.method != "GET").then_some(body))
}

/// What a caller of a tier over a scope is to be answered.
fn expected(line: &Line, tier: Tier, scope: &str) -> (u16, &'static str) {
    let of_approval = line.place == "the request's pair";
    let target = if of_approval { "env-type=prod" } else { "env-type=test" };
    let in_scope = scope.is_empty() || scope == target;
    let passed = match line.method.as_str() {
        // There is none; who may not see sinks does not learn that either.
        "GET" if line.path.contains("{sink}") => (404, "sink-not-found"),
        "GET" => (200, ""),
        _ => (400, "condition-refused"),
    };
    let hidden = match line.place.as_str() {
        "the pair" => Some((404, "pair-not-found")),
        "the operation's pair" => Some((404, "operation-not-found")),
        "the request's pair" => Some((404, "approval-not-found")),
        _ => None,
    };
    let held = match line.place.as_str() {
        "open" | "own" => return passed,
        "any pair" => true,
        "all" => scope.is_empty(),
        "the pair" | "the operation's pair" | "the request's pair" | "the token's scope" => {
            in_scope
        }
        other => panic!("{other}"),
    };
    match hidden {
        Some(answer) if !held => answer,
        _ if held && tier >= line.tier.parse().unwrap() => passed,
        _ => (403, "forbidden"),
    }
}

async fn hold(world: &World, lines: &[Line]) -> usize {
    let (leader, follower) = nodes(&world.cluster).await;
    let owner = owner(&world.cluster, &leader);
    let mut looked = 0;
    for tier in Tier::ALL {
        for (number, scope) in ["", "env-type=test", "env-type=prod"].into_iter().enumerate() {
            let name = format!("{tier}-{number}");
            let (_, shows) = token(&owner, &name, tier, &selector(scope)).await;
            let clients =
                [&leader, &follower].map(|node| Client::new(&world.cluster, node, &shows));
            for (line, client) in lines.iter().zip(clients.iter().cycle()) {
                let (path, body) = request(world, line);
                // No entity tag of ours: whatever the gate lets through changes nothing.
                let reply =
                    client.call(&line.method, &path, &[("if-match", "x")], body.as_ref()).await;
                let wanted = expected(line, tier, scope);
                assert_eq!(reply.told(), wanted, "{tier} over {scope:?}: {line:?}: {}", reply.body);
                looked += 1;
            }
        }
    }
    looked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_open_to_whom_the_table_says_and_to_nobody_else() {
    let world = world(false).await;
    let of_loss = |line: &Line| line.path.ends_with("/approve") && line.when == "allow_data_loss";
    let lines: Vec<Line> = lines().into_iter().filter(|line| !of_loss(line)).collect();
    let looked = hold(&world, &lines).await;
    assert_eq!(looked, lines.len() * Tier::ALL.len() * 3);
    // Who shows nothing is told nothing; the documents are open.
    let (_, follower) = nodes(&world.cluster).await;
    let nobody = Client::new(&world.cluster, &follower, &Shows::default());
    for (number, line) in lines.iter().enumerate() {
        let (path, body) = request(&world, line);
        let reply = nobody.call(&line.method, &path, &[("if-match", "x")], body.as_ref()).await;
        match line.place.as_str() {
            "open" => assert_eq!(reply.status, 200, "{line:?}"),
            // After so many attempts the address itself is refused for a while.
            _ if number >= 20 => assert!(matches!(reply.status, 401 | 429), "{line:?}"),
            _ => {
                assert_eq!(reply.told(), (401, "unauthenticated"), "{line:?}");
                assert!(reply.header("www-authenticate").starts_with("Bearer"), "{line:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_is_approved_by_whom_the_table_says_and_by_nobody_else() {
    let world = world(true).await;
    let lines: Vec<Line> = lines()
        .into_iter()
        .filter(|line| line.path.ends_with("/approve") && line.when == "allow_data_loss")
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(hold(&world, &lines).await, Tier::ALL.len() * 3);
}
