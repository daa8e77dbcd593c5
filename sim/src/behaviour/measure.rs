//! One run of a cell, watched from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cell, SPAN_MS, all};
use crate::plan::REGIONS;
use crate::postgres::{Content, Event};
use crate::run::{Run, Watch, measured};
use crate::users::Outcome;

/// How long the pair is watched before.
const BEFORE: Duration = Duration::from_secs(5);
/// How long it may take to stand again.
const AFTER: Duration = Duration::from_secs(90);
/// How often PostgreSQL is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Who takes writes for a shorter time than this is not worth a word.
const BRIEF: Duration = Duration::from_millis(300);

/// What was measured. Times are milliseconds from the beginning of the partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Who took writes, in turn, while it lasted; `-` for nobody.
    pub writable: Vec<String>,
    /// Who does when the pair stands again.
    pub after: String,
    /// Longest time without an acknowledgement that began before the end of the partition.
    pub gap_ms: u64,
    /// Whether that lasted until the partition was over.
    pub until_mended: bool,
    /// When the other region first acknowledged a write.
    pub other_ms: Option<u64>,
    /// When the name first pointed at the other region.
    pub name_ms: Option<u64>,
    /// Writes that clients know did not happen.
    pub refused: u64,
    /// Writes of which clients know nothing.
    pub unknown: u64,
    /// Longest wait for a write that was acknowledged in the end.
    pub wait_ms: u64,
    /// Acknowledged writes that are lost, by the standing approval.
    pub lost: u64,
    /// Named states, by region.
    pub named: BTreeMap<String, BTreeSet<String>>,
    /// Whether the pair stood again by itself; why not.
    pub whole: Option<String>,
    /// Broken rules.
    pub findings: Vec<String>,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Runs a cell. One run at a time per process.
pub fn measure(cell: &Cell) -> Result<Measured, String> {
    let kind = all().into_iter().find(|kind| kind.name == cell.kind);
    let kind = kind.ok_or_else(|| format!("there is no partition {:?}", cell.kind))?;
    let plan = cell.plan();
    let faults = kind.faults(&plan);
    let (verdict, found) = measured(&plan, Watch::default(), |run| {
        run.until(run.world.now() + BEFORE)?;
        let began = run.world.now();
        for fault in faults {
            run.world.break_with(fault);
        }
        let ends = began + Duration::from_millis(SPAN_MS);
        let writable = watch(run, ends)?;
        let whole = run.stand(AFTER).err();
        Ok(Measured { writable, whole, ..look_back(run, began, ends) })
    });
    let found = found.unwrap_or_default();
    Ok(Measured { findings: verdict.findings, lost: verdict.lost_by_approval, ..found })
}

/// Who takes writes until `ends`, in turn.
fn watch(run: &mut Run<'_>, ends: Duration) -> Result<Vec<String>, String> {
    let mut stages: Vec<(String, Duration)> = Vec::new();
    while run.world.now() < ends {
        let members = &run.world.members;
        let names = members.regions().filter(|region| members.cluster.accepts_writes(region));
        let names: Vec<&str> = names.map(|region| region.as_str()).collect();
        let now = if names.is_empty() { "-".to_owned() } else { names.join("+") };
        match stages.last_mut() {
            Some((last, span)) if *last == now => *span += LOOK,
            _ => stages.push((now, LOOK)),
        }
        run.until(run.world.now() + LOOK)?;
    }
    let mut told: Vec<String> = Vec::new();
    for (who, span) in stages {
        if span >= BRIEF && told.last() != Some(&who) {
            told.push(who);
        }
    }
    Ok(told)
}

fn look_back(run: &Run<'_>, began: Duration, ends: Duration) -> Measured {
    let members = &run.world.members;
    let other = REGIONS[1];
    let mut found = Measured::default();
    let mut last = began;
    for happening in members.cluster.happened(0) {
        let Event::Acknowledged(ack) = &happening.event else { continue };
        if !matches!(ack.content, Content::Append(_)) || happening.at < began {
            continue;
        }
        gap(&mut found, last, happening.at, ends);
        last = happening.at;
        if ack.member.as_str() == other {
            found.other_ms.get_or_insert(ms(happening.at - began));
        }
    }
    gap(&mut found, last, run.world.now(), ends);
    let learnt = run.world.users.learnt();
    let moved = learnt
        .answers
        .iter()
        .find(|answer| answer.came >= began && answer.region.as_deref() == Some(other));
    found.name_ms = moved.map(|answer| ms(answer.came - began));
    for write in learnt.writes.iter().filter(|write| write.ended >= began) {
        match write.outcome {
            Outcome::Acknowledged => {
                found.wait_ms = found.wait_ms.max(ms(write.ended - write.asked));
            }
            Outcome::Refused => found.refused += 1,
            Outcome::Unknown => found.unknown += 1,
        }
    }
    drop(learnt);
    let writable = members.regions().filter(|region| members.cluster.accepts_writes(region));
    found.after = writable.map(|region| region.as_str()).collect::<Vec<_>>().join("+");
    found.named = named(run, began, ends);
    found
}

fn gap(found: &mut Measured, from: Duration, to: Duration, ends: Duration) {
    let long = ms(to.saturating_sub(from));
    if from < ends && long > found.gap_ms {
        found.gap_ms = long;
        found.until_mended = to >= ends;
    }
}

/// Named states that the agents noted while it lasted.
fn named(run: &Run<'_>, began: Duration, ends: Duration) -> BTreeMap<String, BTreeSet<String>> {
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in run.world.trace.lines() {
        let code =
            line.what.split_once("Blocked { code: \"").and_then(|(_, rest)| rest.split('"').next());
        if let Some(code) = code.filter(|_| line.at >= began && line.at <= ends) {
            named.entry(line.who.clone()).or_default().insert(code.to_owned());
        }
    }
    named
}
