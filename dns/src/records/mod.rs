//! The record model of names at other authorities: what stands at a name, and who put it there.
//!
//! ```text
//!  app.db.example.         A    10.1.0.11                                  the records
//!  _epoch.app.db.example.  TXT  "pair=app epoch=7 holder=fsn sum=5d0c..."  the companion
//! ```
//!
//! Whoever writes changes both in one step, on the condition that the companion still is what was
//! read. So the companion is the fence, and its `sum` tells records that were changed by others.

pub mod due;
pub mod plan;
pub mod routed;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use continuum_domain::name_kind::COMPANION_LABEL;
use continuum_domain::name_spec::absolute;
use continuum_domain::{Epoch, PairId, RegionId};
use sha2::{Digest, Sha256};

use crate::lua::LuaRecord;
use routed::{Routed, Srv};

/// Bytes of the hash that the companion carries.
const SUM_BYTES: usize = 8;
/// What the companion calls no holder; no region is called so.
const NOBODY: &str = "-";

/// The name of the companion of `name`.
pub fn companion_name(name: &str) -> String {
    format!("{COMPANION_LABEL}.{name}")
}

/// Who put the records there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The pair that the name belongs to.
    pub pair: PairId,
    /// The epoch under which they were written.
    pub epoch: Epoch,
    /// The holder of that epoch, if anybody holds it.
    pub holder: Option<RegionId>,
    /// [`Records::sum`] of the records; `None` where a server answers from the lease itself.
    pub sum: Option<String>,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = self.holder.as_ref().map_or(NOBODY, RegionId::as_str);
        write!(f, "pair={} epoch={} holder={holder}", self.pair, self.epoch)?;
        self.sum.as_ref().map_or(Ok(()), |sum| write!(f, " sum={sum}"))
    }
}

impl Stamp {
    /// Reads a companion's text; `None` when it is not exactly one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let pair = PairId::new(value("pair")?).ok()?;
        let epoch = Epoch(value("epoch")?.parse().ok()?);
        let holder = match value("holder")? {
            NOBODY => None,
            region => Some(RegionId::new(region).ok()?),
        };
        let sum = match words.next() {
            None => None,
            Some(word) => Some(word.strip_prefix("sum=")?.to_owned()),
        };
        let stamp = Self { pair, epoch, holder, sum };
        // What is written otherwise, such as with a leading zero, was not written by us.
        (stamp.to_string() == text).then_some(stamp)
    }
}

/// One text of a TXT record set: its strings, which need not be UTF-8.
pub type Text = Vec<Vec<u8>>;

/// What stands at the companion's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Companion(pub BTreeSet<Text>);

impl Companion {
    /// The companion that a writer leaves.
    pub fn of(stamp: &Stamp) -> Self {
        let text = stamp.to_string().into_bytes();
        Self([text.chunks(255).map(<[u8]>::to_vec).collect()].into())
    }

    /// Whether nothing stands there.
    pub fn is_absent(&self) -> bool {
        self.0.is_empty()
    }

    /// The stamps among the texts.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        self.0.iter().filter_map(|text| Stamp::parse(std::str::from_utf8(&text.concat()).ok()?))
    }

    /// The only stamp, when nothing else stands there.
    pub fn stamp(&self) -> Option<Stamp> {
        if self.0.len() == 1 { self.stamps().next() } else { None }
    }
}

/// For people: the texts, joined.
impl fmt::Display for Companion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_absent() {
            return f.write_str("nothing");
        }
        for (index, text) in self.0.iter().enumerate() {
            let between = if index > 0 { ", " } else { "" };
            write!(f, "{between}{:?}", String::from_utf8_lossy(&text.concat()))?;
        }
        Ok(())
    }
}

/// The records at a name that concern it. One of the kinds is wanted; what stands may be more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Time to live, in seconds; of the companion as well. 0 when there are no records.
    pub ttl: u32,
    /// A and AAAA.
    pub addresses: BTreeSet<IpAddr>,
    /// LUA, by content.
    pub lua: BTreeSet<String>,
    /// Where a CNAME points, with its last dot.
    pub alias: Option<String>,
    /// SRV.
    pub services: BTreeSet<Srv>,
    /// A and AAAA that the provider chooses among.
    pub routed: BTreeSet<Routed>,
}

impl Records {
    /// Plain address records.
    pub fn plain(ttl: u32, addresses: BTreeSet<IpAddr>) -> Self {
        Self { ttl, addresses, ..Self::default() }
    }

    /// LUA records.
    pub fn lua(ttl: u32, records: &BTreeSet<LuaRecord>) -> Self {
        Self { ttl, lua: records.iter().map(ToString::to_string).collect(), ..Self::default() }
    }

    /// A CNAME.
    pub fn alias(ttl: u32, target: &str) -> Self {
        Self { ttl, alias: Some(absolute(target)), ..Self::default() }
    }

    /// SRV records.
    pub fn services(ttl: u32, services: BTreeSet<Srv>) -> Self {
        Self { ttl, services, ..Self::default() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// Each record as `TYPE content`, in a fixed order.
    pub fn lines(&self) -> Vec<String> {
        let addresses = self
            .addresses
            .iter()
            .map(|address| format!("{} {address}", crate::lua::Family::of(address).record_type()));
        let lua = self.lua.iter().map(|content| format!("LUA {content}"));
        let alias = self.alias.iter().map(|target| format!("CNAME {target}"));
        let services = self.services.iter().map(|service| format!("SRV {service}"));
        let routed = self.routed.iter().flat_map(Routed::lines);
        addresses.chain(lua).chain(alias).chain(services).chain(routed).collect()
    }

    /// Reads [`Records::lines`] back; `None` when a line is none.
    pub fn read(ttl: u32, lines: &[String]) -> Option<Self> {
        let mut records = Self { ttl, ..Self::default() };
        for line in lines {
            let (kind, content) = line.split_once(' ')?;
            match kind {
                "A" | "AAAA" if content.contains(' ') => {
                    routed::insert(&mut records.routed, Routed::read(content)?);
                }
                "A" | "AAAA" => drop(records.addresses.insert(content.parse().ok()?)),
                "LUA" => drop(records.lua.insert(content.to_owned())),
                "CNAME" if records.alias.is_none() => records.alias = Some(content.to_owned()),
                "SRV" => drop(records.services.insert(content.parse().ok()?)),
                _ => return None,
            }
        }
        Some(records)
    }

    /// The records that a server should answer with, as a zone file has them. Where the provider
    /// chooses, what it should choose; LUA as it is written.
    pub fn answers(&self) -> BTreeSet<String> {
        let preferred = self.routed.iter().filter(|routed| routed.is_preferred());
        let addresses = preferred.flat_map(|routed| &routed.addresses).chain(&self.addresses);
        let plain = Self { addresses: addresses.copied().collect(), ..self.clone() };
        Self { routed: BTreeSet::new(), ..plain }.lines().into_iter().collect()
    }

    /// Whether a server that has them may answer so. What a LUA record computes is the server's to
    /// choose; of several sets with a share it may choose one.
    pub fn is_served_by(&self, served: &Served) -> bool {
        if self.alias.is_some() || served.alias.is_some() {
            return served.alias == self.alias;
        }
        if !self.services.is_empty() || !served.services.is_empty() {
            return served.services == self.services;
        }
        if !self.lua.is_empty() {
            return !served.addresses.is_empty();
        }
        if !self.routed.is_empty() {
            let mut preferred = self.routed.iter().filter(|routed| routed.is_preferred());
            return preferred.any(|routed| routed.addresses == served.addresses);
        }
        served.addresses == self.addresses
    }

    /// A hash over all of it, in hexadecimal.
    pub fn sum(&self) -> String {
        let text = format!("{}\n{}", self.ttl, self.lines().join("\n"));
        Sha256::digest(text).iter().take(SUM_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a server answered for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// A and AAAA, also those behind an alias.
    pub addresses: BTreeSet<IpAddr>,
    /// Where a CNAME points, in lower case, with its last dot.
    pub alias: Option<String>,
    /// SRV.
    pub services: BTreeSet<Srv>,
}

impl Served {
    /// Whether it answered nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// For people.
impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let alias = self.alias.iter().map(|target| format!("CNAME {target}"));
        let services = self.services.iter().map(|service| format!("SRV {service}"));
        let all: Vec<String> = alias.chain(services).chain(addresses).collect();
        f.write_str(&all.join(", "))
    }
}

/// What stands at a name and at its companion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The companion. Read before the records, or with them.
    pub companion: Companion,
    /// The records.
    pub records: Records,
}

/// What a holder wants to stand at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The name, fully qualified, with its last dot.
    pub name: String,
    /// The pair it belongs to.
    pub pair: PairId,
    /// The epoch under which `holder` holds the pair.
    pub epoch: Epoch,
    /// The writer's own region.
    pub holder: RegionId,
    /// The records.
    pub records: Records,
}

impl Wanted {
    /// The stamp that goes with it.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            pair: self.pair.clone(),
            epoch: self.epoch,
            holder: Some(self.holder.clone()),
            sum: Some(self.records.sum()),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
