//! What a timeline is drawn from, kept as facts while a run goes on.

use std::sync::Arc;
use std::time::Duration;

use continuum_domain::PairRecord;

use crate::plan::{Fault, MemberFault, Plan};
use crate::postgres::Happening;
use crate::run::Run;
use crate::trace::Noted;

/// A fault or an order as it happened: plans say how long one should last, healing and restarts say
/// how long it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// What.
    pub fault: Fault,
    /// When it began.
    pub began: Duration,
    /// When it was over; `None` while it goes on.
    pub ended: Option<Duration>,
}

impl Strike {
    /// Whether it happens at an instant and needs no end.
    pub fn is_instant(&self) -> bool {
        match &self.fault {
            Fault::Member { what, .. } => *what == MemberFault::PostgresCrash,
            fault => fault.span() == 0,
        }
    }

    /// Whether it ends by its plan, and no act of the world marks that.
    fn ends_by_plan(&self) -> bool {
        matches!(self.fault, Fault::Flap { .. } | Fault::PauseAutomation { .. })
    }

    /// Whether it keeps this host down until somebody starts it.
    fn keeps_down(&self, name: &str) -> bool {
        match &self.fault {
            Fault::Kill { host, .. }
            | Fault::PowerOff { host, .. }
            | Fault::DiskLost { host, .. }
            | Fault::Upgrade { host, .. } => host == name,
            _ => false,
        }
    }
}

/// All faults and orders of a run, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Strikes(Vec<Strike>);

impl Strikes {
    /// `fault` begins.
    pub fn begin(&mut self, now: Duration, fault: &Fault) {
        let mut strike = Strike { fault: fault.clone(), began: now, ended: None };
        if strike.is_instant() {
            strike.ended = Some(now);
        } else if strike.ends_by_plan() {
            strike.ended = Some(now + Duration::from_millis(fault.span()));
        }
        self.0.push(strike);
    }

    /// `fault` is over.
    pub fn end(&mut self, now: Duration, fault: &Fault) {
        let open = self.0.iter_mut().find(|one| one.ended.is_none() && one.fault == *fault);
        if let Some(strike) = open {
            strike.ended = Some(now);
        }
    }

    /// A host is back.
    pub fn started(&mut self, now: Duration, host: &str) {
        for strike in self.0.iter_mut().filter(|one| one.ended.is_none() && one.keeps_down(host)) {
            strike.ended = Some(now);
        }
    }

    /// Everything is healed.
    pub fn healed(&mut self, now: Duration) {
        for strike in &mut self.0 {
            strike.ended = Some(strike.ended.map_or(now, |ended| ended.min(now)));
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Strike] {
        &self.0
    }
}

/// A run that is over, as facts.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its plan.
    pub plan: Arc<Plan>,
    /// When it ended, since the world began.
    pub end: Duration,
    /// Faults and orders.
    pub strikes: Strikes,
    /// Every value of the pair's register, and when it was first seen.
    pub registers: Vec<(Duration, PairRecord)>,
    /// What PostgreSQL did, acknowledgements among it.
    pub happened: Vec<Happening>,
    /// The trace.
    pub notes: Vec<Noted>,
}

impl Recorded {
    /// What is known of `run` now.
    pub fn of(run: &Run<'_>) -> Self {
        let world = &run.world;
        Self {
            plan: world.plan.clone(),
            end: world.now(),
            strikes: world.strikes.clone(),
            registers: run.judge.registers.clone(),
            happened: world.members.cluster.happened(0),
            notes: world.trace.lines(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn kill(host: &str) -> Fault {
        Fault::Kill { host: host.into(), down: 9_000 }
    }

    #[test]
    fn a_host_that_is_started_ends_what_kept_it_down() {
        let mut strikes = Strikes::default();
        strikes.begin(at(100), &kill("w1"));
        strikes.begin(at(100), &kill("c1"));
        strikes.started(at(400), "w1");
        let ends: Vec<_> = strikes.all().iter().map(|strike| strike.ended).collect();
        assert_eq!(ends, [Some(at(400)), None]);
    }

    #[test]
    fn healing_ends_what_goes_on_and_what_would_have_gone_on() {
        let flap = Fault::Flap { a: vec![], b: vec![], period: 100, span: 5_000 };
        let mut strikes = Strikes::default();
        strikes.begin(at(100), &kill("w1"));
        strikes.begin(at(100), &flap);
        strikes.begin(at(200), &Fault::CancelOperation);
        assert_eq!(strikes.all()[1].ended, Some(at(5_100)));
        strikes.healed(at(900));
        let ends: Vec<_> = strikes.all().iter().map(|strike| strike.ended).collect();
        assert_eq!(ends, [Some(at(900)), Some(at(900)), Some(at(200))]);
    }

    #[test]
    fn the_end_belongs_to_the_oldest_of_equal_faults() {
        let freeze = Fault::Freeze { host: "fsn".into(), span: 500 };
        let mut strikes = Strikes::default();
        strikes.begin(at(100), &freeze);
        strikes.begin(at(300), &freeze);
        strikes.end(at(600), &freeze);
        let ends: Vec<_> = strikes.all().iter().map(|strike| strike.ended).collect();
        assert_eq!(ends, [Some(at(600)), None]);
    }
}
