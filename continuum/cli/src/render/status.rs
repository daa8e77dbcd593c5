//! `status`: what a person needs at three in the morning.

use continuum_control_api::link::{Blocked, MemberReport, MemberRole};
use continuum_control_api::rest::{AgedReport, AutomationPause, PairView, Status};
use continuum_domain::RegionId;
use continuum_domain::observation::StandbyView;
use continuum_domain::spec::{Durability, PairMode};

use super::style::{Style, Tone};
use super::text::*;
use super::{acceptors, access, beside, names, operation, takeover, traffic};

/// The whole page.
pub fn page(status: &Status, now_ms: i64, style: Style) -> String {
    let mut out: String =
        status.break_glass.iter().map(|view| access::glass_line(view, style)).collect();
    for pause in status.automation.iter().filter(|pause| pause.pair.is_none()) {
        out.push_str(&pause_line(pause, style));
    }
    if status.pairs.is_empty() {
        out.push_str("no pairs\n");
    }
    for pair in &status.pairs {
        out.push_str(&pair_block(pair, style));
        for running in status.operations.iter().filter(|op| op.pair == pair.spec.id) {
            out.push_str(&format!("  {}\n", operation::running_line(running, now_ms)));
        }
        out.push('\n');
    }
    let voters = status.core.members.iter().filter(|member| member.voter).count();
    let leader = or_unknown(status.core.leader.as_ref());
    out.push_str(&format!(
        "core: leader {}, term {}, voters {voters}; answered by {}\n",
        style.words(&leader),
        status.core.term,
        status.core.node
    ));
    out
}

/// One pair: the holder line, what is paused, the members, and what is wrong with them.
pub fn pair_block(pair: &PairView, style: Style) -> String {
    let mut out = format!("{}\n", holder_line(pair, style));
    // A pause of all pairs stands at the top of the page.
    if let Some(pause) = pair.automation.as_ref().filter(|pause| pause.pair.is_some()) {
        out.push_str(&format!("  {}", pause_line(pause, style)));
    }
    out.push_str(&indent(&style.words(&members(pair))));
    if let Some(line) = takeover::as_wanted(pair) {
        out.push_str(&format!("  {line}\n"));
    }
    let told = [
        takeover::remarks,
        acceptors::remarks,
        names::remarks,
        traffic::remarks,
        beside::remarks,
        remarks,
    ]
    .map(|of| of(pair));
    for line in told.into_iter().flatten() {
        let tone = if line.starts_with("  ") { Tone::Strong } else { Tone::Bad };
        out.push_str(&format!("  {}\n", style.paint(tone, &line)));
    }
    out
}

fn holder_line(pair: &PairView, style: Style) -> String {
    // The register's own word that nobody holds it differs from knowing nothing.
    let holder = match (&pair.holder, &pair.resting, pair.epoch) {
        (Some(region), ..) => region.to_string(),
        (None, Some(by), _) => format!("nobody (paused, last in {by})"),
        (None, None, Some(_)) => "nobody".into(),
        (None, None, None) => UNKNOWN.into(),
    };
    let age = match pair.record_age_ms {
        Some(ms) if ms > STALE_MS => format!(" (register read {})", ago(ms)),
        Some(_) => String::new(),
        None => " (register never read)".into(),
    };
    let in_sync = pair.in_sync.as_ref().map_or_else(|| UNKNOWN.into(), list);
    format!(
        "{}  held by {}, epoch {}{age}; in sync: {in_sync}; {}, {}",
        style.paint(Tone::Strong, pair.spec.id.as_str()),
        style.paint(Tone::Strong, &holder),
        or_unknown(pair.epoch),
        durability(pair.spec.durability),
        mode(pair.spec.mode),
    )
}

/// The word for a durability.
pub fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Strict => "strict",
        Durability::Available => "available",
        Durability::Async => "async",
    }
}

/// The word for a mode.
pub fn mode(mode: PairMode) -> &'static str {
    match mode {
        PairMode::Automatic => "automatic",
        PairMode::SemiAutomatic => "semi-automatic",
        PairMode::Manual => "manual",
        PairMode::ObserveOnly => "observe-only",
    }
}

/// One pause in force.
pub fn pause_line(pause: &AutomationPause, style: Style) -> String {
    let scope = pause.pair.as_ref().map_or_else(|| "all pairs".into(), ToString::to_string);
    let text = format!(
        "automation paused for {scope} until {} by {}: {}",
        time(pause.until_ms),
        one_line(&pause.actor),
        one_line(&pause.reason)
    );
    format!("{}\n", style.paint(Tone::Warn, &text))
}

pub(super) fn report<'a>(pair: &'a PairView, region: &RegionId) -> Option<&'a AgedReport> {
    pair.members.get(region).and_then(Option::as_ref)
}

fn members(pair: &PairView) -> String {
    let header = ["MEMBER", "ROLE", "EPOCH", "LEASE LEFT", "SYNC", "LAG", "PROBE"];
    let rows = pair.spec.members.keys().map(|region| match report(pair, region) {
        Some(aged) => row(pair, region, aged),
        None => [
            region.to_string(),
            UNKNOWN.into(),
            UNKNOWN.into(),
            UNKNOWN.into(),
            sync(pair, region),
            lag(pair, region),
            UNKNOWN.into(),
        ],
    });
    table(header, rows)
}

fn row(pair: &PairView, region: &RegionId, aged: &AgedReport) -> [String; 7] {
    let report = &aged.report;
    [
        region.to_string(),
        dated(role(report.role), aged.age_ms),
        or_unknown(report.record.as_ref().map(|(_, record, _)| record.epoch)),
        lease(region, aged),
        sync(pair, region),
        lag(pair, region),
        or_unknown(probe_age(report).map(|age| ago(age.saturating_add(aged.age_ms)))),
    ]
}

/// The word for a role.
pub fn role(role: MemberRole) -> &'static str {
    role.label().unwrap_or(UNKNOWN)
}

fn dated(text: &str, age_ms: u64) -> String {
    if age_ms > STALE_MS { format!("{text}, {}", ago(age_ms)) } else { text.to_owned() }
}

/// What is left of the lease now. A report that is older than the lease it shows says nothing of
/// now: the lease may have been renewed or may have lapsed.
fn lease(region: &RegionId, aged: &AgedReport) -> String {
    let Some((_, record, _)) = &aged.report.record else { return UNKNOWN.into() };
    if !record.held_by(region) {
        return NONE.into();
    }
    let left = aged.report.lease_remaining_ms.and_then(|ms| ms.checked_sub(aged.age_ms));
    match left {
        Some(ms) if ms > 0 || aged.age_ms <= STALE_MS => duration(ms),
        _ => UNKNOWN.into(),
    }
}

/// The primary's last word on its standbys, with its age.
fn primary_view(pair: &PairView) -> Option<(&MemberReport, u64)> {
    let aged = report(pair, pair.holder.as_ref()?)?;
    let (view, age) = aged.report.sql.as_ref()?;
    (!view.in_recovery).then_some((&aged.report, age.saturating_add(aged.age_ms)))
}

/// `None` when the primary's view is not known; `Some(None)` when it lists no such standby.
fn standby<'a>(pair: &'a PairView, region: &RegionId) -> Option<(Option<&'a StandbyView>, u64)> {
    let (report, age) = primary_view(pair)?;
    let (view, _) = report.sql.as_ref()?;
    Some((view.standbys.get(region), age))
}

fn sync(pair: &PairView, region: &RegionId) -> String {
    let Some(in_sync) = &pair.in_sync else { return UNKNOWN.into() };
    let listed = in_sync.contains(region);
    if pair.holder.as_ref() == Some(region) {
        return if listed { "in sync".into() } else { "not in ledger".into() };
    }
    let Some((view, age)) = standby(pair, region) else {
        let ledger = if listed { "in ledger" } else { "not in ledger" };
        return format!("{ledger}, stream {UNKNOWN}");
    };
    let text = match (listed, view) {
        (true, Some(view)) if view.streaming && view.sync => "in sync",
        (true, Some(view)) if view.streaming => "in ledger, streaming",
        (true, _) => "in ledger, not streaming",
        (false, Some(view)) if view.streaming => "streaming, not in ledger",
        (false, _) => "not streaming",
    };
    dated(text, age)
}

fn lag(pair: &PairView, region: &RegionId) -> String {
    if pair.holder.as_ref() == Some(region) {
        return NONE.into();
    }
    let Some((Some(view), age)) = standby(pair, region) else { return UNKNOWN.into() };
    let written = primary_view(pair).and_then(|(report, _)| report.sql.as_ref()?.0.wal);
    let behind = written.zip(view.replay).map(|(wal, replay)| bytes(wal.bytes_since(replay)));
    match (behind, view.lag_ms) {
        (None, None) => UNKNOWN.into(),
        (Some(behind), Some(ms)) => dated(&format!("{behind}, {ms} ms"), age),
        (Some(behind), None) => dated(&behind, age),
        (None, Some(ms)) => dated(&format!("{ms} ms"), age),
    }
}

/// A primary is probed by a flushed write, a standby by a query.
fn probe_age(report: &MemberReport) -> Option<u64> {
    match report.role {
        MemberRole::Primary => report.write_probe_age_ms,
        _ => report.sql.as_ref().map(|(_, age)| *age),
    }
}

fn remark(lines: &mut Vec<String>, region: &RegionId, state: &Blocked) {
    let meaning = one_line(&state.meaning);
    lines.push(format!("! {region}: {}: {meaning}", one_line(&state.code)));
    lines.push(format!("    do: {}", one_line(&state.action)));
}

/// What a person should know of, each with what to do below it.
fn remarks(pair: &PairView) -> Vec<String> {
    let mut lines = Vec::new();
    for region in pair.spec.members.keys() {
        let not_understood = pair.not_understood.get(region);
        if let Some(state) = not_understood {
            remark(&mut lines, region, state);
        }
        let Some(aged) = report(pair, region) else {
            if not_understood.is_some() {
                continue;
            }
            lines.push(format!("! {region}: its agent has never reported; nothing is known of it"));
            continue;
        };
        let report = &aged.report;
        if let Some(blocked) = &report.blocked {
            remark(&mut lines, region, blocked);
        }
        for hindrance in report.hindrances.iter().chain(&report.against_leaving) {
            remark(&mut lines, region, hindrance);
        }
        if let Some(reason) = &report.fenced {
            lines.push(format!("! {region}: fenced by a person: {}", one_line(reason)));
            lines.push("    do: when the cause is gone, continuum unfence".into());
        }
        if !report.guard_alive {
            lines.push(format!("! {region}: its guard does not answer"));
        }
        if !report.witness_reachable {
            lines.push(format!("! {region}: the witness is out of its reach"));
        }
        let answered = report.sql.as_ref().map(|(_, age)| *age);
        if let Some((failed, why)) = &report.sql_failed
            && answered.is_none_or(|answered| *failed < answered)
        {
            let when = ago(failed.saturating_add(aged.age_ms));
            lines.push(format!("! {region}: PostgreSQL did not answer {when}: {}", one_line(why)));
        }
    }
    lines
}
