//! What is known of the pair register, and the one compare-and-swap under way (R9).

use std::collections::BTreeSet;

use super::types::CasAnswer;
use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::record::{PairRecord, Version};
use crate::time::Tick;

/// Why the register is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The pair is new.
    Create,
    /// A challenger takes over, for this reason.
    Acquire { by: &'static str, autonomous: bool },
    /// The recorded holder comes back (R5, R15).
    Return,
    /// Members leave the ledger.
    Shrink { reason: String },
    /// A member enters the ledger.
    Grow,
    /// The holder says whether it waits for every listed member (R18).
    Premise,
    /// The stopped holder names its successor (R14).
    HandOver,
    /// The stopped holder lets go (R16).
    Release { reason: String },
}

#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    pub expected: Version,
    pub value: PairRecord,
    pub purpose: Purpose,
    /// Session life it was begun in: its success counts only there (R7).
    pub life: u64,
    pub in_flight: bool,
    pub started: Tick,
    /// An attempt may have reached the witness.
    pub sent: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub version: Version,
    pub record: Option<PairRecord>,
    /// When the read (or write) that brought it was sent.
    pub sent: Tick,
    /// When it came back.
    pub back: Tick,
}

/// How an own compare-and-swap ended.
#[derive(Clone, Debug)]
pub(crate) enum Settled {
    /// It took effect.
    Won(Outstanding),
    /// It did not, and can not any more.
    Lost(Outstanding),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    pub known: Option<Known>,
    pub outstanding: Option<Outstanding>,
    pub reading: bool,
    pub last_read_sent: Option<Tick>,
    /// When a request to the witness last failed, with the reason; cleared by an answer.
    pub unreachable: Option<(Tick, String)>,
}

impl Register {
    pub fn record(&self) -> Option<&PairRecord> {
        self.known.as_ref().and_then(|known| known.record.as_ref())
    }

    /// Whether nothing own is under way or unresolved, so that something new may be built.
    pub fn settled(&self) -> bool {
        self.outstanding.is_none()
    }

    /// Everybody the register or an own unresolved write names as in sync (R10).
    pub fn possibly_in_sync(&self) -> BTreeSet<RegionId> {
        let mut members: BTreeSet<RegionId> = self
            .record()
            .map(|record| record.in_sync.keys().cloned().collect())
            .unwrap_or_default();
        if let Some(outstanding) = &self.outstanding
            && !planted(Bug::NamesFromViewOnly)
        {
            members.extend(outstanding.value.in_sync.keys().cloned());
        }
        members
    }

    pub fn begin(&mut self, now: Tick, life: u64, value: PairRecord, purpose: Purpose) -> Version {
        assert!(self.outstanding.is_none(), "one compare-and-swap at a time");
        let expected = self.known.as_ref().map_or(Version::ABSENT, |known| known.version);
        let in_flight = true;
        self.outstanding = Some(Outstanding {
            expected,
            value,
            purpose,
            life,
            in_flight,
            started: now,
            sent: false,
        });
        expected
    }

    pub fn read_answered(
        &mut self,
        now: Tick,
        sent: Tick,
        answer: Result<Option<(Version, PairRecord)>, String>,
    ) -> Option<Settled> {
        self.reading = false;
        match answer {
            Err(reason) => {
                self.unreachable = Some((now, reason));
                None
            }
            Ok(found) => {
                self.unreachable = None;
                let version = found.as_ref().map_or(Version::ABSENT, |(version, _)| *version);
                if self.known.as_ref().is_some_and(|known| known.version > version) {
                    // An answer that was overtaken by a newer one.
                    return None;
                }
                let record = found.map(|(_, record)| record);
                self.known = Some(Known { version, record, sent, back: now });
                self.settle_by_read(sent)
            }
        }
    }

    /// A read sent after the write was given up settles it iff the version moved on (R9).
    fn settle_by_read(&mut self, sent: Tick) -> Option<Settled> {
        let known = self.known.as_ref()?;
        let outstanding = self.outstanding.take_if(|outstanding| {
            !outstanding.in_flight
                && outstanding.started <= sent
                && known.version != outstanding.expected
        })?;
        let ours = known.record.as_ref() == Some(&outstanding.value);
        Some(if ours { Settled::Won(outstanding) } else { Settled::Lost(outstanding) })
    }

    pub fn cas_answered(&mut self, now: Tick, answer: CasAnswer) -> Option<Settled> {
        let outstanding = self.outstanding.as_mut()?;
        match answer {
            CasAnswer::Accepted(version) => {
                self.unreachable = None;
                let outstanding = self.outstanding.take()?;
                let record = Some(outstanding.value.clone());
                let sent = outstanding.started;
                if self.known.as_ref().is_none_or(|known| known.version <= version) {
                    self.known = Some(Known { version, record, sent, back: now });
                }
                Some(Settled::Won(outstanding))
            }
            CasAnswer::Refused(found) => {
                self.unreachable = None;
                outstanding.in_flight = false;
                let sent = outstanding.started;
                self.read_answered(now, sent, Ok(found))
            }
            CasAnswer::NotSent => {
                self.unreachable = Some((now, "the witness could not be asked".into()));
                outstanding.in_flight = false;
                // A takeover that never left is no takeover: what it was for may be over when the
                // witness is back. Other writes are the holder's own business and are repeated.
                let gone = matches!(outstanding.purpose, Purpose::Acquire { .. });
                if gone && !outstanding.sent {
                    return self.outstanding.take().map(Settled::Lost);
                }
                None
            }
            CasAnswer::Unanswered => {
                self.unreachable = Some((now, "no answer from the witness".into()));
                outstanding.in_flight = false;
                outstanding.sent = true;
                if planted(Bug::UnansweredIsAccepted) {
                    let version = Version(outstanding.expected.0 + 1);
                    return self.cas_answered(now, CasAnswer::Accepted(version));
                }
                if planted(Bug::UnansweredIsRefused) {
                    return self.outstanding.take().map(Settled::Lost);
                }
                None
            }
        }
    }

    /// The write to repeat: unresolved, and the newest read still shows the version it expected,
    /// so that writing the same value again uses it up (R9).
    pub fn repeat(&mut self) -> Option<(Version, PairRecord)> {
        let known_version = self.known.as_ref().map(|known| (known.version, known.sent));
        let outstanding = self.outstanding.as_mut().filter(|outstanding| !outstanding.in_flight)?;
        let (version, sent) = known_version?;
        if version != outstanding.expected || sent < outstanding.started {
            return None;
        }
        outstanding.in_flight = true;
        Some((outstanding.expected, outstanding.value.clone()))
    }
}
