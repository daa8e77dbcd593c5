//! The table as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use continuum_domain::spec::{Durability, WitnessLossPolicy};

use super::{Cell, Kind, Measured, SEEDS, SPAN_MS, all};
use crate::plan::REGIONS;

/// The lines between which the table stands.
const BEGIN: &str = "<!-- behaviour table: begin -->";
const END: &str = "<!-- behaviour table: end -->";

type Results = BTreeMap<(String, &'static str, &'static str), Vec<Measured>>;

fn policy(policy: WitnessLossPolicy) -> &'static str {
    match policy {
        WitnessLossPolicy::Fence => "fence",
        WitnessLossPolicy::Failsafe => "failsafe",
    }
}

fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Strict => "strict",
        Durability::Available => "available",
        Durability::Async => "async",
    }
}

/// The table of everything that was measured.
pub fn markdown(measured: &[(Cell, Measured)]) -> String {
    let mut results = Results::new();
    for (cell, found) in measured {
        let key = (cell.kind.clone(), durability(cell.durability), policy(cell.policy));
        results.entry(key).or_default().push(found.clone());
    }
    let mut text = format!(
        "Each partition lasts {} s; ttl 10 s, two regions, three control nodes, {SEEDS} seeds a row. \
         Seconds are least / middle / most, counted from the beginning of the partition. *Primary* \
         and *standby* are what the regions were before it.\n",
        SPAN_MS / 1_000
    );
    for of in ["strict", "available", "async"] {
        let more = if of == "async" { ", loss of up to 1 MiB approved" } else { "" };
        write!(
            text,
            "\n**{of}**{more}\n\n\
             | partition | policy | takes writes | longest time without acks, s | standby's first \
             ack, s | name moves, s | clients see | named states | lost |\n\
             |---|---|---|---|---|---|---|---|---|\n"
        )
        .expect("a string takes everything");
        for kind in all() {
            rows(&mut text, &kind, of, &results);
        }
    }
    text
}

/// The rows of a kind: one for both policies where they do the same.
fn rows(text: &mut String, kind: &Kind, of: &'static str, results: &Results) {
    let get = |policy| results.get(&(kind.name.to_owned(), of, policy));
    let mut told: Vec<(&str, String)> = Vec::new();
    for policy in ["fence", "failsafe"] {
        let Some(found) = get(policy) else { continue };
        told.push((if kind.of_witness { policy } else { "any" }, columns(found)));
    }
    if let [(_, one), (_, other)] = told.as_slice()
        && one == other
    {
        told = vec![("any", one.clone())];
    }
    for (policy, columns) in told {
        writeln!(text, "| {} | {policy} | {columns} |", kind.words)
            .expect("a string takes everything");
    }
}

fn columns(found: &[Measured]) -> String {
    let gaps = spread(found.iter().map(|it| it.gap_ms));
    let mended = found.iter().all(|it| it.until_mended && it.gap_ms >= 1_000);
    let other = times(found, |it| it.other_ms);
    let name = times(found, |it| it.name_ms);
    let lost: u64 = found.iter().map(|it| it.lost).max().unwrap_or(0);
    [
        among(found.iter().map(writers)),
        if mended { format!("{gaps}, until mended") } else { gaps },
        other,
        name,
        clients(found),
        named(found),
        if lost == 0 { "0".into() } else { format!("up to {lost}") },
    ]
    .join(" | ")
}

/// Different answers of different seeds, each once.
fn among(answers: impl Iterator<Item = String>) -> String {
    let answers: BTreeSet<String> = answers.collect();
    answers.into_iter().collect::<Vec<_>>().join("; or ")
}

fn member(region: &str) -> &str {
    match REGIONS.iter().position(|name| *name == region) {
        Some(0) => "primary",
        Some(1) => "standby",
        _ => region,
    }
}

fn writers(found: &Measured) -> String {
    let word = |who: &String| match who.as_str() {
        "-" => "nobody".to_owned(),
        names => names.split('+').map(member).collect::<Vec<_>>().join(" and "),
    };
    let stages: Vec<String> = found.writable.iter().map(word).collect();
    let regions: BTreeSet<&String> = stages.iter().collect();
    let during = match (stages.as_slice(), regions.len()) {
        ([only], _) => only.clone(),
        (many, 2) if many.len() > 4 => {
            let mut names: Vec<_> = regions.into_iter().cloned().collect();
            names.sort_by_key(|name| name == "nobody");
            format!("{}, on and off", names.join(" or "))
        }
        (many, _) => many.join(", "),
    };
    let after = found.after.split('+').map(member).collect::<Vec<_>>().join(" and ");
    match &found.whole {
        _ if stages.last() == Some(&after) => during,
        None => format!("{during}; then {after}"),
        Some(_) => format!("{during}; not whole again by itself"),
    }
}

fn times(found: &[Measured], of: impl Fn(&Measured) -> Option<u64>) -> String {
    let some: Vec<u64> = found.iter().filter_map(of).collect();
    match some.len() {
        0 => "-".into(),
        all if all == found.len() => spread(some.into_iter()),
        few => format!("{} ({few} of {})", spread(some.into_iter()), found.len()),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

/// Least, middle and most, in seconds.
fn spread(values: impl Iterator<Item = u64>) -> String {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return "-".into() };
    if *most < 1_000 {
        return "< 1".into();
    }
    let middle = values[values.len() / 2];
    format!("{} / {} / {}", seconds(*least), seconds(middle), seconds(*most))
}

fn clients(found: &[Measured]) -> String {
    let most = |of: fn(&Measured) -> u64| found.iter().map(of).max().unwrap_or(0);
    let mut counts = Vec::new();
    let (refused, unknown, wait) =
        (most(|it| it.refused), most(|it| it.unknown), most(|it| it.wait_ms));
    if refused > 0 {
        counts.push(format!("{refused} refused"));
    }
    if unknown > 0 {
        counts.push(format!("{unknown} unknown"));
    }
    let counted = (!counts.is_empty()).then(|| format!("up to {}", counts.join(", ")));
    let waited = (wait >= 1_000).then(|| format!("waits up to {} s", seconds(wait)));
    let seen: Vec<String> = counted.into_iter().chain(waited).collect();
    if seen.is_empty() { "nothing".into() } else { seen.join(", ") }
}

fn named(found: &[Measured]) -> String {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (region, codes) in found.iter().flat_map(|it| &it.named) {
        all.entry(member(region)).or_default().extend(codes.iter().map(String::as_str));
    }
    let told = all.iter().map(|(who, codes)| {
        let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        format!("{who}: {}", codes.join(", "))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "-".into() } else { told.join("; ") }
}

/// Puts the table into a document, between its two marks.
pub fn replace(document: &str, table: &str) -> Result<String, String> {
    put_between(document, (BEGIN, END), table)
}

/// Puts a table into a document, between two lines of it.
pub fn put_between(
    document: &str,
    (begin, end): (&str, &str),
    table: &str,
) -> Result<String, String> {
    let missing = |mark: &str| format!("the document has no line {mark}");
    let (before, rest) = document.split_once(begin).ok_or_else(|| missing(begin))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| missing(end))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_between_its_marks_and_nothing_else_changes() {
        let document = format!("one\n{BEGIN}\nold\n{END}\ntwo\n");
        let once = replace(&document, "| new |").expect("it has both marks");
        assert_eq!(once, format!("one\n{BEGIN}\n\n| new |\n\n{END}\ntwo\n"));
        assert_eq!(replace(&once, "| new |").as_ref(), Ok(&once));
        assert!(replace("no marks", "| new |").is_err());
    }

    #[test]
    fn a_row_says_who_takes_writes_and_for_how_long_nobody_did() {
        let found = Measured {
            writable: vec!["fsn".into(), "-".into(), "hel".into()],
            after: "hel".into(),
            gap_ms: 11_250,
            other_ms: Some(11_300),
            unknown: 2,
            ..Measured::default()
        };
        let row = columns(&[found]);
        assert!(row.starts_with("primary, nobody, standby | 11.2 / 11.2 / 11.2 | 11.3"), "{row}");
        assert!(row.contains("up to 2 unknown | - | 0"), "{row}");
    }
}
