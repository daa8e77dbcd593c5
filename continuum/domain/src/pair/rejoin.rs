//! Rejoin by lineage: the lower epoch is the loser, and nothing is destroyed before it is saved.
//!
//! ```text
//!  stopped -> listed with this directory? -> start and follow
//!          -> no directory -> base backup
//!          -> lineage: follows  -> start and follow
//!                      diverged -> save tail -> rewind (-> base backup if that fails) -> start
//!                      apart    -> save tail -> base backup
//!                      unprovable -> base backup
//!                      foreign  -> blocked: a person decides
//! ```

use std::time::Duration;

use super::PairMachine;
use super::types::{Effect, Note, PlaneCommand, PlaneOutcome};
use crate::ids::{Epoch, Lsn, RegionId, TimelineId};
use crate::mutation::{Bug, planted};
use crate::observation::Lineage;
use crate::operation::StepOutcome;
use crate::record::PairRecord;
use crate::time::Tick;

/// How long a running standby may fail to stream from a living holder before its lineage is
/// looked at again; doubles with each try.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// How long a silent holder is asked for its history before this member starts without it.
const HOLDER_PATIENCE: Duration = Duration::from_secs(3);
/// Pause between looks at the lineage while the holder can not be asked.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Look,
    Save { fork: Lsn, end: Lsn, timeline: TimelineId, apart: bool },
    Rewind,
    Clone,
    Ready,
    Foreign(String),
}

#[derive(Clone, Debug)]
pub(super) struct State {
    phase: Phase,
    epoch: Epoch,
    how: &'static str,
    artefact: Option<(String, u64)>,
    span: Option<(Lsn, Lsn)>,
    /// Epoch of the last destructive act: at most one in each.
    destroyed_at: Option<Epoch>,
    not_before: Tick,
    since: Tick,
    patience: Duration,
    streaming_noted: Option<Epoch>,
    /// Since when the holder's PostgreSQL could not be asked for its history.
    unanswered_since: Option<Tick>,
    proof: Option<Proof>,
}

/// This member's WAL is the beginning of that holder's: by comparison, by the ledger, or because it
/// streamed. It counts for one tenure. The next holder forked off by itself, and what this member
/// has since received from the last one may bear the number of the next one's timeline.
#[derive(Clone, Debug)]
struct Proof {
    holder: RegionId,
    epoch: Epoch,
    /// To whom that holder, stopped and replayed to the end, hands the lease on (R14).
    heir: Option<RegionId>,
}

impl State {
    pub fn new(now: Tick) -> Self {
        Self {
            phase: Phase::Look,
            epoch: Epoch(0),
            how: "followed",
            artefact: None,
            span: None,
            destroyed_at: None,
            not_before: now,
            since: now,
            patience: PATIENCE,
            streaming_noted: None,
            unanswered_since: None,
            proof: None,
        }
    }

    pub fn following_since(&mut self, now: Tick) {
        self.since = now;
    }

    fn proven(&mut self, record: &PairRecord, holder: &RegionId) {
        let (holder, heir) = (holder.clone(), record.handover_to.clone());
        self.proof = Some(Proof { holder, epoch: record.epoch, heir });
    }

    /// Whether the proof counts under `record`. It is carried into the next epoch if the holder is
    /// the same, which then returned to its own WAL (R13), or is the heir. With an epoch missed in
    /// between, anything can have happened.
    fn is_proven(&mut self, record: &PairRecord, holder: &RegionId) -> bool {
        let Some(proof) = &mut self.proof else { return false };
        let next = proof.epoch.next() == record.epoch
            && (proof.holder == *holder || proof.heir.as_ref() == Some(holder))
            || planted(Bug::ProofForEveryHolder);
        let same = proof.epoch == record.epoch && proof.holder == *holder;
        if next {
            self.proven(record, holder);
        } else if same {
            proof.heir.clone_from(&record.handover_to);
        }
        same || next
    }

    /// A peer says that something changed: a holder that could not be asked may be ready now. In
    /// `strict` durability every write waits for this.
    pub fn nudged(&mut self, now: Tick) {
        if self.phase == Phase::Look {
            self.not_before = now;
        }
    }

    /// What was found out counted for one start: before the next one the directory may be another.
    pub fn look_anew(&mut self) {
        self.phase = Phase::Look;
    }
}

impl PairMachine {
    /// Brings a stopped member back behind `holder`.
    pub(super) fn rejoin(&mut self, now: Tick, record: &PairRecord, holder: &RegionId) {
        if let Some(mark) = self.actuator.as_ref().and_then(|status| status.fenced.clone()) {
            return self.block(
                "fenced",
                format!("fenced by an operator ({mark}); PostgreSQL does not start here"),
                "run `continuum unfence` when it may",
            );
        }
        if self.rejoin.epoch != record.epoch {
            self.rejoin.epoch = record.epoch;
            self.rejoin.phase = Phase::Look;
            // Another holder's silence, or this one's in another tenure.
            self.rejoin.unanswered_since = None;
        }
        let clone = self.clone_is_due(now, record);
        self.tell_of_failed_clone();
        // Listed with this very directory: it streamed as a standby when it was listed and was
        // never primary since, so it follows as it is.
        let listed = self.my_directory().is_some_and(|id| record.lists(&self.me, id));
        let clone_listed =
            planted(Bug::CloneWhileListed) || (clone && super::ordered::ordered_while_listed());
        if listed && !clone_listed {
            return self.start_following(now, record, holder);
        }
        self.tell_of_silence(now);
        let looks_once_more = self.ordered.clone_awaited() && !clone;
        if now < self.rejoin.not_before || looks_once_more {
            return;
        }
        let epoch = record.epoch;
        match self.rejoin.phase.clone() {
            _ if (self.my_directory().is_none() || listed) && self.rejoin.phase != Phase::Ready => {
                // Not before it is asked for: the status that names the directory may be under way.
                if self.plane_free() && now >= self.plane_not_before {
                    self.rejoin.phase = Phase::Clone;
                    self.ordered_clone_begins();
                }
                self.command(now, epoch, PlaneCommand::Reclone(holder.clone()));
            }
            Phase::Look if self.holder_is_gone(now) => {
                self.rejoin.proof = None;
                let start = PlaneCommand::Start { names: self.standby_names(), upstream: None };
                self.command(now, epoch, start);
            }
            Phase::Look => self.command(now, epoch, PlaneCommand::Lineage(holder.clone())),
            Phase::Save { fork, timeline, .. } => {
                self.command(now, epoch, PlaneCommand::SaveTail { fork, timeline });
            }
            Phase::Rewind => self.destroy(now, record, PlaneCommand::Rewind(holder.clone())),
            Phase::Clone => self.destroy(now, record, PlaneCommand::Reclone(holder.clone())),
            Phase::Ready => self.start_following(now, record, holder),
            Phase::Foreign(reason) => self.block(
                "foreign-data",
                format!("the data directory here is not of this pair: {reason}; it is left alone"),
                "move the data directory away; the member is then cloned anew",
            ),
        }
    }

    /// A holder that was just promoted answers in a moment; one that does not for longer has a name.
    fn tell_of_silence(&mut self, now: Tick) {
        let unanswered = self.rejoin.unanswered_since;
        if unanswered.is_some_and(|since| now.since(since) >= HOLDER_PATIENCE) {
            let reason = self.plane_error.clone().unwrap_or_else(|| "no answer".into());
            self.block(
                "primary-unreachable",
                format!("the holder's PostgreSQL can not be asked for its history ({reason})"),
                "nothing; it is asked again",
            );
        }
    }

    /// Whether the holder is silent at the witness and its PostgreSQL can not be asked for its
    /// history. Then this member starts as a standby of nobody although its lineage is not proven, so
    /// that a person can still give it the lease; when the holder is back, it is stopped and its
    /// lineage is looked at first. By itself it takes over nothing: it is not in the ledger.
    fn holder_is_gone(&self, now: Tick) -> bool {
        let silent = self.window.silent_since();
        self.rejoin.unanswered_since.is_some_and(|since| now.since(since) >= HOLDER_PATIENCE)
            && silent.is_some_and(|since| now.since(since) >= self.timing.renew * 2)
    }

    /// R13: nothing destructive starts while this member is listed or has a write outstanding, and
    /// at most one destructive act happens in an epoch.
    fn destroy(&mut self, now: Tick, record: &PairRecord, command: PlaneCommand) {
        assert!(
            !self.my_directory().is_some_and(|id| record.lists(&self.me, id))
                && self.register.settled(),
            "a listed member is never rewound or cloned (R13)"
        );
        let second = self.rejoin.destroyed_at == Some(record.epoch)
            && !matches!(command, PlaneCommand::Reclone(_));
        if second {
            // Nothing to tell of while the first one is under way.
            if self.plane_free() {
                self.block(
                    "rejoin-exhausted",
                    "this member was rewound in this epoch already and diverged again".into(),
                    "look into its log; move its data directory away to have it cloned anew",
                );
            }
            return;
        }
        if self.plane_free() && now >= self.plane_not_before {
            self.rejoin.destroyed_at = Some(record.epoch);
            if matches!(command, PlaneCommand::Reclone(_)) {
                self.ordered_clone_begins();
            }
            let detail = match &command {
                PlaneCommand::Rewind(holder) => format!("rewinding to where {holder} took over"),
                _ => "copying the data directory anew".to_owned(),
            };
            self.rejoin_line(StepOutcome::Started, detail);
        }
        self.command(now, record.epoch, command);
    }

    fn start_following(&mut self, now: Tick, record: &PairRecord, holder: &RegionId) {
        let upstream = Some(holder.clone());
        let start = PlaneCommand::Start { names: self.standby_names(), upstream };
        self.rejoin.since = now;
        self.rejoin.proven(record, holder);
        self.command(now, record.epoch, start);
    }

    /// Whether this running standby may be pointed at `holder`. Two members that were promoted apart
    /// can bear the same timeline number, and PostgreSQL would stream one's WAL onto the other's. So
    /// a member outside the ledger whose lineage was not proven for this holder is stopped and
    /// looked at first, once the holder is there to be asked.
    pub(super) fn may_follow(&mut self, now: Tick, record: &PairRecord, holder: &RegionId) -> bool {
        if self.rejoin.is_proven(record, holder) {
            return true;
        }
        let listed = self.my_directory().is_some_and(|id| record.lists(&self.me, id));
        if listed || self.streams_since_before(record) || planted(Bug::FollowUnproven) {
            self.rejoin.proven(record, holder);
            return true;
        }
        let alive = self.holder_lives(now);
        if self.sql().is_none() {
            return false;
        }
        if alive {
            self.rejoin.unanswered_since = None;
            self.rejoin.phase = Phase::Look;
            self.command(now, record.epoch, PlaneCommand::StopFast);
        } else {
            self.point_at_nobody(now, record);
        }
        false
    }

    /// Where a standby was pointed before, another history may serve it next: PostgreSQL asks again
    /// and again, and would not ask its agent.
    pub(super) fn point_at_nobody(&mut self, now: Tick, record: &PairRecord) {
        if self.following != Some(None) && !planted(Bug::OldUpstreamKept) {
            self.command(now, record.epoch, PlaneCommand::Follow(None));
        }
    }

    /// Whether the holder's session beats, as far as this member sees it.
    pub(super) fn holder_lives(&self, now: Tick) -> bool {
        self.window.silent_since().is_some_and(|at| now.since(at) < self.timing.renew * 2)
    }

    /// What a person ordered begins from a look at the lineage, without the pauses of earlier tries,
    /// and is told of once more when the member streams.
    pub(super) fn rejoin_anew(&mut self, now: Tick) {
        // What is under way goes on: its outcome decides.
        if self.plane_free() && self.rejoin.phase != Phase::Ready {
            self.rejoin.phase = Phase::Look;
        }
        self.rejoin.destroyed_at = None;
        self.rejoin.not_before = now;
        self.rejoin.unanswered_since = None;
        self.rejoin.patience = PATIENCE;
        self.rejoin.streaming_noted = None;
    }

    /// The epoch for whose holder this standby's WAL is proven; none while its directory is about to
    /// be replaced (R13).
    pub(super) fn proven_at(&self) -> Option<Epoch> {
        if self.ordered.clone_awaited() {
            return None;
        }
        let (record, proof) = (self.record()?, self.rejoin.proof.as_ref()?);
        let held = record.held_by(&proof.holder) && record.epoch == proof.epoch;
        held.then_some(proof.epoch)
    }

    /// Whether an earlier life of this agent commanded the standby under this very epoch, and it
    /// streams: then it was pointed at this holder, with a proof. Under an older epoch it may well
    /// be the holder before this one that it still holds a connection to.
    fn streams_since_before(&self, record: &PairRecord) -> bool {
        self.first_taken_at == Some(record.epoch)
            && self.sql().is_some_and(|(_, sql)| sql.receiver_streaming)
    }

    pub(super) fn rejoin_plane_ended(
        &mut self,
        now: Tick,
        epoch: Epoch,
        command: &PlaneCommand,
        outcome: PlaneOutcome,
    ) {
        let failed = matches!(outcome, PlaneOutcome::Failed(_) | PlaneOutcome::Unknown(_));
        if failed {
            self.rejoin.not_before = now + LOOK_AGAIN;
        }
        if matches!(command, PlaneCommand::Reclone(_)) {
            let problem = match &outcome {
                PlaneOutcome::Failed(reason) | PlaneOutcome::Unknown(reason) => {
                    Some(reason.as_str())
                }
                _ => None,
            };
            if self.ordered_clone_ended(now, problem) {
                return;
            }
        }
        let clone = self.ordered.clone_awaited();
        if epoch != self.epoch() && !planted(Bug::LineageOfAnotherEpoch) {
            // It was asked of, or copied from, whoever held the lease then.
            self.rejoin.look_anew();
            return;
        }
        match (command, outcome, self.rejoin.phase.clone()) {
            (_, PlaneOutcome::Lineage(lineage), _) => {
                self.rejoin.unanswered_since = None;
                self.rejoin.phase = match lineage {
                    Lineage::Follows if clone => Phase::Clone,
                    Lineage::Follows => {
                        self.rejoin.how = "followed";
                        Phase::Ready
                    }
                    Lineage::Diverged { fork, end, timeline } => {
                        Phase::Save { fork, end, timeline, apart: clone }
                    }
                    Lineage::Apart { fork, end, timeline } => {
                        Phase::Save { fork, end, timeline, apart: true }
                    }
                    Lineage::Unprovable { .. } => Phase::Clone,
                    Lineage::Foreign { reason } => Phase::Foreign(reason),
                };
            }
            (_, PlaneOutcome::Tail { path, commits }, Phase::Save { fork, end, apart, .. }) => {
                self.rejoin.span = Some((fork, end));
                self.rejoin.artefact = Some((path, commits));
                let clone = apart && !planted(Bug::RewindApart);
                self.rejoin.phase = if clone { Phase::Clone } else { Phase::Rewind };
            }
            (PlaneCommand::Rewind(_), PlaneOutcome::Directory(_), _) => {
                self.rejoin.how = "rewound";
                self.rejoin.phase = Phase::Ready;
            }
            (PlaneCommand::Reclone(_), PlaneOutcome::Directory(_), _) => {
                self.rejoin.how = "re-cloned";
                self.rejoin.phase = Phase::Ready;
            }
            // Rewind is not possible: the last resort. The tail is saved already.
            (PlaneCommand::Rewind(_), PlaneOutcome::Failed(reason), _) => {
                self.rejoin.phase = Phase::Clone;
                let detail = format!("it can not be rewound and is cloned: {reason}");
                self.rejoin_line(StepOutcome::Started, detail);
            }
            (PlaneCommand::Lineage(_), PlaneOutcome::Failed(_), _) => {
                self.rejoin.unanswered_since.get_or_insert(now);
            }
            _ => {}
        }
    }

    /// A running standby: note when it streams, and look closer when it does not although the
    /// holder is alive.
    pub(super) fn watch_streaming(&mut self, now: Tick, record: &PairRecord, holder: &RegionId) {
        let streaming = self
            .sql()
            .is_some_and(|(at, sql)| sql.receiver_streaming && now.since(*at) < self.timing.renew);
        if streaming {
            self.rejoin.since = now;
            self.rejoin.patience = PATIENCE;
            self.ordered_rejoin_streams();
            return self.note_rejoined(record);
        }
        self.tell_of_failed_clone();
        let alive = self.holder_lives(now);
        let asked = self.sql().is_some_and(|(at, _)| *at > self.rejoin.since);
        let patient = now.since(self.rejoin.since) < self.rejoin.patience;
        if alive && asked && (!patient || self.ordered.take_hurry()) {
            self.rejoin.since = now;
            self.rejoin.patience = (self.rejoin.patience * 2).min(PATIENCE_MAX);
            self.rejoin.phase = Phase::Look;
            self.command(now, record.epoch, PlaneCommand::StopFast);
        } else if alive && now.since(self.rejoin.since) >= PATIENCE / 2 {
            self.block(
                "not-streaming",
                format!("this standby does not stream from {holder}; it falls behind"),
                "nothing yet; its lineage is checked and it is rewound or cloned if it must be",
            );
        }
    }

    fn note_rejoined(&mut self, record: &PairRecord) {
        // Who is about to be cloned has not come back, although it streams until then.
        if self.rejoin.streaming_noted == Some(record.epoch) || self.ordered.clone_awaited() {
            return;
        }
        self.rejoin.streaming_noted = Some(record.epoch);
        let (artefact, span) = (self.rejoin.artefact.take(), self.rejoin.span.take());
        self.note(Note::Rejoined { how: self.rejoin.how, artefact, span });
        let detail = format!("{}, streaming", self.rejoin.how);
        self.rejoin_line(StepOutcome::Done, detail);
        self.rejoin.how = "followed";
        // The holder can list it from now on.
        self.out.push(Effect::NudgePeers);
    }
}
