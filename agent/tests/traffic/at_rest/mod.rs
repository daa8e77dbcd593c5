//! The surroundings of paused pairs.

mod hibernation;
mod pools;
mod sink;
