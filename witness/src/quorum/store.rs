//! The register store over a quorum of acceptors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_runtime::seed;
use continuum_runtime::{Identity, Role};
use rand::RngExt;

use crate::cells::CellStore;
use crate::register::{Answer, RegisterStore, StoreError, Versioned};
use crate::rules::Key;
use crate::table::check_bounds;

use super::acceptor::{Accepted, Ballot, Shown, newest};
use super::found::membership;
use super::lane::Lane;
use super::mark::Mark;
use super::planted::{Bug, planted};
use super::round::{Ended, Lanes, Shortfall};

/// Longest pause before a proposer that was outrun tries again.
const PAUSE_MS_MAX: u64 = 100;

/// One acceptor as the configuration names it.
#[derive(Clone)]
pub struct Acceptor {
    /// Its name.
    pub name: String,
    /// The way to it.
    pub store: Arc<dyn CellStore>,
}

/// A register store whose registers live at a majority of acceptors. Each value of this type is one
/// proposer; calls for one register are carried out one after the other.
pub struct QuorumStore {
    acceptors: Vec<Acceptor>,
    me: Identity,
    deadline: Duration,
    proposer: u64,
    membership: tokio::sync::Mutex<Option<Mark>>,
    registers: Mutex<BTreeMap<String, Arc<Register>>>,
}

/// What is remembered of one register.
struct Register {
    lanes: Lanes,
    memory: tokio::sync::Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// A ballot that a majority has promised, and the value to build on: no first phase is needed.
    lead: Option<(Ballot, Accepted)>,
    /// The newest ballot seen anywhere.
    seen: Ballot,
    /// The newest value shown to a reader who may not write.
    shown: Option<Accepted>,
}

impl fmt::Debug for QuorumStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.acceptors.iter().map(|acceptor| &*acceptor.name).collect();
        write!(f, "QuorumStore({})", names.join(", "))
    }
}

impl QuorumStore {
    /// A proposer of its own over these acceptors. `me` is who the acceptors know the caller as.
    /// Every call returns within `deadline`; the stores' own deadlines are to be no longer.
    pub fn new(acceptors: Vec<Acceptor>, me: Identity, deadline: Duration) -> Self {
        Self {
            acceptors,
            me,
            deadline,
            proposer: seed::rng().random_range(1..=u64::MAX),
            membership: tokio::sync::Mutex::default(),
            registers: Mutex::default(),
        }
    }

    /// Whether this caller may bring a change of the register about, its own or another's.
    fn may_write(&self, key: &str) -> bool {
        match (Key::parse(key), self.me.role) {
            (Ok(Key::Session(region)), Role::Region) => region.as_str() == self.me.name,
            (Ok(Key::Pair(_)), role) => matches!(role, Role::Region | Role::Core),
            (Ok(Key::Probe), role) => matches!(role, Role::Region | Role::Core | Role::Operator),
            _ => false,
        }
    }

    fn registers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Register>>> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn register(&self, key: &str) -> Result<Arc<Register>, StoreError> {
        if let Some(register) = self.registers().get(key) {
            return Ok(register.clone());
        }
        let mark = {
            let mut known = self.membership.lock().await;
            match &*known {
                Some(mark) => mark.clone(),
                None => known.insert(membership(&self.acceptors).await?).clone(),
            }
        };
        let lanes = self
            .acceptors
            .iter()
            .filter(|acceptor| mark.members.contains_key(&acceptor.name))
            .map(|acceptor| {
                let mark = Mark { acceptor: acceptor.name.clone(), ..mark.clone() };
                Lane::new(acceptor.store.clone(), mark, key)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let lanes = Lanes::new(lanes, mark.members.len());
        let register = Arc::new(Register { lanes, memory: tokio::sync::Mutex::default() });
        Ok(self.registers().entry(key.to_owned()).or_insert(register).clone())
    }

    async fn read_within(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let register = self.register(key).await?;
        let mut memory = register.memory.lock().await;
        let shown = match register.lanes.read(&mut memory.seen).await {
            Ok(shown) => shown,
            Err(short) => return Err(short.error(false)),
        };
        let value = match shown {
            Shown::Unsettled(_) if self.may_write(key) => {
                match self.drive(&register, &mut memory, None).await? {
                    Driven::Holds(value) => value,
                    Driven::Made(_) => unreachable!("no change was asked for"),
                }
            }
            Shown::Settled(value) if self.may_write(key) => value,
            Shown::Settled(value) | Shown::Unsettled(value) if key.starts_with("session/") => {
                let both = [value, memory.shown.take()].into_iter().flatten();
                memory.shown = both.max_by_key(|value| value.ballot);
                memory.shown.clone()
            }
            Shown::Settled(value) => value,
            Shown::Unsettled(_) => {
                return Err(StoreError::Unanswered(
                    "a change is half-made, and this caller may not complete it".into(),
                ));
            }
        };
        Ok(value.map(|value| value.register()))
    }

    /// Brings the register to a decision: completes what is half-made, and makes `change` if the
    /// register is at the version it names.
    async fn drive(
        &self,
        register: &Register,
        memory: &mut Memory,
        change: Option<&Change>,
    ) -> Result<Driven, StoreError> {
        let mut attempt =
            Attempt { register, proposer: self.proposer, change, origin: None, exposed: false };
        for tried in 0_u32.. {
            if tried > 0 {
                let most = (4_u64 << tried.min(6)).min(PAUSE_MS_MAX);
                let pause = seed::rng().random_range(0..=most);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            match attempt.run(memory).await? {
                Some(Driven::Holds(held)) if attempt.may_be_under(held.as_ref()) => {
                    return Err(StoreError::Unanswered(
                        "others changed the register meanwhile, perhaps after this change".into(),
                    ));
                }
                Some(driven) => return Ok(driven),
                None => {}
            }
        }
        unreachable!("the loop has no end but the caller's deadline")
    }
}

/// A change that a caller asks for.
struct Change {
    expected: Version,
    value: Vec<u8>,
}

/// What the register was brought to.
enum Driven {
    /// The change took effect, at this version.
    Made(Version),
    /// The register holds this, and the change did not and will not take effect.
    Holds(Option<Accepted>),
}

/// One call's attempts. They share one origin, so that whichever gets through is known as this one.
struct Attempt<'a> {
    register: &'a Register,
    proposer: u64,
    change: Option<&'a Change>,
    origin: Option<Ballot>,
    /// Whether an acceptor may hold the change.
    exposed: bool,
}

impl Attempt<'_> {
    async fn run(&mut self, memory: &mut Memory) -> Result<Option<Driven>, StoreError> {
        let (ballot, current) = match memory.lead.take() {
            // The lead may be stale; then its ballot is refused and nothing happens. But only a
            // change that fits may rest on it: a refusal must be read from a majority.
            Some((ballot, held)) if self.fits(Some(&held)) => (ballot, Some(held)),
            _ => match self.learn(memory).await? {
                Learnt::Decided(driven) => return Ok(Some(driven)),
                Learnt::Outrun => return Ok(None),
                Learnt::BuildOn(ballot, current) => (ballot, current),
            },
        };
        let proposal = match (&current, self.change) {
            (held, Some(change)) if !self.is_mine(held.as_ref()) && self.fits(held.as_ref()) => {
                let origin = *self.origin.get_or_insert(ballot);
                let version = change.expected.0 + 1;
                Accepted { ballot, origin, version, value: change.value.clone() }
            }
            (Some(held), _) => Accepted { ballot, ..held.clone() },
            // Prepared at a majority and nothing was ever accepted: that is the decision.
            (None, _) => return Ok(Some(Driven::Holds(None))),
        };
        let mine = self.origin == Some(proposal.origin);
        if !self.accept(memory, current, &proposal, mine).await? {
            return Ok(None);
        }
        Ok(Some(match mine {
            true => Driven::Made(Version(proposal.version)),
            false => Driven::Holds(Some(proposal)),
        }))
    }

    fn version_of(held: Option<&Accepted>) -> Version {
        held.map_or(Version::ABSENT, |held| Version(held.version))
    }

    fn fits(&self, held: Option<&Accepted>) -> bool {
        let expected = self.change.map(|change| change.expected);
        expected == Some(Self::version_of(held)) && expected != Some(Version(u64::MAX))
    }

    /// Whether `held` may have been built on this change. At the version that this change would have
    /// made, its origin tells; beyond, nothing does.
    fn may_be_under(&self, held: Option<&Accepted>) -> bool {
        let made = self.change.map_or(u64::MAX, |change| change.expected.0.saturating_add(1));
        self.exposed && Self::version_of(held).0 > made && !planted(Bug::ForgetExposed)
    }

    fn is_mine(&self, held: Option<&Accepted>) -> bool {
        self.origin.is_some() && self.origin == held.map(|held| held.origin)
    }

    /// Finds out what to build on: by a read, and a first phase where there is something to write.
    async fn learn(&mut self, memory: &mut Memory) -> Result<Learnt, StoreError> {
        let lanes = &self.register.lanes;
        let shown = lanes.read(&mut memory.seen).await;
        let shown = shown.map_err(|short| short.error(self.exposed))?;
        if let Shown::Settled(settled) = shown.clone() {
            if self.is_mine(settled.as_ref()) {
                return Ok(Learnt::Decided(Driven::Made(Self::version_of(settled.as_ref()))));
            }
            // Before anything was sent a read decides. After, an older ballot of ours may lie at a
            // minority, and only a newer one passes over it.
            if self.origin.is_none() && !self.fits(settled.as_ref()) {
                return Ok(Learnt::Decided(Driven::Holds(settled)));
            }
            if lanes.majority() == 1 {
                let ballot = Ballot::after(memory.seen, self.proposer);
                return Ok(Learnt::BuildOn(ballot, settled));
            }
        }
        let ballot = Ballot::after(memory.seen, self.proposer);
        if planted(Bug::SkipPrepare) {
            let (Shown::Settled(found) | Shown::Unsettled(found)) = shown;
            return Ok(Learnt::BuildOn(ballot, found));
        }
        memory.seen = ballot;
        match lanes.change(Arc::new(move |state| state.prepare(ballot))).await {
            Ended::Majority(states) => Ok(Learnt::BuildOn(ballot, newest(&states))),
            Ended::Short(short) => self.short(memory, &short).map(|()| Learnt::Outrun),
        }
    }

    /// Second phase; whether a majority accepted.
    async fn accept(
        &mut self,
        memory: &mut Memory,
        current: Option<Accepted>,
        proposal: &Accepted,
        mine: bool,
    ) -> Result<bool, StoreError> {
        let lanes = &self.register.lanes;
        let (value, held) = (proposal.clone(), current.as_ref().map(|current| current.ballot));
        let alone = lanes.members == 1;
        // Before the first send: a call that is given up must not leave its ballot free.
        memory.seen = memory.seen.max(proposal.ballot);
        let exposed_before = self.exposed;
        self.exposed |= mine;
        let step = move |state: &super::acceptor::AcceptorState| match alone {
            true => state.accept_alone(held, &value),
            false => state.accept(&value),
        };
        match lanes.change(Arc::new(step)).await {
            Ended::Majority(_) => {
                let next = Ballot::after(proposal.ballot, self.proposer);
                memory.lead = Some((next, proposal.clone()));
                Ok(true)
            }
            Ended::Short(short) => {
                if planted(Bug::ReuseBallot) {
                    memory.lead = current.map(|current| (proposal.ballot, current));
                }
                self.exposed = exposed_before || (mine && short.may_have_taken_effect());
                self.short(memory, &short).map(|()| false)
            }
        }
    }

    /// A phase without a majority: worth another try when somebody newer stood in the way.
    fn short(&self, memory: &mut Memory, short: &Shortfall) -> Result<(), StoreError> {
        memory.seen = memory.seen.max(short.promised.unwrap_or_default());
        match short.refused {
            true => Ok(()),
            false => Err(short.error(self.exposed)),
        }
    }
}

enum Learnt {
    Decided(Driven),
    BuildOn(Ballot, Option<Accepted>),
    Outrun,
}

#[async_trait]
impl RegisterStore for QuorumStore {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        check_bounds(key, &[])?;
        match tokio::time::timeout(self.deadline, self.read_within(key)).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Unanswered(format!("no majority in {:?}", self.deadline))),
        }
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        check_bounds(key, &value)?;
        let change = Change { expected, value };
        let work = async {
            let register = self.register(key).await?;
            let mut memory = register.memory.lock().await;
            self.drive(&register, &mut memory, Some(&change)).await
        };
        match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(Driven::Made(version))) => Ok(Answer::Accepted(version)),
            Ok(Ok(Driven::Holds(held))) => Ok(Answer::Refused(held.map(|held| held.register()))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StoreError::Unanswered(format!("no majority in {:?}", self.deadline))),
        }
    }
}
