//! Deterministic simulation of a whole Continuum: one thread, one seed, one history.

pub mod postgres;
