//! One run: the world stands, is broken, is healed, and stands again.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_domain::spec::WitnessLossPolicy;
use serde::{Deserialize, Serialize};

use crate::align::align_task_numbers;
use crate::clock::WorldTime;
use crate::coverage::Rows;
use crate::hosts::pair;
use crate::judge::Judge;
use crate::plan::{Fault, Plan};
use crate::scenario::{Story, Tale};
use crate::steps::Script;
use crate::timeline::Recorded;
use crate::trace::{Show, Trace};
use crate::users::Order;
use crate::world::{self, World};

/// The world must first stand within this simulated time.
const STAND_WITHIN: Duration = Duration::from_secs(60);
/// After everything is healed, it must stand again within this.
const RECOVER_WITHIN: Duration = Duration::from_secs(150);
/// The moments of a plan's steps must come within this simulated time.
const STEPS_WITHIN: Duration = Duration::from_secs(60);
/// How long it is watched once it stands again.
const WATCH: Duration = Duration::from_secs(2);
/// Between two looks at whether it stands.
const LOOK: Duration = Duration::from_millis(200);
/// How long the core may take to show its operations in the end.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at the pair through the API.
const API_LOOK: Duration = Duration::from_secs(3);
/// How long the audit chain may take to be complete once the pair stands again.
const AUDIT_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at it.
const AUDIT_LOOK: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is wrong; empty when all is well.
    pub findings: Vec<String>,
    /// The hash of the trace.
    pub hash: String,
    /// Events in it.
    pub events: u64,
    /// Simulated seconds.
    pub simulated: f64,
    /// Simulated seconds from the healing until the pair stood again.
    pub recovered_after: Option<f64>,
    /// The named state in which it stands for a person, if it does.
    pub blocked: Option<String>,
    /// Acknowledged commits.
    pub acknowledged: u64,
    /// Of these, lost by an approval.
    pub lost_by_approval: u64,
    /// Notable things, counted.
    pub seen: BTreeMap<String, u64>,
    /// States and events of the machines, counted.
    #[serde(default)]
    pub rows: Rows,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }
}

/// How a run is watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// What is shown.
    pub show: Show,
    /// Whether every packet counts in the hash.
    pub packets: bool,
}

/// Runs `plan`. One run at a time per process, or none can be repeated.
pub fn run(plan: &Plan, watch: Watch) -> Verdict {
    recorded(plan, watch).0
}

/// The same, with what a timeline is drawn from.
pub fn recorded(plan: &Plan, watch: Watch) -> (Verdict, Recorded) {
    with_world(plan, watch, |run| run.whole())
}

/// Lets the world of `plan` stand, then does what a scenario tells.
pub(crate) fn tell(plan: &Plan, watch: Watch, tale: Tale) -> Verdict {
    tell_recorded(plan, watch, tale).0
}

/// The same, with what a timeline is drawn from.
pub(crate) fn tell_recorded(plan: &Plan, watch: Watch, tale: Tale) -> (Verdict, Recorded) {
    with_world(plan, watch, |run| {
        let first = run.stand(STAND_WITHIN).map_err(|why| format!("the world never stood: {why}"));
        let told = first.and_then(|()| tale(&mut Story::new(run)));
        told.map_or_else(End::Wrong, |()| End::Stands)
    })
}

/// Lets the world of `plan` stand, then does `work` and hands back what it found.
pub(crate) fn measured<T>(
    plan: &Plan,
    watch: Watch,
    work: impl FnOnce(&mut Run<'_>) -> Result<T, String>,
) -> (Verdict, Option<T>) {
    let mut found = None;
    let (verdict, _) = with_world(plan, watch, |run| {
        let first = run.stand(STAND_WITHIN).map_err(|why| format!("the world never stood: {why}"));
        match first.and_then(|()| work(run)) {
            Ok(it) => {
                found = Some(it);
                End::Stands
            }
            Err(why) => End::Wrong(why),
        }
    });
    (verdict, found)
}

fn with_world(
    plan: &Plan,
    watch: Watch,
    work: impl FnOnce(&mut Run<'_>) -> End,
) -> (Verdict, Recorded) {
    align_task_numbers();
    continuum_runtime::seed::require_scope();
    world::note_panics(watch.show == Show::Debug);
    let time = WorldTime::default();
    let trace = Trace::new(&time, watch.show);
    trace.clone().listen(watch.packets, || {
        let world = world::build(plan, trace, time);
        let judge = Judge::new(&world.shared);
        let script = Script::default();
        let looked = Duration::ZERO;
        let mut run = Run { world, judge, script, looked, looks: false, recovered_after: None };
        let end = work(&mut run);
        let end = run.account(end);
        let verdict = run.verdict(end);
        let recorded = Recorded::of(&run);
        if run.world.has_panicked() {
            // What a panic left behind can not be taken down in good order.
            std::mem::forget(run);
        }
        (verdict, recorded)
    })
}

/// A run under way.
pub struct Run<'a> {
    /// The world.
    pub world: World<'a>,
    /// Its judge.
    pub judge: Judge,
    script: Script,
    looked: Duration,
    /// Whether operators look at the pair all the time, not only while it is waited for.
    looks: bool,
    recovered_after: Option<Duration>,
}

/// How a run came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The pair stands.
    Stands,
    /// It waits for a person, in this named state.
    Blocked(String),
    /// Something is wrong.
    Wrong(String),
}

impl Run<'_> {
    fn whole(&mut self) -> End {
        if let Err(why) = self.stand(STAND_WITHIN) {
            return End::Wrong(format!("the world never stood: {why}"));
        }
        self.world.trace.note("world", "stands");
        self.looks = true;
        self.judge.stability.begin(self.world.now());
        self.world.schedule();
        let begun = self.world.now();
        self.script = Script::new(&self.world.plan.steps, begun);
        let horizon = begun + self.world.plan.horizon();
        if let Err(why) = self.play(begun).and_then(|()| self.until(horizon)) {
            return End::Wrong(why);
        }
        self.recover()
    }

    /// Lets the plan's steps happen, and time pass after the last one.
    fn play(&mut self, begun: Duration) -> Result<(), String> {
        if self.script.is_over() {
            return Ok(());
        }
        while !self.script.is_over()
            && self.world.now() < begun + STEPS_WITHIN
            && self.judge.violations.is_empty()
        {
            self.step()?;
        }
        if !self.script.is_over() {
            self.judge.saw("steps:not-reached");
            self.script = Script::default();
        }
        self.until(self.world.now() + Duration::from_millis(self.world.plan.rest))
    }

    /// Ends all faults and demands that the pair stands again.
    fn recover(&mut self) -> End {
        self.judge.stability.end();
        self.world.heal_all();
        let healed = self.world.now();
        match self.stand(RECOVER_WITHIN) {
            Ok(()) => {
                self.recovered_after = Some(self.world.now() - healed);
                self.world.trace.note("world", "stands again");
                self.world.users.order(Order::Account);
                let watched = self.until(self.world.now() + WATCH);
                let audited = watched.and_then(|()| self.audited());
                audited.map_or_else(End::Wrong, |()| End::Stands)
            }
            Err(why) => match self.blocked() {
                Some(code) => End::Blocked(format!("{code} ({why})")),
                None => End::Wrong(format!(
                    "I5: not whole {RECOVER_WITHIN:?} after the last fault: {why}"
                )),
            },
        }
    }

    /// I4: lets time pass until the audit chain tells of every epoch that the pair went through.
    fn audited(&mut self) -> Result<(), String> {
        let deadline = self.world.now() + AUDIT_WITHIN;
        loop {
            self.world.users.learnt().audit = None;
            self.world.users.order(Order::Audit);
            let look = self.world.now() + AUDIT_LOOK;
            while self.world.now() < look && self.world.users.learnt().audit.is_none() {
                self.step()?;
            }
            let shown = self.world.users.learnt().audit.take();
            let missing = match &shown {
                Some(shown) => self.judge.look_at_audit(shown, &self.world.ends),
                None => Some("I4: the core shows no audit chain".into()),
            };
            match missing {
                None => return Ok(()),
                Some(_) if !self.judge.violations.is_empty() => return Ok(()),
                Some(wrong) if self.world.now() >= deadline => {
                    self.judge.demanded(wrong);
                    return Ok(());
                }
                Some(_) => self.until(look)?,
            }
        }
    }

    /// Lets time pass until `until`; the error is a failure of the world itself.
    pub fn until(&mut self, until: Duration) -> Result<(), String> {
        while self.world.now() < until && self.judge.violations.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        self.world.step()?;
        let now = self.world.now();
        self.judge.look(now);
        self.look_at_promises();
        self.judge.look_at_stability(now, self.world.spared);
        self.look_at_shown(now);
        if self.judge.votes.is_due(now) {
            for (node, file) in self.world.files_of_core("vote") {
                self.judge.look_at_vote(now, &node, &file);
            }
        }
        while let Some(fault) = self.script.due(now, &self.judge) {
            self.world.break_with(fault);
        }
        Ok(())
    }

    /// I7: has operators look at the pair now and then, and judges what they are shown.
    fn look_at_shown(&mut self, now: Duration) {
        if !self.looks {
            return;
        }
        self.judge.look_at_shown();
        for region in self.world.members.regions() {
            let heard = self.world.is_heard(region.as_str());
            self.judge.silences.look(now, region.as_str(), heard);
        }
        if now >= self.looked + API_LOOK {
            self.looked = now;
            self.world.users.order(Order::Look);
        }
    }

    /// R20: who goes on without the witness has the word of all others, on their disks.
    fn look_at_promises(&mut self) {
        let overdue = self.judge.take_overdue();
        if overdue.is_empty() {
            return;
        }
        let plan = self.world.plan.clone();
        let failsafe = plan.on_witness_loss == WitnessLossPolicy::Failsafe;
        // R2: what a frozen host still lets go when it thaws rests on the names.
        let frozen = plan.faults.iter().any(|it| matches!(it.fault, Fault::FreezeHost { .. }));
        for member in overdue {
            for peer in plan.region_names().iter().filter(|peer| *peer != member.as_str()) {
                if failsafe && !frozen {
                    let promise = self.world.file_of(peer, &format!("promise-{}.json", pair()));
                    self.judge.judge_promise(&member, peer, promise.is_some());
                }
            }
        }
    }

    /// Lets time pass until the pair stands, for `within` at most.
    pub fn stand(&mut self, within: Duration) -> Result<(), String> {
        let until = self.world.now() + within;
        let mut next_look = self.world.now();
        loop {
            self.step()?;
            if !self.judge.violations.is_empty() {
                return Err("a rule was broken".into());
            }
            let now = self.world.now();
            if now >= self.looked + API_LOOK {
                self.looked = now;
                self.world.users.order(Order::Look);
            }
            if now < next_look {
                continue;
            }
            next_look = now + LOOK;
            match self.judge.unsettled(now) {
                None => return Ok(()),
                Some(why) if now >= until => return Err(why),
                Some(_) => {}
            }
        }
    }

    /// The named state a member reports, if any.
    fn blocked(&self) -> Option<String> {
        let learnt = self.world.users.learnt();
        let (_, view) = learnt.view.as_ref()?;
        let reports = view.members.values().flatten();
        let mut codes = reports.filter_map(|aged| aged.report.blocked.as_ref());
        codes.next().map(|blocked| blocked.code.clone())
    }

    /// Has the core show its operations, for the coverage of the run. A core that is away shows none.
    fn account(&mut self, end: End) -> End {
        if matches!(end, End::Wrong(_)) || !self.judge.violations.is_empty() {
            return end;
        }
        let before = self.world.users.learnt().operations.take();
        self.world.users.order(Order::Account);
        let until = self.world.now() + ACCOUNT_WITHIN;
        while self.world.now() < until && self.world.users.learnt().operations.is_none() {
            if let Err(why) = self.step() {
                return End::Wrong(why);
            }
        }
        let shown = self.world.users.learnt().operations.take().or(before);
        self.world.users.learnt().operations.clone_from(&shown);
        if let Some((_, operations)) = &shown {
            self.world.shared.coverage.operations(operations);
            self.judge.judge_second_opinions(operations);
        }
        end
    }

    /// The rows of the machines, and of what the agents noted of themselves.
    fn rows(&self, seen: &BTreeMap<String, u64>) -> Rows {
        let mut rows = self.world.shared.coverage.rows();
        for (what, count) in seen {
            if let Some((kind @ ("acquired" | "blocked" | "ledger" | "premise" | "rejoined"), of)) =
                what.split_once(':')
            {
                *rows.entry(format!("{kind} {of}")).or_default() += count;
            }
        }
        rows
    }

    fn verdict(&mut self, end: End) -> Verdict {
        self.judge.finish();
        let mut findings = self.judge.violations.clone();
        let mut blocked = None;
        match end {
            End::Stands => {}
            End::Blocked(code) => blocked = Some(code),
            End::Wrong(why) if findings.is_empty() => findings.push(why),
            End::Wrong(_) => {}
        }
        let (hash, events) = self.world.trace.digest();
        let mut seen = self.judge.seen.clone();
        for (what, count) in self.world.trace.seen() {
            *seen.entry(what).or_default() += count;
        }
        let rows = self.rows(&seen);
        if let Some(state) = &blocked {
            let code = state.split(' ').next().unwrap_or(state);
            seen.insert(format!("end:blocked:{code}"), 1);
        }
        for (fault, count) in &self.world.counters {
            seen.insert(format!("fault:{fault}"), *count);
        }
        Verdict {
            findings,
            hash,
            events,
            simulated: self.world.now().as_secs_f64(),
            recovered_after: self.recovered_after.map(|after| after.as_secs_f64()),
            blocked,
            acknowledged: self.judge.acknowledged,
            lost_by_approval: self.judge.lost_by_approval,
            seen,
            rows,
        }
    }
}
