//! The disk seam in memory: it outlives its host, and loses what was not synced when power goes.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_runtime::disk::{Disk, DiskFile, DiskLock};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What the power may go in the middle of.
const SECTOR_BYTES: usize = 512;

/// How a disk misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskTrouble {
    /// Every write and sync fails.
    pub fails: bool,
    /// Every write fails for want of room.
    pub full: bool,
    /// Added to every write.
    pub slow: Duration,
}

#[derive(Default)]
struct File {
    /// What survives a power loss for certain.
    durable: Vec<u8>,
    /// What the host reads.
    seen: Vec<u8>,
    /// Written and not synced, oldest first.
    pending: Vec<(usize, Vec<u8>)>,
    /// A replacement under way: a crash leaves the old content or this.
    replacement: Option<Vec<u8>>,
}

impl File {
    fn sync(&mut self) {
        self.durable = self.seen.clone();
        self.pending.clear();
    }
}

struct State {
    files: BTreeMap<String, File>,
    trouble: DiskTrouble,
    rng: SmallRng,
}

/// A host's disk. Clones are handles to the same one.
#[derive(Clone)]
pub struct SimDisk {
    label: String,
    state: Arc<Mutex<State>>,
    locked: Arc<AtomicBool>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimDisk({})", self.label)
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl SimDisk {
    /// An empty disk whose accidents come from `seed`.
    pub fn new(label: impl Into<String>, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        let state = State { files: BTreeMap::new(), trouble: DiskTrouble::default(), rng };
        Self { label: label.into(), state: Arc::new(Mutex::new(state)), locked: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the disk misbehave from now on.
    pub fn trouble(&self, trouble: DiskTrouble) {
        self.state().trouble = trouble;
    }

    /// The process was killed: what it wrote is in the kernel; a replacement under way happened or
    /// did not.
    pub fn process_killed(&self) {
        let State { files, rng, .. } = &mut *self.state();
        for file in files.values_mut() {
            if let Some(content) = file.replacement.take()
                && rng.random_bool(0.5)
            {
                (file.seen, file.durable) = (content.clone(), content);
                file.pending.clear();
            }
        }
    }

    /// The power went: what was not synced is there in part, or not.
    pub fn power_lost(&self) {
        self.process_killed();
        let State { files, rng, .. } = &mut *self.state();
        for file in files.values_mut() {
            let whole = rng.random_range(0..=file.pending.len());
            let mut content = std::mem::take(&mut file.durable);
            for (index, (offset, bytes)) in std::mem::take(&mut file.pending).iter().enumerate() {
                if index < whole {
                    put(&mut content, *offset, bytes);
                } else if index == whole {
                    tear(&mut content, *offset, bytes, rng);
                }
            }
            (file.seen, file.durable) = (content.clone(), content);
        }
    }

    /// Everything is gone: a new disk in the same host.
    pub fn replaced(&self) {
        self.state().files.clear();
    }

    /// A file as the host sees it.
    pub fn peek(&self, name: &str) -> Option<Vec<u8>> {
        self.state().files.get(name).map(|file| file.seen.clone())
    }

    /// Waits as the disk makes one wait, then says whether the write may go on.
    async fn write_delay(&self) -> io::Result<()> {
        let pause = {
            let State { trouble, rng, .. } = &mut *self.state();
            trouble.slow + Duration::from_micros(rng.random_range(100..3_000))
        };
        tokio::time::sleep(pause).await;
        let trouble = self.state().trouble;
        if trouble.fails {
            return Err(io::Error::other(format!("{}: input/output error", self.label)));
        }
        if trouble.full {
            let text = format!("{}: no space left on device", self.label);
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Ok(())
    }
}

/// A write the power went in the middle of: the file ends inside it, or sectors of it were never
/// written and read as zeros.
fn tear(content: &mut Vec<u8>, offset: usize, bytes: &[u8], rng: &mut SmallRng) {
    if rng.random_bool(0.5) {
        let kept = rng.random_range(0..=bytes.len());
        put(content, offset, &bytes[..kept]);
        return;
    }
    let mut torn = bytes.to_vec();
    let end = offset + bytes.len();
    for sector in offset / SECTOR_BYTES..=end / SECTOR_BYTES {
        if rng.random_bool(0.5) {
            let from = (sector * SECTOR_BYTES).max(offset) - offset;
            let to = ((sector + 1) * SECTOR_BYTES).min(end) - offset;
            // What stood there before stays; past the old end there are zeros.
            for (at, byte) in torn.iter_mut().enumerate().take(to).skip(from) {
                *byte = content.get(offset + at).copied().unwrap_or(0);
            }
        }
    }
    put(content, offset, &torn);
}

struct Unlock(Arc<AtomicBool>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[async_trait]
impl Disk for SimDisk {
    async fn lock(&self) -> io::Result<DiskLock> {
        if self.locked.swap(true, Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the disk is in use"));
        }
        Ok(Box::new(Unlock(self.locked.clone())))
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.peek(name))
    }

    async fn replace(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        if let Some(file) = self.state().files.get_mut(name) {
            file.replacement = Some(content.clone());
        }
        self.write_delay().await?;
        let mut state = self.state();
        let file = state.files.entry(name.to_owned()).or_default();
        *file = File { durable: content.clone(), seen: content, ..File::default() };
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.write_delay().await?;
        match self.state().files.remove(name) {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, self.describe(name))),
        }
    }

    async fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.state().files.entry(name.to_owned()).or_default();
        Ok(Box::new(SimFile { disk: self.clone(), name: name.to_owned() }))
    }

    fn describe(&self, name: &str) -> String {
        format!("{}/{name}", self.label)
    }
}

struct SimFile {
    disk: SimDisk,
    name: String,
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        let mut state = self.disk.state();
        let file = state.files.get_mut(&self.name);
        file.map(work).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

#[async_trait]
impl DiskFile for SimFile {
    async fn write_at(&mut self, offset: u64, content: Vec<u8>, sync: bool) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|file| {
            put(&mut file.seen, offset, &content);
            file.pending.push((offset, content));
        })?;
        if sync {
            self.disk.write_delay().await?;
            self.with(File::sync)?;
        }
        Ok(())
    }

    async fn cut(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.disk.write_delay().await?;
        self.with(|file| {
            file.seen.resize(length, 0);
            file.sync();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written() -> SimDisk {
        let disk = SimDisk::new("d", 5);
        let mut file = disk.open("log").await.unwrap();
        file.write_at(0, vec![1; 700], true).await.unwrap();
        file.write_at(700, vec![2; 700], false).await.unwrap();
        disk
    }

    #[tokio::test(start_paused = true)]
    async fn a_kill_keeps_what_was_written_and_power_keeps_what_was_synced() {
        let disk = written().await;
        disk.process_killed();
        assert_eq!(disk.peek("log").unwrap().len(), 1_400);
        disk.power_lost();
        let left = disk.peek("log").unwrap();
        assert_eq!(left[..700], [1; 700]);
        assert!(left[700..].iter().all(|byte| *byte == 0 || *byte == 2));
        disk.power_lost();
        assert_eq!(disk.peek("log").unwrap(), left, "what power left is durable");
    }

    #[tokio::test(start_paused = true)]
    async fn a_troubled_disk_says_so_and_a_lock_is_given_back() {
        let disk = SimDisk::new("d", 5);
        let lock = disk.lock().await.unwrap();
        assert!(disk.lock().await.is_err());
        drop(lock);
        disk.lock().await.unwrap();
        disk.trouble(DiskTrouble { full: true, ..DiskTrouble::default() });
        let error = disk.replace("a", Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.trouble(DiskTrouble::default());
        disk.replace("a", b"x".to_vec()).await.unwrap();
        assert_eq!(disk.read("a").await.unwrap().unwrap(), b"x");
    }
}
