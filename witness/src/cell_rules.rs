//! Who may touch which cell.
//!
//! What a cell holds is opaque here. A store that only one party could write would be no acceptor, and
//! one that anybody could write would be none either: whoever may write a register may write its
//! cells, and the operator may, who moves cells when an acceptor is replaced.

use continuum_domain::{PairId, RegionId};
use continuum_runtime::{Identity, Role};

use crate::register::StoreError;
use crate::rules::{Key, Rules, denied, known};

/// Longest incarnation in a key, in hexadecimal digits.
const INCARNATION_DIGITS_MAX: usize = 32;

/// What a cell's key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellKey {
    /// `mark`: what the acceptor knows of itself.
    Mark,
    /// `probe/<anything>`: for self-tests and contract tests, of no meaning.
    Probe,
    /// `g<generation>/<incarnation>/<register key>`: a register's cell.
    Register(Key),
    /// `g<generation>/<incarnation>/next`: what comes after the generation.
    Next,
}

impl CellKey {
    /// Reads a key; the error says which keys there are.
    pub fn parse(text: &str) -> Result<CellKey, StoreError> {
        let unknown = || {
            StoreError::Misconfigured(format!(
                "cell {text:?} is none of mark, probe/<anything>, \
                 g<generation>/<incarnation, hex>/<register key>"
            ))
        };
        if text == "mark" {
            return Ok(CellKey::Mark);
        }
        match text.split_once('/').ok_or_else(unknown)? {
            ("probe", rest) if !rest.is_empty() => Ok(CellKey::Probe),
            (first, rest) => {
                let generation = first.strip_prefix('g').ok_or_else(unknown)?;
                let (incarnation, register) = rest.split_once('/').ok_or_else(unknown)?;
                let fits = is_number(generation) && is_incarnation(incarnation);
                match register {
                    _ if !fits => Err(unknown()),
                    "next" => Ok(CellKey::Next),
                    key => Key::parse(key).map(CellKey::Register),
                }
            }
        }
    }

    /// Whether it is a probe, of the acceptor or of a register.
    pub fn is_probe(&self) -> bool {
        matches!(self, CellKey::Probe | CellKey::Register(Key::Probe))
    }
}

/// One text for one number, so that no two keys name the same generation.
fn is_number(text: &str) -> bool {
    text.parse::<u64>().is_ok_and(|number| number.to_string() == text)
}

fn is_incarnation(text: &str) -> bool {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    digits && (1..=INCARNATION_DIGITS_MAX).contains(&text.len())
}

/// Which regions a pair has, as the store's owner knows it.
pub trait Members {
    /// Whether the region is a member; `None` when the pair is not known here.
    fn is_member(&self, pair: &PairId, region: &RegionId) -> Option<bool>;
}

impl Members for Rules {
    fn is_member(&self, pair: &PairId, region: &RegionId) -> Option<bool> {
        self.members_of(pair).map(|members| members.contains(region))
    }
}

/// Whether `caller` may read `key`.
pub fn check_get(caller: Option<&Identity>, key: &str) -> Result<(), StoreError> {
    may_look(caller, key)?;
    CellKey::parse(key).map(|_| ())
}

/// Whether `caller` may list the keys that start with `prefix`.
pub fn check_list(caller: Option<&Identity>, prefix: &str) -> Result<(), StoreError> {
    may_look(caller, prefix)
}

fn may_look(caller: Option<&Identity>, what: &str) -> Result<(), StoreError> {
    let caller = known(caller)?;
    match caller.role {
        Role::Region | Role::Core | Role::Dns | Role::Operator => Ok(()),
        Role::Witness => Err(denied(caller, "read", what)),
    }
}

/// Whether `caller` may write `key`; what the key names.
pub fn check_put(
    caller: Option<&Identity>,
    key: &str,
    members: &(impl Members + ?Sized),
) -> Result<CellKey, StoreError> {
    let caller = known(caller)?;
    let parsed = CellKey::parse(key)?;
    let allowed = match (&parsed, caller.role) {
        (_, Role::Operator) => true,
        (probe, Role::Region | Role::Core) if probe.is_probe() => true,
        (CellKey::Register(Key::Session(region)), Role::Region) => region.as_str() == caller.name,
        (CellKey::Register(Key::Pair(pair)), Role::Region) => {
            let me = RegionId::new(caller.name.as_str())
                .map_err(|error| StoreError::Unauthorised(error.to_string()))?;
            members.is_member(pair, &me).ok_or_else(|| unknown_pair(pair))?
        }
        (CellKey::Register(Key::Pair(_)), Role::Core) => true,
        _ => false,
    };
    if allowed { Ok(parsed) } else { Err(denied(caller, "write", key)) }
}

/// Whether `caller` may remove `key`.
pub fn check_delete(caller: Option<&Identity>, key: &str) -> Result<(), StoreError> {
    let caller = known(caller)?;
    match (CellKey::parse(key)?, caller.role) {
        (_, Role::Operator) => Ok(()),
        (probe, Role::Region | Role::Core) if probe.is_probe() => Ok(()),
        _ => Err(denied(caller, "remove", key)),
    }
}

fn unknown_pair(pair: &PairId) -> StoreError {
    StoreError::Unauthorised(format!(
        "pair {pair} is not known here; on a witness server, add it under [pairs]; on the control \
         core, apply its spec"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn rules() -> Rules {
        let members = ["fsn", "hel"].map(|name| RegionId::new(name).unwrap());
        Rules::new(BTreeMap::from([(PairId::new("app").unwrap(), BTreeSet::from(members))]))
    }

    fn writes(caller: &str, key: &str) -> bool {
        let caller: Identity = caller.parse().unwrap();
        check_put(Some(&caller), key, &rules()).is_ok()
    }

    fn removes(caller: &str, key: &str) -> bool {
        let caller: Identity = caller.parse().unwrap();
        check_delete(Some(&caller), key).is_ok()
    }

    const CALLERS: [&str; 7] = [
        "region/fsn",
        "region/hel",
        "region/nbg",
        "core/c1",
        "dns/d1",
        "operator/ann",
        "witness/w1",
    ];

    #[test]
    fn who_may_write_and_remove_what() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("mark", &["operator/ann"], &["operator/ann"]),
            (
                "probe/x",
                &["region/fsn", "region/hel", "region/nbg", "core/c1", "operator/ann"],
                &["region/fsn", "region/hel", "region/nbg", "core/c1", "operator/ann"],
            ),
            ("g1/ab/session/fsn", &["region/fsn", "operator/ann"], &["operator/ann"]),
            (
                "g1/ab/pair/app",
                &["region/fsn", "region/hel", "core/c1", "operator/ann"],
                &["operator/ann"],
            ),
            ("g12/0/next", &["operator/ann"], &["operator/ann"]),
        ];
        for (key, writers, removers) in table {
            for caller in CALLERS {
                assert_eq!(writes(caller, key), writers.contains(&caller), "{caller} {key}");
                assert_eq!(removes(caller, key), removers.contains(&caller), "{caller} {key}");
            }
        }
        assert!(!writes("region/fsn", "g1/ab/pair/unknown"));
        assert!(check_put(None, "probe/x", &rules()).is_err());
    }

    #[test]
    fn everyone_known_may_look_but_no_other_witness() {
        for caller in CALLERS {
            let identity: Identity = caller.parse().unwrap();
            let looks = caller != "witness/w1";
            assert_eq!(check_get(Some(&identity), "g1/ab/session/fsn").is_ok(), looks);
            assert_eq!(check_list(Some(&identity), "").is_ok(), looks);
        }
        assert!(check_get(None, "mark").is_err());
    }

    #[test]
    fn keys_have_one_spelling() {
        for key in [
            "",
            "marks",
            "probe/",
            "session/fsn",
            "g1",
            "g/ab/next",
            "g01/ab/next",
            "g1/AB/next",
            "g1//next",
            "g1/ab/",
            "g1/ab/other",
            "g1/ab/session/",
            "g-1/ab/next",
            "x1/ab/next",
        ] {
            assert!(CellKey::parse(key).is_err(), "{key:?} was read");
        }
        assert_eq!(CellKey::parse("g0/0af/next").unwrap(), CellKey::Next);
        assert!(CellKey::parse("g1/ab/probe/x").unwrap().is_probe());
    }
}
