//! What a run went through: every state of the domain's machines, and every event in every state.
//!
//! The machines are looked on from the programs' own edges just before each step, so that what is
//! counted is what the unmodified programs did. Counting changes nothing in a run.

mod required;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use continuum_domain::Tick;
use continuum_domain::observation::ProcessState;
use continuum_domain::operation::{Operation, OperationState, StepOutcome};
use continuum_domain::pair::types::{CasAnswer, Event, Grant, PlaneOutcome};
use continuum_domain::pair::{PairMachine, RoleView};
use continuum_domain::sequence::{
    self, CoreEffect, CoreOrder, MoveFacts, Position, kind_label, position,
};

pub use required::{left_out, required};
pub use table::{Report, text};

/// How often each row was reached.
pub type Rows = BTreeMap<String, u64>;

/// A pair machine's state and the event that came in it, coarse enough to be counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    role: &'static str,
    process: &'static str,
    confirmed: bool,
    eager: bool,
    blocked: &'static str,
    event: &'static str,
}

#[derive(Default)]
struct Counts {
    steps: BTreeMap<Step, u64>,
    rows: Rows,
}

/// The counts of one run. Clones are handles to the same ones.
#[derive(Clone, Default)]
pub struct Coverage(Arc<Mutex<Counts>>);

impl Coverage {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a row.
    pub fn reached(&self, row: impl Into<String>) {
        *self.counts().rows.entry(row.into()).or_default() += 1;
    }

    /// A pair's machine is about to take in `event`.
    pub fn step(&self, machine: &PairMachine, now: Tick, event: &Event) {
        let status = machine.status(now);
        let process =
            status.actuator.as_ref().map(|actuator| (actuator.process, actuator.promoted));
        let step = Step {
            role: role(status.role),
            process: self::process(process),
            confirmed: machine.confirmed_epoch().is_some(),
            eager: machine.eager(),
            blocked: status.blocked.map_or("-", |blocked| blocked.code),
            event: event.label(),
        };
        *self.counts().steps.entry(step).or_default() += 1;
        self.answer(event);
    }

    /// What an answer to the machine says.
    fn answer(&self, event: &Event) {
        match event {
            Event::PairCas(answer) => self.reached(match answer {
                CasAnswer::Accepted(_) => "cas accepted",
                CasAnswer::Refused(_) => "cas refused",
                CasAnswer::Unanswered => "cas unanswered",
                CasAnswer::NotSent => "cas not-sent",
            }),
            Event::Plane(PlaneOutcome::Failed(_)) => self.reached("plane failed"),
            Event::Plane(PlaneOutcome::Unknown(_)) => self.reached("plane unknown"),
            Event::Plane(PlaneOutcome::Lineage(lineage)) => {
                self.reached(format!("lineage {}", word(lineage)));
            }
            Event::Granted { grant: Grant::Granted { allow_data_loss, .. }, .. } => {
                self.reached(if *allow_data_loss { "grant with-loss" } else { "grant" });
            }
            Event::Granted { grant: Grant::Denied(reasons), .. } => {
                for reason in reasons {
                    let code = reason.split(':').next().unwrap_or(reason);
                    self.reached(format!("refusal {code}"));
                }
            }
            Event::PeerPromised { promised, .. } => {
                self.reached(if *promised { "promise given" } else { "promise refused" });
            }
            _ => {}
        }
    }

    /// The core's sequencer has decided.
    pub fn decided(&self, operation: &Operation, facts: &MoveFacts, effects: &[CoreEffect]) {
        let place = match position(operation, facts.register.as_ref()) {
            Position::Unknown => "unknown",
            Position::Before => "before",
            Position::Moved(_) => "moved",
            Position::Returned(_) => "returned",
            Position::Elsewhere(_, None) => "vacant",
            Position::Elsewhere(..) => "elsewhere",
            Position::Behind(_) => "behind",
        };
        let kind = kind_label(&operation.kind);
        if effects.is_empty() {
            self.reached(format!("sequence {kind} {place} wait"));
        }
        for effect in effects {
            let effect = match effect {
                CoreEffect::Journal { step, outcome, .. } => {
                    format!("{} {}", word(step), self::outcome(outcome))
                }
                CoreEffect::Send { order: CoreOrder::SwitchOver { .. }, .. } => {
                    "send switch-over".into()
                }
                CoreEffect::Send { order: CoreOrder::AbortSwitchOver, .. } => "send abort".into(),
                CoreEffect::Send { order: CoreOrder::TakeOver { .. }, .. } => {
                    "send take-over".into()
                }
                CoreEffect::Send { order: CoreOrder::FailOver { .. }, .. } => {
                    "send fail-over".into()
                }
                CoreEffect::Send { order: CoreOrder::KeepOut { .. }, .. } => "send keep-out".into(),
                CoreEffect::Send { order: CoreOrder::Rejoin { .. }, .. } => "send rejoin".into(),
                CoreEffect::Send { order: CoreOrder::Rest { .. }, .. } => "send rest".into(),
                CoreEffect::SetPaused { paused } => format!("paused {paused}"),
                CoreEffect::Send { order: CoreOrder::HoldTraffic { .. }, .. } => {
                    "send hold-traffic".into()
                }
                CoreEffect::Send { order: CoreOrder::Checkpoint, .. } => "send checkpoint".into(),
                CoreEffect::Send { order: CoreOrder::ReleaseTraffic, .. } => {
                    "send release-traffic".into()
                }
                CoreEffect::Become { state } => format!("become {}", self::state(state)),
            };
            self.reached(format!("sequence {kind} {place} {effect}"));
        }
    }

    /// Operations as the core's replicated state shows them in the end.
    pub fn operations(&self, operations: &[Operation]) {
        for operation in operations {
            let kind = sequence::kind_label(&operation.kind);
            self.reached(format!("operation {kind} {}", state(&operation.state)));
            for line in &operation.steps {
                let (step, outcome) = (word(&line.step), outcome(&line.outcome));
                self.reached(format!("step {kind} {step} {outcome}"));
            }
        }
    }

    /// All rows so far.
    pub fn rows(&self) -> Rows {
        let counts = self.counts();
        let mut rows = counts.rows.clone();
        let mut add = |row: String, count: u64| *rows.entry(row).or_default() += count;
        for (step, count) in &counts.steps {
            let Step { role, process, confirmed, eager, blocked, event } = step;
            let confirmed = if *confirmed { "confirmed" } else { "-" };
            let pace = if *eager { "eager" } else { "calm" };
            add(format!("machine {role}/{process}/{confirmed}/{pace}/{blocked} {event}"), *count);
            add(format!("event {role} {event}"), *count);
            add(format!("role {role}"), *count);
        }
        rows
    }
}

/// The name of a unit variant, or of a tagged one, as it is serialised or shown.
fn word(value: &(impl std::fmt::Debug + ?Sized)) -> String {
    let text = format!("{value:?}");
    let end = text.find([' ', '{', '(']).unwrap_or(text.len());
    let mut kebab = String::new();
    for letter in text[..end].chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

fn outcome(outcome: &StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Started => "started",
        StepOutcome::Done => "done",
        StepOutcome::Failed { .. } => "failed",
        StepOutcome::Undone => "undone",
    }
}

fn state(state: &OperationState) -> &'static str {
    match state {
        OperationState::Running => "running",
        OperationState::Moved => "moved",
        OperationState::Done => "done",
        OperationState::Undone { .. } => "undone",
        OperationState::Refused { .. } => "refused",
        OperationState::Failed { .. } => "failed",
    }
}

fn role(role: RoleView) -> &'static str {
    match role {
        RoleView::Primary => "primary",
        RoleView::Promoting => "promoting",
        RoleView::Standby => "standby",
        RoleView::Rejoining => "rejoining",
        RoleView::Fenced => "fenced",
        RoleView::HandingOver => "handing-over",
        RoleView::Resting => "resting",
        RoleView::Unknown => "unknown",
    }
}

fn process(process: Option<(ProcessState, bool)>) -> &'static str {
    match process {
        None => "no-guard",
        Some((ProcessState::Stopped, _)) => "stopped",
        Some((ProcessState::Starting, _)) => "starting",
        Some((ProcessState::Running, false)) => "in-recovery",
        Some((ProcessState::Running, true)) => "promoted",
        Some((ProcessState::Stopping, _)) => "stopping",
    }
}
