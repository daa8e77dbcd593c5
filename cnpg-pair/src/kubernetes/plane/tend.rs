//! What goes on beside the commands, for as long as this agent has the Cluster: it is watched, PostgreSQL
//! is felt, and what should be so is made so again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use continuum_domain::Generation;
use continuum_runtime::seed;
use serde::Deserialize;

use super::clusters::Seen;
use super::state::Up;
use super::{Inner, marks};
use crate::guard::fresh_identity;
use crate::kubernetes::cnpg::keys;
use crate::kubernetes::patches;
use crate::kubernetes::reading::SqlLook;
use crate::plane::PlaneError;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest time for asking PostgreSQL how it is.
const FEEL_LIMIT: Duration = Duration::from_millis(500);
/// How often a PostgreSQL that answers is asked again: that its session ended is seen at once.
const FEEL_EVERY: u32 = 4;
/// Of how many looks one asks the container whether PostgreSQL is gone, while that is waited for.
const PROVE_EVERY: u32 = 4;
/// For how long PostgreSQL must have been silent to be asked, and its container, by one of so many looks
/// only while nothing changes in its Cluster: it may stay away for days.
const CALM_AFTER: Duration = Duration::from_secs(10);
const FEEL_CALMLY: u32 = 20;
const PROVE_CALMLY: u32 = 200;
/// Pause after a watch that failed; doubles.
const WATCH_AGAIN: Duration = Duration::from_millis(100);
const WATCH_AGAIN_MAX: Duration = Duration::from_secs(5);

const FEEL: &str = "select json_build_object('in_recovery', pg_is_in_recovery(), \
    'started', pg_postmaster_start_time()::text)::text";

#[derive(Deserialize)]
struct Felt {
    in_recovery: bool,
    started: String,
}

/// How often is looked at what a move asks.
const ASK_EVERY: u32 = 20;

const ASK: &str = "select json_build_object(
  'system', (select system_identifier::text from pg_control_system()),
  'ready', case when current_setting('archive_mode') = 'off' then 0
    else (select count(*) from pg_ls_archive_statusdir() where name like '%.ready') end,
  'fails', current_setting('archive_mode') <> 'off' and (
    select coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
    from pg_stat_archiver)
)::text";

#[derive(Deserialize)]
struct Asked {
    system: String,
    ready: u64,
    fails: bool,
}

/// Starts watching and tending for a generation. Both end with the plane, or when a newer generation of
/// this very process begins its own.
pub(super) fn begin(inner: &Arc<Inner>, generation: Generation) {
    drop(seed::spawn(watch(Arc::downgrade(inner), generation)));
    drop(seed::spawn(tend(Arc::downgrade(inner), generation)));
}

fn alive(inner: &Weak<Inner>, generation: Generation) -> Option<Arc<Inner>> {
    inner.upgrade().filter(|inner| inner.generation() == generation)
}

async fn watch(inner: Weak<Inner>, generation: Generation) {
    let mut pause = WATCH_AGAIN;
    loop {
        let Some(strong) = alive(&inner, generation) else { return };
        let before = strong.known().seen.clone();
        // What a request needs is large, and is kept no longer than the request.
        let seen = Box::pin(strong.clusters.get()).await;
        let followed = match seen {
            Ok(seen) => {
                pause = WATCH_AGAIN;
                let version = seen.cluster.metadata.resource_version.clone().unwrap_or_default();
                strong.learn(|known| known.sees_anew(seen, before.as_ref()));
                drop(before);
                let (clusters, weak) = (strong.clusters.clone(), inner.clone());
                drop(strong);
                let tell = move |seen| {
                    if let Some(inner) = alive(&weak, generation) {
                        inner.sees(seen);
                    }
                };
                clusters.follow(version, tell).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "the Cluster is not watched");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(WATCH_AGAIN_MAX);
        }
    }
}

async fn tend(inner: Weak<Inner>, generation: Generation) {
    let Some(name) = alive(&inner, generation).map(|inner| inner.name.clone()) else { return };
    let mut round = phase(&name);
    let mut looked_at = None;
    loop {
        let Some(inner) = alive(&inner, generation) else { return };
        let (calm, seen) = inner.calm();
        if !calm || round.is_multiple_of(FEEL_CALMLY) || seen != looked_at {
            looked_at = seen;
            // What a look needs is large, and is kept no longer than the look.
            Box::pin(inner.look(round)).await;
        }
        // Looks between those at PostgreSQL are for one that somebody waits for.
        let (calm, _) = inner.calm();
        drop(inner);
        let step = if calm { FEEL_EVERY - round % FEEL_EVERY } else { 1 };
        round = round.wrapping_add(step);
        tokio::time::sleep(PAUSE * step).await;
    }
}

/// With which look a Cluster begins. An agent that was started has all of them at once: with one count for
/// all, the seldom looks of a hundred would go out together, each over a connection of its own.
fn phase(name: &str) -> u32 {
    let mixed =
        name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    mixed % (PROVE_CALMLY / FEEL_EVERY) * FEEL_EVERY
}

/// What is seen in the pods of a Cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// No process of PostgreSQL is left in any of them.
    Stopped,
    /// There is no pod.
    NoPod,
    /// It runs, or not all of them could be looked into.
    NotProven,
}

impl Inner {
    /// Whether nobody waits for what PostgreSQL does, and the version of the Cluster that is known.
    fn calm(&self) -> (bool, Option<String>) {
        let known = self.known();
        let version =
            known.seen.as_ref().and_then(|seen| seen.cluster.metadata.resource_version.clone());
        (known.is_calm(self.clock.now(), CALM_AFTER), version)
    }

    async fn look(&self, round: u32) {
        self.feel(round).await;
        self.ask(round).await;
        self.settle(round).await;
    }

    /// Asks PostgreSQL how it is, and its container where it says nothing.
    pub(super) async fn feel(&self, round: u32) {
        let mut slot = self.sentinel.lock().await;
        let open = slot.take().filter(|session| !session.is_closed());
        let calm = self.known().is_calm(self.clock.now(), CALM_AFTER);
        let answers = open.is_some() && self.known().up.is_some();
        if (answers || calm) && !round.is_multiple_of(FEEL_EVERY) {
            *slot = open;
            return;
        }
        let asked = async {
            let session = match open {
                Some(session) => session,
                None => self.session(FEEL_LIMIT).await?,
            };
            let felt: Felt = session.json("feeling PostgreSQL", FEEL).await?;
            Ok::<_, PlaneError>((session, felt))
        };
        match asked.await {
            Ok((session, felt)) => {
                *slot = Some(session);
                let up = Up { in_recovery: felt.in_recovery, started: felt.started };
                if self.known().up.as_ref() != Some(&up) {
                    self.learn(|known| known.answers(up));
                }
            }
            Err(_) => {
                drop(slot);
                let now = self.clock.now();
                if self.known().down_since.is_none() {
                    self.learn(|known| known.silent(now));
                }
                let due = if calm { PROVE_CALMLY } else { PROVE_EVERY };
                if round.is_multiple_of(due) && !self.known().gone {
                    self.prove_gone().await;
                }
                // What changes with time alone is told too.
                self.changed.send_replace(());
            }
        }
    }

    /// Asks PostgreSQL what a move asks. What it does not say is not known after a while.
    async fn ask(&self, round: u32) {
        let due = round.is_multiple_of(ASK_EVERY) || self.known().sql.is_none();
        if !due || self.known().up.is_none() {
            return;
        }
        let mut slot = self.asking.lock().await;
        let asked = async {
            let session = match slot.take().filter(|session| !session.is_closed()) {
                Some(session) => session,
                None => self.session(FEEL_LIMIT).await?,
            };
            let asked: Asked = session.json("asking what a move asks", ASK).await?;
            Ok::<_, PlaneError>((session, asked))
        };
        match asked.await {
            Ok((session, asked)) => {
                *slot = Some(session);
                let look = SqlLook {
                    in_recovery: None,
                    system_id: asked.system.parse().ok(),
                    ready_wal_files: Some(asked.ready),
                    archiving_fails: Some(asked.fails),
                };
                let at = self.clock.now();
                let before = self.known().sql.replace((at, look));
                if before.is_none_or(|(_, before)| before != look) {
                    self.changed.send_replace(());
                }
            }
            Err(error) => tracing::debug!(%error, cluster = self.name, "PostgreSQL is not asked"),
        }
    }

    /// Looks into the pod of every instance. What was not seen stopped may run.
    pub(super) async fn look_into_pods(&self) -> Looked {
        let pods = match self.hands.pods(&self.name).await {
            Ok(pods) => pods,
            Err(error) => {
                tracing::debug!(%error, "the pods are not seen");
                return Looked::NotProven;
            }
        };
        if pods.is_empty() {
            return Looked::NoPod;
        }
        for pod in &pods {
            match self.tell(pod).await {
                Ok((said, _)) if said.number("processes") == Some(0) => {}
                Ok(_) => return Looked::NotProven,
                Err(error) => {
                    tracing::debug!(%error, pod, "the container is not seen");
                    return Looked::NotProven;
                }
            }
        }
        Looked::Stopped
    }

    /// Proves that PostgreSQL is gone, or does not. A pod may be taken out of the API although its node
    /// cannot be reached and its container runs on: then the guard in it still has a deadline, of at most
    /// one ttl, and the stop's budget after that.
    pub(super) async fn prove_gone(&self) {
        let looked = self.look_into_pods().await;
        let now = self.clock.now();
        let timing = self.config.timing;
        self.learn(|known| match looked {
            Looked::Stopped => known.is_gone(),
            Looked::NotProven => known.missing = None,
            Looked::NoPod => known.has_no_pod(now, timing.ttl + timing.stop_budget + timing.guard),
        });
    }

    /// Level by level: what should be so and is not.
    async fn settle(&self, round: u32) {
        self.tell_of("what was stopped may not be marked as such", self.keep_stopped().await);
        self.tell_of("nothing is done about a foreign write yet", self.keep_role().await);
        self.tell_of("the data directory has no identity yet", self.keep_identity().await);
        if round.is_multiple_of(PROVE_EVERY) {
            self.tell_of("a used token stands in the Cluster", self.forget_token().await);
            self.tell_of("its network may be closed", self.keep_open().await);
            self.tell_of("no guard is seen in the pod", self.keep_guard().await);
        }
    }

    /// Warns of what did not succeed: at once, and then once a minute while it goes on for the same reason.
    fn tell_of(&self, what: &'static str, ended: Result<(), PlaneError>) {
        let now = self.clock.now();
        if self.told.news(what, ended.as_ref().err().map(ToString::to_string), now)
            && let Err(error) = ended
        {
            tracing::warn!(%error, cluster = self.name, "{what}");
        }
    }

    /// What this agent has stopped stays so: the operator makes a standby of a demoted primary, and starts
    /// what ended.
    async fn keep_stopped(&self) -> Result<(), PlaneError> {
        let (due, epoch) = {
            let known = self.known();
            let stopped = known.held || known.stopping;
            (stopped && !known.busy && !known.is_fenced(), known.epoch)
        };
        if !due {
            return Ok(());
        }
        // Who has the turn may be waiting for what is seen here.
        let Ok(_turn) = self.turn.try_lock() else { return Ok(()) };
        let stopped = {
            let known = self.known();
            known.held || known.stopping
        };
        if stopped { self.mark_fenced(epoch).await } else { Ok(()) }
    }

    /// R13: a directory without an identity gets a fresh one, which no ledger lists. Where the operator
    /// made another instance the leading one this is another directory, which may lack acknowledged
    /// commits: a primary is ended first.
    async fn keep_identity(&self) -> Result<(), PlaneError> {
        let due = {
            let known = self.known();
            let Some(seen) = known.seen.as_ref().filter(|_| !known.busy) else { return Ok(()) };
            let status = seen.cluster.status.as_ref();
            let instance = status.and_then(|status| status.current_primary.clone());
            let system = status.and_then(|status| status.system_id.clone());
            let (Some(instance), Some(system)) = (instance, system) else { return Ok(()) };
            let kept: Option<marks::Directory> = marks::read(&seen.cluster, marks::DIRECTORY)?;
            match kept {
                // Cut short: only what is made anew may have an identity.
                Some(kept) if kept.id.is_none() => None,
                Some(kept) if kept.instance == instance && kept.system == system => None,
                kept => Some((kept.is_some(), instance, system)),
            }
        };
        let Some((moved, instance, system)) = due else { return Ok(()) };
        let writable = self.known().up.as_ref().is_some_and(|up| !up.in_recovery);
        if moved && writable {
            tracing::error!(
                instance,
                "the operator made another instance the primary: it is stopped"
            );
            let epoch = self.known().epoch;
            self.stop_now(epoch).await?;
        }
        let directory = marks::Directory { id: Some(fresh_identity()), instance, system };
        self.mark_directory(&directory).await
    }

    /// Writes the identity of the data directory.
    pub(super) async fn mark_directory(&self, to: &marks::Directory) -> Result<(), PlaneError> {
        let make = |seen: &Seen| marks::write(&seen.cluster, marks::DIRECTORY, to);
        self.change("marking the data directory", make).await
    }

    /// A gate that is left from a fence that is over would keep clients away from a primary.
    async fn keep_open(&self) -> Result<(), PlaneError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let closed = {
            let known = self.known();
            known.seen.is_none() || known.held || known.stopping || known.is_fenced()
        };
        if closed { Ok(()) } else { gate.open().await }
    }

    /// A token that was used goes out of the spec: the next demotion is refused with it.
    async fn forget_token(&self) -> Result<(), PlaneError> {
        let (due, epoch) = {
            let known = self.known();
            let writable = known.up.as_ref().is_some_and(|up| !up.in_recovery);
            let replica = known.seen.as_ref().and_then(|seen| seen.cluster.spec.replica.as_ref());
            (writable && replica.is_some_and(|r| r.promotion_token.is_some()), known.epoch)
        };
        if !due {
            return Ok(());
        }
        let marked = |seen: &Seen| {
            let stands = seen.cluster.annotation(keys::EPOCH).and_then(|text| text.parse().ok());
            patches::clear_token(&seen.cluster, stands.map_or(epoch, continuum_domain::Epoch))
        };
        self.change("taking the used token away", marked).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_seldom_looks_of_many_clusters_are_spread() {
        let mut at: BTreeMap<u32, u32> = BTreeMap::new();
        for number in 0..100 {
            *at.entry(phase(&format!("orders-{number}-hel"))).or_default() += 1;
        }
        assert!(at.keys().all(|round| round.is_multiple_of(FEEL_EVERY) && *round < PROVE_CALMLY));
        assert!(at.len() > 20 && at.values().all(|many| *many < 10), "{at:?}");
    }
}
