//! Every planted bug is caught: by the story of its rule, and where random worlds find it too, by
//! those. The bounds are what was seen, with room.

use std::panic;

use continuum_domain::mutation::{Bug, plant};

use crate::corroboration_stories::*;
use crate::fork_stories::*;
use crate::ledger_stories::*;
use crate::named_states::*;
use crate::rejoin_stories::*;
use crate::rest_stories::*;
use crate::stories::*;
use crate::story::Story;
use crate::support::{run, standing};
use crate::world::{Fault, Plan, ms};

/// Seeds at most until a story shows its bug.
const STORY_SEEDS: u64 = 60;

/// A run with `bug` planted; a panic of a machine counts as caught as well.
fn with(bug: Bug, told: impl FnOnce() -> Option<String> + panic::UnwindSafe) -> Option<String> {
    plant(Some(bug));
    let result = panic::catch_unwind(told);
    plant(None);
    result.unwrap_or_else(|_| Some("a machine panicked".into()))
}

fn caught(bug: Bug, story: &'static Story) {
    for seed in 1..=STORY_SEEDS {
        let violation = with(bug, move || story.told(seed, false).1);
        if let Some(violation) = violation.filter(|text| !text.starts_with(NOT_TOLD)) {
            println!("{bug:?}: {} at seed {seed}: {violation}", story.name);
            return;
        }
    }
    panic!("{bug:?} went unnoticed in {}", story.name);
}

/// Worlds of this kind catch it within `seeds`.
fn caught_at_random(bug: Bug, seeds: u64, plan: fn(u64) -> Plan) {
    for seed in 1..=seeds {
        if let Some(violation) = with(bug, move || run(&plan(seed)).violation) {
            println!("{bug:?}: random world {seed}: {violation}");
            return;
        }
    }
    panic!("{bug:?} went unnoticed in {seeds} random worlds");
}

/// R4 is the guard's to keep: one that carries out commands of older agents is noticed as well.
#[test]
fn a_guard_that_looks_at_no_generation_or_epoch() {
    let blind = |story: &Story| {
        let told = |seed| {
            let mut world = standing(&(story.plan)(seed));
            world.regions.iter_mut().for_each(|region| region.guard.blind = true);
            (story.tell)(&mut world);
            world.judge.violations.first().cloned()
        };
        (1..=STORY_SEEDS).find_map(told)
    };
    for story in [&R4_COMMAND_OF_A_DEAD_AGENT, &R4_COMMAND_GIVEN_UP] {
        let violation = blind(story).unwrap_or_else(|| panic!("{}: unnoticed", story.name));
        println!("{}: {violation}", story.name);
    }
}

/// A comparison that believes the numbers of timelines, and not the bytes, is noticed.
#[test]
fn a_comparison_of_histories_by_their_numbers() {
    let story = &LINEAGE_EQUAL_BY_NUMBERS;
    let told = |seed| {
        let mut world = standing(&(story.plan)(seed));
        world.judge.numbers_believed = true;
        (story.tell)(&mut world);
        world.judge.violations.first().cloned()
    };
    let violation = (1..=STORY_SEEDS).find_map(told).expect("unnoticed");
    assert!(violation.contains("was rewound"), "{violation}");
    println!("{violation}");
}

/// What comes of a standby that streams onto other WAL, seen where the streaming itself is let
/// pass: it is promoted on two histories.
#[test]
fn what_streaming_onto_other_wal_leads_to() {
    let mut world = standing(&Plan { regions: 3, ..approved_by_hand(1) });
    world.judge.streams_apart_allowed = true;
    plant(Some(Bug::FollowUnproven));
    promoted_apart(&mut world, 1, 1, 60_000);
    world.run(ms(4_000));
    assert!(world.judge.streams_apart > 0, "{}", world.statuses());
    world.strike(Fault::HostCrash { r: 1, down: 60_000 });
    world.order_failover(2, true);
    world.run(ms(6_000));
    plant(None);
    let violation = world.judge.violations.first().expect("unnoticed");
    assert_eq!(violation, "lineage: 2 is promoted on WAL of two histories");
}

macro_rules! planted {
    ($($test:ident: $bug:ident by $story:ident
        $(and within $seeds:literal worlds)? $(and within rests $rests:literal)?
        $(and within rejoins $rejoins:literal)? $(and by forks within $forks:literal)?;)*) => {
        $(
            #[test]
            fn $test() {
                caught(Bug::$bug, &$story);
                $(caught_at_random(Bug::$bug, $seeds, Plan::from_seed);)?
                $(caught_at_random(Bug::$bug, $rests, Plan::of_rests);)?
                $(caught_at_random(Bug::$bug, $rejoins, Plan::of_rejoins);)?
                $(caught_at_random(Bug::$bug, $forks, Plan::of_forks);)?
            }
        )*
    };
}

planted! {
    valid_from_receipt: ValidFromReceipt by R3_RENEWAL_ANSWERED_LATE;
    valid_from_last_send: ValidFromLastSend by R3_RENEWAL_ANSWERED_LATE;
    // The pair machine drops its right by its own clock at every step, so this shows only where
    // the late answer is the very first thing that a hung agent hears.
    late_ack_revives: LateAckRevives by R3_LATE_ACKNOWLEDGEMENT;
    no_epoch_bump_on_return: NoEpochBumpOnReturn by R5_RETURN_AGAINST_A_SLOW_CHALLENGER;
    // A guard that looks itself (as the real one does) covers this; the story's guard does not.
    promote_unarmed: PromoteUnarmed by R5_ARMED_BEFORE_PROMOTE;
    short_window: ShortWindow by R5_RETURN_AGAINST_A_SLOW_CHALLENGER and within 20 worlds;
    window_survives_beat: WindowSurvivesBeat by R5_RETURN_AGAINST_A_SLOW_CHALLENGER
        and within 20 worlds;
    verdict_with_later_version: VerdictWithLaterVersion by R7_VERDICT_FOR_ANOTHER_VERSION;
    unanswered_is_refused: UnansweredIsRefused by R9_GROWTH_WITHOUT_AN_ANSWER and within 60 worlds;
    no_retry_pause: NoRetryPause by R9_WITNESS_REFUSES;
    names_from_view_only: NamesFromViewOnly by R10_RESTART_WITH_A_GROWTH_UNRESOLVED;
    relax_before_ledger: RelaxBeforeLedger by I2_OUTSIDE_THE_LEDGER and within 60 worlds;
    grow_without_canary: GrowWithoutCanary by R12_BUSY_CHECKPOINTER and within 20 worlds;
    grow_unreplayed: GrowUnreplayed by I5_REPLAY_STALLS;
    clone_while_listed: CloneWhileListed by R13_LISTED_RESTARTS;
    ordered_clone_while_listed: OrderedCloneWhileListed by CLONE_OF_A_LISTED_MEMBER;
    ordered_clone_unbarred: OrderedCloneUnbarred by CLONED_ANEW and within rejoins 20;
    ignore_data_directory: IgnoreDataDirectory by R13_HOLDER_LOSES_ITS_DISK;
    acquire_outside_ledger: AcquireOutsideLedger by I2_OUTSIDE_THE_LEDGER;
    hand_over_before_stop: HandOverBeforeStop by R15_THERE_AND_BACK and within 20 worlds;
    hand_over_unproven: HandOverUnproven by R14_TARGET_BEHIND;
    keep_handover: KeepHandover by R15_THERE_AND_BACK and within 20 worlds;
    abort_without_cas: AbortWithoutCas by R15_UNDONE_WITH_A_WRITE_OUTSTANDING;
    release_before_stop: ReleaseBeforeStop by R16_RELEASE_OUTSTANDING and within 60 worlds;
    stall_ignored: StallIgnored by I5_DISK_HANGS;
    rest_unbarred: RestUnbarred by REST_ASKED_TOO_LATE and within rests 200;
    rest_before_stop: RestBeforeStop by REST_AND_BACK and within rests 200;
    rest_ignored: RestIgnored by REST_AND_BACK;
    promise_ignored: PromiseIgnored by R20_WITNESS_BACK_FOR_THE_STANDBY;
    pause_ignored: PauseIgnored by R21_PAUSED;
    lag_dated_by_the_look: LagDatedByTheLook by R21_LAG_HEARD_LONG_AGO;
    follow_unproven: FollowUnproven by LINEAGE_PROMOTED_APART and by forks within 800;
    proof_for_every_holder: ProofForEveryHolder by LINEAGE_OF_THE_HOLDER_BEFORE and by forks within 800;
    lineage_of_another_epoch: LineageOfAnotherEpoch by LINEAGE_HEARD_LATE;
    rewind_apart: RewindApart by LINEAGE_EQUAL_BY_NUMBERS and by forks within 400;
    order_for_any_epoch: OrderForAnyEpoch by I2_LATE_APPROVAL;
    old_upstream_kept: OldUpstreamKept by LINEAGE_OLD_UPSTREAM;
    listed_unproven: ListedUnproven by R13_STREAMS_UNWATCHED;
    hand_over_to_stranger: HandOverToStranger by R14_TARGET_OF_ANOTHER_HISTORY;
    holder_never_reads: HolderNeverReads by R8_HOLDER_IS_NOT_TOLD;
    takeover_unlisted: TakeoverUnlisted by R18_UNDER_AN_APPROVAL and within 200 worlds;
    premise_unchecked: PremiseUnchecked by R18_PREMISE_BREAKS;
    receiver_kept: ReceiverKept by R18_RECEIVER_HANGS and within 20 worlds;
    suspicion_by_one_signal: SuspicionByOneSignal by R18_LINK_CUT and within 100 worlds;
    names_any_one: NamesAnyOne by R18_SLOWER_OF_TWO;
    unknown_is_down: UnknownIsDown by VETO_OF_NOBODY;
    veto_ignored: VetoIgnored by VETO_AND_A_PERSON;
    veto_bars_people: VetoBarsPeople by VETO_AND_A_PERSON;
    old_verdict_used: OldVerdictUsed by VETO_OF_AN_EARLIER_SILENCE;
    unanswered_is_accepted: UnansweredIsAccepted by R18_SHRINK_AGAINST_A_TAKEOVER;
    grow_without_canary_for_a_takeover: GrowWithoutCanary by R12_LEDGER_BUSY_CHECKPOINTER;
}
