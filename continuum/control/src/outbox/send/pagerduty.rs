//! PagerDuty's Events API v2: what needs a person calls one, and its end lets them go.

use std::io;

use async_trait::async_trait;
use reqwest::Client;
use serde_json::{Value, json};

use super::{Sender, Sent, http as shared, place, secret};
use crate::calendar::rfc3339;
use crate::outbox::config::SinkConfig;
use crate::outbox::event::{Call, Event};

const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";

pub(super) struct PagerDuty {
    client: Client,
    url: String,
    routing_key: String,
    core: String,
}

impl PagerDuty {
    pub(super) async fn open(config: &SinkConfig, core: &str) -> io::Result<Self> {
        let file = config.secret_file.as_ref();
        let file = file.ok_or_else(|| io::Error::other("secret_file: is not set"))?;
        Ok(Self {
            client: shared::client(config).await?,
            url: place(config).await?.unwrap_or_else(|| EVENTS.to_owned()),
            routing_key: secret("secret_file", file).await?,
            core: core.to_owned(),
        })
    }

    fn body(&self, event: &Event, call: &Call) -> Value {
        let (action, key) = match call {
            Call::Trigger(key) => ("trigger", key),
            Call::Resolve(key) => ("resolve", key),
        };
        let mut body = json!({
            "routing_key": self.routing_key,
            "event_action": action,
            "dedup_key": key,
        });
        if matches!(call, Call::Trigger(_)) {
            body["payload"] = json!({
                "summary": event.headline(),
                "source": format!("continuum/{}", self.core),
                "severity": event.severity().label(),
                "timestamp": rfc3339(event.record.at_ms),
                "component": event.record.pair,
                "custom_details": event.record,
            });
        }
        body
    }
}

#[async_trait]
impl Sender for PagerDuty {
    async fn send(&mut self, event: &Event) -> Sent {
        let Some(call) = event.call() else { return Sent::Unwanted };
        let body = self.body(event, &call).to_string();
        shared::post(&self.client, &self.url, "application/json", &[], body).await
    }
}
