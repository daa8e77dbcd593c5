//! Whether a health name has an address, as one resolver sees it.
//!
//! Each resolver is asked by itself, without a cache of ours. Up needs an address, down needs the
//! zone's own word that there is none (RFC 2308: NXDOMAIN or no data, with the zone's SOA). All else,
//! from silence to a server that knows nothing of the zone, is unknown.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::corroborate::{NameState, Resolver, ResolverAnswer};
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData};

use crate::lookup::{LookupError, RecordType, ResponseCode, resolve};

/// Asks resolvers for health names. An answer comes by the deadline, whatever happens.
#[async_trait]
pub trait HealthNames: Send + Sync {
    /// What `resolver` makes of `name`.
    async fn ask(&self, resolver: Resolver, name: &str, deadline: Duration) -> ResolverAnswer;
}

/// Asks over the network: for IPv4 and IPv6 addresses at once, each by UDP and, when the answer does
/// not fit, by TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResolverClient;

#[async_trait]
impl HealthNames for ResolverClient {
    async fn ask(&self, resolver: Resolver, name: &str, deadline: Duration) -> ResolverAnswer {
        let mut ipv4 = std::pin::pin!(of_type(resolver.0, name, RecordType::A, deadline));
        let mut ipv6 = std::pin::pin!(of_type(resolver.0, name, RecordType::AAAA, deadline));
        // An address of either kind settles it.
        let (first, other) = tokio::select! {
            first = &mut ipv4 => (first, None),
            first = &mut ipv6 => (first, Some(())),
        };
        if first.state == NameState::Up {
            return first;
        }
        let second = match other {
            None => ipv6.await,
            Some(()) => ipv4.await,
        };
        together(first, second)
    }
}

/// Two answers of one resolver: up by either, down by both.
fn together(first: ResolverAnswer, second: ResolverAnswer) -> ResolverAnswer {
    match (first.state, second.state) {
        (_, NameState::Up) => second,
        (NameState::Up, _) | (NameState::Down, NameState::Down) => first,
        (NameState::Unknown, _) => first,
        (_, NameState::Unknown) => second,
    }
}

fn unknown(why: impl Into<String>) -> ResolverAnswer {
    ResolverAnswer::new(NameState::Unknown, why)
}

async fn of_type(
    resolver: SocketAddr,
    name: &str,
    record_type: RecordType,
    deadline: Duration,
) -> ResolverAnswer {
    match resolve(resolver, name, record_type, deadline).await {
        Ok(answer) => read(&answer, record_type),
        Err(LookupError::Unanswered { timeout, .. }) => {
            unknown(format!("no answer in {timeout:?}"))
        }
        Err(LookupError::Io(error)) => unknown(format!("not reached: {error}")),
        Err(error @ LookupError::Name { .. }) => unknown(error.to_string()),
    }
}

/// What an answer says of the name.
fn read(answer: &Message, record_type: RecordType) -> ResolverAnswer {
    let code = answer.metadata.response_code;
    if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
        return unknown(format!("it answers {code}"));
    }
    let addresses = answer.answers.iter().filter(|record| record.record_type() == record_type);
    let addresses: Vec<String> =
        addresses.filter_map(|record| Some(record.data.ip_addr()?.to_string())).collect();
    if code == ResponseCode::NoError && !addresses.is_empty() {
        return ResolverAnswer::new(NameState::Up, addresses.join(", "));
    }
    let why = if code == ResponseCode::NXDomain { "no such name" } else { "no address" };
    if denied_by_its_zone(answer) {
        ResolverAnswer::new(NameState::Down, why)
    } else {
        unknown(format!("{why}, without the zone's word for it"))
    }
}

/// Whether the zone of the name, or of what it is an alias for, says itself that there is nothing.
fn denied_by_its_zone(answer: &Message) -> bool {
    let Some(asked) = answer.queries.first() else { return false };
    let mut aliases = answer.answers.iter().filter_map(|record| match &record.data {
        RData::CNAME(target) => Some(&target.0),
        _ => None,
    });
    let last: &Name = aliases.next_back().unwrap_or_else(|| asked.name());
    let mut zones =
        answer.authorities.iter().filter(|record| record.record_type() == RecordType::SOA);
    zones.any(|soa| soa.name.zone_of(last))
}
