//! The HTTP client of webhooks and of clouds' APIs, and how its errors are told.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::{Client, redirect, retry};

/// A client that sends each request at most once, within `deadline`. It follows no redirect, which would
/// take a signed request to somebody else, and asks no proxy of the environment.
pub(crate) fn client(deadline: Duration) -> io::Result<Client> {
    Client::builder()
        .user_agent(concat!("continuum/", env!("CARGO_PKG_VERSION")))
        .retry(retry::never())
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(deadline)
        .build()
        .map_err(io::Error::other)
}

/// An error with its cause, and without the URL, which may hold a token.
pub(crate) fn explain(error: &reqwest::Error, deadline: Duration) -> String {
    match error.is_timeout() {
        true => format!("no answer in {deadline:?}"),
        false => innermost(error),
    }
}

/// The last cause of an error: what is above it tells of layers alone.
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
