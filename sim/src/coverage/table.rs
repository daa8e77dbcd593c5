//! The rows as a table for people, and as JSON for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::{Rows, left_out};

/// Rows summed over runs, held against what must be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many runs.
    pub runs: u64,
    /// How often each row was reached.
    pub rows: Rows,
    /// How many rows must be reached.
    pub required: usize,
    /// Those of them that never were.
    pub missing: Vec<String>,
    /// Rows that were reached although the list says that they can not be.
    pub unexpected: Vec<String>,
}

impl Report {
    /// Holds `rows` of `runs` runs against `required`.
    pub fn new(runs: u64, rows: Rows, required: &[String]) -> Self {
        let missing = required.iter().filter(|row| !rows.contains_key(*row)).cloned().collect();
        let reached = |(row, _): &&(&str, &str)| rows.contains_key(*row);
        let unexpected = left_out().iter().filter(reached).map(|(row, _)| (*row).to_owned());
        let unexpected = unexpected.collect();
        Self { runs, rows, required: required.len(), missing, unexpected }
    }

    /// One line: how much was reached, and what was not.
    pub fn verdict(&self) -> String {
        let mut text = format!(
            "{} of {} required rows reached in {} runs; {} rows in all",
            self.required - self.missing.len(),
            self.required,
            self.runs,
            self.rows.len()
        );
        for row in &self.missing {
            write!(text, "\nNEVER REACHED {row}").expect("a string takes everything");
        }
        for row in &self.unexpected {
            write!(text, "\nREACHED AFTER ALL {row}: it is no longer to be left out")
                .expect("a string takes everything");
        }
        text
    }

    /// Whether everything that must be reached was, and nothing that can not be.
    pub fn is_ok(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}

/// What a row begins with: its kind.
fn group(row: &str) -> &str {
    row.split(' ').next().unwrap_or(row)
}

/// The rows as text: events by role as one grid, the machines' full states as a sum, and every other
/// row with its count.
pub fn text(rows: &Rows) -> String {
    let mut text = grid(rows);
    let states: BTreeSet<&str> = rows
        .keys()
        .filter(|row| group(row) == "machine")
        .filter_map(|row| row.split(' ').nth(1))
        .collect();
    let pairs = rows.keys().filter(|row| group(row) == "machine").count();
    writeln!(text, "\n{} states of the pair machine, {pairs} (state, event) rows", states.len())
        .expect("a string takes everything");
    let mut last = "";
    for (row, count) in rows {
        let of = group(row);
        if of == "machine" || of == "event" {
            continue;
        }
        if of != last {
            text.push('\n');
            last = of;
        }
        writeln!(text, "  {row:<52} {count:>9}").expect("a string takes everything");
    }
    text
}

/// Events by role.
fn grid(rows: &Rows) -> String {
    let mut cells: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut roles = BTreeSet::new();
    for (row, count) in rows.iter().filter(|(row, _)| group(row) == "event") {
        let mut words = row.split(' ').skip(1);
        if let (Some(role), Some(event)) = (words.next(), words.next()) {
            roles.insert(role);
            cells.entry(event).or_default().insert(role, *count);
        }
    }
    let mut text = format!("{:<18}", "event");
    for role in &roles {
        write!(text, " {role:>13}").expect("a string takes everything");
    }
    text.push('\n');
    for (event, by_role) in cells {
        write!(text, "{event:<18}").expect("a string takes everything");
        for role in &roles {
            let count = by_role.get(role).map_or("-".to_owned(), u64::to_string);
            write!(text, " {count:>13}").expect("a string takes everything");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(names: &[&str]) -> Rows {
        names.iter().map(|name| ((*name).to_owned(), 3)).collect()
    }

    #[test]
    fn a_required_row_that_was_never_reached_is_named() {
        let reached = rows(&["blocked fenced", "event standby wake"]);
        let mut required = vec!["blocked fenced".to_owned()];
        assert_eq!(Report::new(2, reached.clone(), &required).missing, Vec::<String>::new());
        required.push("blocked no-such-state".into());
        let report = Report::new(2, reached, &required);
        assert_eq!(report.missing, ["blocked no-such-state"]);
        assert!(report.verdict().contains("1 of 2 required rows"), "{}", report.verdict());
        assert!(report.verdict().contains("NEVER REACHED blocked no-such-state"));
        assert!(!report.is_ok());
    }

    #[test]
    fn a_row_that_is_left_out_and_reached_is_named() {
        for (row, _) in left_out() {
            let report = Report::new(1, rows(&[row]), &[]);
            assert!(!report.is_ok());
            assert!(report.verdict().contains(&format!("REACHED AFTER ALL {row}")));
        }
    }

    #[test]
    fn nothing_is_both_required_and_left_out() {
        let required = crate::coverage::required();
        assert!(left_out().iter().all(|(row, _)| !required.iter().any(|other| other == row)));
        assert!(required.windows(2).all(|two| two[0] < two[1]), "sorted, each once");
    }

    #[test]
    fn events_are_shown_by_role_and_the_rest_in_lines() {
        let text = text(&rows(&["event standby wake", "event primary wake", "blocked fenced"]));
        assert!(text.contains("wake                           3             3"), "{text}");
        assert!(text.contains("blocked fenced"), "{text}");
    }
}
