//! How long ago a standby's primary said where its WAL ends (R21).
//!
//! The receiver keeps the sender's last words together with the sender's wall clock at that moment
//! (`pg_stat_wal_receiver.latest_end_lsn`, `last_msg_send_time`). Two hosts' clocks cannot be
//! compared, but their difference does not change much: the smallest one seen is that of the message
//! that took least time, and what a later message's difference has on top of it is its age. A
//! receiver that stands still shows the same message for ever, and one that works off a backlog
//! shows old ones as they come; both are told by this.

use std::time::Duration;

use continuum_domain::Tick;

/// By so much of the time passed may the clocks' difference have changed: more than any quartz
/// drifts, so that a slow one is not taken for silence, and what a stuck receiver gains by it is
/// nothing.
const DRIFT_PPM: i128 = 1_000;

/// The sender's clock against the own one, within one life of a receiver.
#[derive(Clone, Debug, Default)]
pub(super) struct SenderClock {
    receiver: Option<i64>,
    /// Smallest difference, own minus sender's, in microseconds, and when it was seen.
    least: Option<(i128, Tick)>,
}

impl SenderClock {
    /// How old at most the sender's words are that were sent at `sent_us` of its clock and shown by
    /// the receiver process `receiver` at `now`. The first words of a receiver's life count from
    /// when they were first seen, as nothing else is known of them.
    pub fn age(&mut self, now: Tick, receiver: i64, sent_us: i64) -> Duration {
        if self.receiver != Some(receiver) {
            *self = Self { receiver: Some(receiver), least: None };
        }
        let difference = i128::from(now.0) / 1_000 - i128::from(sent_us);
        let drifted = self.least.map(|(least, seen)| {
            let passed = i128::from(now.since(seen).as_nanos() as u64) / 1_000;
            least + passed * DRIFT_PPM / 1_000_000
        });
        let least = drifted.map_or(difference, |least| least.min(difference));
        self.least = Some((least, now));
        let age = u64::try_from(difference - least).unwrap_or(0);
        Duration::from_micros(age)
    }
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

    #[test]
    fn a_receiver_that_stands_still_shows_words_that_get_older() {
        let mut clock = SenderClock::default();
        assert_eq!(clock.age(at(1_000), 7, sent(998)), Duration::ZERO);
        assert!(clock.age(at(2_000), 7, sent(1_990)) < Duration::from_millis(10));
        let stuck = clock.age(at(12_000), 7, sent(1_990));
        assert!(stuck > Duration::from_millis(9_900), "{stuck:?}");
    }

    #[test]
    fn a_backlog_is_as_old_as_it_is() {
        let mut clock = SenderClock::default();
        clock.age(at(1_000), 7, sent(998));
        let old = clock.age(at(20_000), 7, sent(5_000));
        assert!(old > Duration::from_millis(14_900), "{old:?}");
        assert!(clock.age(at(20_100), 7, sent(20_099)) < Duration::from_millis(100));
    }

    #[test]
    fn a_new_receiver_knows_nothing_of_the_last_ones_sender() {
        let mut clock = SenderClock::default();
        clock.age(at(1_000), 7, sent(998));
        assert_eq!(clock.age(at(2_000), 8, sent(2_000) - 5 * HOUR_US), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_steps_back_makes_words_old_and_never_young() {
        let mut clock = SenderClock::default();
        clock.age(at(1_000), 7, sent(998));
        assert!(clock.age(at(2_000), 7, sent(1_999) - HOUR_US) > Duration::from_secs(3_000));
        // Stepped forward, the first message after it tells the new difference.
        assert_eq!(clock.age(at(3_000), 7, sent(2_999) + HOUR_US), Duration::ZERO);
        assert!(clock.age(at(9_000), 7, sent(2_999) + HOUR_US) > Duration::from_millis(5_900));
    }

    #[test]
    fn clocks_that_drift_apart_do_not_look_like_silence() {
        let mut clock = SenderClock::default();
        for second in 0..10_000u64 {
            let slow = i64::try_from(second * 100).unwrap();
            let age = clock.age(at(second * 1_000), 7, sent(second * 1_000) - slow);
            assert!(age < Duration::from_millis(2), "{age:?}");
        }
    }
}
