//! The disk seam: one flat directory of files, as logs, votes, snapshots and small state need it.
//!
//! [`FsDisk`] is the real one. A simulator supplies its own, which loses what was not synced.

use std::any::Any;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{durable, seed};

const LOCK_NAME: &str = "lock";

/// Possession of a disk; dropping it gives the disk free.
pub type DiskLock = Box<dyn Any + Send + Sync>;

/// A disk handed around.
pub type SharedDisk = Arc<dyn Disk>;

/// A flat directory of files.
///
/// Every method is durable when it returns, except a write that asked for no sync. Two calls never
/// run at once on one [`DiskFile`].
#[async_trait]
pub trait Disk: Debug + Send + Sync + 'static {
    /// Takes possession; an error when another process has it.
    async fn lock(&self) -> io::Result<DiskLock>;

    /// Names of all files.
    async fn list(&self) -> io::Result<Vec<String>>;

    /// A whole file; `None` when there is none.
    async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a whole file atomically: a crash leaves the old or the new content.
    async fn replace(&self, name: &str, content: Vec<u8>) -> io::Result<()>;

    /// Removes a file.
    async fn remove(&self, name: &str) -> io::Result<()>;

    /// Opens a file for writing in place, making an empty one when there is none.
    async fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// The file's name for people.
    fn describe(&self, name: &str) -> String;

    /// Most bytes that all files may have, where that is little.
    fn room(&self) -> Option<usize> {
        None
    }
}

/// A file open for writing in place.
#[async_trait]
pub trait DiskFile: Send + Sync {
    /// Writes at `offset` and, when asked to, waits until this and all earlier writes are durable.
    async fn write_at(&mut self, offset: u64, content: Vec<u8>, sync: bool) -> io::Result<()>;

    /// Cuts the file to `length`, durably.
    async fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// Reads a JSON value; `None` when the file does not exist. A file that does not parse is an
/// error, never treated as absent.
pub async fn read_json<T: DeserializeOwned>(disk: &dyn Disk, name: &str) -> io::Result<Option<T>> {
    let Some(content) = disk.read(name).await? else { return Ok(None) };
    serde_json::from_slice(&content).map(Some).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", disk.describe(name)))
    })
}

/// Writes a value as JSON, atomically.
pub async fn write_json<T: Serialize + Sync>(
    disk: &dyn Disk,
    name: &str,
    value: &T,
) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    disk.replace(name, text).await
}

/// A directory of the local file system.
#[derive(Clone, Debug)]
pub struct FsDisk {
    directory: PathBuf,
}

impl FsDisk {
    /// Uses `directory`, making it, readable by its owner only, when it does not exist.
    pub fn open(directory: &Path) -> io::Result<Self> {
        if !directory.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(
                |error| {
                    let text = format!("cannot make {}: {error}", directory.display());
                    io::Error::new(error.kind(), text)
                },
            )?;
            if let Some(parent) = directory.parent().filter(|path| !path.as_os_str().is_empty()) {
                durable::sync_directory(parent)?;
            }
        }
        Ok(Self { directory: directory.to_owned() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Runs file work where it may block, and names the file in its error.
async fn blocking<T, F>(path: PathBuf, work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce(&Path) -> io::Result<T> + Send + 'static,
{
    seed::blocking(move || {
        work(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    })
    .await?
}

#[async_trait]
impl Disk for FsDisk {
    async fn lock(&self) -> io::Result<DiskLock> {
        blocking(self.path(LOCK_NAME), |path| {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process uses this directory")
            })?;
            Ok(Box::new(file) as DiskLock)
        })
        .await
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        blocking(self.directory.clone(), |path| {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                names.extend(entry?.file_name().into_string().ok());
            }
            names.sort();
            Ok(names)
        })
        .await
    }

    async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        blocking(self.path(name), |path| match fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn replace(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        blocking(self.path(name), move |path| durable::write_atomic(path, &content)).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let directory = self.directory.clone();
        blocking(self.path(name), move |path| {
            fs::remove_file(path)?;
            durable::sync_directory(&directory)
        })
        .await
    }

    async fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let directory = self.directory.clone();
        let path = self.path(name);
        let shown = path.clone();
        let file = blocking(path, move |path| {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)?;
            durable::sync_directory(&directory)?;
            Ok(file)
        })
        .await?;
        Ok(Box::new(FsFile { file: Arc::new(file), path: shown }))
    }

    fn describe(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

struct FsFile {
    file: Arc<File>,
    path: PathBuf,
}

#[async_trait]
impl DiskFile for FsFile {
    async fn write_at(&mut self, offset: u64, content: Vec<u8>, sync: bool) -> io::Result<()> {
        let file = self.file.clone();
        blocking(self.path.clone(), move |_| {
            file.write_all_at(&content, offset)?;
            if sync { file.sync_data() } else { Ok(()) }
        })
        .await
    }

    async fn cut(&mut self, length: u64) -> io::Result<()> {
        let file = self.file.clone();
        blocking(self.path.clone(), move |_| {
            file.set_len(length)?;
            file.sync_all()
        })
        .await
    }
}
