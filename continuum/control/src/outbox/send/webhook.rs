//! CloudEvents over HTTP, signed.

use std::io;

use async_trait::async_trait;
use continuum_runtime::clock::SharedClock;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use reqwest::Client;
use sha2::Sha256;

use super::{Sender, Sent, http as shared, needed_place, secret};
use crate::outbox::config::SinkConfig;
use crate::outbox::event::Event;

const CLOUD_EVENT: &str = "application/cloudevents+json; charset=UTF-8";
const SIGNATURE: HeaderName = HeaderName::from_static("continuum-signature");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(super) struct Webhook {
    client: Client,
    url: String,
    secret: Option<String>,
    core: String,
    clock: SharedClock,
}

impl Webhook {
    pub(super) async fn open(
        config: &SinkConfig,
        core: &str,
        clock: &SharedClock,
    ) -> io::Result<Self> {
        let secret = match &config.secret_file {
            Some(file) => Some(secret("secret_file", file).await?),
            None => None,
        };
        Ok(Self {
            client: shared::client(config).await?,
            url: needed_place(config).await?,
            secret,
            core: core.to_owned(),
            clock: clock.clone(),
        })
    }
}

/// The value of `continuum-signature` for a body sent at `seconds` since 1970: the time is signed too, so
/// that a receiver can refuse an old body.
fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[async_trait]
impl Sender for Webhook {
    async fn send(&mut self, event: &Event) -> Sent {
        let body = event.cloud_event(&self.core).to_string();
        let mut headers = vec![(KEY, event.id.clone())];
        if let Some(secret) = &self.secret {
            let seconds = self.clock.wall_ms() / 1_000;
            headers.push((SIGNATURE, signature(secret, seconds, &body)));
        }
        shared::post(&self.client, &self.url, CLOUD_EVENT, &headers, body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_body_are_signed() {
        let one = signature("secret", 7, "{}");
        assert!(one.starts_with("t=7,v1="), "{one}");
        assert_ne!(one.split_once(','), signature("secret", 8, "{}").split_once(','));
        assert_ne!(one, signature("secret", 7, "{ }"));
        assert_ne!(one, signature("other", 7, "{}"));
    }
}
