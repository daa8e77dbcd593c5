//! The one state and the one queue of what is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::{DataDirectoryId, RegionId, Tick};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::cluster::{MemberConfig, Wire};
use super::judge::{Event, Happening};
use super::member::{Guard, Member, Process};
use super::sessions::Client;
use super::settings::{Settings, Spans};

/// Something to be done.
pub(super) type Work = Box<dyn FnOnce(&mut World) + Send>;

struct Due {
    /// The member on whose host it is done.
    host: Option<usize>,
    work: Work,
}

pub(super) struct World {
    pub now: Duration,
    pub rng: SmallRng,
    pub settings: Settings,
    pub wire: Arc<dyn Wire>,
    pub members: Vec<Member>,
    pub clients: BTreeMap<u64, Client>,
    pub happened: Vec<Happening>,
    due: BTreeMap<(Duration, u64), Due>,
    asked: u64,
    fresh: u64,
}

impl World {
    pub fn new(
        configs: Vec<MemberConfig>,
        wire: Arc<dyn Wire>,
        seed: u64,
        settings: Settings,
    ) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            settings,
            wire,
            members: configs.into_iter().map(Member::new).collect(),
            clients: BTreeMap::new(),
            happened: Vec::new(),
            due: BTreeMap::new(),
            asked: 0,
            fresh: 0,
        };
        (0..world.members.len()).for_each(|r| world.keep_looking_at_deadline(r));
        world
    }

    /// Does everything due up to `now`.
    pub fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), due) = entry.remove_entry();
            self.now = self.now.max(at);
            match due.host {
                Some(r) if self.members[r].host.frozen => {
                    self.members[r].host.parked.push(due.work);
                }
                _ => (due.work)(self),
            }
        }
        self.now = self.now.max(now);
    }

    fn put(&mut self, delay: Duration, host: Option<usize>, work: Work) {
        self.asked += 1;
        self.due.insert((self.now + delay, self.asked), Due { host, work });
    }

    /// Has `work` done after `delay`, wherever.
    pub fn after(&mut self, delay: Duration, work: impl FnOnce(&mut World) + Send + 'static) {
        self.put(delay, None, Box::new(work));
    }

    /// Has `work` done on a member's host: not while that stands still.
    pub fn after_on(
        &mut self,
        r: usize,
        delay: Duration,
        work: impl FnOnce(&mut World) + Send + 'static,
    ) {
        self.put(delay, Some(r), Box::new(work));
    }

    /// The same by the guard that runs now: not after its end.
    pub fn after_by_guard(
        &mut self,
        r: usize,
        delay: Duration,
        work: impl FnOnce(&mut World) + Send + 'static,
    ) {
        let boot = self.members[r].guard.boot;
        self.after_on(r, delay, move |w| {
            if w.members[r].guard.boot == boot {
                work(w);
            }
        });
    }

    /// The same by PostgreSQL's processes of this life.
    pub fn after_in(
        &mut self,
        r: usize,
        delay: Duration,
        work: impl FnOnce(&mut World) + Send + 'static,
    ) {
        let Some(life) = self.members[r].pg.as_ref().map(|pg| pg.life) else { return };
        self.after_on(r, delay, move |w| {
            if w.members[r].alive(life).is_some() {
                work(w);
            }
        });
    }

    /// A write to a member's disk that ends after `delay`, or when the disk hangs no more.
    pub fn after_disk(
        &mut self,
        r: usize,
        delay: Duration,
        work: impl FnOnce(&mut World) + Send + 'static,
    ) {
        self.after_on(r, delay, move |w| {
            let host = &mut w.members[r].host;
            if host.fsync_hangs {
                host.hanging.push(Box::new(work));
            } else {
                work(w);
            }
        });
    }

    /// What stood still goes on: everything is runnable at once, and who comes first is for the
    /// scheduler to say. The guard looks at its deadline at its next turn, like everybody else; a
    /// backend may come before it and send what it was about to send, also an acknowledgement
    /// whose standby replies wait in its socket, but nothing that still needs a standby (R2).
    pub fn go_on(&mut self, r: usize, work: Vec<Work>) {
        for work in work {
            let delay = Spans::us(1, 4_000).draw(&mut self.rng);
            self.put(delay, Some(r), work);
        }
    }

    pub fn draw(&mut self, spans: Spans) -> Duration {
        spans.draw(&mut self.rng)
    }

    /// Whether something happens that does so `share` times out of the settings' odds.
    pub fn chance(&mut self, share: u32) -> bool {
        let odds = self.settings.odds.max(1);
        self.rng.random_ratio(share.min(odds), odds)
    }

    /// One way between an agent and what runs on its own host.
    pub fn local_delay(&mut self, r: usize) -> Duration {
        let slow = self.members[r].host.commands_slow && self.rng.random_ratio(1, 3);
        self.draw(if slow { self.settings.local_slow } else { self.settings.local })
    }

    pub fn note(&mut self, event: Event) {
        self.happened.push(Happening { at: self.now, event });
    }

    /// A number that nothing else in this world has.
    pub fn number(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    pub fn fresh_directory(&mut self) -> DataDirectoryId {
        let number = self.number();
        DataDirectoryId::new(format!("dir-{number}")).expect("lower-case letters and digits")
    }

    pub fn region(&self, r: usize) -> RegionId {
        self.members[r].config.region.clone()
    }

    pub fn index(&self, region: &RegionId) -> Option<usize> {
        self.members.iter().position(|member| member.config.region == *region)
    }

    /// Now, on a member's clock.
    pub fn tick(&self, r: usize) -> Tick {
        self.members[r].config.clock.now()
    }

    pub fn guard(&mut self, r: usize) -> &mut Guard {
        &mut self.members[r].guard
    }

    pub fn pg(&mut self, r: usize) -> Option<&mut Process> {
        self.members[r].pg.as_mut()
    }

    /// How long a message takes between two members now; `None`: it is lost.
    pub fn wire(&self, from: usize, to: usize) -> Option<Duration> {
        self.wire.delay(&self.members[from].config.host, &self.members[to].config.host)
    }
}
