//! Bodies of PowerDNS LUA records. Pure: the same input gives the same bytes.
//!
//! A LUA record computes its answer at the server. The functions here have the signatures and
//! options of PowerDNS 4.2 and later; what only newer servers know is in [`Features`].

pub mod policy;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use continuum_domain::name_spec::LuaFeature;
use text::Source;

/// Longest content of a record, in bytes; far more than any pair needs.
const CONTENT_BYTES_MAX: usize = 16 * 1024;

/// The type of record that a body computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A.
    V4,
    /// AAAA.
    V6,
}

impl Family {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The record type by name.
    pub fn record_type(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }
}

/// Which addresses are answered out of those that are up, or of all when none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The one closest to the client. Needs the server's geoip backend and a database; without, any.
    Closest,
    /// Any one.
    Random,
    /// One, by a hash of the client's address.
    Hashed,
    /// All.
    All,
    /// None: NODATA. Only for `backup`, and only where the server has it.
    Empty,
}

impl Selector {
    fn option(self) -> &'static str {
        match self {
            Self::Closest => "pickclosest",
            Self::Random => "random",
            Self::Hashed => "hashed",
            Self::All => "all",
            Self::Empty => "empty",
        }
    }
}

/// What newer servers know. 4.7 knows none of it, says nothing, and answers any address instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `backupSelector='empty'`: no answer rather than a wrong one when nothing is up.
    pub empty_backup: bool,
    /// `failOnIncompleteCheck`: no answer rather than the backup's before the first check ended.
    pub fail_on_incomplete: bool,
}

impl From<&BTreeSet<LuaFeature>> for Features {
    fn from(known: &BTreeSet<LuaFeature>) -> Self {
        Self {
            empty_backup: known.contains(&LuaFeature::EmptyBackup),
            fail_on_incomplete: known.contains(&LuaFeature::FailOnIncomplete),
        }
    }
}

/// How addresses are checked, and which of them are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which of those that are up.
    pub selector: Selector,
    /// Which of all, when none is up. Before the first check ends, none counts as up.
    pub backup: Selector,
    /// How long one check may take, in seconds, at least 1.
    pub timeout_seconds: u32,
    /// Address to check from.
    pub source: Option<IpAddr>,
    /// No answer before the first check ended.
    pub fail_on_incomplete: bool,
}

/// A check by HTTP: up means status 200 and, where asked for, a text in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlCheck {
    /// The URL. Its host is the Host header; the connection goes to each address listed.
    pub url: String,
    /// Text that the body must contain.
    pub string_match: Option<String>,
    /// How and which.
    pub check: Check,
}

/// A body, by the function that it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `ifurlup`: the first set with an address that is up, chosen from by the selector.
    IfUrlUp {
        /// Sets of addresses, the preferred one first.
        sets: Vec<BTreeSet<IpAddr>>,
        /// The check.
        check: UrlCheck,
    },
    /// `ifportup`: addresses that take a TCP connection at `port`.
    IfPortUp {
        /// The port.
        port: NonZeroU16,
        /// The addresses.
        addresses: BTreeSet<IpAddr>,
        /// How and which.
        check: Check,
    },
    /// `pickclosest`, unchecked.
    PickClosest(BTreeSet<IpAddr>),
    /// `pickrandom`, unchecked.
    PickRandom(BTreeSet<IpAddr>),
    /// `pickwhashed`, unchecked: by a hash of the client's address, as weighted.
    PickWeighted(BTreeMap<IpAddr, u32>),
    /// `all`, unchecked.
    All(BTreeSet<IpAddr>),
}

/// Why a body cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LuaError {
    /// A set or the whole is empty.
    #[error("a LUA record needs at least one address in each set")]
    NoAddress,
    /// An address of the other family; the server would answer SERVFAIL.
    #[error("{address} cannot stand in an {} record; list each family by itself", family.record_type())]
    Family {
        /// The address.
        address: IpAddr,
        /// The family of the record.
        family: Family,
    },
    /// No family of addresses that every member has.
    #[error("`follow` needs an IPv4 or an IPv6 address of every member; use `flip` instead")]
    NoCommonFamily,
    /// Weight 0 is none.
    #[error("{address} has weight 0; leave it out instead")]
    Weight {
        /// The address.
        address: IpAddr,
    },
    /// A timeout of 0 s.
    #[error("a check needs a timeout of at least 1 s")]
    Timeout,
    /// `Empty` as first choice.
    #[error("the selector `empty` is for when nothing is up, not for what is")]
    EmptySelector,
    /// More than a record should carry.
    #[error("the LUA record would be {bytes} bytes long; {CONTENT_BYTES_MAX} are accepted")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// A LUA record: what it computes and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LuaRecord {
    family: Family,
    segments: Vec<String>,
}

impl LuaRecord {
    /// The record of `family` with `body`.
    pub fn new(family: Family, body: &Body) -> Result<Self, LuaError> {
        for address in body.addresses() {
            if Family::of(&address) != family {
                return Err(LuaError::Family { address, family });
            }
        }
        let record = Self { family, segments: body.source()?.segments() };
        let bytes = record.to_string().len();
        if bytes > CONTENT_BYTES_MAX {
            return Err(LuaError::TooLong { bytes });
        }
        Ok(record)
    }

    /// What it computes.
    pub fn family(&self) -> Family {
        self.family
    }
}

/// The content of the record, as the server's API and zone files take it.
impl fmt::Display for LuaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family.record_type())?;
        self.segments.iter().try_for_each(|segment| write!(f, " \"{segment}\""))
    }
}

impl Body {
    /// Every address that may be answered.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        match self {
            Self::IfUrlUp { sets, .. } => sets.iter().flatten().copied().collect(),
            Self::IfPortUp { addresses, .. }
            | Self::PickClosest(addresses)
            | Self::PickRandom(addresses)
            | Self::All(addresses) => addresses.clone(),
            Self::PickWeighted(weighted) => weighted.keys().copied().collect(),
        }
    }

    fn source(&self) -> Result<Source, LuaError> {
        let mut source = Source::default();
        match self {
            Self::IfUrlUp { sets, check } => {
                some(sets)?;
                sets.iter().try_for_each(some)?;
                source.token("ifurlup(").string(&check.url).token(",");
                source.list(sets, addresses);
                source.token(",");
                options(&mut source, &check.check, check.string_match.as_deref())?;
            }
            Self::IfPortUp { port, addresses: listed, check } => {
                some(listed)?;
                source.token("ifportup(").token(port.to_string()).token(",");
                addresses(&mut source, listed);
                source.token(",");
                options(&mut source, check, None)?;
            }
            Self::PickClosest(listed) => plain(&mut source, "pickclosest(", listed)?,
            Self::PickRandom(listed) => plain(&mut source, "pickrandom(", listed)?,
            Self::All(listed) => plain(&mut source, "all(", listed)?,
            Self::PickWeighted(weighted) => {
                some(weighted)?;
                if let Some((address, _)) = weighted.iter().find(|(_, weight)| **weight == 0) {
                    return Err(LuaError::Weight { address: *address });
                }
                source.token("pickwhashed(");
                source.list(weighted, |source, (address, weight)| {
                    source.token("{").token(weight.to_string()).token(",");
                    source.string(&address.to_string()).token("}");
                });
            }
        }
        source.token(")");
        Ok(source)
    }
}

fn some<'a, T: IntoIterator>(items: &'a T) -> Result<(), LuaError>
where
    &'a T: IntoIterator,
{
    if items.into_iter().next().is_none() { Err(LuaError::NoAddress) } else { Ok(()) }
}

fn plain(source: &mut Source, function: &str, listed: &BTreeSet<IpAddr>) -> Result<(), LuaError> {
    some(listed)?;
    source.token(function);
    addresses(source, listed);
    Ok(())
}

fn addresses(source: &mut Source, listed: &BTreeSet<IpAddr>) {
    source.list(listed, |source, address| {
        source.string(&address.to_string());
    });
}

fn options(source: &mut Source, check: &Check, string_match: Option<&str>) -> Result<(), LuaError> {
    if check.timeout_seconds == 0 {
        return Err(LuaError::Timeout);
    }
    if check.selector == Selector::Empty {
        return Err(LuaError::EmptySelector);
    }
    source.token("{").token("selector=").string(check.selector.option());
    source.token(",").token("backupSelector=").string(check.backup.option());
    source.token(",").token("timeout=").token(check.timeout_seconds.to_string());
    if let Some(text) = string_match {
        source.token(",").token("stringmatch=").string(text);
    }
    if let Some(address) = check.source {
        source.token(",").token("source=").string(&address.to_string());
    }
    if check.fail_on_incomplete {
        source.token(",").token("failOnIncompleteCheck=").string("true");
    }
    source.token("}");
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
