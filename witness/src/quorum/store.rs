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

use super::acceptor::{Accepted, Shown};
use super::attempt::{Attempt, Change, Driven};
use super::health::QuorumHealth;
use super::lane::Stop;
use super::place::{Place, pause};
use super::replace::NEXT_KEY;
use super::view::{Reach, View, look};

/// Times that one call follows the quorum to other acceptors.
const MOVES_MAX: u32 = 4;

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
    reach: Reach,
    me: Identity,
    deadline: Duration,
    proposer: u64,
    /// Whether it stays with the acceptors it was made for: what is asked of those alone must not be
    /// written at others that came meanwhile.
    pinned: bool,
    view: tokio::sync::Mutex<Option<View>>,
    registers: Mutex<BTreeMap<String, Register>>,
}

type Register = Arc<tokio::sync::Mutex<Place>>;

impl fmt::Debug for QuorumStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            self.reach.acceptors.iter().map(|acceptor| &*acceptor.name).collect();
        write!(f, "QuorumStore({})", names.join(", "))
    }
}

impl QuorumStore {
    /// A proposer of its own over these acceptors. `me` is who the acceptors know the caller as.
    /// Every call returns within `deadline`; the stores' own deadlines are to be no longer.
    pub fn new(acceptors: Vec<Acceptor>, me: Identity, deadline: Duration) -> Self {
        Self {
            reach: Reach { acceptors, health: None },
            me,
            deadline,
            // Below the seal's.
            proposer: seed::rng().random_range(1..u64::MAX),
            pinned: false,
            view: tokio::sync::Mutex::default(),
            registers: Mutex::default(),
        }
    }

    /// The same, which notes in `health` what becomes of its requests to each acceptor.
    pub fn watched(mut self, health: QuorumHealth) -> Self {
        self.reach.health = Some(health);
        self
    }

    /// A proposer at acceptors that are known, and at no others.
    pub(super) fn at(
        acceptors: Vec<Acceptor>,
        me: Identity,
        deadline: Duration,
        view: View,
    ) -> Self {
        let view = tokio::sync::Mutex::new(Some(view));
        Self { view, pinned: true, ..Self::new(acceptors, me, deadline) }
    }

    /// Whether this caller may bring a change of the register about, its own or another's.
    fn may_write(&self, key: &str) -> bool {
        if key == NEXT_KEY {
            return self.me.role == Role::Operator;
        }
        match (Key::parse(key), self.me.role) {
            (Ok(Key::Session(region)), Role::Region) => region.as_str() == self.me.name,
            (Ok(Key::Pair(_)), role) => matches!(role, Role::Region | Role::Core),
            (Ok(Key::Probe), role) => matches!(role, Role::Region | Role::Core | Role::Operator),
            _ => false,
        }
    }

    fn registers(&self) -> MutexGuard<'_, BTreeMap<String, Register>> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn register(&self, key: &str) -> Result<Register, StoreError> {
        if let Some(register) = self.registers().get(key) {
            return Ok(register.clone());
        }
        let view = {
            let mut known = self.view.lock().await;
            match &*known {
                Some(view) => view.clone(),
                None => known.insert(look(&self.reach.acceptors).await?).clone(),
            }
        };
        let place = Place::new(view, &self.reach, key)?;
        let register = Arc::new(tokio::sync::Mutex::new(place));
        Ok(self.registers().entry(key.to_owned()).or_insert(register).clone())
    }

    /// Goes to where the quorum has moved.
    async fn follow(&self, key: &str, place: &mut Place) -> Result<(), StoreError> {
        if self.pinned {
            return Err(StoreError::NotSent("the acceptors were replaced meanwhile".into()));
        }
        let view = {
            let mut known = self.view.lock().await;
            if !known.as_ref().is_some_and(|view| view.is_after(&place.view)) {
                *known = Some(look(&self.reach.acceptors).await?);
            }
            known.clone().filter(|view| view.is_after(&place.view))
        };
        let view = view.ok_or_else(|| {
            StoreError::NotSent(
                "the quorum has other acceptors by now; which is not known yet".into(),
            )
        })?;
        tracing::info!(
            register = key,
            generation = view.now.generation,
            acceptors = view.now.names(),
            "follows the quorum to other acceptors"
        );
        place.follow(view, &self.reach, key)
    }

    /// Whether a failure comes of acceptors that were replaced, and taken away, while this was not
    /// looking: what lost its state or does not answer cannot say that it was.
    async fn are_gone(&self, place: &Place, error: &StoreError) -> bool {
        let alone = place.view.now.members.len() == 1;
        if !alone && !matches!(error, StoreError::Misconfigured(_)) {
            return false;
        }
        look(&self.reach.acceptors).await.is_ok_and(|view| {
            let newer = view.is_after(&place.view);
            if newer {
                self.view.try_lock().map(|mut known| *known = Some(view)).ok();
            }
            newer
        })
    }

    async fn read_within(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let register = self.register(key).await?;
        let mut place = register.lock().await;
        for _move in 0..MOVES_MAX {
            match self.read_here(key, &mut place).await {
                Ok(value) => return Ok(value.map(|value| value.register())),
                Err(Stop::Moved) => self.follow(key, &mut place).await?,
                Err(Stop::Failed(error)) if self.are_gone(&place, &error).await => {
                    self.follow(key, &mut place).await?;
                }
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Err(StoreError::NotSent("the quorum moves faster than it can be followed".into()))
    }

    async fn read_here(&self, key: &str, place: &mut Place) -> Result<Option<Accepted>, Stop> {
        let writes = self.may_write(key);
        if writes {
            place.carry(self.proposer).await?;
        }
        match place.read().await? {
            Shown::Unsettled(_) if writes => {
                match self.drive(place, &mut Attempt::new(self.proposer, None)).await? {
                    Driven::Holds(value) => Ok(value),
                    Driven::Made(_) => unreachable!("no change was asked for"),
                }
            }
            Shown::Settled(value) if writes => Ok(value),
            Shown::Settled(value) | Shown::Unsettled(value) if key.starts_with("session/") => {
                let shown = &mut place.memory.shown;
                let both = [value, shown.take()].into_iter().flatten();
                *shown = both.max_by_key(|value| value.ballot);
                Ok(shown.clone())
            }
            Shown::Settled(value) => Ok(value),
            Shown::Unsettled(_) => Err(Stop::Failed(StoreError::Unanswered(
                "a change is half-made, and this caller may not complete it".into(),
            ))),
            Shown::Sealed(_) => Err(Stop::Moved),
        }
    }

    /// Brings the register to a decision: completes what is half-made, and makes the change if the
    /// register is at the version it names.
    async fn drive(&self, place: &mut Place, attempt: &mut Attempt<'_>) -> Result<Driven, Stop> {
        for tried in 0_u32.. {
            pause(tried).await;
            if let Some(driven) = attempt.run(place).await? {
                return Ok(driven);
            }
        }
        unreachable!("the loop has no end but the caller's deadline")
    }

    async fn change_within(&self, key: &str, change: &Change) -> Result<Driven, StoreError> {
        let register = self.register(key).await?;
        let mut place = register.lock().await;
        let mut attempt = Attempt::new(self.proposer, Some(change));
        // Whatever goes wrong once the change may lie at an acceptor, it may still take effect.
        let told = |attempt: &Attempt<'_>, error: StoreError| match attempt.exposed {
            true => StoreError::Unanswered(error.to_string()),
            false => error,
        };
        for _move in 0..MOVES_MAX {
            let driven = match place.carry(self.proposer).await {
                Ok(_) => self.drive(&mut place, &mut attempt).await,
                Err(stop) => Err(stop),
            };
            match driven {
                Ok(driven) => return Ok(driven),
                Err(Stop::Moved) => {
                    let followed = self.follow(key, &mut place).await;
                    followed.map_err(|error| told(&attempt, error))?;
                }
                Err(Stop::Failed(error)) if self.are_gone(&place, &error).await => {
                    let followed = self.follow(key, &mut place).await;
                    followed.map_err(|error| told(&attempt, error))?;
                }
                Err(Stop::Failed(error)) => return Err(told(&attempt, error)),
            }
        }
        let fast = "the quorum moves faster than it can be followed";
        Err(told(&attempt, StoreError::NotSent(fast.into())))
    }

    /// Carries one register over to the acceptors in use; whether this call wrote its value. For who
    /// replaces an acceptor, whatever the caller's role may write otherwise.
    pub(super) async fn carry_over(&self, key: &str) -> Result<bool, StoreError> {
        let register = self.register(key).await?;
        let work = async {
            let mut place = register.lock().await;
            match place.carry(self.proposer).await {
                Ok(wrote) => Ok(wrote),
                Err(Stop::Failed(error)) => Err(error),
                // Only from acceptors that nothing was left to carry over to.
                Err(Stop::Moved) => Ok(false),
            }
        };
        tokio::time::timeout(self.deadline, work).await.unwrap_or_else(|_| {
            Err(StoreError::Unanswered(format!("no majority in {:?}", self.deadline)))
        })
    }
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
        match tokio::time::timeout(self.deadline, self.change_within(key, &change)).await {
            Ok(Ok(Driven::Made(version))) => Ok(Answer::Accepted(version)),
            Ok(Ok(Driven::Holds(held))) => Ok(Answer::Refused(held.map(|held| held.register()))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StoreError::Unanswered(format!("no majority in {:?}", self.deadline))),
        }
    }
}
