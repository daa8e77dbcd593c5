//! Dynamic update (RFC 2136) with TSIG (RFC 8945): the condition and the change are one message,
//! which the server takes as a whole or not at all. This is a fence.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use continuum_runtime::SharedClock;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode, UpdateMessage};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};

use super::wire::Wire;
use super::{ProviderError, RecordProvider};
use crate::lookup;
use crate::records::plan::Change;
use crate::records::routed::Srv;
use crate::records::{Companion, Records, Seen, companion_name};

/// How far the clocks of server and agent may be apart, in seconds; the usual value.
const FUDGE_SECONDS: u16 = 300;
/// Types that are taken away before ours are added.
const TYPES: [RecordType; 4] =
    [RecordType::CNAME, RecordType::A, RecordType::AAAA, RecordType::SRV];

/// A key that the server knows by the same name.
#[derive(Clone)]
pub struct TsigKey {
    name: String,
    signer: TSigner,
}

impl std::fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TsigKey({})", self.name)
    }
}

impl TsigKey {
    /// The key `name`; `algorithm` is hmac-sha256, hmac-sha384 or hmac-sha512, `secret` is base64.
    pub fn new(name: &str, algorithm: &str, secret: &str) -> Result<Self, ProviderError> {
        let wrong = |why: String| ProviderError::Misconfigured(format!("TSIG key {name}: {why}"));
        let algorithm = match algorithm {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            other => {
                let known = "hmac-sha256, hmac-sha384 and hmac-sha512 are known";
                return Err(wrong(format!("unknown algorithm {other:?}; {known}")));
            }
        };
        // The secret itself appears in no error.
        let secret =
            STANDARD.decode(secret.trim()).map_err(|_| wrong("its secret is not base64".into()))?;
        let signer = TSigner::new(secret, algorithm, parse(name)?, FUDGE_SECONDS)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { name: name.into(), signer })
    }

    /// What signs with it.
    pub(crate) fn signer(&self) -> &TSigner {
        &self.signer
    }
}

/// A zone at its primary server.
pub struct Rfc2136 {
    wire: Wire,
    zone: Name,
}

impl std::fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rfc2136({} at {})", self.zone, self.wire.server)
    }
}

impl Rfc2136 {
    /// `zone` at its primary `server`. Each message is answered within `deadline`; a call sends up
    /// to four. `clock` tells the time in signatures.
    pub fn new(
        server: SocketAddr,
        zone: &str,
        key: Option<TsigKey>,
        clock: SharedClock,
        deadline: Duration,
    ) -> Result<Self, ProviderError> {
        let signer = key.map(|key| key.signer);
        Ok(Self { wire: Wire { server, signer, clock, deadline }, zone: parse(zone)? })
    }

    fn in_zone(&self, name: &str) -> Result<Name, ProviderError> {
        let parsed = parse(name)?;
        if self.zone.zone_of(&parsed) {
            return Ok(parsed);
        }
        Err(ProviderError::Misconfigured(format!("{name} does not lie in the zone {}", self.zone)))
    }

    async fn ask(
        &self,
        name: &Name,
        record_type: RecordType,
    ) -> Result<Vec<Record>, ProviderError> {
        let mut message = Message::new(lookup::random_number(), MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name.clone(), record_type));
        let answer = self.wire.exchange(message).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain if answer.metadata.authoritative => {
                Ok(answer.answers.iter().filter(|record| record.name == *name).cloned().collect())
            }
            ResponseCode::NoError | ResponseCode::NXDomain => Err(self.not_the_authority()),
            code => Err(self.refused(code, name)),
        }
    }

    fn not_the_authority(&self) -> ProviderError {
        let Self { zone, wire, .. } = self;
        ProviderError::Misconfigured(format!("{} is not an authority of {zone}", wire.server))
    }

    /// What an error code of the server means.
    fn refused(&self, code: ResponseCode, name: &Name) -> ProviderError {
        let told = format!("{} answers {code} for {name}", self.wire.server);
        match code {
            ResponseCode::NXRRSet
            | ResponseCode::YXRRSet
            | ResponseCode::NXDomain
            | ResponseCode::YXDomain => ProviderError::Conflict(name.to_string()),
            ResponseCode::Refused | ResponseCode::NotAuth => ProviderError::Unauthorised(format!(
                "{told}; check the TSIG key, its algorithm, the clocks, who may update the zone \
                 {}, and that this is its primary",
                self.zone
            )),
            ResponseCode::NotImp | ResponseCode::NotZone | ResponseCode::FormErr => {
                ProviderError::Misconfigured(format!("{told}; check the zone {}", self.zone))
            }
            _ => ProviderError::Failed(told),
        }
    }

    fn update(&self, change: &Change) -> Result<Message, ProviderError> {
        if !change.records.lua.is_empty() || !change.records.routed.is_empty() {
            let text = "dynamic update carries plain records; LUA records need a provider of kind \
                        powerdns, routing one of kind route53";
            return Err(ProviderError::Misconfigured(text.into()));
        }
        let name = self.in_zone(&change.name)?;
        let companion = self.in_zone(&companion_name(&change.name))?;
        let ttl = change.records.ttl;
        let mut message = Message::new(lookup::random_number(), MessageType::Query, OpCode::Update);
        message.add_zone(Query::query(self.zone.clone(), RecordType::SOA));
        if change.expected.is_absent() {
            message.add_pre_requisite(bare(&companion, RecordType::TXT, DNSClass::NONE));
        }
        message.add_pre_requisites(texts(&companion, 0, &change.expected));
        message.add_update(bare(&companion, RecordType::TXT, DNSClass::ANY));
        message.add_updates(texts(&companion, ttl, &Companion::of(&change.stamp)));
        for record_type in TYPES {
            message.add_update(bare(&name, record_type, DNSClass::ANY));
        }
        for data in contents(&change.records)? {
            message.add_update(Record::from_rdata(name.clone(), ttl, data));
        }
        Ok(message)
    }
}

/// The records as they are sent.
fn contents(records: &Records) -> Result<Vec<RData>, ProviderError> {
    let mut all = Vec::new();
    all.extend(records.addresses.iter().map(|address| match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    }));
    if let Some(target) = &records.alias {
        all.push(RData::CNAME(CNAME(parse(target)?)));
    }
    for Srv { priority, weight, port, target } in &records.services {
        all.push(RData::SRV(SRV::new(*priority, *weight, *port, parse(target)?)));
    }
    Ok(all)
}

fn parse(name: &str) -> Result<Name, ProviderError> {
    let mut parsed = Name::from_str(name).map_err(|error| {
        ProviderError::Misconfigured(format!("{name:?} is not a name: {error}"))
    })?;
    parsed.set_fqdn(true);
    Ok(parsed.to_lowercase())
}

/// A record without content, which stands for a record set.
fn bare(name: &Name, record_type: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(name.clone(), 0, record_type);
    record.dns_class = class;
    record
}

fn texts(name: &Name, ttl: u32, companion: &Companion) -> Vec<Record> {
    let text = |text: &Vec<Vec<u8>>| {
        let data = TXT::from_bytes(text.iter().map(Vec::as_slice).collect());
        Record::from_rdata(name.clone(), ttl, RData::TXT(data))
    };
    companion.0.iter().map(text).collect()
}

#[async_trait]
impl RecordProvider for Rfc2136 {
    async fn read(&self, name: &str) -> Result<Seen, ProviderError> {
        let companion = self.in_zone(&companion_name(name))?;
        let name = self.in_zone(name)?;
        // The companion first: a writer that finds it unchanged knows that what it read after it
        // was not written by one of us.
        let texts = self.ask(&companion, RecordType::TXT).await?;
        let texts = texts.iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.iter().map(|part| part.to_vec()).collect()),
            _ => None,
        });
        let companion = Companion(texts.collect());
        let mut records = Records::default();
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
            for record in self.ask(&name, kind).await? {
                records.ttl = records.ttl.max(record.ttl);
                match &record.data {
                    RData::CNAME(target) => records.alias = Some(target.0.to_string()),
                    RData::SRV(srv) => drop(records.services.insert(lookup::srv(srv))),
                    data => records.addresses.extend(data.ip_addr()),
                }
            }
        }
        Ok(Seen { companion, records })
    }

    async fn change(&self, change: &Change) -> Result<(), ProviderError> {
        let answer = self.wire.exchange(self.update(change)?).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            code => Err(self.refused(code, &parse(&change.name)?)),
        }
    }

    fn is_fence(&self) -> bool {
        true
    }
}
