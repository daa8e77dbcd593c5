//! The commands that change the role and the fence of a Cluster.

use std::time::Duration;

use continuum_domain::observation::ProcessState;
use continuum_domain::{Epoch, Generation, Lsn, SyncNames, TimelineId};
use serde::Deserialize;

use super::clusters::{Seen, failed};
use super::tend::Looked;
use super::{Inner, lock, marks};
use crate::kubernetes::cnpg::{TruthValue, keys, phase};
use crate::kubernetes::patches::{self, ClusterPatch, PatchError};
use crate::kubernetes::token::{DemotionToken, Fit, TokenHash, is_new};
use crate::plane::{PlaneError, Promoted, StopMode};
use crate::postgres::plane::promoted_now;
use crate::postgres::sql::Session;

const QUICK_LIMIT: Duration = Duration::from_secs(2);
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
const IMMEDIATE_STOP_LIMIT: Duration = Duration::from_secs(30);
const FAST_STOP_LIMIT: Duration = Duration::from_secs(300);
/// Crash recovery may have much WAL to read.
const START_LIMIT: Duration = Duration::from_secs(600);
/// The operator looks every 10 s whether a shutdown is there.
const DEMOTION_LIMIT: Duration = Duration::from_secs(30);
const PROMOTE_LIMIT: Duration = Duration::from_secs(60);
const NAMES_LIMIT: Duration = Duration::from_secs(10);
/// How long the operator may take to begin a start, and how often that is looked at.
const OPERATOR_LIMIT: Duration = Duration::from_secs(10);
const OPERATOR_LOOK: Duration = Duration::from_secs(1);
/// How long a Cluster that sleeps is waited for: its nodes may have to come first.
const WAKE_LIMIT: Duration = Duration::from_secs(60);
/// Pause before a PostgreSQL that still runs is held again.
const HOLD_AGAIN: Duration = Duration::from_millis(50);
/// How often PostgreSQL is asked whether a change is there.
const POLL: Duration = Duration::from_millis(5);
const SWITCHED: &str = "ReplicaClusterSwitch";

const BEFORE: &str = "\
select json_build_object(
  'system', (select system_identifier::text from pg_control_system()),
  'timeline', ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int,
  'flushed', pg_current_wal_flush_lsn(),
  'segment', (select setting::bigint from pg_settings where name = 'wal_segment_size')
)::text";

/// A primary right before it is told to stop.
#[derive(Deserialize)]
struct Before {
    system: String,
    timeline: u64,
    flushed: Lsn,
    segment: u64,
}

impl Inner {
    /// Changes the Cluster, and remembers what it is then.
    pub(super) async fn change(
        &self,
        what: &str,
        make: impl Fn(&Seen) -> Result<ClusterPatch, PatchError> + Send + Sync,
    ) -> Result<(), PlaneError> {
        if let Some(seen) = self.clusters.change(what, self.generation(), make).await? {
            self.sees(seen);
        }
        Ok(())
    }

    /// A command counts for everything that comes later (R4).
    pub(super) fn raise(&self, epoch: Epoch) -> Result<(), PlaneError> {
        if self.generation() == Generation(0) {
            return Err(PlaneError::Refused("this agent has not taken the Cluster (R4)".into()));
        }
        let mut known = self.known();
        if epoch < known.epoch {
            let newest = known.epoch;
            return Err(PlaneError::Refused(format!("epoch {epoch} is older than {newest}")));
        }
        known.epoch = epoch;
        Ok(())
    }

    // ---- stopping --------------------------------------------------------------------------------

    /// The fence: PostgreSQL is ended in its container at once, and the Cluster marked, so that the
    /// operator does not start it again. It returns when no process is left.
    pub(super) async fn stop_now(&self, epoch: Epoch) -> Result<(), PlaneError> {
        self.learn(|known| {
            known.stopping = true;
            known.stops += 1;
        });
        let ended = self.quit_everywhere();
        let marked = async {
            let marked = self.mark_fenced(epoch).await;
            // The gate asks for no generation, and nobody would open it after an agent that was replaced.
            if !matches!(marked, Err(PlaneError::Refused(_))) {
                self.close_network(epoch).await;
            }
            marked
        };
        // At once: neither may wait for the other. The mark is made again if it fails.
        let (ended, marked) = tokio::join!(ended, marked);
        if let Err(error @ PlaneError::Refused(_)) = &ended {
            self.learn(|known| known.stopping = false);
            return Err(error.clone());
        }
        if let Err(error) = &marked {
            tracing::warn!(%error, cluster = self.name, "the fence is not marked yet");
        }
        // Where the container ends with PostgreSQL, so does the command.
        match ended {
            Ok(()) => self.prove_gone().await,
            Err(error) => tracing::warn!(%error, cluster = self.name, "the stop is not proven yet"),
        }
        self.wait_gone("stopping PostgreSQL", IMMEDIATE_STOP_LIMIT).await
    }

    async fn close_network(&self, epoch: Epoch) {
        let Some(gate) = &self.gate else { return };
        if let Err(error) = gate.close(epoch).await {
            tracing::warn!(%error, cluster = self.name, "its network is not closed");
        }
    }

    /// Ends PostgreSQL in the pod of every instance: one that led before may still take itself for the
    /// primary. What is told is how it went in the one that leads.
    async fn quit_everywhere(&self) -> Result<(), PlaneError> {
        let (generation, share) = (self.generation().to_string(), self.quit_share());
        let quit = async |pod: &str| {
            let words = ["quit", generation.as_str(), share.as_str()];
            self.hands.run(pod, &words, COMMAND_LIMIT).await.map(drop)
        };
        let leading = self.pod()?;
        let others = async {
            let pods = self.hands.pods(&self.name).await.unwrap_or_else(|error| {
                tracing::warn!(%error, cluster = self.name, "the other instances are not seen");
                Vec::new()
            });
            let others = pods.iter().filter(|pod| **pod != leading);
            for (pod, ended) in
                futures_util::future::join_all(others.map(async |pod| (pod, quit(pod).await))).await
            {
                if let Err(error) = ended {
                    tracing::warn!(%error, pod, "an instance beside the primary is not ended");
                }
            }
        };
        tokio::join!(quit(&leading), others).0
    }

    async fn wait_gone(&self, what: &str, limit: Duration) -> Result<(), PlaneError> {
        let gone = |known: &super::state::Known| known.gone.then_some(());
        if self.wait(what, limit, gone).await.is_ok() {
            return Ok(());
        }
        Err(PlaneError::GuardLost(format!("{what}: its processes are not known to be gone")))
    }

    /// The durable mark of a fence.
    pub(super) async fn mark_fenced(&self, epoch: Epoch) -> Result<(), PlaneError> {
        let fenced = |seen: &Seen| {
            let ours = seen.cluster.annotation(keys::FENCE_EPOCH).is_some();
            match seen.cluster.fenced() {
                Ok(names) if ours && names.iter().any(|name| name == "*") => {
                    Err(PatchError::Already)
                }
                // One that the operator has set for a demotion becomes ours.
                _ => patches::fence(&seen.cluster, epoch),
            }
        };
        self.change("fencing the Cluster", fenced).await
    }

    /// Stops PostgreSQL. A primary that is stopped cleanly is demoted: the operator shuts it down, and
    /// its token says where.
    pub(super) async fn stop(&self, epoch: Epoch, mode: StopMode) -> Result<(), PlaneError> {
        self.raise(epoch)?;
        match mode {
            StopMode::Immediate => self.stop_now(epoch).await,
            StopMode::Fast => {
                let _turn = self.turn.lock().await;
                let known = self.known().clone();
                if known.process(self.clock.now()) == ProcessState::Stopped {
                    return Ok(());
                }
                if known.up.as_ref().is_some_and(|up| !up.in_recovery) {
                    return self.demote(epoch).await;
                }
                self.learn(|known| known.stopping = true);
                self.mark_fenced(epoch).await?;
                let gone = self.wait_gone("stopping PostgreSQL", FAST_STOP_LIMIT);
                self.operator("stop", gone).await
            }
        }
    }

    /// One patch that makes a replica of the primary, and then its token: a new one, and only once the
    /// operator says that the switch is over.
    async fn demote(&self, epoch: Epoch) -> Result<(), PlaneError> {
        let what = "demoting the Cluster";
        let to = self.other()?.to_owned();
        let before: Before = self.session(QUICK_LIMIT).await?.json(what, BEFORE).await?;
        let (timeline, segment) = (TimelineId(before.timeline), before.segment);
        let of_this_stop = move |token: &str| {
            let token = DemotionToken::decode(token, segment).ok()?;
            let since = (before.system.as_str(), timeline, before.flushed);
            token.is_of_a_stop_since(since).then_some(token)
        };
        let used: Vec<TokenHash> = {
            let known = self.known();
            let status = known.seen.as_ref().and_then(|seen| seen.cluster.status.as_ref());
            status.and_then(|status| status.token()).map(TokenHash::of).into_iter().collect()
        };
        self.change(what, |seen| patches::demote(&seen.cluster, epoch, &to)).await?;
        let token = self.wait(what, FAST_STOP_LIMIT, |known| {
            let seen = known.seen.as_ref()?;
            let status = seen.cluster.status.as_ref()?;
            let over = seen.cluster.asks_for_replica() == Some(true)
                && status.switch_in_progress() == Some(false)
                && status.condition(SWITCHED) == TruthValue::True;
            let text = status.token().filter(|token| over && is_new(token, &used));
            // One that is left from an earlier demotion says nothing of this stop.
            let token = text.and_then(|text| Some(Ok((text.to_owned(), of_this_stop(text)?))));
            // Somebody could not wait for the operator.
            token.or_else(|| known.stopping.then_some(Err("it is fenced meanwhile")))
        });
        let token = self.operator("demotion", token).await?.map_err(|why| failed(what, &why))?;
        *lock(&self.token) = Some(token);
        self.learn(super::state::Known::was_demoted);
        Ok(())
    }

    // ---- starting and promoting ------------------------------------------------------------------

    /// Starts PostgreSQL as a standby: what stands still is made one first, and only then let go.
    pub(super) async fn start(
        &self,
        epoch: Epoch,
        names: &SyncNames,
        upstream: &str,
    ) -> Result<(), PlaneError> {
        let what = "starting";
        self.raise(epoch)?;
        let _turn = self.turn.lock().await;
        // After a pause it is woken beside this, once its nodes are there.
        let awake = |known: &super::state::Known| (!known.is_hibernated()).then_some(());
        if self.wait(what, WAKE_LIMIT, awake).await.is_err() {
            return Err(failed(what, &"the Cluster sleeps (cnpg.io/hibernation); wake it first"));
        }
        let known = self.known().clone();
        let stops = known.stops;
        self.is_not_barred()?;
        if let Some(why) = known.foreign_fence() {
            return Err(failed(what, &why));
        }
        // One that is fenced is on its way down.
        let runs = known.up.as_ref().is_some_and(|up| up.in_recovery) && !known.is_fenced();
        if known.up.as_ref().is_some_and(|up| !up.in_recovery) {
            return Err(failed(what, &"PostgreSQL runs as a primary"));
        }
        if !runs {
            self.mark_fenced(epoch).await?;
            self.make_standby().await?;
        }
        self.set_role(epoch, upstream).await?;
        self.write_names(epoch, names, Keep::Added).await?;
        self.keep_guard_anew().await;
        self.not_stopped_since(stops)?;
        self.learn(|known| {
            known.held = false;
            known.stopping = false;
            if !runs {
                // What was felt before it stood still is over.
                known.up = None;
            }
        });
        self.let_go(epoch).await?;
        self.end_demotion(epoch).await
    }

    /// Takes the fence away, and waits until PostgreSQL is a standby.
    async fn let_go(&self, epoch: Epoch) -> Result<(), PlaneError> {
        if let Some(gate) = &self.gate {
            gate.open().await?;
        }
        self.change("letting the Cluster go", |seen| {
            match seen.cluster.annotation(marks::BROKEN_GLASS) {
                Some(reason) => Err(PatchError::ForeignFence(reason.to_owned())),
                None => patches::unfence(&seen.cluster, epoch),
            }
        })
        .await?;
        self.operator("start", self.wait_started(epoch)).await
    }

    /// A demotion during which PostgreSQL was killed: the operator waits for a clean shutdown to end it, and lets
    /// nobody make a primary of the Cluster before. What has recovered and runs as a standby is shut down for
    /// that, once. Where it does not help it runs on as what it is.
    async fn end_demotion(&self, epoch: Epoch) -> Result<(), PlaneError> {
        if !self.known().is_being_demoted() {
            return Ok(());
        }
        tracing::info!(cluster = self.name, "a demotion was cut short: it is ended by a shutdown");
        let stops = self.known().stops;
        self.learn(|known| known.stopping = true);
        self.mark_fenced(epoch).await?;
        let over = |known: &super::state::Known| (!known.is_being_demoted()).then_some(());
        let over = self.wait("ending a demotion", DEMOTION_LIMIT, over);
        if let Err(error) = self.operator("end-of-demotion", over).await {
            tracing::warn!(%error, cluster = self.name, "it cannot be promoted yet");
        }
        self.not_stopped_since(stops)?;
        self.learn(|known| {
            known.stopping = false;
            known.up = None;
        });
        self.let_go(epoch).await
    }

    /// Waits until PostgreSQL answers. An operator that does not even begin is not waited for: the lease
    /// may go to a region where one does.
    async fn wait_started(&self, epoch: Epoch) -> Result<(), PlaneError> {
        let what = "starting";
        let began = self.clock.now();
        loop {
            let answers = self.wait(what, OPERATOR_LOOK, |known| known.up.clone()).await;
            let waited = self.clock.now().since(began);
            if answers.as_ref().is_ok_and(|up| !up.in_recovery) {
                // Somebody has made a primary of it in between; that takes a promotion of ours.
                self.stop_now(epoch).await?;
                return Err(failed(what, &"it came up as a primary, and was ended"));
            }
            if answers.is_ok() {
                return Ok(());
            }
            if waited >= START_LIMIT {
                return answers.map(drop);
            }
            if waited >= OPERATOR_LIMIT && self.look_into_pods().await == Looked::Stopped {
                self.learn(|known| known.stopping = true);
                self.mark_fenced(epoch).await?;
                return Err(failed(what, &"the operator does not start PostgreSQL"));
            }
        }
    }

    /// Makes a standby of what stands still. The operator may just be on its way to stop it.
    async fn make_standby(&self) -> Result<(), PlaneError> {
        let what = "making a standby of a stopped PostgreSQL";
        let (pod, generation) = (self.pod()?, self.generation().to_string());
        let until = self.clock.now() + IMMEDIATE_STOP_LIMIT;
        loop {
            match self.hands.run(&pod, &["hold", &generation], COMMAND_LIMIT).await {
                // No pod yet, or one that is on its way down.
                Err(PlaneError::Failed { .. } | PlaneError::GuardLost(_))
                    if self.clock.now() < until =>
                {
                    tokio::time::sleep(HOLD_AGAIN).await;
                }
                Err(PlaneError::Failed { reason, .. }) => return Err(failed(what, &reason)),
                result => return result.map(drop),
            }
        }
    }

    /// The guard goes with its container; the next look puts it into the new one.
    async fn keep_guard_anew(&self) {
        lock(&self.guarded).take();
        if let Err(error) = self.keep_guard().await {
            tracing::warn!(%error, cluster = self.name, "no guard is in the pod yet");
        }
    }

    /// Makes it the replica of another Cluster.
    async fn set_role(&self, epoch: Epoch, upstream: &str) -> Result<(), PlaneError> {
        self.change("making a replica of the Cluster", |seen| {
            patches::demote(&seen.cluster, epoch, upstream)
        })
        .await
    }

    /// Points a running standby elsewhere.
    pub(super) async fn follow(&self, epoch: Epoch, upstream: &str) -> Result<(), PlaneError> {
        self.raise(epoch)?;
        let _turn = self.turn.lock().await;
        if !self.known().up.as_ref().is_some_and(|up| up.in_recovery) {
            return Err(failed("following", &"PostgreSQL does not run as a standby"));
        }
        self.set_role(epoch, upstream).await
    }

    /// Promotes under an armed deadline: by the token that this member was handed for this epoch where it
    /// fits, else without one. The epoch is the authority; the token is the operator's own check.
    pub(super) async fn promote(
        &self,
        epoch: Epoch,
        names: &SyncNames,
    ) -> Result<Promoted, PlaneError> {
        let what = "promoting";
        self.raise(epoch)?;
        let _turn = self.turn.lock().await;
        self.is_not_barred()?;
        self.has_deadline()?;
        let stops = self.known().stops;
        let mut session = self.session(QUICK_LIMIT).await?;
        if session.value(what, "select pg_is_in_recovery()").await? == "t" {
            if self.known().is_being_demoted() {
                self.end_demotion(epoch).await?;
                self.has_deadline()?;
                session = self.session(QUICK_LIMIT).await?;
            }
            let due = self.write_names(epoch, names, Keep::Added).await?;
            self.names_are_shown(&due).await?;
            let from = self.other()?.to_owned();
            let token = self.fitting_token(&session, epoch).await?;
            // All of this took its time.
            self.has_deadline()?;
            self.not_stopped_since(stops)?;
            match token {
                Some(token) => {
                    self.change(what, |seen| {
                        patches::promote(&seen.cluster, epoch, &from, (&token, Fit::Exact))
                    })
                    .await?;
                }
                None => {
                    self.change(what, |seen| patches::promote_at_once(&seen.cluster, epoch, &from))
                        .await?;
                }
            }
        }
        let waiting = self.operator("promotion", self.wait_promoted(&session, epoch));
        let late = || PlaneError::Timeout { what: what.into(), seconds: PROMOTE_LIMIT.as_secs() };
        tokio::time::timeout(PROMOTE_LIMIT, waiting).await.map_err(|_| late())?
    }

    /// A stop that came in between ends what was admitted before it: nothing is let go or promoted any more.
    fn not_stopped_since(&self, stops: u64) -> Result<(), PlaneError> {
        match self.known().stops == stops {
            true => Ok(()),
            false => Err(PlaneError::Refused("it was stopped meanwhile (R4)".into())),
        }
    }

    /// A member that a person has fenced is not started or promoted until that fence is taken away.
    fn is_not_barred(&self) -> Result<(), PlaneError> {
        match self.known().break_glass() {
            Some(reason) => Err(PlaneError::Refused(format!("it is fenced by a person: {reason}"))),
            None => Ok(()),
        }
    }

    fn has_deadline(&self) -> Result<(), PlaneError> {
        let deadline = self.known().deadline;
        if deadline.is_none_or(|deadline| self.clock.now() >= deadline) {
            return Err(PlaneError::Refused("no deadline in the future is armed (R5)".into()));
        }
        Ok(())
    }

    async fn wait_promoted(&self, session: &Session, epoch: Epoch) -> Result<Promoted, PlaneError> {
        let what = "promoting";
        while session.value(what, "select pg_is_in_recovery()").await? != "f" {
            // The operator would wait for a person; the lease has decided.
            if self.is_unrecoverable() {
                tracing::error!(cluster = self.name, "the operator does not take the token");
                let from = self.other()?.to_owned();
                let at_once = |seen: &Seen| patches::promote_at_once(&seen.cluster, epoch, &from);
                self.change(what, at_once).await?;
            }
            tokio::time::sleep(POLL).await;
        }
        let promoted = promoted_now(session).await?;
        if let Ok(mut slot) = self.sentinel.try_lock() {
            slot.take();
        }
        self.learn(|known| {
            if let Some(up) = &mut known.up {
                up.in_recovery = false;
            }
        });
        Ok(promoted)
    }

    fn is_unrecoverable(&self) -> bool {
        let known = self.known();
        let seen = known.seen.as_ref();
        seen.is_some_and(|seen| {
            let status = seen.cluster.status.as_ref();
            let replica = seen.cluster.spec.replica.as_ref();
            status.is_some_and(|status| status.phase.as_deref() == Some(phase::UNRECOVERABLE))
                && replica.is_some_and(|replica| replica.promotion_token.is_some())
        })
    }

    // ---- names -----------------------------------------------------------------------------------

    /// Sets whom a commit waits for, and sees PostgreSQL have taken it up.
    pub(super) async fn set_names(
        &self,
        epoch: Epoch,
        names: &SyncNames,
    ) -> Result<(), PlaneError> {
        self.raise(epoch)?;
        let _turn = self.turn.lock().await;
        let due = self.write_names(epoch, names, Keep::Exactly).await?;
        self.names_are_shown(&due).await
    }

    /// Writes whom a commit waits for, and returns that list. R10: with [`Keep::Added`], what stands stays.
    async fn write_names(
        &self,
        epoch: Epoch,
        names: &SyncNames,
        keep: Keep,
    ) -> Result<Vec<String>, PlaneError> {
        let wanted = marks::standby_names(names, &self.config.clusters)?;
        let list = |seen: &Seen| {
            let mut list = match keep {
                Keep::Added => marks::names_of(&seen.cluster),
                Keep::Exactly => Vec::new(),
            };
            list.extend(wanted.iter().cloned());
            list.sort();
            list.dedup();
            list
        };
        let names = |seen: &Seen| marks::names(seen, epoch, &list(seen));
        self.change("setting the names", names).await?;
        Ok(self.known().seen.as_deref().map(list).unwrap_or_default())
    }

    /// Sees PostgreSQL have taken the list up.
    async fn names_are_shown(&self, due: &[String]) -> Result<(), PlaneError> {
        self.operator("names", self.look_at_names(due)).await
    }

    async fn look_at_names(&self, due: &[String]) -> Result<(), PlaneError> {
        let what = "setting the names";
        let session = self.session(NAMES_LIMIT).await?;
        let until = self.clock.now() + NAMES_LIMIT;
        loop {
            let shown = session.text(what, "show synchronous_standby_names").await?;
            if marks::shows(&shown.unwrap_or_default(), due) {
                return Ok(());
            }
            if self.clock.now() >= until {
                let seconds = NAMES_LIMIT.as_secs();
                return Err(PlaneError::Timeout { what: what.into(), seconds });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What becomes of names that stand already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// They stay.
    Added,
    /// They go.
    Exactly,
}
