//! From the facts of a run to its lanes: who, what bars, what marks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::notes;
use super::recorded::Recorded;
use super::struck::{lasted, struck};
use crate::plan::{NAMES, USERS};
use crate::postgres::{Content, Event, LineId};

/// What a mark stands for; the order is that in which labels are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// Something is wrong.
    Wrong,
    /// PostgreSQL is stopped by its agent, for the lease's sake.
    Fence,
    /// PostgreSQL becomes primary.
    Promote,
    /// PostgreSQL is stopped.
    Stop,
    /// A fault or an order without a length.
    Fault,
    /// Anything else worth a word.
    Other,
}

/// A moment in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub at: Duration,
    pub sign: Sign,
    /// One or two words.
    pub label: String,
    /// All of it, on hover.
    pub title: String,
}

/// A fault while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub from: Duration,
    pub to: Duration,
    pub label: String,
    pub title: String,
}

/// An epoch while a region held it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub from: Duration,
    pub to: Duration,
    pub epoch: u64,
    /// How it was acquired, if that is known.
    pub by: Option<String>,
}

/// What PostgreSQL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Standby,
}

/// PostgreSQL while it ran in one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub from: Duration,
    pub to: Duration,
    pub role: Role,
}

/// A region's own rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub leases: Vec<Lease>,
    pub running: Vec<Running>,
    /// Acknowledgements by slice of time and epoch.
    pub acknowledged: BTreeMap<(u64, u64), u64>,
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lane {
    pub name: String,
    /// What it is, in small letters.
    pub about: &'static str,
    /// Only for regions.
    pub member: Option<Member>,
    pub spans: Vec<Span>,
    pub marks: Vec<Mark>,
}

/// All lanes of a run, from top to bottom; `slice` is that of the acknowledgements.
pub(super) fn lanes(recorded: &Recorded, slice: Duration) -> Vec<Lane> {
    let plan = &recorded.plan;
    let lane = |name: &str, about| Lane { name: name.into(), about, ..Lane::default() };
    let region = |name: &String| Lane { member: Some(Member::default()), ..lane(name, "region") };
    let mut lanes: Vec<Lane> = plan.region_names().iter().map(region).collect();
    lanes.extend(plan.witnesses().iter().map(|name| lane(name, "witness")));
    lanes.extend(plan.core().iter().map(|name| lane(name, "control node")));
    // These matter only when something happens to them.
    lanes.push(lane(NAMES, "name server"));
    lanes.push(lane(USERS, "operator"));
    let mut drawing = Drawing { recorded, slice, lanes };
    drawing.strikes();
    drawing.leases();
    drawing.postgres();
    for (name, mark) in notes::marks(&recorded.notes) {
        drawing.mark(name, mark);
    }
    let mut lanes = drawing.lanes;
    lanes.retain(|lane| ![NAMES, USERS].contains(&lane.name.as_str()) || !lane.is_empty());
    for lane in &mut lanes {
        lane.marks.sort_by_key(|mark| (mark.at, mark.sign));
    }
    lanes
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.marks.is_empty()
    }
}

struct Drawing<'a> {
    recorded: &'a Recorded,
    slice: Duration,
    lanes: Vec<Lane>,
}

impl Drawing<'_> {
    fn lane(&mut self, name: &str) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.name == name)
    }

    fn member(&mut self, name: &str) -> Option<&mut Member> {
        self.lane(name)?.member.as_mut()
    }

    fn mark(&mut self, name: &str, mark: Mark) {
        if let Some(lane) = self.lane(name) {
            lane.marks.push(mark);
        }
    }

    fn strikes(&mut self) {
        let recorded = self.recorded;
        for strike in recorded.strikes.all() {
            let (from, to) = (strike.began, strike.ended.unwrap_or(recorded.end));
            let when = format!("{} to {} s", seconds(from), seconds(to));
            for hit in struck(strike, &recorded.plan) {
                let Some(lane) = self.lane(&hit.lane) else { continue };
                let title = strike.fault.to_string();
                if strike.is_instant() {
                    let title = format!("{} s: {title}", seconds(from));
                    let label = hit.label;
                    lane.marks.push(Mark { at: from, sign: Sign::Fault, label, title });
                } else {
                    let label = hit.label + &lasted(strike, recorded.end);
                    lane.spans.push(Span { from, to, label, title: format!("{title} ({when})") });
                }
            }
        }
    }

    fn leases(&mut self) {
        let recorded = self.recorded;
        let by = notes::acquired(&recorded.notes);
        let mut held: Option<(String, Lease)> = None;
        for (at, record) in &recorded.registers {
            let holder = record.holder.as_ref().map(|holder| holder.as_str().to_owned());
            let same = held.as_ref().is_some_and(|(name, lease)| {
                Some(name) == holder.as_ref() && lease.epoch == record.epoch.0
            });
            if same {
                continue;
            }
            if let Some((name, lease)) = held.take() {
                self.lease(&name, Lease { to: *at, ..lease });
            }
            held = holder.map(|name| {
                let by = by.get(&record.epoch.0).cloned();
                (name, Lease { from: *at, to: recorded.end, epoch: record.epoch.0, by })
            });
        }
        if let Some((name, lease)) = held {
            self.lease(&name, lease);
        }
    }

    fn lease(&mut self, name: &str, lease: Lease) {
        if let Some(member) = self.member(name) {
            member.leases.push(lease);
        }
    }

    fn postgres(&mut self) {
        let recorded = self.recorded;
        let slice = self.slice.as_millis().max(1);
        let mut epochs: BTreeMap<LineId, u64> = BTreeMap::new();
        for happening in &recorded.happened {
            let at = happening.at;
            match &happening.event {
                Event::Acknowledged(one) if matches!(one.content, Content::Append(_)) => {
                    let index = u64::try_from(at.as_millis() / slice).unwrap_or(u64::MAX);
                    let epoch = epochs.get(&one.line).copied().unwrap_or(0);
                    if let Some(member) = self.member(one.member.as_str()) {
                        *member.acknowledged.entry((index, epoch)).or_default() += 1;
                    }
                }
                Event::Started { member } => self.runs(member.as_str(), at, Some(Role::Standby)),
                Event::Promoted { member, line, timeline, starts_at, epoch, .. } => {
                    epochs.insert(*line, epoch.0);
                    self.runs(member.as_str(), at, Some(Role::Primary));
                    let label = "promote".into();
                    let title = format!(
                        "{} s: {member} is promoted under epoch {epoch}: timeline {timeline} from \
                         {starts_at}",
                        seconds(at)
                    );
                    self.mark(member.as_str(), Mark { at, sign: Sign::Promote, label, title });
                }
                Event::Stopped { member, primary, clean, why } => {
                    self.runs(member.as_str(), at, None);
                    self.stopped(member.as_str(), at, (*primary, *clean), why);
                }
                _ => {}
            }
        }
    }

    fn stopped(&mut self, name: &str, at: Duration, (primary, clean): (bool, bool), why: &str) {
        let role = if primary { "primary" } else { "standby" };
        let how = if clean { "cleanly" } else { "at once" };
        let label = if clean { "stop" } else { "stop at once" }.into();
        let title =
            format!("{} s: PostgreSQL ({role}) in {name} stopped {how}: {why}", seconds(at));
        self.mark(name, Mark { at, sign: Sign::Stop, label, title });
    }

    /// From now on PostgreSQL in `name` runs as `role`, or not at all.
    fn runs(&mut self, name: &str, at: Duration, role: Option<Role>) {
        let end = self.recorded.end;
        let Some(member) = self.member(name) else { return };
        if let Some(last) = member.running.last_mut() {
            last.to = last.to.min(at);
        }
        if let Some(role) = role {
            member.running.push(Running { from: at, to: end, role });
        }
    }
}

/// An instant, as it is written everywhere in a timeline.
pub(super) fn seconds(at: Duration) -> String {
    format!("{:.2}", at.as_secs_f64())
}
