//! Every planted bug is found within its number of seeds, for the reason its hunt gives; and on the
//! same plans, up to the seed that found it, nothing is found with the rule in force.

use std::process::Command;

use continuum_sim::Verdict;
use continuum_sim::hunts::{self, Hunt};

/// One run, in a process of its own.
fn run(hunt: &Hunt, seed: u64, planted: bool) -> Verdict {
    let (name, bug, seed) = (hunt.name(), format!("{:?}", hunt.bug), seed.to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_continuum-sim"));
    command.args(["--json", "--hunt", &name, "--seed", &seed]);
    if planted {
        command.args(["--plant", &bug]);
    }
    let output = command.output().expect("the simulator starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| {
        panic!("{bug}, seed {seed}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

fn hunt(name: &str) {
    let hunt = hunts::find(name).unwrap_or_else(|| panic!("no hunt for {name}"));
    let found = (0..hunt.seeds).find_map(|seed| {
        let first = run(&hunt, seed, true).findings.into_iter().next()?;
        Some((seed, first))
    });
    let (seed, finding) = found.unwrap_or_else(|| panic!("{name}: unnoticed"));
    assert!(finding.starts_with(hunt.says), "{name}, seed {seed}: {finding}");
    println!("{name}: seed {seed}: {finding}");
    for seed in 0..=seed {
        let sound = run(&hunt, seed, false);
        assert!(sound.is_ok(), "{name}, seed {seed}, nothing planted: {:?}", sound.findings);
        assert!(sound.acknowledged > 0);
    }
}

macro_rules! hunted {
    ($($test:ident: $bug:ident;)*) => {
        const HUNTED: &[&str] = &[$(stringify!($bug)),*];
        $(#[test] fn $test() { hunt(stringify!($bug)); })*
    };
}

hunted! {
    valid_from_receipt: ValidFromReceipt;
    valid_from_last_send: ValidFromLastSend;
    no_epoch_bump_on_return: NoEpochBumpOnReturn;
    short_window: ShortWindow;
    window_survives_beat: WindowSurvivesBeat;
    verdict_with_later_version: VerdictWithLaterVersion;
    promise_ignored: PromiseIgnored;
    promise_in_memory: PromiseInMemory;
    lag_dated_by_the_look: LagDatedByTheLook;
    first_words_are_new: FirstWordsAreNew;
    no_deadline: NoDeadline;
    unanswered_is_refused: UnansweredIsRefused;
    names_from_view_only: NamesFromViewOnly;
    relax_before_ledger: RelaxBeforeLedger;
    grow_without_canary: GrowWithoutCanary;
    clone_while_listed: CloneWhileListed;
    ordered_clone_unbarred: OrderedCloneUnbarred;
    acquire_outside_ledger: AcquireOutsideLedger;
    hand_over_before_stop: HandOverBeforeStop;
    hand_over_unproven: HandOverUnproven;
    keep_handover: KeepHandover;
    abort_without_cas: AbortWithoutCas;
    release_before_stop: ReleaseBeforeStop;
    stop_unannounced: StopUnannounced;
    undone_after_move: UndoneAfterMove;
    change_not_synced: ChangeNotSynced;
    vote_not_synced: VoteNotSynced;
    append_not_synced: AppendNotSynced;
    names_kept_for_ever: NamesKeptForEver;
    acquired_unaudited: AcquiredUnaudited;
    core_needed: CoreNeeded;
    age_not_shown: AgeNotShown;
    names_any_one: NamesAnyOne;
    grow_without_canary_ledger: GrowWithoutCanaryLedger;
    unanswered_is_refused_ledger: UnansweredIsRefusedLedger;
    takeover_unlisted: TakeoverUnlisted;
    holder_never_reads: HolderNeverReads;
    suspicion_by_one_signal: SuspicionByOneSignal;
    receiver_kept: ReceiverKept;
    premise_unchecked: PremiseUnchecked;
    veto_ignored: VetoIgnored;
    old_verdict_used: OldVerdictUsed;
    unknown_is_down: UnknownIsDown;
}

#[test]
fn every_hunt_has_a_test() {
    let all: Vec<String> = hunts::all().iter().map(|hunt| hunt.name()).collect();
    assert_eq!(all, HUNTED);
}
