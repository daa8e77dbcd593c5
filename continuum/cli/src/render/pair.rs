//! Pairs and the history of their specs.

use continuum_control_api::rest::{PairView, SpecDiff, SpecVersion};

use super::style::Style;
use super::text::*;
use super::{names, status, takeover, traffic};

/// `pair list`.
pub fn listing(pairs: &[PairView], style: Style) -> String {
    if pairs.is_empty() {
        return "no pairs\n".into();
    }
    let header =
        ["PAIR", "HOLDER", "EPOCH", "IN SYNC", "MEMBERS", "DURABILITY", "MODE", "OPERATION"];
    let rows = pairs.iter().map(|pair| {
        let holder = match (&pair.holder, pair.epoch) {
            (Some(region), _) => region.to_string(),
            (None, Some(_)) => "nobody".into(),
            (None, None) => UNKNOWN.into(),
        };
        [
            pair.spec.id.to_string(),
            holder,
            or_unknown(pair.epoch),
            pair.in_sync.as_ref().map_or_else(|| UNKNOWN.into(), list),
            list(pair.spec.members.keys()),
            status::durability(pair.spec.durability).into(),
            status::mode(pair.spec.mode).into(),
            pair.operation.as_ref().map_or_else(|| NONE.into(), ToString::to_string),
        ]
    });
    style.words(&table(header, rows))
}

/// `pair show`: what is known of it, then its spec.
pub fn page(pair: &PairView, style: Style) -> String {
    let spec = serde_yaml_ng::to_string(&pair.spec).unwrap_or_default();
    let block = status::pair_block(pair, style);
    let takeover = takeover::section(pair, style);
    let names = names::section(pair, style);
    let traffic = traffic::section(pair);
    let gap = if traffic.is_empty() { "" } else { "\n" };
    let spec = format!("spec, version {}:\n{}", pair.version, indent(&spec));
    format!("{block}\n{takeover}{gap}{traffic}\n{names}{spec}")
}

/// `pair diff` and `pair apply --dry-run`.
pub fn diff(diff: &SpecDiff) -> String {
    if diff.changes.is_empty() {
        return "nothing differs\n".into();
    }
    let text = |value: &Option<serde_json::Value>| {
        value.as_ref().map_or_else(|| NONE.into(), |value| one_line(&value.to_string()))
    };
    let rows = diff
        .changes
        .iter()
        .map(|change| [change.path.clone(), text(&change.before), text(&change.after)]);
    table(["FIELD", "BEFORE", "AFTER"], rows)
}

/// `pair history`.
pub fn history(versions: &[SpecVersion]) -> String {
    let rows = versions.iter().map(|version| {
        let what = if version.spec.is_some() { "applied" } else { "removed" };
        [
            version.version.to_string(),
            time(version.at_ms),
            what.into(),
            version.actor.clone(),
            or_none(&version.reason),
        ]
    });
    table(["VERSION", "AT", "WHAT", "BY", "REASON"], rows)
}

/// What `apply` and `remove` changed.
pub fn changed(version: &SpecVersion, pair: &str) -> String {
    let what = if version.spec.is_some() { "applied" } else { "removed" };
    format!("pair {pair}: {what} as version {}\n", version.version)
}
