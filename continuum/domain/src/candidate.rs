//! Which standby could take over, and why the others could not.
//!
//! Unknown is a reason against a candidate, never healthy (I7).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{DataDirectoryId, Lsn, RegionId};
use crate::mutation::{Bug, planted};
use crate::record::PairRecord;

/// A report older than this is not knowledge any more.
pub const REPORT_AGE_MS_MAX: u64 = 3_000;

/// What is known of one standby. `None` means it was not measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateFacts {
    /// Higher is preferred.
    pub priority: u32,
    /// Age of the newest report of its agent.
    pub report_age_ms: Option<u64>,
    /// The data directory it has now.
    pub data_directory: Option<DataDirectoryId>,
    /// Received and flushed up to here.
    pub flush: Option<Lsn>,
    /// Bytes behind the primary.
    pub lag_bytes: Option<u64>,
    /// The WAL receiver streams.
    pub streaming: Option<bool>,
    /// PostgreSQL answers and is a standby.
    pub is_standby: Option<bool>,
    /// The guard answers.
    pub guard_alive: Option<bool>,
    /// The region's agent reaches the witness.
    pub witness_reachable: Option<bool>,
    /// Milliseconds until the region's session lapses.
    pub session_remaining_ms: Option<u64>,
    /// Break-glass mark.
    pub fenced: Option<String>,
    /// Code of the named blocked state it stands in.
    pub blocked: Option<String>,
    /// What stands against its being a primary beside its database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<String>,
}

/// What the candidate is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A planned move: the primary lives, so the target must stream and be close behind.
    Switchover {
        /// `async` pairs need no ledger entry: the holder writes it at hand-over (R14).
        needs_ledger: bool,
        /// Furthest behind that is accepted.
        max_lag_bytes: u64,
    },
    /// The primary is lost.
    Failover {
        /// A loss is approved, so the ledger does not decide (never for a ledger takeover, R18).
        allow_data_loss: bool,
    },
}

/// Every reason against `region`; none means it could take over.
pub fn refusals(
    region: &RegionId,
    facts: &CandidateFacts,
    record: Option<&PairRecord>,
    purpose: Purpose,
) -> Vec<String> {
    let mut against = Vec::new();
    match facts.report_age_ms {
        None => against.push("its agent never reported: its state is unknown".to_owned()),
        Some(age) if age > REPORT_AGE_MS_MAX => {
            against.push(format!("its agent's last report is {age} ms old: its state is unknown"));
        }
        Some(_) => {}
    }
    ledger_refusals(region, facts, record, purpose, &mut against);
    if facts.is_standby != Some(true) {
        against.push(match facts.is_standby {
            Some(false) => "its PostgreSQL does not run as a standby".to_owned(),
            _ => "whether its PostgreSQL runs as a standby is unknown".to_owned(),
        });
    }
    health_refusals(facts, &mut against);
    if let Some(code) = facts.blocked.as_ref().filter(|code| !lifted(code, purpose)) {
        against.push(format!("it stands in the blocked state {code}"));
    }
    if let Purpose::Switchover { max_lag_bytes, .. } = purpose {
        match facts.streaming {
            Some(true) => {}
            Some(false) => against.push("it does not stream from the primary".to_owned()),
            None => against.push("whether it streams is unknown".to_owned()),
        }
        match facts.lag_bytes {
            Some(lag) if lag <= max_lag_bytes => {}
            Some(lag) => against.push(format!(
                "it is {lag} bytes behind, more than max_lag_bytes = {max_lag_bytes}"
            )),
            None => against.push("its lag is unknown".to_owned()),
        }
    }
    // Where the primary is lost they bar nobody who could try: they say why one could not.
    if matches!(purpose, Purpose::Switchover { .. }) || !against.is_empty() {
        against.extend(facts.hindrances.iter().cloned());
    }
    against
}

/// R13: the ledger names data directories; a member whose directory is not the one listed is not
/// in sync, whatever its region's name says.
fn ledger_refusals(
    region: &RegionId,
    facts: &CandidateFacts,
    record: Option<&PairRecord>,
    purpose: Purpose,
    against: &mut Vec<String>,
) {
    let needed = match purpose {
        Purpose::Switchover { needs_ledger, .. } => needs_ledger,
        Purpose::Failover { allow_data_loss } => !allow_data_loss,
    };
    let Some(record) = record else {
        against.push("the pair's register could not be read: the ledger is unknown".to_owned());
        return;
    };
    if !needed {
        return;
    }
    match (record.in_sync.get(region), &facts.data_directory) {
        (None, _) => against.push("it is not in the in-sync ledger".to_owned()),
        (Some(_), None) => against.push("its data directory is unknown".to_owned()),
        (Some(listed), Some(has)) if listed != has && !planted(Bug::CandidateByName) => against
            .push(format!(
                "the ledger lists data directory {listed}, but it has {has}: it may lack commits"
            )),
        _ => {}
    }
}

fn health_refusals(facts: &CandidateFacts, against: &mut Vec<String>) {
    match facts.guard_alive {
        Some(true) => {}
        Some(false) => against.push("its guard does not answer".to_owned()),
        None => against.push("whether its guard lives is unknown".to_owned()),
    }
    match facts.witness_reachable {
        Some(true) => {}
        Some(false) => against.push("its agent does not reach the witness".to_owned()),
        None => against.push("whether its agent reaches the witness is unknown".to_owned()),
    }
    match facts.session_remaining_ms {
        Some(0) => against.push("its region's session has lapsed".to_owned()),
        Some(_) => {}
        None => against.push("whether its region's session is valid is unknown".to_owned()),
    }
    if let Some(mark) = &facts.fenced {
        against.push(format!("it is fenced by hand: {mark}"));
    }
}

/// Whether a member stands in that state only for want of the very word that the move is.
fn lifted(code: &str, purpose: Purpose) -> bool {
    match purpose {
        Purpose::Switchover { .. } => false,
        Purpose::Failover { allow_data_loss } => match code {
            "denied-by-core" | "core-unreachable" | "health-name-answers" => true,
            "not-in-sync" | "data-loss-approval" => allow_data_loss,
            _ => false,
        },
    }
}

/// The choice among several standbys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The best one, if any could take over.
    pub best: Option<RegionId>,
    /// Every candidate with the reasons against it.
    pub refusals: BTreeMap<RegionId, Vec<String>>,
}

/// Chooses: able at all, then highest flush position (unknown is lowest), then priority, then the
/// region's name so that every node chooses alike.
pub fn choose(
    candidates: &BTreeMap<RegionId, CandidateFacts>,
    record: Option<&PairRecord>,
    purpose: Purpose,
) -> Choice {
    let refusals: BTreeMap<_, _> = candidates
        .iter()
        .map(|(region, facts)| (region.clone(), refusals(region, facts, record, purpose)))
        .collect();
    let best = candidates
        .iter()
        .filter(|(region, _)| refusals.get(region).is_some_and(Vec::is_empty))
        .max_by(|(a, left), (b, right)| {
            (left.flush, left.priority).cmp(&(right.flush, right.priority)).then_with(|| b.cmp(a))
        })
        .map(|(region, _)| region.clone());
    Choice { best, refusals }
}
