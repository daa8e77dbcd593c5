//! Shrinking a failing plan: fewer faults, shorter ones, a quieter world.

use std::sync::Mutex;

use super::children::{child, cores, each};
use super::{FINDING, RunArgs, USAGE};
use crate::plan::{Fault, Plan};
use crate::run::Verdict;

/// Shortest span a fault is shrunk to.
const SPAN_MIN: u64 = 50;

/// What makes two findings the same for shrinking: the rule that is broken.
fn class(verdict: &Verdict) -> Option<String> {
    let first = verdict.findings.first()?;
    Some(first.split(':').next().unwrap_or(first).to_owned())
}

fn try_plan(plan: &Plan) -> Option<Verdict> {
    child(&["--plan", "-"], Some(plan)).ok()
}

/// The first of `candidates` that still fails in the same way.
fn first_failing(candidates: Vec<Plan>, wanted: &str, jobs: usize) -> Option<Plan> {
    let found: Mutex<Option<usize>> = Mutex::new(None);
    let lock = || found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    each(jobs, 0..candidates.len() as u64, |index| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(plan) = candidates.get(index) else { return false };
        let same = try_plan(plan).and_then(|verdict| class(&verdict)).as_deref() == Some(wanted);
        if same {
            let mut found = lock();
            *found = Some(found.map_or(index, |old| old.min(index)));
        }
        !same
    });
    let index = (*lock())?;
    candidates.into_iter().nth(index)
}

/// Plans with some faults left out, largest pieces first.
fn without_pieces(plan: &Plan) -> Vec<Plan> {
    let total = plan.faults.len();
    let mut plans = Vec::new();
    let mut size = total.div_ceil(2);
    while size > 0 {
        for start in (0..total).step_by(size) {
            let mut smaller = plan.clone();
            smaller.faults.drain(start..(start + size).min(total));
            plans.push(smaller);
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    plans
}

fn spans(fault: &mut Fault) -> Option<&mut u64> {
    match fault {
        Fault::Cut { span, .. }
        | Fault::Flap { span, .. }
        | Fault::Hold { span, .. }
        | Fault::Slow { span, .. }
        | Fault::Late { span, .. }
        | Fault::Freeze { span, .. }
        | Fault::FreezeHost { span, .. }
        | Fault::Disk { span, .. }
        | Fault::Member { span, .. }
        | Fault::PauseAutomation { span }
        | Fault::PausePair { span }
        | Fault::StopPair { span }
        | Fault::Resolver { span, .. }
        | Fault::Fence { span, .. } => Some(span),
        Fault::Kill { down, .. }
        | Fault::PowerOff { down, .. }
        | Fault::DiskLost { down, .. }
        | Fault::Upgrade { down, .. } => Some(down),
        _ => None,
    }
}

/// Plans with one thing simpler.
fn simpler(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    for index in 0..plan.faults.len() {
        let mut shorter = plan.clone();
        if let Some(span) = spans(&mut shorter.faults[index].fault)
            && *span / 2 >= SPAN_MIN
        {
            *span /= 2;
            plans.push(shorter);
        }
    }
    let mut even = plan.clone();
    even.rates_ppm.clear();
    let mut near = plan.clone();
    near.latency = (1, 4);
    let mut fewer = plan.clone();
    fewer.nodes = 3;
    plans.extend([even, near, fewer].into_iter().filter(|other| other != plan));
    plans
}

pub(super) fn minimize(seed: u64, args: &RunArgs) -> u8 {
    let mut plan = args.plan_of(seed);
    let Some(wanted) = try_plan(&plan).as_ref().and_then(class) else {
        eprintln!("seed {seed} does not fail: there is nothing to shrink");
        return USAGE;
    };
    let jobs = args.jobs.unwrap_or_else(cores);
    eprintln!("seed {seed} fails with {wanted:?} under {} faults", plan.faults.len());
    while let Some(smaller) = first_failing(without_pieces(&plan), &wanted, jobs) {
        plan = smaller;
        eprintln!("  {} faults", plan.faults.len());
    }
    while let Some(smaller) = first_failing(simpler(&plan), &wanted, jobs) {
        plan = smaller;
    }
    for scheduled in &plan.faults {
        println!("  {:>6} ms {}", scheduled.at, scheduled.fault);
    }
    let file = format!("seed-{seed}.plan.json");
    let text = serde_json::to_string_pretty(&plan).expect("plans are plain data");
    match std::fs::write(&file, text) {
        Ok(()) => println!("repeat it with:  continuum-sim --plan {file}"),
        Err(error) => eprintln!("{file} could not be written: {error}"),
    }
    FINDING
}
