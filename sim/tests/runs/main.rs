//! Whole simulated runs, and what the command says of them.

mod coverage;
mod scenarios;
mod seeds;
mod timeline;
