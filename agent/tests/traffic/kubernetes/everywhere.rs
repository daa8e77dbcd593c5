//! What holds of each of these switches, whatever goes wrong between an agent and its API server.

use std::sync::Arc;

use continuum_agent::traffic::{SwitchError, TrafficSwitch};
use continuum_domain::Epoch;
use continuum_test_kube::Effect;
use serde_json::{Value, json};

use super::SLICES_SINCE;
use super::server::{POOLERS, ROUTE, SERVICES, SLICES, Server, real, to};

const MARK: &str = "dr.openova.io/traffic";
const ROUNDS: u64 = 20;

/// One kind of switch, and how to tell from its object where clients go.
pub struct Kind {
    pub config: fn() -> Value,
    pub object: String,
    pub leads: fn(&Value) -> &'static str,
}

pub fn http_route_config() -> Value {
    json!({
        "kind": "http-route", "name": "web", "pair": "app", "namespace": "shop", "route": "web",
        "backends": {
            "fsn": [{ "name": "web-fsn", "port": 80 }],
            "hel": [{ "name": "web-hel", "port": 80 }],
        },
    })
}

pub fn slice_config() -> Value {
    json!({
        "kind": "endpoint-slice", "name": "db", "pair": "app", "namespace": "shop", "service": "db",
    })
}

pub fn pooler_config() -> Value {
    json!({
        "kind": "pooler", "name": "db", "pair": "app", "namespace": "shop", "pooler": "db",
        "region": "fsn",
    })
}

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        Kind {
            config: http_route_config,
            object: format!("{ROUTE}/web"),
            leads: |route| {
                let backends = &route["spec"]["rules"][0]["backendRefs"];
                match (&backends[0]["weight"], &backends[1]["weight"]) {
                    (fsn, hel) if *hel == 0 && *fsn == 3 => "fsn",
                    (fsn, hel) if *fsn == 0 && *hel == 1 => "hel",
                    _ => "both or nobody",
                }
            },
        },
        Kind {
            config: slice_config,
            object: format!("{SLICES}/db-continuum"),
            leads: |slice| match slice["endpoints"][0]["addresses"][0].as_str() {
                Some("10.1.0.5") => "fsn",
                Some("10.2.0.5") => "hel",
                _ => "nobody",
            },
        },
        Kind {
            config: pooler_config,
            object: format!("{POOLERS}/db"),
            leads: |pooler| {
                if pooler["spec"]["pgbouncer"]["paused"] == true { "hel" } else { "fsn" }
            },
        },
    ];
    if real().is_some_and(|real| real.minor < SLICES_SINCE) {
        kinds.retain(|kind| !kind.object.starts_with(SLICES));
    }
    kinds
}

/// The objects that a person makes.
pub async fn furnished() -> Server {
    let server = Server::start().await;
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "web" },
        "spec": { "rules": [{ "backendRefs": [
            { "name": "web-fsn", "port": 80, "weight": 3 },
            { "name": "web-hel", "port": 80, "weight": 0 },
        ] }] },
    });
    server.post(ROUTE, route).await;
    let service = json!({ "metadata": { "name": "db" }, "spec": { "ports": [{ "port": 5432 }] } });
    server.post(SERVICES, service).await;
    let pooler = json!({
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Pooler",
        "metadata": { "name": "db" },
        "spec": { "cluster": { "name": "db" }, "instances": 2, "pgbouncer": { "poolMode": "transaction" } },
    });
    server.post(POOLERS, pooler).await;
    server
}

/// How often the agent `one` has asked so.
fn asked(server: &Server, verb: &str) -> usize {
    let requests = server.api().control().requests();
    requests.iter().filter(|logged| logged.call.user == "one" && logged.call.verb == verb).count()
}

async fn is_in_force(switch: &dyn TrafficSwitch, epoch: u64) -> bool {
    let seen = switch.look().await.unwrap();
    seen.in_force && seen.target.map(|target| target.epoch) == Some(Epoch(epoch))
}

pub async fn of_two_agents_that_race_the_one_with_the_higher_epoch_wins_every_round() {
    for kind in kinds() {
        let server = furnished().await;
        let open = |agent: &str| server.open(&(kind.config)(), agent);
        let (one, other) = (open("one"), open("other"));
        for round in 0..ROUNDS {
            let (low, high) = (to(2 * round + 1, "fsn"), to(2 * round + 2, "hel"));
            let (late, early) = tokio::join!(one.point(&low), other.point(&high));
            assert_eq!(early, Ok(()), "{}", kind.object);
            let refused = Err(SwitchError::Superseded(high.epoch));
            assert!(late == Ok(()) || late == refused, "{}: {late:?}", kind.object);
            assert_eq!((kind.leads)(&server.get(&kind.object).await), "hel", "{}", kind.object);
            assert!(is_in_force(one.as_ref(), high.epoch.0).await);
            assert_eq!(one.point(&low).await, refused, "a frozen agent wakes up");
        }
    }
}

pub async fn of_two_holders_of_one_epoch_one_wins_every_round() {
    for kind in kinds() {
        let server = furnished().await;
        let open = |agent: &str| server.open(&(kind.config)(), agent);
        let (one, other) = (open("one"), open("other"));
        for epoch in 1..=ROUNDS {
            let (fsn, hel) = (to(epoch, "fsn"), to(epoch, "hel"));
            let told = tokio::join!(one.point(&fsn), other.point(&hel));
            let contradicted = |told: &Result<(), SwitchError>| {
                matches!(told, Err(SwitchError::Contradicted { .. }))
            };
            let winner = match &told {
                (Ok(()), lost) if contradicted(lost) => "fsn",
                (lost, Ok(())) if contradicted(lost) => "hel",
                other => panic!("{}: {other:?}", kind.object),
            };
            assert_eq!((kind.leads)(&server.get(&kind.object).await), winner, "{}", kind.object);
        }
    }
}

#[tokio::test]
async fn an_api_server_that_is_busy_or_away_or_loses_a_reply_leaves_nothing_half_done() {
    for kind in kinds() {
        let mut server = furnished().await;
        let switch = server.open(&(kind.config)(), "one");
        switch.point(&to(7, "fsn")).await.unwrap();
        let writes = |call: &continuum_test_kube::Call| call.verb == "patch";
        let before = server.get(&kind.object).await;
        for effect in [Effect::RetryAfter(1), Effect::Answer(503), Effect::Drop] {
            server.api().control().disturb(effect, Some(1), writes);
            let told = switch.point(&to(8, "hel")).await;
            assert!(matches!(told, Err(SwitchError::Unreachable(_))), "{effect:?}: {told:?}");
            assert_eq!(server.get(&kind.object).await, before, "{effect:?} changed it");
        }
        // Conflicts are looked at anew at once, and not for ever.
        server.api().control().disturb(Effect::Answer(409), Some(2), writes);
        switch.point(&to(8, "hel")).await.unwrap();
        assert_eq!((kind.leads)(&server.get(&kind.object).await), "hel");
        let storm = server.api().control().disturb(Effect::Answer(409), None, writes);
        assert!(switch.point(&to(9, "fsn")).await.is_err());
        server.api().control().relent(storm);
        // A reply that is lost: it was done, whole, and saying it again changes nothing.
        server.api().control().disturb(Effect::LoseReply, Some(1), writes);
        let told = switch.point(&to(9, "fsn")).await;
        assert!(matches!(told, Err(SwitchError::Unreachable(_))), "{told:?}");
        let done = server.get(&kind.object).await;
        assert_eq!((kind.leads)(&done), "fsn");
        // The agent that lost the reply ends here; another one finds what it did.
        let next = server.open(&(kind.config)(), "next");
        assert!(is_in_force(next.as_ref(), 9).await);
        next.point(&to(9, "fsn")).await.unwrap();
        assert_eq!(server.get(&kind.object).await, done);
        assert_eq!(next.aside().foreign_writes, 0);
        server.api_mut().down().await;
        assert!(matches!(next.look().await, Err(SwitchError::Unreachable(_))));
        assert!(matches!(next.point(&to(10, "hel")).await, Err(SwitchError::Unreachable(_))));
        server.api_mut().up().await.unwrap();
        next.point(&to(10, "hel")).await.unwrap();
        assert_eq!((kind.leads)(&server.get(&kind.object).await), "hel");
    }
}

#[tokio::test]
async fn an_object_that_others_change_meanwhile_is_read_anew() {
    for kind in kinds() {
        let server = furnished().await;
        let switch = server.open(&(kind.config)(), "one");
        switch.point(&to(7, "fsn")).await.unwrap();
        // Whatever others write between a read and a write: the write waits while it happens.
        server.api().control().forget_requests();
        let wait = Effect::Delay(std::time::Duration::from_millis(200));
        server
            .api()
            .control()
            .disturb(wait, Some(1), |call| call.verb == "patch" && call.user == "one");
        let label = json!({ "metadata": { "labels": { "team": "web" } } });
        let meanwhile = async {
            while asked(&server, "get") == 0 {
                tokio::task::yield_now().await;
            }
            server.patch(&kind.object, label).await
        };
        let next = to(8, "hel");
        let (told, _) = tokio::join!(switch.point(&next), meanwhile);
        assert_eq!(told, Ok(()), "{}", kind.object);
        let object = server.get(&kind.object).await;
        let team = &object["metadata"]["labels"]["team"];
        assert_eq!(((kind.leads)(&object), team), ("hel", &json!("web")));
        assert_eq!(asked(&server, "patch"), 2, "the first one was overtaken");
    }
}

pub async fn a_mark_that_was_taken_away_is_put_back_and_an_older_one_counts_for_nothing() {
    for kind in kinds() {
        let server = furnished().await;
        let switch = server.open(&(kind.config)(), "one");
        switch.point(&to(7, "fsn")).await.unwrap();
        let old = server.get(&kind.object).await["metadata"]["annotations"][MARK].clone();
        switch.point(&to(8, "hel")).await.unwrap();
        let at = |value: &Value| json!({ "metadata": { "annotations": { MARK: value } } });
        for (n, mark) in [(1, Value::Null), (2, old)] {
            server.patch(&kind.object, at(&mark)).await;
            let seen = switch.look().await.unwrap();
            assert_eq!((seen.target.map(|to| to.epoch), seen.in_force), (Some(Epoch(8)), false));
            let late = switch.point(&to(7, "fsn")).await;
            assert_eq!(late, Err(SwitchError::Superseded(Epoch(8))), "{}", kind.object);
            switch.point(&to(8, "hel")).await.unwrap();
            assert!(is_in_force(switch.as_ref(), 8).await);
            assert_eq!(switch.aside().foreign_writes, n, "{}", kind.object);
        }
        // What cannot be read may hold a higher epoch.
        server.patch(&kind.object, at(&json!("mine"))).await;
        let before = server.get(&kind.object).await;
        let error = switch.point(&to(9, "fsn")).await.unwrap_err().to_string();
        assert!(error.contains("was not written by an agent"), "{error}");
        assert_eq!(server.get(&kind.object).await, before);
    }
}

#[tokio::test]
async fn what_is_not_allowed_or_leads_another_pair_is_said_and_changes_nothing() {
    for kind in kinds() {
        let server = furnished().await;
        let switch: Arc<dyn TrafficSwitch> = server.open(&(kind.config)(), "one");
        switch.point(&to(7, "fsn")).await.unwrap();
        let mut other = (kind.config)();
        other["pair"] = json!("shop");
        let theirs = server.open(&other, "two");
        let mut pointing = to(8, "hel");
        pointing.pair = continuum_domain::PairId::new("shop").unwrap();
        let error = theirs.point(&pointing).await.unwrap_err().to_string();
        assert!(error.contains("clients of the pair app"), "{error}");
        server.api().control().forbid(|call| call.user == "one" && call.verb == "patch");
        let error = switch.point(&to(8, "hel")).await.unwrap_err().to_string();
        assert!(error.contains("403") && error.contains("forbidden"), "{error}");
        assert_eq!((kind.leads)(&server.get(&kind.object).await), "fsn");
    }
}
