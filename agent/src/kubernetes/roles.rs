//! Who else writes the roles of the Clusters here: what the lease says and what their pairs want goes to the
//! data planes, what they saw and did goes into statuses and metrics, and wishes to move go to the core.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use continuum_cnpg_pair::kubernetes::crd::ConditionStatus;
use continuum_cnpg_pair::kubernetes::foreign::{FieldChange, ForeignPolicy, Holding, Response};
use continuum_cnpg_pair::kubernetes::plane::{Guidance, Incident, MoveWish, RoleBoard, RoleLook};
use continuum_control_api::link::{Blocked, Fact, RegionAnswer, RegionWish, RoleWritesReport};
use continuum_domain::pair::PairStatus;
use continuum_domain::{Epoch, PairId, RegionId, Tick};
use continuum_runtime::{SharedClock, seed};

use super::desk::CoreDesk;
use super::status::Says;
use crate::core_link::{Pairs, find};
use crate::journal::Journal;

/// A register that was read longer ago says nothing of now.
const RECORD_AGE_MAX: Duration = Duration::from_secs(30);
/// Nor does a look by SQL.
const LOOK_AGE_MAX: Duration = Duration::from_secs(5);
/// How often is looked whether a wish is to be brought.
const GLANCE: Duration = Duration::from_millis(500);
/// Pause before a wish is brought again that was not answered.
const AGAIN: Duration = Duration::from_secs(2);

struct Inner {
    region: RegionId,
    pairs: Pairs,
    clock: SharedClock,
    journal: OnceLock<Journal>,
    boards: Mutex<BTreeMap<PairId, Arc<RoleBoard>>>,
    policies: Mutex<BTreeMap<PairId, ForeignPolicy>>,
    answers: Mutex<BTreeMap<PairId, String>>,
}

/// The desk. Cloned handles share it.
#[derive(Clone)]
pub(crate) struct RoleDesk(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RoleDesk {
    /// A desk without Clusters yet.
    pub fn new(region: &RegionId, pairs: &Pairs, clock: &SharedClock) -> Self {
        Self(Arc::new(Inner {
            region: region.clone(),
            pairs: pairs.clone(),
            clock: clock.clone(),
            journal: OnceLock::new(),
            boards: Mutex::default(),
            policies: Mutex::default(),
            answers: Mutex::default(),
        }))
    }

    /// Has each foreign write noted in the journal, and so in the audit chain.
    pub fn noted_in(&self, journal: Journal) {
        if self.0.journal.set(journal).is_err() {
            tracing::debug!("foreign writes are noted in a journal already");
        }
    }

    /// Takes a member over whose role others can write.
    pub fn add(&self, pair: &PairId, board: Arc<RoleBoard>) {
        let (weak, own) = (Arc::downgrade(&self.0), pair.clone());
        board.guided_by(Box::new(move || match weak.upgrade() {
            Some(inner) => Self(inner).guidance(&own),
            None => {
                let policy = ForeignPolicy::Report;
                Guidance { policy, holding: Holding::Unknown, epoch: None }
            }
        }));
        let (weak, own) = (Arc::downgrade(&self.0), pair.clone());
        board.heard_by(Box::new(move |incident| {
            if let Some(inner) = weak.upgrade() {
                Self(inner).note(&own, incident);
            }
        }));
        lock(&self.0.boards).insert(pair.clone(), board);
    }

    /// Notes a foreign write under the epoch that is known here; 0, which no pair has, where none is. It is a kind of fact that control nodes
    /// have always had: one that they did not know would stop those of the version before.
    fn note(&self, pair: &PairId, incident: &Incident) {
        let Some(journal) = self.0.journal.get() else { return };
        let status = find(&self.0.pairs, pair).map(|handle| handle.status.borrow().clone());
        let record = status.and_then(|status| status.record);
        let epoch = record.map_or(Epoch(0), |(_, record, _)| record.epoch);
        let state = Blocked {
            code: "foreign-write".into(),
            meaning: described(incident),
            action: next(incident).1,
        };
        journal.append(pair, epoch, None, Fact::Blocked { state: Some(state) });
    }

    /// What a pair's object wants; the default where there is none.
    pub fn wants(&self, pair: &PairId, policy: Option<ForeignPolicy>) {
        let mut policies = lock(&self.0.policies);
        match policy {
            Some(policy) => policies.insert(pair.clone(), policy),
            None => policies.remove(pair),
        };
    }

    /// What is known, by pair.
    pub fn look(&self) -> BTreeMap<PairId, RoleLook> {
        let boards = lock(&self.0.boards);
        boards.iter().map(|(pair, board)| (pair.clone(), board.look())).collect()
    }

    /// The condition `ForeignWrite` of a pair; none where this agent runs no Cluster of it.
    pub fn says(&self, pair: &PairId) -> Option<Says> {
        let look = lock(&self.0.boards).get(pair)?.look();
        Some(says(&look, lock(&self.0.answers).get(pair).map(String::as_str)))
    }

    /// What a report says of it; nothing where this agent runs no Cluster of the pair.
    pub fn report(&self, pair: &PairId) -> Option<RoleWritesReport> {
        let look = lock(&self.0.boards).get(pair)?.look();
        let says = says(&look, lock(&self.0.answers).get(pair).map(String::as_str));
        Some(RoleWritesReport {
            stands: look.compared.then_some(look.stands.is_some()),
            reason: says.reason.into(),
            text: says.message,
            count: look.count,
        })
    }

    /// What the lease says of a pair's member here, and what its object wants.
    pub(super) fn guidance(&self, pair: &PairId) -> Guidance {
        let policy = lock(&self.0.policies).get(pair).copied().unwrap_or_default();
        let now = self.0.clock.now();
        let status = find(&self.0.pairs, pair).map(|handle| handle.status.borrow().clone());
        let holding =
            status.as_ref().map_or(Holding::Unknown, |status| holding(status, &self.0.region, now));
        let held = status.filter(|_| matches!(holding, Holding::Holder | Holding::HolderAlone));
        let epoch = held.and_then(|status| Some(status.record?.1.epoch));
        Guidance { policy, holding, epoch }
    }

    /// Brings wishes to the core, for ever.
    pub fn bring_to(&self, core: CoreDesk) {
        let desk = self.clone();
        seed::spawn(async move {
            loop {
                let wishes: Vec<(PairId, Arc<RoleBoard>, MoveWish)> = {
                    let boards = lock(&desk.0.boards);
                    let wish = |(pair, board): (&PairId, &Arc<RoleBoard>)| {
                        Some((pair.clone(), board.clone(), board.look().wish?))
                    };
                    boards.iter().filter_map(wish).collect()
                };
                let mut unanswered = false;
                for (pair, board, wish) in wishes {
                    let to = wish.to.clone();
                    let reason = format!("{to} was written into the Cluster as its primary");
                    let asked = RegionWish::Switchover { to };
                    match core.ask(pair.clone(), wish.key.clone(), reason, asked).await {
                        Some(RegionAnswer::Refused { again: true, .. }) | None => unanswered = true,
                        Some(answer) => {
                            lock(&desk.0.answers).insert(pair, told(&answer));
                            board.brought(&wish);
                        }
                    }
                }
                tokio::time::sleep(if unanswered { AGAIN } else { GLANCE }).await;
            }
        });
    }
}

/// What a member knows of the lease, and of the other one.
fn holding(status: &PairStatus, region: &RegionId, now: Tick) -> Holding {
    let fresh = |at: &Tick| now.since(*at) <= RECORD_AGE_MAX;
    let Some((_, record, _)) = status.record.as_ref().filter(|(_, _, at)| fresh(at)) else {
        return Holding::Unknown;
    };
    if record.holder.as_ref() != Some(region) {
        return Holding::Other;
    }
    if status.lease_until.is_none_or(|until| now >= until) {
        return Holding::Unknown;
    }
    // Who streams from this one is a replica.
    let sql = status.observation.sql.as_ref();
    let sql = sql.filter(|(at, view)| now.since(*at) <= LOOK_AGE_MAX && !view.in_recovery);
    let mut standbys = sql.into_iter().flat_map(|(_, view)| view.standbys.values());
    match standbys.any(|standby| standby.streaming) {
        true => Holding::Holder,
        false => Holding::HolderAlone,
    }
}

fn told(answer: &RegionAnswer) -> String {
    match answer {
        RegionAnswer::Started { operation } => format!("the core moves it: {operation}"),
        RegionAnswer::Refused { code, text, .. } => {
            format!("the core refused to move it: {code}: {text}")
        }
        RegionAnswer::Kept { approval } => format!("{approval} waits: somebody has to approve it"),
        RegionAnswer::Applied { version } => format!("the core applied version {version}"),
    }
}

fn listed(changes: &[FieldChange]) -> String {
    let none = || "nothing".to_owned();
    let one = |change: &FieldChange| {
        let (ours, found) = (change.ours.clone(), change.found.clone());
        let (ours, found) = (ours.unwrap_or_else(none), found.unwrap_or_else(none));
        format!("{} is {found}, was {ours}", change.path)
    };
    changes.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn described(incident: &Incident) -> String {
    let who = match incident.write.managers.as_slice() {
        [] => "somebody".to_owned(),
        names => names.join(", "),
    };
    format!("{who} wrote the role of the Cluster here: {}", listed(&incident.write.changes))
}

/// What is done about a write that stands, in a word and for people.
fn next(stands: &Incident) -> (&'static str, String) {
    match (stands.response, &stands.hindered) {
        (Response::Fence, _) => ("Fenced", "it does not hold the lease, and was ended".to_owned()),
        (Response::Report, _) => (
            "Reported",
            "nothing is done: write it as it was, or take the annotation dr.openova.io/role away to have it \
             taken for right, if it is what the lease says"
                .to_owned(),
        ),
        (Response::Restore, None) => ("Restoring", "it is being written back".to_owned()),
        (Response::HandOver, None) => {
            ("HandingOver", "it is written back, and the core is asked to move the pair".to_owned())
        }
        (Response::Restore | Response::HandOver, Some(why)) => {
            ("Hindered", format!("it is not written back: {why}"))
        }
    }
}

fn says(look: &RoleLook, answer: Option<&str>) -> Says {
    let answer = answer.map_or_else(String::new, |answer| format!(". {answer}"));
    let Some(stands) = &look.stands else {
        return match &look.last {
            Some(last) => {
                let text = format!("no more, but {}{answer}", described(last));
                Says::new(ConditionStatus::False, "Over", text)
            }
            None if look.compared => Says::new(
                ConditionStatus::False,
                "NoneSeen",
                "the role of the Cluster here is as it was written last",
            ),
            None => Says::new(
                ConditionStatus::Unknown,
                "NotCompared",
                "no agent has written the role of the Cluster here yet, or it was not read",
            ),
        };
    };
    let (reason, next) = next(stands);
    let text = format!("{}; {next}{answer}", described(stands));
    Says::new(ConditionStatus::True, reason, text)
}

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;
