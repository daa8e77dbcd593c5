//! The slice of a Service without a selector.

use std::sync::Arc;

use async_trait::async_trait;
use continuum_agent::traffic::contract::{self, Stand};
use continuum_agent::traffic::{Pointing, TrafficSwitch};
use serde_json::json;

use super::everywhere::{furnished, slice_config};
use super::server::{SERVICES, SLICES, Server, to};

const DB: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/db-continuum";

struct OnASlice {
    server: Server,
    one: Arc<dyn TrafficSwitch>,
    other: Arc<dyn TrafficSwitch>,
}

impl OnASlice {
    async fn start() -> Self {
        let server = furnished().await;
        let (one, other) =
            (server.open(&slice_config(), "one"), server.open(&slice_config(), "other"));
        Self { server, one, other }
    }
}

#[async_trait]
impl Stand for OnASlice {
    fn switch(&self) -> &dyn TrafficSwitch {
        self.one.as_ref()
    }

    fn another(&self) -> &dyn TrafficSwitch {
        self.other.as_ref()
    }

    fn to(&self, epoch: u64, holder: &str) -> Pointing {
        to(epoch, holder)
    }

    /// As the cluster's network does: to an endpoint that is ready, else nowhere.
    async fn begin(&mut self) -> Option<String> {
        let slice = self.server.get(DB).await;
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "db");
        assert_eq!(slice["ports"], json!([{ "name": "", "port": 5432, "protocol": "TCP" }]));
        let endpoints = slice["endpoints"].as_array().unwrap();
        assert_eq!(endpoints.len(), 1, "the holder's alone");
        let ready = endpoints[0]["conditions"]["ready"].as_bool().unwrap();
        let holder = if endpoints[0]["addresses"] == json!(["10.1.0.5"]) { "fsn" } else { "hel" };
        ready.then(|| holder.to_owned())
    }

    async fn end(&mut self) {}

    async fn hold_by_hand(&mut self, _held: bool) {}
}

pub async fn it_keeps_the_contract_as_far_as_it_sees() {
    contract::follows_the_highest_epoch(&mut OnASlice::start().await).await;
    contract::holds_clients_back(&mut OnASlice::start().await).await;
}

pub async fn an_agent_that_was_left_behind_lets_nobody_through() {
    let stand = OnASlice::start().await;
    stand.one.point(&to(7, "fsn")).await.unwrap();
    stand.other.point(&to(8, "hel")).await.unwrap();
    stand.other.hold("a takeover").await.unwrap();
    let before = stand.server.get(DB).await;
    assert!(stand.one.let_through().await.is_err());
    assert!(stand.one.hold("a move").await.is_err());
    assert_eq!(stand.server.get(DB).await, before);
    stand.other.let_through().await.unwrap();
}

pub async fn what_others_write_into_it_is_undone_and_so_is_its_removal() {
    let stand = OnASlice::start().await;
    stand.one.point(&to(7, "fsn")).await.unwrap();
    let whole = stand.server.get(DB).await;
    let wrong = json!({ "endpoints": [{ "addresses": ["10.9.9.9"] }] });
    stand.server.patch(DB, wrong).await;
    assert!(!stand.one.look().await.unwrap().in_force);
    stand.one.point(&to(7, "fsn")).await.unwrap();
    assert_eq!(stand.server.get(DB).await["endpoints"], whole["endpoints"]);
    let gone = json!({ "metadata": { "labels": { "kubernetes.io/service-name": null } } });
    stand.server.patch(DB, gone).await;
    assert!(!stand.one.look().await.unwrap().in_force);
    stand.one.point(&to(7, "fsn")).await.unwrap();
    assert_eq!(stand.server.get(DB).await["metadata"]["labels"], whole["metadata"]["labels"]);
    stand.server.delete(DB).await;
    let seen = stand.one.look().await.unwrap();
    assert!(!seen.in_force && seen.target == Some(to(7, "fsn")), "{seen:?}");
    stand.one.point(&to(7, "fsn")).await.unwrap();
    assert_eq!(stand.server.get(DB).await["endpoints"], whole["endpoints"]);
    assert_eq!(stand.one.aside().foreign_writes, 2);
}

pub async fn a_service_that_leads_elsewhere_too_and_an_address_that_is_none_are_refused() {
    let server = furnished().await;
    let switch = server.open(&slice_config(), "one");
    let mut named = to(7, "fsn");
    named.host = "db.fsn.example".into();
    let error = switch.point(&named).await.unwrap_err().to_string();
    assert!(error.contains("give it in `addresses`"), "{error}");
    let mut config = slice_config();
    config["addresses"] = json!({ "fsn": "10.1.0.9" });
    server.open(&config, "two").point(&named).await.unwrap();
    let slice = server.get(DB).await;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.1.0.9"]));
    let mut six = to(8, "hel");
    six.host = "fd00::5".into();
    let error = switch.point(&six).await.unwrap_err().to_string();
    assert!(error.contains("one family"), "{error}");
    assert_eq!(server.get(DB).await, slice);
    server.delete(DB).await;
    let selects = json!({ "spec": { "selector": { "app": "db" } } });
    server.patch(&format!("{SERVICES}/db"), selects).await;
    let fresh = server.open(&slice_config(), "three");
    let error = fresh.point(&to(8, "hel")).await.unwrap_err().to_string();
    assert!(error.contains("has a selector"), "{error}");
    server.delete(&format!("{SERVICES}/db")).await;
    let error = fresh.point(&to(8, "hel")).await.unwrap_err().to_string();
    assert!(error.contains("Service is not there"), "{error}");
    assert_eq!(server.get(SLICES).await["items"], json!([]));
}
