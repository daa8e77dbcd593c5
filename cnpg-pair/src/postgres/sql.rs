//! Sessions with PostgreSQL, bounded in time.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_runtime::seed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, SimpleQueryMessage, Socket};

use super::PlaneConfig;
use super::access::{Access, Door, Remote};
use super::walsender::WalSenderStream;
use crate::guard::{read_password, replication_role};
use crate::plane::{PlaneError, Upstream};

/// The start of PostgreSQL's warning that a commit no longer waits (R11).
const CANCELLED_WAIT: &str = "canceling";

/// How a session is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOptions {
    /// `synchronous_commit = local`: its commits never wait for a standby.
    pub local_commit: bool,
    /// Longest time for connecting and for each statement.
    pub limit: Duration,
}

/// One session. Dropping it closes the socket at once, also while a statement runs.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    limit: Duration,
    notices: Arc<Mutex<Vec<String>>>,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Opens a session with the member's own PostgreSQL.
    pub async fn local(
        access: &Access,
        name: &str,
        options: SessionOptions,
    ) -> Result<Self, PlaneError> {
        let mut settings = Config::new();
        settings.dbname("postgres").application_name(name).connect_timeout(options.limit);
        if options.local_commit {
            settings.options("-c synchronous_commit=local");
        }
        let connecting = async {
            match access.door() {
                Door::Socket { directory, port } => {
                    settings.host_path(directory).port(*port).user("postgres");
                    Self::open(settings, NoTls, options.limit).await
                }
                Door::Remote(remote) => Self::open_remote(settings, remote, options.limit).await,
            }
        };
        let what = "connecting to PostgreSQL";
        tokio::time::timeout(options.limit, connecting)
            .await
            .map_err(|_| timeout(what, options.limit))?
    }

    async fn open_remote(
        mut settings: Config,
        remote: &Remote,
        limit: Duration,
    ) -> Result<Self, PlaneError> {
        settings.host(&remote.host).port(remote.port).user(&remote.user);
        if let Some(path) = remote.password_file.clone() {
            let what = "reading the password of the agent's role";
            let password = seed::blocking(move || read_password(&path)).await;
            let password = password.map_err(|error| failed(what, &error))?;
            settings.password(password.map_err(|error| failed(what, &error))?);
        }
        let Some(tls) = remote.tls.clone() else {
            settings.ssl_mode(SslMode::Disable);
            return Self::open(settings, NoTls, limit).await;
        };
        settings.ssl_mode(SslMode::Require);
        let what = "reading the authority of PostgreSQL's certificate";
        let connector = seed::blocking(move || tls.connector()).await;
        let connector = connector.map_err(|error| failed(what, &error))?;
        let connector = connector.map_err(|error| failed(what, &error))?;
        Self::open(settings, connector, limit).await
    }

    /// Opens a session with another member's PostgreSQL, as this member's replication role, at a
    /// place that no client can take. It speaks the simple protocol only.
    pub async fn remote(
        config: &PlaneConfig,
        upstream: &Upstream,
        limit: Duration,
    ) -> Result<Self, PlaneError> {
        let path = config.replication_password_file.clone();
        let password = continuum_runtime::seed::blocking(move || read_password(&path)).await;
        let password = password
            .map_err(|error| failed("reading the replication password", &error))?
            .map_err(|error| failed("reading the replication password", &error))?;
        let mut settings = Config::new();
        settings.dbname("postgres").ssl_mode(SslMode::Disable);
        settings.user(replication_role(&config.region)).password(password);
        settings.application_name("continuum_lineage");
        let what = "connecting to PostgreSQL";
        let connecting = async {
            let address = (upstream.host.as_str(), upstream.port);
            let stream = TcpStream::connect(address).await.map_err(|error| failed(what, &error))?;
            stream.set_nodelay(true).map_err(|error| failed(what, &error))?;
            let connected = settings.connect_raw(WalSenderStream::new(stream), NoTls).await;
            let (client, connection) = connected.map_err(|error| failed(what, &Detail(&error)))?;
            Ok(Self::drive(client, connection, limit))
        };
        tokio::time::timeout(limit, connecting).await.map_err(|_| timeout(what, limit))?
    }

    async fn open<T>(settings: Config, tls: T, limit: Duration) -> Result<Self, PlaneError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let connected = settings.connect(tls).await;
        let (client, connection) =
            connected.map_err(|error| failed("connecting to PostgreSQL", &Detail(&error)))?;
        Ok(Self::drive(client, connection, limit))
    }

    fn drive<S, T>(client: Client, mut connection: Connection<S, T>, limit: Duration) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let kept = notices.clone();
        let driver = seed::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    let text = notice.message().to_owned();
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                }
            }
        });
        Self { client, limit, notices, driver }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether PostgreSQL warned that a commit was let go without its standbys (R11).
    pub fn wait_was_cancelled(&self) -> bool {
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.iter().any(|text| text.starts_with(CANCELLED_WAIT) && text.contains("replication"))
    }

    /// Runs statements; the first column of the last row, if there is one.
    pub async fn text(&self, what: &str, statement: &str) -> Result<Option<String>, PlaneError> {
        let running = tokio::time::timeout(self.limit, self.client.simple_query(statement));
        let messages = running
            .await
            .map_err(|_| timeout(what, self.limit))?
            .map_err(|error| failed(what, &Detail(&error)))?;
        let mut value = None;
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                value = row
                    .try_get(0)
                    .map_err(|error| failed(what, &Detail(&error)))?
                    .map(str::to_owned);
            }
        }
        Ok(value)
    }

    /// Runs statements that must return a value.
    pub async fn value(&self, what: &str, statement: &str) -> Result<String, PlaneError> {
        let value = self.text(what, statement).await?;
        value.ok_or_else(|| failed(what, &"PostgreSQL returned nothing"))
    }

    /// Runs a query that returns one JSON value.
    pub async fn json<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        statement: &str,
    ) -> Result<T, PlaneError> {
        let text = self.value(what, statement).await?;
        serde_json::from_str(&text).map_err(|error| failed(what, &error))
    }
}

/// The error of the driver says only "db error"; what the server said is its source.
struct Detail<'a>(&'a tokio_postgres::Error);

impl std::fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_db_error() {
            Some(error) => write!(f, "{} ({})", error.message(), error.code().code()),
            None => match std::error::Error::source(self.0) {
                Some(source) => write!(f, "{}: {source}", self.0),
                None => write!(f, "{}", self.0),
            },
        }
    }
}

/// A text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''").replace('\\', "\\\\");
    if text.contains('\\') { format!("E'{doubled}'") } else { format!("'{doubled}'") }
}

pub(crate) fn failed(what: &str, reason: &dyn std::fmt::Display) -> PlaneError {
    PlaneError::Failed { what: what.into(), reason: reason.to_string() }
}

pub(crate) fn timeout(what: &str, limit: Duration) -> PlaneError {
    PlaneError::Timeout { what: what.into(), seconds: limit.as_secs().max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_escaped() {
        assert_eq!(literal("plain"), "'plain'");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'"), r"E'a\\'''");
    }
}
