//! One test per story: with the rules in force nothing is violated, and the pair is whole again.

use crate::corroboration_stories::*;
use crate::fork_stories::*;
use crate::ledger_stories::*;
use crate::named_states::*;
use crate::promotion_stories::*;
use crate::rejoin_stories::*;
use crate::rest_stories::*;
use crate::stories::*;
use crate::story::Story;

const SEEDS: u64 = 12;

fn holds(story: &Story) {
    for seed in 1..=SEEDS {
        if let (_, Some(violation)) = story.told(seed, false) {
            let (world, _) = story.told(seed, true);
            panic!(
                "{}, seed {seed}: {violation}\n{}\n{}",
                story.name,
                world.statuses(),
                world.story()
            );
        }
    }
}

macro_rules! stories {
    ($($test:ident => $story:ident,)*) => {
        $(
            #[test]
            fn $test() {
                assert_eq!($story.name, stringify!($test));
                holds(&$story);
            }
        )*

        #[test]
        fn every_story_has_its_test() {
            let told = [$($story.name),*];
            let all: Vec<_> = ALL.iter().chain(&NAMED).chain(&FORKS).chain(&LEDGER).chain(&CORROBORATED).chain(&RESTS).chain(&REJOINS).chain(&PROMOTIONS).map(|story| story.name).collect();
            assert_eq!(all, told);
        }
    };
}

stories! {
    r3_a_renewal_answered_late_counts_from_its_first_send => R3_RENEWAL_ANSWERED_LATE,
    r3_a_late_acknowledgement_does_not_revive => R3_LATE_ACKNOWLEDGEMENT,
    r4_a_command_of_a_dead_agent_is_refused => R4_COMMAND_OF_A_DEAD_AGENT,
    r4_a_command_that_was_given_up_is_refused => R4_COMMAND_GIVEN_UP,
    r5_an_agent_dies_with_a_promotion_outstanding => R5_AGENT_DIES_WITH_A_PROMOTION,
    r5_nothing_is_promoted_before_the_guard_is_armed => R5_ARMED_BEFORE_PROMOTE,
    r5_a_return_defeats_a_challenge_that_lands_late => R5_RETURN_AGAINST_A_SLOW_CHALLENGER,
    r6_a_blind_spell_is_not_the_holders_silence => R6_BLIND_CHALLENGER,
    r7_a_verdict_counts_for_the_version_it_was_made_at => R7_VERDICT_FOR_ANOTHER_VERSION,
    r9_a_growth_without_an_answer_may_have_landed => R9_GROWTH_WITHOUT_AN_ANSWER,
    r9_a_witness_that_refuses_is_asked_with_a_pause => R9_WITNESS_REFUSES,
    r10_a_restart_waits_for_whoever_may_be_listed => R10_RESTART_WITH_A_GROWTH_UNRESOLVED,
    r12_a_busy_checkpointer_does_not_fool_the_growth => R12_BUSY_CHECKPOINTER,
    r13_a_listed_region_on_another_directory_takes_nothing_over => R13_OLD_COPY,
    r13_a_listed_member_is_never_cloned => R13_LISTED_RESTARTS,
    r13_a_holder_without_its_directory_lets_go => R13_HOLDER_LOSES_ITS_DISK,
    r14_a_target_that_is_behind_is_not_handed_the_lease => R14_TARGET_BEHIND,
    r15_an_undone_switchover_returns_by_epoch_plus_one => R15_UNDONE_WITH_A_WRITE_OUTSTANDING,
    r15_nobody_inherits_a_handover => R15_THERE_AND_BACK,
    r16_nothing_starts_while_a_release_may_still_land => R16_RELEASE_OUTSTANDING,
    r17_the_holder_returns_by_itself_at_the_deadline => R17_CORE_AND_TARGET_LOST,
    r20_who_promised_stays_out => R20_WITNESS_BACK_FOR_THE_STANDBY,
    r20_a_promise_survives_a_restart => R20_PROMISE_SURVIVES_A_RESTART,
    r21_a_pause_bars_challengers_and_not_the_holder => R21_PAUSED,
    r21_a_standing_approval_is_enough_while_the_lag_is_known => R21_STANDING_APPROVAL,
    r21_a_lag_that_was_heard_long_ago_is_not_within_the_bound => R21_LAG_HEARD_LONG_AGO,
    r22_strict_waits_for_a_second_copy_after_a_takeover => R22_STRICT_AFTER_A_TAKEOVER,
    i2_who_was_dropped_from_the_ledger_takes_nothing_over => I2_OUTSIDE_THE_LEDGER,
    i2_an_approval_counts_for_its_epoch_alone => I2_LATE_APPROVAL,
    i2_a_lowered_durability_shrinks_the_ledger_first => I2_LOWERED_DURABILITY,
    i5_a_standby_that_does_not_replay_is_dropped_once => I5_REPLAY_STALLS,
    r5_postgresql_does_not_outlive_its_guard => R5_GUARD_DIES,
    i5_waiting_for_an_approval_has_a_name_and_is_calm => I5_WAITING_FOR_AN_APPROVAL,
    i5_a_primary_whose_disk_hangs_lets_go => I5_DISK_HANGS,
    i2_a_primary_whose_disk_hangs_stays_where_it_is_the_only_copy => I2_DISK_HANGS_ALONE,
    i5_a_primary_that_cannot_be_asked_has_a_name_while_it_is_so => I5_HOLDER_NOT_REACHED,
    i5_a_rewind_under_way_needs_nobody => I5_REWIND_UNDER_WAY,
    i5_a_member_that_diverged_twice_waits_for_a_person => I5_DIVERGED_TWICE,
    lineage_who_was_promoted_apart_is_looked_at_before_it_streams => LINEAGE_PROMOTED_APART,
    lineage_a_proof_counts_for_one_holder => LINEAGE_OF_THE_HOLDER_BEFORE,
    lineage_a_copy_of_the_holder_before_is_looked_at => LINEAGE_HEARD_LATE,
    lineage_equal_numbers_are_not_rewound => LINEAGE_EQUAL_BY_NUMBERS,
    lineage_a_standby_is_not_left_pointed_at_who_let_go => LINEAGE_OLD_UPSTREAM,
    r13_who_streams_unproven_is_not_listed => R13_STREAMS_UNWATCHED,
    r14_a_target_that_does_not_stream_from_here_proves_nothing => R14_TARGET_OF_ANOTHER_HISTORY,
    r18_a_lost_region_is_taken_over_before_its_lease_runs_out => R18_REGION_LOST,
    r18_a_cut_link_between_healthy_regions_moves_nothing => R18_LINK_CUT,
    r18_an_approval_does_not_shorten_the_lease => R18_UNDER_AN_APPROVAL,
    r8_a_holder_that_is_not_told_reads_it => R8_HOLDER_IS_NOT_TOLD,
    r18_a_receiver_that_hangs_bars_a_hot_switchover => R18_RECEIVER_HANGS,
    r18_a_lowered_synchronous_commit_takes_the_promise_back => R18_PREMISE_BREAKS,
    r18_the_slower_of_two_standbys_has_every_commit => R18_SLOWER_OF_TWO,
    r18_a_shrink_and_a_takeover_race => R18_SHRINK_AGAINST_A_TAKEOVER,
    r19_a_member_that_always_receives_waits_for_the_lease_and_is_promoted_after_a_restart => R19_CANNOT_BE_CUT_OFF,
    r22_a_strict_takeover_by_the_ledger_waits_for_a_second_copy => R22_STRICT_LEDGER,
    r12_nobody_takes_over_by_a_ledger_that_was_grown_on_looks => R12_LEDGER_BUSY_CHECKPOINTER,
    a_hot_switchover_that_cannot_commit_is_undone_by_its_target => HOT_GIVEN_UP,
    veto_holds_back_automation_and_no_person => VETO_AND_A_PERSON,
    veto_ends_with_the_name => VETO_ENDS,
    veto_needs_a_word_and_silence_is_none => VETO_OF_NOBODY,
    veto_of_an_earlier_silence_counts_no_more => VETO_OF_AN_EARLIER_SILENCE,
    veto_of_a_ledger_takeover_costs_its_deadline_at_most => VETO_BY_LEDGER,
    annotations_are_taken_down_and_hold_nobody_back => ANNOTATED,
    rest_stops_the_pair_everywhere_and_resumes_where_it_was => REST_AND_BACK,
    rest_asked_for_too_late_stops_nobody => REST_ASKED_TOO_LATE,
    rest_asked_for_lapses_at_its_deadline => REST_ORDER_LAPSES,
    rest_called_off_starts_the_holder_again => REST_CALLED_OFF,
    rest_outlives_every_restart => REST_THROUGH_RESTARTS,
    rest_is_resumed_by_another_where_the_first_is_gone => REST_AND_THE_FIRST_IS_GONE,
    rest_is_asked_for_again_after_the_agent_died => REST_AND_THE_AGENT_DIES,
    rejoin_by_a_fresh_copy_leaves_the_ledger_first => CLONED_ANEW,
    r13_an_ordered_clone_of_a_listed_member_is_not_begun => CLONE_OF_A_LISTED_MEMBER,
    rejoin_by_a_fresh_copy_takes_no_copy_from_strict => CLONE_IN_STRICT,
    rejoin_ordered_at_another_epoch_or_of_the_holder_changes_nothing => CLONE_OF_ANOTHER_TIME,
    rejoin_by_a_copy_that_fails_is_told_and_not_repeated => CLONE_FAILS,
    rejoin_by_a_fresh_copy_is_ordered_again_after_the_agent_died => CLONE_AND_THE_AGENT_DIES,
    rejoin_by_trying_again_ends_a_named_state => TRIES_AGAIN,
    r5_a_promotion_that_was_stopped_is_not_stopped_again_and_again => PROMOTION_STOPPED,
    r8_a_hot_switchover_in_the_middle_of_a_promotion => HOT_SWITCHOVER_IN_A_PROMOTION,
}
