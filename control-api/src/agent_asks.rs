//! What is asked of an agent directly: by another agent, and by an operator.

use continuum_domain::{DataDirectoryId, Epoch, Lsn, PairId, TimelineId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::member_report::MemberReport;

/// One agent asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum PeerAsk {
    /// Has your PostgreSQL replayed to `lsn` on `timeline`? Waits up to `wait_ms`.
    Replayed {
        /// The pair.
        pair: PairId,
        /// Epoch of the asking holder.
        epoch: Epoch,
        /// Timeline of the shutdown checkpoint.
        timeline: TimelineId,
        /// End of the shutdown checkpoint.
        lsn: Lsn,
        /// How long to wait for it.
        wait_ms: u64,
        /// What the asking holder's member was given when it was stopped, for the next promotion of the
        /// one that is asked: a CloudNativePG Cluster's demotion token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
    },
    /// Do you live?
    Beat {
        /// Repeated in the answer.
        sequence: u64,
    },
    /// The pair's register changed: read it now.
    Nudge {
        /// The pair.
        pair: PairId,
    },
    /// Which data directory does your member run on? Told only to a holder whose WAL the member's
    /// is proven to be the beginning of (R13).
    Identify {
        /// The pair.
        pair: PairId,
        /// Epoch of the asking holder.
        epoch: Epoch,
    },
    /// Do you hold this epoch, and accept writes under it? Waits up to `wait_ms` for it.
    Writable {
        /// The pair.
        pair: PairId,
        /// The epoch.
        epoch: Epoch,
        /// How long to wait for it.
        wait_ms: u64,
    },
    /// Promise not to acquire, promote or accept an approval for `hold_ms` from now (R20).
    Promise {
        /// The pair.
        pair: PairId,
        /// Epoch of the asking holder.
        epoch: Epoch,
        /// Duration of the promise.
        hold_ms: u64,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum PeerAnswer {
    /// Yes, with this member's data directory.
    Replayed {
        /// The member's data directory, to be written into the ledger.
        data_directory: DataDirectoryId,
        /// Where it has replayed to.
        replay: Lsn,
    },
    /// It lives.
    Beat {
        /// The question's.
        sequence: u64,
    },
    /// Understood.
    Noted,
    /// The member's data directory; `None` when it has none that is whole.
    Identity {
        /// Its identity.
        data_directory: Option<DataDirectoryId>,
    },
    /// Yes.
    Writable,
    /// The promise is on disk.
    Promised,
    /// No, and why.
    Refused {
        /// The reason.
        reason: String,
    },
}

/// An operator asks an agent directly, without the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum OperatorAsk {
    /// Stop PostgreSQL here and keep it stopped until unfenced.
    Fence {
        /// The pair.
        pair: PairId,
        /// Why; kept with the mark.
        reason: String,
    },
    /// Take the mark away.
    Unfence {
        /// The pair.
        pair: PairId,
        /// Why, for the journal.
        reason: String,
    },
    /// What is the member doing?
    Show {
        /// The pair.
        pair: PairId,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum OperatorAnswer {
    /// Done; the mark is on disk and, for a fence, no process of PostgreSQL is left.
    Done,
    /// The member.
    Member {
        /// Its state.
        report: Box<MemberReport>,
    },
    /// Not done, and why.
    Failed {
        /// The reason.
        reason: String,
    },
}
