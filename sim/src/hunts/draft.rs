//! The words hunts are written in.

use continuum_domain::operation::Method;
use continuum_domain::spec::Durability;

use crate::plan::{Calls, Fault, Half, MemberFault, Moment, Ms, Plan, Step, WITNESS};
use crate::random::Dice;

/// The region that begins as primary.
pub const A: &str = "fsn";
/// The other one.
pub const B: &str = "hel";
/// The third one, where there are three.
pub const C: &str = "nbg";

/// A plan under way, and the dice it is drawn with.
pub struct Draft {
    pub dice: Dice,
    pub plan: Plan,
}

impl Draft {
    /// A world of two regions that differs by its seed.
    pub fn new(seed: u64, durability: Durability) -> Self {
        let mut dice = Dice::of(seed ^ 0x0B_AD_5E_ED);
        let mut plan = Plan::quiet(seed, 2, durability);
        plan.anti_flap = 0;
        plan.wanderers = 2;
        plan.latency = dice.pick(&[(1, 4), (1, 10), (2, 15)]);
        plan.write_interval = dice.pick(&[15, 25]);
        plan.tick = dice.pick(&[2, 5]);
        plan.rest = 3_000;
        let half = i64::from(plan.timing.drift_ppm) / 2;
        for host in plan.hosts() {
            plan.rates_ppm.insert(host, dice.pick(&[-half, 0, half]));
        }
        Self { dice, plan }
    }

    /// An `async` pair that fails over on a standing approval, so that the lease alone decides.
    pub fn of_lease(seed: u64) -> Self {
        let mut draft = Self::new(seed, Durability::Async);
        draft.plan.rpo_bytes = Some(1 << 20);
        draft
    }

    /// The next step.
    pub fn step(mut self, when: Moment, after: Ms, fault: Fault) -> Self {
        self.plan.steps.push(Step { when, after, fault: Some(fault) });
        self
    }

    /// The next step waits for this moment.
    pub fn wait(mut self, when: Moment) -> Self {
        self.plan.steps.push(Step { when, after: 0, fault: None });
        self
    }

    /// The same, after a time of `least` up to `limit`.
    pub fn step_in(mut self, when: Moment, (least, limit): (Ms, Ms), fault: Fault) -> Self {
        let after = self.dice.from(least, limit);
        self.step(when, after, fault)
    }

    /// Time that passes after the last step.
    pub fn rest(mut self, rest: Ms) -> Plan {
        self.plan.rest = rest;
        self.plan
    }
}

fn one(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

pub fn cut(a: &str, b: &str, span: Ms) -> Fault {
    Fault::Cut { a: one(a), b: one(b), both: true, span }
}

/// Nothing gets from `from` to `to`; the other way is whole.
pub fn cut_one_way(from: &str, to: &str, span: Ms) -> Fault {
    Fault::Cut { a: one(from), b: one(to), both: false, span }
}

/// `host` reaches nobody of `others`.
pub fn cut_from_all(host: &str, others: &[String], span: Ms) -> Fault {
    let b = others.iter().filter(|other| *other != host).cloned().collect();
    Fault::Cut { a: one(host), b, both: true, span }
}

pub fn cut_from_witness(region: &str, span: Ms) -> Fault {
    cut(region, WITNESS, span)
}

pub fn power_off(host: &str, down: Ms) -> Fault {
    Fault::PowerOff { host: host.to_owned(), down }
}

pub fn kill(host: &str, down: Ms) -> Fault {
    Fault::Kill { host: host.to_owned(), down }
}

pub fn freeze(host: &str, span: Ms) -> Fault {
    Fault::Freeze { host: host.to_owned(), span }
}

/// Calls whose request reaches the witness `by` later.
pub fn late_request(host: &str, calls: Calls, by: Ms, span: Ms) -> Fault {
    Fault::Late { host: host.to_owned(), calls, half: Half::Request, by, span }
}

/// Calls that are carried out and never answered.
pub fn unanswered(host: &str, calls: Calls, span: Ms) -> Fault {
    Fault::Late { host: host.to_owned(), calls, half: Half::Answer, by: 3_600_000, span }
}

/// Calls that never reach the witness.
pub fn lost(host: &str, calls: Calls, span: Ms) -> Fault {
    late_request(host, calls, 3_600_000, span)
}

pub fn member(region: &str, what: MemberFault, span: Ms) -> Fault {
    Fault::Member { region: region.to_owned(), what, span }
}

/// A move that stops the old primary first.
pub fn switch_over(to: &str) -> Fault {
    Fault::Switchover { to: to.to_owned(), method: Some(Method::Clean) }
}

pub fn beat(region: &str) -> Moment {
    Moment::Beat(region.to_owned())
}

pub fn writes(region: &str) -> Moment {
    Moment::Writes(region.to_owned())
}

pub fn stopped(region: &str) -> Moment {
    Moment::Stopped(region.to_owned())
}
