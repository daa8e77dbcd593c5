//! The behaviour table: measured in child processes, written into the document, or compared with it.

use std::sync::{Mutex, PoisonError};

use clap::Args;

use super::children::{cores, each, output, progress};
use super::{FINDING, OK, USAGE};
use crate::behaviour::{Cell, Measured, cells, markdown, measure, replace};

/// What is done with the table.
#[derive(Debug, Args)]
pub(super) struct TableArgs {
    /// Writes it into FILE, between its marks.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    write: Option<String>,
    /// Fails when FILE has another one.
    #[arg(long, value_name = "FILE")]
    check: Option<String>,
    /// Only partitions whose name contains this.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["write", "check"])]
    only: Option<String>,
    /// Child processes at a time; by default one per core.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Measures one cell, given as JSON, and prints what was found.
    #[arg(long, value_name = "JSON", hide = true)]
    cell: Option<String>,
}

pub(super) fn table(args: &TableArgs) -> u8 {
    if let Some(cell) = &args.cell {
        return one(cell);
    }
    let mut cells = cells();
    cells.retain(|cell| args.only.as_ref().is_none_or(|only| cell.kind.contains(only.as_str())));
    let (measured, wrong) = measure_all(&cells, args.jobs.unwrap_or_else(cores));
    for finding in &wrong {
        println!("FINDING {finding}");
    }
    if !wrong.is_empty() {
        return FINDING;
    }
    let table = markdown(&measured);
    match args.write.as_ref().or(args.check.as_ref()) {
        Some(file) => settle(file, &table, args.write.is_some(), replace),
        None => {
            print!("{table}");
            OK
        }
    }
}

fn one(cell: &str) -> u8 {
    let found = serde_json::from_str::<Cell>(cell)
        .map_err(|error| error.to_string())
        .and_then(|cell| measure(&cell));
    match found {
        Ok(found) => {
            println!("{}", serde_json::to_string(&found).expect("figures are plain data"));
            OK
        }
        Err(error) => {
            eprintln!("{cell} can not be measured: {error}");
            USAGE
        }
    }
}

/// Writes the table into the file, or looks whether it stands there already.
pub(super) fn settle(
    file: &str,
    table: &str,
    write: bool,
    replace: fn(&str, &str) -> Result<String, String>,
) -> u8 {
    let changed = std::fs::read_to_string(file)
        .map_err(|error| error.to_string())
        .and_then(|old| replace(&old, table).map(|new| (old == new, new)));
    match changed {
        Ok((true, _)) => OK,
        Ok((false, new)) if write => match std::fs::write(file, new) {
            Ok(()) => OK,
            Err(error) => {
                eprintln!("{file} could not be written: {error}");
                USAGE
            }
        },
        Ok((false, _)) => {
            println!("{table}");
            println!("FINDING {file} has another table; write it anew with `make sim-table`");
            FINDING
        }
        Err(error) => {
            eprintln!("{file}: {error}");
            USAGE
        }
    }
}

fn measure_all(cells: &[Cell], jobs: usize) -> (Vec<(Cell, Measured)>, Vec<String>) {
    let found = Mutex::new((Vec::new(), Vec::new()));
    let total = cells.len() as u64;
    each(jobs, 0..total, |index| {
        let Some((at, cell)) =
            usize::try_from(index).ok().and_then(|at| Some((at, cells.get(at)?)))
        else {
            return false;
        };
        let text = serde_json::to_string(cell).expect("cells are plain data");
        let measured = output(&["table", "--cell", &text], None)
            .and_then(|out| serde_json::from_str::<Measured>(&out.last).map_err(|_| out.died()));
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, wrong) = &mut *found;
        match measured {
            Ok(measured) => {
                wrong.extend(measured.findings.iter().map(|finding| format!("{text}: {finding}")));
                done.push((at, measured));
            }
            Err(error) => wrong.push(format!("{text}: {error}")),
        }
        progress((done.len() + wrong.len()) as u64, total, wrong.len());
        true
    });
    let (mut done, wrong) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    (done.into_iter().map(|(at, measured)| (cells[at].clone(), measured)).collect(), wrong)
}
