//! The ambient world as values: clock, randomness, network, identity, small durable files, logging.
//!
//! Nothing above this crate reads a clock, draws a random number, spawns a task or opens a socket
//! except through here, so that a simulator can own all of it.

pub mod certificates;
pub mod clock;
pub mod disk;
pub mod durable;
pub mod edge;
mod handshakes;
pub mod identity;
pub mod logging;
pub mod metrics;
pub mod net;
mod rotation;
pub mod seed;
pub mod traces;

pub use clock::{BootClock, Clock, SharedClock};
pub use identity::{Identity, Role};
pub use net::{Network, SharedNetwork};
