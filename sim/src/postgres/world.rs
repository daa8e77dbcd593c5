//! The one state and the one queue of what is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::cluster::{MemberConfig, Wire};
use super::judge::{Event, Happening};
use super::settings::Settings;

/// Something to be done.
pub(super) type Work = Box<dyn FnOnce(&mut World) + Send>;

pub(super) struct World {
    pub now: Duration,
    pub rng: SmallRng,
    pub settings: Settings,
    pub wire: Arc<dyn Wire>,
    pub configs: Vec<MemberConfig>,
    pub happened: Vec<Happening>,
    due: BTreeMap<(Duration, u64), Work>,
    asked: u64,
}

impl World {
    pub fn new(
        configs: Vec<MemberConfig>,
        wire: Arc<dyn Wire>,
        seed: u64,
        settings: Settings,
    ) -> Self {
        Self {
            now: Duration::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            settings,
            wire,
            configs,
            happened: Vec::new(),
            due: BTreeMap::new(),
            asked: 0,
        }
    }

    /// Does everything due up to `now`.
    pub fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), work) = entry.remove_entry();
            self.now = self.now.max(at);
            work(self);
        }
        self.now = self.now.max(now);
    }

    /// Has `work` done after `delay`.
    pub fn after(&mut self, delay: Duration, work: impl FnOnce(&mut World) + Send + 'static) {
        self.asked += 1;
        self.due.insert((self.now + delay, self.asked), Box::new(work));
    }

    pub fn note(&mut self, event: Event) {
        self.happened.push(Happening { at: self.now, event });
    }
}
