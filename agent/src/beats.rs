//! Asking the other regions' agents whether they live, beside the sessions at the witness.
//!
//! A question goes out at every interval, whatever became of the last one, so that silence is made of
//! several. What is heard is known to every pair; what it means is the pair machine's to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::link::PeerLinkReport;
use continuum_domain::pair::types::Event;
use continuum_domain::round_trips::RoundTrips;
use continuum_domain::{RegionId, Tick};
use continuum_runtime::{SharedClock, seed};
use tokio::sync::watch;

use crate::driver::Events;
use crate::peers::{NoAnswer, Peers};
use crate::report::millis;

/// The interval where no pair wants to know sooner: for the histogram alone.
const INTERVAL: Duration = Duration::from_secs(1);
/// Questions to one peer that may be open at a time.
const OPEN_MAX: usize = 8;
/// A question is given up after so many intervals, and not sooner than that.
const DEADLINE_INTERVALS: u32 = 5;
const DEADLINE_LEAST: Duration = Duration::from_secs(1);

/// What was heard of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    answered: Option<Tick>,
    refused: Option<Tick>,
    trips: RoundTrips,
    open: usize,
}

/// What was heard of all of them. Cloned handles share it.
#[derive(Clone)]
pub(crate) struct Beats {
    heard: Arc<Mutex<BTreeMap<RegionId, Heard>>>,
    changed: watch::Sender<()>,
    interval: watch::Sender<Option<Duration>>,
}

impl Beats {
    /// Begins to ask; until `ask_every` says otherwise, at leisure.
    pub fn start(peers: &Peers, clock: &SharedClock) -> Self {
        let beats = Self {
            heard: Arc::default(),
            changed: watch::Sender::new(()),
            interval: watch::Sender::new(None),
        };
        for region in peers.regions() {
            let work = beats.clone().ask(region.clone(), peers.clone(), clock.clone());
            drop(seed::spawn(work));
        }
        beats
    }

    /// How often peers are asked and the session is renewed, if a pair wants it sooner than usual.
    pub fn ask_every(&self, interval: Option<Duration>) {
        self.interval.send_if_modified(|now| std::mem::replace(now, interval) != interval);
    }

    /// The interval that pairs want, as it changes.
    pub fn wanted(&self) -> watch::Receiver<Option<Duration>> {
        self.interval.subscribe()
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<RegionId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(self, region: RegionId, peers: Peers, clock: SharedClock) {
        let mut wanted = self.wanted();
        let mut sequence = 0;
        loop {
            let interval = wanted.borrow_and_update().unwrap_or(INTERVAL).min(INTERVAL);
            sequence += 1;
            let room = {
                let mut heard = self.heard();
                let peer = heard.entry(region.clone()).or_default();
                let room = peer.open < OPEN_MAX;
                peer.open += usize::from(room);
                room
            };
            if room {
                let limit = (interval * DEADLINE_INTERVALS).max(DEADLINE_LEAST);
                let (beats, region) = (self.clone(), region.clone());
                let (peers, clock) = (peers.clone(), clock.clone());
                drop(seed::spawn(async move {
                    let sent = clock.now();
                    let answer = peers.beat(&region, sequence, limit).await;
                    beats.take(&region, clock.now(), sent, &answer);
                }));
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }

    fn take(&self, region: &RegionId, now: Tick, sent: Tick, answer: &Result<(), NoAnswer>) {
        {
            let mut heard = self.heard();
            let peer = heard.entry(region.clone()).or_default();
            peer.open = peer.open.saturating_sub(1);
            match answer {
                Ok(()) => {
                    peer.answered = peer.answered.max(Some(now));
                    peer.refused = None;
                    peer.trips.answered(now, now.since(sent));
                }
                Err(why) => {
                    peer.trips.unanswered(now);
                    if *why == NoAnswer::Refused {
                        peer.refused = Some(now);
                    }
                }
            }
        }
        self.changed.send_replace(());
    }

    /// Tells a pair what is heard, as it comes.
    pub async fn forward(self, events: Events) {
        let mut changed = self.changed.subscribe();
        let mut told: BTreeMap<RegionId, (Option<Tick>, Option<Tick>)> = BTreeMap::new();
        loop {
            changed.borrow_and_update();
            let mut news = Vec::new();
            for (region, peer) in self.heard().iter() {
                let (answered, refused) = told.entry(region.clone()).or_default();
                if let Some(at) = peer.answered.filter(|at| *answered != Some(*at)) {
                    *answered = Some(at);
                    news.push(Event::PeerHeard { region: region.clone(), at });
                }
                if let Some(at) = peer.refused.filter(|at| *refused != Some(*at)) {
                    *refused = Some(at);
                    news.push(Event::PeerRefused { region: region.clone(), at });
                }
            }
            for event in news {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// The links as reports show them.
    pub fn report(&self, now: Tick) -> BTreeMap<RegionId, PeerLinkReport> {
        let heard = self.heard();
        let view = |peer: &Heard| PeerLinkReport {
            heard_age_ms: peer.answered.map(|at| millis(at, now)),
            refused_age_ms: peer.refused.map(|at| millis(at, now)),
            round_trips: peer.trips.view(),
        };
        heard.iter().map(|(region, peer)| (region.clone(), view(peer))).collect()
    }
}
