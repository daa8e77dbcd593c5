//! The table of unneeded moves: counted in child processes, written into the document.

use std::sync::{Mutex, PoisonError};

use clap::Args;

use super::behaviour::settle;
use super::children::{cores, each, output, progress};
use super::{FINDING, OK, USAGE};
use crate::alarms::{Cell, Counted, cells, count, markdown, replace};

/// What is done with the table.
#[derive(Debug, Args)]
pub(super) struct AlarmArgs {
    /// Writes it into FILE, between its marks.
    #[arg(long, value_name = "FILE")]
    write: Option<String>,
    /// Only disturbances whose name contains this.
    #[arg(long, value_name = "TEXT", conflicts_with = "write")]
    only: Option<String>,
    /// Child processes at a time; by default one per core.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Counts one cell, given as JSON, and prints what was found.
    #[arg(long, value_name = "JSON", hide = true)]
    cell: Option<String>,
}

pub(super) fn alarms(args: &AlarmArgs) -> u8 {
    if let Some(cell) = &args.cell {
        return one(cell);
    }
    let mut cells = cells();
    cells.retain(|cell| args.only.as_ref().is_none_or(|only| cell.kind.contains(only.as_str())));
    let (counted, wrong) = count_all(&cells, args.jobs.unwrap_or_else(cores));
    for finding in &wrong {
        println!("FINDING {finding}");
    }
    let table = markdown(&counted);
    match &args.write {
        _ if !wrong.is_empty() => FINDING,
        Some(file) => settle(file, &table, true, replace),
        None => {
            print!("{table}");
            OK
        }
    }
}

fn one(cell: &str) -> u8 {
    let found = serde_json::from_str::<Cell>(cell)
        .map_err(|error| error.to_string())
        .and_then(|cell| count(&cell));
    match found {
        Ok(found) => {
            println!("{}", serde_json::to_string(&found).expect("figures are plain data"));
            OK
        }
        Err(error) => {
            eprintln!("{cell} can not be counted: {error}");
            USAGE
        }
    }
}

fn count_all(cells: &[Cell], jobs: usize) -> (Vec<(Cell, Counted)>, Vec<String>) {
    let found = Mutex::new((Vec::new(), Vec::new()));
    let total = cells.len() as u64;
    each(jobs, 0..total, |index| {
        let Some(cell) = usize::try_from(index).ok().and_then(|at| cells.get(at)) else {
            return false;
        };
        let text = serde_json::to_string(cell).expect("cells are plain data");
        let counted = output(&["alarms", "--cell", &text], None)
            .and_then(|out| serde_json::from_str::<Counted>(&out.last).map_err(|_| out.died()));
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, wrong) = &mut *found;
        match counted {
            Ok(counted) => {
                wrong.extend(counted.findings.iter().map(|finding| format!("{text}: {finding}")));
                done.push((cell.clone(), counted));
            }
            Err(error) => wrong.push(format!("{text}: {error}")),
        }
        progress((done.len() + wrong.len()) as u64, total, wrong.len());
        true
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
