//! The verbs of access.

use std::time::Duration;

use clap::{Args, Subcommand};
use continuum_domain::access::{Selector, Subject, Tier};
use continuum_domain::{AccessName, duration_text};

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
        /// For whom: user:NAME, group:NAME or certificate:NAME; may be repeated
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
