//! Many runs, in child processes: a process runs one simulation at a time.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use continuum_runtime::{BootClock, Clock};

use super::workers::Workers;
use super::{FINDING, OK, RunArgs, USAGE};
use crate::plan::Plan;
use crate::run::Verdict;
use crate::world::PANIC;

/// Runs from one line of progress to the next where nobody watches.
const PROGRESS_LINES: u64 = 100;

/// What a child process said.
pub(super) struct Output {
    /// The last line it printed.
    pub last: String,
    /// Why it says nothing of use, if so.
    why: String,
}

impl Output {
    /// What is told of a child that did not say what was asked.
    pub fn died(&self) -> String {
        format!("the run died ({}", self.why)
    }
}

/// Runs this program in a child process, with a plan on its standard input if one is given.
pub(super) fn output(arguments: &[&str], plan: Option<&Plan>) -> Result<Output, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if plan.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let (Some(plan), Some(mut input)) = (plan, child.stdin.take()) {
        let text = serde_json::to_vec(plan).map_err(|error| error.to_string())?;
        input.write_all(&text).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let why = format!("{}): {}", output.status, last_words(&words));
    Ok(Output { last: text.lines().last().unwrap_or_default().to_owned(), why })
}

/// What a child that died said of it: its first panic, or else the last it said.
pub(super) fn last_words(stderr: &str) -> &str {
    let panicked = stderr.lines().find(|line| line.starts_with(PANIC));
    panicked.or_else(|| stderr.lines().last()).unwrap_or_default()
}

/// Runs a plan or a seed in a child process. A child that dies is a finding too.
pub(super) fn child(arguments: &[&str], plan: Option<&Plan>) -> Result<Verdict, String> {
    let inherited = inherited();
    let mut all = arguments.to_vec();
    all.extend(inherited.iter().map(String::as_str));
    all.push("--json");
    let output = output(&all, plan)?;
    Ok(serde_json::from_str(&output.last).unwrap_or_else(|_| died(&output.died())))
}

/// What every child is told because this process was.
pub(super) fn inherited() -> Vec<String> {
    let own: Vec<String> = std::env::args().collect();
    let passed = |name: &&str| own.iter().position(|argument| argument == *name);
    let passed = ["--plant", "--hunt", "--takeover"].iter().filter_map(passed);
    passed.flat_map(|at| own.iter().skip(at).take(2).cloned()).collect()
}

pub(super) fn died(why: &str) -> Verdict {
    Verdict {
        findings: vec![why.to_owned()],
        hash: String::new(),
        events: 0,
        simulated: 0.0,
        recovered_after: None,
        blocked: None,
        acknowledged: 0,
        lost_by_approval: 0,
        seen: BTreeMap::new(),
        rows: BTreeMap::new(),
    }
}

/// Cores of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Does `work` for every number of `range` on several threads until it says to stop.
pub(super) fn each(jobs: usize, range: Range<u64>, work: impl Fn(u64) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(range.start), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= range.end {
                        return;
                    }
                    if !work(number) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[derive(Default)]
struct Totals {
    done: u64,
    simulated: f64,
    acknowledged: u64,
    blocked: u64,
    failed: Vec<(u64, Verdict)>,
    seen: BTreeMap<String, u64>,
}

/// One line that is written over on a terminal; elsewhere one line now and then.
pub(super) fn progress(done: u64, count: u64, wrong: usize) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{done}/{count} runs, {wrong} wrong ");
    } else if done.is_multiple_of(PROGRESS_LINES) || done == count {
        eprintln!("{done}/{count} runs, {wrong} wrong");
    }
}

/// Runs every seed of `seeds` whose world has the shape that was asked for.
pub(super) fn sweep(seeds: Range<u64>, args: &RunArgs) -> u8 {
    let of_shape = |seed: &u64| args.shape.is_none_or(|shape| shape.is_of(&args.plan_of(*seed)));
    let seeds: Vec<u64> = seeds.filter(of_shape).collect();
    if seeds.is_empty() {
        eprintln!("none of these seeds has a world of this shape");
        return USAGE;
    }
    let (totals, began) = (Mutex::new(Totals::default()), BootClock.now());
    let (count, workers) = (seeds.len() as u64, Workers::new(args.packets));
    each(args.jobs.unwrap_or_else(cores), 0..count, |index| {
        let Some(seed) = usize::try_from(index).ok().and_then(|index| seeds.get(index)) else {
            return false;
        };
        let (seed, verdict) = (*seed, workers.run(*seed));
        let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        totals.done += 1;
        totals.simulated += verdict.simulated;
        totals.acknowledged += verdict.acknowledged;
        totals.blocked += u64::from(verdict.blocked.is_some());
        for (what, times) in &verdict.seen {
            *totals.seen.entry(what.clone()).or_default() += times;
        }
        if let Some(state) = &verdict.blocked {
            eprintln!("\rseed {seed} waits for a person: {state}");
        }
        let wrong = !verdict.is_ok();
        if wrong {
            eprintln!("\rseed {seed}: {}", verdict.findings.join("; "));
            totals.failed.push((seed, verdict));
        }
        progress(totals.done, count, totals.failed.len());
        !wrong || args.keep_going
    });
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let totals = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let took = BootClock.now().since(began).as_secs_f64().max(0.001);
    report(&totals, took);
    match totals.failed.iter().min_by_key(|(seed, _)| *seed) {
        None => OK,
        Some((seed, _)) => {
            println!("repeat it with:  continuum-sim --seed {seed}");
            println!("shrink it with:  continuum-sim --minimize {seed}");
            FINDING
        }
    }
}

fn report(totals: &Totals, took: f64) {
    for (what, times) in &totals.seen {
        println!("  {what:<40} {times}");
    }
    println!(
        "{} seeds in {took:.0} s ({:.0} a minute), {:.0} simulated s ({:.0} per wall s), {} commits \
         acknowledged, {} runs wait for a person, {} wrong",
        totals.done,
        totals.done as f64 * 60.0 / took,
        totals.simulated,
        totals.simulated / took,
        totals.acknowledged,
        totals.blocked,
        totals.failed.len()
    );
}

/// Runs every seed twice and compares the traces, packets included: in a process of its own, and in
/// one that ran other seeds before, in the opposite order.
pub(super) fn meta(seeds: Range<u64>) -> u8 {
    let (first, second) = (Mutex::new(BTreeMap::new()), Mutex::new(BTreeMap::new()));
    let (end, workers) = (seeds.end, Workers::new(true));
    for (hashes, backwards) in [(&first, false), (&second, true)] {
        each(cores(), seeds.clone(), |index| {
            let seed = if backwards { seeds.start + end - 1 - index } else { index };
            let run = match backwards {
                false => child(&["--packets", "--seed", &seed.to_string()], None),
                true => Ok(workers.run(seed)),
            };
            let hash = run.map_or_else(|error| error, |v| format!("{} {}", v.hash, v.events));
            hashes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(seed, hash);
            true
        });
    }
    let unlock = |hashes: Mutex<BTreeMap<u64, String>>| {
        hashes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    let (first, second) = (unlock(first), unlock(second));
    let mut differ = 0;
    for (seed, hash) in &first {
        let again = second.get(seed).map_or("missing", String::as_str);
        let same = again == hash && !hash.starts_with(' ');
        println!("seed {seed:>4} {hash} {}", if same { "same" } else { "DIFFERS" });
        if !same {
            println!("          {again}");
            differ += 1;
        }
    }
    println!("{} seeds run twice, {differ} differ", first.len());
    match (first.is_empty(), differ) {
        (true, _) => USAGE,
        (false, 0) => OK,
        (false, _) => FINDING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_died_is_told_of_by_its_first_panic() {
        let stderr = format!("warning\n{PANIC}at a.rs:1: no\nthread caused a second. aborting.\n");
        assert_eq!(last_words(&stderr), "panic: at a.rs:1: no");
        assert_eq!(last_words("one\ntwo\n"), "two");
        assert_eq!(last_words(""), "");
    }
}
