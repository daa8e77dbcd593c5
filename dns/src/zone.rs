//! The zone: what a question is answered with. No I/O, no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use continuum_domain::spec::Service;
use continuum_domain::{PairId, RegionId, Tick};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, SRV, TXT};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use crate::config::{ConfigError, DnsConfig, NameConfig, parse_name};
use crate::evidence::{Evidence, Known};
use crate::records::Stamp;

/// Longest time a resolver may remember that something does not exist, in seconds.
const NEGATIVE_TTL_SECONDS_MAX: u32 = 5;
/// Time to live of the zone's own records, in seconds.
const ZONE_TTL_SECONDS: u32 = 60;
const SOA_REFRESH_SECONDS: i32 = 60;
const SOA_RETRY_SECONDS: i32 = 10;
const SOA_EXPIRE_SECONDS: i32 = 3600;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name as it was asked; the answer repeats its spelling.
    pub name: Name,
    /// The type asked for.
    pub record_type: RecordType,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code.
    pub code: ResponseCode,
    /// Whether it is the authority's word.
    pub authoritative: bool,
    /// The records asked for.
    pub answers: Vec<Record>,
    /// The zone's SOA, in answers that say what does not exist.
    pub soa: Option<Record>,
}

/// A name that follows a lease.
#[derive(Clone, Debug)]
struct Entry {
    pair: PairId,
    ttl: Duration,
    /// What is answered while a region holds the pair: addresses, one CNAME or services.
    held: BTreeMap<RegionId, Vec<RData>>,
}

/// What stands at a name.
#[derive(Clone, Debug)]
enum Node {
    /// The zone itself.
    Apex,
    /// The name server's own name.
    Server,
    /// Nothing, but something stands below it.
    Between,
    /// What leads to a pair's holder.
    Holder(Entry),
    /// The epoch of a pair, as text.
    EpochText(Entry),
}

/// The zone and what is known of its pairs.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: LowerName,
    nodes: BTreeMap<LowerName, Node>,
    evidence: BTreeMap<PairId, Evidence>,
    server: Name,
    hostmaster: Name,
    server_addresses: Vec<IpAddr>,
    negative_ttl: u32,
    max_age: Duration,
}

impl Zone {
    /// The zone of a configuration, with nothing known yet. `server_addresses` are where the name
    /// server itself answers, as far as that is known.
    pub fn new(config: &DnsConfig, server_addresses: Vec<IpAddr>) -> Result<Self, ConfigError> {
        config.check()?;
        let origin = parse_name("zone", &config.zone)?;
        let server = child("ns", &origin)?;
        let hostmaster = child("hostmaster", &origin)?;
        let mut nodes =
            BTreeMap::from([(origin.clone(), Node::Apex), (LowerName::new(&server), Node::Server)]);
        let mut evidence = BTreeMap::new();
        let mut negative_ttl = NEGATIVE_TTL_SECONDS_MAX;
        for config in &config.names {
            let name = parse_name("names", &config.name)?;
            let entry = Entry { pair: config.pair.clone(), ttl: config.ttl, held: held(config)? };
            negative_ttl = negative_ttl.min(seconds(entry.ttl));
            evidence.insert(entry.pair.clone(), Evidence::default());
            let text = LowerName::new(&child("_epoch", &name)?);
            for (name, node) in
                [(text, Node::EpochText(entry.clone())), (name, Node::Holder(entry))]
            {
                if nodes.contains_key(&name) {
                    let problem = format!("{name} stands for something else already");
                    return Err(ConfigError { path: "names".into(), problem });
                }
                nodes.insert(name, node);
            }
        }
        for name in nodes.keys().cloned().collect::<Vec<_>>() {
            let mut above = name.base_name();
            while origin.zone_of(&above) && above != origin {
                nodes.entry(above.clone()).or_insert(Node::Between);
                above = above.base_name();
            }
        }
        let max_age = config.max_age;
        Ok(Self {
            origin,
            nodes,
            evidence,
            server,
            hostmaster,
            server_addresses,
            negative_ttl,
            max_age,
        })
    }

    /// What is known of `pair`, to add to it; `None` when no name follows it.
    pub fn evidence_mut(&mut self, pair: &PairId) -> Option<&mut Evidence> {
        self.evidence.get_mut(pair)
    }

    /// Pairs that names follow.
    pub fn pairs(&self) -> impl Iterator<Item = &PairId> {
        self.evidence.keys()
    }

    /// What may be said of `pair` at `now`.
    pub fn known(&self, pair: &PairId, now: Tick) -> Known<'_> {
        self.evidence.get(pair).map_or(Known::Unknown, |evidence| evidence.at(now, self.max_age))
    }

    /// The time to live of `name`, when it follows `pair` and `region` is listed under it.
    pub fn ttl_for(&self, name: &str, pair: &PairId, region: &RegionId) -> Option<Duration> {
        match self.nodes.get(&parse_name("name", name).ok()?) {
            Some(Node::Holder(entry)) if entry.pair == *pair && entry.held.contains_key(region) => {
                Some(entry.ttl)
            }
            _ => None,
        }
    }

    /// Answers one question at `now`.
    pub fn answer(&self, question: &Question, now: Tick) -> Answer {
        let name = LowerName::new(&question.name);
        if !self.origin.zone_of(&name) {
            return Answer::code(ResponseCode::Refused);
        }
        let Some(node) = self.nodes.get(&name) else {
            return self.negative(ResponseCode::NXDomain);
        };
        let found = match node {
            Node::Apex => self.apex(question),
            Node::Server => self.own_addresses(question),
            Node::Between => Vec::new(),
            Node::Holder(entry) => match self.follow(entry, question, now) {
                Some(records) => records,
                None => return Answer::code(ResponseCode::ServFail),
            },
            Node::EpochText(entry) => match self.epoch_text(entry, question, now) {
                Some(records) => records,
                None => return Answer::code(ResponseCode::ServFail),
            },
        };
        if found.is_empty() {
            return self.negative(ResponseCode::NoError);
        }
        Answer { code: ResponseCode::NoError, authoritative: true, answers: found, soa: None }
    }

    /// Records of the holder; `None` when they are unknown.
    fn follow(&self, entry: &Entry, question: &Question, now: Tick) -> Option<Vec<Record>> {
        match self.known(&entry.pair, now) {
            Known::Unknown => None,
            Known::Lease { holder: None, .. } => Some(Vec::new()),
            // A holder that is not listed is a gap in the configuration, not an absence.
            Known::Lease { holder: Some(region), .. } => {
                Some(held_records(question, seconds(entry.ttl), entry.held.get(region)?))
            }
        }
    }

    fn epoch_text(&self, entry: &Entry, question: &Question, now: Tick) -> Option<Vec<Record>> {
        let Known::Lease { epoch, holder } = self.known(&entry.pair, now) else { return None };
        if question.record_type != RecordType::TXT {
            return Some(Vec::new());
        }
        let stamp = Stamp { pair: entry.pair.clone(), epoch, holder: holder.cloned(), sum: None };
        let data = RData::TXT(TXT::new(vec![stamp.to_string()]));
        Some(vec![Record::from_rdata(question.name.clone(), seconds(entry.ttl), data)])
    }

    fn apex(&self, question: &Question) -> Vec<Record> {
        match question.record_type {
            RecordType::SOA => vec![self.soa(ZONE_TTL_SECONDS)],
            RecordType::NS => {
                let data = RData::NS(NS(self.server.clone()));
                vec![Record::from_rdata(question.name.clone(), ZONE_TTL_SECONDS, data)]
            }
            _ => Vec::new(),
        }
    }

    fn own_addresses(&self, question: &Question) -> Vec<Record> {
        address_records(question, ZONE_TTL_SECONDS, &self.server_addresses)
    }

    fn negative(&self, code: ResponseCode) -> Answer {
        let soa = Some(self.soa(self.negative_ttl));
        Answer { code, authoritative: true, answers: Vec::new(), soa }
    }

    fn soa(&self, ttl: u32) -> Record {
        let origin = Name::from(self.origin.clone());
        // One more than the epochs together: rises with each change of a holder. The low 32 bits
        // are all that fits (RFC 1982).
        let changes =
            self.evidence.values().fold(1u64, |sum, known| sum.wrapping_add(known.newest().0));
        let data = SOA::new(
            self.server.clone(),
            self.hostmaster.clone(),
            (changes & u64::from(u32::MAX)) as u32,
            SOA_REFRESH_SECONDS,
            SOA_RETRY_SECONDS,
            SOA_EXPIRE_SECONDS,
            self.negative_ttl,
        );
        Record::from_rdata(origin, ttl, RData::SOA(data))
    }
}

impl Answer {
    fn code(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: Vec::new(), soa: None }
    }
}

fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)
}

fn child(label: &str, parent: &LowerName) -> Result<Name, ConfigError> {
    let wrong = |error: hickory_proto::ProtoError| ConfigError {
        path: "names".into(),
        problem: format!("{label}.{parent} is not a name: {error}"),
    };
    let label = Name::from_ascii(label)
        .map_err(|error| ConfigError { path: "names".into(), problem: error.to_string() })?;
    label.append_name(parent).map_err(wrong)
}

fn address(address: &IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    }
}

fn address_records(question: &Question, ttl: u32, addresses: &[IpAddr]) -> Vec<Record> {
    held_records(question, ttl, &addresses.iter().map(address).collect::<Vec<_>>())
}

/// What a name leads to while each region holds its pair.
fn held(config: &NameConfig) -> Result<BTreeMap<RegionId, Vec<RData>>, ConfigError> {
    let target = |text: &str| parse_name("names", text).map(Name::from);
    let addresses = config.addresses.iter();
    let addresses =
        addresses.map(|(region, all)| Ok((region.clone(), all.iter().map(address).collect())));
    let targets = config.targets.iter().map(|(region, text)| {
        let alias = RData::CNAME(CNAME(target(text)?));
        Ok((region.clone(), vec![alias]))
    });
    let services = config.services.iter().map(|(region, service)| {
        let Service { priority, weight, port, target: text } = service;
        let data = SRV::new(*priority, *weight, port.get(), target(text)?);
        Ok((region.clone(), vec![RData::SRV(data)]))
    });
    addresses.chain(targets).chain(services).collect()
}

/// Those of the type that was asked for; an alias answers every type.
fn held_records(question: &Question, ttl: u32, held: &[RData]) -> Vec<Record> {
    let answers = |data: &&RData| {
        let kind = data.record_type();
        [kind, RecordType::ANY].contains(&question.record_type) || kind == RecordType::CNAME
    };
    let data = held.iter().filter(answers).cloned();
    data.map(|data| Record::from_rdata(question.name.clone(), ttl, data)).collect()
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
