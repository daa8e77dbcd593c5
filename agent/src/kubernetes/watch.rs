//! Objects as they are and as they change: listed once, then watched.

use std::fmt::Debug;
use std::time::Duration;

use continuum_runtime::seed;
use futures_util::StreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt as _};
use rand::RngExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::client::{Failure, bounded};

/// A watch ends by itself after so long and goes on where it was: a connection that died unseen is
/// noticed by then.
const WATCH_SECONDS: u32 = 20;
/// What is waited for beyond that.
const WATCH_GRACE: Duration = Duration::from_secs(5);
/// Objects per page of a list.
const PAGE: u32 = 250;
/// The first wait after a failure, and the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// No server has to be waited for longer, whatever it says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// The version asked from is forgotten.
const GONE: u16 = 410;

/// What is seen.
#[derive(Debug)]
pub(super) enum Seen<K> {
    /// All there are; what is not among them is gone.
    All(Vec<K>),
    /// One that is new or changed.
    Applied(K),
    /// One that is gone.
    Deleted(K),
    /// The API server answered: what is known is so as of now.
    Heard,
    /// The API server cannot be asked.
    Lost(String),
}

/// Waits that grow, each shortened at random so that not everybody comes back at once.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF_MIN)
    }
}

impl Backoff {
    /// The next wait, after this failure.
    pub fn next(&mut self, failure: &Failure) -> Duration {
        let wait = self.0;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
        let jittered = wait.mul_f64(seed::rng().random_range(0.5..1.0));
        match failure.after() {
            // The server's word, and a little more, for the same reason.
            Some(after) => after.min(RETRY_AFTER_MAX) + jittered.min(Duration::from_secs(1)),
            None => jittered,
        }
    }

    /// It went well.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Watches for as long as somebody listens.
pub(super) async fn run<K>(api: Api<K>, seen: mpsc::Sender<Seen<K>>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut backoff = Backoff::default();
    let mut version: Option<String> = None;
    while !seen.is_closed() {
        let result = match version.take() {
            None => list(&api, &seen).await,
            Some(from) => follow(&api, &seen, from, &mut backoff).await,
        };
        match result {
            Ok(next) => version = next,
            Err((kept, failure)) => {
                version = kept;
                let told = seen.send(Seen::Lost(failure.to_string())).await;
                if told.is_err() {
                    return;
                }
                let wait = backoff.next(&failure);
                tracing::warn!(%failure, ?wait, kind = std::any::type_name::<K>(), "not watched");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Without the record of who wrote which field: it is most of a small object, and asked for by nobody.
fn without_managers<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// From which version to go on; with a failure, from which after it.
type Went = Result<Option<String>, (Option<String>, Failure)>;

async fn list<K>(api: &Api<K>, seen: &mpsc::Sender<Seen<K>>) -> Went
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut all = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = bounded(api.list(&page)).await.map_err(|failure| (None, failure))?;
        all.extend(listed.items.into_iter().map(without_managers));
        let more = listed.metadata.continue_.filter(|token| !token.is_empty());
        match more {
            Some(token) => page = page.continue_token(&token),
            None => {
                let version = listed.metadata.resource_version;
                // Nobody listens any more: `run` sees it.
                let _gone = seen.send(Seen::All(all)).await;
                return Ok(Some(version.unwrap_or_default()));
            }
        }
    }
}

async fn follow<K>(
    api: &Api<K>,
    seen: &mpsc::Sender<Seen<K>>,
    mut from: String,
    backoff: &mut Backoff,
) -> Went
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let options = WatchParams::default().timeout(WATCH_SECONDS);
    let begun = bounded(api.watch(&options, &from)).await;
    let stream = match begun {
        Ok(stream) => stream,
        Err(failure) if failure.code() == Some(GONE) => return Ok(None),
        Err(failure) => return Err((Some(from), failure)),
    };
    let mut stream = std::pin::pin!(stream);
    backoff.reset();
    if seen.send(Seen::Heard).await.is_err() {
        return Ok(Some(from));
    }
    let silence = Duration::from_secs(WATCH_SECONDS.into()) + WATCH_GRACE;
    loop {
        let event = match tokio::time::timeout(silence, stream.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Some(from)),
            Err(_) => {
                let text = format!("the watch was silent for {silence:?}");
                return Err((Some(from), Failure::Unanswered(text)));
            }
        };
        let said = match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                from = object.resource_version().unwrap_or(from);
                Seen::Applied(without_managers(object))
            }
            Ok(WatchEvent::Deleted(object)) => {
                from = object.resource_version().unwrap_or(from);
                Seen::Deleted(object)
            }
            Ok(WatchEvent::Bookmark(mark)) => {
                from = mark.metadata.resource_version;
                continue;
            }
            Ok(WatchEvent::Error(status)) if status.code == GONE => return Ok(None),
            Ok(WatchEvent::Error(status)) => return Err((Some(from), Failure::from(&*status))),
            Err(error) => return Err((Some(from), error.into())),
        };
        if seen.send(said).await.is_err() {
            return Ok(Some(from));
        }
    }
}
