//! Bugs that the tests plant, to see that they are found. In a build that is not a test there are
//! none, and [`planted`] is a constant.
//!
//! Apart from `continuum_domain::mutation`, whose bugs are in a build or not for the whole workspace by a
//! feature: these tests run in every build of the tests.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A proposer accepts without having prepared.
    SkipPrepare,
    /// One acceptor's word counts twice.
    CountTwice,
    /// A ballot that may lie at an acceptor is used again for another value.
    ReuseBallot,
    /// An acceptor that lost everything is asked as if it had promised nothing.
    TrustEmpty,
    /// A change that may have been built upon is answered as refused.
    ForgetExposed,
    /// A register is carried over from cells that still accept.
    CarryUnsealed,
    /// What is not there yet is read as absent while registers are carried over.
    AbsentWhileFilling,
    /// Registers are listed before the stores refuse to make new ones.
    ListFirst,
    /// What is replaced for what it lost is asked what it held.
    AskTheReplaced,
}

#[cfg(test)]
thread_local! {
    pub(super) static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(super) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
pub(super) fn planted(_bug: Bug) -> bool {
    false
}
