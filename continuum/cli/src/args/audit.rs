//! `audit` and `sinks`: the records of what happened, and where they are sent to.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use continuum_domain::PairId;

use super::ops::ClientFlags;

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: AuditVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormatArg {
    /// One JSON object a line; can be verified
    Jsonl,
    /// A table
    Csv,
}

/// What can be done with the audit chain.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// List records, oldest first
    List {
        /// Only of this pair
        #[arg(long)]
        pair: Option<PairId>,
        /// Only after this position; the newest records when left out
        #[arg(long)]
        after: Option<u64>,
        /// At most so many, 1 to 1000
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Check every record: in the replicated chain, and in the archive of the node that answers
    Verify {
        /// Check a copy instead, an export as JSON Lines; needs no server
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Write records of any age, from the archive of the node that answers
    Export {
        /// How they are written
        #[arg(long, value_enum, default_value_t = ExportFormatArg::Jsonl)]
        format: ExportFormatArg,
        /// Where to; standard output when left out
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Only records from then on, RFC 3339
        #[arg(long, value_name = "TIME")]
        from: Option<jiff::Timestamp>,
        /// Only records before then, RFC 3339
        #[arg(long, value_name = "TIME")]
        until: Option<jiff::Timestamp>,
        /// Only of this pair
        #[arg(long)]
        pair: Option<PairId>,
        /// Only of this action, for example switchover.start
        #[arg(long)]
        action: Option<String>,
        /// Replace names and addresses by pseudonyms
        #[arg(long)]
        hash_personal: bool,
    },
}

/// `sinks`.
#[derive(Debug, Args)]
pub struct SinksArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: SinksVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with sinks.
#[derive(Debug, Subcommand)]
pub enum SinksVerb {
    /// List sinks: how each stands, what waits for it, what it refused
    List,
    /// Send a test event now; exit 1 unless it is taken
    Test {
        /// The sink
        sink: String,
    },
    /// List records that a sink refused for good
    DeadLetters {
        /// The sink
        sink: String,
    },
    /// Send those again, oldest first
    Retry {
        /// The sink
        sink: String,
    },
}
