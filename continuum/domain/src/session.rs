//! The session of one region: one beating register that all its leases rest on.
//!
//! ```text
//!            read            cas incarnation+1          renewals
//!  Unread ---------> Opening ----------------> Live -------------+
//!    ^                  | refused, lapsed        | valid_until    | cas beat+1
//!    +------------------+<-----------------------+ passed <-------+
//! ```
//!
//! A renewal counts from the *earliest* send of any attempt that wrote that value (R3), and a
//! lapsed session is never revived: the next life has a new incarnation.

use std::time::Duration;

use crate::mutation::{Bug, planted};
use crate::pair::types::SessionView;
use crate::record::{SessionRecord, Version};
use crate::time::Tick;
use crate::timing::Timing;

/// What can happen to the session machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Time passed.
    Wake,
    /// The register was read.
    Read(Option<(Version, SessionRecord)>),
    /// The read brought nothing.
    ReadFailed,
    /// The compare-and-swap of `value` was accepted at this version.
    Accepted {
        /// The value of that attempt.
        value: SessionRecord,
        /// The register's new version.
        version: Version,
    },
    /// It was refused; this is what the register holds.
    Refused(Option<(Version, SessionRecord)>),
    /// No answer came (it may have taken effect), or it was not sent.
    Unanswered,
}

/// What the session machine asks for; at most one request is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    /// Read the own session register.
    Read,
    /// Write it.
    Cas {
        /// Expected version.
        expected: Version,
        /// New value.
        value: SessionRecord,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attempt {
    expected: Version,
    value: SessionRecord,
    first_sent: Tick,
    opens: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Unread,
    Idle { version: Version, value: SessionRecord },
    Writing(Attempt),
}

/// The session machine.
#[derive(Clone, Debug)]
pub struct Session {
    timing: Timing,
    state: State,
    /// Highest incarnation this machine ever asked for or saw.
    incarnation: u64,
    valid_until: Option<Tick>,
    life: u64,
    in_flight: bool,
    next_action: Tick,
    answered: Option<Tick>,
    /// Another agent of this region holds the register: this one must not go on.
    superseded: bool,
    /// Interval between renewals, where a pair wants them sooner than the timing says.
    sooner: Option<Duration>,
}

impl Session {
    /// A session that was never opened. Every start of an agent begins here (R5).
    pub fn new(timing: Timing, now: Tick) -> Self {
        Self {
            timing,
            state: State::Unread,
            incarnation: 0,
            valid_until: None,
            life: 0,
            in_flight: false,
            next_action: now,
            answered: None,
            superseded: false,
            sooner: None,
        }
    }

    /// Renews this often from now on, if that is sooner than the timing says: a pair with ledger
    /// takeover wants the silence of a holder to be seen early. Validity does not depend on it.
    pub fn renew_sooner(&mut self, interval: Option<Duration>) {
        self.sooner = interval;
    }

    fn renew(&self) -> Duration {
        self.sooner.map_or(self.timing.renew, |sooner| sooner.min(self.timing.renew))
    }

    /// What the pair machines see.
    pub fn view(&self, now: Tick) -> SessionView {
        SessionView {
            life: self.life,
            valid_until: self.valid_until.filter(|until| now < *until),
            witness_answered: self.answered,
        }
    }

    /// Whether another agent of the same region took the session over.
    pub fn superseded(&self) -> bool {
        self.superseded
    }

    /// When to wake the machine at the latest.
    pub fn next_wake(&self) -> Tick {
        match self.valid_until {
            Some(until) if self.in_flight => until,
            Some(until) => until.min(self.next_action),
            None => self.next_action,
        }
    }

    /// Advances the machine.
    pub fn step(&mut self, now: Tick, event: SessionEvent) -> Option<SessionEffect> {
        self.lapse_if_due(now);
        match event {
            SessionEvent::Wake => {}
            SessionEvent::Read(found) => {
                self.in_flight = false;
                self.answered = Some(now);
                self.learned(now, found);
            }
            SessionEvent::ReadFailed | SessionEvent::Unanswered => {
                self.in_flight = false;
                self.next_action = now + self.retry_pause();
            }
            SessionEvent::Accepted { value, version } => {
                self.in_flight = false;
                self.answered = Some(now);
                self.accepted(now, value, version);
            }
            SessionEvent::Refused(found) => {
                self.in_flight = false;
                self.answered = Some(now);
                self.refused(now, found);
            }
        }
        self.act(now)
    }

    fn retry_pause(&self) -> Duration {
        (self.renew() / 8).max(Duration::from_millis(10))
    }

    /// A late acknowledgement cannot revive what has lapsed: validity is only ever extended while
    /// it still stands.
    fn lapse_if_due(&mut self, now: Tick) {
        if self.valid_until.is_some_and(|until| now >= until) {
            self.valid_until = None;
            if !planted(Bug::LateAckRevives) {
                // An attempt under way belongs to the dead life; what became of it is read again.
                self.state = State::Unread;
            }
        }
    }

    fn learned(&mut self, now: Tick, found: Option<(Version, SessionRecord)>) {
        if let State::Writing(attempt) = &self.state {
            let attempt = attempt.clone();
            if let Some((version, value)) = &found
                && *value == attempt.value
            {
                return self.counts(now, attempt, *version);
            }
        }
        let ttl_ms = u64::try_from(self.timing.ttl.as_millis()).unwrap_or(u64::MAX);
        let (version, value) = found.unwrap_or((
            Version::ABSENT,
            SessionRecord { incarnation: 0, beat: 0, ttl_ms, renew_ms: 0 },
        ));
        if value.incarnation > self.incarnation {
            if self.life > 0 {
                self.superseded = true;
                self.valid_until = None;
            }
            self.incarnation = value.incarnation;
        }
        self.state = State::Idle { version, value };
        self.next_action = now;
    }

    fn accepted(&mut self, now: Tick, value: SessionRecord, version: Version) {
        if let State::Writing(attempt) = &self.state
            && attempt.value == value
        {
            let attempt = attempt.clone();
            self.counts(now, attempt, version);
        }
    }

    fn refused(&mut self, now: Tick, found: Option<(Version, SessionRecord)>) {
        // Our own earlier attempt may be what is there: then it counts from its first send (R3).
        self.learned(now, found);
    }

    /// `attempt` is in the register. It counts from its earliest send, and not at all if that is
    /// over already, or if the life it renews has lapsed meanwhile.
    fn counts(&mut self, now: Tick, attempt: Attempt, version: Version) {
        self.state = State::Idle { version, value: attempt.value.clone() };
        let basis = if planted(Bug::ValidFromReceipt) { now } else { attempt.first_sent };
        let until = self.timing.valid_until(basis);
        if now >= until {
            self.next_action = now;
            return;
        }
        if attempt.opens {
            self.life += 1;
        } else if self.valid_until.is_none() && !planted(Bug::LateAckRevives) {
            self.next_action = now;
            return;
        }
        self.valid_until = Some(until);
        self.next_action = (attempt.first_sent + self.renew()).max(now);
    }

    fn act(&mut self, now: Tick) -> Option<SessionEffect> {
        if self.in_flight || self.superseded || now < self.next_action {
            return None;
        }
        match self.state.clone() {
            State::Unread => {
                self.in_flight = true;
                Some(SessionEffect::Read)
            }
            State::Idle { version, value } => {
                let ttl_ms = u64::try_from(self.timing.ttl.as_millis()).unwrap_or(u64::MAX);
                let renew_ms = u64::try_from(self.renew().as_millis()).unwrap_or(u64::MAX);
                let opens = self.valid_until.is_none();
                let next = if opens {
                    self.incarnation = self.incarnation.max(value.incarnation) + 1;
                    SessionRecord { incarnation: self.incarnation, beat: 0, ttl_ms, renew_ms }
                } else {
                    SessionRecord { beat: value.beat + 1, renew_ms, ..value }
                };
                let attempt = Attempt { expected: version, value: next, first_sent: now, opens };
                Some(self.send(attempt))
            }
            State::Writing(attempt) => {
                // The same value again at the same version: if the first try landed, this one is
                // refused and shows it.
                let first_sent =
                    if planted(Bug::ValidFromLastSend) { now } else { attempt.first_sent };
                Some(self.send(Attempt { first_sent, ..attempt }))
            }
        }
    }

    fn send(&mut self, attempt: Attempt) -> SessionEffect {
        self.in_flight = true;
        let effect =
            SessionEffect::Cas { expected: attempt.expected, value: attempt.value.clone() };
        self.state = State::Writing(attempt);
        effect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    fn opened() -> (Session, SessionRecord, Version) {
        let mut session = Session::new(Timing::default(), at(0));
        assert_eq!(session.step(at(0), SessionEvent::Wake), Some(SessionEffect::Read));
        let effect = session.step(at(1), SessionEvent::Read(None));
        let Some(SessionEffect::Cas { expected: Version(0), value }) = effect else {
            panic!("{effect:?}")
        };
        assert_eq!(value.incarnation, 1);
        let accepted = SessionEvent::Accepted { value: value.clone(), version: Version(1) };
        assert_eq!(session.step(at(5), accepted), None);
        (session, value, Version(1))
    }

    #[test]
    fn it_counts_from_the_send() {
        let (session, _, _) = opened();
        assert_eq!(session.view(at(5)).valid_until, Some(at(1 + 6_000)));
        assert!(!session.view(at(6_001)).valid(at(6_001)));
    }

    #[test]
    fn a_retry_counts_from_the_first_send_r3() {
        let (mut session, _, version) = opened();
        let Some(SessionEffect::Cas { value, .. }) = session.step(at(2_001), SessionEvent::Wake)
        else {
            panic!("no renewal")
        };
        assert_eq!(session.step(at(4_000), SessionEvent::Unanswered), None);
        let again = session.step(at(4_300), SessionEvent::Wake);
        assert_eq!(again, Some(SessionEffect::Cas { expected: version, value: value.clone() }));
        // The retry is refused because the first try had landed.
        session.step(at(4_400), SessionEvent::Refused(Some((Version(2), value))));
        assert_eq!(session.view(at(4_400)).valid_until, Some(at(2_001 + 6_000)));
    }

    #[test]
    fn a_late_acknowledgement_does_not_revive() {
        let (mut session, _, _) = opened();
        let Some(SessionEffect::Cas { value, .. }) = session.step(at(2_001), SessionEvent::Wake)
        else {
            panic!("no renewal")
        };
        assert_eq!(session.step(at(6_500), SessionEvent::Wake), None);
        assert!(!session.view(at(6_500)).valid(at(6_500)));
        let late = SessionEvent::Accepted { value, version: Version(2) };
        assert_eq!(session.step(at(6_600), late), Some(SessionEffect::Read));
        assert!(!session.view(at(6_600)).valid(at(6_600)));
        assert_eq!(session.view(at(6_600)).life, 1);
    }

    #[test]
    fn a_second_agent_of_the_region_ends_this_one() {
        let (mut session, _, _) = opened();
        session.step(at(2_001), SessionEvent::Wake);
        let other = SessionRecord { incarnation: 2, beat: 0, ttl_ms: 10_000, renew_ms: 0 };
        session.step(at(2_010), SessionEvent::Refused(Some((Version(2), other))));
        assert!(session.superseded());
        assert!(!session.view(at(2_011)).valid(at(2_011)));
    }
}
