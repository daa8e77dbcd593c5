//! A subject of NATS JetStream.
//!
//! Each record is sent after the one before it was acknowledged, so that their order in the stream is
//! that of the chain. Its id is the message's id: what the server had already taken when an
//! acknowledgement was lost, it takes once.

use std::io;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::{Context, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::{ConnectOptions, Event};
use async_trait::async_trait;
use tokio::sync::watch;

use super::{CONNECT_DEADLINE, SEND_DEADLINE, Sender, Sent, needed_place, said};
use crate::outbox::config::SinkConfig;
use crate::outbox::event::Event as Record;

const SUBJECT: &str = "catalyst.audit";
const STREAM: &str = "CONTINUUM_AUDIT";
/// For so long a stream of ours knows the ids of what it took.
const DUPLICATES: Duration = Duration::from_secs(3_600);

pub(super) struct Nats {
    context: Context,
    /// Whether the connection was lost: an acknowledgement that was under way will not come then.
    lost: watch::Receiver<bool>,
    subject: String,
    core: String,
}

impl Nats {
    pub(super) async fn connect(config: &SinkConfig, core: &str) -> io::Result<Self> {
        let mut options = match &config.credentials_file {
            Some(file) => ConnectOptions::with_credentials_file(file).await.map_err(|error| {
                io::Error::new(error.kind(), format!("credentials_file: {error}"))
            })?,
            None => ConnectOptions::new(),
        };
        let (tell, lost) = watch::channel(false);
        options = options.name("continuum").connection_timeout(CONNECT_DEADLINE).event_callback(
            move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    tell.send_replace(true);
                }
                std::future::ready(())
            },
        );
        if let Some(file) = &config.authority_file {
            options = options.add_root_certificates(file.clone());
        }
        let url = needed_place(config).await?;
        options = options.require_tls(url.starts_with("tls://"));
        let client = options.connect(&url).await.map_err(io::Error::other)?;
        let mut context = jetstream::new(client);
        context.set_timeout(SEND_DEADLINE);
        let subject = config.subject.clone().unwrap_or_else(|| SUBJECT.to_owned());
        if config.create_stream {
            let stream = Config {
                name: config.stream.clone().unwrap_or_else(|| STREAM.to_owned()),
                subjects: vec![subject.clone()],
                storage: StorageType::File,
                duplicate_window: DUPLICATES,
                deny_delete: true,
                ..Config::default()
            };
            context.get_or_create_stream(stream).await.map_err(io::Error::other)?;
        }
        Ok(Self { context, lost, subject, core: core.to_owned() })
    }
}

#[async_trait]
impl Sender for Nats {
    async fn send(&mut self, event: &Record) -> Sent {
        let payload = event.cloud_event(&self.core).to_string();
        let message = PublishMessage::build()
            .payload(payload.into())
            .header("Content-Type", "application/cloudevents+json")
            .message_id(&event.id);
        let published = self.context.send_publish(self.subject.clone(), message).await;
        let acknowledged = match published {
            Ok(acknowledgement) => tokio::select! {
                acknowledged = acknowledgement => acknowledged,
                _ = self.lost.wait_for(|lost| *lost) => {
                    return Sent::later("the connection was lost before it was acknowledged");
                }
            },
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(_) => Sent::Taken,
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Sent::Refused(said(&error.to_string()))
            }
            // Also when no stream takes the subject: somebody will make one.
            Err(error) => Sent::later(said(&error.to_string())),
        }
    }
}
