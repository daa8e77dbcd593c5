//! Complete examples, each of which passes `config check`.

use super::Kind;

/// The example for a kind.
pub fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => include_str!("examples/agent.toml"),
        Kind::Server => include_str!("examples/server.toml"),
        Kind::Guard => include_str!("examples/guard.toml"),
        Kind::Witness => include_str!("examples/witness.toml"),
        Kind::Dns => include_str!("examples/dns.toml"),
        Kind::Client => include_str!("examples/client.toml"),
        Kind::Pair => include_str!("examples/pair.toml"),
    }
}
