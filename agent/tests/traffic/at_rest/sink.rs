//! Whoever answers a node pool's webhook, as its documentation asks it to.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::any;
use continuum_agent::traffic::webhook::signature;
use continuum_runtime::seed;
use serde_json::{Value, json};

pub const SECRET: &str = "sixteen bytes or more";

pub struct Pool {
    pub wanted: Option<u32>,
    former: Option<u32>,
}

#[derive(Clone)]
pub struct Sink {
    pool: Arc<Mutex<Pool>>,
    refuse: Arc<Mutex<Option<u16>>>,
    unsigned: Arc<Mutex<usize>>,
}

impl Default for Sink {
    fn default() -> Self {
        let pool = Pool { wanted: Some(3), former: None };
        Self { pool: Arc::new(Mutex::new(pool)), refuse: Arc::default(), unsigned: Arc::default() }
    }
}

impl Sink {
    pub fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap()
    }

    pub fn refuse(&self, with: Option<u16>) {
        *self.refuse.lock().unwrap() = with;
    }

    /// Requests that were not signed as they should be.
    pub fn unsigned(&self) -> usize {
        *self.unsigned.lock().unwrap()
    }

    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pools", listener.local_addr().unwrap());
        let router = Router::new().route("/pools", any(answer)).with_state(self.clone());
        seed::spawn(async move {
            let _until_the_test_ends = axum::serve(listener, router).await;
        });
        url
    }
}

async fn answer(
    State(sink): State<Sink>,
    method: Method,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    if let Some(code) = *sink.refuse.lock().unwrap() {
        return (StatusCode::from_u16(code).unwrap(), String::new());
    }
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signed = header("continuum-signature");
    let seconds = signed[2..signed.find(',').unwrap()].parse().unwrap();
    let over = if method == Method::GET { header("continuum-pool") } else { body.clone() };
    if header("continuum-pool") != "workers" || signed != signature(SECRET, seconds, &over) {
        *sink.unsigned.lock().unwrap() += 1;
        return (StatusCode::FORBIDDEN, String::new());
    }
    let mut pool = sink.pool();
    if method == Method::POST {
        let told: Value = serde_json::from_str(&body).unwrap();
        match (told["event"].as_str().unwrap(), pool.former) {
            ("rest", None) => {
                pool.former = pool.wanted;
                pool.wanted = Some(u32::try_from(told["size"].as_u64().unwrap()).unwrap());
            }
            ("former", Some(former)) => {
                pool.wanted = pool.wanted.max(Some(former));
                pool.former = None;
            }
            _ => {}
        }
    }
    let said = json!({ "wanted": pool.wanted, "ready": pool.wanted, "former": pool.former });
    (StatusCode::OK, said.to_string())
}
