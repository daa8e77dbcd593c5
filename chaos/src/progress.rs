//! Lines that show a person what is going on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write as _;

use continuum_domain::Tick;
use continuum_domain::operation::{Operation, StepOutcome, StepRecord};
use continuum_runtime::SharedClock;

/// Prints lines with the time since the start.
#[derive(Debug)]
pub struct Progress {
    clock: SharedClock,
    started: Tick,
    shown: RefCell<BTreeSet<(String, usize)>>,
}

impl Progress {
    /// Starts counting.
    pub fn new(clock: SharedClock) -> Self {
        let started = clock.now();
        Self { clock, started, shown: RefCell::new(BTreeSet::new()) }
    }

    /// Prints one line.
    pub fn line(&self, text: &str) {
        let since = self.clock.now().since(self.started);
        print(&format!("[{:>8.3} s] {text}", since.as_secs_f64()));
    }

    /// Prints the steps of an operation that were not printed before.
    pub fn steps(&self, operation: &Operation) {
        for (index, step) in operation.steps.iter().enumerate() {
            let new = self.shown.borrow_mut().insert((operation.id.to_string(), index));
            if new && step.outcome != StepOutcome::Started {
                self.line(&format!("    {}", step_line(step)));
            }
        }
    }
}

/// Prints to standard output; a reader that went away is no reason to end badly.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads standard output any more");
    }
}

/// A step's name as it is written everywhere.
pub fn step_name(step: &StepRecord) -> String {
    label(&step.step)
}

/// An outcome in one word.
pub fn outcome_name(outcome: &StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Started => "started",
        StepOutcome::Done => "done",
        StepOutcome::Failed { .. } => "failed",
        StepOutcome::Undone => "undone",
    }
}

fn label<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_value(value).ok();
    text.and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn step_line(step: &StepRecord) -> String {
    let place = step.region.as_ref().map_or("core".to_owned(), ToString::to_string);
    let took = step.took_us.map_or(String::new(), |us| format!(" {} ms", us / 1_000));
    let mut line =
        format!("{:<15} {:<7} at {place}{took}", step_name(step), outcome_name(&step.outcome));
    if let StepOutcome::Failed { reason } = &step.outcome {
        line = format!("{line}: {reason}");
    }
    if !step.detail.is_empty() {
        line = format!("{line}  ({})", step.detail);
    }
    line
}
