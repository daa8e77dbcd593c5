//! The challenger's window on the holder's session (R6, R7).
//!
//! The window opens when the first read that showed this value has *come back* and closes by a
//! read *sent* after it has run out. The pair register is read before the closing read, and the
//! verdict counts for that version alone.

use std::time::Duration;

use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::record::{SessionRecord, Version};
use crate::time::Tick;
use crate::timing::Timing;

#[derive(Clone, Debug)]
struct Seen {
    region: RegionId,
    record: Option<SessionRecord>,
    first_back: Tick,
    last_back: Tick,
}

/// The window. It starts from zero at every agent start and is never persisted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    seen: Option<Seen>,
    pair_read: Option<(Version, Tick)>,
    verdict: Option<Version>,
}

impl Window {
    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Voids the verdict: the pair must be read again, then the session (R7).
    pub fn void(&mut self) {
        self.verdict = None;
        self.pair_read = None;
    }

    /// The pair register was read, at `version`; the answer came back at `now`.
    pub fn pair_read(&mut self, now: Tick, version: Version) {
        if self.pair_read.is_none_or(|(seen, _)| seen != version) {
            if !planted(Bug::VerdictWithLaterVersion) {
                self.verdict = None;
            }
            self.pair_read = Some((version, now));
        }
    }

    /// A read of the holder's session, sent at `sent`, came back at `now`. `gap` is the longest
    /// time between two reads for which silence still counts as the holder's and not the
    /// witness's.
    pub fn session_read(
        &mut self,
        now: Tick,
        sent: Tick,
        region: &RegionId,
        record: Option<SessionRecord>,
        timing: &Timing,
        gap: Duration,
    ) {
        let same = self.seen.as_ref().is_some_and(|seen| {
            seen.region == *region
                && (seen.record == record || planted(Bug::WindowSurvivesBeat))
                && now.since(seen.last_back) <= gap
        });
        if !same {
            let region = region.clone();
            self.seen = Some(Seen { region, record, first_back: now, last_back: now });
            self.verdict = None;
            return;
        }
        if let Some(seen) = &mut self.seen {
            seen.last_back = now;
        }
        let closed = self.closes_at(timing).is_some_and(|at| sent >= at);
        if closed
            && let Some((version, read_back)) = self.pair_read
            && read_back <= sent
        {
            self.verdict = Some(version);
        }
    }

    /// When the window has run out, if the value stays.
    pub fn closes_at(&self, timing: &Timing) -> Option<Tick> {
        let seen = self.seen.as_ref()?;
        let ttl = seen.record.as_ref().map_or(timing.ttl, SessionRecord::ttl);
        let mut window = timing.window(ttl);
        if planted(Bug::ShortWindow) {
            window /= 3;
        }
        Some(seen.first_back + window)
    }

    /// Since when the holder's session has not moved.
    pub fn silent_since(&self) -> Option<Tick> {
        self.seen.as_ref().map(|seen| seen.first_back)
    }

    /// Whether the holder was found expired with the pair register at `version`.
    pub fn expired_at(&self, version: Version) -> bool {
        match self.verdict {
            Some(seen) => seen == version || planted(Bug::VerdictWithLaterVersion),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(2);

    fn at(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    fn beat(beat: u64) -> Option<SessionRecord> {
        Some(SessionRecord { incarnation: 1, beat, ttl_ms: 10_000, renew_ms: 0 })
    }

    fn watch(window: &mut Window, from_ms: u64, to_ms: u64, value: u64) {
        let hel = RegionId::new("hel").expect("name");
        let timing = Timing::default();
        for ms in (from_ms..to_ms).step_by(250) {
            window.session_read(at(ms + 5), at(ms), &hel, beat(value), &timing, GAP);
        }
    }

    #[test]
    fn it_counts_from_the_first_answer_to_a_read_sent_after_it_ran_out_r6() {
        let mut window = Window::default();
        window.pair_read(at(0), Version(3));
        watch(&mut window, 0, 11_001, 7);
        // Opened at 5 ms; 10 s + 1 % + 1 s later is 11 105 ms.
        assert!(!window.expired_at(Version(3)));
        let hel = RegionId::new("hel").expect("name");
        window.session_read(at(11_200), at(11_100), &hel, beat(7), &Timing::default(), GAP);
        assert!(!window.expired_at(Version(3)), "closed by a read sent too early");
        window.session_read(at(11_200), at(11_106), &hel, beat(7), &Timing::default(), GAP);
        assert!(window.expired_at(Version(3)));
        assert!(!window.expired_at(Version(4)), "the verdict is for one version (R7)");
        window.pair_read(at(11_201), Version(4));
        assert!(!window.expired_at(Version(3)), "another version voids the verdict (R7)");
    }

    #[test]
    fn a_beat_or_a_blind_spell_starts_it_anew() {
        let mut window = Window::default();
        window.pair_read(at(0), Version(3));
        watch(&mut window, 0, 9_001, 7);
        watch(&mut window, 9_250, 15_000, 8);
        assert!(!window.expired_at(Version(3)));
        let mut window = Window::default();
        window.pair_read(at(0), Version(3));
        watch(&mut window, 0, 2_000, 7);
        watch(&mut window, 8_000, 14_000, 7);
        assert!(!window.expired_at(Version(3)), "the witness was out of reach in between");
    }

    #[test]
    fn the_pair_is_read_before_the_closing_read_r7() {
        let mut window = Window::default();
        watch(&mut window, 0, 20_000, 7);
        window.pair_read(at(20_001), Version(3));
        assert!(!window.expired_at(Version(3)));
        watch(&mut window, 20_250, 20_500, 7);
        assert!(window.expired_at(Version(3)));
    }
}
