//! A run as a picture: lanes for whoever takes part, over simulated time.

mod recorded;

pub use recorded::{Recorded, Strike, Strikes};
