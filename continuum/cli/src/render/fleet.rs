//! How all pairs stand.

use continuum_control_api::rest::{Fleet, Posture};

use super::style::{Style, Tone};
use super::text::*;

fn word(posture: Posture) -> &'static str {
    match posture {
        Posture::Paused => "paused",
        Posture::Blocked => "blocked",
        Posture::Unknown => "unknown",
        Posture::AtRisk => "at risk",
        Posture::Protected => "protected",
    }
}

/// `fleet`: the counts, then the pairs, the worst first.
pub fn page(fleet: &Fleet, style: Style) -> String {
    if fleet.pairs.is_empty() {
        return "no pairs\n".into();
    }
    let counts: Vec<_> =
        fleet.counts.iter().map(|(posture, count)| format!("{count} {}", word(*posture))).collect();
    let mut out = format!("{}\n\n", style.paint(Tone::Strong, &counts.join(", ")));
    let rows = fleet.pairs.iter().map(|pair| {
        [
            pair.pair.to_string(),
            word(pair.posture).into(),
            or_unknown(pair.holder.as_ref()),
            or_unknown(pair.epoch),
            pair.reasons.first().map_or_else(|| NONE.into(), |reason| one_line(reason)),
        ]
    });
    out.push_str(&style.words(&table(["PAIR", "POSTURE", "HOLDER", "EPOCH", "BECAUSE"], rows)));
    out
}
