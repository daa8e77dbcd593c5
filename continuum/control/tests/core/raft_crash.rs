//! Power losses at every kind of moment, on a disk that keeps only what was synced.
//!
//! A model beside the log knows what was acknowledged. After each crash the log must hold exactly
//! that, plus any beginning of what was under way, and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use continuum_control::raft::{Disk, DiskFile, DiskLock, LogStore, SharedDisk, TypeConfig};
use openraft::EntryPayload;
use openraft::alias::{CommittedLeaderIdOf, EntryOf, LeaderIdOf, LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Small, so that segments are begun, closed and removed all the time.
const SEGMENT_BYTES: u64 = 2048;

type LogId = LogIdOf<TypeConfig>;
type Vote = VoteOf<TypeConfig>;

#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    /// Written but not synced: a crash keeps any part of it.
    pending: Vec<(usize, Vec<u8>)>,
}

impl File {
    fn put(&mut self, offset: usize, content: &[u8]) {
        let end = offset + content.len();
        if self.synced.len() < end {
            self.synced.resize(end, 0);
        }
        self.synced[offset..end].copy_from_slice(content);
    }

    fn sync(&mut self) {
        for (offset, content) in std::mem::take(&mut self.pending) {
            self.put(offset, &content);
        }
    }

    /// What the page cache shows.
    fn seen(&self) -> Vec<u8> {
        let mut copy = File { synced: self.synced.clone(), pending: self.pending.clone() };
        copy.sync();
        copy.synced
    }
}

#[derive(Debug)]
struct Platter {
    files: BTreeMap<String, File>,
    /// Operations until the power fails.
    budget: u32,
    dice: SmallRng,
}

#[derive(Clone, Debug)]
struct LossyDisk(Arc<Mutex<Platter>>);

impl LossyDisk {
    /// Counts one operation; the one that meets the power loss may or may not take effect.
    fn step<T>(&self, act: impl FnOnce(&mut Platter) -> T) -> io::Result<T> {
        let mut platter = self.0.lock().unwrap();
        let lost = || io::Error::other("the power is off");
        match platter.budget {
            0 => Err(lost()),
            1 => {
                platter.budget = 0;
                if platter.dice.random_bool(0.5) {
                    act(&mut platter);
                }
                Err(lost())
            }
            _ => {
                platter.budget -= 1;
                Ok(act(&mut platter))
            }
        }
    }

    /// Loses what was not synced, but for random parts of it, and switches the power on again.
    fn crash(&self, budget: u32) {
        let platter = &mut *self.0.lock().unwrap();
        for file in platter.files.values_mut() {
            for (offset, mut content) in std::mem::take(&mut file.pending) {
                match platter.dice.random_range(0..4) {
                    0 => {}
                    1 => file.put(offset, &content),
                    2 => {
                        content.truncate(platter.dice.random_range(0..=content.len()));
                        file.put(offset, &content);
                    }
                    // The end arrived, the beginning did not.
                    _ => {
                        let from = platter.dice.random_range(0..=content.len());
                        content[..from].fill(0);
                        file.put(offset, &content);
                    }
                }
            }
        }
        platter.budget = budget;
    }

    fn is_off(&self) -> bool {
        self.0.lock().unwrap().budget == 0
    }
}

#[async_trait]
impl Disk for LossyDisk {
    async fn lock(&self) -> io::Result<DiskLock> {
        Ok(Box::new(()))
    }
    async fn list(&self) -> io::Result<Vec<String>> {
        self.step(|platter| platter.files.keys().cloned().collect())
    }
    async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.step(|platter| platter.files.get(name).map(File::seen))
    }
    async fn replace(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        let file = File { synced: content, pending: Vec::new() };
        self.step(|platter| drop(platter.files.insert(name.to_owned(), file)))
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.step(|platter| drop(platter.files.remove(name)))
    }
    async fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.step(|platter| {
            platter.files.entry(name.to_owned()).or_default();
        })?;
        Ok(Box::new(LossyFile { disk: self.clone(), name: name.to_owned() }))
    }
    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

struct LossyFile {
    disk: LossyDisk,
    name: String,
}

#[async_trait]
impl DiskFile for LossyFile {
    async fn write_at(&mut self, offset: u64, content: Vec<u8>, sync: bool) -> io::Result<()> {
        let write = (usize::try_from(offset).unwrap(), content);
        self.disk.step(|platter| platter.files.get_mut(&self.name).unwrap().pending.push(write))?;
        if sync {
            self.disk.step(|platter| platter.files.get_mut(&self.name).unwrap().sync())?;
        }
        Ok(())
    }
    async fn cut(&mut self, length: u64) -> io::Result<()> {
        self.disk.step(|platter| {
            let file = platter.files.get_mut(&self.name).unwrap();
            file.sync();
            file.synced.resize(usize::try_from(length).unwrap(), 0);
        })
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderIdOf::<TypeConfig>::new(term, 1), index)
}

fn entry(id: LogId, bytes: usize) -> EntryOf<TypeConfig> {
    let mut command: <TypeConfig as openraft::RaftTypeConfig>::D =
        serde_json::from_str("\"x\"").unwrap();
    command.0 = "x".repeat(bytes);
    EntryOf::<TypeConfig> { log_id: id, payload: EntryPayload::Normal(command) }
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    purged: Option<LogId>,
    entries: Vec<LogId>,
    vote: Option<Vote>,
}

impl Content {
    async fn of(log: &mut LogStore) -> Content {
        let mut reader = log.get_log_reader().await;
        let entries = reader.try_get_log_entries(..).await.unwrap();
        Content {
            purged: log.get_log_state().await.unwrap().last_purged_log_id,
            entries: entries.iter().map(|entry| entry.log_id).collect(),
            vote: reader.read_vote().await.unwrap(),
        }
    }

    fn next(&self) -> u64 {
        let last = self.entries.last().copied().or(self.purged);
        last.map_or(0, |id| id.index + 1)
    }
}

/// The log, what it must hold, and what it may hold if the step under way took effect.
struct Driver {
    log: LogStore,
    content: Content,
    dice: SmallRng,
    term: u64,
}

impl Driver {
    /// Performs one random step. Returns every content a crash during it may leave.
    async fn step(&mut self) -> Vec<Content> {
        match self.dice.random_range(0..10) {
            0 => self.vote().await,
            1 if !self.content.entries.is_empty() => self.truncate().await,
            2 if !self.content.entries.is_empty() => self.purge().await,
            3 => {
                let last = self.content.entries.last().copied().or(self.content.purged);
                // A hint without a sync of its own: nothing is promised about it.
                let _ = self.log.save_committed(last).await;
                vec![self.content.clone()]
            }
            _ => self.append().await,
        }
    }

    async fn append(&mut self) -> Vec<Content> {
        let mut possible = vec![self.content.clone()];
        let mut waits = Vec::new();
        for _ in 0..self.dice.random_range(1..4) {
            let mut entries = Vec::new();
            for _ in 0..self.dice.random_range(1..4) {
                let mut longer = possible.last().unwrap().clone();
                let id = log_id(self.term, longer.next());
                longer.entries.push(id);
                possible.push(longer);
                let bytes = if self.dice.random_bool(0.1) { 700 } else { 40 };
                entries.push(entry(id, bytes));
            }
            let (sender, flushed) = TypeConfig::oneshot();
            if self.log.append(entries, IOFlushed::signal(sender)).await.is_err() {
                break;
            }
            waits.push((flushed, possible.last().unwrap().clone()));
        }
        for (flushed, after) in waits {
            if flushed.await.is_ok_and(|result| result.is_ok()) {
                self.content = after;
            }
        }
        let acknowledged = self.content.entries.len();
        possible.retain(|content| content.entries.len() >= acknowledged);
        possible
    }

    async fn truncate(&mut self) -> Vec<Content> {
        let mut after = self.content.clone();
        after.entries.truncate(self.dice.random_range(0..after.entries.len()));
        let last = after.entries.last().copied().or(after.purged);
        self.term += 1;
        let result = self.log.truncate_after(last).await;
        self.settle(after, result)
    }

    async fn purge(&mut self) -> Vec<Content> {
        let mut after = self.content.clone();
        let keep_from = self.dice.random_range(1..=after.entries.len());
        let mut upto = after.entries[keep_from - 1];
        after.entries.drain(..keep_from);
        if after.entries.is_empty() && self.dice.random_bool(0.3) {
            // A snapshot of the leader that reaches further than this log.
            upto = log_id(self.term, upto.index + 50);
        }
        after.purged = Some(upto);
        let result = self.log.purge(upto).await;
        self.settle(after, result)
    }

    async fn vote(&mut self) -> Vec<Content> {
        self.term += 1;
        let leader_id = LeaderIdOf::<TypeConfig> { term: self.term, node_id: 2 };
        let vote = Vote { leader_id, committed: self.dice.random() };
        let after = Content { vote: Some(vote), ..self.content.clone() };
        let result = self.log.save_vote(&vote).await;
        self.settle(after, result)
    }

    fn settle(&mut self, after: Content, result: io::Result<()>) -> Vec<Content> {
        match result {
            Ok(()) => {
                self.content = after;
                vec![self.content.clone()]
            }
            Err(_) => vec![self.content.clone(), after],
        }
    }
}

async fn open(disk: &LossyDisk) -> io::Result<LogStore> {
    let disk: SharedDisk = Arc::new(disk.clone());
    let lock = disk.lock().await?;
    LogStore::open_with_segments(disk, lock, SEGMENT_BYTES).await.map(|(log, _)| log)
}

/// Returns how many crashes were survived.
async fn live_through(seed: u64) -> u32 {
    let mut dice = SmallRng::seed_from_u64(seed);
    let files = BTreeMap::new();
    let platter = Platter { files, budget: u32::MAX, dice: SmallRng::seed_from_u64(!seed) };
    let disk = LossyDisk(Arc::new(Mutex::new(platter)));
    let mut log = open(&disk).await.unwrap();
    let mut content = Content::default();
    let (mut crashes, mut term) = (0, 1);
    for _ in 0..12 {
        disk.0.lock().unwrap().budget = dice.random_range(1..60);
        let mut driver = Driver { log, content, dice: SmallRng::from_rng(&mut dice), term };
        let mut possible = vec![driver.content.clone()];
        while !disk.is_off() {
            possible = driver.step().await;
        }
        drop(driver.log);
        term = driver.term + 1;
        // The power may fail again while the log is being opened.
        loop {
            crashes += 1;
            disk.crash(dice.random_range(1..40));
            match open(&disk).await {
                Ok(opened) => {
                    log = opened;
                    break;
                }
                Err(error) => assert!(disk.is_off(), "seed {seed}: refused: {error}"),
            }
        }
        content = Content::of(&mut log).await;
        assert!(possible.contains(&content), "seed {seed}: {content:?}\nnot in {possible:?}");
    }
    crashes
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_losses_and_nothing_is_ever_refused() {
    let mut crashes = 0;
    for seed in 0..150 {
        crashes += live_through(seed).await;
    }
    assert!(crashes > 1500, "{crashes} crashes");
}
