//! What sinks behind HTTP share.

use std::io;
use std::time::Duration;

use http::{HeaderName, StatusCode, header};
use reqwest::{Certificate, Client, Response, redirect, retry};

use super::{CONNECT_DEADLINE, SAID_CHARS_MAX, SEND_DEADLINE, Sent, said};
use crate::outbox::config::SinkConfig;

/// A client that asks nobody but the host it is given, and each attempt once. The process must have
/// installed a TLS provider, as the binary does.
pub(super) async fn client(config: &SinkConfig) -> io::Result<Client> {
    let mut builder = Client::builder()
        .user_agent(concat!("continuum/", env!("CARGO_PKG_VERSION")))
        .retry(retry::never())
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_DEADLINE)
        .timeout(SEND_DEADLINE);
    if let Some(file) = &config.authority_file {
        let pem = tokio::fs::read(file)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("authority_file: {error}")))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(io::Error::other)?;
        builder = builder.tls_certs_only(roots);
    }
    builder.build().map_err(io::Error::other)
}

/// Posts a body and says what the answer means.
pub(super) async fn post(
    client: &Client,
    url: &str,
    media: &str,
    headers: &[(HeaderName, String)],
    body: String,
) -> Sent {
    let mut request = client.post(url).header(header::CONTENT_TYPE, media).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) => meaning(answer).await,
        Err(error) => Sent::later(explain(error)),
    }
}

async fn meaning(mut answer: Response) -> Sent {
    let status = answer.status();
    if status.is_success() {
        return Sent::Taken;
    }
    let after = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    // Enough to see what is wrong; a body without end is not read to it.
    let mut text = Vec::new();
    while text.len() < SAID_CHARS_MAX {
        match answer.chunk().await {
            Ok(Some(piece)) => text.extend_from_slice(&piece),
            Ok(None) | Err(_) => break,
        }
    }
    let why = format!("HTTP {status}: {}", said(&String::from_utf8_lossy(&text)));
    let may_pass = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    match status.is_client_error() && !may_pass {
        true => Sent::Refused(why),
        false => Sent::Later { why, after },
    }
}

/// An error with its cause, and without the URL, which may hold a token.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let cause = innermost.to_string();
    let text = error.to_string();
    if text == cause { text } else { format!("{text}: {cause}") }
}
