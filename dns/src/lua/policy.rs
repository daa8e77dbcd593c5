//! Which addresses a name lists: the writer's name by policy, read-only names by lag.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use continuum_domain::{PairId, RegionId};

use super::{Body, Check, Family, Features, LuaError, LuaRecord, Selector, UrlCheck};

/// How long one probe may take, in seconds; a server checks every few seconds.
const PROBE_TIMEOUT_SECONDS: u32 = 1;

/// What the lease-gated URL of an agent answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// 200 at the holder, while its PostgreSQL accepts writes.
    Primary,
    /// 200 at a standby that streams.
    Standby,
}

/// The health URL of `pair` for addresses at which an agent listens on `port`; the host is sent as
/// the Host header only.
pub fn health_url(host: &str, port: u16, pair: &PairId, gate: Gate) -> String {
    let gate = match gate {
        Gate::Primary => "primary",
        Gate::Standby => "standby",
    };
    format!("http://{}:{port}/pairs/{pair}/{gate}", host.trim_end_matches('.'))
}

/// The writer's records by `flip`: the holder's addresses, of each family that it has.
///
/// With `url` the server probes it and, where `features` allow, answers nothing while it is down;
/// an older server answers the holder all the same.
pub fn flip(
    holder: &BTreeSet<IpAddr>,
    url: Option<&str>,
    features: Features,
) -> Result<BTreeSet<LuaRecord>, LuaError> {
    by_family([holder], |sets| match url {
        None => Body::All(sets.concat_sets()),
        Some(url) => probed(sets, url, Selector::All, Selector::All, features),
    })
}

/// The writer's records by `follow`: every member's addresses, each probed at `url`.
///
/// When none is up an older server answers all of them: a client that can tell a primary from a
/// standby finds it, and no region is preferred by chance. A family that some member lacks is left
/// out: while that member holds, its answer could only be wrong.
pub fn follow(
    members: &BTreeMap<RegionId, BTreeSet<IpAddr>>,
    url: &str,
    features: Features,
) -> Result<BTreeSet<LuaRecord>, LuaError> {
    let complete = |family: &Family| {
        members.values().all(|listed| listed.iter().any(|one| Family::of(one) == *family))
    };
    let complete: Vec<Family> = Family::ALL.into_iter().filter(complete).collect();
    if complete.is_empty() {
        return Err(LuaError::NoCommonFamily);
    }
    let all = members.values().flatten().filter(|one| complete.contains(&Family::of(one)));
    let all: BTreeSet<IpAddr> = all.copied().collect();
    by_family([&all], |sets| probed(sets, url, Selector::All, Selector::All, features))
}

/// A standby as a read-only name sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// How far it is behind; `None` when that is unknown.
    pub lag: Option<Duration>,
    /// How far it is from the clients of this name, in any one unit; equal ones share the load.
    pub distance: u32,
}

/// The records of a read-only name: standbys known to be at most `lag_max` behind, the closest
/// first. An unknown lag is not a small one. Empty when no standby qualifies.
///
/// With `url` the closest standbys that are up are answered; without, the closest that qualify.
pub fn read_only(
    standbys: &[Standby],
    lag_max: Duration,
    url: Option<&str>,
    features: Features,
) -> Result<BTreeSet<LuaRecord>, LuaError> {
    let mut by_distance = BTreeMap::<u32, BTreeSet<IpAddr>>::new();
    for standby in standbys.iter().filter(|standby| standby.lag.is_some_and(|lag| lag <= lag_max)) {
        by_distance.entry(standby.distance).or_default().extend(&standby.addresses);
    }
    by_family(by_distance.values(), |sets| match url {
        None => Body::PickRandom(sets.0[0].clone()),
        Some(url) => probed(sets, url, Selector::Random, Selector::Random, features),
    })
}

/// Sets of one family, none empty, the preferred first.
struct Sets(Vec<BTreeSet<IpAddr>>);

impl Sets {
    fn concat_sets(&self) -> BTreeSet<IpAddr> {
        self.0.iter().flatten().copied().collect()
    }
}

fn by_family<'a>(
    sets: impl IntoIterator<Item = &'a BTreeSet<IpAddr>>,
    body: impl Fn(&Sets) -> Body,
) -> Result<BTreeSet<LuaRecord>, LuaError> {
    let sets: Vec<_> = sets.into_iter().collect();
    let mut records = BTreeSet::new();
    for family in Family::ALL {
        let of_family = sets.iter().map(|set| -> BTreeSet<IpAddr> {
            set.iter().filter(|address| Family::of(address) == family).copied().collect()
        });
        let of_family = Sets(of_family.filter(|set| !set.is_empty()).collect());
        if !of_family.0.is_empty() {
            records.insert(LuaRecord::new(family, &body(&of_family))?);
        }
    }
    Ok(records)
}

fn probed(
    sets: &Sets,
    url: &str,
    selector: Selector,
    otherwise: Selector,
    features: Features,
) -> Body {
    let check = Check {
        selector,
        backup: if features.empty_backup { Selector::Empty } else { otherwise },
        timeout_seconds: PROBE_TIMEOUT_SECONDS,
        source: None,
        fail_on_incomplete: features.fail_on_incomplete,
    };
    let check = UrlCheck { url: url.into(), string_match: None, check };
    Body::IfUrlUp { sets: sets.0.clone(), check }
}
