//! One API server, as far as it is asked here: read an object, patch it, make it.
//!
//! Objects are read as they are, without a type: what this agent does not know of them must survive its
//! writes, and every write is a patch of the fields it is about.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request, header};
use kube::Client;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::http_client::innermost;
use crate::kubernetes::client::{self, MANAGER};
use crate::traffic::{CALL_DEADLINE, SwitchError};

/// Why an API server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SiteError {
    /// There is no answer, so that it may have been done or not.
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
    /// It asks to come back later; nothing was changed.
    #[error("the API server is busy: {0}")]
    Busy(String),
    /// The object is not what the write was made for; nothing was changed.
    #[error("the object was changed meanwhile: {0}")]
    Conflict(String),
    /// The same, or what was written is not valid; nothing was changed.
    #[error("the API server does not take what was written: {0}")]
    Unfit(String),
    /// It said no; nothing was changed.
    #[error("the API server refuses: {0}")]
    Refused(String),
}

impl From<SiteError> for SwitchError {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::Unreachable(_) | SiteError::Busy(_) => Self::Unreachable(error.to_string()),
            SiteError::Conflict(_) | SiteError::Unfit(_) | SiteError::Refused(_) => {
                Self::refused("nothing was changed", error)
            }
        }
    }
}

/// The way to an API server.
pub(crate) struct Site {
    kubeconfig: Option<PathBuf>,
    /// Made when it is first needed: making it needs the runtime it lives on.
    client: OnceCell<Client>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the client, which knows a token.
        write!(f, "Site({:?})", self.kubeconfig)
    }
}

impl Site {
    /// By a file in `kubectl`'s form, or as a pod of the cluster itself.
    pub fn new(kubeconfig: Option<&Path>) -> Self {
        Self { kubeconfig: kubeconfig.map(Path::to_owned), client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client, SiteError> {
        self.client.get_or_try_init(|| make(self.kubeconfig.as_deref())).await
    }

    /// An object; `None` where there is none of that name.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, SiteError> {
        match self.ask(Method::GET, path, "application/json", None).await {
            Ok(object) => Ok(Some(object)),
            Err(Answer::NotFound) => Ok(None),
            Err(Answer::Error(error)) => Err(error),
        }
    }

    /// Changes an object by a JSON patch, all of it or nothing.
    pub async fn patch(&self, path: &str, operations: &[Value]) -> Result<Value, SiteError> {
        let path = format!("{path}?fieldManager={MANAGER}");
        let body = Value::from(operations.to_vec());
        let asked = self.ask(Method::PATCH, &path, "application/json-patch+json", Some(body));
        asked.await.map_err(|answer| match answer {
            Answer::NotFound => SiteError::Conflict("it is gone".into()),
            Answer::Error(error) => error,
        })
    }

    /// Makes an object, of the collection at `path`.
    pub async fn create(&self, path: &str, object: Value) -> Result<Value, SiteError> {
        let path = format!("{path}?fieldManager={MANAGER}");
        let asked = self.ask(Method::POST, &path, "application/json", Some(object));
        asked.await.map_err(|answer| match answer {
            Answer::NotFound => SiteError::Refused("its namespace or its kind is not there".into()),
            Answer::Error(error) => error,
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Option<Value>,
    ) -> Result<Value, Answer> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, media_type)
            .body(body)
            .map_err(|error| SiteError::Refused(error.to_string()))?;
        let asked = async { Ok(self.client().await?.request::<Value>(request).await?) };
        tokio::time::timeout(CALL_DEADLINE, asked).await.unwrap_or_else(|_| {
            Err(SiteError::Unreachable(format!("no answer in {CALL_DEADLINE:?}")).into())
        })
    }
}

/// What came back instead of an object.
enum Answer {
    NotFound,
    Error(SiteError),
}

impl From<SiteError> for Answer {
    fn from(error: SiteError) -> Self {
        Self::Error(error)
    }
}

impl From<kube::Error> for Answer {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Error(SiteError::Unreachable(innermost(&error)));
        };
        let text = format!("HTTP {}: {}", status.code, status.message);
        Self::Error(match status.code {
            404 => return Self::NotFound,
            409 => SiteError::Conflict(text),
            // A test of a JSON patch that fails is answered so, and so is an object that is not valid.
            422 => SiteError::Unfit(text),
            429 | 503 => SiteError::Busy(text),
            // The change may have been made.
            500..=599 => SiteError::Unreachable(text),
            _ => SiteError::Refused(text),
        })
    }
}

/// Nobody watches here, so that an answer that does not go on has an end too.
async fn make(kubeconfig: Option<&Path>) -> Result<Client, SiteError> {
    let refused = |error: std::io::Error| SiteError::Refused(error.to_string());
    let mut settings = client::settings(kubeconfig).await.map_err(refused)?;
    settings.write_timeout = Some(CALL_DEADLINE);
    settings.read_timeout = Some(CALL_DEADLINE + Duration::from_secs(1));
    settings.reset_reader_on_write = true;
    client::client(settings, CALL_DEADLINE).map_err(refused)
}
