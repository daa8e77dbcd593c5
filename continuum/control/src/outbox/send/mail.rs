//! Mail.

use std::io;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{SEND_DEADLINE, Sender, Sent, needed_place, said, secret};
use crate::outbox::config::{MailTls, SinkConfig};
use crate::outbox::event::Event;

pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    pub(super) async fn open(config: &SinkConfig) -> io::Result<Self> {
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(io::Error::other);
        let from = config.from.as_ref().ok_or_else(|| io::Error::other("from: is not set"))?;
        let place = needed_place(config).await?;
        let (host, port) = place
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .ok_or_else(|| io::Error::other("url: is not host:port"))?;
        let tls = match config.tls {
            MailTls::None => Tls::None,
            MailTls::Starttls => Tls::Required(parameters(config, host).await?),
            MailTls::Tls => Tls::Wrapper(parameters(config, host).await?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(SEND_DEADLINE));
        if let (Some(user), Some(file)) = (&config.user, &config.password_file) {
            let password = secret("password_file", file).await?;
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
            from: mailbox(from)?,
            to: config.to.iter().map(mailbox).collect::<Result<_, _>>()?,
        })
    }

    fn message(&self, event: &Event) -> Result<Message, lettre::error::Error> {
        let record = &event.record;
        let mut builder: MessageBuilder = Message::builder().from(self.from.clone());
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        // A headline has no line ends: what a record says cannot become a header of its own.
        let subject = format!("[continuum {}] {}", event.severity().label(), event.headline());
        let json = serde_json::to_string_pretty(record).expect("audit records are plain data");
        builder
            .subject(subject)
            .message_id(Some(format!("<{}@continuum.invalid>", event.id)))
            .header(ContentType::TEXT_PLAIN)
            .body(format!("{}\n\n{json}\n", event.headline()))
    }
}

async fn parameters(config: &SinkConfig, host: &str) -> io::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = &config.authority_file {
        let pem = tokio::fs::read(file)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("authority_file: {error}")))?;
        let certificate = Certificate::from_pem(&pem).map_err(io::Error::other)?;
        builder =
            builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(io::Error::other)
}

#[async_trait]
impl Sender for Mail {
    async fn send(&mut self, event: &Event) -> Sent {
        let message = match self.message(event) {
            Ok(message) => message,
            Err(error) => return Sent::Refused(format!("it makes no mail: {error}")),
        };
        match self.transport.send(message).await {
            Ok(_) => Sent::Taken,
            Err(error) if error.is_permanent() => Sent::Refused(said(&error.to_string())),
            Err(error) => Sent::later(said(&error.to_string())),
        }
    }
}
