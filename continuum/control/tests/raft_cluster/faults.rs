//! A disk that is slow, and that fails when told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use continuum_control::raft::{Disk, DiskFile, DiskLock, FsDisk};

/// Wraps the real disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    pub disk: FsDisk,
    /// What every sync takes at least.
    pub sync_takes: Duration,
    /// While set, syncs fail although the bytes were written.
    pub failing: Arc<AtomicBool>,
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: FaultyDisk,
}

#[async_trait]
impl Disk for FaultyDisk {
    async fn lock(&self) -> io::Result<DiskLock> {
        self.disk.lock().await
    }
    async fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list().await
    }
    async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(name).await
    }
    async fn replace(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        self.disk.replace(name, content).await
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name).await
    }
    async fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(name).await?;
        Ok(Box::new(FaultyFile { file, faults: self.clone() }))
    }
    fn describe(&self, name: &str) -> String {
        self.disk.describe(name)
    }
}

#[async_trait]
impl DiskFile for FaultyFile {
    async fn write_at(&mut self, offset: u64, content: Vec<u8>, sync: bool) -> io::Result<()> {
        if sync {
            // Part of what is simulated, not a way to wait for something.
            tokio::time::sleep(self.faults.sync_takes).await;
        }
        if sync && self.faults.failing.load(Ordering::SeqCst) {
            self.file.write_at(offset, content, false).await?;
            return Err(io::Error::other("the disk reports a failed sync"));
        }
        self.file.write_at(offset, content, sync).await
    }

    async fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.cut(length).await
    }
}
