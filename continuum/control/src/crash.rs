//! Crash points for drills: the process aborts right after a chosen boundary of an operation was
//! committed, so that a test can see another node resume at every one of them.

use std::str::FromStr;

use continuum_domain::operation::{Operation, OperationState, StepOutcome};
use continuum_domain::sequence::kind_label;

use crate::state::AddedLine;

/// The environment variable that arms a crash point: `<operation-kind>/<step>/<outcome>` for a line
/// of the journal, for example `switchover/stop-writes/started`, or `<operation-kind>/state/<state>`
/// for an operation that reached a state, `running` when it was created.
pub const VARIABLE: &str = "CONTINUUM_CRASH_AFTER";

/// An armed crash point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    kind: String,
    step: String,
    outcome: String,
}

impl FromStr for CrashPoint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let [kind, step, outcome] = parts.as_slice() else {
            return Err(format!("{text:?} is not <operation-kind>/<step>/<outcome>"));
        };
        Ok(Self { kind: (*kind).into(), step: (*step).into(), outcome: (*outcome).into() })
    }
}

impl CrashPoint {
    /// Reads the crash point from the environment; set without `drills` it is an error, because a
    /// production node must not carry one unseen.
    pub fn from_environment(drills: bool) -> Result<Option<Self>, String> {
        let Some(text) = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        if !drills {
            return Err(format!(
                "{VARIABLE} is set, but the configuration does not say drills = true"
            ));
        }
        text.parse().map(Some)
    }

    /// Whether `line` is the one.
    pub fn hits(&self, line: &AddedLine) -> bool {
        let step = serde_json::to_value(line.step).ok();
        let outcome = match line.outcome {
            StepOutcome::Started => "started",
            StepOutcome::Done => "done",
            StepOutcome::Failed { .. } => "failed",
            StepOutcome::Undone => "undone",
        };
        line.kind == self.kind
            && step.as_ref().and_then(|step| step.as_str()) == Some(self.step.as_str())
            && outcome == self.outcome
    }

    /// Whether `operation` has just reached the state.
    pub fn hits_state(&self, operation: &Operation) -> bool {
        let state = match operation.state {
            OperationState::Running => "running",
            OperationState::Moved => "moved",
            OperationState::Done => "done",
            OperationState::Undone { .. } => "undone",
            OperationState::Refused { .. } => "refused",
            OperationState::Failed { .. } => "failed",
        };
        kind_label(&operation.kind) == self.kind && self.step == "state" && state == self.outcome
    }
}

#[cfg(test)]
mod tests {
    use continuum_domain::OperationId;
    use continuum_domain::operation::Step;

    use super::*;

    #[test]
    fn it_hits_its_line_and_no_other() {
        let point: CrashPoint = "switchover/stop-writes/started".parse().unwrap();
        let mut line = AddedLine {
            operation: OperationId::new("op").unwrap(),
            kind: "switchover".into(),
            step: Step::StopWrites,
            outcome: StepOutcome::Started,
        };
        assert!(point.hits(&line));
        line.outcome = StepOutcome::Done;
        assert!(!point.hits(&line));
        assert!("stop-writes".parse::<CrashPoint>().is_err());
    }
}
