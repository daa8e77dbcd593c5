//! The table as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Cell, Counted, MINUTES, SEEDS, SUSPECT_AFTER, all};
use crate::behaviour::put_between;
use crate::plan::Ms;

/// The lines between which the table stands.
const BEGIN: &str = "<!-- alarms table: begin -->";
const END: &str = "<!-- alarms table: end -->";

/// The table of everything that was counted.
pub fn markdown(counted: &[(Cell, Counted)]) -> String {
    let mut cells: BTreeMap<(&str, Ms), (u64, u64)> = BTreeMap::new();
    for (cell, found) in counted {
        let (runs, moves) = cells.entry((&cell.kind, cell.suspect_after)).or_default();
        *runs += 1;
        *moves += found.moves;
    }
    let mut text = format!(
        "Unneeded moves a simulated day, by `suspect_after`: durability available, ttl 10 s, two regions, \
         one disturbance at a time, {} simulated minutes a cell, so that one move in them is {} a \
         day. Nobody is lost in any of them, and nothing acknowledged was.\n\n\
         | disturbance |",
        SEEDS * MINUTES,
        per_day(1, SEEDS)
    );
    for suspect_after in SUSPECT_AFTER {
        write!(text, " {suspect_after} ms |").expect("a string takes everything");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(SUSPECT_AFTER.len()));
    text.push('\n');
    for kind in all() {
        write!(text, "| {} |", kind.words).expect("a string takes everything");
        for suspect_after in SUSPECT_AFTER {
            let figure = cells.get(&(kind.name, suspect_after)).copied();
            let figure = figure.map_or_else(|| "-".into(), |(runs, moves)| per_day(moves, runs));
            write!(text, " {figure} |").expect("a string takes everything");
        }
        text.push('\n');
    }
    text
}

fn per_day(moves: u64, runs: u64) -> String {
    let minutes = runs * MINUTES;
    (moves * 24 * 60 / minutes.max(1)).to_string()
}

/// Puts the table into a document, between its two marks.
pub fn replace(document: &str, table: &str) -> Result<String, String> {
    put_between(document, (BEGIN, END), table)
}
