//! Who else writes the role of the Cluster, and what is done about it.
//!
//! The agent says what the lease says and what the pair wants ([`Guide`]); the plane sees the write, and
//! does what [`respond`] has for it. Whatever the policy: who was told to be a primary and does not hold the
//! lease is ended at once.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use continuum_domain::{Epoch, RegionId, Tick};

use super::Inner;
use super::clusters::Seen;
use crate::kubernetes::cnpg::Cluster;
use crate::kubernetes::foreign::{ForeignPolicy, ForeignWrite, Holding, Response, detect, respond};
use crate::kubernetes::patches::{self, PatchError};
use crate::kubernetes::written::Written;
use crate::plane::PlaneError;

/// Pause after something that could not be done.
const AGAIN: Duration = Duration::from_millis(500);

/// What the agent knows when the plane asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guidance {
    /// What the pair wants.
    pub policy: ForeignPolicy,
    /// What the lease says.
    pub holding: Holding,
    /// Under which epoch, where this region holds it.
    pub epoch: Option<Epoch>,
}

/// How the plane asks.
pub type Guide = Box<dyn Fn() -> Guidance + Send + Sync>;

/// Who is told of each foreign write, once.
pub type Hearer = Box<dyn Fn(&Incident) + Send + Sync>;

/// One foreign write, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The write.
    pub write: ForeignWrite,
    /// What is done about it.
    pub response: Response,
    /// Why that is not done, where it is not.
    pub hindered: Option<String>,
}

/// A wish to move that somebody has written into the Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveWish {
    /// To where.
    pub to: RegionId,
    /// Tells this write from others, also after a restart of the agent.
    pub key: String,
}

/// What is known of foreign writes to one Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Whether the role could be compared with what was written last.
    pub compared: bool,
    /// The one that stands.
    pub stands: Option<Incident>,
    /// The last one that stands no more.
    pub last: Option<Incident>,
    /// How many there were since this agent began.
    pub count: u64,
    /// A wish that nobody has brought to the core yet.
    pub wish: Option<MoveWish>,
}

/// What the agent and the plane share of it.
#[derive(Default)]
pub struct RoleBoard {
    guide: OnceLock<Guide>,
    hearer: OnceLock<Hearer>,
    looked: Mutex<Looked>,
    pace: Mutex<Pace>,
}

/// What need not be done at each look.
#[derive(Default)]
struct Pace {
    /// The version of the Cluster whose role is as it was written last.
    clean: Option<String>,
    /// When what could not be done is tried again.
    again: Option<Tick>,
}

impl std::fmt::Debug for RoleBoard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RoleBoard({:?})", self.looked())
    }
}

impl RoleBoard {
    /// Tells the plane how to ask; only the first counts.
    pub fn guided_by(&self, guide: Guide) {
        if self.guide.set(guide).is_err() {
            tracing::debug!("the plane knows whom to ask already");
        }
    }

    /// Has each foreign write told, when it is first seen; only the first hearer counts.
    pub fn heard_by(&self, hearer: Hearer) {
        if self.hearer.set(hearer).is_err() {
            tracing::debug!("foreign writes are told to somebody already");
        }
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known.
    pub fn look(&self) -> Looked {
        self.looked().clone()
    }

    /// Somebody wishes to move.
    pub fn wish(&self, wish: MoveWish) {
        self.looked().wish = Some(wish);
    }

    /// A wish was brought to the core, or is over.
    pub fn brought(&self, wish: &MoveWish) {
        let mut looked = self.looked();
        looked.wish = looked.wish.take().filter(|found| found != wish);
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self, compared: bool) {
        let mut looked = self.looked();
        looked.compared = compared;
        if let Some(over) = looked.stands.take() {
            looked.last = Some(over);
        }
    }

    /// Takes a write in; whether it is another than the one that stands.
    fn stands(&self, incident: Incident) -> bool {
        let mut looked = self.looked();
        looked.compared = true;
        let known = looked.stands.as_ref().is_some_and(|known| known.write == incident.write);
        if !known {
            looked.count += 1;
        }
        looked.stands = Some(incident);
        !known
    }

    fn hindered(&self, why: String) {
        if let Some(stands) = &mut self.looked().stands {
            stands.hindered = Some(why);
        }
    }
}

impl Inner {
    /// Compares the role with what was written last, and does what is to be done where it differs.
    pub(super) async fn keep_role(&self) -> Result<(), PlaneError> {
        let board = &self.role;
        let Some(guide) = board.guide.get() else { return Ok(()) };
        let now = self.clock.now();
        if board.pace().again.is_some_and(|again| now < again) {
            return Ok(());
        }
        let seen = {
            let known = self.known();
            let Some(seen) = &known.seen else { return Ok(()) };
            let version = &seen.cluster.metadata.resource_version;
            if version.is_some() && board.pace().clean == *version {
                return Ok(());
            }
            seen.clone()
        };
        let result = self.compare_role(board, guide, &seen.cluster).await;
        board.pace().again = result.is_err().then(|| self.clock.now() + AGAIN);
        result
    }

    async fn compare_role(
        &self,
        board: &RoleBoard,
        guide: &Guide,
        cluster: &Cluster,
    ) -> Result<(), PlaneError> {
        let written = Written::read(cluster);
        let found = written.as_ref().and_then(|written| detect(written, cluster));
        let guidance = guide();
        let (Some(written), Some(write)) = (written.as_ref(), found) else {
            board.settled(written.is_some());
            board.pace().clean =
                written.as_ref().and_then(|_| cluster.metadata.resource_version.clone());
            return if written.is_none() { self.adopt(guidance).await } else { Ok(()) };
        };
        let response = respond(guidance.policy, cluster, guidance.holding);
        let incident = Incident { write: write.clone(), response, hindered: None };
        let before = board.look().stands.filter(|known| known.write == write);
        if board.stands(incident.clone()) {
            if let Some(hearer) = board.hearer.get() {
                hearer(&incident);
            }
            let (changes, managers) = (&write.changes, &write.managers);
            tracing::warn!(?changes, ?managers, ?response, cluster = self.name, "a foreign write");
        } else if let Some(why) = before.and_then(|before| before.hindered) {
            board.hindered(why);
        }
        match response {
            Response::Report => Ok(()),
            Response::Fence => self.end_told_primary(written).await,
            Response::Restore => self.put_back(board, written, guidance).await.map(drop),
            Response::HandOver => {
                let wish = self.wish(cluster);
                if self.put_back(board, written, guidance).await?
                    && let Some(wish) = wish
                {
                    board.wish(wish);
                }
                Ok(())
            }
        }
    }

    /// Takes a role for ours that no agent wrote, where it is what the lease says: a Cluster that was just
    /// made, or one that a person has set right.
    async fn adopt(&self, guidance: Guidance) -> Result<(), PlaneError> {
        let fits = {
            let known = self.known();
            let Some(up) = &known.up else { return Ok(()) };
            let quiet = !(known.stopping || known.held || known.busy || known.is_fenced());
            let follows = known.asks_for_replica();
            quiet
                && match guidance.holding {
                    Holding::Holder | Holding::HolderAlone => {
                        !up.in_recovery && follows == Some(false)
                    }
                    Holding::Other => up.in_recovery && follows == Some(true),
                    Holding::Unknown => false,
                }
        };
        let Ok(_turn) = self.turn.try_lock() else { return Ok(()) };
        if !fits {
            return Ok(());
        }
        self.change("taking the role for ours", |seen| match Written::read(&seen.cluster) {
            Some(_) => Err(PatchError::Already),
            None => patches::adopt(&seen.cluster),
        })
        .await
    }

    /// Ends who was told to be a primary without the lease. Once that is so, what it was told is taken away.
    async fn end_told_primary(&self, written: &Written) -> Result<(), PlaneError> {
        let Ok(_turn) = self.turn.try_lock() else { return Ok(()) };
        let (epoch, stopped) = {
            let known = self.known();
            if known.busy {
                return Ok(());
            }
            (known.epoch, known.gone && known.is_fenced())
        };
        if !stopped {
            self.stop_now(epoch).await?;
        }
        if written.leads() || written.token.is_some() {
            return Ok(());
        }
        let put = |seen: &Seen| patches::put_back(&seen.cluster, epoch, written);
        self.change("taking the primary's role away", put).await
    }

    /// Writes the role again that was written last, if that is safe now; whether it was written.
    async fn put_back(
        &self,
        board: &RoleBoard,
        written: &Written,
        guidance: Guidance,
    ) -> Result<bool, PlaneError> {
        let Ok(_turn) = self.turn.try_lock() else { return Ok(false) };
        if let Some(why) = self.bars_putting_back(written, guidance) {
            board.hindered(why.into());
            return Ok(false);
        }
        let epoch = self.known().epoch;
        let put = |seen: &Seen| patches::put_back(&seen.cluster, epoch, written);
        self.change("putting the role back", put).await?;
        Ok(true)
    }

    /// A primary's role is put back only onto one that still is one, under the deadline of this lease: one that
    /// is on its way down is for the lease to decide about.
    fn bars_putting_back(&self, written: &Written, guidance: Guidance) -> Option<&'static str> {
        let known = self.known();
        if written.token.is_some() {
            return Some("a promotion by token is under way");
        }
        if !written.leads() {
            return None;
        }
        if guidance.holding != Holding::Holder || guidance.epoch != Some(known.epoch) {
            return Some("this region's lease is not the one that the role was written under");
        }
        let armed = known.deadline.is_some_and(|deadline| self.clock.now() < deadline);
        let writable = known.up.as_ref().is_some_and(|up| !up.in_recovery);
        let stopping = known.stopping
            || known.held
            || known.busy
            || known.is_fenced()
            || known.is_being_demoted();
        if !writable || !armed || stopping {
            return Some("PostgreSQL is on its way down already: the lease decides who is next");
        }
        None
    }

    /// To where the write points, if that is a region of the pair.
    fn wish(&self, cluster: &Cluster) -> Option<MoveWish> {
        let to = cluster.spec.replica.as_ref()?.primary.as_ref()?;
        let mut regions = self.config.clusters.iter();
        let (region, _) = regions.find(|(_, name)| *name == to)?;
        let (uid, version) = (&cluster.metadata.uid, &cluster.metadata.resource_version);
        let key = format!("k8s-role:{}:{}", uid.as_ref()?, version.as_ref()?);
        Some(MoveWish { to: region.clone(), key })
    }
}
