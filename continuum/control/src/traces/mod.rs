//! What the core tells of as spans: requests it answered, wishes to fail over, operations and their steps.

mod grant;
mod operation;
mod request;
mod teller;

pub(crate) use grant::{Wish, grant_context, tell as tell_grant};
pub(crate) use operation::{Place, directive_context};
pub(crate) use request::{Answered, PrincipalTier, asked};
pub(crate) use teller::run;
