//! Sending one event to one sink. Each attempt has a deadline, and an answer that says what to do next.

use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::clock::SharedClock;

use super::config::{SinkConfig, SinkKind};
use super::event::Event;

mod http;
mod mail;
mod nats;
mod pagerduty;
mod slack;
mod webhook;

/// How long a sink may take to be reached.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long one attempt may take in all.
pub(super) const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// As much of what a sink said is kept.
const SAID_CHARS_MAX: usize = 200;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The sink has it.
    Taken,
    /// It is nothing for this kind of sink.
    Unwanted,
    /// The sink refused it, and would refuse it again.
    Refused(String),
    /// It may take it later.
    Later { why: String, after: Option<Duration> },
}

impl Sent {
    fn later(why: impl ToString) -> Self {
        Self::Later { why: why.to_string(), after: None }
    }
}

/// A connection to a sink, or what is needed to make one.
#[async_trait]
pub(super) trait Sender: Send + Sync {
    /// Makes one attempt. Nobody else waits for it, but its deadline is the caller's.
    async fn send(&mut self, event: &Event) -> Sent;
}

/// Makes ready to send: reads the files, and connects where a connection is kept.
pub(super) async fn open(
    config: &SinkConfig,
    core: &str,
    clock: &SharedClock,
) -> io::Result<Box<dyn Sender>> {
    Ok(match config.kind {
        SinkKind::Nats => Box::new(nats::Nats::connect(config, core).await?),
        SinkKind::Webhook => Box::new(webhook::Webhook::open(config, core, clock).await?),
        SinkKind::Slack => Box::new(slack::Slack::open(config).await?),
        SinkKind::Pagerduty => Box::new(pagerduty::PagerDuty::open(config, core).await?),
        SinkKind::Smtp => Box::new(mail::Mail::open(config).await?),
    })
}

/// The one line of a file that holds a secret; the error names the key, not the file.
async fn secret(key: &str, file: &Path) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{key}: {error}"));
    let text = tokio::fs::read_to_string(file).await.map_err(named)?;
    let secret = text.trim();
    if secret.is_empty() || secret.contains('\n') {
        return Err(named(io::Error::other("the file must hold one line")));
    }
    Ok(secret.to_owned())
}

/// Where a sink is.
async fn place(config: &SinkConfig) -> io::Result<Option<String>> {
    let Some(file) = &config.url_file else { return Ok(config.url.clone()) };
    let url = secret("url_file", file).await?;
    config.accepts(&url).map_err(|why| io::Error::other(format!("url_file: {why}")))?;
    Ok(Some(url))
}

async fn needed_place(config: &SinkConfig) -> io::Result<String> {
    place(config).await?.ok_or_else(|| io::Error::other("url: is not set"))
}

/// The start of what a sink said, on one line.
fn said(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_CHARS_MAX).collect()
}
