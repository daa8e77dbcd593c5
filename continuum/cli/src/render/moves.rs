//! What changes of holder cost.

use continuum_control_api::rest::HistoryEntry;
use continuum_domain::objective::Loss;

use super::style::Style;
use super::text::*;

fn outage(entry: &HistoryEntry) -> String {
    entry.outage_ms.map_or_else(|| UNKNOWN.into(), |ms| format!("at most {}", short(ms)))
}

fn lost(loss: Loss) -> String {
    match loss {
        Loss::Nothing => "nothing".into(),
        Loss::AtMost { bytes: most, commits: Some(commits) } => {
            format!("at most {commits} commits, {}", bytes(most))
        }
        Loss::AtMost { bytes: most, commits: None } => format!("at most {}", bytes(most)),
        Loss::Unknown => UNKNOWN.into(),
    }
}

/// An objective that nobody set needs no verdict.
fn verdict(asked: bool, met: Option<bool>) -> String {
    match (asked, met) {
        (false, _) => NONE.into(),
        (true, Some(true)) => "met".into(),
        (true, Some(false)) => "missed".into(),
        (true, None) => UNKNOWN.into(),
    }
}

/// `pair moves`: newest first.
pub fn listing(moves: &[HistoryEntry], style: Style) -> String {
    if moves.is_empty() {
        return "no change of holder is known\n".into();
    }
    let rows = moves.iter().map(|entry| {
        let objectives = &entry.objectives;
        [
            entry.epoch.to_string(),
            entry.holder.to_string(),
            entry.from.as_ref().map_or_else(|| NONE.into(), ToString::to_string),
            one_line(&entry.by),
            time(entry.at_ms),
            outage(entry),
            lost(entry.loss),
            verdict(objectives.rto.is_some(), entry.rto_met),
            verdict(objectives.rpo_bytes.is_some(), entry.rpo_met),
        ]
    });
    let head = ["EPOCH", "HOLDER", "FROM", "BY", "WHEN", "NO WRITES", "LOST", "RTO", "RPO"];
    style.words(&table(head, rows))
}

#[cfg(test)]
mod tests {
    use continuum_domain::objective::Objectives;
    use continuum_domain::{Epoch, RegionId};

    use super::*;

    #[test]
    fn what_is_not_known_is_said() {
        let mut entry = HistoryEntry {
            epoch: Epoch(4),
            holder: RegionId::new("hel").expect("a name"),
            from: None,
            by: "approved".into(),
            operation: None,
            at_ms: 0,
            outage_ms: None,
            loss: Loss::Unknown,
            objectives: Objectives { rto: None, rpo_bytes: Some(0) },
            rto_met: None,
            rpo_met: None,
        };
        let line = |entry: &HistoryEntry| {
            let text = listing(std::slice::from_ref(entry), Style::PLAIN);
            text.lines().last().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let start = "4 hel - approved 1970-01-01 00:00:00Z";
        assert_eq!(line(&entry), format!("{start} unknown unknown - unknown"));
        entry.outage_ms = Some(1_250);
        entry.loss = Loss::AtMost { bytes: 4_096, commits: Some(2) };
        let costs = "at most 1250 ms at most 2 commits, 4.0 kB";
        assert_eq!(line(&entry), format!("{start} {costs} - unknown"));
    }
}
