//! The audit chain.

use continuum_control::archive::file::Copy;
use continuum_control_api::rest::{ArchiveVerdict, AuditHead, AuditRecord, AuditVerdict};

use super::style::{Style, Tone};
use super::text::*;

/// `audit list`.
pub fn listing(records: &[AuditRecord]) -> String {
    if records.is_empty() {
        return "no records\n".into();
    }
    let header = ["#", "AT", "BY", "ACTION", "PAIR", "EPOCH", "OPERATION", "REASON", "CHANGE"];
    let rows = records.iter().map(|record| {
        let change = match (record.before.as_str(), record.after.as_str()) {
            ("", "") => NONE.into(),
            (before, after) => format!("{} -> {}", short(before), short(after)),
        };
        [
            record.index.to_string(),
            time(record.at_ms),
            record.actor.clone(),
            record.action.clone(),
            record.pair.as_ref().map_or_else(|| NONE.into(), ToString::to_string),
            record.epoch.map_or_else(|| NONE.into(), |epoch| epoch.to_string()),
            record.operation.as_ref().map_or_else(|| NONE.into(), ToString::to_string),
            or_none(&record.reason),
            change,
        ]
    });
    table(header, rows)
}

/// The start of a state; `--output json` has all of it.
fn short(state: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let state = or_none(state);
    match state.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &state[..end]),
        None => state,
    }
}

/// `audit verify`.
pub fn verdict(verdict: &AuditVerdict, style: Style) -> String {
    let head = match &verdict.head {
        Some(AuditHead { index, hash }) => format!("newest record {index}, hash {hash}"),
        None => "no records".into(),
    };
    if verdict.intact {
        let first = match verdict.first {
            Some(first) if first > 1 => format!(", from {first}: older ones were dropped"),
            _ => String::new(),
        };
        let text = format!("intact: {} records{first}", verdict.records);
        let archive = verdict.archive.as_ref().map(|archive| archived(archive, verdict, style));
        let archive = archive.unwrap_or_default();
        return format!("{}; {head}\n{archive}", style.paint(Tone::Good, &text));
    }
    let problem = or_unknown(verdict.problem.as_ref().map(|text| one_line(text)));
    format!("{}; {head}\n", style.paint(Tone::Bad, &format!("NOT intact: {problem}")))
}

/// What was found on the disk of the node that answered.
fn archived(archive: &ArchiveVerdict, verdict: &AuditVerdict, style: Style) -> String {
    let node = or_unknown(verdict.node.clone());
    let range = match (archive.first, &archive.head) {
        (Some(first), Some(head)) => format!(", {first} to {}", head.index),
        _ => String::new(),
    };
    let mut text = format!("archive of {node}: intact, {} records{range}\n", archive.records);
    if let Some(expired) = &archive.expired {
        text.push_str(&format!(
            "  up to {} they were removed: their time was over\n",
            expired.index
        ));
    }
    for gap in &archive.missing {
        let line = format!("  {} to {} are not on this node; ask another one", gap.from, gap.to);
        text.push_str(&style.paint(Tone::Warn, &line));
        text.push('\n');
    }
    if let Some(trouble) = &archive.trouble {
        let line = format!("  nothing is written to it: {}", one_line(trouble));
        text.push_str(&style.paint(Tone::Bad, &line));
        text.push('\n');
    }
    text
}

/// `audit verify --file`.
pub fn copy(copy: &Copy, style: Style) -> String {
    let mut text = verdict(&copy.verdict, style);
    if copy.picked {
        text.push_str("records were picked: each one's own hash was verified, not their chain\n");
    }
    if copy.missing > 0 {
        text.push_str(&format!(
            "{} records were not on the node it was taken from\n",
            copy.missing
        ));
    }
    text
}
