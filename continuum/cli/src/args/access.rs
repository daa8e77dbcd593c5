//! The verbs of access.

use std::time::Duration;

use clap::{Args, Subcommand};
use continuum_domain::access::{Selector, Subject, Tier, Verb};
use continuum_domain::{AccessName, ApprovalId, duration_text};

use super::ops::ClientFlags;

/// A selector; an empty text is everything.
fn selector(text: &str) -> Result<Selector, String> {
    Selector::try_from(text.to_owned())
}

/// `whoami`.
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: AccessVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with grants.
#[derive(Debug, Subcommand)]
pub enum AccessVerb {
    /// List all grants
    Grants,
    /// Make or change a grant
    Grant {
        /// Its name
        name: AccessName,
        /// For whom: user:NAME, group:NAME, certificate:NAME or region:NAME; may be repeated
        #[arg(long = "to", required = true, value_name = "SUBJECT")]
        subjects: Vec<Subject>,
        /// viewer, developer, operator, admin or owner
        #[arg(long)]
        tier: Tier,
        /// Over which pairs, for example env-type=prod; everything when left out
        #[arg(long, short = 'l', value_name = "LABELS", default_value = "", value_parser = selector)]
        selector: Selector,
        /// Its subjects may break the glass
        #[arg(long)]
        break_glass: bool,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a grant away
    Ungrant {
        /// Its name
        name: AccessName,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: TokenVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a token; its secret is printed this once
    Create {
        /// Its name
        name: AccessName,
        /// viewer, developer, operator, admin or owner; at most your own
        #[arg(long)]
        tier: Tier,
        /// Over which pairs, for example env-type=test; everything when left out
        #[arg(long, short = 'l', value_name = "LABELS", default_value = "", value_parser = selector)]
        selector: Selector,
        /// For how long, at most a year
        #[arg(long = "for", value_name = "DURATION", value_parser = duration_text::parse)]
        duration: Duration,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List tokens that have not ended
    List,
    /// End a token at once
    Revoke {
        /// Its identifier, as `list` shows it
        id: AccessName,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// `break-glass`.
#[derive(Debug, Args)]
pub struct GlassArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: GlassVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with the glass.
#[derive(Debug, Subcommand)]
pub enum GlassVerb {
    /// Become owner of everything for a time; everybody will see it
    Open {
        /// Why; must not be empty
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
        /// For how long, at most an hour
        #[arg(long = "for", value_name = "DURATION", value_parser = duration_text::parse)]
        duration: Duration,
    },
    /// Be no owner any more
    Close {
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Show whose glass is broken
    Show,
}

/// `approvals`.
#[derive(Debug, Args)]
pub struct ApprovalsArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ApprovalsVerb,
    /// Connection and output.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// What can be done with requests that take a second person.
#[derive(Debug, Subcommand)]
pub enum ApprovalsVerb {
    /// List the requests and operations that wait
    List,
    /// Approve a request of another person; it is then carried out
    Approve {
        /// The request
        id: ApprovalId,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Reject a request
    Reject {
        /// The request
        id: ApprovalId,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List the rules by which requests are kept
    Rules,
    /// Make or change a rule
    Rule {
        /// Its name
        name: AccessName,
        /// switchover, failover, change, remove or pause; may be repeated
        #[arg(long = "verb", required = true, value_name = "VERB")]
        verbs: Vec<Verb>,
        /// On which pairs; all when left out
        #[arg(long, short = 'l', value_name = "LABELS", default_value = "", value_parser = selector)]
        selector: Selector,
        /// The least tier of who approves
        #[arg(long, value_name = "TIER")]
        approver: Tier,
        /// From which tier on nobody else is needed; everybody needs one when left out
        #[arg(long, value_name = "TIER")]
        exempt: Option<Tier>,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a rule away
    Unrule {
        /// Its name
        name: AccessName,
        /// Why; kept in the audit
        #[arg(long, default_value = "")]
        reason: String,
    },
}
