//! CloudNativePG: what is read of it, what is decided on it, and what is written to it.
//!
//! ```text
//!   cnpg (views) ---> reading (named conditions) ---> gates (what bars a planned move?)
//!        |                                              |
//!        +---> foreign (who else wrote?)                v
//!        +---> token (is it the one, does it fit?) ---> patches (one write each)
//! ```
//!
//! Everything in here is a decision over values that were read: no client, no clock. A field that
//! was not read is unknown, and nothing unknown is taken for well.

pub mod backups;
pub mod cnpg;
pub mod crd;
pub mod foreign;
pub mod gates;
pub mod hibernate;
pub mod patches;
pub mod plane;
pub mod reading;
pub mod render;
pub mod schema;
pub mod token;
pub mod written;

#[cfg(test)]
mod fixtures;
