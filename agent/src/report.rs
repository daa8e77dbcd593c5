//! The machine's state in the shape the core and operators read.

use std::collections::BTreeMap;

use continuum_control_api::link::{AcceptorReport, Blocked, Fact, MemberReport, MemberRole};
use continuum_domain::observation::Hindrance;
use continuum_domain::pair::types::Note;
use continuum_domain::pair::{PairStatus, RoleView};
use continuum_domain::{Tick, Version};
use continuum_witness::quorum::AcceptorHealth;

use crate::beats::Beats;
use crate::names::{NameDigest, NamesSeen};

pub(crate) fn millis(from: Tick, to: Tick) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

/// A report of the member at `now`.
pub(crate) fn member_report(
    status: &PairStatus,
    beats: &Beats,
    names: &NamesSeen,
    now: Tick,
) -> MemberReport {
    let observation = &status.observation;
    MemberReport {
        role: role(status, now),
        record: status
            .record
            .as_ref()
            .map(|(version, record, back)| (*version, record.clone(), millis(*back, now))),
        lease_remaining_ms: status.lease_until.map(|until| millis(now, until)),
        session_remaining_ms: status.session_until.map(|until| millis(now, until)),
        data_directory: status.actuator.as_ref().and_then(|guard| guard.data_directory.clone()),
        sql: observation.sql.as_ref().map(|(at, sql)| (sql.clone(), millis(*at, now))),
        sql_failed: observation
            .failed
            .as_ref()
            .map(|(at, reason)| (millis(*at, now), reason.clone())),
        write_probe_age_ms: observation.write_probe.map(|at| millis(at, now)),
        fenced: status.actuator.as_ref().and_then(|guard| guard.fenced.clone()),
        blocked: status.blocked.as_ref().map(blocked),
        guard_alive: status.actuator.is_some(),
        witness_reachable: status.witness_reachable,
        spec_version: status.spec_version,
        takeover_refusals: Some(status.takeover_refusals.clone()),
        peers: beats.report(now),
        names: names.report(now),
        hindrances: status.hindrances.iter().map(hindrance).collect(),
        against_leaving: status.against_leaving.iter().map(hindrance).collect(),
        backups: None,
        role_writes: None,
    }
}

/// What of a member is worth reporting at once when it changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    role: MemberRole,
    record: Option<Version>,
    blocked: Option<&'static str>,
    standbys: Option<usize>,
    takeover_refusals: usize,
    names: Vec<NameDigest>,
}

impl Digest {
    /// Of the member at `now`.
    pub fn of(status: &PairStatus, names: &NamesSeen, now: Tick) -> Self {
        Self {
            role: role(status, now),
            record: status.record.as_ref().map(|(version, ..)| *version),
            blocked: status.blocked.as_ref().map(|blocked| blocked.code),
            standbys: status.observation.sql.as_ref().map(|(_, sql)| sql.standbys.len()),
            takeover_refusals: status.takeover_refusals.len(),
            names: names.digest(),
        }
    }
}

/// The acceptors as this agent sees them at `now`.
pub(crate) fn acceptor_reports(
    seen: &BTreeMap<String, AcceptorHealth>,
    now: Tick,
) -> BTreeMap<String, AcceptorReport> {
    let report = |health: &AcceptorHealth| AcceptorReport {
        answered_age_ms: health.answered.map(|at| millis(at, now)),
        failures: health.failures,
        last_error: health.last_error.map(|(at, code)| (millis(at, now), code.to_owned())),
        p50_us: health.round_trips.map(|trips| trips.p50_us),
        p99_us: health.round_trips.map(|trips| trips.p99_us),
    };
    seen.iter().map(|(name, health)| (name.clone(), report(health))).collect()
}

/// The role at `now`: a primary whose lease has run out since the machine last looked is none.
pub(crate) fn role(status: &PairStatus, now: Tick) -> MemberRole {
    let leased = status.lease_until.is_some_and(|until| now < until);
    match status.role {
        RoleView::Primary if leased => MemberRole::Primary,
        RoleView::Promoting if leased => MemberRole::Promoting,
        RoleView::Primary | RoleView::Promoting | RoleView::Fenced => MemberRole::Fenced,
        RoleView::Standby => MemberRole::Standby,
        RoleView::Rejoining => MemberRole::Rejoining,
        RoleView::HandingOver => MemberRole::HandingOver,
        RoleView::Resting => MemberRole::Resting,
        RoleView::Unknown => MemberRole::Unknown,
    }
}

fn blocked(blocked: &continuum_domain::pair::types::Blocked) -> Blocked {
    Blocked {
        code: blocked.code.into(),
        meaning: blocked.meaning.clone(),
        action: blocked.action.into(),
    }
}

pub(crate) fn hindrance(one: &Hindrance) -> Blocked {
    Blocked { code: one.code.clone(), meaning: one.meaning.clone(), action: one.action.clone() }
}

/// A machine's note as a journal fact.
pub(crate) fn fact(note: Note) -> Fact {
    match note {
        Note::Step { step, outcome, took, detail } => {
            let took_us = took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            Fact::Step { step, outcome, took_us, detail }
        }
        Note::Acquired { by, from, autonomous } => {
            Fact::Acquired { by: by.into(), from, autonomous }
        }
        Note::Released(reason) => Fact::Released { reason },
        Note::Fenced(reason) => Fact::Fenced { reason },
        Note::Ledger { before, after, reason } => Fact::Ledger { before, after, reason },
        Note::Premise { holds, reasons } => Fact::Premise { holds, reasons },
        Note::Rejoined { how, artefact, span } => Fact::Rejoined {
            how: how.into(),
            commits: artefact.as_ref().map(|(_, commits)| *commits),
            artefact: artefact.map(|(path, _)| path),
            fork: span.map(|(fork, _)| fork),
            end: span.map(|(_, end)| end),
        },
        Note::Blocked(state) => Fact::Blocked { state: state.as_ref().map(blocked) },
    }
}
