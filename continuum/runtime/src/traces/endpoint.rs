//! The way to the collector.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use super::TracesConfig;
use crate::net::{BoxIo, SeamExecutor};

/// How long dialling may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Scheme, host and port of an endpoint, or why it is none.
pub(super) fn parts(endpoint: &str) -> Result<(bool, String, u16), String> {
    let wanted = || format!("{endpoint:?} is not http://host:port or https://host:port");
    let uri: http::Uri = endpoint.parse().map_err(|_| wanted())?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wanted()),
    };
    let plain = uri.path_and_query().is_none_or(|path| path == "/");
    let authority = uri.authority().filter(|authority| plain && !authority.as_str().contains('@'));
    let (host, port) = authority
        .and_then(|authority| Some((authority.host(), authority.port_u16()?)))
        .ok_or_else(wanted)?;
    Ok((secure, host.trim_matches(['[', ']']).to_owned(), port))
}

/// A channel that dials by itself, and again.
pub(super) fn channel(config: &TracesConfig) -> io::Result<Channel> {
    let (secure, host, port) = parts(&config.endpoint).map_err(io::Error::other)?;
    let tls = secure.then(|| tls(config.authority.as_deref())).transpose()?;
    let origin: http::Uri = config.endpoint.parse().map_err(io::Error::other)?;
    let authority = origin.authority().map_or("", http::uri::Authority::as_str);
    // The library refuses an https endpoint whose TLS it does not speak itself: here the dialler does. What
    // requests say of their scheme is the origin's.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(io::Error::other)?
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .executor(SeamExecutor);
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_uri: http::Uri| {
        let (tls, host) = (tls.clone(), host.clone());
        async move { dial(tls, host, port).await.map(TokioIo::new) }
    })))
}

async fn dial(tls: Option<Arc<ClientConfig>>, host: String, port: u16) -> io::Result<BoxIo> {
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(Box::new(tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await?))
}

fn tls(authority: Option<&Path>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(file) => {
            let named = |error: &dyn std::fmt::Display| {
                io::Error::other(format!("{}: {error}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| named(&error))? {
                let certificate = certificate.map_err(|error| named(&error))?;
                roots.add(certificate).map_err(|error| named(&error))?;
            }
        }
        None => {
            let (_, _unusable) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(io::Error::other("no certificate of an authority was found for traces"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_scheme_a_host_and_a_port() {
        let of = |text: &str| parts(text).ok();
        assert_eq!(of("http://otel:4317"), Some((false, "otel".into(), 4317)));
        assert_eq!(of("https://otel.example/:4317"), None);
        assert_eq!(of("https://[::1]:4317/"), Some((true, "::1".into(), 4317)));
        for bad in ["otel:4317", "http://otel", "grpc://otel:4317", "http://a:b@otel:4317", ""] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
