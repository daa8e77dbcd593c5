//! Coverage: what runs went through, summed.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use clap::Args;

use super::children::{child, cores, each, progress};
use super::{FINDING, OK, USAGE, range};
use crate::coverage::{Report, Rows, required, text};
use crate::run::Verdict;
use crate::scenario;

/// What is counted.
#[derive(Debug, Args)]
pub(super) struct CoverageArgs {
    /// One seed: its rows are shown, and nothing is demanded.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds on top of all named scenarios. `A..B`, B left out.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..400")]
    seeds: Range<u64>,
    /// Also demands this row.
    #[arg(long, value_name = "ROW")]
    require: Vec<String>,
    /// Writes the rows, and what is missing, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Child processes at a time; by default one per core.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

#[derive(Default)]
struct Sum {
    runs: u64,
    rows: Rows,
    wrong: Vec<String>,
}

impl Sum {
    fn add(&mut self, how: &[String], verdict: Result<Verdict, String>) {
        self.runs += 1;
        let how = how.join(" ");
        match verdict {
            Ok(verdict) => {
                self.wrong.extend(verdict.findings.iter().map(|found| format!("{how}: {found}")));
                for (row, count) in verdict.rows {
                    *self.rows.entry(row).or_default() += count;
                }
            }
            Err(error) => self.wrong.push(format!("{how}: {error}")),
        }
    }
}

pub(super) fn coverage(args: &CoverageArgs) -> u8 {
    let seed = |seed: u64| vec!["--seed".to_owned(), seed.to_string()];
    let runs: Vec<Vec<String>> = match args.seed {
        Some(one) => vec![seed(one)],
        None => {
            let told = scenario::all();
            let told = told.iter().map(|it| vec!["--scenario".to_owned(), it.name.to_owned()]);
            told.chain(args.seeds.clone().map(seed)).collect()
        }
    };
    let sum = run_all(&runs, args.jobs.unwrap_or_else(cores));
    let mut demanded = if args.seed.is_some() { Vec::new() } else { required() };
    demanded.extend(args.require.iter().cloned());
    let report = Report::new(sum.runs, sum.rows, &demanded);
    print!("{}", text(&report.rows));
    println!("\n{}", report.verdict());
    for finding in &sum.wrong {
        println!("FINDING {finding}");
    }
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report).expect("reports are plain data");
        if let Err(error) = std::fs::write(file, json) {
            eprintln!("{file} could not be written: {error}");
            return USAGE;
        }
    }
    if sum.wrong.is_empty() && report.is_ok() { OK } else { FINDING }
}

fn run_all(runs: &[Vec<String>], jobs: usize) -> Sum {
    let sum = Mutex::new(Sum::default());
    let total = runs.len() as u64;
    each(jobs, 0..total, |index| {
        let Some(how) = usize::try_from(index).ok().and_then(|index| runs.get(index)) else {
            return false;
        };
        let arguments: Vec<&str> = how.iter().map(String::as_str).collect();
        let verdict = child(&arguments, None);
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(how, verdict);
        progress(sum.runs, total, sum.wrong.len());
        true
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}
