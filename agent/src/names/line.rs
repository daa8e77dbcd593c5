//! The tasks of names at providers: one that writes, one that looks whether it is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::link::Fact;
use continuum_dns::provider::RecordProvider;
use continuum_dns::provider::publish::{FollowedName, Outcome, RecordNames};
use continuum_dns::records::{Records, Wanted};
use continuum_dns::verify::{Verdict, verify};
use continuum_dns::{NameChange, NameError};
use continuum_domain::Tick;
use continuum_domain::name_spec::absolute;
use continuum_domain::operation::{Step, StepOutcome};
use continuum_runtime::SharedClock;
use tokio::sync::watch;

use super::seen::NamesSeen;
use crate::journal::Journal;

/// Longest time of one question to an authority.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// How often authorities are asked until all serve a change: at first, and after [`EAGER_FOR`].
const LOOK_EAGERLY: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const EAGER_FOR: Duration = Duration::from_secs(10);
/// How often they are asked while all serve it.
const LOOK_ROUTINE: Duration = Duration::from_secs(10);
/// How often a place is asked whether a change is at all its servers.
const SETTLE_AGAIN: Duration = Duration::from_secs(2);
/// A holder publishes each second: what was last wanted so long ago is not wanted any more.
const ABANDONED: Duration = Duration::from_secs(5);

/// What is to be written next at one place.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub change: NameChange,
    pub records: Records,
    /// When it was last wanted.
    pub at: Tick,
}

/// Writes the newest of what is due, one after the other, until the name is not followed any more.
pub(super) async fn keep(
    (label, place): (String, Arc<dyn RecordProvider>),
    mut jobs: watch::Receiver<Option<Job>>,
    seen: NamesSeen,
    clock: SharedClock,
) {
    let names = RecordNames::new(place.clone(), Default::default());
    let mut stands = Stands::default();
    while jobs.changed().await.is_ok() {
        let Some(Job { change, records, at }) = jobs.borrow_and_update().clone() else { continue };
        // Behind a server that hung: by now another may hold the lease, and not every place is a fence.
        if clock.now().since(at) >= ABANDONED {
            continue;
        }
        let wanted = (change.clone(), records.clone());
        if !stands.is_recent(&wanted, place.look_again(), clock.now()) {
            let records = [(change.holder.clone(), records)].into();
            names.follow(&change.name, FollowedName { pair: change.pair.clone(), records });
            let looked = clock.now();
            let told = names.publish_told(&change).await;
            if stands.note(wanted, looked, &told) {
                seen.spreads(&change, &label, None, looked);
            }
            seen.published(&change, &label, told.map(|outcome| outcome.foreign), clock.now());
        }
        if stands.may_ask(clock.now()) {
            match place.settled(&absolute(&change.name)).await {
                Ok(everywhere) => {
                    stands.settled = everywhere != Some(false);
                    seen.spreads(&change, &label, everywhere, clock.now());
                }
                Err(error) => {
                    tracing::debug!(name = change.name, place = label, %error,
                        "not known whether the change is at all servers of the place");
                }
            }
        }
    }
}

/// What one place is known to hold.
#[derive(Default)]
struct Stands {
    /// What was found or made to stand there, and when that was looked at.
    wanted: Option<((NameChange, Records), Tick)>,
    /// Whether nothing is known to be on its way to the servers of the place.
    settled: bool,
    asked: Option<Tick>,
}

impl Stands {
    fn is_recent(&self, wanted: &(NameChange, Records), span: Duration, now: Tick) -> bool {
        self.wanted.as_ref().is_some_and(|(stands, at)| stands == wanted && now.since(*at) < span)
    }

    /// Whether something was written.
    fn note(
        &mut self,
        wanted: (NameChange, Records),
        now: Tick,
        told: &Result<Outcome, NameError>,
    ) -> bool {
        self.wanted = told.is_ok().then_some((wanted, now));
        let changed = told.as_ref().is_ok_and(|outcome| outcome.changed);
        if changed {
            (self.settled, self.asked) = (false, None);
        }
        changed
    }

    /// Whether the place is to be asked now how far a change has come.
    fn may_ask(&mut self, now: Tick) -> bool {
        let due = self.asked.is_none_or(|asked| now.since(asked) >= SETTLE_AGAIN);
        let may = !self.settled && self.wanted.is_some() && due;
        if may {
            self.asked = Some(now);
        }
        may
    }
}

/// What the authorities of a name should serve.
#[derive(Clone, Debug)]
pub(super) struct Due {
    /// The name as the spec has it.
    pub name: String,
    pub wanted: Wanted,
    pub zone: String,
    pub authorities: Vec<SocketAddr>,
    /// When it was last wanted.
    pub at: Tick,
    /// When the epoch was won.
    pub since: Tick,
    /// Whether the name was followed from then on: only then it is known how long it took.
    pub from_then: bool,
}

/// Asks the authorities until all serve what is due, and once in a while after that. How long it took
/// after a move goes to the journal, and so to the operation.
pub(super) async fn look(
    mut inbox: watch::Receiver<Option<Due>>,
    (seen, journal): (NamesSeen, Journal),
    clock: SharedClock,
) {
    let mut changed_at: Option<(Wanted, Tick)> = None;
    loop {
        let due = inbox.borrow_and_update().clone();
        let due = due.filter(|due| clock.now().since(due.at) < ABANDONED);
        let Some(due) = due else {
            match inbox.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let verdicts = verify(&due.authorities, &due.zone, &due.wanted, LOOK_DEADLINE).await;
        let now = clock.now();
        let all = verdicts.values().all(|verdict| *verdict == Verdict::Serves);
        let servers = verdicts.len();
        let took = seen.served(&due.name, (due.wanted.epoch, due.since), verdicts, now);
        if let Some(took) = took.filter(|_| due.from_then) {
            let fact = Fact::Step {
                step: Step::Traffic,
                outcome: StepOutcome::Done,
                took_us: Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
                detail: format!("{} is served by all of {servers} authorities", due.name),
            };
            journal.append(&due.wanted.pair, due.wanted.epoch, None, fact);
        }
        let since = match &changed_at {
            Some((wanted, at)) if *wanted == due.wanted => *at,
            _ => now,
        };
        changed_at = Some((due.wanted.clone(), since));
        let pause = match all {
            true => LOOK_ROUTINE,
            false if now.since(since) < EAGER_FOR => LOOK_EAGERLY,
            false => LOOK_AGAIN,
        };
        if !until_changed(&mut inbox, &due.wanted, pause).await {
            return;
        }
    }
}

/// Waits so long, or until something else is wanted; false when nothing will be wanted any more.
async fn until_changed(
    inbox: &mut watch::Receiver<Option<Due>>,
    wanted: &Wanted,
    pause: Duration,
) -> bool {
    let another = |due: &Option<Due>| due.as_ref().is_none_or(|due| due.wanted != *wanted);
    match tokio::time::timeout(pause, inbox.wait_for(another)).await {
        Ok(changed) => changed.is_ok(),
        Err(_) => true,
    }
}
