//! One client connection that sees the server's warnings.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use continuum_runtime::seed;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, NoTls, Row, SimpleQueryMessage, Statement};

use crate::history::Outcome;

/// PostgreSQL says success and takes it back in a warning: the commit is durable here and may not
/// be anywhere else.
const TAKEN_BACK: &str = "canceling wait for synchronous replication";

/// The owner, which the lab's members admit from loopback.
pub const OWNER_ROLE: &str = "postgres";
/// The role of the writers. It is no superuser, so that writers that wait take only the connections
/// that an application could take.
pub const CLIENT_ROLE: &str = "lab_client";

/// A connection to database `postgres`.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    taken_back: Arc<AtomicU64>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects as `role`; the whole of it takes at most `limit`.
    pub async fn open(role: &str, address: SocketAddr, limit: Duration) -> Result<Self, String> {
        match tokio::time::timeout(limit, Self::dial(role, address)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no connection within {limit:?}")),
        }
    }

    async fn dial(role: &str, address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut config = tokio_postgres::Config::new();
        config.user(role).dbname("postgres").application_name("continuum-client");
        let (client, mut connection) =
            config.connect_raw(stream, NoTls).await.map_err(|error| explain(&error))?;
        let taken_back = Arc::new(AtomicU64::new(0));
        let count = taken_back.clone();
        // The driver handles messages in the order they came, so a warning is counted before the
        // success that follows it can be seen by the client.
        let driver = seed::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) if notice.message().contains(TAKEN_BACK) => {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%address, error = %explain(&error), "connection ended");
                        return;
                    }
                }
            }
        });
        Ok(Self { client, taken_back, driver })
    }

    /// Prepares a statement.
    pub async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.client.prepare(sql).await
    }

    /// Executes a statement and tells what the client may conclude from the answer.
    pub async fn execute(&self, statement: &Statement, params: &[&(dyn ToSql + Sync)]) -> Outcome {
        let before = self.taken_back.load(Ordering::SeqCst);
        let result = self.client.execute(statement, params).await;
        let taken_back = self.taken_back.load(Ordering::SeqCst) != before;
        classify(result.as_ref().err().map(Failure::of), taken_back)
    }

    /// Executes a statement that was not prepared: what the client may conclude from the answer, and the
    /// first value of it.
    pub async fn said(&self, sql: &str) -> (Outcome, Option<String>) {
        let before = self.taken_back.load(Ordering::SeqCst);
        let result = self.client.simple_query(sql).await;
        let taken_back = self.taken_back.load(Ordering::SeqCst) != before;
        let outcome = classify(result.as_ref().err().map(Failure::of), taken_back);
        let value = result.ok().and_then(|messages| {
            messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
        });
        (outcome, value)
    }

    /// Runs statements without parameters.
    pub async fn batch(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// Runs a query.
    pub async fn rows(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query(sql, params).await
    }

    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closes the socket at once, also where the server is frozen and would never answer.
        self.driver.abort();
    }
}

/// What a failed statement said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The SQLSTATE, where the server sent one.
    pub sqlstate: Option<&'a str>,
    /// The server ended the session or itself with it.
    pub fatal: bool,
}

impl<'a> Failure<'a> {
    fn of(error: &'a tokio_postgres::Error) -> Self {
        let fatal = |error: &DbError| {
            matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        };
        match error.as_db_error() {
            Some(error) => Self { sqlstate: Some(error.code().code()), fatal: fatal(error) },
            None => Self { sqlstate: None, fatal: true },
        }
    }
}

/// What a client may conclude. A session that ended (57P0x, 08xxx, any fatal error) may have ended
/// after the commit was durable, and a success that a warning takes back is no success.
pub fn classify(failure: Option<Failure<'_>>, taken_back: bool) -> Outcome {
    let unknown = |why: String| Outcome::Indeterminate { why };
    match failure {
        None if taken_back => unknown(format!("warning: {TAKEN_BACK}")),
        None => Outcome::Acknowledged,
        Some(Failure { sqlstate: None, .. }) => unknown("connection lost".into()),
        Some(Failure { sqlstate: Some(code), fatal }) => {
            if fatal || taken_back || code.starts_with("57P") || code.starts_with("08") {
                unknown(format!("SQLSTATE {code}"))
            } else {
                Outcome::Failed { sqlstate: code.to_owned() }
            }
        }
    }
}

/// An error with what the server said, which its own text leaves out.
pub fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sqlstate: &str, fatal: bool) -> Outcome {
        classify(Some(Failure { sqlstate: Some(sqlstate), fatal }), false)
    }

    #[test]
    fn only_a_definite_sqlstate_is_a_failure() {
        assert_eq!(classify(None, false), Outcome::Acknowledged);
        assert_eq!(said("25006", false), Outcome::Failed { sqlstate: "25006".into() });
        for indeterminate in [
            said("57P01", true),
            said("57P02", false),
            said("08006", false),
            said("XX000", true),
            classify(Some(Failure { sqlstate: None, fatal: true }), false),
        ] {
            assert!(matches!(indeterminate, Outcome::Indeterminate { .. }), "{indeterminate:?}");
        }
    }

    #[test]
    fn a_success_that_a_warning_takes_back_is_not_acknowledged() {
        assert!(matches!(classify(None, true), Outcome::Indeterminate { .. }));
    }
}
