//! The webhook against a sink on loopback that answers as it is told.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use continuum_agent::traffic::config::WebhookConfig;
use continuum_agent::traffic::webhook::{Webhook, signature};
use continuum_agent::traffic::{Pointing, SwitchError, TrafficSwitch};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::{BootClock, Clock as _, seed};
use serde_json::{Value, json};

const SECRET: &str = "sixteen bytes or more";

/// What came in: idempotency key, signature, body.
type Told = (String, String, String);

#[derive(Clone, Default)]
struct Sink {
    told: Arc<Mutex<Vec<Told>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

async fn take(State(sink): State<Sink>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let told = (header("idempotency-key"), header("continuum-signature"), body);
    sink.told.lock().unwrap().push(told);
    sink.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::NO_CONTENT)
}

async fn start(sink: &Sink) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/continuum", listener.local_addr().unwrap());
    let router = Router::new().route("/continuum", post(take)).with_state(sink.clone());
    seed::spawn(async move {
        let _until_the_test_ends = axum::serve(listener, router).await;
    });
    url
}

fn open(url: String, secret: &str) -> std::io::Result<Webhook> {
    let _first = rustls::crypto::ring::default_provider().install_default();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{secret}").unwrap();
    let config = WebhookConfig {
        name: "balancer".into(),
        pair: PairId::new("app").unwrap(),
        url,
        secret_file: file.path().to_owned(),
    };
    Webhook::open(&config, Arc::new(BootClock))
}

fn to(epoch: u64, holder: &str) -> Pointing {
    Pointing {
        pair: PairId::new("app").unwrap(),
        epoch: Epoch(epoch),
        holder: RegionId::new(holder).unwrap(),
        host: "10.2.0.5".into(),
        port: 5432,
    }
}

#[tokio::test]
async fn a_holder_is_told_signed_and_with_its_epoch() {
    let sink = Sink::default();
    let webhook = open(start(&sink).await, SECRET).unwrap();
    assert_eq!(webhook.look().await.unwrap().target, None);
    webhook.point(&to(8, "hel")).await.unwrap();
    let told = sink.told.lock().unwrap().clone();
    let [(key, signed, body)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(key, "app/8");
    let value: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        value,
        json!({ "pair": "app", "epoch": 8, "holder": "hel", "event": "holder",
            "host": "10.2.0.5", "port": 5432 })
    );
    let seconds: i64 = signed[2..signed.find(',').unwrap()].parse().unwrap();
    assert!((BootClock.wall_ms() / 1_000 - seconds).abs() < 60);
    assert_eq!(*signed, signature(SECRET, seconds, body));
    assert_eq!(webhook.look().await.unwrap().target, Some(to(8, "hel")));
    let late = webhook.point(&to(7, "fsn")).await;
    assert_eq!(late, Err(SwitchError::Superseded(Epoch(8))));
    assert_eq!(sink.told.lock().unwrap().len(), 1, "nobody is told of an older one");
}

#[tokio::test]
async fn what_was_not_taken_is_not_told_and_is_told_again_under_the_same_key() {
    let sink = Sink::default();
    sink.answers.lock().unwrap().extend([StatusCode::BAD_GATEWAY, StatusCode::TEMPORARY_REDIRECT]);
    let webhook = open(start(&sink).await, SECRET).unwrap();
    for says in ["HTTP 502", "HTTP 307"] {
        let error = webhook.point(&to(8, "hel")).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(webhook.look().await.unwrap().target, None);
    }
    webhook.point(&to(8, "hel")).await.unwrap();
    let keys: Vec<String> = sink.told.lock().unwrap().iter().map(|told| told.0.clone()).collect();
    assert_eq!(keys, ["app/8"; 3]);
}

#[tokio::test]
async fn a_sink_that_is_down_is_said_without_its_url_and_a_short_secret_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/?token=hidden", listener.local_addr().unwrap());
    drop(listener);
    let webhook = open(url.clone(), SECRET).unwrap();
    let error = webhook.point(&to(8, "hel")).await.unwrap_err();
    assert!(matches!(error, SwitchError::Unreachable(_)), "{error:?}");
    assert!(!error.to_string().contains("hidden"), "{error}");
    let error = open(url, "short").unwrap_err().to_string();
    assert!(error.contains("16 bytes or more"), "{error}");
}
