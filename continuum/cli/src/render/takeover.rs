//! What losing the holder now would cost, how planned moves would be made, and the links between the
//! agents that this rests on.

use continuum_control_api::link::PeerLinkReport;
use continuum_control_api::rest::PairView;
use continuum_domain::RegionId;
use continuum_domain::operation::Method;
use continuum_domain::spec::{PairMode, Takeover};

use super::status;
use super::style::Style;
use super::text::*;

/// A peer that was not heard of for so long is amiss, however seldom it is asked.
const SILENT_MS: u64 = 5_000;
/// Fewer questions than this say nothing of a link.
const ASKED_MIN: u64 = 100;

fn word(takeover: Takeover) -> &'static str {
    match takeover {
        Takeover::Ttl => "ttl",
        Takeover::Ledger => "ledger",
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Clean => "clean",
        Method::Hot => "hot",
    }
}

fn suspect_after(pair: &PairView) -> String {
    format!("{} (suspect_after)", short(pair.takeover.suspect_after_ms))
}

/// Who would be lost.
fn lost(pair: &PairView) -> String {
    let holder = pair.holder.as_ref().map_or("the holder", RegionId::as_str);
    format!("if {holder} is lost now")
}

/// What else stands between a loss and a takeover.
fn person(pair: &PairView) -> String {
    match (pair.spec.mode, &pair.automation) {
        (PairMode::Automatic, None) => String::new(),
        (PairMode::Automatic, Some(_)) => "; not by itself: automation is paused".into(),
        (mode, _) => format!("; not by itself: mode {}", status::mode(mode)),
    }
}

/// Why no standby would take over at all without a person's word.
fn nobody(pair: &PairView) -> Option<&'static str> {
    if !pair.spec.durability.is_synchronous() {
        let approved = pair.spec.loss_approval.is_some();
        return (!approved).then_some("the pair is async and no loss is approved (loss_approval)");
    }
    let alone = pair.in_sync.as_ref()?.iter().all(|region| Some(region) == pair.holder.as_ref());
    alone.then_some("no standby is in sync")
}

/// The line where a takeover would go as the spec wants it.
pub fn as_wanted(pair: &PairView) -> Option<String> {
    let (view, lost, person) = (&pair.takeover, lost(pair), person(pair));
    match (view.configured, view.effective?) {
        _ if nobody(pair).is_some() => None,
        (Takeover::Ledger, Takeover::Ledger) => {
            let by: Vec<&str> = view.by.iter().map(RegionId::as_str).collect();
            let (by, after) = (by.join(" or "), suspect_after(pair));
            Some(format!("{lost}: {by} takes over by the ledger after {after}{person}"))
        }
        (Takeover::Ttl, _) => {
            let bound = match &pair.spec.loss_approval {
                Some(_) => ", and for a lag within the approved loss",
                None => "",
            };
            Some(format!("{lost}: takeover waits for its ttl{bound} (takeover: ttl){person}"))
        }
        (Takeover::Ledger, Takeover::Ttl) => None,
    }
}

/// Where it would not, or is not known; and links that are amiss.
pub fn remarks(pair: &PairView) -> Vec<String> {
    let (view, lost, person) = (&pair.takeover, lost(pair), person(pair));
    let vacant = pair.holder.is_none() && pair.epoch.is_some();
    let after = suspect_after(pair);
    let mut lines = Vec::new();
    match (view.configured, view.effective) {
        _ if vacant => {}
        _ if nobody(pair).is_some() => {
            let why = nobody(pair).unwrap_or_default();
            lines.push(format!("! {lost}: nobody takes over by itself: {why}"));
        }
        (Takeover::Ledger, Some(Takeover::Ttl)) => {
            lines.push(format!("! {lost}: takeover waits for its ttl, not {after}{person}"));
            lines.extend(because(&view.reasons));
        }
        (Takeover::Ledger, None) => {
            let what = "whether takeover waits for its ttl or only";
            lines.push(format!("! {lost}: {what} {after} is {UNKNOWN}{person}"));
            lines.extend(because(&view.reasons));
        }
        _ => {}
    }
    lines.extend(link_remarks(pair));
    lines
}

fn because(reasons: &[String]) -> impl Iterator<Item = String> {
    reasons.iter().map(|reason| format!("    because {}", one_line(reason)))
}

/// The links between this pair's members, with the age of the report that tells of them.
fn links(pair: &PairView) -> Vec<(&RegionId, &RegionId, u64, Option<&PeerLinkReport>)> {
    let mut links = Vec::new();
    for from in pair.spec.members.keys() {
        let Some(aged) = status::report(pair, from) else { continue };
        for to in pair.spec.members.keys().filter(|to| *to != from) {
            links.push((from, to, aged.age_ms, aged.report.peers.get(to)));
        }
    }
    links
}

fn link_remarks(pair: &PairView) -> Vec<String> {
    let mut lines = Vec::new();
    for (from, to, age_ms, link) in links(pair) {
        // What the agent itself did not say lately is told of elsewhere.
        let Some(link) = link.filter(|_| age_ms <= STALE_MS) else { continue };
        let trips = link.round_trips.as_ref();
        let lost = trips.filter(|trips| {
            let asked = trips.count.saturating_add(trips.unanswered);
            asked >= ASKED_MIN && trips.unanswered.saturating_mul(10) > asked
        });
        match (link.heard_age_ms.map(|age| age.saturating_add(age_ms)), link.refused_age_ms) {
            (_, Some(_)) => {
                lines.push(format!("! {from} -> {to}: the agent there refuses connections"));
            }
            (None, None) => {
                lines.push(format!("! {from} -> {to}: the agent there never answered"));
            }
            (Some(age), None) if age > SILENT_MS => {
                lines.push(format!("! {from} -> {to}: the agent there last answered {}", ago(age)));
            }
            _ => {}
        }
        if let Some(trips) = lost {
            let asked = trips.count.saturating_add(trips.unanswered);
            let count = trips.unanswered;
            lines.push(format!("! {from} -> {to}: {count} of {asked} questions had no answer"));
        }
        let suggested = trips.and_then(|trips| trips.suggested_suspect_after_ms);
        if let Some(ms) = suggested.filter(|ms| *ms > pair.takeover.suspect_after_ms)
            && pair.takeover.configured == Takeover::Ledger
        {
            lines.push(format!(
                "! {from} -> {to}: this link needs suspect_after {}, it is {}",
                short(ms),
                short(pair.takeover.suspect_after_ms)
            ));
        }
    }
    lines
}

/// `pair show`: takeover, planned moves and links in full.
pub fn section(pair: &PairView, style: Style) -> String {
    let view = &pair.takeover;
    let now = view.effective.map_or(UNKNOWN, word);
    let mut out = format!(
        "takeover: {}, now {}; suspect_after {}\n",
        word(view.configured),
        style.words(now),
        short(view.suspect_after_ms)
    );
    for (region, planned) in &view.planned {
        out.push_str(&format!("  switchover to {region}: {}\n", method(planned.method)));
        for reason in &planned.hot_refusals {
            out.push_str(&format!("    not hot: {}\n", one_line(reason)));
        }
    }
    if view.planned.is_empty() {
        out.push_str("  switchover: the holder is not known\n");
    }
    let header =
        ["FROM", "TO", "HEARD", "P50", "P99", "MAX", "UNANSWERED", "SUGGESTED SUSPECT_AFTER"];
    let rows = links(pair).into_iter().map(|(from, to, age_ms, link)| {
        let trips = link.and_then(|link| link.round_trips.as_ref());
        let heard = link.and_then(|link| link.heard_age_ms);
        let unanswered = trips.map(|trips| {
            format!("{} of {}", trips.unanswered, trips.count.saturating_add(trips.unanswered))
        });
        [
            from.to_string(),
            to.to_string(),
            or_unknown(heard.map(|age| ago(age.saturating_add(age_ms)))),
            or_unknown(trips.map(|trips| took(trips.p50_us))),
            or_unknown(trips.map(|trips| took(trips.p99_us))),
            or_unknown(trips.map(|trips| took(trips.max_us))),
            or_unknown(unanswered),
            or_unknown(trips.and_then(|trips| trips.suggested_suspect_after_ms).map(short)),
        ]
    });
    out.push_str("\nlinks between agents:\n");
    out.push_str(&indent(&style.words(&table(header, rows))));
    out
}
