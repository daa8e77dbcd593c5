//! From record sets as Route 53 lists them to what stands, and to the batch that changes it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aws_sdk_route53::error::BuildError;
use aws_sdk_route53::types::{
    Change as ApiChange, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet,
    ResourceRecordSetFailover, RrType,
};

use crate::provider::api_text::{Escape, quoted, unquoted};
use crate::records::plan::Change;
use crate::records::routed::{self, Routed, Rule};
use crate::records::{Companion, Records, Seen, companion_name};

/// What is listed of a name: its companion's sets and its own, as they were told.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub companion: Vec<ResourceRecordSet>,
    pub own: Vec<ResourceRecordSet>,
}

/// Types that are taken away where none of ours stand.
const TYPES: [RrType; 4] = [RrType::A, RrType::Aaaa, RrType::Cname, RrType::Srv];

impl Listed {
    /// Of `all` sets, those that concern the name or its companion.
    pub fn new(companion: Vec<ResourceRecordSet>, own: Vec<ResourceRecordSet>) -> Self {
        let of = |mut sets: Vec<ResourceRecordSet>, types: &[RrType]| {
            sets.retain(|set| types.contains(&set.r#type));
            sets
        };
        Self { companion: of(companion, &[RrType::Txt]), own: of(own, &TYPES) }
    }

    /// The companion.
    pub fn companion(&self) -> Companion {
        let texts = self.companion.iter().flat_map(values);
        Companion(texts.map(|text| unquoted(text, Escape::Octal)).collect())
    }

    /// All that stands.
    pub fn seen(&self) -> Seen {
        let mut records = Records::default();
        for set in &self.own {
            let ttl = set.ttl.and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or_default();
            records.ttl = records.ttl.max(ttl);
            note(&mut records, set);
        }
        Seen { companion: self.companion(), records }
    }
}

fn values(set: &ResourceRecordSet) -> impl Iterator<Item = &str> {
    set.resource_records().iter().map(|record| record.value())
}

/// Adds one set. What we never write is told so that it differs from whatever is wanted.
fn note(records: &mut Records, set: &ResourceRecordSet) {
    let alias = set.alias_target.as_ref().map(|target| target.dns_name.clone());
    if let Some(alias) = alias {
        records.alias = Some(alias);
    } else if set.r#type == RrType::Cname {
        records.alias = values(set).next().map(str::to_owned);
    } else if set.r#type == RrType::Srv {
        records.services.extend(values(set).filter_map(|value| value.parse().ok()));
    } else {
        let addresses: BTreeSet<IpAddr> =
            values(set).filter_map(|value| value.parse().ok()).collect();
        match rule(set) {
            None if set.set_identifier.is_none() && set.health_check_id.is_none() => {
                records.addresses.extend(addresses);
            }
            rule => routed::insert(
                &mut records.routed,
                Routed {
                    id: set.set_identifier.clone().unwrap_or_default(),
                    rule: rule.unwrap_or_else(|| Rule::Other("another".into())),
                    health_check: set.health_check_id.clone(),
                    addresses,
                },
            ),
        }
    }
}

fn rule(set: &ResourceRecordSet) -> Option<Rule> {
    match (&set.failover, set.weight) {
        (Some(ResourceRecordSetFailover::Primary), _) => Some(Rule::Primary),
        (Some(ResourceRecordSetFailover::Secondary), _) => Some(Rule::Secondary),
        (Some(_), _) => Some(Rule::Other("failover".into())),
        (None, Some(weight)) => u64::try_from(weight).ok().map(Rule::Weight),
        (None, None) => None,
    }
}

fn set(
    (name, kind): (&str, RrType),
    ttl: u32,
    values: impl IntoIterator<Item = String>,
) -> Result<ResourceRecordSet, BuildError> {
    let records = values.into_iter().map(|value| ResourceRecord::builder().value(value).build());
    ResourceRecordSet::builder()
        .name(name)
        .r#type(kind)
        .ttl(ttl.into())
        .set_resource_records(Some(records.collect::<Result<_, _>>()?))
        .build()
}

/// The sets of the records that are wanted.
fn wanted(name: &str, records: &Records) -> Result<Vec<ResourceRecordSet>, BuildError> {
    let mut sets = Vec::new();
    let of = |kind: &RrType, addresses: &BTreeSet<IpAddr>| -> Vec<String> {
        let listed = addresses.iter().filter(|one| one.is_ipv4() == (*kind == RrType::A));
        listed.map(ToString::to_string).collect()
    };
    for kind in [RrType::A, RrType::Aaaa] {
        let listed = of(&kind, &records.addresses);
        if !listed.is_empty() {
            sets.push(set((name, kind.clone()), records.ttl, listed)?);
        }
        for routed in &records.routed {
            let listed = of(&kind, &routed.addresses);
            if listed.is_empty() {
                continue;
            }
            let mut set = set((name, kind.clone()), records.ttl, listed)?;
            set.set_identifier = Some(routed.id.clone());
            set.health_check_id.clone_from(&routed.health_check);
            match routed.rule {
                Rule::Primary => set.failover = Some(ResourceRecordSetFailover::Primary),
                Rule::Secondary => set.failover = Some(ResourceRecordSetFailover::Secondary),
                Rule::Weight(weight) => set.weight = i64::try_from(weight).ok(),
                Rule::Other(_) => {}
            }
            sets.push(set);
        }
    }
    if let Some(target) = &records.alias {
        sets.push(set((name, RrType::Cname), records.ttl, [target.clone()])?);
    }
    if !records.services.is_empty() {
        let services = records.services.iter().map(ToString::to_string);
        sets.push(set((name, RrType::Srv), records.ttl, services)?);
    }
    Ok(sets)
}

/// The change as one batch, which Route 53 takes as a whole or not at all.
///
/// The condition is the DELETE of the companion, which must name what stands value by value, and
/// the CREATE of the new one, which must find nothing: a batch of a writer that read something else
/// fails, and with it every address in it.
pub(super) fn batch(listed: &Listed, change: &Change) -> Result<ChangeBatch, BuildError> {
    let key = |set: &ResourceRecordSet| {
        let kind = (set.alias_target.is_some(), set.failover.is_some(), set.weight.is_some());
        (set.r#type.as_str().to_owned(), set.set_identifier.clone(), kind)
    };
    let wanted = wanted(&change.name, &change.records)?;
    let keys: BTreeMap<_, _> = wanted.iter().map(|set| (key(set), set)).collect();
    let text = Companion::of(&change.stamp);
    let texts = text.0.iter().map(|text| quoted(text, Escape::Octal));
    let companion = companion_name(&change.name);
    let companion = set((&companion, RrType::Txt), change.records.ttl, texts)?;

    let leftover = listed.own.iter().filter(|set| !keys.contains_key(&key(set)));
    let deleted = listed.companion.iter().chain(leftover);
    let deleted = deleted.map(|set| (ChangeAction::Delete, set.clone()));
    let written = wanted.iter().filter(|set| !listed.own.contains(set));
    let written = written.map(|set| (ChangeAction::Upsert, set.clone()));
    let all = deleted.chain([(ChangeAction::Create, companion)]).chain(written);
    let changes = all
        .map(|(action, set)| ApiChange::builder().action(action).resource_record_set(set).build());
    ChangeBatch::builder().set_changes(Some(changes.collect::<Result<_, _>>()?)).build()
}

#[cfg(test)]
#[path = "sets_tests.rs"]
mod tests;
