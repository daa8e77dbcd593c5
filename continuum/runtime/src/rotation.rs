//! Certificates that are replaced while the process runs.
//!
//! Before each handshake the files are looked at; when one has another time, length or place than
//! before, all are read anew. What cannot be read, or does not fit together, changes nothing: whoever
//! replaces files replaces one after the other. Connections that are open stay as they are.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use crate::net::TlsFiles;

/// A certificate that ends sooner than this is told of in the log when it is read.
const WARN_MS: i64 = 14 * 24 * 60 * 60 * 1_000;

/// What the files say.
pub(crate) struct Credentials {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
    /// For listeners that accept connections without a certificate.
    pub(crate) open_server: Arc<ServerConfig>,
    /// When the own certificate, or an authority, ends: the first of them, milliseconds since 1970.
    pub(crate) ends_ms: Option<i64>,
}

impl Credentials {
    fn read(files: &TlsFiles) -> io::Result<Self> {
        Ok(Self {
            client: Arc::new(files.client_config(&[b"h2"])?),
            server: Arc::new(files.server_config()?),
            open_server: Arc::new(files.open_server_config()?),
            ends_ms: files.certificates()?.iter().filter_map(ends_ms).min(),
        })
    }
}

/// When a certificate ends, milliseconds since 1970.
pub(crate) fn ends_ms(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    parsed.validity().not_after.timestamp().checked_mul(1_000)
}

/// What a file is known by.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
}

fn stamps(files: &TlsFiles) -> [Stamp; 3] {
    [stamp(&files.authority), stamp(&files.certificate), stamp(&files.key)]
}

struct Known {
    stamps: [Stamp; 3],
    credentials: Arc<Credentials>,
}

/// Credentials as the files say them now, or said them last.
pub(crate) struct Rotating {
    files: TlsFiles,
    known: Mutex<Known>,
}

impl Rotating {
    /// Reads the files; the first time they must be good.
    pub(crate) fn load(files: &TlsFiles) -> io::Result<Self> {
        // Looked at before they are read: what is replaced in between is read again.
        let stamps = stamps(files);
        let credentials = Arc::new(Credentials::read(files)?);
        let known = Mutex::new(Known { stamps, credentials });
        Ok(Self { files: files.clone(), known })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest that could be read.
    pub(crate) fn current(&self) -> Arc<Credentials> {
        let now = stamps(&self.files);
        let mut known = self.lock();
        if known.stamps == now {
            return known.credentials.clone();
        }
        known.stamps = now;
        let certificate = self.files.certificate.display();
        match Credentials::read(&self.files) {
            Ok(credentials) => {
                known.credentials = Arc::new(credentials);
                tracing::info!(%certificate, ends_ms = known.credentials.ends_ms, "certificates were replaced");
            }
            Err(error) => {
                tracing::warn!(%certificate, %error, "replaced certificates are not good yet; those from before are used");
            }
        }
        known.credentials.clone()
    }

    /// Tells in the log when the certificates end soon.
    pub(crate) fn warn_of_end(&self, wall_ms: i64) {
        let ends_ms = self.lock().credentials.ends_ms;
        if let Some(ends_ms) = ends_ms.filter(|ends| *ends < wall_ms.saturating_add(WARN_MS)) {
            let certificate = self.files.certificate.display();
            let hours = (ends_ms - wall_ms) / 3_600_000;
            tracing::warn!(%certificate, hours, "the certificate or its authority ends soon; without a new one nobody will be reached");
        }
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
