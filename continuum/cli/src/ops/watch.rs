//! Watching an operation until it ends: each journalled step as it appears, then one summary line.

use std::time::Duration;

use continuum_domain::operation::Operation;

use super::operations::{exit_of, print_names};
use super::session::Session;
use crate::config::client::OutputFormat;
use crate::failure::{Exit, Failure};
use crate::render::{self, operation, style::Style};

/// Interval between two looks.
const POLL: Duration = Duration::from_millis(200);

/// Watches `operation` until it ends or the command's time is up.
pub async fn run(session: &Session, operation: Operation) -> Result<Exit, Failure> {
    let id = operation.id.clone();
    let fetch = async || session.insist(async || session.api.operation(&id).await).await;
    let table = session.output() == OutputFormat::Table;
    let mut print = |line: &str| {
        // Standard output stays the API's own data where that was asked for.
        if table { render::line(line) } else { progress_aside(line) }
    };
    let last = follow(operation, session.style, fetch, || session.is_over(), &mut print).await?;
    render::show(session.output(), &last, || {
        operation::summary(&last, session.now_ms(), session.style)
    })?;
    print_names(session, &last).await?;
    exit_of(&last.state).map_or_else(|| Err(still_going_on(&last)), Ok)
}

#[expect(clippy::unnecessary_wraps, reason = "stands beside `render::line`")]
fn progress_aside(line: &str) -> Result<(), Failure> {
    eprintln!("{line}");
    Ok(())
}

fn still_going_on(operation: &Operation) -> Failure {
    let id = &operation.id;
    Failure::new(Exit::Unknown, format!("operation {id} has not ended within the timeout"))
        .meaning("it goes on by itself; up to its commit point it can still be undone")
        .next(format!("continuum operation watch {id}"))
}

/// Prints each step once, in order, and asks again until the operation has ended or `is_over`.
pub async fn follow(
    mut operation: Operation,
    style: Style,
    mut fetch: impl AsyncFnMut() -> Result<Operation, Failure>,
    is_over: impl Fn() -> bool,
    print: &mut impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Operation, Failure> {
    let mut seen = 0;
    loop {
        for record in operation.steps.iter().skip(seen) {
            print(&operation::progress(&operation, record, style))?;
        }
        // The journal only grows; a node that lags behind may show less of it for a moment.
        seen = seen.max(operation.steps.len());
        if operation.state.is_final() || is_over() {
            return Ok(operation);
        }
        tokio::time::sleep(POLL).await;
        operation = match fetch().await {
            Ok(next) => next,
            Err(failure) if failure.exit == Exit::Unknown && is_over() => return Ok(operation),
            Err(failure) => return Err(failure),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use continuum_domain::operation::{OperationState, Step, StepOutcome, StepRecord};

    use super::*;
    use crate::render::fixtures;

    fn record(step: Step, at_ms: i64) -> StepRecord {
        StepRecord {
            step,
            outcome: StepOutcome::Done,
            region: None,
            at_ms: 1_000_000 + at_ms,
            took_us: Some(12_000),
            detail: String::new(),
        }
    }

    #[tokio::test]
    async fn each_step_is_printed_once_until_the_end() {
        let mut operation = fixtures::operation();
        operation.steps.clear();
        operation.state = OperationState::Running;
        let round = Cell::new(0);
        let first = operation.clone();
        let fetch = async || {
            round.set(round.get() + 1);
            let mut next = first.clone();
            next.steps = vec![record(Step::Preflight, 5), record(Step::Commit, 90)];
            match round.get() {
                1 => next.steps.truncate(1),
                // A follower that lags behind.
                3 => next.steps.clear(),
                4 => next.state = OperationState::Done,
                _ => {}
            }
            Ok(next)
        };
        let mut lines = Vec::new();
        let mut print = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        let last = follow(operation, Style::PLAIN, fetch, || false, &mut print).await.unwrap();
        assert_eq!(last.state, OperationState::Done);
        assert_eq!(
            lines,
            [
                "     +5 ms  preflight       core      done         12 ms",
                "    +90 ms  commit          core      done         12 ms",
            ]
        );
    }

    #[tokio::test]
    async fn time_running_out_leaves_the_last_state_known() {
        let mut operation = fixtures::operation();
        operation.state = OperationState::Moved;
        let gone = async || Err(Failure::new(Exit::Unknown, "nobody there"));
        let looked = Cell::new(0);
        let is_over = || looked.replace(looked.get() + 1) > 0;
        let last = follow(operation, Style::PLAIN, gone, is_over, &mut |_| Ok(())).await.unwrap();
        assert_eq!(last.state, OperationState::Moved);
        assert_eq!(exit_of(&last.state), None);
        assert_eq!(still_going_on(&last).exit, Exit::Unknown);
    }

    #[test]
    fn ended_operations_have_exit_codes() {
        for (state, exit) in [
            (OperationState::Done, Exit::Done),
            (OperationState::Undone { reason: "r".into() }, Exit::Failed),
            (OperationState::Failed { reason: "r".into() }, Exit::Failed),
            (OperationState::Refused { reasons: Vec::new() }, Exit::Refused),
        ] {
            assert_eq!(exit_of(&state), Some(exit));
        }
    }
}
