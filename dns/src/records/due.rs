//! From a pair's spec and who holds its lease, to the records that are due at a name. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use continuum_domain::spec::{NamePolicy, NameRole, NameSpec};
use continuum_domain::{PairId, RegionId};

use super::Records;
use crate::lua::policy::{Gate, Standby, follow, health_url, read_only};
use crate::lua::{Features, LuaError, LuaRecord};

/// Why no records can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DueError {
    /// The spec lists no address of the region.
    #[error("the spec lists no address of {0} for this name")]
    NoAddress(RegionId),
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
    let listed = name.addresses.get(holder).filter(|listed| !listed.is_empty());
    let listed = listed.ok_or_else(|| DueError::NoAddress(holder.clone()))?;
    let gated = |gate| {
        let port = name.health_port.map_or(0, std::num::NonZeroU16::get);
        health_url(&name.name, port, pair, gate)
    };
    let features = Features::from(&name.lua);
    let standbys = readers.iter().filter_map(|region| name.addresses.get(region));
    match (name.role, name.policy) {
        (NameRole::Primary, NamePolicy::Flip) => Ok(Records::plain(ttl, listed.clone())),
        (NameRole::Primary, NamePolicy::Follow) => {
            Ok(computed(ttl, &follow(&name.addresses, &gated(Gate::Primary), features)?))
        }
        (NameRole::Standby, NamePolicy::Flip) => {
            let addresses: BTreeSet<_> = standbys.flatten().copied().collect();
            Ok(if addresses.is_empty() {
                Records::default()
            } else {
                Records::plain(ttl, addresses)
            })
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

fn computed(ttl: u32, records: &BTreeSet<LuaRecord>) -> Records {
    if records.is_empty() { Records::default() } else { Records::lua(ttl, records) }
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
    fn a_holder_without_addresses_is_an_error_and_not_an_empty_name() {
        let readers = BTreeSet::new();
        let pair = PairId::new("app").unwrap();
        let error = due(&pair, &name(), &region("par"), &readers).unwrap_err();
        assert_eq!(error, DueError::NoAddress(region("par")));
    }
}
