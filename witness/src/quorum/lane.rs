//! One register at one acceptor: reads and changes its cell, and remembers what it last held.

use continuum_runtime::seed;
use rand::RngExt;

use crate::cells::{Cell, Put, Tag};
use crate::register::StoreError;

use super::acceptor::{AcceptorState, Ballot, Refusal};
use super::health::Watch;
use super::mark::{MARK_KEY, Mark, Membership, Standing};
use super::planted::{Bug, planted};
use super::store::Acceptor;

/// Tries at one cell that others change too. Each failed one means that somebody got through.
const TRIES_MAX: u32 = 8;

/// Why a lane did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The quorum has other acceptors by now. Nothing that was sent here counts any more.
    Moved,
    /// Not known, or not asked.
    Failed(StoreError),
}

impl Stop {
    /// What went wrong with the acceptor: that it tells of others is an answer.
    fn error(&self) -> Option<&StoreError> {
        match self {
            Stop::Moved => None,
            Stop::Failed(error) => Some(error),
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Failed(error)
    }
}

/// What an acceptor made of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is on its disk; the state it left.
    Done(AcceptorState),
    /// It refused; nothing changed.
    Refused(Refusal),
    /// It did not come to that.
    Stopped(Stop),
}

#[derive(Clone, Debug)]
struct Known {
    tag: Option<Tag>,
    state: AcceptorState,
}

/// The way to one register at one acceptor.
pub(super) struct Lane {
    acceptor: Acceptor,
    /// The quorum and the membership that the cell is of.
    of: (String, Membership),
    /// Whether it only ends what is under way: then the store may have got its next mark already.
    sealing: bool,
    key: String,
    watch: Watch,
    /// As the cell was last seen; `None` when it must be read first.
    known: Option<Known>,
}

impl Lane {
    pub(super) fn new(
        acceptor: Acceptor,
        of: (String, Membership),
        register: &str,
        sealing: bool,
    ) -> Result<Self, StoreError> {
        let key = of.1.cell_key(&acceptor.name, register)?;
        Ok(Self { acceptor, of, sealing, key, watch: Watch::default(), known: None })
    }

    /// Has what becomes of its requests noted.
    pub(super) fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Reads the cell.
    pub(super) async fn load(&mut self) -> Result<AcceptorState, Stop> {
        let sent = self.watch.sent();
        let answer = self.read().await;
        self.watch.came(sent, answer.as_ref().err().and_then(Stop::error));
        answer
    }

    async fn read(&mut self) -> Result<AcceptorState, Stop> {
        self.known = None;
        let cell = self.acceptor.store.get(&self.key).await?;
        self.take(cell).await
    }

    /// Believes a cell, once the mark stands behind it where it has to.
    async fn take(&mut self, cell: Option<Cell>) -> Result<AcceptorState, Stop> {
        let known = match cell {
            Some(Cell { tag, bytes }) => {
                Known { tag: Some(tag), state: AcceptorState::decode(&bytes)? }
            }
            None => Known { tag: None, state: AcceptorState::default() },
        };
        if known.state.is_unproven() {
            self.check_mark().await?;
        }
        let state = known.state.clone();
        self.known = Some(known);
        Ok(state)
    }

    /// Makes the cell, empty, and believes in it when the mark still stands after that.
    async fn create(&mut self) -> Result<(), Stop> {
        let empty = AcceptorState::unproven(seed::rng().random());
        match self.acceptor.store.put(&self.key, None, empty.encode()).await? {
            Put::Written(tag) => {
                self.check_mark().await?;
                self.known = Some(Known { tag: Some(tag), state: empty });
            }
            Put::Conflict(cell) => {
                self.take(cell).await?;
            }
        }
        Ok(())
    }

    /// Changes the cell by `step`, computed from what it holds.
    pub(super) async fn change(
        &mut self,
        step: impl Fn(&AcceptorState) -> Result<AcceptorState, Refusal> + Send,
    ) -> Told {
        let (sent, before) = (self.watch.sent(), self.promised());
        let tried = self.try_change(step).await;
        let error = tried.as_ref().err().and_then(Stop::error);
        self.watch.changed(sent, (before, self.promised()), error);
        match tried {
            Ok(Ok(state)) => Told::Done(state),
            Ok(Err(refusal)) => Told::Refused(refusal),
            Err(stop) => Told::Stopped(stop),
        }
    }

    fn promised(&self) -> Option<Ballot> {
        self.known.as_ref().map(|known| known.state.promised)
    }

    async fn try_change(
        &mut self,
        step: impl Fn(&AcceptorState) -> Result<AcceptorState, Refusal> + Send,
    ) -> Result<Result<AcceptorState, Refusal>, Stop> {
        for _try in 0..TRIES_MAX {
            // Taken out: a call that is given up half-way leaves nothing believed.
            let known = match self.known.take() {
                Some(known) => known,
                None => {
                    self.load().await?;
                    continue;
                }
            };
            let next = match step(&known.state) {
                Ok(next) => next,
                Err(refusal) => {
                    self.known = Some(known);
                    return Ok(Err(refusal));
                }
            };
            if next == known.state {
                self.known = Some(known);
                return Ok(Ok(next));
            }
            let Some(tag) = known.tag else {
                self.create().await?;
                continue;
            };
            let bytes = next.encode();
            let tag = match self.acceptor.store.put(&self.key, Some(&tag), bytes.clone()).await? {
                Put::Written(tag) => tag,
                // An earlier send of these very bytes had taken effect: they carry our ballot.
                Put::Conflict(Some(cell)) if cell.bytes == bytes => cell.tag,
                Put::Conflict(cell) => {
                    self.take(cell).await?;
                    continue;
                }
            };
            self.known = Some(Known { tag: Some(tag), state: next.clone() });
            return Ok(Ok(next));
        }
        Err(StoreError::NotSent("others changed the cell each time".into()).into())
    }

    async fn check_mark(&self) -> Result<(), Stop> {
        let name = &self.acceptor.name;
        let mark = self.acceptor.store.get(MARK_KEY).await?;
        if planted(Bug::TrustEmpty) {
            return Ok(());
        }
        let Some(mark) = mark.map(|cell| Mark::decode(&cell.bytes)).transpose()? else {
            return Err(Stop::Failed(StoreError::Misconfigured(format!(
                "acceptor {name} has lost its state, and its promises with it: it does not count \
                 until it is readmitted: 'continuum witness replace {name} {name}'"
            ))));
        };
        let (quorum, of) = &self.of;
        match mark.standing(name, (quorum, of), self.sealing) {
            Standing::Stands => Ok(()),
            Standing::Moved => Err(Stop::Moved),
            Standing::Other => Err(Stop::Failed(StoreError::Misconfigured(format!(
                "the store reached as acceptor {name} is {} of {:?}: its address is another's, it \
                 belongs to another quorum, or it is not taken in yet",
                mark.acceptor,
                mark.now.members.keys()
            )))),
        }
    }
}
