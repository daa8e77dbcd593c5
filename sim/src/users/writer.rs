//! A writer: commits numbers, each once, and never counts what it does not know.

use std::sync::Arc;
use std::time::Duration;

use continuum_domain::RegionId;
use continuum_runtime::seed;
use rand::RngExt;

use super::{Outcome, Resolver, Users, Write};
use crate::clock::WorldTime;
use crate::plan::{Plan, USERS};
use crate::postgres::{Cluster, Session, WriteError};

/// Commits that a wandering writer makes before it goes on.
const STAY: u32 = 3;

/// How a writer finds PostgreSQL.
pub enum Way {
    /// By the name, while its time to live lasts.
    Names(Resolver),
    /// By asking one region after the other.
    Direct,
    /// The same, and from each for a few commits only: who leads apart is found at once.
    Wandering,
}

/// One writer.
pub struct Writer {
    /// The plan.
    pub plan: Arc<Plan>,
    /// PostgreSQL.
    pub cluster: Arc<Cluster>,
    /// Where what was learnt is kept.
    pub users: Users,
    /// How PostgreSQL is found.
    pub way: Way,
    /// The world's time.
    pub time: WorldTime,
}

impl Writer {
    /// Writes for ever.
    pub async fn run(self) {
        let mut turn = 0;
        loop {
            let Some(session) = self.connect(turn).await else {
                turn += 1;
                pause(Duration::from_millis(100)).await;
                continue;
            };
            self.write_on(&session).await;
            turn += 1;
            pause(Duration::from_millis(40)).await;
        }
    }

    async fn connect(&self, turn: usize) -> Option<Session> {
        let region = match &self.way {
            Way::Names(resolver) => resolver.region().await?,
            Way::Direct | Way::Wandering => {
                let regions = self.plan.region_names();
                regions.get(turn % regions.len())?.clone()
            }
        };
        let region = RegionId::new(region).ok()?;
        self.cluster.connect(USERS, &region).await.ok()
    }

    /// Writes until the session is of no more use.
    async fn write_on(&self, session: &Session) {
        let most = if matches!(self.way, Way::Wandering) { STAY } else { u32::MAX };
        for _ in 0..most {
            if !session.is_open() {
                return;
            }
            let id = self.users.next_id();
            let asked = self.time.now();
            let outcome = match session.append(id).await {
                Ok(()) => Outcome::Acknowledged,
                Err(WriteError::Refused(_)) => Outcome::Refused,
                Err(WriteError::Unknown(_)) => Outcome::Unknown,
            };
            let ended = self.time.now();
            self.users.learnt().writes.push(Write { asked, ended, outcome });
            if outcome != Outcome::Acknowledged {
                return;
            }
            pause(Duration::from_millis(self.plan.write_interval)).await;
        }
    }
}

/// Waits about this long.
async fn pause(about: Duration) {
    let share = seed::rng().random_range(500..1_500);
    tokio::time::sleep(about * share / 1_000).await;
}
