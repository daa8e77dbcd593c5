//! Which acceptors are in use, as the stores' marks tell it.

use continuum_runtime::seed;

use crate::register::StoreError;

use super::found::read_mark;
use super::health::{QuorumHealth, Watch};
use super::lane::Lane;
use super::mark::{Mark, Membership, Phase};
use super::planted::{Bug, planted};
use super::round::Lanes;
use super::store::Acceptor;

/// The acceptors that are known here, and where to note what is seen of them.
pub(super) struct Reach {
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) health: Option<QuorumHealth>,
}

/// The acceptors in use. Whatever of it is out of date is found out: a register that was carried over
/// is sealed where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) quorum: String,
    pub(super) now: Membership,
    /// Who they were, while registers are carried over.
    pub(super) from: Option<Membership>,
}

impl View {
    pub(super) fn of(mark: Mark) -> View {
        View { quorum: mark.quorum, now: mark.now, from: mark.from }
    }

    /// Orders the views of one quorum in time.
    fn rank(&self) -> (u64, bool) {
        (self.now.generation, self.from.is_none())
    }

    pub(super) fn is_after(&self, other: &View) -> bool {
        self.rank() > other.rank()
    }

    /// The way to a register at the acceptors in use.
    pub(super) fn lanes(&self, reach: &Reach, register: &str) -> Result<Lanes, StoreError> {
        self.build(reach, register, &self.now, false)
    }

    /// The way to its cells at the acceptors before, to end what is under way there; `None` unless
    /// registers are being carried over.
    pub(super) fn lanes_before(
        &self,
        reach: &Reach,
        register: &str,
    ) -> Result<Option<Lanes>, StoreError> {
        let from = self.from.as_ref();
        from.map(|from| self.build(reach, register, from, true)).transpose()
    }

    fn build(
        &self,
        reach: &Reach,
        register: &str,
        of: &Membership,
        sealing: bool,
    ) -> Result<Lanes, StoreError> {
        let counts = |acceptor: &&Acceptor| match sealing {
            true => self.counts_before(&acceptor.name),
            false => of.members.contains_key(&acceptor.name),
        };
        let lanes = reach.acceptors.iter().filter(counts).map(|acceptor| {
            let watch = Watch::new(reach.health.as_ref(), &acceptor.name);
            let of = (self.quorum.clone(), of.clone());
            let lane = Lane::new(acceptor.clone(), of, register, sealing)?;
            Ok::<_, StoreError>(lane.watched(watch))
        });
        Ok(Lanes::new(lanes.collect::<Result<Vec<_>, _>>()?, of.members.len()))
    }

    /// Whether what an acceptor holds of the membership before is asked for. Who is replaced may be so
    /// because its state is not to be trusted; where it was the only one there is no other.
    pub(super) fn counts_before(&self, acceptor: &str) -> bool {
        self.from.as_ref().is_some_and(|from| {
            let alone = from.members.len() == 1 && from.members.contains_key(acceptor);
            let all = planted(Bug::AskTheReplaced) && from.members.contains_key(acceptor);
            alone || all || self.now.keeps(from, acceptor)
        })
    }
}

/// The newest acceptors that the stores tell of. Stores that tell of different quorums are never mixed:
/// their majorities need not meet.
pub(super) async fn look(acceptors: &[Acceptor]) -> Result<View, StoreError> {
    let (tell, mut told) = tokio::sync::mpsc::channel(acceptors.len().max(1));
    for acceptor in acceptors {
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        seed::spawn(async move {
            // Nobody listens any more once a majority has answered.
            let _done = tell.send(read_mark(&acceptor).await).await;
        });
    }
    drop(tell);
    let (mut found, mut answers, mut errors) = (None::<(Mark, View)>, 0, Vec::new());
    while let Some(answer) = told.recv().await {
        match answer {
            Ok(Some((_, mark))) if mark.phase != Phase::Founding => {
                answers += 1;
                let view = View::of(mark.clone());
                found = Some(match found.take() {
                    Some(held) => newer(held, (mark, view))?,
                    None => (mark, view),
                });
            }
            Ok(_) => errors.push("not founded".to_owned()),
            Err(error) => errors.push(error.to_string()),
        }
        // A majority of these shows what is newer, if anything is: most of them are in both.
        let members = found.as_ref().map_or(acceptors.len(), |(_, view)| view.now.members.len());
        if answers > members / 2 {
            break;
        }
    }
    found.map(|(_, view)| view).ok_or_else(|| {
        match errors.iter().all(|error| error == "not founded") {
            true => StoreError::Misconfigured(
                "the quorum was not founded: run 'continuum witness init' once".into(),
            ),
            false => StoreError::NotSent(format!(
                "the acceptors' marks could not be read: {}",
                errors.join("; ")
            )),
        }
    })
}

/// The newer of what two stores tell.
fn newer(held: (Mark, View), other: (Mark, View)) -> Result<(Mark, View), StoreError> {
    let (one, two) = (&held.0, &other.0);
    let differ = one.now.generation == two.now.generation && one.now != two.now;
    if one.quorum != two.quorum || differ {
        return Err(StoreError::Misconfigured(format!(
            "acceptors {} and {} were founded as parts of different quorums",
            one.acceptor, two.acceptor
        )));
    }
    Ok(if other.1.is_after(&held.1) { other } else { held })
}
