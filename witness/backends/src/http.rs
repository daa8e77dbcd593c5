//! The HTTP client that the stores behind HTTP share.

use std::error::Error;
use std::time::Duration;

use continuum_witness::StoreError;
use reqwest::{Client, Url, redirect, retry};

use crate::causes::{root, sources};

/// Whether a client may speak without encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Never.
    Refused,
    /// Yes, to this machine or its own metadata service; no proxy leads to either.
    Near,
}

impl Plain {
    /// What an endpoint that [`endpoint`] accepted needs.
    pub(crate) fn of(endpoint: &Url) -> Self {
        if endpoint.scheme() == "http" { Plain::Near } else { Plain::Refused }
    }
}

/// A client that sends each request at most once and to nobody but the host it is given.
///
/// The process must have installed a TLS provider (the binary installs ring); without one this is
/// refused. Requests are given up after `deadline`, connecting after half of it, so that a host
/// that swallows packets is still told apart from one that did not answer.
pub(crate) fn client(plain: Plain, deadline: Duration) -> Result<Client, StoreError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(StoreError::Misconfigured("this process installed no TLS provider".into()));
    }
    let builder = Client::builder()
        // Some edges turn away who names no program.
        .user_agent(concat!("continuum/", env!("CARGO_PKG_VERSION")))
        // A repeated change may find its own first copy, and take it for somebody else's.
        .retry(retry::never())
        .redirect(redirect::Policy::none())
        .http1_only()
        .https_only(plain == Plain::Refused)
        .connect_timeout(deadline / 2)
        .timeout(deadline);
    let builder = if plain == Plain::Near { builder.no_proxy() } else { builder };
    builder
        .build()
        .map_err(|error| StoreError::Misconfigured(format!("no HTTP client: {}", root(&error))))
}

/// Reads an endpoint: `https://`, or `http://` on this machine only, because what is stored
/// decides who may write and must not be changed on the way.
pub(crate) fn endpoint(text: &str) -> Result<Url, StoreError> {
    let wrong = |why: &str| StoreError::Misconfigured(format!("endpoint {text:?} {why}"));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match url.scheme() {
        _ if !plain => Err(StoreError::Misconfigured(
            "the endpoint carries a user, a password or a query; credentials have a file".into(),
        )),
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(wrong("is not encrypted: http is accepted on loopback only")),
        _ => Err(wrong("is neither https nor http")),
    }
}

/// Addresses only: a name may resolve to anything.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether no connection came about to send the request on.
pub(crate) fn never_connected(error: &(dyn Error + 'static)) -> bool {
    sources(error)
        .any(|cause| cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_in_the_clear() {
        for good in ["https://a.example", "http://127.0.0.1:1/x", "http://[::1]:1"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["http://a.example", "http://localhost", "ftp://a", "a.example", ""] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        let error = endpoint("https://user:hidden@a.example").unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{error}");
        assert!(!endpoint("https://a.example?sig=hidden").unwrap_err().to_string().contains("hid"));
    }
}
