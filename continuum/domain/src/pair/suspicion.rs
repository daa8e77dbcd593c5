//! Suspecting a holder, for ledger takeover. Being wrong costs an unneeded move, never data (R18):
//! what is decided here is liveness alone.
//!
//! Two signals must both be silent: the holder's session at the witness, and its agent when asked
//! directly. A cut link between two healthy regions silences one of them only. What limits the
//! patience adapts: a pause that ended lately makes longer pauses ordinary, and is forgotten slowly.
//! A member that did not run itself for a while has heard nobody, and counts from when it woke.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::RegionId;
use crate::mutation::{Bug, planted};
use crate::record::SessionRecord;
use crate::time::Tick;

/// A pause that ended is forgotten over this long.
const GAP_FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// However long pauses were, silence for this many times `suspect_after` is suspect.
const STRETCH_MAX: u32 = 4;
/// Renewals of a session that must have failed to come.
const BEATS_MISSED: u32 = 3;

/// The longest pause seen lately between two signs of life.
#[derive(Clone, Copy, Debug, Default)]
struct Pauses {
    longest: Duration,
    at: Tick,
}

impl Pauses {
    fn ended(&mut self, now: Tick, pause: Duration, limit: Duration) {
        let age = now.since(self.at).min(GAP_FORGOTTEN_AFTER);
        let left = GAP_FORGOTTEN_AFTER - age;
        let remembered =
            self.longest.mul_f64(left.as_secs_f64() / GAP_FORGOTTEN_AFTER.as_secs_f64());
        self.longest = pause.min(limit).max(remembered);
        self.at = now;
    }

    /// Twice what was ordinary lately, within bounds.
    fn patience(&self, least: Duration, suspect_after: Duration) -> Duration {
        (self.longest * 2).min(suspect_after * STRETCH_MAX).max(least)
    }
}

#[derive(Clone, Debug, Default)]
struct Peer {
    heard: Option<Tick>,
    refused_since: Option<Tick>,
    pauses: Pauses,
}

#[derive(Clone, Debug)]
struct SessionSeen {
    region: RegionId,
    record: Option<SessionRecord>,
    first_back: Tick,
    last_sent: Tick,
    last_back: Tick,
}

/// What is known of the holder's signs of life.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspicion {
    peers: BTreeMap<RegionId, Peer>,
    session: Option<SessionSeen>,
    session_pauses: Pauses,
    stepped: Option<Tick>,
    /// Silence before this was not listened to.
    awake_since: Tick,
}

/// Why a holder is suspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Since when nothing was heard of it.
    pub since: Tick,
    /// For people.
    pub text: String,
}

impl Suspicion {
    /// The machine runs. After a pause of its own nothing is held against others.
    pub fn step(&mut self, now: Tick, suspect_after: Duration) {
        let slept = self.stepped.is_none_or(|before| now.since(before) > suspect_after / 3);
        if slept {
            self.awake_since = now;
        }
        self.stepped = Some(now);
    }

    /// The agent of `region` answered at `at`.
    pub fn heard(&mut self, at: Tick, region: &RegionId, suspect_after: Duration) {
        let peer = self.peers.entry(region.clone()).or_default();
        if let Some(before) = peer.heard {
            peer.pauses.ended(at, at.since(before), suspect_after * 2);
        }
        peer.heard = peer.heard.max(Some(at));
        peer.refused_since = None;
    }

    /// The host of `region` is there and refuses connections to its agent.
    pub fn refused(&mut self, at: Tick, region: &RegionId) {
        self.peers.entry(region.clone()).or_default().refused_since.get_or_insert(at);
    }

    /// A read of the session of `region`, sent at `sent`, came back.
    pub fn session_read(
        &mut self,
        now: Tick,
        sent: Tick,
        region: &RegionId,
        record: Option<SessionRecord>,
        suspect_after: Duration,
    ) {
        if let Some(seen) = &mut self.session
            && seen.region == *region
        {
            if seen.record == record {
                seen.last_sent = seen.last_sent.max(sent);
                seen.last_back = now;
                return;
            }
            self.session_pauses.ended(now, now.since(seen.first_back), suspect_after * 2);
        }
        let region = region.clone();
        self.session =
            Some(SessionSeen { region, record, first_back: now, last_sent: sent, last_back: now });
    }

    /// Why `holder` is suspected, if it is. `renew` is how often it renews when it does not say so.
    pub fn of(
        &self,
        now: Tick,
        holder: &RegionId,
        suspect_after: Duration,
        renew: Duration,
    ) -> Option<Evidence> {
        let peer = self.peers.get(holder)?;
        // Never heard is not known, not silent (I7).
        let heard = peer.heard?.max(self.awake_since);
        let refused = peer.refused_since.is_some_and(|at| now.since(at) >= suspect_after / 4);
        let base = if refused { suspect_after / 2 } else { suspect_after };
        let patience = if refused { base } else { peer.pauses.patience(base, suspect_after) };
        let silent = now.since(heard);
        if silent < patience {
            return None;
        }
        let session = self.session_silence(now, holder, (base, suspect_after), renew);
        if planted(Bug::SuspicionByOneSignal) && session.is_none() {
            return Some(Evidence { since: heard, text: String::from("its agent is silent") });
        }
        let (since, still) = session?;
        let how = if refused { "refuses connections" } else { "does not answer" };
        Some(Evidence {
            since: heard.min(since),
            text: format!(
                "its agent {how} for {} ms, its session has not moved for {} ms",
                silent.as_millis(),
                still.as_millis()
            ),
        })
    }

    /// Since when the session of `holder` stands still, if for long enough, as a read just now says.
    fn session_silence(
        &self,
        now: Tick,
        holder: &RegionId,
        (base, suspect_after): (Duration, Duration),
        renew: Duration,
    ) -> Option<(Tick, Duration)> {
        let seen = self.session.as_ref().filter(|seen| seen.region == *holder)?;
        // What the witness did not say lately is not known.
        if now.since(seen.last_back) > suspect_after / 2 {
            return None;
        }
        let renew = seen.record.as_ref().and_then(SessionRecord::renew).unwrap_or(renew);
        let patience = self.session_pauses.patience(base, suspect_after).max(renew * BEATS_MISSED);
        let since = seen.first_back.max(self.awake_since);
        let still = seen.last_sent.since(since);
        (still >= patience).then_some((since, still))
    }
}

#[cfg(test)]
#[path = "suspicion_tests.rs"]
mod tests;
