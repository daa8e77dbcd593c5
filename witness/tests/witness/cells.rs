//! The cells of a witness server over mutual TLS: the contract, who may write what, restarts.

use std::sync::Arc;
use std::time::Duration;

use continuum_witness::cell_contract::{self, CellSubject};
use continuum_witness::recorded::Plan;
use continuum_witness::{Cell, CellStore, Put, ServerCells, StoreError, Tag};

const DEADLINE: Duration = Duration::from_secs(5);

fn client(lab: &crate::common::Lab, identity: &str, address: &str) -> ServerCells {
    ServerCells::new(lab.network(identity), address, "w1", DEADLINE)
}

fn written(answer: Result<Put, StoreError>) -> Tag {
    match answer {
        Ok(Put::Written(tag)) => tag,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_keeps_the_contract_of_cells_over_mutual_tls() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w1").await;
    let (network, address) = (lab.network("operator/tester"), server.address.clone());
    let open = move || {
        let store = ServerCells::new(network.clone(), address.clone(), "w1", DEADLINE);
        Arc::new(store) as Arc<dyn CellStore>
    };
    let subject = CellSubject { open: Arc::new(open), space: "probe/".into(), rounds: 10 };
    cell_contract::all(&subject).await.unwrap();
    let tally = cell_contract::history(&subject, Plan::of(10_000)).await.unwrap();
    tally.check_substance("server").unwrap();
    server.stop().await;
}

#[tokio::test]
async fn callers_write_only_the_cells_that_are_theirs() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w1").await;
    let [fsn, hel, nbg, operator, witness] =
        ["region/fsn", "region/hel", "region/nbg", "operator/ann", "witness/w2"]
            .map(|identity| client(&lab, identity, &server.address));
    let denied =
        |answer: Result<Put, StoreError>| matches!(answer, Err(StoreError::Unauthorised(_)));

    let (session, pair) = ("g1/ab/session/fsn", "g1/ab/pair/app");
    let mine = written(fsn.put(session, None, b"1".to_vec()).await);
    assert!(denied(hel.put(session, Some(&mine), b"2".to_vec()).await));
    let moved = written(operator.put(session, Some(&mine), b"3".to_vec()).await);
    assert_eq!(hel.get(session).await, Ok(Some(Cell { tag: moved.clone(), bytes: b"3".to_vec() })));
    written(hel.put(pair, None, b"1".to_vec()).await);
    assert!(denied(nbg.put(pair, None, b"2".to_vec()).await));
    assert!(denied(hel.put("mark", None, b"1".to_vec()).await));
    assert!(denied(hel.put("g1/ab/next", None, b"1".to_vec()).await));
    assert!(matches!(fsn.delete(session, &moved).await, Err(StoreError::Unauthorised(_))));
    assert!(matches!(witness.get(session).await, Err(StoreError::Unauthorised(_))));
    assert!(matches!(witness.list("").await, Err(StoreError::Unauthorised(_))));
    let unknown = fsn.put("session/fsn", None, b"1".to_vec()).await;
    assert!(matches!(unknown, Err(StoreError::Misconfigured(_))), "{unknown:?}");
    assert_eq!(operator.delete(session, &moved).await, Ok(true));
    assert_eq!(operator.list("g1/").await, Ok(vec![pair.to_owned()]));
    server.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_cells_and_tags_and_a_wiped_server_knows_none() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w1").await;
    let tag = written(
        client(&lab, "region/fsn", &server.address).put("probe/c", None, b"1".to_vec()).await,
    );
    server.stop().await;
    let server = lab.start("w1").await;
    let fsn = client(&lab, "region/fsn", &server.address);
    let tag = written(fsn.put("probe/c", Some(&tag), b"2".to_vec()).await);
    server.stop().await;
    std::fs::remove_dir_all(lab.data()).unwrap();
    let server = lab.start("w1").await;
    let fsn = client(&lab, "region/fsn", &server.address);
    assert_eq!(fsn.put("probe/c", Some(&tag), b"3".to_vec()).await, Ok(Put::Conflict(None)));
    written(fsn.put("probe/c", None, b"4".to_vec()).await);
    let late = fsn.put("probe/c", Some(&tag), b"5".to_vec()).await;
    assert!(matches!(late, Ok(Put::Conflict(Some(_)))), "{late:?}");
    server.stop().await;
}

/// What one caller can take by making up keys is bounded, and what is there can still be changed.
#[tokio::test]
async fn cells_of_one_register_are_bounded() {
    let lab = crate::common::Lab::new();
    let server = lab.start("w1").await;
    let fsn = client(&lab, "region/fsn", &server.address);
    let key = |generation: u32| format!("g{generation}/ab/session/fsn");
    let first = written(fsn.put(&key(0), None, b"0".to_vec()).await);
    for generation in 1..64 {
        written(fsn.put(&key(generation), None, b"0".to_vec()).await);
    }
    let more = fsn.put(&key(64), None, b"0".to_vec()).await;
    assert!(matches!(more, Err(StoreError::Misconfigured(_))), "{more:?}");
    written(fsn.put(&key(0), Some(&first), b"1".to_vec()).await);
    server.stop().await;
}
