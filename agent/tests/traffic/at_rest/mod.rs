//! The surroundings of paused pairs.

mod eks;
mod hibernation;
mod pools;
mod sink;
