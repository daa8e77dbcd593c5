//! Control nodes over real mutual TLS: elections, failures, members, snapshots.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod faults;
mod harness;

use std::sync::atomic::Ordering;
use std::time::Duration;

use continuum_control::raft::{Member, Node, NodeConfig, ProposeError, StartError, Timings};
use continuum_control_api::pb::RaftFrame;
use continuum_control_api::pb::core_node_client::CoreNodeClient;
use continuum_runtime::clock::Clock;
use continuum_runtime::{BootClock, Identity, Role, net};
use harness::{Before, Cluster, PATIENCE, Table};

/// Snapshots often, keeps little log.
fn snapshots_often() -> Timings {
    Timings { snapshot_every: 40, snapshot_keep: 5, ..Timings::default() }
}

fn fill(cluster: &Cluster, leader: u64, rows: u64) {
    for row in 0..rows {
        cluster.node(leader).set(&format!("row-{row}"), row).unwrap();
    }
}

#[test]
fn three_nodes_elect_and_every_node_shows_what_was_committed() {
    let (cluster, leader) = Cluster::of_three(Timings::default());
    assert_eq!(cluster.node(leader).set("a", 1).unwrap(), Before(None));
    assert_eq!(cluster.node(leader).set("a", 2).unwrap(), Before(Some(1)));
    for running in cluster.running.values() {
        running.run(running.node.linearizable()).unwrap();
        assert_eq!(running.table().rows["a"], 2, "read on {:?}", running.node);
    }
    let members = cluster.node(leader).node.members();
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|state| state.voter));
    assert_eq!(members[0].member, cluster.members[&1]);
}

#[test]
fn a_follower_names_the_leader_instead_of_proposing() {
    let (cluster, leader) = Cluster::of_three(Timings::default());
    let follower = cluster.node(cluster.other_than(leader));
    follower.wait_for_leader(|member| member.id == leader);
    let error = follower.set("a", 1).unwrap_err();
    let expected = Some(cluster.members[&leader].clone());
    assert_eq!(error, ProposeError::NotLeader { leader: expected });
}

#[test]
fn a_killed_leader_is_replaced_and_catches_up_when_it_returns() {
    let (mut cluster, first) = Cluster::of_three(Timings::default());
    fill(&cluster, first, 20);
    let before = cluster.node(first).table();
    cluster.kill(first);
    let second = cluster.leader();
    assert_ne!(second, first);
    assert_eq!(cluster.node(second).table(), before, "the new leader has everything at once");
    cluster.node(second).set("after", 1).unwrap();
    cluster.start(first);
    cluster.node(first).wait_for_changes(21);
    assert_eq!(cluster.node(first).table(), cluster.node(second).table());
}

#[test]
fn everything_is_there_after_all_nodes_were_killed() {
    let (mut cluster, leader) = Cluster::of_three(snapshots_often());
    fill(&cluster, leader, 100);
    let before = cluster.node(leader).table();
    for id in [1, 2, 3] {
        cluster.kill(id);
    }
    for id in [1, 2, 3] {
        cluster.start(id);
    }
    let leader = cluster.leader();
    for running in cluster.running.values() {
        running.run(running.node.linearizable()).unwrap();
        assert_eq!(running.table(), before);
    }
    cluster.node(leader).set("after", 1).unwrap();
}

#[test]
fn a_stopped_node_frees_its_disk_and_starts_again() {
    let (mut cluster, leader) = Cluster::of_three(Timings::default());
    fill(&cluster, leader, 5);
    let follower = cluster.other_than(leader);
    let stopped = cluster.running.remove(&follower).unwrap();
    stopped.run(stopped.node.shutdown());
    assert!(stopped.set("late", 1).is_err());
    stopped.runtime.shutdown_timeout(PATIENCE);
    cluster.start(follower);
    cluster.node(follower).wait_for_changes(5);
}

#[test]
fn members_are_added_and_removed_the_leader_too() {
    let (mut cluster, leader) = Cluster::of_three(Timings::default());
    fill(&cluster, leader, 10);
    let newcomer = cluster.start_newcomer(4);
    let running = cluster.node(leader);
    running.run(running.node.add_member(newcomer.clone())).unwrap();
    running.run(running.node.add_member(newcomer.clone())).unwrap();
    cluster.node(4).wait_for_changes(10);
    assert!(running.node.members().iter().any(|state| state.member == newcomer && state.voter));

    let impostor = Member { name: "other".into(), ..newcomer };
    let error = running.run(running.node.add_member(impostor)).unwrap_err();
    assert!(matches!(error, ProposeError::Refused(_)), "{error}");

    running.run(running.node.remove_member(leader)).unwrap();
    let next = cluster.node(4).wait_for_leader(|member| member.id != leader);
    assert_ne!(next.id, leader);
    cluster.kill(leader);
    let next = cluster.leader();
    assert_eq!(cluster.node(next).node.members().len(), 3);
    cluster.node(next).set("after", 1).unwrap();
    cluster.node(4).wait_for_changes(11);
}

#[test]
fn a_newcomer_gets_a_snapshot_when_the_log_is_gone() {
    let (mut cluster, leader) = Cluster::of_three(snapshots_often());
    fill(&cluster, leader, 200);
    let newcomer = cluster.start_newcomer(9);
    let running = cluster.node(leader);
    running.run(running.node.add_member(newcomer)).unwrap();
    cluster.node(9).wait_for_changes(200);
    assert_eq!(cluster.node(9).table(), running.table());
    assert!(cluster.data_directory(9).join("snapshot").exists());
}

#[test]
fn a_wiped_follower_gets_a_snapshot_and_then_votes_again() {
    let (mut cluster, leader) = Cluster::of_three(snapshots_often());
    fill(&cluster, leader, 200);
    let wiped = cluster.other_than(leader);
    cluster.kill(wiped);
    cluster.wipe(wiped);
    cluster.start(wiped);
    cluster.node(wiped).wait_for_changes(200);
    assert_eq!(cluster.node(wiped).table(), cluster.node(leader).table());
    // With one of the others gone, electing needs its vote.
    cluster.node(leader).set("one more", 1).unwrap();
    cluster.node(wiped).wait_for_changes(201);
    cluster.kill(leader);
    let next = cluster.leader();
    cluster.node(next).set("after", 1).unwrap();
}

#[test]
fn a_wiped_founder_joins_its_old_cluster_instead_of_founding_another() {
    let (mut cluster, _) = Cluster::of_three(Timings::default());
    let leader = cluster.leader();
    fill(&cluster, leader, 10);
    cluster.kill(1);
    cluster.wipe(1);
    cluster.start(1);
    cluster.node(1).wait_for_changes(10);
    let leader = cluster.leader();
    assert_eq!(cluster.node(1).table(), cluster.node(leader).table());
}

#[test]
fn the_lead_is_handed_over_on_request() {
    let (cluster, leader) = Cluster::of_three(Timings::default());
    let to = cluster.other_than(leader);
    let running = cluster.node(leader);
    running.run(running.node.transfer_leadership(to)).unwrap();
    cluster.node(to).set("a", 1).unwrap();
    let error = running.run(running.node.transfer_leadership(to)).unwrap_err();
    assert!(matches!(error, ProposeError::NotLeader { .. }), "{error}");
}

#[test]
fn a_leader_without_a_quorum_says_so() {
    let timings = Timings { propose: Duration::from_secs(2), ..Timings::default() };
    let (mut cluster, leader) = Cluster::of_three(timings);
    for id in [1, 2, 3] {
        if id != leader {
            cluster.kill(id);
        }
    }
    let alone = cluster.node(leader);
    let mut leadership = alone.node.leadership();
    alone.run(leadership.wait_for(|now| !now.i_lead)).unwrap();
    let error = alone.set("a", 1).unwrap_err();
    let expected =
        matches!(error, ProposeError::Unavailable(_) | ProposeError::NotLeader { leader: None });
    assert!(expected, "{error}");
    assert!(alone.run(alone.node.linearizable()).is_err());
    assert_eq!(alone.table(), Table::default());
}

#[test]
fn only_control_nodes_are_served() {
    let (cluster, leader) = Cluster::of_three(Timings::default());
    let running = cluster.node(leader);
    let address = &cluster.members[&leader].address;
    let expect = Identity::new(Role::Core, format!("n{leader}"));
    for (role, allowed) in [(Role::Core, true), (Role::Region, false), (Role::Operator, false)] {
        let network = cluster.network(role, "caller");
        let answer = running.run(async {
            let channel = net::channel(&network, address, &expect);
            CoreNodeClient::new(channel).raft(RaftFrame { kind: 6, payload: Vec::new() }).await
        });
        assert_eq!(answer.is_ok(), allowed, "{role:?}: {answer:?}");
    }
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let (mut cluster, _) = Cluster::of_three(Timings::default());
    cluster.kill(3);
    let other = Member { id: 7, ..cluster.members[&3].clone() };
    let network = cluster.network(Role::Core, "n3");
    let config = NodeConfig {
        member: other,
        data_directory: cluster.data_directory(3),
        peers: Vec::new(),
        timings: Timings::default(),
    };
    let start = Node::<Table>::start(config, network, std::sync::Arc::new(BootClock));
    let error = cluster.node(1).run(start).unwrap_err();
    assert!(matches!(error, StartError::Storage(_)), "{error}");
    assert!(error.to_string().contains("belongs to node 3, not to 7"), "{error}");
}

#[test]
fn slow_disks_delay_proposals_but_cause_no_elections() {
    let slow = Duration::from_millis(20);
    let (cluster, leader) = Cluster::of_three_on_slow_disks(Timings::default(), slow);
    let running = cluster.node(leader);
    let term = running.node.leadership().borrow().term;
    fill(&cluster, leader, 100);
    let now = running.node.leadership().borrow().clone();
    assert!(now.i_lead, "{now:?}");
    assert_eq!(now.term, term);
}

#[test]
fn a_failed_sync_stops_a_node_for_good_and_the_others_go_on() {
    let (cluster, leader) = Cluster::of_three(Timings::default());
    let broken = cluster.other_than(leader);
    cluster.failing[&broken].store(true, Ordering::SeqCst);
    cluster.node(leader).set("a", 1).unwrap();
    let stopped = cluster.node(broken);
    let mut leadership = stopped.node.leadership();
    // The watch ends, or falls back to nothing, when the core has stopped.
    stopped.wait_for_stop();
    cluster.failing[&broken].store(false, Ordering::SeqCst);
    cluster.node(leader).set("b", 2).unwrap();
    let failure = stopped.node.failure().unwrap();
    assert!(failure.contains("the disk reports a failed sync"), "{failure}");
    assert!(!leadership.borrow_and_update().i_lead);
    assert!(!stopped.table().rows.contains_key("b"));

    // The leader's own disk: what it could not sync it does not acknowledge.
    let (mut cluster, leader) = Cluster::of_three(Timings::default());
    cluster.node(leader).set("a", 1).unwrap();
    cluster.failing[&leader].store(true, Ordering::SeqCst);
    let error = cluster.node(leader).set("b", 2).unwrap_err();
    assert!(matches!(error, ProposeError::Indeterminate(_)), "{error}");
    cluster.kill(leader);
    let next = cluster.leader();
    assert_eq!(cluster.node(next).table().rows["a"], 1);
    cluster.start(leader);
    cluster.node(next).set("c", 3).unwrap();
    let same = |id: u64| cluster.node(id).table();
    cluster.node(leader).wait_for_changes(same(next).changes);
    assert_eq!(same(leader), same(next));
}

/// Prints what a proposal costs; run with `--nocapture` to see it.
#[test]
fn proposals_over_three_local_nodes_are_quick() {
    let (cluster, leader) = Cluster::of_three(Timings::default());
    let running = cluster.node(leader);
    fill(&cluster, leader, 20);
    let mut spans: Vec<Duration> = (0..300)
        .map(|row| {
            let before = BootClock.now();
            running.set("row", row).unwrap();
            BootClock.now().since(before)
        })
        .collect();
    spans.sort_unstable();
    println!("sequential: p50 {:?}, p99 {:?}, max {:?}", spans[150], spans[296], spans[299]);
    assert!(spans[150] < Duration::from_secs(1));

    let before = BootClock.now();
    let many = (0..64).map(|task| {
        let node = running.node.clone();
        async move {
            for value in 0..16 {
                let key = format!("task-{task}");
                node.propose(harness::Change::Set { key, value }).await.unwrap();
            }
        }
    });
    running.run(futures_util::future::join_all(many));
    println!("64 proposers: 1024 proposals in {:?}", BootClock.now().since(before));
}
