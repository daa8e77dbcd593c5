//! Properties of the pair and session machines, in a deterministic world.

#![allow(clippy::unwrap_used, reason = "a world that breaks its own rules should panic")]

#[path = "../world/mod.rs"]
mod world;

mod corroboration_stories;
mod fork_stories;
mod happy_path;
mod ledger_stories;
mod named_states;
#[cfg(feature = "planted-bugs")]
mod planted;
mod promotion_stories;
mod random_worlds;
mod rejoin_stories;
mod rest_stories;
mod rules;
mod stories;
mod story;
mod support;
mod walk;
