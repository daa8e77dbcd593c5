//! The weights of an `HTTPRoute`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use continuum_agent::traffic::contract::{self, Stand};
use continuum_agent::traffic::{Held, Pointing, TrafficSwitch};
use continuum_domain::Tick;
use continuum_runtime::{Clock, SharedClock};
use serde_json::{Value, json};

use super::everywhere::{furnished, http_route_config};
use super::server::{ROUTE, Server, to};

const WEB: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/web";

struct OnARoute {
    server: Server,
    one: Arc<dyn TrafficSwitch>,
    other: Arc<dyn TrafficSwitch>,
}

#[async_trait]
impl Stand for OnARoute {
    fn switch(&self) -> &dyn TrafficSwitch {
        self.one.as_ref()
    }

    fn another(&self) -> &dyn TrafficSwitch {
        self.other.as_ref()
    }

    fn to(&self, epoch: u64, holder: &str) -> Pointing {
        to(epoch, holder)
    }

    async fn begin(&mut self) -> Option<String> {
        let route = self.server.get(WEB).await;
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
        let found = backends.iter().find(|backend| backend["weight"] != 0)?;
        Some(found["name"].as_str()?.trim_start_matches("web-").to_owned())
    }

    async fn end(&mut self) {}

    async fn hold_by_hand(&mut self, _held: bool) {}
}

pub async fn it_follows_the_highest_epoch_and_holds_nobody_back() {
    let server = furnished().await;
    let (one, other) =
        (server.open(&http_route_config(), "one"), server.open(&http_route_config(), "other"));
    let mut stand = OnARoute { server, one, other };
    contract::follows_the_highest_epoch(&mut stand).await;
    assert!(!stand.switch().can_hold());
    assert!(stand.switch().hold("a move").await.is_err());
    assert_eq!(stand.switch().look().await.unwrap().held, Held::No);
}

/// Two rules, several backends of a region, one of nobody's, and a rule of one region alone.
fn wide() -> Value {
    let backend = |name: &str, weight: u32| json!({ "name": name, "port": 80, "weight": weight });
    let at = |path: &str| json!([{ "path": { "type": "PathPrefix", "value": path } }]);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "web" },
        "spec": { "hostnames": ["shop.example"], "rules": [
            { "matches": at("/a"), "backendRefs": [
                backend("web-fsn", 90), backend("new-fsn", 10), backend("web-hel", 0),
                backend("stats", 5),
            ] },
            { "matches": at("/b"), "backendRefs": [
                backend("web-hel", 7), backend("new-hel", 3), backend("web-fsn", 50),
            ] },
            { "matches": at("/c"), "backendRefs": [backend("web-fsn", 1)] },
        ] },
    })
}

fn wide_config() -> Value {
    let mut config = http_route_config();
    config["backends"] = json!({
        "fsn": [{ "name": "web-fsn", "port": 80 }, { "name": "new-fsn", "port": 80 }],
        "hel": [{ "name": "web-hel", "port": 80 }, { "name": "new-hel", "port": 80 }],
    });
    config
}

/// Weights by rule and backend.
fn weights(route: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for rule in route["spec"]["rules"].as_array().unwrap() {
        for backend in rule["backendRefs"].as_array().unwrap() {
            let rule = rule["matches"][0]["path"]["value"].as_str().unwrap();
            let weight = &backend["weight"];
            all.push(format!("{rule} {} {weight}", backend["name"].as_str().unwrap()));
        }
    }
    all.sort();
    all
}

async fn with_wide() -> Server {
    let server = furnished().await;
    server.delete(WEB).await;
    server.post(ROUTE, wide()).await;
    server
}

pub async fn what_a_person_set_comes_back_exactly_whatever_was_reordered_meanwhile() {
    let server = with_wide().await;
    let switch = server.open(&wide_config(), "one");
    switch.point(&to(7, "fsn")).await.unwrap();
    let at_fsn = [
        "/a new-fsn 10",
        "/a stats 5",
        "/a web-fsn 90",
        "/a web-hel 0",
        "/b new-hel 0",
        "/b web-fsn 50",
        "/b web-hel 0",
        "/c web-fsn 1",
    ];
    assert_eq!(weights(&server.get(WEB).await), at_fsn);
    switch.point(&to(8, "hel")).await.unwrap();
    // Nobody said what hel weighs in /a beside that it is nothing while fsn holds the pair.
    let at_hel = [
        "/a new-fsn 0",
        "/a stats 5",
        "/a web-fsn 0",
        "/a web-hel 1",
        "/b new-hel 3",
        "/b web-fsn 0",
        "/b web-hel 7",
        "/c web-fsn 1",
    ];
    let route = server.get(WEB).await;
    assert_eq!(weights(&route), at_hel);
    let remarks = switch.look().await.map(|_| switch.aside().remarks).unwrap();
    assert!(remarks.iter().any(|remark| remark.contains("stats") && remark.contains("weight 5")));
    assert!(remarks.iter().any(|remark| remark.contains("no backend of hel")), "{remarks:?}");
    // Somebody sorts the rules and the backends.
    let mut rules = route["spec"]["rules"].as_array().unwrap().clone();
    rules.reverse();
    for rule in &mut rules {
        rule["backendRefs"].as_array_mut().unwrap().reverse();
    }
    server.patch(WEB, json!({ "spec": { "rules": rules } })).await;
    let next = server.open(&wide_config(), "next");
    assert!(next.look().await.unwrap().in_force, "nothing has to be moved for it");
    next.point(&to(9, "fsn")).await.unwrap();
    let back = server.get(WEB).await;
    assert_eq!(weights(&back), at_fsn);
    assert_eq!(back["spec"]["hostnames"], json!(["shop.example"]));
    next.point(&to(10, "hel")).await.unwrap();
    assert_eq!(weights(&server.get(WEB).await), at_hel);
    assert_eq!(next.aside().foreign_writes, 0);
}

pub async fn weights_that_others_write_are_undone_and_counted_and_unknown_backends_left() {
    let server = with_wide().await;
    let switch = server.open(&wide_config(), "one");
    switch.point(&to(7, "fsn")).await.unwrap();
    switch.point(&to(8, "hel")).await.unwrap();
    let moved = server.get(WEB).await;
    // A repository's word, in mid-flight.
    server.patch(WEB, json!({ "spec": wide()["spec"] })).await;
    assert!(!switch.look().await.unwrap().in_force);
    switch.point(&to(8, "hel")).await.unwrap();
    assert_eq!(weights(&server.get(WEB).await), weights(&moved));
    let aside = switch.aside();
    assert_eq!(aside.foreign_writes, 1);
    assert!(aside.last_foreign.unwrap().contains("/web-fsn:80 weighed 90 instead of 0"));
    // What is of no region is a person's to weigh.
    let mut route = moved.clone();
    route["spec"]["rules"][0]["backendRefs"][3]["weight"] = json!(6);
    server.patch(WEB, json!({ "spec": route["spec"] })).await;
    assert!(switch.look().await.unwrap().in_force);
    // A rule that matches something else now is the same rule.
    route["spec"]["rules"][0]["matches"][0]["path"]["value"] = json!("/z");
    server.patch(WEB, json!({ "spec": route["spec"] })).await;
    switch.point(&to(9, "fsn")).await.unwrap();
    let back = weights(&server.get(WEB).await);
    let expected = ["/z new-fsn 10", "/z stats 6", "/z web-fsn 90", "/z web-hel 0"];
    assert!(expected.iter().all(|line| back.iter().any(|found| found == line)), "{back:?}");
    assert_eq!(switch.aside().foreign_writes, 1);
}

/// A clock that a test moves.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Hand {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    fn wall_ms(&self) -> i64 {
        0
    }
}

pub async fn weights_move_in_steps_and_end_where_they_belong_also_by_another_agent() {
    let server = with_wide().await;
    let hand = Arc::new(Hand::default());
    let clock: SharedClock = hand.clone();
    let mut config = wide_config();
    config["shift"] = json!("10s");
    let mut switch = server.open_at(&config, "one", &clock);
    switch.point(&to(7, "fsn")).await.unwrap();
    let original = weights(&server.get(WEB).await);
    switch.point(&to(8, "hel")).await.unwrap();
    let mut shares = Vec::new();
    for step in 0..6 {
        let seen = switch.look().await.unwrap();
        assert!(seen.in_force, "step {step}");
        let route = server.get(WEB).await;
        let of = |name: &str| {
            let found = weights(&route).into_iter().find(|line| line.starts_with(name)).unwrap();
            found.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        shares.push((of("/b web-fsn"), of("/b web-hel") + of("/b new-hel")));
        hand.advance(Duration::from_secs(2));
        if step < 4 {
            assert!(!switch.look().await.unwrap().in_force, "the next step {step} is due");
        }
        if step == 2 {
            // This agent ends, and its successor begins where the weights are.
            switch = server.open_at(&config, "next", &clock);
            assert!(switch.look().await.unwrap().in_force);
            hand.advance(Duration::from_secs(2));
        }
        switch.point(&to(8, "hel")).await.unwrap();
    }
    assert_eq!(
        shares,
        [(8000, 2000), (6000, 4000), (4000, 6000), (2000, 8000), (0, 10), (0, 10)],
        "of fsn and hel in /b"
    );
    assert_eq!(switch.aside().foreign_writes, 0);
    switch.point(&to(9, "fsn")).await.unwrap();
    for _ in 0..5 {
        hand.advance(Duration::from_secs(2));
        switch.point(&to(9, "fsn")).await.unwrap();
    }
    assert_eq!(weights(&server.get(WEB).await), original);
}

pub async fn a_route_that_leads_nowhere_for_the_holder_is_left_as_it_is() {
    let server = with_wide().await;
    let switch = server.open(&wide_config(), "one");
    switch.point(&to(7, "fsn")).await.unwrap();
    let before = server.get(WEB).await;
    let error = switch.point(&to(8, "ash")).await.unwrap_err().to_string();
    assert!(error.contains("no backends of ash"), "{error}");
    assert_eq!(server.get(WEB).await, before);
    server.delete(WEB).await;
    let error = switch.look().await.unwrap_err().to_string();
    assert!(error.contains("there is none at"), "{error}");
}
