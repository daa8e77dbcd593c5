//! A webhook: whoever answers at a URL is told of every new holder.
//!
//! ```text
//! POST /continuum HTTP/1.1
//! content-type: application/json
//! idempotency-key: app/8
//! continuum-signature: t=1764254400,v1=<hex of HMAC-SHA256 over "1764254400." and the body>
//!
//! {"pair":"app","epoch":8,"holder":"hel","event":"holder","host":"10.2.0.5","port":5432}
//! ```
//!
//! It is told at least once of the newest holder, again after each start of the agent, and of those
//! before it perhaps not at all. Whoever listens compares epochs and ignores a lower one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::SharedClock;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use serde_json::json;
use sha2::Sha256;

use super::config::{SECRET_BYTES_MIN, WebhookConfig, read_secret};
use super::memory::may_point;
use super::{Held, Pointing, Seen, SwitchError, TrafficSwitch};
use crate::http_client::{self, explain};

/// Longest time one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(3);

/// The switch.
pub struct Webhook {
    client: Client,
    url: String,
    secret: String,
    clock: SharedClock,
    told: Mutex<Option<Pointing>>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the secret.
        write!(f, "Webhook({})", self.url)
    }
}

impl Webhook {
    /// Reads the secret; the first request is sent later.
    pub fn open(config: &WebhookConfig, clock: SharedClock) -> std::io::Result<Self> {
        let secret = read_secret(&config.secret_file)?;
        if secret.len() < SECRET_BYTES_MIN {
            let problem = format!(
                "{}: a secret of {SECRET_BYTES_MIN} bytes or more is accepted",
                config.secret_file.display()
            );
            return Err(std::io::Error::other(problem));
        }
        let client = http_client::client(REQUEST_DEADLINE)?;
        Ok(Self { client, url: config.url.clone(), secret, clock, told: Mutex::default() })
    }
}

/// The value of `continuum-signature` for a body sent at `seconds` since 1970.
pub fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[async_trait]
impl TrafficSwitch for Webhook {
    fn can_hold(&self) -> bool {
        false
    }

    async fn look(&self) -> Result<Seen, SwitchError> {
        let target = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_force = target.is_some();
        Ok(Seen { target, in_force, held: Held::No, sessions: 0, stale: 0 })
    }

    async fn point(&self, to: &Pointing) -> Result<(), SwitchError> {
        may_point(self.told.lock().unwrap_or_else(PoisonError::into_inner).as_ref(), to)?;
        let body = json!({
            "pair": to.pair,
            "epoch": to.epoch,
            "holder": to.holder,
            "event": "holder",
            "host": to.host,
            "port": to.port,
        });
        let body = body.to_string();
        let seconds = self.clock.wall_ms() / 1_000;
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("idempotency-key", format!("{}/{}", to.pair, to.epoch))
            .header("continuum-signature", signature(&self.secret, seconds, &body))
            .body(body);
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| SwitchError::Unreachable(explain(&error, REQUEST_DEADLINE)))?;
        if !answer.status().is_success() {
            return Err(SwitchError::refused("POST", format!("HTTP {}", answer.status())));
        }
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(to.clone());
        Ok(())
    }

    async fn hold(&self, _why: &str) -> Result<(), SwitchError> {
        Err(SwitchError::refused("holding clients back", "a webhook cannot"))
    }

    async fn let_through(&self) -> Result<(), SwitchError> {
        Ok(())
    }

    async fn end_stale(&self) -> Result<(), SwitchError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_over_time_and_body() {
        // Made with: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let made = signature("0123456789abcdef", 1_700_000_000, r#"{"a":1}"#);
        let hex = "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
        assert_eq!(made, format!("t=1700000000,v1={hex}"));
        assert_ne!(made, signature("0123456789abcdef", 1_700_000_001, r#"{"a":1}"#));
        assert_ne!(made, signature("0123456789abcdee", 1_700_000_000, r#"{"a":1}"#));
        assert_ne!(made, signature("0123456789abcdef", 1_700_000_000, r#"{"a":2}"#));
    }
}
