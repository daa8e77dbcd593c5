//! A webhook that scales a pool: whoever answers at a URL keeps the former size.
//!
//! ```text
//! continuum-pool: workers
//!
//! GET  ->  {"wanted":3,"ready":3,"former":null}
//! POST {"pool":"workers","event":"rest","size":0}
//! POST {"pool":"workers","event":"former"}
//! ```
//!
//! Both are signed like the traffic webhook; of a GET what is signed is the pool's name. Each word may come
//! more than once, and comes until it is answered with 2xx.

use async_trait::async_trait;
use continuum_runtime::SharedClock;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::json;

use super::config::WebhookConfig;
use super::{CALL_DEADLINE, NodePool, PoolError, PoolSeen, Scale, decide};
use crate::http_client::{self, explain};
use crate::traffic::config::{SECRET_BYTES_MIN, read_secret};
use crate::traffic::webhook::signature;

pub(super) struct Webhook {
    client: Client,
    pool: String,
    url: String,
    secret: String,
    clock: SharedClock,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the secret nor the URL, which may hold one.
        write!(f, "Webhook({})", self.pool)
    }
}

/// What the other side says of the pool. What it leaves out is not known.
#[derive(Deserialize)]
struct Answer {
    wanted: Option<u32>,
    ready: Option<u32>,
    former: Option<u32>,
}

impl Webhook {
    pub fn open(at: &WebhookConfig, clock: SharedClock) -> std::io::Result<Self> {
        let secret = read_secret(&at.secret_file)?;
        if secret.len() < SECRET_BYTES_MIN {
            let file = at.secret_file.display();
            let problem =
                format!("{file}: a secret of {SECRET_BYTES_MIN} bytes or more is accepted");
            return Err(std::io::Error::other(problem));
        }
        let client = http_client::client(CALL_DEADLINE)?;
        Ok(Self { client, pool: at.name.clone(), url: at.url.clone(), secret, clock })
    }

    async fn ask(&self, method: Method, body: String) -> Result<String, PoolError> {
        let seconds = self.clock.wall_ms() / 1_000;
        let signed = if method == Method::GET { &self.pool } else { &body };
        let request = self
            .client
            .request(method, &self.url)
            .header("continuum-pool", &self.pool)
            .header("content-type", "application/json")
            .header("continuum-signature", signature(&self.secret, seconds, signed))
            .body(body);
        let unreachable =
            |error: reqwest::Error| PoolError::Unreachable(explain(&error, CALL_DEADLINE));
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        match status.is_success() {
            true => answer.text().await.map_err(unreachable),
            // It may have been done.
            false if status.is_server_error() => {
                Err(PoolError::Unreachable(format!("HTTP {status}")))
            }
            false => Err(PoolError::Refused(format!("HTTP {status}"))),
        }
    }
}

#[async_trait]
impl NodePool for Webhook {
    async fn look(&self) -> Result<PoolSeen, PoolError> {
        let text = self.ask(Method::GET, String::new()).await?;
        let unread = |error| PoolError::Refused(format!("its answer cannot be read: {error}"));
        let Answer { wanted, ready, former } = serde_json::from_str(&text).map_err(unread)?;
        Ok(PoolSeen { wanted, ready, former })
    }

    async fn scale_to(&self, scale: Scale) -> Result<(), PoolError> {
        if decide(self.look().await?, scale)?.is_none() {
            return Ok(());
        }
        let body = match scale {
            Scale::Rest(size) => json!({ "pool": self.pool, "event": "rest", "size": size }),
            Scale::Former => json!({ "pool": self.pool, "event": "former" }),
        };
        self.ask(Method::POST, body.to_string()).await.map(drop)
    }
}
