//! An incoming webhook of Slack, or of what understands the same.

use std::io;

use async_trait::async_trait;
use reqwest::Client;
use serde_json::json;

use super::{Sender, Sent, http as shared, needed_place};
use crate::outbox::config::SinkConfig;
use crate::outbox::event::Event;

pub(super) struct Slack {
    client: Client,
    url: String,
}

impl Slack {
    pub(super) async fn open(config: &SinkConfig) -> io::Result<Self> {
        Ok(Self { client: shared::client(config).await?, url: needed_place(config).await? })
    }
}

/// Slack reads `<...>` as links and calls, `&` as the beginning of a character.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(event: &Event) -> String {
    let record = &event.record;
    let mut text = format!("[{}] {}", event.severity().label(), event.headline());
    if !record.reason.is_empty() && !record.after.is_empty() {
        let reason: String = record.reason.chars().take(500).collect();
        text.push_str(&format!(" ({reason})"));
    }
    text.push_str(&format!(" - record {}", event.id));
    escaped(&text)
}

#[async_trait]
impl Sender for Slack {
    async fn send(&mut self, event: &Event) -> Sent {
        let body = json!({ "text": text(event) }).to_string();
        shared::post(&self.client, &self.url, "application/json", &[], body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::records;

    #[test]
    fn nothing_in_a_record_is_markup() {
        let mut record = records(1).remove(0);
        record.after = "<!channel> & <http://x|y>".into();
        record.reason = "<@U1>".into();
        let text = text(&Event::of(record));
        assert!(!text.contains(['<', '>']), "{text}");
        assert!(text.contains("&lt;!channel&gt; &amp; "), "{text}");
    }
}
