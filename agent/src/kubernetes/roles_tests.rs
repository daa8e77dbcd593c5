use continuum_cnpg_pair::kubernetes::foreign::ForeignWrite;
use continuum_control_api::link::FromAgent;
use continuum_domain::{Epoch, OperationId};
use continuum_runtime::BootClock;
use continuum_runtime::disk::FsDisk;
use tokio::sync::mpsc;

use super::*;
use crate::core_link::CoreHandle;
use crate::metrics::tests::primary;

const SECOND: u64 = 1_000_000_000;

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

#[test]
fn who_holds_is_what_the_register_says_while_that_is_fresh() {
    let (fsn, hel, now) = (region("fsn"), region("hel"), Tick(100 * SECOND));
    let status = primary();
    assert_eq!(holding(&status, &fsn, now), Holding::Holder);
    assert_eq!(holding(&status, &hel, now), Holding::Other);
    let later = Tick(131 * SECOND);
    assert_eq!(holding(&status, &hel, later), Holding::Unknown, "the register is old");
    let mut vacant = primary();
    vacant.record.as_mut().unwrap().1.holder = None;
    assert_eq!(holding(&vacant, &fsn, now), Holding::Other, "nobody's is nobody's");
    let mut lapsed = primary();
    lapsed.lease_until = None;
    assert_eq!(holding(&lapsed, &fsn, now), Holding::Unknown);
    for change in [
        (|status: &mut PairStatus| status.observation.sql = None) as fn(&mut PairStatus),
        |status| status.observation.sql.as_mut().unwrap().0 = Tick(90 * SECOND),
        |status| status.observation.sql.as_mut().unwrap().1.standbys.clear(),
    ] {
        let mut alone = primary();
        change(&mut alone);
        assert_eq!(holding(&alone, &fsn, now), Holding::HolderAlone);
    }
}

fn incident(response: Response, hindered: Option<&str>) -> Incident {
    let change = FieldChange {
        path: "spec.replica.primary".into(),
        ours: Some("app-hel".into()),
        found: Some("app-fsn".into()),
    };
    let write = ForeignWrite { changes: vec![change], managers: vec!["flux".into()] };
    Incident { write, response, hindered: hindered.map(Into::into) }
}

#[test]
fn the_condition_says_who_wrote_what_and_what_is_done() {
    let of = |stands, last, compared| RoleLook { compared, stands, last, ..RoleLook::default() };
    for (look, status, reason) in [
        (of(None, None, false), ConditionStatus::Unknown, "NotCompared"),
        (of(None, None, true), ConditionStatus::False, "NoneSeen"),
        (of(None, Some(incident(Response::Fence, None)), true), ConditionStatus::False, "Over"),
        (of(Some(incident(Response::Report, None)), None, true), ConditionStatus::True, "Reported"),
        (of(Some(incident(Response::Fence, None)), None, true), ConditionStatus::True, "Fenced"),
        (
            of(Some(incident(Response::Restore, Some("late"))), None, true),
            ConditionStatus::True,
            "Hindered",
        ),
    ] {
        let told = says(&look, None);
        assert_eq!((told.status, told.reason), (status, reason), "{look:?}");
        if look.stands.is_some() {
            assert!(told.message.contains("flux wrote"), "{}", told.message);
            assert!(told.message.contains("is app-fsn, was app-hel"), "{}", told.message);
        }
    }
}

#[tokio::test]
async fn a_wish_is_brought_to_the_core_under_one_key_until_it_answers() {
    let clock: SharedClock = Arc::new(BootClock);
    let desk = RoleDesk::new(&region("fsn"), &Pairs::default(), &clock);
    let (pair, board) = (PairId::new("app").unwrap(), Arc::new(RoleBoard::default()));
    desk.add(&pair, board.clone());
    board.wish(MoveWish { to: region("hel"), key: "k8s-role:u:7".into() });
    let handle = CoreHandle::new();
    let (sender, mut asks) = mpsc::channel(4);
    handle.connected(Some(sender));
    let core = CoreDesk::new(handle);
    desk.bring_to(core.clone());
    for again in [true, false] {
        let Some(FromAgent::Ask(ask)) = asks.recv().await else { panic!("nothing was asked") };
        assert_eq!((ask.key.as_str(), &ask.pair), ("k8s-role:u:7", &pair));
        let answer = match again {
            true => RegionAnswer::Refused { code: "leaderless".into(), text: "".into(), again },
            false => RegionAnswer::Started { operation: OperationId::new("op-1").unwrap() },
        };
        core.answered(ask.request, answer.into());
    }
    while board.look().wish.is_some() {
        tokio::task::yield_now().await;
    }
    let told = desk.says(&pair).unwrap();
    assert_eq!(told.reason, "NotCompared");
    assert!(desk.look()[&pair].stands.is_none());
    assert_eq!(lock(&desk.0.answers)[&pair], "the core moves it: op-1");
}

#[tokio::test]
async fn a_foreign_write_goes_to_the_journal_and_nothing_does_without_one() {
    let clock: SharedClock = Arc::new(BootClock);
    let desk = RoleDesk::new(&region("fsn"), &Pairs::default(), &clock);
    let pair = PairId::new("app").unwrap();
    let written = incident(Response::HandOver, None);
    desk.note(&pair, &written);
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FsDisk::open(directory.path()).unwrap());
    let journal = Journal::open(disk, clock).await.unwrap();
    desk.noted_in(journal.clone());
    desk.note(&pair, &written);
    let entries = journal.after(0, 10);
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    let entry = entry.understood().unwrap();
    assert_eq!((&entry.pair, entry.epoch, &entry.operation), (&pair, Epoch(0), &None));
    let Fact::Blocked { state: Some(state) } = &entry.fact else { panic!("{entry:?}") };
    assert_eq!(state.code, "foreign-write");
    assert!(state.meaning.contains("flux wrote the role"), "{}", state.meaning);
    assert!(state.action.contains("the core is asked to move"), "{}", state.action);
}

#[test]
fn without_a_word_of_the_pair_it_is_reported_only() {
    let clock: SharedClock = Arc::new(BootClock);
    let desk = RoleDesk::new(&region("fsn"), &Pairs::default(), &clock);
    let pair = PairId::new("app").unwrap();
    let unknown = |policy| Guidance { policy, holding: Holding::Unknown, epoch: None::<Epoch> };
    assert_eq!(desk.guidance(&pair), unknown(ForeignPolicy::Report));
    desk.wants(&pair, Some(ForeignPolicy::Restore));
    assert_eq!(desk.guidance(&pair), unknown(ForeignPolicy::Restore));
    desk.wants(&pair, None);
    assert_eq!(desk.guidance(&pair), unknown(ForeignPolicy::Report));
}
