//! The `continuum` binary as a library: command line, configuration, output, and the wiring of the
//! roles.
//!
//! ```text
//!  args ──> run ──┬── ops ──> ApiClient ──> render      (one request, or one and then watching)
//!                 ├── roles ──> config ──> the role's crate
//!                 └── config check | example, completions, version
//! ```
//!
//! Every way out is an [`failure::Exit`]; errors say what happened, what it means for the data and
//! what to do next.

pub mod args;
pub mod config;
pub mod failure;
pub mod ops;
pub mod render;
pub mod roles;
pub mod run;
