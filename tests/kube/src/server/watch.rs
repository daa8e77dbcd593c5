//! Watches: changes as lines, as long as the client listens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Ask;
use crate::cluster::read::served;
use crate::failure::Failure;
use crate::selector::Selector;
use crate::server::Shared;
use crate::store::{Change, Event};

struct Watch {
    shared: Arc<Shared>,
    ask: Ask,
    selector: Selector,
    cursor: u64,
    ready: VecDeque<Bytes>,
    over: bool,
    changed: watch::Receiver<u64>,
    bookmarks: Option<Duration>,
    next_bookmark: Instant,
    ends: Option<Instant>,
}

/// Begins a watch.
///
/// # Errors
/// A parameter is not understood.
pub fn begin(
    shared: &Arc<Shared>,
    ask: Ask,
) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, Failure> {
    let query = &ask.query;
    let selector = Selector::read(query.get("labelSelector"), query.get("fieldSelector"))?;
    let from = query.get("resourceVersion").unwrap_or("0");
    let from: u64 = from
        .parse()
        .map_err(|_| Failure::bad_request(format!("invalid resource version \"{from}\"")))?;
    let (now, wanted) = (Instant::now(), query.flag("allowWatchBookmarks"));
    let period = Duration::from_millis(shared.options.bookmarks_ms.max(1));
    let seconds = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    let initial = query.flag("sendInitialEvents");
    let mut watch = Watch {
        shared: shared.clone(),
        selector,
        cursor: from,
        ready: VecDeque::new(),
        over: false,
        changed: shared.changed.subscribe(),
        bookmarks: wanted.then_some(period),
        next_bookmark: now + period,
        ends: seconds.map(|seconds| now + Duration::from_secs(seconds)),
        ask,
    };
    if from == 0 || initial {
        watch.begin_with_all()?;
        if initial && wanted {
            watch.bookmark(true);
        }
    }
    Ok(stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok(line), watch))
    }))
}

impl Watch {
    fn begin_with_all(&mut self) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let cluster = shared.cluster();
        self.cursor = cluster.store.version();
        for object in cluster.selected(&self.ask)? {
            self.say("ADDED", &served(&object, &self.ask.resource));
        }
        Ok(())
    }

    fn say(&mut self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.ready.push_back(line.into());
    }

    fn bookmark(&mut self, initial: bool) {
        let resource = &self.ask.resource;
        let mut object = json!({
            "kind": resource.kind,
            "apiVersion": resource.api_version(),
            "metadata": { "resourceVersion": self.cursor.to_string(), "creationTimestamp": null },
        });
        if initial {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        self.say("BOOKMARK", &object);
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.changed.borrow_and_update();
            self.catch_up();
            if !self.ready.is_empty() {
                continue;
            }
            self.wait().await?;
        }
    }

    /// Waits for a change, the next bookmark or the end.
    async fn wait(&mut self) -> Option<()> {
        let far = Instant::now() + Duration::from_secs(86_400);
        tokio::select! {
            changed = self.changed.changed() => changed.ok(),
            () = tokio::time::sleep_until(self.ends.unwrap_or(far)) => {
                self.over = true;
                if self.bookmarks.is_some() {
                    self.bookmark(false);
                }
                Some(())
            }
            () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks.is_some() => {
                self.next_bookmark = Instant::now() + self.bookmarks.unwrap_or_default();
                self.bookmark(false);
                Some(())
            }
        }
    }

    fn catch_up(&mut self) {
        let shared = self.shared.clone();
        let cluster = shared.cluster();
        let Some(changes) = cluster.store.since(&self.ask.resource.storage(), self.cursor) else {
            let why = format!(
                "too old resource version: {} ({})",
                self.cursor,
                cluster.store.compacted()
            );
            self.over = true;
            return self.say("ERROR", &Failure::expired(why).status());
        };
        self.cursor = self.cursor.max(cluster.store.version());
        drop(cluster);
        for change in changes {
            self.tell(&change);
        }
    }

    fn tell(&mut self, change: &Change) {
        let namespace = &self.ask.namespace;
        if !namespace.is_empty() && *namespace != change.key.0 {
            return;
        }
        let fits = |object: &Value| self.selector.matches(object);
        let was = change.previous.as_deref().is_some_and(fits);
        let is = change.event != Event::Deleted && fits(&change.object);
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        // One that is no longer selected is told as it was when it still was.
        let object = match &change.previous {
            Some(previous) if kind == "DELETED" && change.event != Event::Deleted => previous,
            _ => &change.object,
        };
        let mut object = served(object, &self.ask.resource);
        object["metadata"]["resourceVersion"] = change.version.to_string().into();
        self.say(kind, &object);
    }
}
