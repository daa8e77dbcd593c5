//! One run in this process.

use std::io::Read;

use continuum_runtime::{BootClock, Clock};

use super::{FINDING, OK, RunArgs, USAGE};
use crate::plan::Plan;
use crate::run::{Verdict, Watch, recorded};
use crate::scenario;
use crate::timeline::{self, Format, Recorded, Timeline};
use crate::trace::Show;

fn watch(args: &RunArgs) -> Watch {
    let show = match (args.json, args.debug) {
        (true, _) => Show::Nothing,
        (false, true) => Show::Debug,
        (false, false) => Show::Story,
    };
    Watch { show, packets: args.packets }
}

pub(super) fn seed(seed: u64, args: &RunArgs) -> u8 {
    let plan = args.plan_of(seed);
    if args.print_plan {
        println!("{}", serde_json::to_string_pretty(&plan).expect("plans are plain data"));
        return OK;
    }
    let hunt = args.hunt.as_ref().map_or(String::new(), |hunt| format!(" --hunt {hunt}"));
    tell(&plan, args, &format!("--seed {seed}{hunt}"))
}

pub(super) fn plan_file(file: &str, args: &RunArgs) -> u8 {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        path => std::fs::read_to_string(path).map(|content| text = content),
    };
    let plan = read
        .map_err(|error| error.to_string())
        .and_then(|()| serde_json::from_str::<Plan>(&text).map_err(|error| error.to_string()));
    match plan {
        Ok(plan) => tell(&plan, args, &format!("--plan {file}")),
        Err(error) => {
            eprintln!("{file} is not a plan: {error}");
            USAGE
        }
    }
}

pub(super) fn list() -> u8 {
    for scenario in scenario::all() {
        println!("{:<36} {}", scenario.name, scenario.about);
    }
    OK
}

pub(super) fn scenario(name: &str, args: &RunArgs) -> u8 {
    let Some(mut scenario) = scenario::find(name) else {
        eprintln!("there is no scenario {name:?}; --list shows all");
        return USAGE;
    };
    if let Some(takeover) = args.takeover {
        scenario = scenario.taken_over_by(takeover);
    }
    if !args.json {
        println!("{}: {}", scenario.name, scenario.about);
    }
    let (verdict, recorded) = timeline::tell(&scenario, watch(args));
    end(&verdict, &recorded, args, &format!("--scenario {name}"))
}

/// Runs a plan and tells how it went.
fn tell(plan: &Plan, args: &RunArgs, how: &str) -> u8 {
    if !args.json {
        introduce(plan);
    }
    let began = BootClock.now();
    let (verdict, recorded) = recorded(plan, watch(args));
    if !args.json {
        let took = BootClock.now().since(began).as_secs_f64();
        println!(
            "\n{:.0} simulated s in {took:.1} s: {:.0} times as fast",
            verdict.simulated,
            verdict.simulated / took.max(0.001)
        );
    }
    end(&verdict, &recorded, args, how)
}

fn introduce(plan: &Plan) {
    println!(
        "seed {}: {} control nodes, {} regions, {:?}, {:?} without a witness, ttl {:?}, latency \
         {:?} ms, clocks {:?} ppm",
        plan.seed,
        plan.nodes,
        plan.regions,
        plan.durability,
        plan.on_witness_loss,
        plan.timing.ttl,
        plan.latency,
        plan.rates_ppm.values().collect::<Vec<_>>(),
    );
    for step in &plan.steps {
        let fault = step.fault.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        println!("  {:?} +{} ms {fault}", step.when, step.after);
    }
    for scheduled in &plan.faults {
        println!("  {:>6} ms {}", scheduled.at, scheduled.fault);
    }
    println!();
}

/// Writes the timeline, if one is asked for, before the verdict becomes the exit code.
fn end(verdict: &Verdict, recorded: &Recorded, args: &RunArgs, how: &str) -> u8 {
    if let Some(file) = &args.timeline {
        let timeline = Timeline { what: how, recorded, verdict };
        let text = timeline.render(Format::of(file).unwrap_or(Format::Svg));
        if let Err(error) = std::fs::write(file, text) {
            eprintln!("{file} could not be written: {error}");
            return USAGE;
        }
    }
    judge(verdict, args, how)
}

fn judge(verdict: &Verdict, args: &RunArgs, how: &str) -> u8 {
    if args.json {
        println!("{}", serde_json::to_string(verdict).expect("verdicts are plain data"));
        return if verdict.is_ok() { OK } else { FINDING };
    }
    let Verdict { acknowledged, lost_by_approval, hash, events, .. } = verdict;
    println!("{acknowledged} commits acknowledged, {lost_by_approval} of them lost by an approval");
    if let Some(after) = verdict.recovered_after {
        println!("whole again {after:.1} s after everything was healed");
    }
    if let Some(state) = &verdict.blocked {
        println!("waits for a person: {state}");
    }
    println!("trace {hash} over {events} events");
    if verdict.is_ok() {
        println!("OK");
        return OK;
    }
    for finding in &verdict.findings {
        println!("FINDING {finding}");
    }
    println!("repeat it with: continuum-sim {how}");
    FINDING
}
