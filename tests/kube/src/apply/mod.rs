//! Server-side apply: who owns which field, and what an apply may change.

pub mod fieldset;
pub mod managed;
pub mod typed;
