//! Brings objects to the core, and how pairs stand back into their status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use continuum_cnpg_pair::kubernetes::crd::{CnpgPair, CnpgPairStatus, Continuum, ContinuumStatus};
use continuum_control_api::link::{PairStanding, RegionAnswer};
use continuum_control_api::rest::Posture;
use continuum_domain::{PairId, RegionId, Tick, Timing};
use continuum_runtime::{SharedClock, seed};
use kube::{Api, ResourceExt as _};
use tokio::sync::{Semaphore, mpsc, watch};

use super::Cluster;
use super::backups::{self, Around, Asks, BackupDesk};
use super::client::Failure;
use super::desk::{AtCore, CoreDesk, Told};
use super::object::{Object, Wish};
use super::roles::RoleDesk;
use super::status::{self, Seen as Holder};
use super::watch::{self as watching, Seen};
use super::write::{self, Writes, value};
use crate::core_link::Pairs;

/// How often is looked whether something is due: a status that was held back, a request that may be
/// repeated.
const LOOK: Duration = Duration::from_millis(500);
/// The core may be away for so long before what it told counts as unknown: the time of an election.
const CORE_GRACE: Duration = Duration::from_secs(10);
/// How many statuses are written at a time: each has a connection of its own, which is kept for a while.
const WRITES_MAX: usize = 16;
/// What this agent read in a register counts for so long.
const RECORD_AGE_MAX: Duration = Duration::from_secs(30);

/// What a controller is made of.
pub(crate) struct Controller {
    pub cluster: Cluster,
    pub region: RegionId,
    /// As the agent's file has it.
    pub timing: Timing,
    pub clock: SharedClock,
    pub desk: CoreDesk,
    pub pairs: Pairs,
    pub backups: BackupDesk,
    pub roles: RoleDesk,
}

/// What comes back from work beside the loop.
enum Done {
    Asked { name: String, uid: String, wish: Box<Wish>, answer: Option<RegionAnswer> },
    Wrote { name: String, uid: String, result: Result<Box<Continuum>, Failure> },
    WrotePair { name: String, uid: String, result: Result<Box<CnpgPair>, Failure> },
    BackedUp { name: String, uid: String, wish: backups::Wish, done: backups::Done },
}

struct Tracked {
    object: CnpgPair,
    writes: Writes,
    asks: Asks,
}

/// The loop and what it knows.
struct Loop {
    parts: Controller,
    objects: BTreeMap<String, Object>,
    cnpg_pairs: BTreeMap<String, Tracked>,
    /// Both kinds were listed: before, what an object means is not known.
    listed: (bool, bool),
    told: watch::Receiver<Told>,
    /// Since when the core does not tell.
    silent: Option<Tick>,
    /// It told something since this agent started.
    heard: bool,
    done: mpsc::Sender<Done>,
    due: Due,
    /// Places for writes under way.
    writes: Arc<Semaphore>,
}

/// Which objects are to be looked at: with many of them, each event is about one.
#[derive(Default)]
struct Due {
    all: bool,
    names: BTreeSet<String>,
}

impl Due {
    fn all(&mut self) {
        self.all = true;
    }

    fn one(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }
}

impl Controller {
    /// Runs for ever.
    pub async fn run(self) {
        let (continuums, mut seen) = mpsc::channel(64);
        let (pairs, mut seen_pairs) = mpsc::channel(64);
        let namespace = &self.cluster.namespace;
        let api: Api<Continuum> = Api::namespaced(self.cluster.client.clone(), namespace);
        let pair_api: Api<CnpgPair> = Api::namespaced(self.cluster.client.clone(), namespace);
        seed::spawn(watching::run(api, continuums));
        seed::spawn(watching::run(pair_api, pairs));
        let (done, mut ended) = mpsc::channel(64);
        let mut told = self.desk.watch();
        let silent = Some(self.clock.now());
        let mut state = Loop {
            told: told.clone(),
            parts: self,
            objects: BTreeMap::new(),
            cnpg_pairs: BTreeMap::new(),
            listed: (false, false),
            silent,
            heard: false,
            done,
            due: Due::default(),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
        };
        state.parts.roles.bring_to(state.parts.desk.clone());
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = seen.recv() => state.take(event),
                Some(event) = seen_pairs.recv() => state.take_pair(event),
                Some(done) = ended.recv() => state.take_done(done),
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    state.due.all();
                }
                _ = looks.tick() => state.due.all(),
            }
            state.look();
        }
    }
}

impl Loop {
    fn take(&mut self, event: Seen<Continuum>) {
        match event {
            Seen::All(all) => {
                let names: Vec<_> = all.iter().map(|one| one.name_any()).collect();
                self.objects.retain(|name, _| names.contains(name));
                all.into_iter().for_each(|one| self.put(one));
                self.listed.0 = true;
            }
            Seen::Applied(one) => self.put(one),
            Seen::Deleted(one) => {
                let gone = self.objects.remove(&one.name_any()).is_some();
                if let Ok(id) = PairId::new(one.name_any()) {
                    self.parts.roles.wants(&id, None);
                }
                // The pair stays as it is: an object that goes takes no database with it.
                tracing::info!(
                    object = one.name_any(),
                    gone,
                    "a Continuum was deleted; its pair stays"
                );
            }
            Seen::Heard => {}
            Seen::Lost(why) => tracing::debug!(why, "Continuum objects are not watched"),
        }
    }

    fn put(&mut self, one: Continuum) {
        let name = one.name_any();
        self.due.one(&name);
        match self.objects.get_mut(&name) {
            Some(known) if known.is_of(&one) => known.changed(one),
            _ => drop(self.objects.insert(name, Object::new(one))),
        }
    }

    fn take_pair(&mut self, event: Seen<CnpgPair>) {
        let put = |all: &mut BTreeMap<String, Tracked>, object: CnpgPair| {
            let known = all.remove(&object.name_any());
            let same = known.filter(|known| known.object.metadata.uid == object.metadata.uid);
            let (writes, asks) = same.map(|known| (known.writes, known.asks)).unwrap_or_default();
            all.insert(object.name_any(), Tracked { object, writes, asks });
        };
        match event {
            Seen::All(all) => {
                let names: Vec<_> = all.iter().map(|one| one.name_any()).collect();
                self.cnpg_pairs.retain(|name, _| names.contains(name));
                all.into_iter().for_each(|one| put(&mut self.cnpg_pairs, one));
                self.listed.1 = true;
            }
            Seen::Applied(one) => put(&mut self.cnpg_pairs, one),
            Seen::Deleted(one) => drop(self.cnpg_pairs.remove(&one.name_any())),
            Seen::Heard => {}
            Seen::Lost(why) => tracing::debug!(why, "CnpgPair objects are not watched"),
        }
    }

    fn take_done(&mut self, done: Done) {
        let now = self.parts.clock.now();
        match done {
            Done::Asked { name, uid, wish, answer } => {
                self.due.one(&name);
                if let Some(object) = self.objects.get_mut(&name).filter(|one| one.uid() == uid) {
                    object.answered(*wish, answer, now);
                }
            }
            Done::Wrote { name, uid, result } => {
                let Some(object) = self.objects.get_mut(&name).filter(|one| one.uid() == uid)
                else {
                    return;
                };
                match result {
                    Ok(made) => object.writes.ended(Ok(value(&made.status)), now),
                    Err(failure) => {
                        tracing::warn!(object = name, %failure, "its status is not written");
                        object.writes.ended(Err(&failure), now);
                    }
                }
            }
            Done::WrotePair { name, uid, result } => {
                let known = self.cnpg_pairs.get_mut(&name);
                let same = |one: &&mut Tracked| one.object.metadata.uid.as_deref() == Some(&uid);
                let Some(known) = known.filter(same) else { return };
                match result {
                    Ok(made) => known.writes.ended(Ok(value(&made.status)), now),
                    Err(failure) => known.writes.ended(Err(&failure), now),
                }
            }
            Done::BackedUp { name, uid, wish, done } => {
                let known = self.cnpg_pairs.get_mut(&name);
                let same = |one: &&mut Tracked| one.object.metadata.uid.as_deref() == Some(&uid);
                let Some(known) = known.filter(same) else { return };
                let (desk, spec) = (&self.parts.backups, &known.object.spec);
                known.asks.answered(desk, spec, &wish, done, now);
            }
        }
    }

    /// Looks at everything, and begins what is due.
    fn look(&mut self) {
        if self.listed != (true, true) {
            return;
        }
        let now = self.parts.clock.now();
        let told = self.told.borrow().clone();
        if told.current {
            (self.silent, self.heard) = (None, true);
        }
        let patient = !told.current && now.since(*self.silent.get_or_insert(now)) < CORE_GRACE;
        if told.current {
            self.silent = None;
        } else if patient && !self.heard {
            // What stands in the status was written by the agent before, and may well be so.
            return;
        }
        let counts = told.current || patient;
        let due = std::mem::take(&mut self.due);
        let names = if due.all { self.objects.keys().cloned().collect() } else { due.names };
        for name in names {
            self.look_at(&name, &told, counts, now);
        }
        if due.all {
            self.look_at_pairs(&told, counts, now);
        }
    }

    fn look_at(&mut self, name: &str, told: &Told, counts: bool, now: Tick) {
        let Some(object) = self.objects.get_mut(name) else { return };
        let wanted_pair = object.cnpg_pair();
        let pair = wanted_pair.as_ref().and_then(|name| self.cnpg_pairs.get(name));
        object.understand(pair.map(|one| &one.object.spec), &self.parts.region, &self.parts.timing);
        let id = PairId::new(name).ok();
        let at_core = id.as_ref().and_then(|id| told.pairs.get(id)).map(AsRef::as_ref);
        let wish = object.next((told.current || !counts).then_some(told.current), at_core, now);
        let seen = id.as_ref().and_then(|id| holder(&self.parts.pairs, id, now));
        let standing = at_core.filter(|_| counts).and_then(stands);
        let roles = &self.parts.roles;
        if let Some(id) = &id {
            roles.wants(id, object.object.spec.foreign_writes);
        }
        let foreign = id.as_ref().and_then(|id| roles.says(id));
        let status = object.status(standing, seen, foreign, self.parts.clock.wall_ms());
        let due = object.writes.is_due(&status, object.object.status.as_ref(), now);
        let (uid, name) = (object.uid().to_owned(), name.to_owned());
        if due {
            self.write(name.clone(), uid.clone(), status);
        }
        if let (Some(wish), Some(id)) = (wish, id) {
            self.ask(id, name, uid, wish);
        }
    }

    fn write(&self, name: String, uid: String, status: ContinuumStatus) {
        let Cluster { client, namespace } = &self.parts.cluster;
        let api: Api<Continuum> = Api::namespaced(client.clone(), namespace);
        let (done, writes) = (self.done.clone(), self.writes.clone());
        seed::spawn(async move {
            // It is never closed.
            let _place = writes.acquire().await;
            let at = ("Continuum", name.clone(), uid.clone());
            let result = write::write(api, at, value(&status)).await.map(Box::new);
            // The loop ends with the agent.
            let _gone = done.send(Done::Wrote { name, uid, result }).await;
        });
    }

    fn ask(&self, pair: PairId, name: String, uid: String, wish: Wish) {
        let (desk, done) = (self.parts.desk.clone(), self.done.clone());
        seed::spawn(async move {
            let (key, reason, asked) = wish.request();
            let answer = desk.ask(pair, key, reason, asked).await;
            let wish = Box::new(wish);
            let _gone = done.send(Done::Asked { name, uid, wish, answer }).await;
        });
    }

    fn look_at_pairs(&mut self, told: &Told, counts: bool, now: Tick) {
        let now_ms = self.parts.clock.wall_ms();
        let of_pair: BTreeMap<String, &String> = self
            .objects
            .iter()
            .filter_map(|(name, object)| Some((object.cnpg_pair()?, name)))
            .collect();
        let (mut due, mut wishes) = (Vec::new(), Vec::new());
        let desk = &self.parts.backups;
        for (name, known) in &mut self.cnpg_pairs {
            // One that no Continuum names is somebody's draft.
            let Some(pair) = of_pair.get(name) else { continue };
            let id = PairId::new(pair.as_str()).ok();
            let at_core = id.as_ref().and_then(|id| told.pairs.get(id)).map(AsRef::as_ref);
            let standing = at_core.filter(|_| counts).and_then(stands);
            let (meta, spec) = (&known.object.metadata, &known.object.spec);
            let before = known.object.status.as_ref();
            desk.follow(spec, &self.parts.cluster);
            known.asks.remember(&self.parts.region, before);
            let seen = id.as_ref().and_then(|id| holder(&self.parts.pairs, id, now));
            let around = around(standing, seen);
            if let Some(wish) = known.asks.next(desk, (spec, name), &around, now) {
                let uid = meta.uid.clone().unwrap_or_default();
                wishes.push((name.clone(), uid, spec.clone(), wish));
            }
            let backups = desk.status(spec, &known.asks);
            let at = (meta.generation, now_ms);
            let status: CnpgPairStatus = status::of_pair(at, standing, backups, before);
            if known.writes.is_due(&status, before, now) {
                let status = value(&Some(&status));
                due.push((name.clone(), meta.uid.clone().unwrap_or_default(), status));
            }
        }
        for (name, uid, spec, wish) in wishes {
            let (desk, cluster) = (self.parts.backups.clone(), self.parts.cluster.clone());
            let done = self.done.clone();
            seed::spawn(async move {
                let ended = desk.ask(&spec, &cluster, &wish).await;
                let _gone = done.send(Done::BackedUp { name, uid, wish, done: ended }).await;
            });
        }
        for (name, uid, status) in due {
            let Cluster { client, namespace } = &self.parts.cluster;
            let api: Api<CnpgPair> = Api::namespaced(client.clone(), namespace);
            let (done, writes) = (self.done.clone(), self.writes.clone());
            seed::spawn(async move {
                let _place = writes.acquire().await;
                let at = ("CnpgPair", name.clone(), uid.clone());
                let result = write::write(api, at, status).await.map(Box::new);
                let _gone = done.send(Done::WrotePair { name, uid, result }).await;
            });
        }
    }
}

fn stands(at_core: &AtCore) -> Option<&PairStanding> {
    match at_core {
        AtCore::Stands(standing) => Some(standing),
        AtCore::NotUnderstood(_) => None,
    }
}

/// What a request for a backup has to know of the pair: the newer of the two words, as in the status.
fn around(standing: Option<&PairStanding>, seen: Option<Holder>) -> Around {
    let told = standing.filter(|standing| standing.fresh);
    let paused = told.is_some_and(|told| told.posture == Posture::Paused);
    let told = told.and_then(|told| Some((told.epoch?, told.holder.clone())));
    let seen = seen.map(|seen| (seen.epoch, seen.holder));
    let newer = [told, seen].into_iter().flatten().max_by_key(|(epoch, _)| *epoch);
    Around { holder: newer.and_then(|(_, holder)| holder), paused }
}

/// Who holds a pair, as the machine that runs here read it lately.
fn holder(pairs: &Pairs, pair: &PairId, now: Tick) -> Option<Holder> {
    let pairs = pairs.lock().unwrap_or_else(PoisonError::into_inner);
    let status = pairs.get(pair)?.status.borrow();
    let (_, record, at) = status.record.as_ref()?;
    let fresh = now.since(*at) <= RECORD_AGE_MAX;
    fresh.then(|| Holder { epoch: record.epoch, holder: record.holder.clone() })
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
