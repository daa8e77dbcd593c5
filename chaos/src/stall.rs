//! What clients see of moves that a pooler is to hide: a stall, and no error.

use std::time::Duration;

use continuum_domain::Tick;
use continuum_domain::operation::Method;
use serde::{Deserialize, Serialize};

use crate::history::{Attempt, Outcome};

/// Planned moves by one method, as the clients behind the poolers saw them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StallReport {
    /// The method.
    pub method: Method,
    /// How many moves.
    pub moves: usize,
    /// Statements sent from the first of them on that were not acknowledged.
    pub failed: usize,
    /// The longest statement of each move, in milliseconds, sorted.
    pub longest_ms: Vec<f64>,
    /// Half of the moves had no longer one.
    pub median_ms: f64,
}

impl StallReport {
    /// The method's name, as it is typed.
    pub fn method_name(&self) -> &'static str {
        match self.method {
            Method::Clean => "clean",
            Method::Hot => "hot",
        }
    }
}

/// The longest that one statement took which was under way between two instants.
pub fn longest(attempts: &[Attempt], from: Tick, until: Option<Tick>) -> Duration {
    let under_way =
        attempts.iter().filter(|a| a.done > from && until.is_none_or(|until| a.sent < until));
    under_way.map(|attempt| attempt.done.since(attempt.sent)).max().unwrap_or_default()
}

/// Statements that were not acknowledged, of those sent between two instants.
pub fn failed(attempts: &[Attempt], from: Tick, until: Option<Tick>) -> Vec<&Attempt> {
    let sent = attempts.iter().filter(|a| a.sent >= from && until.is_none_or(|end| a.sent < end));
    sent.filter(|attempt| attempt.outcome != Outcome::Acknowledged).collect()
}

/// Reports moves by `method`, each from an instant until the next event.
pub fn report(attempts: &[Attempt], method: Method, moves: &[(Tick, Option<Tick>)]) -> StallReport {
    let stalls = moves.iter().map(|(from, until)| longest(attempts, *from, *until));
    let mut longest_ms: Vec<f64> = stalls.map(|stall| stall.as_secs_f64() * 1_000.0).collect();
    longest_ms.sort_by(f64::total_cmp);
    let failed = moves.iter().map(|(from, until)| failed(attempts, *from, *until).len()).sum();
    let middle = longest_ms.len() / 2;
    let median_ms = match (longest_ms.len() % 2, longest_ms.as_slice()) {
        (_, []) => 0.0,
        (0, sorted) => (sorted[middle - 1] + sorted[middle]) / 2.0,
        (_, sorted) => sorted[middle],
    };
    StallReport { method, moves: moves.len(), failed, longest_ms, median_ms }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn attempt(sent: u64, done: u64, outcome: Outcome) -> Attempt {
        let at = |ms: u64| Tick(ms * 1_000_000);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (writer, seq, pinned) = (0, sent, false);
        Attempt { writer, seq, pinned, sent: at(sent), done: at(done), address, outcome }
    }

    #[test]
    fn a_stall_that_began_before_a_move_counts_for_it_and_a_failure_where_it_was_sent() {
        let lost = Outcome::Indeterminate { why: "connection lost".into() };
        let attempts = [
            attempt(0, 5, Outcome::Acknowledged),
            attempt(8, 310, Outcome::Acknowledged),
            attempt(320, 330, lost),
            attempt(1_000, 1_100, Outcome::Acknowledged),
        ];
        let at = |ms: u64| Tick(ms * 1_000_000);
        let told = report(
            &attempts,
            Method::Hot,
            &[(at(10), Some(at(900))), (at(900), None), (at(950), None)],
        );
        assert_eq!((told.moves, told.failed), (3, 1));
        assert_eq!(told.longest_ms, [100.0, 100.0, 302.0]);
        assert_eq!(told.median_ms, 100.0);
        assert_eq!(report(&attempts, Method::Clean, &[]).median_ms, 0.0);
    }
}
