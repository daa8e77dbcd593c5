//! The lab: real processes on one machine, a client ledger, faults and the report.
//!
//! ```text
//!  lab / test ── starts ──> janitor, servers, witness, dns, guards, agents   (own processes)
//!      │                         ▲
//!      ├── Lab: kill, freeze, thaw, restart by name; the API; wait_healthy
//!      ├── Workload: writers that follow DNS and record every attempt
//!      ├── NameWatch: what DNS answered, and when
//!      └── ledger: acknowledged / lost / duplicated / indeterminate, invariants I1 to I3
//! ```
//!
//! Guarantees: the judge stands outside the system it judges (it reads the survivors' table and
//! its own record of what clients were told); an attempt whose fate is not known is indeterminate,
//! never absent; whatever way the lab ends, the janitor leaves no process and no file behind.

pub mod args;
pub mod history;
pub mod janitor;
pub mod judge;
pub mod lab;
pub mod ledger;
pub mod names;
pub mod process;
pub mod stall;
pub mod wan;
pub mod workload;

mod authority;
mod azurite;
mod clusters;
mod config;
mod health;
mod layout;
mod manifest;
mod pooler;
mod ports;
mod progress;
mod report;
mod scenario;
mod supervise;

pub use args::{LabArgs, LabNames, LabOptions, LabWitness, NameElsewhere};
pub use authority::Make;
pub use clusters::{NAMESPACE, cluster_name};
pub use janitor::JanitorArgs;
pub use lab::Lab;
pub use layout::Layout;
pub use report::{EventReport, LabReport};
pub use scenario::run;
