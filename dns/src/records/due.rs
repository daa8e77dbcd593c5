//! From a pair's spec and who holds its lease, to the records that are due at a name. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use continuum_domain::name_spec::WhilePaused;
use continuum_domain::spec::{NameKind, NamePolicy, NameRole, NameSpec, Routing};
use continuum_domain::{PairId, RegionId};

use super::Records;
use super::routed::{Routed, Rule, Srv};
use crate::lua::policy::{Gate, Standby, follow, health_url, read_only};
use crate::lua::{Features, LuaError, LuaRecord};

/// Why no records can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DueError {
    /// The spec does not say where the region is reached.
    #[error("the spec does not list {0} for this name")]
    NotListed(RegionId),
    /// The LUA records cannot be written.
    #[error(transparent)]
    Lua(#[from] LuaError),
}

/// The records of `name` while `holder` holds the pair; `readers` are the standbys that a read-only
/// name lists. A read-only name for which there is none has no records.
pub fn due(
    pair: &PairId,
    name: &NameSpec,
    holder: &RegionId,
    readers: &BTreeSet<RegionId>,
) -> Result<Records, DueError> {
    let ttl = u32::try_from(name.ttl.as_secs()).unwrap_or(u32::MAX);
    let missing = || DueError::NotListed(holder.clone());
    match name.kind {
        NameKind::Address if name.addresses.get(holder).is_some_and(|all| !all.is_empty()) => {
            addresses_due(ttl, pair, name, holder, readers)
        }
        NameKind::Address => Err(missing()),
        NameKind::Cname => {
            let target = name.targets.get(holder).ok_or_else(missing)?;
            Ok(Records::alias(ttl, target))
        }
        NameKind::Srv => {
            let own = name.services.get(holder).ok_or_else(missing)?;
            let services: BTreeSet<Srv> = match name.role {
                NameRole::Primary => [own.into()].into(),
                NameRole::Standby => {
                    readers.iter().filter_map(|one| name.services.get(one)).map(Srv::from).collect()
                }
            };
            Ok(or_nothing(Records::services(ttl, services)))
        }
    }
}

/// The records of `name` while the pair is paused; `None` where it keeps what it says.
pub fn paused(name: &NameSpec) -> Option<Records> {
    let ttl = u32::try_from(name.ttl.as_secs()).unwrap_or(u32::MAX);
    match name.while_paused {
        WhilePaused::Keep => None,
        WhilePaused::Nodata => Some(Records::default()),
        WhilePaused::Answer => Some(Records::plain(ttl, name.paused_addresses.clone())),
    }
}

fn addresses_due(
    ttl: u32,
    pair: &PairId,
    name: &NameSpec,
    holder: &RegionId,
    readers: &BTreeSet<RegionId>,
) -> Result<Records, DueError> {
    let gated = |gate| {
        let port = name.health_port.map_or(0, std::num::NonZeroU16::get);
        health_url(&name.name, port, pair, gate)
    };
    let features = Features::from(&name.lua);
    let standbys = readers.iter().filter_map(|region| name.addresses.get(region));
    match (name.role, name.policy) {
        (NameRole::Primary, NamePolicy::Flip) if name.routing != Routing::Simple => {
            let rule = |region: &RegionId| match (name.routing, region == holder) {
                (Routing::Failover, true) => Rule::Primary,
                (Routing::Failover, false) => Rule::Secondary,
                (_, holds) => Rule::Weight(holds.into()),
            };
            Ok(routed_among(ttl, name, name.addresses.keys(), rule))
        }
        (NameRole::Primary, NamePolicy::Flip) => {
            Ok(Records::plain(ttl, name.addresses.get(holder).cloned().unwrap_or_default()))
        }
        (NameRole::Primary, NamePolicy::Follow) => {
            Ok(computed(ttl, &follow(&name.addresses, &gated(Gate::Primary), features)?))
        }
        (NameRole::Standby, NamePolicy::Flip) if name.routing != Routing::Simple => {
            Ok(or_nothing(routed_among(ttl, name, readers.iter(), |_| Rule::Weight(1))))
        }
        (NameRole::Standby, NamePolicy::Flip) => {
            Ok(or_nothing(Records::plain(ttl, standbys.flatten().copied().collect())))
        }
        (NameRole::Standby, NamePolicy::Follow) => {
            let standby = |addresses: &BTreeSet<_>| Standby {
                addresses: addresses.clone(),
                lag: Some(Duration::ZERO),
                distance: 0,
            };
            let standbys: Vec<_> = standbys.map(standby).collect();
            let url = gated(Gate::Standby);
            Ok(computed(ttl, &read_only(&standbys, Duration::ZERO, Some(&url), features)?))
        }
    }
}

fn routed_among<'a>(
    ttl: u32,
    name: &NameSpec,
    regions: impl Iterator<Item = &'a RegionId>,
    rule: impl Fn(&RegionId) -> Rule,
) -> Records {
    let routed = regions.filter_map(|region| {
        let addresses = name.addresses.get(region)?.clone();
        let health_check = name.health_checks.get(region).cloned();
        Some(Routed { id: region.to_string(), rule: rule(region), health_check, addresses })
    });
    Records { ttl, routed: routed.collect(), ..Records::default() }
}

/// No records have no time to live.
fn or_nothing(records: Records) -> Records {
    if records.is_empty() { Records::default() } else { records }
}

fn computed(ttl: u32, records: &BTreeSet<LuaRecord>) -> Records {
    or_nothing(Records::lua(ttl, records))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU16;

    use super::*;

    fn region(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn name() -> NameSpec {
        let addresses = [("fsn", "10.1.0.11"), ("hel", "10.2.0.11"), ("ash", "10.3.0.11")];
        let addresses: BTreeMap<_, BTreeSet<_>> =
            addresses.map(|(name, ip)| (region(name), [ip.parse().unwrap()].into())).into();
        let at = ("pdns", "db.example");
        NameSpec::at_provider("app.db.example", Duration::from_secs(5), at, addresses)
    }

    fn lines(name: &NameSpec, holder: &str, readers: &[&str]) -> Vec<String> {
        let readers = readers.iter().map(|name| region(name)).collect();
        due(&PairId::new("app").unwrap(), name, &region(holder), &readers).unwrap().lines()
    }

    #[test]
    fn each_kind_of_name_has_its_records() {
        let flip = name();
        assert_eq!(lines(&flip, "hel", &["fsn"]), ["A 10.2.0.11"]);
        let role = NameRole::Standby;
        let reading = NameSpec { role, lag_max: Some(Duration::from_secs(1)), ..name() };
        assert_eq!(lines(&reading, "hel", &["ash", "fsn"]), ["A 10.1.0.11", "A 10.3.0.11"]);
        assert!(lines(&reading, "hel", &[]).is_empty());
        let (policy, health_port) = (NamePolicy::Follow, NonZeroU16::new(7442));
        let followed = NameSpec { policy, health_port, ..name() };
        let all = lines(&followed, "hel", &[]);
        assert_eq!(all.len(), 1);
        assert!(all[0].contains("http://app.db.example:7442/pairs/app/primary"), "{all:?}");
        assert!(["10.1.0.11", "10.2.0.11", "10.3.0.11"].iter().all(|one| all[0].contains(one)));
        assert_eq!(all, lines(&followed, "fsn", &[]), "nothing is written when the holder changes");
        let probed = NameSpec { policy, health_port, ..reading };
        let some = lines(&probed, "hel", &["ash"]);
        assert!(some[0].contains("/pairs/app/standby") && !some[0].contains("10.1.0.11"));
        assert!(lines(&probed, "hel", &[]).is_empty());
    }

    #[test]
    fn a_paused_pair_has_the_records_that_its_spec_says() {
        assert_eq!(paused(&name()), None);
        let nothing = NameSpec { while_paused: WhilePaused::Nodata, ..name() };
        assert_eq!(paused(&nothing), Some(Records::default()));
        let paused_addresses = ["192.0.2.7".parse().unwrap()].into();
        let told = NameSpec { while_paused: WhilePaused::Answer, paused_addresses, ..name() };
        assert_eq!(paused(&told).unwrap().lines(), ["A 192.0.2.7"]);
    }

    #[test]
    fn a_holder_without_addresses_is_an_error_and_not_an_empty_name() {
        let readers = BTreeSet::new();
        let pair = PairId::new("app").unwrap();
        let error = due(&pair, &name(), &region("par"), &readers).unwrap_err();
        assert_eq!(error, DueError::NotListed(region("par")));
    }
}
