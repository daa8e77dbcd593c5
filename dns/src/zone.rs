//! The zone: what a question is answered with. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use continuum_domain::spec::Service;
use continuum_domain::{Epoch, PairId, PairRecord, RegionId, Tick};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, SRV, TXT};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use crate::config::{ConfigError, DnsConfig, NameConfig, parse_name};
use crate::evidence::{Evidence, Known};
use crate::records::Stamp;
use crate::transfer::cut::{Cut, Cuts};
use crate::transfer::versions::{self, Transfer, Versions};

/// Longest time a resolver may remember that something does not exist, in seconds.
const NEGATIVE_TTL_SECONDS_MAX: u32 = 5;
/// Time to live of the zone's own records, in seconds.
const ZONE_TTL_SECONDS: u32 = 60;
/// How often secondaries look for a newer serial when no NOTIFY reached them.
const SOA_REFRESH_SECONDS: i32 = 10;
const SOA_RETRY_SECONDS: i32 = 5;
/// Where a zone with secondaries says which configuration it is of.
const NAMES_LABEL: &str = "_names";

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
    /// A name server's own name.
    Server(Vec<IpAddr>),
    /// Nothing, but something stands below it.
    Between,
    /// What leads to a pair's holder.
    Holder(Entry),
    /// The epoch of a pair, as text.
    EpochText(Entry),
    /// What tells configurations of the zone apart.
    Names(String),
}

/// The zone and what is known of its pairs.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: LowerName,
    nodes: BTreeMap<LowerName, Node>,
    evidence: BTreeMap<PairId, Evidence>,
    /// Never empty; the first one is the SOA's.
    servers: Vec<Name>,
    hostmaster: Name,
    negative_ttl: u32,
    max_age: Duration,
    edition: u32,
    expire: i32,
    /// Where there are secondaries: what they are given.
    line: Option<Line>,
}

/// What stood in all registers at one instant, and the versions of the zone that came of it.
#[derive(Clone, Debug)]
struct Line {
    cuts: Cuts,
    /// Whether an epoch is known that is in no version yet.
    pending: bool,
    versions: Versions,
}

impl Zone {
    /// The zone of a configuration, with nothing known yet. `server_addresses` are where the name
    /// server itself answers, as far as that is known.
    pub fn new(config: &DnsConfig, server_addresses: Vec<IpAddr>) -> Result<Self, ConfigError> {
        config.check()?;
        let origin = parse_name("zone", &config.zone)?;
        let hostmaster = child("hostmaster", &origin)?;
        let mut nodes = BTreeMap::from([(origin.clone(), Node::Apex)]);
        let mut servers = Vec::new();
        for server in &config.name_servers {
            let name = parse_name("name_servers", &server.name)?;
            servers.push(Name::from(&name));
            if origin.zone_of(&name) {
                nodes.insert(name, Node::Server(server.addresses.clone()));
            }
        }
        if servers.is_empty() {
            let own = child("ns", &origin)?;
            nodes.insert(LowerName::new(&own), Node::Server(server_addresses));
            servers.push(own);
        }
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
        if !config.secondaries.is_empty() {
            let name = LowerName::new(&child(NAMES_LABEL, &origin)?);
            nodes.insert(name, Node::Names(config.fingerprint()));
        }
        for name in nodes.keys().cloned().collect::<Vec<_>>() {
            let mut above = name.base_name();
            while origin.zone_of(&above) && above != origin {
                nodes.entry(above.clone()).or_insert(Node::Between);
                above = above.base_name();
            }
        }
        let line = (!config.secondaries.is_empty()).then(|| Line {
            cuts: Cuts::new(evidence.keys().cloned()),
            pending: false,
            versions: Versions::default(),
        });
        Ok(Self {
            origin,
            nodes,
            evidence,
            servers,
            hostmaster,
            negative_ttl,
            max_age: config.max_age,
            edition: config.edition,
            expire: i32::try_from(config.expire.as_secs()).unwrap_or(i32::MAX),
            line,
        })
    }

    /// The zone's name.
    pub fn origin(&self) -> Name {
        Name::from(&self.origin)
    }

    /// Takes a successful read of `pair`'s register for those who transfer the zone; `None` for a
    /// register never written. Returns the serial when that makes a newer version.
    pub fn read_took(
        &mut self,
        pair: &PairId,
        record: Option<&PairRecord>,
        sent: Tick,
        received: Tick,
    ) -> Option<u32> {
        let epoch = record.map_or(Epoch(0), |record| record.epoch);
        let holder = record.and_then(|record| record.holder.as_ref());
        let line = self.line.as_mut()?;
        line.pending |= line.cuts.observe(pair, epoch, holder, sent, received);
        if !line.pending {
            return None;
        }
        let cut = line.cuts.cut()?;
        line.pending = false;
        let epochs = cut.values().fold(0u64, |sum, (epoch, _)| sum.wrapping_add(epoch.0));
        let serial = versions::serial(self.edition, epochs);
        let records = self.records_at(&cut);
        let taken = self.line.as_mut()?.versions.take(serial, records);
        taken.then_some(serial)
    }

    /// The serial that secondaries are given; `None` without secondaries, and while it is not known.
    pub fn transferred_serial(&self) -> Option<u32> {
        self.line.as_ref()?.versions.serial()
    }

    /// What a secondary gets that has the version `have`, or asks for all of it, with the newest
    /// serial; `None` without secondaries, and while nothing is known.
    pub fn transfer(&self, have: Option<u32>) -> Option<(u32, Transfer)> {
        let versions = &self.line.as_ref()?.versions;
        Some((versions.serial()?, versions.since(have)?))
    }

    /// Where a zone with secondaries says which configuration it is of, and what it says there.
    pub fn names_text(&self) -> Option<(Name, &str)> {
        self.nodes.iter().find_map(|(name, node)| match node {
            Node::Names(text) => Some((Name::from(name), text.as_str())),
            _ => None,
        })
    }

    /// The SOA of the version `serial`, as it is transferred.
    pub fn soa_of(&self, serial: u32) -> Record {
        self.soa(serial, ZONE_TTL_SECONDS)
    }

    /// Every record of the zone but the SOA, when `cut` stands. A holder that nothing is listed for is a gap in
    /// the configuration: its name has none then.
    fn records_at(&self, cut: &Cut) -> BTreeSet<Record> {
        let mut records = BTreeSet::new();
        for (name, node) in &self.nodes {
            let every = Question { name: Name::from(name), record_type: RecordType::ANY };
            match node {
                Node::Apex => records.extend(self.name_servers(&every.name)),
                Node::Server(addresses) => {
                    records.extend(address_records(&every, ZONE_TTL_SECONDS, addresses));
                }
                Node::Between => {}
                Node::Names(text) => {
                    records.insert(text_record(&every.name, ZONE_TTL_SECONDS, text.clone()));
                }
                Node::Holder(entry) => {
                    let holder = cut.get(&entry.pair).and_then(|(_, holder)| holder.as_ref());
                    let held = holder.and_then(|region| entry.held.get(region));
                    let held = held.map_or(&[][..], Vec::as_slice);
                    records.extend(held_records(&every, seconds(entry.ttl), held));
                }
                Node::EpochText(entry) => {
                    let stands = cut.get(&entry.pair);
                    records.extend(stands.map(|(epoch, holder)| {
                        stamp_record(&every.name, entry, *epoch, holder.as_ref())
                    }));
                }
            }
        }
        records
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
            Node::Apex => match self.apex(question) {
                Some(records) => records,
                None => return Answer::code(ResponseCode::ServFail),
            },
            Node::Server(addresses) => address_records(question, ZONE_TTL_SECONDS, addresses),
            Node::Between => Vec::new(),
            Node::Names(text) if question.record_type == RecordType::TXT => {
                vec![text_record(&question.name, ZONE_TTL_SECONDS, text.clone())]
            }
            Node::Names(_) => Vec::new(),
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
        Some(vec![stamp_record(&question.name, entry, epoch, holder)])
    }

    /// Records of the zone itself; `None` while its serial is not known.
    fn apex(&self, question: &Question) -> Option<Vec<Record>> {
        Some(match question.record_type {
            RecordType::SOA => vec![self.soa(self.serial()?, ZONE_TTL_SECONDS)],
            RecordType::NS => self.name_servers(&question.name),
            _ => Vec::new(),
        })
    }

    fn name_servers(&self, apex: &Name) -> Vec<Record> {
        let data = self.servers.iter().map(|server| RData::NS(NS(server.clone())));
        data.map(|data| Record::from_rdata(apex.clone(), ZONE_TTL_SECONDS, data)).collect()
    }

    fn negative(&self, code: ResponseCode) -> Answer {
        let Some(serial) = self.serial() else { return Answer::code(ResponseCode::ServFail) };
        let soa = Some(self.soa(serial, self.negative_ttl));
        Answer { code, authoritative: true, answers: Vec::new(), soa }
    }

    /// The serial to tell. With secondaries it is that of the version they are given; otherwise the
    /// newest epochs make it, which rises with each change of a holder.
    fn serial(&self) -> Option<u32> {
        if self.line.is_some() {
            return self.transferred_serial();
        }
        let epochs =
            self.evidence.values().fold(0u64, |sum, known| sum.wrapping_add(known.newest().0));
        Some(versions::serial(self.edition, epochs))
    }

    fn soa(&self, serial: u32, ttl: u32) -> Record {
        let data = SOA::new(
            self.servers.first().cloned().unwrap_or_default(),
            self.hostmaster.clone(),
            serial,
            SOA_REFRESH_SECONDS,
            SOA_RETRY_SECONDS,
            self.expire,
            self.negative_ttl,
        );
        Record::from_rdata(self.origin(), ttl, RData::SOA(data))
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

fn stamp_record(name: &Name, entry: &Entry, epoch: Epoch, holder: Option<&RegionId>) -> Record {
    let stamp = Stamp { pair: entry.pair.clone(), epoch, holder: holder.cloned(), sum: None };
    text_record(name, seconds(entry.ttl), stamp.to_string())
}

fn text_record(name: &Name, ttl: u32, text: String) -> Record {
    Record::from_rdata(name.clone(), ttl, RData::TXT(TXT::new(vec![text])))
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
