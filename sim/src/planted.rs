//! Planted bugs: a run with one rule taken out of the machines, to show that the judge notices.

use continuum_domain::mutation::{Bug, plant};

/// All bugs that can be planted.
pub const ALL: &[Bug] = &[
    Bug::ValidFromReceipt,
    Bug::ValidFromLastSend,
    Bug::LateAckRevives,
    Bug::NoEpochBumpOnReturn,
    Bug::PromoteUnarmed,
    Bug::ShortWindow,
    Bug::WindowSurvivesBeat,
    Bug::VerdictWithLaterVersion,
    Bug::CloneWhileListed,
    Bug::OrderedCloneUnbarred,
    Bug::UnansweredIsRefused,
    Bug::NamesFromViewOnly,
    Bug::RelaxBeforeLedger,
    Bug::GrowWithoutCanary,
    Bug::HolderNeverReads,
    Bug::TakeoverUnlisted,
    Bug::PremiseUnchecked,
    Bug::ReceiverKept,
    Bug::SuspicionByOneSignal,
    Bug::NamesAnyOne,
    Bug::IgnoreDataDirectory,
    Bug::AcquireOutsideLedger,
    Bug::HandOverBeforeStop,
    Bug::HandOverUnproven,
    Bug::KeepHandover,
    Bug::AbortWithoutCas,
    Bug::ReleaseBeforeStop,
    Bug::PromiseIgnored,
    Bug::PauseIgnored,
    Bug::FollowUnproven,
    Bug::ProofForEveryHolder,
    Bug::LineageOfAnotherEpoch,
    Bug::RewindApart,
    Bug::OldUpstreamKept,
    Bug::ListedUnproven,
    Bug::HandOverToStranger,
    Bug::OrderForAnyEpoch,
    Bug::UnknownIsDown,
    Bug::VetoIgnored,
    Bug::VetoBarsPeople,
    Bug::OldVerdictUsed,
    Bug::StopUnannounced,
    Bug::UndoneAfterMove,
    Bug::MovedTwice,
    Bug::VacantIsReturned,
    Bug::StaleGrant,
    Bug::UnknownLagIsNone,
    Bug::CandidateByName,
    Bug::AcquiredUnaudited,
    Bug::AgeNotShown,
    Bug::CoreNeeded,
    Bug::LagDatedByTheLook,
    Bug::FirstWordsAreNew,
    Bug::UnlistedIsGranted,
    Bug::PromiseInMemory,
    Bug::BlindGuard,
    Bug::NoDeadline,
    Bug::ChangeNotSynced,
    Bug::VoteNotSynced,
    Bug::AppendNotSynced,
    Bug::NamesKeptForEver,
];

/// The bug of this name.
pub fn find(name: &str) -> Option<Bug> {
    ALL.iter().copied().find(|bug| format!("{bug:?}") == name)
}

/// Plants it for all runs of this thread.
pub fn plant_here(bug: Bug) {
    plant(Some(bug));
}
