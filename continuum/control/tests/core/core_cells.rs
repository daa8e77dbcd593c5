//! The core as one store of cells: the contract over mutual TLS, replaced leaders, room on disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{CELLS_DEADLINE, Cluster, eventually};
use continuum_control::raft::{Member, Node, NodeConfig, Timings};
use continuum_control::state::{Blob, CellPut, Change, Command, CoreState, Reply};
use continuum_runtime::certificates::Authority;
use continuum_runtime::net::TlsNetwork;
use continuum_runtime::{BootClock, Identity, Role, seed};
use continuum_witness::cell_contract::{self, CellSubject};
use continuum_witness::cells::CELL_BYTES_MAX;
use continuum_witness::recorded::Plan;
use continuum_witness::{Cell, CellStore, CoreCells, Put, StoreError, Tag};
use tokio::sync::watch;

fn client(cluster: &Cluster, identity: &str) -> CoreCells {
    let nodes = cluster.peers.iter().map(|peer| (peer.name.clone(), peer.address.clone()));
    CoreCells::new(&cluster.network(&identity.parse().unwrap()), nodes, CELLS_DEADLINE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_core_keeps_the_contract_over_mutual_tls() {
    let cluster = Arc::new(Cluster::start().await);
    cluster.leader().await;
    let clients = cluster.clone();
    let open = move || Arc::new(client(&clients, "operator/tester")) as Arc<dyn CellStore>;
    let subject = CellSubject { open: Arc::new(open), space: "probe/".into(), rounds: 5 };
    cell_contract::all(&subject).await.unwrap();
    let tally = cell_contract::history(&subject, Plan::of(1_500)).await.unwrap();
    tally.check_substance("core").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-long"]
async fn the_core_keeps_a_history_of_ten_thousand_calls() {
    let cluster = Arc::new(Cluster::start().await);
    cluster.leader().await;
    let clients = cluster.clone();
    let open = move || Arc::new(client(&clients, "operator/tester")) as Arc<dyn CellStore>;
    let subject = CellSubject { open: Arc::new(open), space: "probe/".into(), rounds: 1 };
    let tally = cell_contract::history(&subject, Plan::of(10_000)).await.unwrap();
    tally.check_substance("core").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_keep_the_contract_by_their_own_handles() {
    let cluster = Arc::new(Cluster::start().await);
    cluster.leader().await;
    let (nodes, turn) = (cluster.clone(), AtomicU64::new(0));
    // Leader and followers in turn.
    let open = move || {
        let name = format!("c{}", turn.fetch_add(1, Ordering::Relaxed) % 3 + 1);
        Arc::new(nodes.own_cells(&name)) as Arc<dyn CellStore>
    };
    let subject = CellSubject { open: Arc::new(open), space: "probe/".into(), rounds: 5 };
    cell_contract::all(&subject).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_pair_are_those_of_its_spec() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let key = "g1/ab/pair/shop";
    let fsn = client(&cluster, "region/fsn");
    let put = |bytes: &'static [u8]| fsn.put(key, None, bytes.to_vec());
    let unknown = put(b"early").await;
    assert!(matches!(unknown, Err(StoreError::Unauthorised(_))), "{unknown:?}");
    cluster.apply_spec().await;
    // Each node learns of the spec in its own time, and the client may ask any.
    let known = async {
        loop {
            match put(b"mine").await {
                Err(StoreError::Unauthorised(_)) => {
                    tokio::time::sleep(Duration::from_millis(10)).await
                }
                answer => return answer,
            }
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(10), known).await.unwrap();
    assert!(matches!(written, Ok(Put::Written(_))), "{written:?}");
    let stranger = client(&cluster, "region/nbg").put(key, None, b"theirs".to_vec()).await;
    assert!(matches!(stranger, Err(StoreError::Unauthorised(_))), "{stranger:?}");
    for foreign in ["mark", "g1/ab/session/hel", "g1/ab/next"] {
        let put = fsn.put(foreign, None, b"mine".to_vec()).await;
        assert!(matches!(put, Err(StoreError::Unauthorised(_))), "{foreign}: {put:?}");
    }
    assert!(matches!(fsn.put("g1/ab/session/fsn", None, b"1".to_vec()).await, Ok(Put::Written(_))));
}

/// A node that cannot be reached, or takes the connection and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_away_or_silent_are_passed_by() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let network = cluster.network(&"operator/tester".parse().unwrap());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [silent_address, away_address] = [&silent, &away].map(|at| at.local_addr().unwrap());
    drop(away);
    let deadline = Duration::from_millis(1500);
    let client = |first: std::net::SocketAddr| {
        let others = cluster.peers.iter().map(|peer| (peer.name.clone(), peer.address.clone()));
        let nodes = std::iter::once(("c9".to_owned(), first.to_string())).chain(others);
        CoreCells::new(&network, nodes, deadline)
    };

    let cells = client(away_address);
    let put = cells.put("probe/a", None, b"a".to_vec()).await;
    assert!(matches!(put, Ok(Put::Written(_))), "{put:?}");
    let cells = client(silent_address);
    let read = cells.get("probe/a").await;
    assert!(matches!(&read, Ok(Some(cell)) if cell.bytes == b"a"), "{read:?}");
    let cells = client(silent_address);
    let asking = cells.put("probe/b", None, b"b".to_vec());
    let put = tokio::time::timeout(deadline * 2, asking).await.expect("it outlived its deadline");
    assert!(matches!(put, Err(StoreError::Unanswered(_))), "{put:?}");
    let put = cells.put("probe/b", None, b"b".to_vec()).await;
    assert!(matches!(put, Ok(Put::Written(_))), "{put:?}");
}

fn number(cell: &Option<Cell>) -> u64 {
    cell.as_ref().map_or(0, |cell| std::str::from_utf8(&cell.bytes).unwrap().parse().unwrap())
}

/// Counts a cell up until told to stop, and checks after each doubt that nothing answered is lost.
/// Returns the last number that was answered or found.
async fn count_up(
    cells: Arc<dyn CellStore>,
    key: String,
    answered: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
) -> u64 {
    let (mut last, mut tag): (u64, Option<Tag>) = (0, None);
    while !*stop.borrow() {
        let next = (last + 1).to_string().into_bytes();
        match cells.put(&key, tag.as_ref(), next).await {
            Ok(Put::Written(new)) => (last, tag) = (last + 1, Some(new)),
            Ok(Put::Conflict(held)) => panic!("{key}: {last} was answered, {held:?} is held"),
            Err(StoreError::NotSent(_)) => {}
            Err(error) => {
                assert!(error.may_have_taken_effect(), "{error}");
                (last, tag) = settled(cells.as_ref(), &key, last, tag).await;
            }
        }
        answered.send_replace(last);
    }
    last
}

/// What became of the write of `last + 1`. It may still come, until another write by the same tag has
/// taken its place.
async fn settled(
    cells: &dyn CellStore,
    key: &str,
    last: u64,
    tag: Option<Tag>,
) -> (u64, Option<Tag>) {
    loop {
        let held = eventually("a read", || async { cells.get(key).await.ok() }).await;
        let found = number(&held);
        assert!(found == last || found == last + 1, "{key}: {last} was answered, {found} is held");
        let held = held.map(|held| held.tag);
        if held != tag {
            return (found, held);
        }
        // The same number once more, as other bytes.
        let again = format!("{last:021}").into_bytes();
        if let Ok(Put::Written(new)) = cells.put(key, tag.as_ref(), again).await {
            return (last, Some(new));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_lose_nothing_that_was_answered() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let (stop, stopping) = watch::channel(false);
    let mut counters = Vec::new();
    for at in 0..3 {
        let cells = Arc::new(client(&cluster, "operator/tester"));
        let (answered, seen) = watch::channel(0);
        let key = format!("probe/count-{at}");
        let task = seed::spawn(count_up(cells, key.clone(), answered, stopping.clone()));
        counters.push((key, seen, task));
    }
    for _ in 0..3 {
        for (_, seen, _) in &mut counters {
            let due = *seen.borrow() + 20;
            seen.wait_for(|seen| *seen >= due).await.unwrap();
        }
        let leader = cluster.leader().await;
        cluster.kill(&leader).await;
        for (_, seen, _) in &mut counters {
            let due = *seen.borrow() + 5;
            seen.wait_for(|seen| *seen >= due).await.unwrap();
        }
        cluster.restart(&leader).await;
    }
    stop.send_replace(true);
    let reader = client(&cluster, "operator/reader");
    for (key, _, task) in counters {
        let last = task.await.unwrap();
        let held = eventually("a read", || async { reader.get(&key).await.ok() }).await;
        assert!(number(&held) == last, "{key}: {last} was answered, {held:?} is held");
    }
}

fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().metadata().map_or(0, |found| found.len())).sum()
}

/// A cell of the largest size, changed many times over: log and snapshot stay bounded by what is kept
/// between two snapshots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_large_cells_do_not_fill_the_disk() {
    const CHANGES: u64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(&directory.path().join("tls")).unwrap();
    let files = authority.issue(&Identity::new(Role::Core, "c1")).unwrap();
    let member = Member {
        id: 1,
        name: "c1".into(),
        address: "127.0.0.1:1".into(),
        api_address: "127.0.0.1:1".into(),
    };
    let config = NodeConfig {
        member: member.clone(),
        data_directory: directory.path().join("data"),
        peers: vec![member],
        timings: Timings { snapshot_every: 50, snapshot_keep: 10, ..Timings::default() },
    };
    let network = Arc::new(TlsNetwork::load(&files).unwrap());
    let node: Node<CoreState> =
        Node::start(config.clone(), network, Arc::new(BootClock)).await.unwrap();
    node.leadership().wait_for(|now| now.i_lead).await.unwrap();
    let (mut expected, mut most) = (None, 0);
    for at in 0..CHANGES {
        let content = Blob(vec![u8::try_from(at % 251).unwrap(); CELL_BYTES_MAX]);
        let (key, nonce) = ("probe/large".to_owned(), "n".to_owned());
        let change = Change::PutCell(CellPut { key, expected, content, nonce });
        let command = Command::new(0, "cells", change);
        match node.propose(command).await.unwrap() {
            Reply::CellWritten(tag) => expected = Some(tag),
            other => panic!("{other}"),
        }
        most = most.max(bytes_in(&config.data_directory));
    }
    let written = CHANGES * (CELL_BYTES_MAX as u64 * 4 / 3);
    println!("most on disk: {most} bytes of {written} that were written");
    assert!(most < 20 * 1024 * 1024, "{most} bytes are on disk");
    tokio::time::timeout(Duration::from_secs(10), node.shutdown()).await.unwrap();
}
