//! Who may touch which register, and what a register may become.
//!
//! The second half is defence in depth: agents keep these rules themselves (R14 to R16), and a
//! witness that keeps them too bounds what a broken agent can do.

use std::collections::{BTreeMap, BTreeSet};

use continuum_domain::{PairId, PairRecord, RegionId, SessionRecord};
use continuum_runtime::{Identity, Role};
use serde::de::DeserializeOwned;

use crate::register::StoreError;
use crate::store::Guard;

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `session/<region>`
    Session(RegionId),
    /// `pair/<id>`
    Pair(PairId),
    /// `probe/<anything>`: for self-tests and contract tests, of no meaning.
    Probe,
}

impl Key {
    /// Reads a key; the error says which keys there are.
    pub fn parse(text: &str) -> Result<Key, StoreError> {
        let unknown = || {
            StoreError::Misconfigured(format!(
                "key {text:?} is none of session/<region>, pair/<id>, probe/<anything>"
            ))
        };
        let invalid = |error: continuum_domain::ids::NameError| {
            StoreError::Misconfigured(format!("key {text:?}: {error}"))
        };
        match text.split_once('/').ok_or_else(unknown)? {
            ("session", region) => RegionId::new(region).map(Key::Session).map_err(invalid),
            ("pair", pair) => PairId::new(pair).map(Key::Pair).map_err(invalid),
            ("probe", rest) if !rest.is_empty() => Ok(Key::Probe),
            _ => Err(unknown()),
        }
    }
}

/// Members of each pair: what the pair's own record cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pairs: BTreeMap<PairId, BTreeSet<RegionId>>,
}

impl Rules {
    /// Rules for these pairs and their members.
    pub fn new(pairs: BTreeMap<PairId, BTreeSet<RegionId>>) -> Self {
        Self { pairs }
    }

    /// Whether `caller` may read `key`.
    pub fn check_read(&self, caller: Option<&Identity>, key: &str) -> Result<(), StoreError> {
        let caller = known(caller)?;
        match caller.role {
            Role::Region | Role::Core | Role::Dns | Role::Operator => Key::parse(key).map(|_| ()),
            Role::Witness => Err(denied(caller, "read", key)),
        }
    }

    /// Whether `caller` may write `value` to `key`; the guard finishes the check when the change
    /// is decided.
    pub fn check_write(
        &self,
        caller: Option<&Identity>,
        key: &str,
        value: &[u8],
    ) -> Result<Option<Guard>, StoreError> {
        let caller = known(caller)?;
        match (Key::parse(key)?, caller.role) {
            (Key::Probe, Role::Region | Role::Core | Role::Operator) => Ok(None),
            (Key::Session(region), Role::Region) if region.as_str() == caller.name => {
                let _: SessionRecord = parse(key, value)?;
                Ok(Some(guard(key, session_step)))
            }
            (Key::Pair(pair), Role::Core) => {
                self.check_pair(&pair, key, value)?;
                Ok(Some(guard(key, core_step)))
            }
            (Key::Pair(pair), Role::Region) => {
                let me = RegionId::new(caller.name.as_str())
                    .map_err(|error| StoreError::Unauthorised(error.to_string()))?;
                if !self.members(&pair)?.contains(&me) {
                    return Err(denied(caller, "write", key));
                }
                self.check_pair(&pair, key, value)?;
                Ok(Some(guard(key, move |old, new| region_step(&me, old, new))))
            }
            _ => Err(denied(caller, "write", key)),
        }
    }

    pub(crate) fn members_of(&self, pair: &PairId) -> Option<&BTreeSet<RegionId>> {
        self.pairs.get(pair)
    }

    fn members(&self, pair: &PairId) -> Result<&BTreeSet<RegionId>, StoreError> {
        self.pairs.get(pair).ok_or_else(|| {
            StoreError::Unauthorised(format!(
                "pair {pair} is not in this witness's configuration; add it under [pairs]"
            ))
        })
    }

    fn check_pair(&self, pair: &PairId, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let members = self.members(pair)?;
        let record: PairRecord = parse(key, value)?;
        let named = record.in_sync.keys().chain(&record.holder).chain(&record.handover_to);
        for region in named {
            if !members.contains(region) {
                return Err(StoreError::Misconfigured(format!(
                    "{key}: {region} is no member of {pair}"
                )));
            }
        }
        Ok(())
    }
}

pub(crate) fn known(caller: Option<&Identity>) -> Result<&Identity, StoreError> {
    caller.ok_or_else(|| {
        StoreError::Unauthorised("the certificate carries no name under continuum.internal".into())
    })
}

pub(crate) fn denied(caller: &Identity, verb: &str, key: &str) -> StoreError {
    StoreError::Unauthorised(format!("{caller} may not {verb} {key:?}"))
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|error| StoreError::Misconfigured(format!("{key}: not a record: {error}")))
}

fn guard<T: DeserializeOwned>(
    key: &str,
    step: impl FnOnce(Option<&T>, &T) -> Result<(), StoreError> + Send + 'static,
) -> Guard {
    let key = key.to_owned();
    Box::new(move |old, new| {
        let old = old.map(|value| parse::<T>(&key, value)).transpose()?;
        step(old.as_ref(), &parse::<T>(&key, new)?)
    })
}

fn backwards(what: String) -> Result<(), StoreError> {
    Err(StoreError::Misconfigured(what))
}

fn session_step(old: Option<&SessionRecord>, new: &SessionRecord) -> Result<(), StoreError> {
    let place = |record: &SessionRecord| (record.incarnation, record.beat);
    match old {
        Some(old) if place(new) < place(old) => backwards(format!(
            "session goes back from incarnation and beat {:?} to {:?}",
            place(old),
            place(new)
        )),
        _ => Ok(()),
    }
}

/// The core holds nothing: it may only pause a pair that is there, or let it go on.
fn core_step(old: Option<&PairRecord>, new: &PairRecord) -> Result<(), StoreError> {
    let unpaused = |record: &PairRecord| PairRecord { paused: false, ..record.clone() };
    match old {
        Some(old) if unpaused(old) == unpaused(new) => Ok(()),
        _ => Err(StoreError::Unauthorised("the core may change only `paused` of a pair".into())),
    }
}

fn region_step(
    me: &RegionId,
    old: Option<&PairRecord>,
    new: &PairRecord,
) -> Result<(), StoreError> {
    let held_before = old.is_some_and(|old| old.held_by(me));
    if let Some(old) = old {
        if new.epoch < old.epoch {
            return backwards(format!("epoch goes back from {} to {}", old.epoch, new.epoch));
        }
        if new.holder != old.holder && new.epoch == old.epoch {
            return backwards(format!("the holder changes, and epoch stays {}", old.epoch));
        }
    }
    // R14, R16: a member writes itself as holder, or nobody after its own stop.
    let allowed = match &new.holder {
        Some(holder) => holder == me,
        None => held_before || old.is_none(),
    };
    if allowed {
        return Ok(());
    }
    Err(StoreError::Unauthorised(format!("region {me} neither holds the pair nor takes it")))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
