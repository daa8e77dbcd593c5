//! The objects, one counter of versions for all of them, and the changes a watch can still be told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

/// Namespace (empty for a cluster's own) and name.
pub type Key = (String, String);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It came to be.
    Added,
    /// It is another now.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change, as watches are told.
#[derive(Debug)]
pub struct Change {
    /// The version it made.
    pub version: u64,
    /// Which kind of object.
    pub storage: String,
    /// Which object.
    pub key: Key,
    /// What happened.
    pub event: Event,
    /// The object afterwards; of a deleted one, its last state under the new version.
    pub object: Arc<Value>,
    /// The object before.
    pub previous: Option<Arc<Value>>,
}

/// Everything the server keeps.
#[derive(Debug)]
pub struct Store {
    version: u64,
    objects: BTreeMap<String, BTreeMap<Key, Arc<Value>>>,
    changes: VecDeque<Arc<Change>>,
    /// Changes up to this one are forgotten.
    compacted: u64,
    window: usize,
}

impl Store {
    /// Keeps the last `window` changes for watches.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            version: 1,
            objects: BTreeMap::new(),
            changes: VecDeque::new(),
            compacted: 0,
            window,
        }
    }

    /// The version of now.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The last version of which changes are forgotten.
    #[must_use]
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// One object.
    #[must_use]
    pub fn get(&self, storage: &str, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(storage)?.get(key)
    }

    /// All objects of a kind, in a namespace where one is given, sorted.
    pub fn list(&self, storage: &str, namespace: Option<&str>) -> Vec<(Key, Arc<Value>)> {
        let kept = self.objects.get(storage).into_iter().flatten();
        kept.filter(|((at, _), _)| namespace.is_none_or(|namespace| at == namespace))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// The kinds of which there are objects.
    #[must_use]
    pub fn storages(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    /// Keeps an object under a new version, and returns it as it is kept.
    pub fn put(&mut self, storage: &str, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        let kept = self.objects.entry(storage.to_owned()).or_default();
        let previous = kept.insert(key.clone(), object.clone());
        let event = if previous.is_some() { Event::Modified } else { Event::Added };
        self.note(storage, key, event, object.clone(), previous);
        object
    }

    /// Forgets an object, and returns its last state.
    pub fn remove(&mut self, storage: &str, key: &Key) -> Option<Arc<Value>> {
        let previous = self.objects.get_mut(storage)?.remove(key)?;
        self.version += 1;
        let mut object = Value::clone(&previous);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        self.note(storage, key.clone(), Event::Deleted, object.clone(), Some(previous));
        Some(object)
    }

    fn note(
        &mut self,
        storage: &str,
        key: Key,
        event: Event,
        object: Arc<Value>,
        previous: Option<Arc<Value>>,
    ) {
        let storage = storage.to_owned();
        let version = self.version;
        self.changes.push_back(Arc::new(Change { version, storage, key, event, object, previous }));
        while self.changes.len() > self.window {
            if let Some(gone) = self.changes.pop_front() {
                self.compacted = gone.version;
            }
        }
    }

    /// Forgets all changes, as a compaction does.
    pub fn compact(&mut self) {
        self.changes.clear();
        self.compacted = self.version;
    }

    /// The changes of a kind since a version; `None` when not all of them are remembered.
    #[must_use]
    pub fn since(&self, storage: &str, version: u64) -> Option<Vec<Arc<Change>>> {
        if version < self.compacted {
            return None;
        }
        let newer = self.changes.iter().filter(|change| change.version > version);
        Some(newer.filter(|change| change.storage == storage).cloned().collect())
    }
}
