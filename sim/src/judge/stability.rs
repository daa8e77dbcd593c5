//! I6, seen from outside: who loses the core, the names or an operator loses no write.

use std::time::Duration;

use crate::plan::{Fault, NAMES, Plan, WITNESS};

/// The longest time without an acknowledgement while only such faults were seen: far above a write
/// and its way, far below a ttl and a takeover.
pub const GAP_MAX: Duration = Duration::from_secs(2);

/// Whether acknowledgements must go on.
#[derive(Debug, Default)]
pub struct Stability {
    /// Since when they must; `None`: something else was broken, or the world is not whole yet.
    since: Option<Duration>,
}

impl Stability {
    /// The pair stands, and nothing was broken.
    pub fn begin(&mut self, now: Duration) {
        self.since = Some(now);
    }

    /// A fault that may interrupt a primary happened, or the run is about its end.
    pub fn end(&mut self) {
        self.since = None;
    }

    /// What is wrong, with the last acknowledgement.
    pub fn judge(&mut self, now: Duration, last: Duration) -> Option<String> {
        let since = self.since?.max(last);
        if now.saturating_sub(since) <= GAP_MAX {
            return None;
        }
        self.since = None;
        Some(format!(
            "I6: nothing was acknowledged from {:.3} to {:.3}, and nothing that a primary needs was \
             broken",
            since.as_secs_f64(),
            now.as_secs_f64()
        ))
    }
}

/// Whether a healthy primary must not notice `fault`: it strikes control nodes, the name server, one
/// acceptor of several (always the same one), or what operators ask of automation.
pub fn spares_primaries(fault: &Fault, plan: &Plan) -> bool {
    let core = plan.core();
    let one_of_many = |host: &String| host == WITNESS && plan.acceptors >= 3;
    let spared = |host: &String| host == NAMES || core.contains(host) || one_of_many(host);
    match fault {
        Fault::Cut { a, b, .. }
        | Fault::Flap { a, b, .. }
        | Fault::Hold { a, b, .. }
        | Fault::Slow { a, b, .. } => a.iter().all(spared) || b.iter().all(spared),
        Fault::Late { host, .. }
        | Fault::Kill { host, .. }
        | Fault::Upgrade { host, .. }
        | Fault::PowerOff { host, .. }
        | Fault::DiskLost { host, .. }
        | Fault::Freeze { host, .. }
        | Fault::FreezeHost { host, .. }
        | Fault::Disk { host, .. }
        | Fault::WallStep { host, .. } => spared(host),
        Fault::PauseAutomation { .. }
        | Fault::CancelOperation
        | Fault::ApproveOperation
        | Fault::ReplaceAcceptor { .. }
        | Fault::Resolver { .. }
        | Fault::SetMode { .. } => true,
        Fault::Member { .. }
        | Fault::Switchover { .. }
        | Fault::Failover { .. }
        | Fault::Rejoin { .. }
        | Fault::SetDurability { .. }
        | Fault::PausePair { .. }
        | Fault::StopPair { .. }
        | Fault::Assertion { .. }
        | Fault::Fence { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use continuum_domain::spec::Durability;

    use super::*;

    #[test]
    fn a_gap_is_found_once_and_only_where_writes_must_go_on() {
        let at = Duration::from_millis;
        let mut stability = Stability::default();
        assert_eq!(stability.judge(at(9_000), at(0)), None);
        stability.begin(at(9_000));
        assert_eq!(stability.judge(at(11_000), at(0)), None);
        assert_eq!(stability.judge(at(12_000), at(10_500)), None);
        assert!(stability.judge(at(12_501), at(10_500)).is_some());
        assert_eq!(stability.judge(at(20_000), at(10_500)), None);
    }

    #[test]
    fn a_fault_of_a_region_or_the_witness_is_no_excuse_for_the_core() {
        let mut plan = Plan::quiet(1, 2, Durability::Available);
        let cut = |a: &str, b: &str| Fault::Cut {
            a: vec![a.into()],
            b: vec![b.into()],
            both: true,
            span: 1,
        };
        assert!(spares_primaries(&cut("fsn", "c1"), &plan));
        assert!(spares_primaries(&cut(NAMES, "users"), &plan));
        assert!(!spares_primaries(&cut("fsn", WITNESS), &plan));
        assert!(!spares_primaries(&Fault::Kill { host: "fsn".into(), down: 1 }, &plan));
        plan.acceptors = 3;
        assert!(spares_primaries(&cut("fsn", WITNESS), &plan));
        assert!(!spares_primaries(&cut("fsn", "w2"), &plan));
    }
}
