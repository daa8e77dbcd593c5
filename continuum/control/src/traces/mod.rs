//! What the core tells of as spans: requests it answered, operations and their steps.

mod operation;
mod request;
mod teller;

pub(crate) use operation::{Place, directive_context};
pub(crate) use request::{Answered, PrincipalTier, asked};
pub(crate) use teller::run;
