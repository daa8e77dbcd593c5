//! Every backend on the real service behind it, linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod cloudflare;
mod common;
mod etcd;
mod kubernetes;
mod npm;
mod object_store;
mod quorum;
