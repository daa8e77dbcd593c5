//! What an error of a client library says about where a request failed.

use std::error::Error;

/// An error and all that it was caused by.
pub(crate) fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// Why the server's certificate was not accepted, when that was the reason.
pub(crate) fn refused_certificate(error: &(dyn Error + 'static)) -> Option<String> {
    let refused = |tls: &&rustls::Error| matches!(tls, rustls::Error::InvalidCertificate(_));
    sources(error).find_map(tls_error).filter(refused).map(ToString::to_string)
}

/// The TLS error that this is or wraps. An [`std::io::Error`] does not show what it wraps among its
/// sources, and may wrap another of its kind.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().and_then(|inner| tls_error(inner)),
        None => error.downcast_ref(),
    }
}

/// The innermost reason, as text. The outer ones may name a URL, which may carry a signature.
pub(crate) fn root(error: &(dyn Error + 'static)) -> String {
    sources(error).last().unwrap_or(error).to_string()
}
