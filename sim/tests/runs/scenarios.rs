//! Every named scenario, each in a process of its own.

use continuum_domain::spec::Takeover;
use continuum_sim::{Watch, scenario};

fn tell(name: &str) {
    let scenario = scenario::find(name).unwrap_or_else(|| panic!("no scenario {name}"));
    let verdict = scenario.run(Watch::default());
    assert!(verdict.is_ok(), "{name}: {:?}; see it with --scenario {name}", verdict.findings);
    assert!(verdict.acknowledged > 0);
}

/// The same where listed standbys take over by the ledger. An `async` pair knows the ttl alone.
fn tell_by_ledger(name: &str) {
    let scenario = scenario::find(name).unwrap_or_else(|| panic!("no scenario {name}"));
    if scenario.plan.takeover == Takeover::Ledger || !scenario.plan.durability.is_synchronous() {
        return;
    }
    let verdict = scenario.taken_over_by(Takeover::Ledger).run(Watch::default());
    let how = format!("--scenario {name} --takeover ledger");
    assert!(verdict.is_ok(), "{name}: {:?}; see it with {how}", verdict.findings);
    assert!(verdict.acknowledged > 0);
}

macro_rules! scenarios {
    ($($test:ident: $name:literal;)*) => {
        const TOLD: &[&str] = &[$($name),*];
        $(#[test] fn $test() { tell($name); })*
        mod by_ledger {
            $(#[test] fn $test() { super::tell_by_ledger($name); })*
        }
    };
}

scenarios! {
    postgres_is_killed: "postgres-is-killed";
    a_backend_crashes: "a-backend-crashes";
    postgres_does_not_start_again: "postgres-does-not-start-again";
    postgres_does_not_start_and_is_the_only_copy: "postgres-does-not-start-and-is-the-only-copy";
    new_holder_dies_before_its_promotion: "new-holder-dies-before-its-promotion";
    primary_region_loses_power: "primary-region-loses-power";
    a_region_of_three_goes_dark: "a-region-of-three-goes-dark";
    agent_stopped_past_the_ttl: "agent-stopped-past-the-ttl";
    host_frozen_past_the_ttl: "host-frozen-past-the-ttl";
    virtual_machine_suspended: "virtual-machine-suspended";
    agent_restarts: "agent-restarts";
    agent_crash_loops: "agent-crash-loops";
    agent_of_the_standby_dies: "agent-of-the-standby-dies";
    guard_crashes: "guard-crashes";
    wal_volume_is_full: "wal-volume-is-full";
    flushes_hang_and_the_process_lives: "flushes-hang-and-the-process-lives";
    flushes_hang_at_the_only_copy: "flushes-hang-at-the-only-copy";
    replay_alone_stalls: "replay-alone-stalls";
    stuck_standby_is_no_candidate: "stuck-standby-is-no-candidate";
    holder_loses_its_data_directory: "holder-loses-its-data-directory";
    standby_loses_its_data_directory: "standby-loses-its-data-directory";
    another_systems_data: "another-systems-data";
    slot_falls_off_its_cap: "slot-falls-off-its-cap";
    agent_disk_fails: "agent-disk-fails";
    members_cut_apart: "members-cut-apart";
    members_cut_apart_in_strict: "members-cut-apart-in-strict";
    primary_cut_from_witness: "primary-cut-from-witness";
    primary_sees_only_its_standby: "primary-sees-only-its-standby";
    primary_region_is_isolated: "primary-region-is-isolated";
    primary_cut_off_with_open_sessions: "primary-cut-off-with-open-sessions";
    link_flaps_at_about_the_ttl: "link-flaps-at-about-the-ttl";
    latency_below_the_budget: "latency-below-the-budget";
    renewals_arrive_late_all_at_once: "renewals-arrive-late-all-at-once";
    lost_cas_replies: "lost-cas-replies";
    witness_restarts_within_the_ttl: "witness-restarts-within-the-ttl";
    witness_lost_with_fence: "witness-lost-with-fence";
    witness_lost_with_failsafe: "witness-lost-with-failsafe";
    witness_lost_and_the_standby_silent: "witness-lost-and-the-standby-silent";
    witness_lost_when_the_standby_leaves: "witness-lost-when-the-standby-leaves";
    witness_unreachable_from_both: "witness-unreachable-from-both";
    witness_answers_errors: "witness-answers-errors";
    witness_loses_power_in_a_failover: "witness-loses-power-in-a-failover";
    quorum_loses_any_one: "quorum-loses-any-one";
    quorum_loses_two: "quorum-loses-two";
    quorum_primary_cut_from_a_majority: "quorum-primary-cut-from-a-majority";
    quorum_standby_cut_from_a_majority: "quorum-standby-cut-from-a-majority";
    quorum_loses_power_in_a_failover: "quorum-loses-power-in-a-failover";
    quorum_acceptor_wiped_and_taken_in_again: "quorum-acceptor-wiped-and-taken-in-again";
    quorum_takes_in_again_during_a_failover: "quorum-takes-in-again-during-a-failover";
    wall_clocks_step_by_an_hour: "wall-clocks-step-by-an-hour";
    clocks_drift_apart: "clocks-drift-apart";
    standby_restarts: "standby-restarts";
    standby_lost: "standby-lost";
    standby_is_listed_again_and_again: "standby-is-listed-again-and-again";
    standby_lost_in_strict: "standby-lost-in-strict";
    failover_in_strict_waits_for_a_second_copy: "failover-in-strict-waits-for-a-second-copy";
    laggard_left_alone: "laggard-left-alone";
    laggard_ordered_to_lead: "laggard-ordered-to-lead";
    commit_wait_cancelled: "commit-wait-cancelled";
    checkpointer_is_busy_while_the_set_grows: "checkpointer-is-busy-while-the-set-grows";
    async_within_its_bound: "async-within-its-bound";
    async_lag_over_its_bound: "async-lag-over-its-bound";
    async_lag_unknown: "async-lag-unknown";
    async_loss_approved_by_hand: "async-loss-approved-by-hand";
    promoted_apart_under_one_timeline_number: "promoted-apart-under-one-timeline-number";
    growth_with_an_unanswered_change: "growth-with-an-unanswered-change";
    shrink_with_an_unanswered_change: "shrink-with-an-unanswered-change";
    name_server_down_at_the_flip: "name-server-down-at-the-flip";
    name_server_cut_from_the_witness: "name-server-cut-from-the-witness";
    clients_lose_the_name_server: "clients-lose-the-name-server";
    sessions_pinned_to_the_demoted_primary: "sessions-pinned-to-the-demoted-primary";
    clients_cut_off_from_the_primary_only: "clients-cut-off-from-the-primary-only";
    planned_switchover: "planned-switchover";
    paused_and_the_primary_dies: "paused-and-the-primary-dies";
    pause_expires: "pause-expires";
    primary_fenced_by_hand: "primary-fenced-by-hand";
    standby_fenced_by_hand: "standby-fenced-by-hand";
    pair_paused_and_the_primary_dies: "pair-paused-and-the-primary-dies";
    pair_stopped_and_started: "pair-stopped-and-started";
    pair_stopped_and_its_region_is_lost: "pair-stopped-and-its-region-is-lost";
    pair_stopped_and_the_core_dies: "pair-stopped-and-the-core-dies";
    semi_automatic_waits_for_approval: "semi-automatic-waits-for-approval";
    manual_is_left_alone: "manual-is-left-alone";
    switchover_to_nobody: "switchover-to-nobody";
    switchover_target_dies: "switchover-target-dies";
    core_lost_in_a_switchover: "core-lost-in-a-switchover";
    both_regions_lost_in_a_switchover: "both-regions-lost-in-a-switchover";
    failover_under_way_and_the_holder_lets_go: "failover-under-way-and-the-holder-lets-go";
    switchover_cancelled: "switchover-cancelled";
    switchover_cancelled_when_the_primary_has_stopped: "switchover-cancelled-when-the-primary-has-stopped";
    rolling_restart_of_everything: "rolling-restart-of-everything";
    listed_standby_is_cloned_anew: "listed-standby-is-cloned-anew";
    clone_has_no_room: "clone-has-no-room";
    holder_lost_while_its_standby_is_cloned: "holder-lost-while-its-standby-is-cloned";
    clone_of_the_second_copy_in_strict: "clone-of-the-second-copy-in-strict";
    standby_that_follows_is_told_to_try_again: "standby-that-follows-is-told-to-try-again";
    core_lost_then_region_lost: "core-lost-then-region-lost";
    region_dies_with_a_control_node: "region-dies-with-a-control-node";
    control_plane_lost_and_back: "control-plane-lost-and-back";
    core_partitioned_during_a_failover: "core-partitioned-during-a-failover";
    all_control_nodes_lose_power: "all-control-nodes-lose-power";
    disk_of_a_control_node_fails: "disk-of-a-control-node-fails";
    control_nodes_with_slow_disks: "control-nodes-with-slow-disks";
    control_node_dies_in_a_switchover: "control-node-dies-in-a-switchover";
    ledger_region_lost: "ledger-region-lost";
    ledger_holder_cut_from_its_standby: "ledger-holder-cut-from-its-standby";
    ledger_holder_cut_from_the_witness: "ledger-holder-cut-from-the-witness";
    ledger_agent_dead_postgres_alive: "ledger-agent-dead-postgres-alive";
    ledger_region_frozen_and_thawed: "ledger-region-frozen-and-thawed";
    hot_switchover_with_the_nudge_lost: "hot-switchover-with-the-nudge-lost";
    hot_switchover_with_a_cancelled_wait: "hot-switchover-with-a-cancelled-wait";
    ledger_of_three_one_is_slow: "ledger-of-three-one-is-slow";
    ledger_of_three_one_is_gone: "ledger-of-three-one-is-gone";
    ledger_of_three_one_restarts: "ledger-of-three-one-restarts";
    ledger_sessions_lower_their_commits: "ledger-sessions-lower-their-commits";
    ledger_shrink_unanswered_and_the_region_lost: "ledger-shrink-unanswered-and-the-region-lost";
    veto_while_the_health_name_answers: "veto-while-the-health-name-answers";
    veto_ends_with_the_health_name: "veto-ends-with-the-health-name";
    veto_and_resolvers_that_say_nothing: "veto-and-resolvers-that-say-nothing";
    rolling_upgrade_under_load: "rolling-upgrade-under-load";
    spec_of_a_newer_core: "spec-of-a-newer-core";
}

#[test]
fn every_scenario_has_a_test() {
    let all: Vec<&str> = scenario::all().iter().map(|scenario| scenario.name).collect();
    assert_eq!(all, TOLD);
}
