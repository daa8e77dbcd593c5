//! The pair's traffic switches, as the agents that drive them see them.

use continuum_control_api::link::{SwitchReport, SwitchStanding};
use continuum_control_api::rest::PairView;

use super::text::*;

/// Held back for longer than a planned move takes: a person should know.
const LONG_HELD_MS: u64 = 30_000;

/// The section of `pair show`; empty where no agent drives a switch.
pub fn section(pair: &PairView) -> String {
    let mut out = String::new();
    for (region, told) in &pair.traffic {
        for (name, report) in &told.switches {
            let line = line(report, told.age_ms);
            out.push_str(&format!("  {region}: {} ({}) {line}\n", one_line(name), report.kind));
        }
    }
    match out.is_empty() {
        true => out,
        false => format!("traffic switches:\n{out}"),
    }
}

/// Switches that do not lead where they should, each with what to do below it. What an agent did not say
/// lately is told of elsewhere.
pub fn remarks(pair: &PairView) -> Vec<String> {
    let mut lines = Vec::new();
    for (region, told) in pair.traffic.iter().filter(|(_, told)| told.age_ms <= STALE_MS) {
        for (name, report) in &told.switches {
            let name = one_line(name);
            let held = report.held_age_ms.map(|age| age.saturating_add(told.age_ms));
            let fails = report.standing(told.age_ms) == SwitchStanding::Fails;
            if fails {
                lines.push(format!(
                    "! traffic switch {name} of {region}: {}",
                    line(report, told.age_ms)
                ));
                lines.push(
                    "    do: see docs/TRAFFIC.md for what it says; it is tried again all the time"
                        .into(),
                );
            } else if report.held_by_others {
                lines.push(format!(
                    "! traffic switch {name} of {region} holds clients back, and no agent said so"
                ));
                lines.push(format!("    do: {} when whoever paused it is done", resume(report)));
            } else if let Some(held) = held.filter(|held| *held > LONG_HELD_MS) {
                lines.push(format!(
                    "! traffic switch {name} of {region} has held clients back for {}",
                    short(held)
                ));
                let resume = resume(report);
                lines.push(format!("    do: see the pair's operation; to end it, {resume}"));
            }
        }
    }
    lines
}

/// How a person lets clients through.
fn resume(report: &SwitchReport) -> &'static str {
    match report.kind.as_str() {
        "pooler" => "set spec.pgbouncer.paused of the Pooler to false",
        "endpoint-slice" => "see the slice's endpoints and its annotation dr.openova.io/traffic",
        _ => "RESUME at its console",
    }
}

/// How a switch stands, by a report of this age.
fn line(report: &SwitchReport, age_ms: u64) -> String {
    let target = report.target.as_ref();
    let leads = target.map_or_else(
        || format!("leads to {UNKNOWN}"),
        |(epoch, holder)| format!("leads to {holder}, epoch {epoch}"),
    );
    let word = match report.standing(age_ms) {
        _ if age_ms > STALE_MS => format!("reported {}", ago(age_ms)),
        SwitchStanding::Follows => "follows".to_owned(),
        SwitchStanding::Fails => "DOES NOT FOLLOW".to_owned(),
        SwitchStanding::Unknown => format!("{UNKNOWN}, not seen lately"),
    };
    let seen = match report.success_age_ms.map(|age| age.saturating_add(age_ms)) {
        Some(age) => format!("last success {} ago", short(age)),
        None => "never seen to follow".into(),
    };
    let mut line = format!("{word}: {leads}, {seen}");
    if let (Some(wanted), true) = (report.wanted, target.map(|(epoch, _)| *epoch) != report.wanted)
    {
        line.push_str(&format!(", should be at epoch {wanted}"));
    }
    if let Some(held) = report.held_age_ms.map(|age| age.saturating_add(age_ms)) {
        let by = if report.held_by_others { " by others" } else { "" };
        line.push_str(&format!(", clients held back{by} for {}", short(held)));
    }
    if report.foreign_writes > 0 {
        let last = report.last_foreign.as_deref().unwrap_or(UNKNOWN);
        line.push_str(&format!(
            ", {} foreign writes undone, the last: {}",
            report.foreign_writes,
            one_line(last)
        ));
    }
    for remark in &report.remarks {
        line.push_str(&format!("; {}", one_line(remark)));
    }
    if let Some((_, error)) = &report.last_error {
        line.push_str(&format!(": {}", one_line(error)));
    }
    line
}

#[cfg(test)]
mod tests {
    use continuum_control_api::rest::AgedSwitches;
    use continuum_domain::{Epoch, PairId};

    use super::super::fixtures::{self, region};
    use super::super::status;
    use super::super::style::Style;
    use super::*;

    fn follows() -> SwitchReport {
        SwitchReport {
            pair: PairId::new("app").unwrap(),
            kind: "pgbouncer".into(),
            can_hold: true,
            target: Some((Epoch(7), region("fsn"))),
            wanted: Some(Epoch(7)),
            success_age_ms: Some(900),
            held_age_ms: None,
            held_by_others: false,
            last_error: None,
            foreign_writes: 0,
            last_foreign: None,
            remarks: Vec::new(),
        }
    }

    fn told(age_ms: u64, report: SwitchReport) -> PairView {
        let mut pair = fixtures::pair();
        let switches = [("pooler".to_owned(), report)].into();
        pair.traffic.insert(region("hel"), AgedSwitches { age_ms, switches });
        pair
    }

    #[test]
    fn every_switch_is_shown_and_what_is_old_or_unseen_never_as_following() {
        assert_eq!(section(&fixtures::pair()), "");
        assert_eq!(
            section(&told(100, follows())),
            "traffic switches:\n  hel: pooler (pgbouncer) follows: leads to fsn, epoch 7, last success 1000 ms ago\n"
        );
        for (age_ms, report, says) in [
            (9_000, follows(), "reported 9.0 s ago"),
            (0, SwitchReport { success_age_ms: None, ..follows() }, "unknown, not seen lately"),
            (0, SwitchReport { success_age_ms: Some(60_000), ..follows() }, "unknown"),
            (0, SwitchReport { wanted: None, ..follows() }, "unknown"),
            (0, SwitchReport { wanted: Some(Epoch(8)), ..follows() }, "DOES NOT FOLLOW"),
            (0, SwitchReport { last_error: Some((5, "no\nway".into())), ..follows() }, ": no way"),
            (0, SwitchReport { held_age_ms: Some(400), ..follows() }, "held back for 400 ms"),
            (
                0,
                SwitchReport {
                    foreign_writes: 2,
                    last_foreign: Some("a\nb".into()),
                    remarks: vec!["20 % of the weights have moved".into()],
                    ..follows()
                },
                ", 2 foreign writes undone, the last: a b; 20 % of the weights have moved",
            ),
        ] {
            let text = section(&told(age_ms, report));
            assert!(text.contains(says), "{says}: {text}");
        }
    }

    fn on_the_page(pair: &PairView) -> Vec<String> {
        let text = status::pair_block(pair, Style::PLAIN);
        text.lines().skip_while(|line| !line.contains("switch")).map(str::to_owned).collect()
    }

    #[test]
    fn a_switch_that_does_not_follow_or_holds_for_long_is_warned_of() {
        let error = Some((300, "it does not answer: connection refused".to_owned()));
        let lines = on_the_page(&told(100, SwitchReport { last_error: error, ..follows() }));
        assert!(lines[0].contains("! traffic switch pooler of hel: DOES NOT FOLLOW"), "{lines:?}");
        assert!(lines[0].contains("connection refused") && lines[1].contains("do: see"));
        let by_hand = SwitchReport { held_by_others: true, held_age_ms: Some(5), ..follows() };
        assert!(on_the_page(&told(100, by_hand))[0].contains("no agent said so"));
        let long = SwitchReport { held_age_ms: Some(31_000), ..follows() };
        assert!(on_the_page(&told(100, long))[0].contains("has held clients back for 31 s"));
        let moving = SwitchReport { held_age_ms: Some(400), ..follows() };
        for quiet in [told(100, follows()), told(100, moving), told(9_000, follows())] {
            assert_eq!(on_the_page(&quiet), Vec::<String>::new());
        }
    }
}
