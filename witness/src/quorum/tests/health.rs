//! What is noted of the acceptors is what became of requests to them, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_domain::{Tick, Version};
use continuum_runtime::{BootClock, Clock};

use super::flaky::Flaky;
use super::{DEADLINE, KEY, acceptor, in_memory, operator};
use crate::memory_cells::MemoryCells;
use crate::quorum::{Acceptor, AcceptorHealth, QuorumHealth, QuorumStore, found};
use crate::register::{Answer, RegisterStore};

fn watched(acceptors: &[Acceptor]) -> (QuorumStore, QuorumHealth) {
    let names = acceptors.iter().map(|acceptor| acceptor.name.clone());
    let health = QuorumHealth::new(Arc::new(BootClock), names);
    let store = QuorumStore::new(acceptors.to_vec(), operator(), DEADLINE);
    (store.watched(health.clone()), health)
}

async fn write(store: &QuorumStore, at: Version) -> Version {
    match store.compare_and_swap(KEY, at, at.0.to_string().into_bytes()).await {
        Ok(Answer::Accepted(version)) => version,
        other => panic!("{other:?}"),
    }
}

/// The slowest acceptor answers after the majority has: looks until `fits`.
async fn once(health: &QuorumHealth, fits: impl Fn(&BTreeMap<String, AcceptorHealth>) -> bool) {
    for _look in 0..5_000 {
        if fits(&health.view()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{:#?}", health.view());
}

#[tokio::test]
async fn an_acceptor_that_fails_is_told_from_those_that_answer_and_recovers() {
    let stores: Vec<Arc<Flaky>> = (0..3).map(|seed| Arc::new(Flaky::new(seed))).collect();
    stores.iter().for_each(|store| store.be_kind());
    let acceptors: Vec<Acceptor> =
        stores.iter().enumerate().map(|(at, store)| acceptor(at, store.clone())).collect();
    found(&acceptors).await.unwrap();
    let (store, health) = watched(&acceptors);
    let unseen =
        AcceptorHealth { answered: None, failures: 0, last_error: None, round_trips: None };
    assert!(health.view().values().all(|seen| *seen == unseen), "nothing was asked yet");

    let before = BootClock.now();
    let mut version = write(&store, Version::ABSENT).await;
    once(&health, |seen| seen.values().all(|seen| seen.answered >= Some(before))).await;

    stores[2].set_down(true);
    let down_at = BootClock.now();
    for _ in 0..3 {
        version = write(&store, version).await;
    }
    once(&health, |seen| seen["w2"].failures >= 3).await;
    let view = health.view();
    let Some((failed_at, "not-sent")) = view["w2"].last_error else { panic!("{view:#?}") };
    // An answer to the first write may still have been on its way when it went down.
    assert!(failed_at >= down_at && view["w2"].answered < Some(failed_at), "{view:#?}");
    for name in ["w0", "w1"] {
        assert_eq!((view[name].failures, view[name].last_error), (0, None));
        assert!(view[name].answered > Some(down_at), "{view:#?}");
        assert!(view[name].round_trips.is_some_and(|trips| trips.count >= 4), "{view:#?}");
    }

    stores[2].set_down(false);
    write(&store, version).await;
    once(&health, |seen| seen["w2"].failures == 0 && seen["w2"].last_error.is_none()).await;
}

/// It answers every request, as a store. It does not as an acceptor.
#[tokio::test]
async fn a_store_that_lost_its_state_is_not_noted_as_answering() {
    let (_, mut acceptors) = in_memory(3).await;
    let (store, _) = watched(&acceptors);
    let version = write(&store, Version::ABSENT).await;
    acceptors[1].store = Arc::new(MemoryCells::new());
    let (store, health) = watched(&acceptors);
    write(&store, version).await;
    once(&health, |seen| seen["w1"].failures > 0).await;
    let lost = &health.view()["w1"];
    assert_eq!(lost.answered, None::<Tick>);
    assert!(matches!(lost.last_error, Some((_, "misconfigured"))), "{lost:#?}");
}

/// All stores of a process share what is noted.
#[tokio::test]
async fn several_stores_note_in_one_place() {
    let (_, acceptors) = in_memory(1).await;
    let (first, health) = watched(&acceptors);
    let second = QuorumStore::new(acceptors, operator(), DEADLINE).watched(health.clone());
    write(&first, Version::ABSENT).await;
    let count = || health.view()["w0"].round_trips.map_or(0, |trips| trips.count);
    let after_first = count();
    second.read(KEY).await.unwrap();
    assert!(after_first > 0 && count() > after_first);
}

/// A ballot that is refused by what is remembered asks nobody.
#[tokio::test]
async fn what_memory_decides_is_not_noted_as_an_answer() {
    use crate::quorum::acceptor::Ballot;
    use crate::quorum::health::Watch;
    use crate::quorum::lane::{Lane, Told};
    use crate::quorum::view::look;
    let (_, acceptors) = in_memory(1).await;
    let view = look(&acceptors).await.unwrap();
    let health = QuorumHealth::new(Arc::new(BootClock), ["w0".to_owned()]);
    let lane = Lane::new(acceptors[0].clone(), (view.quorum, view.now), KEY, false).unwrap();
    let mut lane = lane.watched(Watch::new(Some(&health), "w0"));
    let prepare = |round| {
        move |state: &crate::quorum::AcceptorState| state.prepare(Ballot { round, proposer: 1 })
    };
    assert!(matches!(lane.change(prepare(5)).await, Told::Done(_)));
    let answered = health.view()["w0"].answered;
    assert!(answered.is_some());
    assert!(matches!(lane.change(prepare(5)).await, Told::Done(_)), "nothing to write");
    assert!(matches!(lane.change(prepare(4)).await, Told::Refused(_)));
    let seen = &health.view()["w0"];
    assert_eq!((seen.answered, seen.failures), (answered, 0));
}
