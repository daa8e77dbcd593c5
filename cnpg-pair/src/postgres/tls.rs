//! Encrypted connections to a PostgreSQL that is reached over the network.

use std::io;
use std::path::PathBuf;

use continuum_runtime::net;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Which servers are believed. The host's name must stand in the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerTls {
    /// The authority of the server's certificate; what the operating system trusts where there is none.
    pub authority: Option<PathBuf>,
}

impl ServerTls {
    /// A connector with the authority as its file is now. Reads a file.
    pub fn connector(&self) -> io::Result<MakeRustlsConnect> {
        net::trusting(self.authority.as_deref(), &[]).map(MakeRustlsConnect::new)
    }
}
