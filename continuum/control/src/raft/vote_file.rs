//! The vote, in a file of two slots.
//!
//! A vote that was given must never be forgotten, or one node could help two leaders into one
//! term. Each save writes the first slot, syncs, and then the second: whichever write a crash
//! tears, the other slot holds the newest vote that was acknowledged; and once both are written, a
//! damaged slot costs nothing. Both slots are written when the file is made, so that two
//! unreadable slots always mean damage, never a new node.

use std::io;

use continuum_domain::mutation::{Bug, planted};

use super::disk::{DiskFile, SharedDisk};
use super::types::{LeaderId, Vote};

const FILE: &str = "vote";
const MAGIC: [u8; 4] = *b"CtV1";
/// Slots are a page apart, so that one torn page never reaches both.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];
const SLOT_BYTES: usize = 64;
const SLOT_BYTES_END: usize = 4096 + SLOT_BYTES;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    sequence: u64,
    vote: Option<Vote>,
}

impl Slot {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT_BYTES);
        out.extend(MAGIC);
        out.push(u8::from(self.vote.is_some()));
        out.push(u8::from(self.vote.is_some_and(|vote| vote.committed)));
        out.extend([0, 0]);
        out.extend(self.sequence.to_le_bytes());
        let leader = self.vote.map(|vote| vote.leader_id);
        out.extend(leader.map_or(0, |leader| leader.term).to_le_bytes());
        out.extend(leader.map_or(0, |leader| leader.node_id).to_le_bytes());
        let checksum = crc32fast::hash(&out);
        out.extend(checksum.to_le_bytes());
        out.resize(SLOT_BYTES, 0);
        out
    }

    fn decode(file: &[u8], offset: u64) -> Option<Slot> {
        let offset = usize::try_from(offset).ok()?;
        let bytes = file.get(offset..offset + SLOT_BYTES)?;
        let (body, rest) = bytes.split_at(32);
        let checksum = u32::from_le_bytes(*rest.first_chunk()?);
        if body[..4] != MAGIC || crc32fast::hash(body) != checksum {
            return None;
        }
        let number = |at: usize| body[at..].first_chunk().map(|part| u64::from_le_bytes(*part));
        let leader_id = LeaderId { term: number(16)?, node_id: number(24)? };
        let vote = (body[4] == 1).then_some(Vote { leader_id, committed: body[5] == 1 });
        Some(Slot { sequence: number(8)?, vote })
    }
}

fn put(content: &mut [u8], offset: u64, slot: &[u8]) {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    if let Some(place) = at.checked_add(slot.len()).and_then(|end| content.get_mut(at..end)) {
        place.copy_from_slice(slot);
    }
}

fn damaged(file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{file} is damaged at bytes {} and {}: neither slot has a valid checksum. The vote is \
             lost, so this node does not start. Remove it from the cluster and add a node with a \
             new id and an empty directory",
            SLOT_OFFSETS[0], SLOT_OFFSETS[1]
        ),
    )
}

/// The open vote file.
pub(super) struct VoteFile {
    file: Box<dyn DiskFile>,
    newest: Slot,
}

impl VoteFile {
    /// Opens or makes the file. Two unreadable slots are an error: the vote is lost.
    pub async fn open(disk: &SharedDisk) -> io::Result<Self> {
        let content = match disk.read(FILE).await? {
            Some(content) => content,
            None => {
                let mut content = vec![0; SLOT_BYTES_END];
                for offset in SLOT_OFFSETS {
                    put(&mut content, offset, &Slot::default().encode());
                }
                disk.replace(FILE, content.clone()).await?;
                content
            }
        };
        let slots = SLOT_OFFSETS.map(|offset| Slot::decode(&content, offset));
        let newest = slots.into_iter().flatten().max_by_key(|slot| slot.sequence);
        let newest = newest.ok_or_else(|| damaged(&disk.describe(FILE)))?;
        let mut file = disk.open(FILE).await?;
        for (offset, slot) in SLOT_OFFSETS.into_iter().zip(slots) {
            if slot != Some(newest) {
                file.write_at(offset, newest.encode(), true).await?;
            }
        }
        Ok(Self { file, newest })
    }

    /// The vote as last acknowledged.
    pub fn vote(&self) -> Option<Vote> {
        self.newest.vote
    }

    /// Makes `vote` durable. It may be acknowledged from then on; [`Self::mirror`] must follow
    /// before anything else is written.
    pub async fn save(&mut self, vote: Vote) -> io::Result<()> {
        self.newest = Slot { sequence: self.newest.sequence + 1, vote: Some(vote) };
        let sync = !planted(Bug::VoteNotSynced);
        self.file.write_at(SLOT_OFFSETS[0], self.newest.encode(), sync).await
    }

    /// Brings the second slot up to the first.
    pub async fn mirror(&mut self) -> io::Result<()> {
        let sync = !planted(Bug::VoteNotSynced);
        self.file.write_at(SLOT_OFFSETS[1], self.newest.encode(), sync).await
    }
}
