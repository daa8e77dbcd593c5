//! The agent's small durable state in a ConfigMap: for an agent whose pod has no volume.
//!
//! Each file is one entry. A write is one conditional update of the object: what was promised is in the
//! API server's store when the write returns. One that got no answer is an error, and what was to be
//! told on the strength of it is not told. An entry that somebody else changed is an error for good:
//! another agent keeps this state, and its promises must not be written over.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use continuum_runtime::disk::{Disk, DiskFile, DiskLock};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::Mutex;

use super::Cluster;
use super::client::{Failure, MANAGER, bounded};

/// Most bytes of all entries: an API server takes 1 MiB, and encodes them larger.
pub const BYTES_MAX: usize = 700 * 1024;
/// Looks at the object and writes again at most so often, where others only touched something else.
const TRIES: usize = 4;
const CONFLICT: u16 = 409;

type Entries = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
struct Known {
    /// The object as it was last read or written; `None` before, and after a write without an answer.
    object: Option<ConfigMap>,
    /// What every entry was when this process last read or wrote it.
    entries: Option<Entries>,
    /// An entry whose write was not answered, with what it was to become.
    unanswered: Option<(String, Option<Vec<u8>>)>,
    /// Somebody else writes here.
    taken: Option<String>,
}

/// A ConfigMap as a disk. Clones share it.
#[derive(Clone)]
pub struct ClusterDisk {
    maps: Api<ConfigMap>,
    name: String,
    known: Arc<Mutex<Known>>,
}

impl std::fmt::Debug for ClusterDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterDisk({})", self.name)
    }
}

impl ClusterDisk {
    /// The ConfigMap of that name, which is made by the first write.
    pub fn new(cluster: &Cluster, name: &str) -> Self {
        let maps = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        Self { maps, name: name.to_owned(), known: Arc::default() }
    }

    fn error(&self, failure: &Failure) -> io::Error {
        io::Error::other(format!("configmap {}: {failure}", self.name))
    }

    /// Makes sure that the object was read since anything was uncertain.
    async fn look(&self, known: &mut Known) -> io::Result<()> {
        if let Some(why) = &known.taken {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why.clone()));
        }
        if known.object.is_some() {
            return Ok(());
        }
        let read = bounded(self.maps.get_opt(&self.name)).await;
        let object = read.map_err(|failure| self.error(&failure))?.unwrap_or_default();
        let entries = entries(&object);
        if let Some(before) = &known.entries
            && let Some(changed) = changed(before, &entries, known.unanswered.as_ref())
        {
            let why = format!(
                "configmap {}: {changed} was changed by somebody else; this agent keeps no state there \
                 any more; let one agent use it, and start this one again",
                self.name
            );
            tracing::error!(why);
            known.taken = Some(why.clone());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        (known.object, known.entries, known.unanswered) = (Some(object), Some(entries), None);
        Ok(())
    }

    /// Writes one entry, or takes it away.
    async fn change(&self, name: &str, content: Option<Vec<u8>>) -> io::Result<()> {
        let mut known = self.known.lock().await;
        for _ in 0..TRIES {
            self.look(&mut known).await?;
            let Known { object: Some(object), entries: Some(entries), .. } = &*known else {
                return Err(io::Error::other("the state was not read"));
            };
            let mut next = entries.clone();
            match &content {
                Some(content) => drop(next.insert(name.to_owned(), content.clone())),
                None if next.remove(name).is_none() => {
                    return Err(io::Error::new(io::ErrorKind::NotFound, self.describe(name)));
                }
                None => {}
            }
            self.fits(&next)?;
            let written = self.with(object, &next);
            match self.put(&written).await {
                Ok(object) => {
                    (known.object, known.entries) = (Some(object), Some(next));
                    return Ok(());
                }
                Err(failure) => {
                    known.object = None;
                    // Refused: nothing was written. Else it may be.
                    match failure.code() {
                        Some(CONFLICT) => continue,
                        Some(_) => {}
                        None => known.unanswered = Some((name.to_owned(), content)),
                    }
                    return Err(self.error(&failure));
                }
            }
        }
        Err(io::Error::other(format!("configmap {}: it changes too often", self.name)))
    }

    fn fits(&self, entries: &Entries) -> io::Result<()> {
        let size: usize = entries.iter().map(|(name, content)| name.len() + content.len()).sum();
        if size <= BYTES_MAX {
            return Ok(());
        }
        let text = format!("configmap {}: {size} bytes of state, {BYTES_MAX} fit", self.name);
        Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
    }

    fn with(&self, object: &ConfigMap, entries: &Entries) -> ConfigMap {
        let binary =
            entries.iter().map(|(name, content)| (name.clone(), ByteString(content.clone())));
        let metadata = match &object.metadata.name {
            Some(_) => object.metadata.clone(),
            None => ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
        };
        ConfigMap { metadata, binary_data: Some(binary.collect()), ..ConfigMap::default() }
    }

    async fn put(&self, object: &ConfigMap) -> Result<ConfigMap, Failure> {
        let options = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        match object.metadata.resource_version {
            Some(_) => bounded(self.maps.replace(&self.name, &options, object)).await,
            None => bounded(self.maps.create(&options, object)).await,
        }
    }
}

fn entries(object: &ConfigMap) -> Entries {
    let all = object.binary_data.iter().flatten();
    all.map(|(name, content)| (name.clone(), content.0.clone())).collect()
}

/// The name of an entry that is neither as it was nor as the unanswered write would have it.
fn changed<'a>(
    before: &'a Entries,
    now: &'a Entries,
    unanswered: Option<&(String, Option<Vec<u8>>)>,
) -> Option<&'a String> {
    let own = |name: &String| {
        unanswered.is_some_and(|(at, content)| at == name && now.get(name) == content.as_ref())
    };
    let differs = |name: &&String| before.get(*name) != now.get(*name) && !own(name);
    before.keys().chain(now.keys()).find(differs)
}

#[async_trait]
impl Disk for ClusterDisk {
    /// Who uses it was decided by the election.
    async fn lock(&self) -> io::Result<DiskLock> {
        Ok(Box::new(()))
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        let mut known = self.known.lock().await;
        self.look(&mut known).await?;
        Ok(known.entries.iter().flatten().map(|(name, _)| name.clone()).collect())
    }

    async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut known = self.known.lock().await;
        self.look(&mut known).await?;
        Ok(known.entries.as_ref().and_then(|entries| entries.get(name).cloned()))
    }

    async fn replace(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        self.change(name, Some(content)).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.change(name, None).await
    }

    async fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let text = format!("{}: entries are only replaced as a whole", self.describe(name));
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    fn describe(&self, name: &str) -> String {
        format!("configmap {}, entry {name}", self.name)
    }

    fn room(&self) -> Option<usize> {
        Some(BYTES_MAX)
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
