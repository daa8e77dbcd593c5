//! Reads of more than one thing: pages, the fleet, leases and regions.

use std::collections::{BTreeMap, BTreeSet};

use continuum_control_api::rest::{
    AutomationPause, Fleet, FleetQuery, LeaseView, OperationsQuery, Page, PairView, PairsQuery,
    REPORT_AGE_MS_MAX, RegionView,
};
use continuum_control_api::routes::ApiError;
use continuum_domain::access::{Power, Selector};
use continuum_domain::operation::Operation;
use continuum_domain::sequence::failover::waits_for_approval;
use continuum_domain::{PairId, RegionId};

use crate::core::Core;
use crate::link::registry::millis;
use crate::picture::{Picture, Scene};
use crate::state::CoreState;

/// Entries per page when the query names no number.
const PAGE: usize = 100;
/// Most entries per page.
const PAGE_MAX: usize = 1_000;

fn refused(text: String) -> ApiError {
    ApiError::new(400, "query-refused", text)
}

/// Entries per page.
pub(super) fn limit(limit: Option<usize>) -> Result<usize, ApiError> {
    let limit = limit.unwrap_or(PAGE);
    let fits = (1..=PAGE_MAX).contains(&limit);
    fits.then_some(limit).ok_or_else(|| refused(format!("limit: 1 to {PAGE_MAX} is accepted")))
}

fn selector(text: Option<&String>) -> Result<Selector, ApiError> {
    let Some(text) = text else { return Ok(Selector::default()) };
    text.parse().map_err(|why| refused(format!("selector: {why}")))
}

/// What is made of each pair that a caller may see and a wish fits, by name. Whoever answers about more
/// than one pair goes through here: no pair out of sight is looked at.
fn each<T>(
    core: &Core,
    power: &Power,
    wanted: impl Fn(&PairId) -> bool,
    selector: &Selector,
    make: impl Fn(&Picture<'_>) -> T,
) -> Vec<T> {
    let (now, now_ms) = (core.clock.now(), core.now_ms());
    core.node.read(|state| {
        let scene = Scene::of(state, &core.links, (now, now_ms));
        state
            .specs()
            .filter(|(_, _, spec)| power.sees(&spec.labels))
            .filter(|(pair, _, spec)| wanted(pair) && selector.fits(&spec.labels))
            .map(|pair| make(&scene.picture(pair)))
            .collect()
    })
}

/// Whether a caller of some power is shown what belongs to a pair; of one that is not there any more
/// only who sees everything is.
pub(super) fn sees(state: &CoreState, power: &Power, pair: &PairId) -> bool {
    match state.spec(pair) {
        Some((_, spec)) => power.sees(&spec.labels),
        None => power.sees_all(),
    }
}

/// All pairs in sight.
pub(super) fn all(core: &Core, power: &Power) -> Vec<PairView> {
    each(core, power, |_| true, &Selector::default(), |one: &Picture<'_>| one.view())
}

/// One pair; whether the caller may see it was decided before.
pub(super) fn pair(core: &Core, pair: &PairId) -> Option<PairView> {
    let (now, now_ms) = (core.clock.now(), core.now_ms());
    core.node.read(|state| {
        let (pair, (version, spec)) = state.named(pair)?;
        Some(Scene::of(state, &core.links, (now, now_ms)).view((pair, version, spec)))
    })
}

/// A page of pairs.
pub(super) fn pairs(
    core: &Core,
    power: &Power,
    query: &PairsQuery,
) -> Result<Page<PairView>, ApiError> {
    let limit = limit(query.limit)?;
    let fits = selector(query.selector.as_ref())?;
    // Chosen before they are looked at: a page costs what is on it.
    let mut chosen: Vec<PairId> = core.node.read(|state| {
        state
            .specs()
            .filter(|(_, _, spec)| power.sees(&spec.labels) && fits.fits(&spec.labels))
            .map(|(pair, ..)| pair.clone())
            .filter(|pair| query.cursor.as_ref().is_none_or(|after| pair.as_str() > after.as_str()))
            .take(limit + 1)
            .collect()
    });
    let more = chosen.len() > limit;
    chosen.truncate(limit);
    let next = chosen.last().filter(|_| more).map(|last| {
        let selector = query.selector.as_ref().map(|text| format!("&selector={}", encoded(text)));
        format!("limit={limit}&cursor={last}{}", selector.unwrap_or_default())
    });
    let chosen: BTreeSet<PairId> = chosen.into_iter().collect();
    let chosen = |pair: &PairId| chosen.contains(pair);
    let items = each(core, power, chosen, &Selector::default(), |one: &Picture<'_>| one.view());
    Ok(Page { items, next })
}

/// A selector has letters, digits and few signs; those that mean something in a query are encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A page of operations, newest first.
pub(super) fn operations(
    core: &Core,
    power: &Power,
    query: &OperationsQuery,
) -> Result<Page<Operation>, ApiError> {
    let limit = limit(query.limit)?;
    let before = query.cursor.as_deref().map(cursor).transpose()?;
    let mut found: Vec<Operation> = core.node.read(|state| {
        let wanted = |operation: &&Operation| {
            let of_pair = query.pair.as_ref().is_none_or(|pair| *pair == operation.pair);
            let place = (operation.created_ms, operation.id.as_str());
            of_pair && before.is_none_or(|before| place < before)
        };
        state
            .operations()
            .filter(wanted)
            .filter(|operation| sees(state, power, &operation.pair))
            .cloned()
            .collect()
    });
    found.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| {
        let pair = query.pair.as_ref().map(|pair| format!("&pair={pair}")).unwrap_or_default();
        format!("limit={limit}&cursor={}.{}{pair}", last.created_ms, last.id)
    });
    Ok(Page { items: found, next })
}

fn cursor(text: &str) -> Result<(i64, &str), ApiError> {
    let parts = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id)));
    parts.ok_or_else(|| refused("cursor: is none of ours; take it from the header Link".into()))
}

/// Operations that wait for an approval, newest first.
pub(super) fn approvals(core: &Core, power: &Power) -> Vec<Operation> {
    let mut waiting: Vec<Operation> = core.node.read(|state| {
        let waits = |operation: &&Operation| {
            waits_for_approval(operation) || state.waiting(&operation.id).is_some()
        };
        state
            .unfinished()
            .filter(waits)
            .filter(|operation| sees(state, power, &operation.pair))
            .cloned()
            .collect()
    });
    waiting.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
    waiting
}

/// Pauses in sight; one of all pairs concerns everybody.
pub(super) fn pauses(core: &Core, power: &Power) -> Vec<AutomationPause> {
    let now_ms = core.now_ms();
    core.node.read(|state| {
        let seen = |pause: &AutomationPause| {
            pause.pair.as_ref().is_none_or(|pair| sees(state, power, pair))
        };
        state.pauses(now_ms).into_iter().filter(seen).collect()
    })
}

/// How the pairs stand that the query chooses; all of them, on one page.
pub(super) fn fleet(core: &Core, power: &Power, query: &FleetQuery) -> Result<Fleet, ApiError> {
    let fits = selector(query.selector.as_ref())?;
    let waiting: BTreeSet<PairId> =
        approvals(core, power).into_iter().map(|one| one.pair).collect();
    let summary = |one: &Picture<'_>| one.known().summary(waiting.contains(one.pair()));
    Ok(Fleet::of(each(core, power, |_| true, &fits, summary)))
}

/// Who holds what.
pub(super) fn leases(core: &Core, power: &Power) -> Vec<LeaseView> {
    each(core, power, |_| true, &Selector::default(), |one: &Picture<'_>| one.lease())
}

/// The regions that pairs have members in.
pub(super) fn regions(core: &Core, power: &Power) -> Vec<RegionView> {
    let now = core.clock.now();
    let mut regions: BTreeMap<RegionId, RegionView> = BTreeMap::new();
    for view in all(core, power) {
        for region in view.spec.members.keys() {
            let known = regions.entry(region.clone()).or_insert_with(|| RegionView {
                region: region.clone(),
                connected: core.links.connected(region),
                report_age_ms: core.links.heard(region, now).map(millis),
                pairs: Vec::new(),
                holds: Vec::new(),
                witness_reachable: None,
            });
            known.pairs.push(view.spec.id.clone());
            if view.holder.as_ref() == Some(region) {
                known.holds.push(view.spec.id.clone());
            }
            let fresh = view.members.get(region).and_then(Option::as_ref);
            if let Some(aged) = fresh.filter(|aged| aged.age_ms <= REPORT_AGE_MS_MAX) {
                let so_far = known.witness_reachable.unwrap_or(true);
                known.witness_reachable = Some(so_far && aged.report.witness_reachable);
            }
        }
    }
    regions.into_values().collect()
}
