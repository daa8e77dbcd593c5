//! The HTTP client that providers behind HTTP share.

use std::time::Duration;

use reqwest::{Client, redirect, retry};

use super::ProviderError;

/// A client that sends each request at most once, and to nobody but the host it is given. The
/// process must have installed a TLS provider, as the binary does.
pub(super) fn client(what: &str, deadline: Duration) -> Result<Client, ProviderError> {
    let wrong = |why: &str| ProviderError::Misconfigured(format!("{what}: {why}"));
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(wrong("this process installed no TLS provider"));
    }
    Client::builder()
        .user_agent(concat!("continuum/", env!("CARGO_PKG_VERSION")))
        .retry(retry::never())
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(deadline / 2)
        .timeout(deadline)
        .build()
        .map_err(|error| wrong(&error.to_string()))
}

/// Why a request has no answer. Keys are headers and stand in no error.
pub(super) fn unsent(error: &reqwest::Error) -> ProviderError {
    let text = super::error_chain(error);
    match error.is_connect() {
        true => ProviderError::Unreachable(text),
        false => ProviderError::Unanswered(text),
    }
}
