//! What a run of the lab found, as data and as one table.

use std::net::IpAddr;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use continuum_domain::operation::{Operation, OperationState, Step, StepOutcome, StepRecord};
use continuum_domain::{RegionId, Tick};
use serde::{Deserialize, Serialize};

use crate::history::Attempt;
use crate::ledger::{self, Move, Survivors, Verdict};
use crate::names::NameWatch;
use crate::progress::{outcome_name, step_name};
use crate::stall::StallReport;

/// Something that was done to the pair, as it was recorded when it was done.
#[derive(Clone, Debug)]
pub struct Event {
    /// What, for people.
    pub what: String,
    /// When, on the lab's clock.
    pub at: Tick,
    /// When, milliseconds since 1970: what the steps' times are compared with.
    pub wall_ms: i64,
    /// Where writes went before.
    pub from: RegionId,
    /// Where they went after.
    pub to: RegionId,
    /// The operation that moved them.
    pub operation: Option<Operation>,
    /// When the pair was whole again.
    pub whole: Option<Tick>,
}

/// One step of an event's operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Which.
    pub step: String,
    /// How it ended.
    pub outcome: String,
    /// Where it was done; absent for the core itself.
    pub region: Option<RegionId>,
    /// When it ended, milliseconds after the event.
    pub after_ms: i64,
    /// How long it took, where that was measured.
    pub took_ms: Option<f64>,
}

/// One event as clients and the operation's journal saw it. What was not measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// What was done.
    pub event: String,
    /// Where writes went before.
    pub from: RegionId,
    /// Where they went after.
    pub to: RegionId,
    /// Longest time without an acknowledgement; absent when writes never came back.
    pub write_gap_ms: Option<f64>,
    /// Until the silence of the old primary was enough to act on.
    pub detection_ms: Option<f64>,
    /// Until PostgreSQL accepted writes, from the step before.
    pub promotion_ms: Option<f64>,
    /// Until names and health URLs pointed at the new primary, from the step before.
    pub dns_ms: Option<f64>,
    /// From the event to the first acknowledgement by the new primary.
    pub first_acknowledged_ms: Option<f64>,
    /// From the event until the lab's own resolver saw the new address.
    pub name_seen_ms: Option<f64>,
    /// From the event until the pair was whole again.
    pub whole_ms: Option<f64>,
    /// The operation.
    pub operation: Option<String>,
    /// Its state at the end.
    pub operation_state: Option<OperationState>,
    /// Its steps.
    pub steps: Vec<StepReport>,
    /// Acknowledged between this event and the next.
    pub acknowledged: u64,
    /// Of those, not there in the end.
    pub lost: u64,
    /// Rows of attempts in that time that are there more than once.
    pub duplicated: u64,
    /// Not known to the client.
    pub indeterminate: u64,
}

/// The whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabReport {
    /// Lease ttl in milliseconds.
    pub ttl_ms: u64,
    /// Renewal interval in milliseconds.
    pub renew_ms: u64,
    /// Writers.
    pub writers: usize,
    /// Durability.
    pub durability: continuum_domain::spec::Durability,
    /// Each event in order.
    pub events: Vec<EventReport>,
    /// Planned moves as clients behind poolers saw them, by method; empty without poolers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<StallReport>,
    /// The judge's findings.
    pub verdict: Verdict,
    /// Everything that broke an invariant; empty when all held.
    pub violations: Vec<String>,
}

impl LabReport {
    /// Whether I1 to I3 held and every event ended with writes going on and the pair whole.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
            && self.events.iter().all(|e| e.write_gap_ms.is_some() && e.whole_ms.is_some())
    }
}

/// What an event's report is made from.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// Every attempt.
    pub attempts: &'a [Attempt],
    /// The survivors' table.
    pub survivors: &'a Survivors,
    /// What the name answered.
    pub names: &'a NameWatch,
}

/// Reports one event; `until` is the next event's time, `to` the new primary's address.
pub fn event_report(
    event: &Event,
    to: IpAddr,
    until: Option<Tick>,
    evidence: &Evidence<'_>,
) -> EventReport {
    let in_time = |attempt: &&Attempt| {
        attempt.done >= event.at && until.is_none_or(|until| attempt.done < until)
    };
    let counted = ledger::tally(evidence.attempts.iter().filter(in_time), evidence.survivors);
    let since = |tick: Tick| milliseconds(tick.since(event.at));
    let steps = event.operation.as_ref().map(|operation| operation.steps.as_slice());
    let steps = steps.unwrap_or_default();
    let first = ledger::first_acknowledged_by(evidence.attempts, to, event.at);
    let gap = ledger::write_gap(evidence.attempts, event.at, until);
    EventReport {
        event: event.what.clone(),
        from: event.from.clone(),
        to: event.to.clone(),
        write_gap_ms: gap.map(|gap| milliseconds(gap.length())),
        detection_ms: detection_ms(event, steps),
        promotion_ms: took_ms(steps, Step::Promote),
        dns_ms: took_ms(steps, Step::Traffic),
        first_acknowledged_ms: first.map(since),
        name_seen_ms: evidence.names.first_pointing_at(to, event.at).map(since),
        whole_ms: event.whole.map(since),
        operation: event.operation.as_ref().map(|operation| operation.id.to_string()),
        operation_state: event.operation.as_ref().map(|operation| operation.state.clone()),
        steps: steps.iter().filter_map(|step| step_report(step, event.wall_ms)).collect(),
        acknowledged: counted.acknowledged,
        lost: counted.lost.len().try_into().unwrap_or(u64::MAX),
        duplicated: counted.duplicated.len().try_into().unwrap_or(u64::MAX),
        indeterminate: counted.indeterminate,
    }
}

/// The moves among events, for the judge.
pub fn moves(events: &[Event], address: impl Fn(&RegionId) -> Option<IpAddr>) -> Vec<Move> {
    events
        .iter()
        .filter_map(|event| {
            Some(Move { at: event.at, from: address(&event.from)?, to: address(&event.to)? })
        })
        .collect()
}

/// From the fault to the end of the detecting step: what a failover waits for. The step's own
/// duration would start only when the silence was first noticed.
fn detection_ms(event: &Event, steps: &[StepRecord]) -> Option<f64> {
    let step = done(steps, Step::Detect)?;
    Some(whole_milliseconds(step.at_ms.saturating_sub(event.wall_ms)))
}

fn took_ms(steps: &[StepRecord], step: Step) -> Option<f64> {
    done(steps, step)?.took_us.map(|us| milliseconds(Duration::from_micros(us)))
}

fn done(steps: &[StepRecord], step: Step) -> Option<&StepRecord> {
    steps.iter().find(|record| record.step == step && record.outcome == StepOutcome::Done)
}

fn step_report(step: &StepRecord, event_ms: i64) -> Option<StepReport> {
    (step.outcome != StepOutcome::Started).then(|| StepReport {
        step: step_name(step),
        outcome: outcome_name(&step.outcome).to_owned(),
        region: step.region.clone(),
        after_ms: step.at_ms.saturating_sub(event_ms),
        took_ms: step.took_us.map(|us| milliseconds(Duration::from_micros(us))),
    })
}

fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

fn whole_milliseconds(ms: i64) -> f64 {
    i32::try_from(ms).map_or(f64::NAN, f64::from)
}

fn shown(ms: Option<f64>) -> String {
    // Unknown is shown as unknown, never as 0.
    ms.map_or("unknown".into(), |ms| format!("{ms:.0} ms"))
}

/// One table a person can read, with the steps below it.
pub fn table(report: &LabReport) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "event",
        "write gap",
        "detection",
        "promotion",
        "DNS",
        "whole again",
        "acknowledged",
        "lost",
        "duplicated",
        "indeterminate",
    ]);
    for event in &report.events {
        let detection = if event.steps.iter().any(|s| s.step == "detect") {
            shown(event.detection_ms)
        } else {
            "-".into()
        };
        let mut row = vec![Cell::new(&event.event)];
        let cells = [
            shown(event.write_gap_ms),
            detection,
            shown(event.promotion_ms),
            shown(event.dns_ms),
            shown(event.whole_ms),
            event.acknowledged.to_string(),
            event.lost.to_string(),
            event.duplicated.to_string(),
            event.indeterminate.to_string(),
        ];
        row.extend(cells.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
        table.add_row(row);
    }
    let mut text = table.to_string();
    for event in &report.events {
        text.push_str(&format!(
            "\n\n{}, step by step (milliseconds after the event; took):",
            event.event
        ));
        for step in &event.steps {
            let place = step.region.as_ref().map_or("core", RegionId::as_str);
            let took = step.took_ms.map_or("-".into(), |ms| format!("{ms:.1} ms"));
            let (name, outcome) = (&step.step, &step.outcome);
            let after = step.after_ms;
            text.push_str(&format!("\n  {after:>8}  {name:<15} {outcome:<7} {place:<8} {took}"));
        }
    }
    text.push_str("\n\n");
    text.push_str(&verdict_lines(report));
    text
}

fn verdict_lines(report: &LabReport) -> String {
    let Verdict { tally, late, .. } = &report.verdict;
    let mut text = format!(
        "{} attempts: {} acknowledged, {} lost, {} duplicated, {} indeterminate ({} of them there), {} refused\n",
        tally.attempted,
        tally.acknowledged,
        tally.lost.len(),
        tally.duplicated.len(),
        tally.indeterminate,
        tally.indeterminate_present,
        tally.failed,
    );
    text.push_str(&format!(
        "late acknowledgements by an old primary: {} ({} not in the new history)\n",
        late.late,
        late.missing.len()
    ));
    for stall in &report.stalls {
        text.push_str(&format!(
            "behind poolers, {} {} moves: {} statements failed, longest statement of a move: median \
             {:.0} ms, worst {:.0} ms\n",
            stall.moves,
            stall.method_name(),
            stall.failed,
            stall.median_ms,
            stall.longest_ms.last().copied().unwrap_or_default(),
        ));
    }
    if report.violations.is_empty() {
        text.push_str(
            "I1 single writer, I2 no lost acknowledgement, I3 names follow the lease: held",
        );
    }
    for violation in &report.violations {
        text.push_str(&format!("BROKEN  {violation}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use continuum_domain::spec::Durability;

    use super::*;

    #[test]
    fn what_was_not_measured_is_shown_as_unknown_and_fails_the_run() {
        let fsn = RegionId::new("fsn").unwrap();
        let event = EventReport {
            event: "region hel killed".into(),
            from: RegionId::new("hel").unwrap(),
            to: fsn.clone(),
            write_gap_ms: None,
            detection_ms: None,
            promotion_ms: Some(41.6),
            dns_ms: None,
            first_acknowledged_ms: None,
            name_seen_ms: None,
            whole_ms: None,
            operation: None,
            operation_state: None,
            steps: vec![StepReport {
                step: "detect".into(),
                outcome: "done".into(),
                region: Some(fsn),
                after_ms: 10_400,
                took_ms: None,
            }],
            acknowledged: 7,
            lost: 0,
            duplicated: 0,
            indeterminate: 1,
        };
        let report = LabReport {
            ttl_ms: 10_000,
            renew_ms: 2_000,
            writers: 4,
            durability: Durability::Available,
            events: vec![event],
            verdict: Verdict::of(&[], &Survivors::new(), &[], &[], Duration::ZERO, 0),
            stalls: Vec::new(),
            violations: Vec::new(),
        };
        assert!(!report.passed(), "a gap that never ended is no pass");
        let text = table(&report);
        assert!(text.contains("unknown") && text.contains("42 ms"), "{text}");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<LabReport>(&json).unwrap(), report);
    }
}
