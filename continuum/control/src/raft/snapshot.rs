//! The snapshot file: position, members and state, replaced as a whole.

use std::io;

use super::disk::SharedDisk;
use super::types::{Snapshot, SnapshotMeta};

const FILE: &str = "snapshot";
const MAGIC: [u8; 8] = *b"CtSnap01";
const HEADER_BYTES: usize = 24;

/// Writes the snapshot; the one before stays until this one is durable.
pub(super) async fn write(disk: &SharedDisk, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
    let meta = serde_json::to_vec(meta).map_err(io::Error::other)?;
    let mut content = Vec::with_capacity(HEADER_BYTES + meta.len() + data.len());
    content.extend(MAGIC);
    content.extend(u32::try_from(meta.len()).map_err(io::Error::other)?.to_le_bytes());
    content.extend(u64::try_from(data.len()).map_err(io::Error::other)?.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&content);
    checksum.update(&meta);
    checksum.update(data);
    content.extend(checksum.finalize().to_le_bytes());
    content.extend(meta);
    content.extend(data);
    disk.replace(FILE, content).await
}

/// Reads the snapshot; `None` when none was taken yet. A damaged one is an error.
pub(super) async fn read(disk: &SharedDisk) -> io::Result<Option<Snapshot>> {
    let Some(content) = disk.read(FILE).await? else { return Ok(None) };
    match parse(&content) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(text) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is damaged: {text}", disk.describe(FILE)),
        )),
    }
}

fn parse(content: &[u8]) -> Result<Snapshot, String> {
    let (header, body) =
        content.split_at_checked(HEADER_BYTES).ok_or("it is shorter than its header")?;
    let fixed = header.first_chunk::<8>() == Some(&MAGIC);
    let lengths = header[8..].split_first_chunk().and_then(|(meta, rest)| {
        let (data, rest) = rest.split_first_chunk()?;
        let checksum = rest.first_chunk()?;
        let meta = usize::try_from(u32::from_le_bytes(*meta)).ok()?;
        let data = usize::try_from(u64::from_le_bytes(*data)).ok()?;
        Some((meta, data, u32::from_le_bytes(*checksum)))
    });
    let (meta_length, data_length, expected) =
        lengths.filter(|_| fixed).ok_or("it does not begin like a snapshot")?;
    if meta_length.checked_add(data_length) != Some(body.len()) {
        return Err(format!("it holds {} bytes, not the length it names", body.len()));
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header[..20]);
    checksum.update(body);
    if checksum.finalize() != expected {
        return Err("the checksum does not match".to_owned());
    }
    let (meta, data) = body.split_at(meta_length);
    let meta = serde_json::from_slice(meta).map_err(|error| error.to_string())?;
    Ok(Snapshot { meta, snapshot: data.to_vec() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::disk::FsDisk;
    use super::*;

    #[tokio::test]
    async fn a_snapshot_survives_and_damage_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let disk: SharedDisk = Arc::new(FsDisk::open(directory.path()).unwrap());
        assert!(read(&disk).await.unwrap().is_none());
        write(&disk, &SnapshotMeta::default(), b"{\"state\":1}").await.unwrap();
        let found = read(&disk).await.unwrap().unwrap();
        assert_eq!(
            (found.meta, found.snapshot),
            (SnapshotMeta::default(), b"{\"state\":1}".into())
        );
        let mut content = disk.read(FILE).await.unwrap().unwrap();
        let last = content.len() - 1;
        content[last] ^= 1;
        disk.replace(FILE, content).await.unwrap();
        let error = read(&disk).await.unwrap_err().to_string();
        assert!(error.contains("snapshot is damaged: the checksum"), "{error}");
    }
}
