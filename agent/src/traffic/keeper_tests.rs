use std::sync::Arc;

use continuum_control_api::link::{Fact, JournalEntry};
use continuum_domain::operation::{Step, StepOutcome};
use continuum_domain::traffic::Wanted;
use continuum_domain::{PairId, RegionId};
use continuum_runtime::disk::FsDisk;
use continuum_runtime::{BootClock, Clock as _, seed};

use super::super::TrafficSwitch as _;
use super::super::memory::MemorySwitch;
use super::*;
use crate::journal::Journal;

const LIMIT: Duration = Duration::from_secs(10);

struct Bench {
    _directory: tempfile::TempDir,
    switch: Arc<MemorySwitch>,
    desk: Desk,
    journal: Journal,
    wishes: watch::Sender<Wish>,
}

fn pair() -> PairId {
    PairId::new("app").expect("name")
}

fn operation() -> OperationId {
    OperationId::new("op-1").expect("name")
}

fn wish(epoch: u64, holder: &str, gate: Gate) -> Wish {
    let pointing = Pointing {
        pair: pair(),
        epoch: Epoch(epoch),
        holder: RegionId::new(holder).expect("name"),
        host: holder.into(),
        port: 5432,
    };
    let wanted = Wanted { target: None, writable: false, gate };
    Wish { wanted, pointing: Some(pointing) }
}

fn draining() -> Gate {
    Gate::Held { why: Why::Drain(operation()), until: BootClock.now() + LIMIT }
}

impl Bench {
    async fn start(first: Wish) -> Self {
        let directory = tempfile::tempdir().expect("made");
        let disk = Arc::new(FsDisk::open(directory.path()).expect("opened"));
        let clock: SharedClock = Arc::new(BootClock);
        let journal = Journal::open(disk, clock.clone()).await.expect("opened");
        let switch = Arc::new(MemorySwitch::default());
        let driven =
            Driven { name: "pooler".into(), pair: pair(), kind: "memory", switch: switch.clone() };
        let desk = Desk::new(std::slice::from_ref(&driven), &journal, &clock);
        let (wishes, wished) = watch::channel(first);
        seed::spawn(Keeper::new(driven, clock, desk.clone(), wished).run());
        Self { _directory: directory, switch, desk, journal, wishes }
    }

    fn wish(&self, wish: Wish) {
        self.wishes.send_replace(wish);
    }

    async fn until(&self, what: &str, look: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(LIMIT, async {
            while !look(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        let told = || self.switch.calls();
        assert!(waited.await.is_ok(), "{what} did not happen; the switch was told {:?}", told());
    }

    fn was_told(&self, what: &str) -> bool {
        self.switch.calls().iter().any(|call| call == what)
    }

    /// What the journal says of the drain.
    fn word(&self) -> Option<(StepOutcome, String)> {
        let entries = self.journal.after(0, 10);
        entries.iter().find_map(|entry| match entry.understood() {
            Some(JournalEntry {
                fact: Fact::Step { step: Step::Drain, outcome, detail, .. },
                ..
            }) => Some((outcome.clone(), detail.clone())),
            _ => None,
        })
    }
}

#[tokio::test]
async fn a_drain_is_told_of_when_the_last_transaction_has_ended() {
    let bench = Bench::start(wish(7, "fsn", Gate::Open)).await;
    bench.until("pointing", |bench| bench.was_told("point 7 fsn")).await;
    assert!(bench.switch.begin().is_some());
    bench.desk.begin(&pair(), &operation(), Epoch(7), LIMIT);
    bench.wish(wish(7, "fsn", draining()));
    bench.until("holding", |bench| bench.was_told("hold operation op-1")).await;
    assert_eq!(bench.word(), None, "a transaction is open");
    bench.switch.end();
    bench.until("the word", |bench| bench.word().is_some()).await;
    let (outcome, detail) = bench.word().expect("said");
    assert_eq!(outcome, StepOutcome::Done);
    assert!(detail.contains("pooler in "), "{detail}");
    bench.wish(wish(8, "hel", Gate::Open));
    bench.until("letting through", |bench| bench.switch.begin().as_deref() == Some("hel")).await;
}

#[tokio::test]
async fn a_transaction_that_stays_open_is_told_of_when_the_time_is_over() {
    let bench = Bench::start(wish(7, "fsn", Gate::Open)).await;
    bench.until("pointing", |bench| bench.was_told("point 7 fsn")).await;
    assert!(bench.switch.begin().is_some());
    bench.desk.begin(&pair(), &operation(), Epoch(7), Duration::from_millis(50));
    bench.wish(wish(7, "fsn", draining()));
    bench.until("the word", |bench| bench.word().is_some()).await;
    let (outcome, _) = bench.word().expect("said");
    assert!(
        matches!(&outcome, StepOutcome::Failed { reason } if reason.contains("1 sessions")),
        "{outcome:?}"
    );
}

/// Nobody waits past the bound, also where the switch can not be led on.
#[tokio::test]
async fn clients_get_through_also_when_the_switch_refuses_to_lead_elsewhere() {
    let bench = Bench::start(wish(7, "fsn", Gate::Open)).await;
    bench.until("pointing", |bench| bench.was_told("point 7 fsn")).await;
    bench.wish(wish(7, "fsn", draining()));
    bench.until("holding", |bench| bench.was_told("hold operation op-1")).await;
    bench.switch.set_refusing(true);
    bench.wish(wish(8, "hel", Gate::Open));
    bench.until("letting through", |bench| bench.was_told("let through")).await;
    bench.switch.set_refusing(false);
    bench.until("leading on", |bench| bench.was_told("point 8 hel")).await;
}

#[tokio::test]
async fn sessions_at_a_former_holder_are_ended_and_a_hold_of_others_is_left() {
    let bench = Bench::start(wish(7, "fsn", Gate::Open)).await;
    bench.until("pointing", |bench| bench.was_told("point 7 fsn")).await;
    assert!(bench.switch.begin().is_some());
    bench.wish(wish(8, "hel", Gate::Open));
    bench.until("ending", |bench| bench.was_told("end stale")).await;
    bench.switch.hold_by_hand(true);
    bench.wish(wish(9, "fsn", draining()));
    bench.until("pointing", |bench| bench.was_told("point 9 fsn")).await;
    bench.wish(wish(9, "fsn", Gate::Open));
    let seen = bench.switch.look().await.expect("it answers");
    assert_eq!(seen.held, Held::Others);
    assert!(!bench.was_told("let through") && !bench.was_told("hold operation op-1"));
}
