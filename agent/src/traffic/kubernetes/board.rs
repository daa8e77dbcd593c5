//! A switch that is one object of an API server.
//!
//! ```text
//!   read the object ---> its mark ---> may it be changed? ---> what it should be like
//!         ^                                                            |
//!         +--- changed meanwhile: again --- one JSON patch: test, mark, fields
//! ```
//!
//! The mark and the fields are written by one patch that tests the object's version, so that comparing and
//! writing are one, whichever agent does it, and a reply that is lost leaves nothing half done.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::{Epoch, Tick};
use continuum_runtime::SharedClock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::mark::{self, Mark};
use super::site::{Site, SiteError};
use crate::traffic::memory::may_point;
use crate::traffic::{Aside, Held, Pointing, Seen, SwitchError, TrafficSwitch};

/// An object that others change all the time is tried so often in one round.
const TRIES: usize = 5;
/// An object that is as it should be is looked at this often: an API server has others to serve.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What an object was seen to be like, by its mark.
pub(super) struct Sight {
    /// Whether it is what the mark says.
    pub in_force: bool,
    /// Whether it holds clients back.
    pub held: Held,
    /// What a person should know.
    pub remarks: Vec<String>,
}

/// How an object is made what its mark says.
#[derive(Debug, Default)]
pub(super) struct Formed {
    /// The operations of a JSON patch; none where it is so already.
    pub operations: Vec<Value>,
    /// What somebody else wrote that is undone by them.
    pub foreign: Option<String>,
}

/// What is wrong with another object, as it was read; `None`: there is none.
pub(super) type Premise = fn(Option<&Value>) -> Result<(), String>;

/// One kind of object. Everything in it is a decision over values that were read.
pub(super) trait Shape: Debug + Send + Sync + 'static {
    /// What it notes beside whom it leads to.
    type Note: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// Whether it can hold clients back.
    fn holds(&self) -> bool {
        true
    }

    /// Where the object is.
    fn path(&self) -> &str;

    /// What must be so beside it: another object's path, and what is wrong with what is there.
    fn premise(&self) -> Option<(&str, Premise)> {
        None
    }

    /// What the object is like.
    fn see(&self, object: &Value, mark: &Mark<Self::Note>, now: Tick) -> Sight;

    /// What to change so that the object is what `mark` says; `before` is what it said before. May note
    /// in the mark what has to be put back later.
    fn form(
        &self,
        object: &Value,
        before: &Mark<Self::Note>,
        mark: &mut Mark<Self::Note>,
        now: Tick,
    ) -> Result<Formed, SwitchError>;

    /// The collection the object is made in where there is none; `None`: a person makes it.
    fn collection(&self) -> Option<&str> {
        None
    }

    /// The object as it is made.
    fn made(&self, _mark: &Mark<Self::Note>) -> Result<Value, SwitchError> {
        Err(absent(self.path()))
    }
}

/// What this agent remembers of the object.
struct Known<N> {
    /// The newest mark it saw or wrote: an object that was put back by others may have lost its own.
    mark: Option<Mark<N>>,
    /// The epoch of its own last word.
    pointed: Option<Epoch>,
    aside: Aside,
}

/// The switch.
pub(super) struct Board<S: Shape> {
    site: Arc<Site>,
    shape: S,
    clock: SharedClock,
    known: Mutex<Known<S::Note>>,
}

impl<S: Shape> Debug for Board<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Board({:?} at {:?})", self.shape, self.site)
    }
}

/// The mark to go by, and whether it has to be written anew.
struct Found<N> {
    mark: Mark<N>,
    lost: bool,
}

impl<S: Shape> Board<S> {
    pub fn new(site: Arc<Site>, shape: S, clock: SharedClock) -> Self {
        let known = Known { mark: None, pointed: None, aside: Aside::default() };
        Self { site, shape, clock, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Known<S::Note>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mark of an object, or what this agent remembers of it where others took it away or put an
    /// older one back.
    fn found(&self, object: Option<&Value>) -> Result<Found<S::Note>, SwitchError> {
        let read = object.map(mark::read::<S::Note>).transpose()?.flatten();
        let epoch = |mark: &Option<Mark<S::Note>>| {
            mark.as_ref().and_then(|mark| mark.target.as_ref()).map(|target| target.epoch)
        };
        let mut known = self.known();
        if epoch(&known.mark) > epoch(&read)
            && let Some(remembered) = &known.mark
        {
            return Ok(Found { mark: remembered.clone(), lost: true });
        }
        known.mark.clone_from(&read);
        Ok(Found { mark: read.unwrap_or_default(), lost: false })
    }

    async fn premise(&self) -> Result<(), SwitchError> {
        let Some((path, wrong)) = self.shape.premise() else { return Ok(()) };
        let found = self.site.get(path).await?;
        wrong(found.as_ref()).map_err(|reason| SwitchError::refused("leading clients", reason))
    }

    /// Changes the mark, and the object with it.
    async fn change(
        &self,
        alter: impl Fn(&mut Mark<S::Note>) -> Result<(), SwitchError>,
    ) -> Result<(), SwitchError> {
        let mut refused: Option<(Value, SiteError)> = None;
        for _ in 0..TRIES {
            let object = self.site.get(self.shape.path()).await?;
            let version = object
                .as_ref()
                .map_or(Value::Null, |object| object["metadata"]["resourceVersion"].clone());
            // Refused although nobody changed it: it is what was written that is wrong.
            if let Some((_, error)) = refused.take_if(|(at, _)| *at == version) {
                return Err(error.into());
            }
            match self.change_once(object.as_ref(), &alter).await {
                Err(Change::Conflict(SiteError::Conflict(_))) => {}
                Err(Change::Conflict(error)) => refused = Some((version, error)),
                Err(Change::Failed(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        Err(SwitchError::refused("nothing was changed", "others change it all the time"))
    }

    async fn change_once(
        &self,
        object: Option<&Value>,
        alter: &impl Fn(&mut Mark<S::Note>) -> Result<(), SwitchError>,
    ) -> Result<(), Change> {
        let Found { mark: before, lost } = self.found(object)?;
        let mut mark = before.clone();
        alter(&mut mark)?;
        let foreign = match object {
            Some(object) => {
                let now = self.clock.now();
                let formed = self.shape.form(object, &before, &mut mark, now)?;
                if formed.operations.is_empty() && mark == before && !lost {
                    return Ok(());
                }
                self.premise().await?;
                let mut operations = mark::write(object, &mark)?;
                operations.extend(formed.operations);
                self.site.patch(self.shape.path(), &operations).await?;
                formed.foreign
            }
            None => {
                let collection = self.shape.collection();
                let collection = collection.ok_or_else(|| absent(self.shape.path()))?;
                let body = self.shape.made(&mark)?;
                self.premise().await?;
                self.site.create(collection, body).await?;
                None
            }
        };
        let lost = lost.then(|| "what was noted in it, or all of it, was taken away".to_owned());
        let mut known = self.known();
        known.mark = Some(mark);
        if let Some(foreign) = foreign.or(lost) {
            tracing::warn!(object = self.shape.path(), foreign, "a foreign write was undone");
            known.aside.foreign_writes += 1;
            known.aside.last_foreign = Some(foreign);
        }
        Ok(())
    }

    /// An agent that knows less than was written holds nobody back, and lets nobody through.
    fn not_behind(&self, mark: &Mark<S::Note>) -> Result<(), SwitchError> {
        let written = mark.target.as_ref().map(|target| target.epoch);
        match (self.known().pointed, written) {
            (Some(ours), Some(written)) if written > ours => Err(SwitchError::Superseded(written)),
            _ => Ok(()),
        }
    }
}

enum Change {
    /// Somebody else was there: read it anew.
    Conflict(SiteError),
    Failed(SwitchError),
}

impl From<SwitchError> for Change {
    fn from(error: SwitchError) -> Self {
        Self::Failed(error)
    }
}

impl From<SiteError> for Change {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::Conflict(_) | SiteError::Unfit(_) => Self::Conflict(error),
            other => Self::Failed(other.into()),
        }
    }
}

fn absent(path: &str) -> SwitchError {
    SwitchError::refused("looking at it", format!("there is none at {path}"))
}

#[async_trait]
impl<S: Shape> TrafficSwitch for Board<S> {
    fn can_hold(&self) -> bool {
        self.shape.holds()
    }

    fn sees_sessions(&self) -> bool {
        false
    }

    fn look_every(&self) -> Duration {
        LOOK_INTERVAL
    }

    fn aside(&self) -> Aside {
        self.known().aside.clone()
    }

    async fn look(&self) -> Result<Seen, SwitchError> {
        let object = self.site.get(self.shape.path()).await?;
        let Found { mark, lost } = self.found(object.as_ref())?;
        let sight = match &object {
            Some(object) => self.shape.see(object, &mark, self.clock.now()),
            None if self.shape.collection().is_some() => {
                Sight { in_force: false, held: Held::No, remarks: Vec::new() }
            }
            None => return Err(absent(self.shape.path())),
        };
        self.known().aside.remarks = sight.remarks;
        Ok(Seen {
            in_force: sight.in_force && !lost,
            held: sight.held,
            target: mark.target,
            sessions: 0,
            stale: 0,
        })
    }

    async fn point(&self, to: &Pointing) -> Result<(), SwitchError> {
        let newest = self.known().pointed.max(Some(to.epoch));
        self.known().pointed = newest;
        self.change(|mark| {
            let other = mark.target.as_ref().filter(|target| target.pair != to.pair);
            if let Some(other) = other {
                let reason = format!("it leads clients of the pair {}", other.pair);
                return Err(SwitchError::refused("leading clients", reason));
            }
            may_point(mark.target.as_ref(), to)?;
            mark.target = Some(to.clone());
            Ok(())
        })
        .await
    }

    async fn hold(&self, why: &str) -> Result<(), SwitchError> {
        if !self.shape.holds() {
            return Err(SwitchError::refused("holding clients back", "it cannot"));
        }
        self.change(|mark| {
            self.not_behind(mark)?;
            mark.held = Some(why.to_owned());
            Ok(())
        })
        .await
    }

    async fn let_through(&self) -> Result<(), SwitchError> {
        self.change(|mark| {
            self.not_behind(mark)?;
            mark.held = None;
            Ok(())
        })
        .await
    }

    async fn end_stale(&self) -> Result<(), SwitchError> {
        Ok(())
    }
}
