//! The weights of an `HTTPRoute`'s backends: what they should be, as a pure decision.
//!
//! A backend is known by what it is (group, kind, namespace, name, port), never by where it stands in the
//! list, so that whoever reorders rules or backends moves nothing. What a person set is kept and comes back
//! exactly when the region holds the pair again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use continuum_domain::RegionId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::config::BackendConfig;

/// A share of the whole, in percent.
pub(super) const WHOLE: u8 = 100;
/// While weights move, those of a region add up to this much a percent.
const SCALE: u64 = 100;
/// The weight of a backend that says none.
const UNSAID: u32 = 1;

/// Backends by region.
pub(super) type Regions = BTreeMap<RegionId, Vec<BackendConfig>>;

/// What an agent notes of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The weights that a person set.
    #[serde(default)]
    pub weights: Vec<Kept>,
    /// The region the weights move away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<RegionId>,
    /// How much of them is at the holder, in percent.
    #[serde(default)]
    pub moved: u8,
}

/// A weight that a person set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The rule, by its name or by what it matches.
    pub rule: String,
    /// The backend, by what it is.
    pub backend: String,
    /// Which of several that are the same.
    pub nth: usize,
    /// The weight.
    pub weight: u32,
}

/// A backend as it stands in a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where, as of the version that was read.
    pub pointer: String,
    pub rule: String,
    pub backend: String,
    pub nth: usize,
    pub weight: u32,
}

/// What a backend is, as one text.
pub(super) fn identity(
    (group, kind): (&str, &str),
    namespace: &str,
    name: &str,
    port: Option<u64>,
) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let group = if group.is_empty() { String::new() } else { format!("{group}/") };
    format!("{group}{kind} {namespace}/{name}{port}")
}

/// The backends of a route, in its order.
pub(super) fn slots(route: &Value) -> Vec<Slot> {
    let own = route["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut rules_seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut slots = Vec::new();
    for (i, rule) in list(&route["spec"]["rules"]).iter().enumerate() {
        let key = rule_key(rule);
        let nth_rule = rules_seen.entry(key.clone()).or_default();
        let key = if *nth_rule == 0 { key } else { format!("{key}#{nth_rule}") };
        *nth_rule += 1;
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (j, backend) in list(&rule["backendRefs"]).iter().enumerate() {
            let text = |field: &str, unsaid| backend[field].as_str().unwrap_or(unsaid).to_owned();
            let kind = (text("group", ""), text("kind", "Service"));
            let backend_is = identity(
                (&kind.0, &kind.1),
                &text("namespace", own),
                &text("name", ""),
                backend["port"].as_u64(),
            );
            let nth = seen.entry(backend_is.clone()).or_default();
            let weight = backend["weight"].as_u64().and_then(|weight| u32::try_from(weight).ok());
            slots.push(Slot {
                pointer: format!("/spec/rules/{i}/backendRefs/{j}"),
                rule: key.clone(),
                backend: backend_is,
                nth: *nth,
                weight: weight.unwrap_or(UNSAID),
            });
            *nth += 1;
        }
    }
    slots
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A rule by its name, or by what it matches: its place in the list says nothing.
fn rule_key(rule: &Value) -> String {
    if let Some(name) = rule["name"].as_str() {
        return name.to_owned();
    }
    let digest = Sha256::digest(rule["matches"].to_string());
    digest.iter().take(6).fold("m-".to_owned(), |mut key, byte| {
        let _to_a_string = write!(key, "{byte:02x}");
        key
    })
}

/// The regions of a route's backends.
pub(super) struct Known<'a> {
    by_identity: BTreeMap<String, (&'a RegionId, Option<u32>)>,
}

impl<'a> Known<'a> {
    pub fn new(regions: &'a Regions, namespace: &str) -> Self {
        let each = |(region, backends): (&'a RegionId, &'a Vec<BackendConfig>)| {
            let one = move |backend: &BackendConfig| {
                let at = backend.namespace.as_deref().unwrap_or(namespace);
                let kind = (backend.group.as_str(), backend.kind.as_str());
                let port = backend.port.map(u64::from);
                (identity(kind, at, &backend.name, port), (region, backend.weight))
            };
            backends.iter().map(one).collect::<Vec<_>>()
        };
        Self { by_identity: regions.iter().flat_map(each).collect() }
    }

    fn region(&self, slot: &Slot) -> Option<&'a RegionId> {
        self.by_identity.get(&slot.backend).map(|(region, _)| *region)
    }

    /// Notes the weights of backends that are seen for the first time, and forgets those of rules that are
    /// gone. A rule that matches something else now is the same where its backends are.
    pub fn keep(&self, kept: &mut Vec<Kept>, slots: &[Slot]) {
        let rules: BTreeSet<&str> = slots.iter().map(|slot| slot.rule.as_str()).collect();
        for slot in slots.iter().filter(|slot| self.region(slot).is_some()) {
            if find(kept, slot).is_some() {
                continue;
            }
            let moved = |kept: &&mut Kept| {
                let gone = !rules.contains(kept.rule.as_str());
                gone && (&kept.backend, kept.nth) == (&slot.backend, slot.nth)
            };
            match kept.iter_mut().find(moved) {
                Some(kept) => kept.rule.clone_from(&slot.rule),
                None => kept.push(Kept {
                    rule: slot.rule.clone(),
                    backend: slot.backend.clone(),
                    nth: slot.nth,
                    weight: slot.weight,
                }),
            }
        }
        kept.retain(|kept| rules.contains(kept.rule.as_str()));
    }

    /// What each backend of a region should weigh, by its place in `slots`, where that is for an agent to
    /// say: not in a rule that does not lead to the holder at all.
    pub fn wanted(&self, slots: &[Slot], note: &Note, holder: &RegionId) -> BTreeMap<usize, u32> {
        let mut rules: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, slot) in slots.iter().enumerate() {
            rules.entry(&slot.rule).or_default().push(at);
        }
        let mut wanted = BTreeMap::new();
        for slots_of_rule in rules.values() {
            let of = |region: &RegionId| -> Vec<usize> {
                let is = |at: &&usize| self.region(&slots[**at]) == Some(region);
                slots_of_rule.iter().filter(is).copied().collect()
            };
            let holders = of(holder);
            if holders.is_empty() {
                continue;
            }
            let known = slots_of_rule.iter().filter(|at| self.region(&slots[**at]).is_some());
            let alone = known.clone().count() == holders.len();
            wanted.extend(known.map(|at| (*at, 0)));
            let from = note.from.as_ref().filter(|from| *from != holder).map(of);
            let from = from.filter(|from| !from.is_empty() && note.moved < WHOLE);
            let base = |ats: &[usize]| self.base(slots, &note.weights, ats, alone);
            match from {
                None => wanted.extend(base(&holders)),
                Some(from) => {
                    wanted.extend(scaled(base(&holders), note.moved));
                    wanted.extend(scaled(base(&from), WHOLE - note.moved));
                }
            }
        }
        wanted
    }

    /// The weights of a region's backends in a rule when it holds the pair: the configured ones, else those
    /// that a person set. Where all of those are 0, they say how little they weighed beside the holder's,
    /// and not among themselves; in a rule that leads to no other region, that it is to lead nowhere.
    fn base(&self, slots: &[Slot], kept: &[Kept], ats: &[usize], alone: bool) -> Vec<(usize, u32)> {
        let weight = |at: &usize| {
            let slot = &slots[*at];
            let configured = self.by_identity.get(&slot.backend).and_then(|(_, weight)| *weight);
            (*at, configured.or_else(|| find(kept, slot)).unwrap_or(slot.weight))
        };
        let base: Vec<(usize, u32)> = ats.iter().map(weight).collect();
        match !alone && base.iter().all(|(_, weight)| *weight == 0) {
            true => base.into_iter().map(|(at, _)| (at, UNSAID)).collect(),
            false => base,
        }
    }

    /// Backends of no region, with what they weigh: they are left alone.
    pub fn remarks(&self, slots: &[Slot], holder: Option<&RegionId>) -> Vec<String> {
        let unknown = slots.iter().filter(|slot| self.region(slot).is_none()).map(|slot| {
            format!(
                "{} is of no configured region; its weight {} is left",
                slot.backend, slot.weight
            )
        });
        let mut remarks: Vec<String> = unknown.collect();
        let Some(holder) = holder else { return remarks };
        let rules: BTreeSet<&str> = slots.iter().map(|slot| slot.rule.as_str()).collect();
        let leads = |rule: &str| {
            slots.iter().any(|slot| slot.rule == rule && self.region(slot) == Some(holder))
        };
        let nowhere = rules.into_iter().filter(|rule| !leads(rule));
        remarks
            .extend(nowhere.map(|rule| {
                format!("rule {rule} has no backend of {holder}; it is left as it is")
            }));
        remarks
    }
}

fn find(kept: &[Kept], slot: &Slot) -> Option<u32> {
    let same = |kept: &&Kept| {
        (&kept.rule, &kept.backend, kept.nth) == (&slot.rule, &slot.backend, slot.nth)
    };
    kept.iter().find(same).map(|kept| kept.weight)
}

/// A share of the whole by weights that keep their proportions; who weighs anything gets something.
fn scaled(base: Vec<(usize, u32)>, share: u8) -> Vec<(usize, u32)> {
    let sum: u64 = base.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let one = |(at, weight): (usize, u32)| {
        let part = (u64::from(weight) * u64::from(share) * SCALE).checked_div(sum).unwrap_or(0);
        let part = if weight > 0 && share > 0 { part.max(1) } else { part };
        (at, u32::try_from(part).unwrap_or(u32::MAX))
    };
    base.into_iter().map(one).collect()
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
