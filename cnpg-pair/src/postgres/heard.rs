//! How long ago a standby's primary said where its WAL ends (R21).
//!
//! The receiver keeps the sender's last words together with the sender's wall clock at that moment
//! (`pg_stat_wal_receiver.latest_end_lsn`, `last_msg_send_time`). Two hosts' clocks cannot be
//! compared, but their difference does not change much: the smallest one seen is that of the message
//! that took least time, and what a later message's difference has on top of it is its age. A
//! receiver that stands still shows the same message for ever; this tells it.
//!
//! The first words seen say nothing of their own age: who begins to look may have found a receiver
//! that has stood still for an hour, or one that works off a backlog. So an age is known only once
//! newer words came for `SETTLED_AFTER` without the difference falling, as it does for as long as a
//! backlog gets shorter. A backlog that keeps its length for all that time cannot be told from two
//! clocks that differ.

use std::time::Duration;

use continuum_domain::Tick;
use continuum_domain::mutation::{Bug, planted};

/// By so much of the time passed may the clocks' difference have changed: more than any quartz
/// drifts, so that a slow one is not taken for silence, and what a stuck receiver gains by it is
/// nothing.
const DRIFT_PPM: i128 = 1_000;
/// For so long must newer words have come with the same difference.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Within that time messages may take so much less time than before, in microseconds: more than
/// links differ from one message to the next, less than a backlog shrinks.
const SETTLED_FALL_US: i128 = 200_000;

/// The sender's clock against the own one, within one life of a receiver.
#[derive(Clone, Debug, Default)]
pub struct SenderClock {
    receiver: String,
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The sender's clock in the newest words.
    sent_us: i64,
    /// Smallest difference, own minus sender's, in microseconds, and when it was last looked at.
    least: (i128, Tick),
    /// The difference from which it must not fall, and since when.
    mark: (i128, Tick),
    settled: bool,
}

impl SenderClock {
    /// How old at most the sender's words are that were sent at `sent_us` of its clock and shown at
    /// `now` by the receiver that `receiver` names for its life. `None`: nothing is known of it yet.
    pub fn age(&mut self, now: Tick, receiver: &str, sent_us: i64) -> Option<Duration> {
        let difference = i128::from(now.0) / 1_000 - i128::from(sent_us);
        let first =
            Seen { sent_us, least: (difference, now), mark: (difference, now), settled: false };
        let known = self.seen.take().filter(|_| self.receiver == receiver);
        receiver.clone_into(&mut self.receiver);
        let seen = self.seen.insert(known.unwrap_or(first));
        let (least, looked) = seen.least;
        let least = (least + drift_us(now.since(looked))).min(difference);
        seen.least = (least, now);
        if sent_us != seen.sent_us {
            seen.sent_us = sent_us;
            seen.settle(now, difference);
        }
        let age = u64::try_from(difference - least).unwrap_or(0);
        let known = seen.settled || planted(Bug::FirstWordsAreNew);
        known.then(|| Duration::from_micros(age))
    }
}

impl Seen {
    /// Takes in newer words.
    fn settle(&mut self, now: Tick, difference: i128) {
        let (mark, since) = self.mark;
        if difference < mark - SETTLED_FALL_US {
            self.mark = (difference, now);
            self.settled = false;
        } else if now.since(since) >= SETTLED_AFTER {
            self.mark = (self.least.0, now);
            self.settled = true;
        }
    }
}

fn drift_us(passed: Duration) -> i128 {
    i128::try_from(passed.as_micros()).unwrap_or(i128::MAX / DRIFT_PPM) * DRIFT_PPM / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn at(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    /// The sender's clock at own `ms`, an hour ahead.
    fn sent(ms: u64) -> i64 {
        HOUR_US + i64::try_from(ms).unwrap() * 1_000
    }

    /// A clock that has heard every 100 ms from second 0 to 3 of words that were 2 ms under way.
    fn settled() -> SenderClock {
        let mut clock = SenderClock::default();
        let ages = (0..=30).map(|n| clock.age(at(n * 100 + 2), "7", sent(n * 100)));
        let ages: Vec<_> = ages.collect();
        assert!(ages[..20].iter().all(Option::is_none), "{ages:?}");
        assert!(
            ages[20..].iter().all(|age| *age < Some(Duration::from_millis(5)) && age.is_some())
        );
        clock
    }

    #[test]
    fn a_receiver_that_stands_still_shows_words_that_get_older() {
        let mut clock = settled();
        let stuck = clock.age(at(13_000), "7", sent(3_000)).unwrap();
        assert!(stuck > Duration::from_millis(9_900), "{stuck:?}");
    }

    #[test]
    fn a_receiver_that_is_found_standing_still_says_nothing_of_its_words() {
        let mut clock = SenderClock::default();
        for second in 0..100 {
            assert_eq!(clock.age(at(second * 1_000), "7", sent(0)), None);
        }
    }

    #[test]
    fn a_backlog_that_is_found_is_not_taken_for_news() {
        let mut clock = SenderClock::default();
        // Ten seconds old at first, worked off at one and a half times the pace.
        for n in 0..=230 {
            let (now, old) = (n * 100, 10_000_u64.saturating_sub(n * 50));
            let age = clock.age(at(20_000 + now), "7", sent(20_000 + now - old));
            assert!(age.is_none() || old == 0, "{n}: {old} ms old, shown as {age:?}");
            assert_eq!(age.is_some(), n >= 220, "{n}");
        }
    }

    #[test]
    fn a_backlog_that_grew_is_as_old_as_it_is() {
        let mut clock = settled();
        let old = clock.age(at(20_000), "7", sent(5_000)).unwrap();
        assert!(old > Duration::from_millis(14_900), "{old:?}");
        assert!(clock.age(at(20_100), "7", sent(20_099)) < Some(Duration::from_millis(100)));
    }

    #[test]
    fn a_new_receiver_knows_nothing_of_the_last_ones_sender() {
        let mut clock = settled();
        assert_eq!(clock.age(at(4_000), "8", sent(4_000) - 5 * HOUR_US), None);
    }

    #[test]
    fn a_clock_that_steps_back_makes_words_old_and_never_young() {
        let mut clock = settled();
        let stepped = clock.age(at(4_000), "7", sent(3_999) - HOUR_US).unwrap();
        assert!(stepped > Duration::from_secs(3_000));
        // Stepped forward, the messages after it tell the new difference.
        assert_eq!(clock.age(at(5_000), "7", sent(4_999) + HOUR_US), None);
        let ages =
            (0..30).map(|n| clock.age(at(5_000 + n * 100), "7", sent(4_999 + n * 100) + HOUR_US));
        assert!(ages.last().flatten() < Some(Duration::from_millis(5)));
        let stuck = clock.age(at(15_000), "7", sent(7_899) + HOUR_US).unwrap();
        assert!(stuck > Duration::from_millis(6_900), "{stuck:?}");
    }

    #[test]
    fn clocks_that_drift_apart_do_not_look_like_silence() {
        let mut clock = SenderClock::default();
        for second in 0..10_000u64 {
            let slow = i64::try_from(second * 100).unwrap();
            let age = clock.age(at(second * 1_000), "7", sent(second * 1_000) - slow);
            assert!(age.is_none_or(|age| age < Duration::from_millis(2)), "{age:?}");
            assert_eq!(age.is_some(), second >= 2);
        }
    }
}
