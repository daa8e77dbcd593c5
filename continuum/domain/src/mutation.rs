//! Planted bugs: each takes one rule out, so that a test can show that the checkers notice.
//!
//! Without the feature `planted-bugs` every question is answered `false` at compile time; a
//! production build holds none of these paths.

/// A rule that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// R3: a renewal counts from when its answer came.
    ValidFromReceipt,
    /// R3: a retried renewal counts from its last send.
    ValidFromLastSend,
    /// A late acknowledgement revives a lapsed session.
    LateAckRevives,
    /// R5: a returning holder takes its recorded epoch as confirmed without a CAS.
    NoEpochBumpOnReturn,
    /// R5: promote without an armed deadline.
    PromoteUnarmed,
    /// R6: the window is shorter than the ttl.
    ShortWindow,
    /// R6: the window is not started anew when the session's value changes.
    WindowSurvivesBeat,
    /// R7: the verdict is used with a pair version read later.
    VerdictWithLaterVersion,
    /// R9: a CAS without an answer is taken for one that failed.
    UnansweredIsRefused,
    /// R9: a CAS without an answer is taken for one that took effect.
    UnansweredIsAccepted,
    /// A witness that refuses at once is asked again at once.
    NoRetryPause,
    /// R10: names are set from the last view although an own CAS is unresolved.
    NamesFromViewOnly,
    /// Names are relaxed before the ledger shrank.
    RelaxBeforeLedger,
    /// R12: the ledger grows on what `pg_stat_replication` shows.
    GrowWithoutCanary,
    /// The ledger is grown by a standby that does not replay.
    GrowUnreplayed,
    /// R8: a holder does not read its register again, and is not bounded by its last read of it.
    HolderNeverReads,
    /// R18: a ledger takeover by a member that is not listed, under an approval.
    TakeoverUnlisted,
    /// R18: whether the holder waits for every listed member is not looked at.
    PremiseUnchecked,
    /// R18: a takeover does not stop what it receives.
    ReceiverKept,
    /// A holder is suspected although its session beats.
    SuspicionByOneSignal,
    /// Names ask for any one of the listed members.
    NamesAnyOne,
    /// R13: the ledger's data-directory identity is not compared.
    IgnoreDataDirectory,
    /// I2: acquire without being in the in-sync set.
    AcquireOutsideLedger,
    /// R14: `handover_to` is written before PostgreSQL is stopped.
    HandOverBeforeStop,
    /// R14: the target's replay position is not proven.
    HandOverUnproven,
    /// R15: `handover_to` is kept through an acquisition or a return.
    KeepHandover,
    /// R15: an aborted switchover starts PostgreSQL again without a CAS.
    AbortWithoutCas,
    /// R16: the lease is released before the stop is proven.
    ReleaseBeforeStop,
    /// A primary whose writes do not reach its disk keeps the lease.
    StallIgnored,
    /// A pair is put to rest before challengers are barred.
    RestUnbarred,
    /// R16: a pair is put to rest before the stop is proven.
    RestBeforeStop,
    /// The members of a pair at rest run on.
    RestIgnored,
    /// R20: a promise does not bar acquiring.
    PromiseIgnored,
    /// R21: a paused pair is taken over.
    PauseIgnored,
    /// R21: the lag is dated by when the standby was looked at, not by when its primary spoke.
    LagDatedByTheLook,
    /// A running standby is pointed at the holder without a look at its lineage.
    FollowUnproven,
    /// A lineage proven for one holder counts for the next as well.
    ProofForEveryHolder,
    /// What a look at the last holder's history brought is acted on under the next one.
    LineageOfAnotherEpoch,
    /// A member promoted apart under the same timeline number is rewound, not cloned.
    RewindApart,
    /// A standby whose lineage is not proven for the holder stays pointed where it was.
    OldUpstreamKept,
    /// R13: a member tells its directory to a holder for which its lineage is not proven.
    ListedUnproven,
    /// R14: a target's position counts although the target does not stream from the holder.
    HandOverToStranger,
    /// R13: a member that is listed with the very directory it has is cloned anew.
    CloneWhileListed,
    /// R13: a clone that a person ordered does not wait for the ledger to do without the member.
    OrderedCloneWhileListed,
    /// R13: nobody has a clone that a person ordered wait for the ledger: the core does not ask the
    /// holder to do without the member, and the member does not look.
    OrderedCloneUnbarred,
    /// An order to take over counts for the epoch it finds, not for the one it was decided at.
    OrderForAnyEpoch,
    /// I7: a resolver that said nothing counts as one that said there is no address.
    UnknownIsDown,
    /// A health name that answers does not keep anybody from failing over.
    VetoIgnored,
    /// A health name that answers bars a person's word too.
    VetoBarsPeople,
    /// What resolvers said of an earlier silence counts for this one.
    OldVerdictUsed,

    /// Core: the old holder is told to stop before the journal says so.
    StopUnannounced,
    /// Core: a cancel is honoured after the commit point.
    UndoneAfterMove,
    /// Core: with the move seen, a register that shows the old epoch has the move begun again.
    MovedTwice,
    /// Core: a vacant lease passes for the old holder's return.
    VacantIsReturned,
    /// Core, R9: a pause is called off while a write that bars challengers may land yet.
    BarUnresolved,
    /// Core, R13: a member is told to take a fresh clone before the ledger does without it.
    ClonedUnasked,
    /// Core: a pair is resumed without taking its pause back.
    ResumedPaused,
    /// Core: a failover is granted for an epoch that was superseded.
    StaleGrant,
    /// Core, I2: a member that is not in the ledger needs no approval of a loss.
    UnlistedIsGranted,
    /// Core, I7: a lag that was not measured is within every bound.
    UnknownLagIsNone,
    /// Core, R13: a candidate counts by its region's name, whatever its data directory.
    CandidateByName,

    /// Core, I4: who took the lease is recorded and not audited.
    AcquiredUnaudited,
    /// Core, I7: what a member said last is shown as if it were said now.
    AgeNotShown,
    /// A holder gives way when it loses the core (I6).
    CoreNeeded,

    /// Agent, R21: the first words of a primary that are seen pass for new.
    FirstWordsAreNew,
    /// Agent, R20: a promise is given before it is on disk, and never gets there.
    PromiseInMemory,
    /// Guard, R4: commands of older agents and epochs are carried out.
    BlindGuard,
    /// Guard, R5: the armed deadline passes and PostgreSQL runs on.
    NoDeadline,
    /// Witness: a change is answered before it is on disk.
    ChangeNotSynced,
    /// Raft: a vote is given before it is on disk.
    VoteNotSynced,
    /// Raft: an entry is acknowledged before it is on disk.
    AppendNotSynced,
    /// Names, I3: what was known once is told for ever.
    NamesKeptForEver,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for the current thread; `None` takes it out again.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    ACTIVE.set(bug);
}

/// Whether `bug` is planted.
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: Bug) -> bool {
    ACTIVE.get() == Some(bug)
}

/// Whether `bug` is planted: never, in this build.
#[cfg(not(feature = "planted-bugs"))]
pub const fn planted(_bug: Bug) -> bool {
    false
}
