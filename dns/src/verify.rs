//! Verification from outside: each authoritative server is asked directly, past every cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use continuum_domain::name_spec::absolute;
use continuum_runtime::seed;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record, RecordType};

use crate::lookup::{self, ResponseCode};
use crate::records::{Served, Stamp, Wanted, companion_name};
use crate::transfer::older;

/// What may stand at a name.
pub(crate) const KINDS: [RecordType; 3] = [RecordType::A, RecordType::AAAA, RecordType::SRV];
/// The option by which a resolver says why it fails (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// What one server says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is due.
    Serves,
    /// Something else, from an older version of the zone: a transfer or a cache is behind.
    Stale {
        /// The serial of its zone.
        serial: u32,
        /// The newest serial of all servers.
        newest: u32,
        /// The epoch that it still shows, if any.
        epoch: Option<u64>,
    },
    /// Something else, from the newest version of the zone: somebody wrote it.
    Wrong {
        /// What it answers.
        served: Served,
        /// The companion that it shows, if any.
        companion: Option<String>,
    },
    /// The name is there, without addresses.
    NoData,
    /// No such name.
    NoSuchName,
    /// SERVFAIL: it has the zone and cannot answer. A LUA record that does not run, or a database.
    ServerFailure,
    /// It is not an authority of the zone: the delegation, or its configuration, is wrong.
    Lame(ResponseCode),
    /// No answer. Not the same as a wrong one.
    Unanswered(String),
}

impl Verdict {
    /// Whether it serves what is due; `None` when that is not known.
    pub fn serves(&self) -> Option<bool> {
        match self {
            Self::Serves => Some(true),
            Self::Unanswered(_) => None,
            _ => Some(false),
        }
    }
}

/// For people, in one line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serves => f.write_str("serves"),
            Self::Stale { serial, newest, epoch } => {
                write!(f, "stale: serial {serial} where another has {newest}, ")?;
                match epoch {
                    Some(epoch) => write!(f, "still epoch {epoch}"),
                    None => f.write_str("no epoch"),
                }
            }
            Self::Wrong { served, companion } => {
                write!(f, "wrong: answers {served} with ")?;
                match companion {
                    Some(companion) => write!(f, "{companion:?} beside it"),
                    None => f.write_str("no companion"),
                }
            }
            Self::NoData => f.write_str("no data: the name has no such record"),
            Self::NoSuchName => f.write_str("no such name"),
            Self::ServerFailure => f.write_str(
                "server failure: a LUA record that does not run, or the server's database",
            ),
            Self::Lame(code) => {
                write!(f, "lame ({code}): it is not an authority of the zone")
            }
            Self::Unanswered(why) => write!(f, "unanswered: {why}"),
        }
    }
}

/// What one server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answers {
    Failed(Verdict),
    Told { serial: u32, served: Served, exists: bool, companion: Option<String> },
}

/// Asks each of `servers`, all at once, whether it serves what is `due` in `zone`. One question
/// waits `deadline` at the most; there are five.
pub async fn verify(
    servers: &[SocketAddr],
    zone: &str,
    due: &Wanted,
    deadline: Duration,
) -> BTreeMap<SocketAddr, Verdict> {
    let mut asking = Vec::new();
    for server in servers.iter().copied() {
        let (zone, name) = (zone.to_owned(), due.name.clone());
        let work = async move { ask(server, &zone, &name, deadline).await };
        asking.push((server, seed::spawn(work)));
    }
    let mut answers = BTreeMap::new();
    for (server, running) in asking {
        let told = running.await;
        let failed =
            |error: tokio::task::JoinError| Answers::Failed(Verdict::Unanswered(error.to_string()));
        answers.insert(server, told.unwrap_or_else(failed));
    }
    judge(&answers, due)
}

/// From all answers to a verdict for each. Pure.
fn judge(answers: &BTreeMap<SocketAddr, Answers>, due: &Wanted) -> BTreeMap<SocketAddr, Verdict> {
    let serials = answers.values().filter_map(|answers| match answers {
        Answers::Told { serial, .. } => Some(*serial),
        Answers::Failed(_) => None,
    });
    let newest = serials.reduce(|one, two| if older(one, two) { two } else { one });
    let verdict = |answers: &Answers| match answers {
        Answers::Failed(verdict) => verdict.clone(),
        Answers::Told { serial, served, exists, companion } => {
            let newest = newest.unwrap_or(*serial);
            let right = due.records.is_served_by(served);
            if right && companion.as_deref().is_some_and(|text| is_due(text, due)) {
                Verdict::Serves
            } else if older(*serial, newest) {
                let shown = companion.as_deref().and_then(Stamp::parse);
                let epoch = shown.map(|stamp| stamp.epoch.0);
                Verdict::Stale { serial: *serial, newest, epoch }
            } else if !exists {
                Verdict::NoSuchName
            } else if served.is_empty() {
                Verdict::NoData
            } else {
                Verdict::Wrong { served: served.clone(), companion: companion.clone() }
            }
        }
    };
    answers.iter().map(|(server, answers)| (*server, verdict(answers))).collect()
}

/// Whether a companion says what is due. A server that answers from the lease itself adds no sum.
fn is_due(companion: &str, due: &Wanted) -> bool {
    let stamp = due.stamp();
    let of_lease = Stamp { sum: None, ..stamp.clone() };
    Stamp::parse(companion).is_some_and(|shown| shown == stamp || shown == of_lease)
}

async fn ask(server: SocketAddr, zone: &str, name: &str, deadline: Duration) -> Answers {
    match ask_all(server, zone, name, deadline).await {
        Ok(told) => told,
        Err(verdict) => Answers::Failed(verdict),
    }
}

async fn ask_all(
    server: SocketAddr,
    zone: &str,
    name: &str,
    deadline: Duration,
) -> Result<Answers, Verdict> {
    let question = async |name: &str, record_type| {
        let answer = lookup::query_tcp(server, name, record_type, deadline).await;
        usable(answer.map_err(|error| Verdict::Unanswered(error.to_string()))?)
    };
    let soa = question(zone, RecordType::SOA).await?;
    let serial = soa.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    });
    let serial = serial.ok_or(Verdict::Lame(soa.metadata.response_code))?;
    let mut served = Served::default();
    let mut exists = false;
    for kind in KINDS {
        let answer = question(name, kind).await?;
        // The code may be of what an alias leads to.
        let found = !answer.answers.is_empty();
        exists |= found || answer.metadata.response_code != ResponseCode::NXDomain;
        note(&mut served, name, &answer);
    }
    let companion = question(&companion_name(name), RecordType::TXT).await?;
    Ok(Answers::Told { serial, served, exists, companion: lookup::text(&companion) })
}

/// Adds what an answer to a question for `name` has.
pub(crate) fn note(served: &mut Served, name: &str, answer: &Message) {
    for record in &answer.answers {
        match &record.data {
            RData::CNAME(target) if absolute(&record.name.to_string()) == absolute(name) => {
                served.alias = Some(absolute(&target.0.to_string()));
            }
            RData::SRV(srv) => drop(served.services.insert(lookup::srv(srv))),
            data => served.addresses.extend(data.ip_addr()),
        }
    }
}

fn usable(answer: Message) -> Result<Message, Verdict> {
    match answer.metadata.response_code {
        ResponseCode::ServFail => Err(Verdict::ServerFailure),
        ResponseCode::NoError | ResponseCode::NXDomain if answer.metadata.authoritative => {
            Ok(answer)
        }
        code => Err(Verdict::Lame(code)),
    }
}

/// What a recursive resolver makes of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// What is due.
    Serves {
        /// Whether it says that it has checked the zone's signatures.
        validated: bool,
    },
    /// Something else. Right after a change it may come from its cache, for the ttl at the most.
    Differs(Served),
    /// The zone's own word that there is no such name; from its cache for the negative ttl.
    NoSuchName,
    /// DNSSEC: it has an answer and gives it to nobody, because the signatures do not fit, are over, or
    /// do not lead to the key that it trusts. With what it says of it.
    Bogus(Option<String>),
    /// It says that it cannot answer.
    Failed(ResponseCode),
    /// No answer.
    Unanswered(String),
}

impl Resolved {
    /// Whether it serves what is due; `None` when that is not known.
    pub fn serves(&self) -> Option<bool> {
        match self {
            Self::Serves { .. } => Some(true),
            Self::Unanswered(_) => None,
            _ => Some(false),
        }
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serves { validated: false } => f.write_str("serves"),
            Self::Serves { validated: true } => f.write_str("serves, signatures checked"),
            Self::Differs(served) if served.is_empty() => f.write_str("no such record"),
            Self::Differs(served) => write!(f, "answers {served}"),
            Self::NoSuchName => f.write_str("no such name"),
            Self::Bogus(why) => {
                f.write_str(
                    "bogus: it has an answer, but the zone's signatures are wrong or over",
                )?;
                why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
            }
            Self::Failed(code) => write!(f, "answers {code}"),
            Self::Unanswered(why) => write!(f, "unanswered: {why}"),
        }
    }
}

/// Asks a recursive resolver for the records that are due. One question waits `deadline` at the
/// most; there are two, and a third where it fails.
pub async fn resolved(resolver: SocketAddr, due: &Wanted, deadline: Duration) -> Resolved {
    let mut served = Served::default();
    let (mut validated, mut exists) = (true, false);
    let kinds: &[RecordType] =
        if due.records.services.is_empty() { &KINDS[..2] } else { &KINDS[2..] };
    for kind in kinds.iter().copied() {
        let answer = match lookup::resolve(resolver, &due.name, kind, deadline).await {
            Ok(answer) => answer,
            Err(error) => return Resolved::Unanswered(error.to_string()),
        };
        match answer.metadata.response_code {
            ResponseCode::NoError => exists = true,
            ResponseCode::NXDomain => {}
            code => return failed(resolver, due, kind, deadline, code, &answer).await,
        }
        validated &= answer.metadata.authentic_data;
        note(&mut served, &due.name, &answer);
    }
    if due.records.is_served_by(&served) {
        Resolved::Serves { validated }
    } else if exists {
        Resolved::Differs(served)
    } else {
        Resolved::NoSuchName
    }
}

/// A resolver that fails, and does not when it is told to check no signatures, holds them to be wrong.
async fn failed(
    resolver: SocketAddr,
    due: &Wanted,
    kind: RecordType,
    deadline: Duration,
    code: ResponseCode,
    answer: &Message,
) -> Resolved {
    if code != ResponseCode::ServFail {
        return Resolved::Failed(code);
    }
    let unchecked = lookup::resolve_unchecked(resolver, &due.name, kind, deadline).await;
    match unchecked.map(|answer| answer.metadata.response_code) {
        Ok(ResponseCode::NoError | ResponseCode::NXDomain) => Resolved::Bogus(explained(answer)),
        _ => Resolved::Failed(code),
    }
}

/// What the answer says of its own failure (RFC 8914).
fn explained(answer: &Message) -> Option<String> {
    let option = answer.edns.as_ref()?.option(EdnsCode::Unknown(EXTENDED_ERROR))?;
    let EdnsOption::Unknown(_, data) = option else { return None };
    let (code, text) = data.split_at_checked(2)?;
    let code = u16::from_be_bytes([code[0], code[1]]);
    let told = String::from_utf8_lossy(text);
    let kind = match code {
        6 => "DNSSEC bogus".to_owned(),
        7 => "signature expired".to_owned(),
        8 => "signature not yet valid".to_owned(),
        9 => "DNSKEY missing".to_owned(),
        10 => "RRSIGs missing".to_owned(),
        other => format!("extended error {other}"),
    };
    Some(if told.is_empty() { kind } else { format!("{kind}: {told}") })
}

/// What a server answers for a name and its companion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Records as `TYPE content`, with their ttl.
    pub records: BTreeSet<(String, u32)>,
    /// Texts of the companion with their ttl.
    pub companion: BTreeSet<(String, u32)>,
}

/// Asks an authoritative server what stands at a name; the error is why it does not say. One question
/// waits `deadline` at the most; there are four.
pub async fn shown(server: SocketAddr, name: &str, deadline: Duration) -> Result<Shown, Verdict> {
    let question = async |name: &str, kind| {
        let answer = lookup::query_tcp(server, name, kind, deadline).await;
        usable(answer.map_err(|error| Verdict::Unanswered(error.to_string()))?)
    };
    let mut shown = Shown::default();
    for kind in KINDS {
        let answer = question(name, kind).await?;
        // What stands behind an alias is another name's.
        let own = |record: &&Record| absolute(&record.name.to_string()) == absolute(name);
        for record in answer.answers.iter().filter(own) {
            let line = match &record.data {
                RData::CNAME(target) => format!("CNAME {}", absolute(&target.0.to_string())),
                RData::SRV(srv) => format!("SRV {}", lookup::srv(srv)),
                data => match data.ip_addr() {
                    Some(address) => format!("{} {address}", record.record_type()),
                    None => continue,
                },
            };
            shown.records.insert((line, record.ttl));
        }
    }
    let companion = question(&companion_name(name), RecordType::TXT).await?;
    let texts = companion.answers.iter().filter_map(|record| match &record.data {
        RData::TXT(text) => {
            let parts = text.txt_data.iter().map(|part| String::from_utf8_lossy(part));
            Some((parts.collect::<String>(), record.ttl))
        }
        _ => None,
    });
    shown.companion.extend(texts);
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use continuum_domain::{Epoch, PairId, RegionId};

    use super::*;
    use crate::records::Records;

    #[test]
    fn a_companion_is_due_with_its_own_sum_or_with_none() {
        let records = |last| Records::plain(5, [IpAddr::from([10, 0, 0, last])].into());
        let wanted = |epoch, holder, last| Wanted {
            name: "app.db.example.".into(),
            pair: PairId::new("app").unwrap(),
            epoch: Epoch(epoch),
            holder: RegionId::new(holder).unwrap(),
            records: records(last),
        };
        let due = wanted(3, "fsn", 1);
        assert!(is_due(&due.stamp().to_string(), &due));
        assert!(is_due("pair=app epoch=3 holder=fsn", &due));
        for other in [wanted(2, "fsn", 1), wanted(3, "hel", 1), wanted(3, "fsn", 2)] {
            assert!(!is_due(&other.stamp().to_string(), &due), "{other:?}");
        }
        for text in ["pair=app epoch=2 holder=fsn", "pair=app epoch=3 holder=-", "anything", ""] {
            assert!(!is_due(text, &due), "{text}");
        }
    }
}
