//! Who may do what: tiers, grants, and the decision.
//!
//! A grant gives a tier over the pairs whose labels its selector fits. Within a grant tier and
//! selector must both hold; across grants one is enough. Nothing is ever taken away by a grant, so
//! who has none can do nothing.

mod caller;
mod grant;
mod power;
pub mod rate;
mod rule;
mod selector;
#[cfg(test)]
mod tests;

pub use caller::{Caller, LOUD, Via};
pub use grant::{Grant, NAME_CHARS_MAX, Subject, Tier};
pub use power::{Labels, Over, Power, Verdict, authorise};
pub use rule::{SafetyRule, Verb, is_another_person, strictest};
pub use selector::Selector;

/// The label by which a pair is known to serve production.
pub const ENVIRONMENT_LABEL: &str = "env-type";
/// Its value for production.
pub const PRODUCTION: &str = "prod";
