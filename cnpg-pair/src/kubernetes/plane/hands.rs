//! Commands in the container of an instance: one script, sent along with each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, ListParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::ApiClients;
use crate::kubernetes::cnpg::keys;
use crate::plane::PlaneError;

/// The script of every verb, and of the guard that outlives them.
const SCRIPT: &str = include_str!("guard.sh");
/// The label that tells instances from poolers and jobs.
const POD_ROLE: &str = "cnpg.io/podRole";
/// Longest wait for a list of pods.
const LIST_LIMIT: Duration = Duration::from_secs(5);
/// The container that PostgreSQL runs in.
const CONTAINER: &str = "postgres";
/// Most that is read of a command's output.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Exit status of a refusal, and of a failure.
const REFUSED: i32 = 10;
const FAILED: i32 = 11;

/// What a command said: `name value` by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said(BTreeMap<String, String>);

impl Said {
    fn read(text: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// A value as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value as a number; one that is missing or none is not known.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

/// The pods of one Cluster, as far as commands go.
#[derive(Clone)]
pub(crate) struct Hands {
    pods: Api<Pod>,
    commanded: Api<Pod>,
}

impl Hands {
    pub fn new(clients: ApiClients, namespace: &str) -> Self {
        let api = |client| Api::namespaced(client, namespace);
        Self { pods: api(clients.asking), commanded: api(clients.commanding) }
    }

    /// The pods of a Cluster's instances, whichever of them leads.
    pub async fn pods(&self, cluster: &str) -> Result<Vec<String>, PlaneError> {
        let what = || format!("listing the pods of {cluster}");
        let selector = format!("{}={cluster},{POD_ROLE}=instance", keys::CLUSTER);
        let parameters = ListParams::default().labels(&selector);
        let listed = tokio::time::timeout(LIST_LIMIT, self.pods.list(&parameters)).await;
        let lost =
            |reason: &dyn std::fmt::Display| PlaneError::GuardLost(format!("{}: {reason}", what()));
        let listed = listed.map_err(|_| lost(&"no answer"))?.map_err(|error| lost(&error))?;
        Ok(listed.items.into_iter().filter_map(|pod| pod.metadata.name).collect())
    }

    /// Runs a verb and reads what it says.
    pub async fn run(
        &self,
        pod: &str,
        words: &[&str],
        limit: Duration,
    ) -> Result<Said, PlaneError> {
        self.output(pod, words, None, limit).await.map(|text| Said::read(&text))
    }

    /// Runs a verb and returns its output. A secret goes in by standard input and is the environment's
    /// `PGPASSWORD`, so that it is in no argument.
    pub async fn output(
        &self,
        pod: &str,
        words: &[&str],
        secret: Option<&str>,
        limit: Duration,
    ) -> Result<String, PlaneError> {
        let verb = words.first().copied().unwrap_or_default();
        let what = format!("{verb} in {pod}");
        match tokio::time::timeout(limit, self.work(pod, words, secret, &what)).await {
            Ok(result) => result,
            Err(_) => Err(PlaneError::Timeout { what, seconds: limit.as_secs().max(1) }),
        }
    }

    async fn work(
        &self,
        pod: &str,
        words: &[&str],
        secret: Option<&str>,
        what: &str,
    ) -> Result<String, PlaneError> {
        let lost =
            |reason: &dyn std::fmt::Display| PlaneError::GuardLost(format!("{what}: {reason}"));
        let parameters =
            AttachParams::default().container(CONTAINER).stdin(true).stdout(true).stderr(true);
        let line: Vec<&str> =
            ["bash", "-s", "--"].into_iter().chain(words.iter().copied()).collect();
        let mut attached = match self.commanded.exec(pod, line, &parameters).await {
            Ok(attached) => attached,
            Err(error) => return Err(lost(&error)),
        };
        let mut script = String::new();
        if let Some(secret) = secret {
            script += &format!("export PGPASSWORD={}\n", quoted(secret));
        }
        script += SCRIPT;
        // Not every protocol can say that there is no more to read.
        script += "\nact \"$@\" </dev/null\nexit $?\n";
        if let Some(mut stdin) = attached.stdin() {
            stdin.write_all(script.as_bytes()).await.map_err(|error| lost(&error))?;
            stdin.flush().await.map_err(|error| lost(&error))?;
        }
        let text = read(attached.stdout()).await.map_err(|error| lost(&error))?;
        let complaint = read(attached.stderr()).await.map_err(|error| lost(&error))?;
        let code = exit_status(&mut attached).await.ok_or_else(|| lost(&"cut short"))?;
        let last = text.lines().last().unwrap_or_default().to_owned();
        match code {
            0 => Ok(text),
            REFUSED => Err(PlaneError::Refused(last)),
            FAILED => Err(PlaneError::Failed { what: what.to_owned(), reason: last }),
            code => Err(PlaneError::Failed {
                what: what.to_owned(),
                reason: format!("exit status {code}: {}", complaint.trim()),
            }),
        }
    }
}

async fn read(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> std::io::Result<String> {
    let Some(stream) = stream else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The exit status as the API server tells it; `None` where it did not.
async fn exit_status(attached: &mut AttachedProcess) -> Option<i32> {
    let status = attached.take_status()?.await?;
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details?.causes?;
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_deref()?.parse().ok()
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_said_is_not_known() {
        let said = Said::read("uptime 123\nguard alive\nprocesses x\n\n");
        assert_eq!((said.number("uptime"), said.text("guard")), (Some(123), Some("alive")));
        assert_eq!((said.number("processes"), said.number("armed")), (None, None));
    }

    #[test]
    fn a_word_is_one_word_for_the_shell() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
