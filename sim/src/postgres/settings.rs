//! How long things take, and how much is kept. Every range is drawn from evenly.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

/// A range of spans, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// Shortest.
    pub least: Duration,
    /// Longest.
    pub most: Duration,
}

impl Spans {
    /// A range in microseconds.
    pub const fn us(least: u64, most: u64) -> Self {
        Self { least: Duration::from_micros(least), most: Duration::from_micros(most) }
    }

    /// A range in milliseconds.
    pub const fn ms(least: u64, most: u64) -> Self {
        Self { least: Duration::from_millis(least), most: Duration::from_millis(most) }
    }

    /// One of them.
    pub(super) fn draw(self, rng: &mut SmallRng) -> Duration {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let (least, most) = (nanos(self.least), nanos(self.most));
        Duration::from_nanos(rng.random_range(least..=most.max(least)))
    }
}

/// Settings of all members of one cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether commits wait for replay (`remote_apply`) or, in `async` pairs, for flush (`on`).
    pub remote_apply: bool,
    /// One way between the agent and what runs on its own host.
    pub local: Spans,
    /// One way while commands are slow.
    pub local_slow: Spans,
    /// A small durable write of the guard.
    pub persist: Spans,
    /// Flush of WAL.
    pub fsync: Spans,
    /// From flushed on a standby to replayed.
    pub replay: Spans,
    /// From the signal to a process having read its settings anew.
    pub reload: Spans,
    /// The same for the checkpointer, which decides whether backends wait (R12).
    pub reload_checkpointer: Spans,
    /// From the spawn to accepting connections.
    pub start: Spans,
    /// From the request to being out of recovery.
    pub promote: Spans,
    /// Out of [`Settings::odds`], how many promotions take up to ten times as long.
    pub slow_promotions: u32,
    /// What a share is counted out of.
    pub odds: u32,
    /// A checkpoint.
    pub checkpoint: Spans,
    /// From the fast stop's signal until all sessions have ended.
    pub end_sessions: Spans,
    /// From the immediate stop's signal to the end of the last process, usually.
    pub immediate_stop: Spans,
    /// Out of [`Settings::odds`], how many immediate stops use nine tenths of the stop budget.
    pub slow_stops: u32,
    /// How long backends go on after their postmaster died with the guard.
    pub orphans: Spans,
    /// `initdb`.
    pub initialise: Spans,
    /// A base backup.
    pub clone: Spans,
    /// `pg_rewind`.
    pub rewind: Spans,
    /// Reading the WAL of a stopped directory, comparing or saving it.
    pub read_wal: Spans,
    /// `wal_retrieve_retry_interval`.
    pub retry: Duration,
    /// `wal_receiver_status_interval`.
    pub status_interval: Duration,
    /// `wal_sender_timeout` and `wal_receiver_timeout`.
    pub stream_timeout: Duration,
    /// When a packet that was lost is sent once more.
    pub retransmit: Duration,
    /// `connect_timeout` of receivers, tools and clients.
    pub connect_timeout: Duration,
    /// Longest time a client waits for one answer.
    pub client_timeout: Duration,
    /// Places for clients, those kept for the agent left out.
    pub client_connections: usize,
    /// Least and most size of a WAL record, in units of 8 bytes. Few sizes: positions of two
    /// histories then meet again now and then.
    pub record_units: (u64, u64),
    /// Size of a WAL segment in bytes.
    pub segment_bytes: u64,
    /// `max_slot_wal_keep_size` in bytes.
    pub slot_cap_bytes: u64,
    /// Time between two checkpoints of a primary.
    pub checkpoint_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            remote_apply: true,
            local: Spans::us(30, 400),
            local_slow: Spans::ms(50, 2_500),
            persist: Spans::us(200, 4_000),
            fsync: Spans::us(100, 3_000),
            replay: Spans::us(50, 5_000),
            reload: Spans::ms(1, 30),
            reload_checkpointer: Spans::ms(1, 40),
            start: Spans::ms(15, 150),
            promote: Spans::ms(5, 80),
            slow_promotions: 10,
            odds: 100,
            checkpoint: Spans::ms(2, 40),
            end_sessions: Spans::ms(1, 20),
            immediate_stop: Spans::ms(1, 50),
            slow_stops: 10,
            orphans: Spans::us(100, 5_000),
            initialise: Spans::ms(30, 250),
            clone: Spans::ms(60, 900),
            rewind: Spans::ms(40, 400),
            read_wal: Spans::ms(2, 40),
            retry: Duration::from_millis(100),
            status_interval: Duration::from_secs(1),
            stream_timeout: Duration::from_secs(5),
            retransmit: Duration::from_millis(200),
            connect_timeout: Duration::from_secs(2),
            client_timeout: Duration::from_secs(10),
            client_connections: 92,
            record_units: (6, 12),
            segment_bytes: 16 << 20,
            slot_cap_bytes: 1 << 30,
            checkpoint_interval: Duration::from_secs(300),
        }
    }
}
