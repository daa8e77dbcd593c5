//! PgBouncer's admin console. It speaks the simple query protocol only.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use continuum_runtime::seed;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::super::config::{AdminAt, PgBouncerConfig, admin_at, read_secret};
use super::super::{CALL_DEADLINE, SwitchError};

/// One row of an answer, by column.
pub type Row = BTreeMap<String, String>;

/// The way to the console, and a session at it that is kept.
pub struct Admin {
    config: Config,
    kept: Mutex<Option<Client>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the configuration: it holds the password.
        write!(f, "Admin({:?})", self.config.get_hosts())
    }
}

impl Admin {
    /// Reads the password; connects later.
    pub fn open(from: &PgBouncerConfig) -> std::io::Result<Self> {
        let mut config = Config::new();
        match admin_at(&from.admin).map_err(std::io::Error::other)? {
            AdminAt::Tcp(host, port) => config.host(host).port(port),
            AdminAt::Unix(directory, port) => config.host_path(directory).port(port),
        };
        config.user(&from.admin_user).dbname("pgbouncer").connect_timeout(CALL_DEADLINE);
        if let Some(file) = from.admin_password_file.as_deref() {
            config.password(read_secret(Path::new(file))?);
        }
        Ok(Self { config, kept: Mutex::default() })
    }

    async fn connect(&self) -> Result<Client, SwitchError> {
        let connecting = tokio::time::timeout(CALL_DEADLINE, self.config.connect(NoTls));
        let (client, connection) = connecting
            .await
            .map_err(|_| SwitchError::Unreachable(format!("no session in {CALL_DEADLINE:?}")))?
            .map_err(|error| SwitchError::Unreachable(explain(&error)))?;
        seed::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a session at PgBouncer's console ended");
            }
        });
        Ok(client)
    }

    /// Says `command` in the kept session, and makes that anew when it is not there any more.
    pub async fn say(&self, command: &str) -> Result<Vec<Row>, SwitchError> {
        let mut kept = self.kept.lock().await;
        // A session whose answer did not come is out of step: it is kept only once it has answered.
        let client = match kept.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connect().await?,
        };
        let answer = ask(&client, command, CALL_DEADLINE).await;
        if !matches!(answer, Err(SwitchError::Unreachable(_))) {
            *kept = Some(client);
        }
        answer
    }

    /// Says `command` in a session of its own, which is closed when it was answered or `patience` is
    /// over; what was said counts all the same. Comes back when it was sent.
    pub async fn say_apart(&self, command: String, patience: Duration) -> Result<(), SwitchError> {
        let client = self.connect().await?;
        seed::spawn(async move {
            if let Err(error) = ask(&client, &command, patience).await {
                tracing::debug!(command, %error, "PgBouncer's console");
            }
        });
        Ok(())
    }
}

async fn ask(client: &Client, command: &str, patience: Duration) -> Result<Vec<Row>, SwitchError> {
    let answer = tokio::time::timeout(patience, client.simple_query(command)).await;
    let messages = answer
        .map_err(|_| SwitchError::Unreachable(format!("no answer to {command} in {patience:?}")))?
        .map_err(|error| match error.as_db_error() {
            Some(said) => SwitchError::refused(command, said.message()),
            None => SwitchError::Unreachable(explain(&error)),
        })?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let column = |(index, column): (usize, &tokio_postgres::SimpleColumn)| {
                (column.name().to_owned(), row.get(index).unwrap_or_default().to_owned())
            };
            Some(row.columns().iter().enumerate().map(column).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

fn explain(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
