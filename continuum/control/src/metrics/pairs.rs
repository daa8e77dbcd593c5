//! The pairs as their agents report them to the leader.

use std::collections::BTreeSet;
use std::time::Duration;

use continuum_control_api::link::AcceptorStanding;
use continuum_control_api::rest::{
    AgedReport, PairView, Posture, REPORT_AGE_MS_MAX, posture, record_is_fresh,
};
use continuum_domain::operation::Operation;
use continuum_domain::sequence::failover::waits_for_approval;
use continuum_domain::{PairId, RegionId};

use super::{Gathered, Labels, number};
use crate::core::Core;
use crate::picture::Scene;
use crate::view::SQL_AGE_MS_MAX;

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

pub(super) fn gather(core: &Core, out: &mut Gathered<'_>) {
    let (now, now_ms) = (core.clock.now(), core.now_ms());
    let views: Vec<(PairView, bool)> = core.node.read(|state| {
        let scene = Scene::of(state, &core.links, (now, now_ms));
        let waits = |operation: &&Operation| {
            waits_for_approval(operation) || state.waiting(&operation.id).is_some()
        };
        let waiting: BTreeSet<&PairId> =
            state.unfinished().filter(waits).map(|operation| &operation.pair).collect();
        state.specs().map(|pair| (scene.view(pair), waiting.contains(pair.0))).collect()
    });
    leases(&views, out);
    standing(&views, out);
    let members: Vec<Member<'_>> = views.iter().flat_map(|(view, _)| members(view)).collect();
    reports(core, &members, out);
    sql(&views, &members, out);
    places(&views, &members, out);
    super::traffic::gather(&views, out);
}

fn leases(views: &[(PairView, bool)], out: &mut Gathered<'_>) {
    let of = |view: &PairView| Labels::from([("pair", view.spec.id.as_str())]);
    let all = || views.iter().map(|(view, _)| view);
    out.gauges(
        "continuum_lease_epoch",
        "Newest known epoch of a pair",
        all().filter_map(|view| Some((of(view), number(view.epoch?.0)))),
    );
    out.gauges(
        "continuum_lease_held",
        "Whether a region holds the pair's lease, by the newest register any agent read",
        all().filter(|view| record_is_fresh(view)).flat_map(|view| {
            view.spec.members.keys().map(move |region| {
                let labels = [("pair", view.spec.id.as_str()), ("region", region.as_str())];
                (Labels::from(labels), truth(view.holder.as_ref() == Some(region)))
            })
        }),
    );
    out.gauges(
        "continuum_lease_remaining_seconds",
        "Until the holder must have renewed its lease, by its agent's last word",
        all().filter_map(|view| {
            let aged = view.members.get(view.holder.as_ref()?)?.as_ref()?;
            let remaining = aged.report.lease_remaining_ms?;
            // An old word tells of no lease now, and 0 would be one that has run out.
            let fresh = aged.age_ms <= REPORT_AGE_MS_MAX;
            fresh.then(|| (of(view), seconds(remaining.saturating_sub(aged.age_ms))))
        }),
    );
    out.gauges(
        "continuum_lease_record_age_seconds",
        "Age of the newest register any agent read",
        all().filter_map(|view| Some((of(view), seconds(view.record_age_ms?)))),
    );
    out.gauges(
        "continuum_in_sync_members",
        "Members that the in-sync ledger lists",
        all().filter(|view| record_is_fresh(view)).filter_map(|view| {
            let listed = view.in_sync.as_ref()?.len();
            Some((of(view), number(u64::try_from(listed).ok()?)))
        }),
    );
}

fn standing(views: &[(PairView, bool)], out: &mut Gathered<'_>) {
    let postures = [
        (Posture::Protected, "protected"),
        (Posture::AtRisk, "at-risk"),
        (Posture::Unknown, "unknown"),
        (Posture::Blocked, "blocked"),
        (Posture::Paused, "paused"),
    ];
    out.gauges(
        "continuum_pair_posture",
        "How a pair stands: 1 for the one posture that is its, 0 for the others",
        views.iter().flat_map(|(view, waits)| {
            let (is, _) = posture(view, *waits);
            postures.map(|(one, word)| {
                let labels = [("pair", view.spec.id.as_str()), ("posture", word)];
                (Labels::from(labels), truth(one == is))
            })
        }),
    );
    out.gauges(
        "continuum_pair_automation_paused",
        "Whether automation of a pair is paused",
        views.iter().map(|(view, _)| {
            let labels = [("pair", view.spec.id.as_str())];
            (Labels::from(labels), truth(view.automation.is_some()))
        }),
    );
}

/// A member that reported.
struct Member<'a> {
    view: &'a PairView,
    region: &'a RegionId,
    aged: &'a AgedReport,
}

impl Member<'_> {
    fn labels(&self) -> Labels {
        Labels::from([("pair", self.view.spec.id.as_str()), ("region", self.region.as_str())])
    }

    fn with(&self, name: &'static str, value: &str) -> Labels {
        let (pair, region) = (self.view.spec.id.as_str(), self.region.as_str());
        Labels::from([("pair", pair), ("region", region), (name, value)])
    }

    fn is_fresh(&self) -> bool {
        self.aged.age_ms <= REPORT_AGE_MS_MAX
    }
}

fn members(view: &PairView) -> impl Iterator<Item = Member<'_>> {
    view.members.iter().filter_map(move |(region, aged)| {
        let aged = aged.as_ref()?;
        Some(Member { view, region, aged })
    })
}

fn reports(core: &Core, members: &[Member<'_>], out: &mut Gathered<'_>) {
    out.gauges(
        "continuum_member_report_age_seconds",
        "Since a member's agent last reported to this leader",
        members.iter().map(|member| (member.labels(), seconds(member.aged.age_ms))),
    );
    let fresh = || members.iter().filter(|member| member.is_fresh());
    out.gauges(
        "continuum_member_role",
        "What a member is doing: 1 for the role that is its",
        fresh().filter_map(|member| {
            Some((member.with("role", member.aged.report.role.label()?), 1.0))
        }),
    );
    out.gauges(
        "continuum_member_fenced",
        "Whether a member is fenced by a person",
        fresh().map(|member| (member.labels(), truth(member.aged.report.fenced.is_some()))),
    );
    out.gauges(
        "continuum_member_blocked",
        "A named state in which a member waits for a person",
        fresh().filter_map(|member| {
            let blocked = member.aged.report.blocked.as_ref()?;
            Some((member.with("state", &blocked.code), 1.0))
        }),
    );
    out.gauges(
        "continuum_member_guard_alive",
        "Whether a member's guard answers its agent",
        fresh().map(|member| (member.labels(), truth(member.aged.report.guard_alive))),
    );
    out.gauges(
        "continuum_member_witness_reachable",
        "Whether the witness answered a member's agent last",
        fresh().map(|member| (member.labels(), truth(member.aged.report.witness_reachable))),
    );
    let mut regions: Vec<&RegionId> = members.iter().map(|member| member.region).collect();
    regions.sort();
    regions.dedup();
    out.gauges(
        "continuum_agent_connected",
        "Whether a region's agent is connected to this leader",
        regions.into_iter().map(|region| {
            let labels = [("region", region.as_str())];
            (Labels::from(labels), truth(core.links.connected(region)))
        }),
    );
}

fn sql(views: &[(PairView, bool)], members: &[Member<'_>], out: &mut Gathered<'_>) {
    out.gauges(
        "continuum_member_sql_age_seconds",
        "Since PostgreSQL of a member last answered its agent",
        members.iter().filter_map(|member| {
            let (_, age) = member.aged.report.sql.as_ref()?;
            Some((member.labels(), seconds(age.saturating_add(member.aged.age_ms))))
        }),
    );
    // A standby as its primary sees it: both positions are of one look.
    let standbys = || {
        views.iter().filter_map(|(view, _)| {
            let aged = view.members.get(view.holder.as_ref()?)?.as_ref()?;
            let (sql, age) = aged.report.sql.as_ref()?;
            (age.saturating_add(aged.age_ms) <= SQL_AGE_MS_MAX).then_some((view, sql))
        })
    };
    let labels = |view: &PairView, region: &RegionId| {
        Labels::from([("pair", view.spec.id.as_str()), ("region", region.as_str())])
    };
    out.gauges(
        "continuum_standby_streaming",
        "Whether a standby streams, as its primary sees it",
        standbys().flat_map(|(view, sql)| {
            let each = sql.standbys.iter();
            each.map(move |(region, seen)| (labels(view, region), truth(seen.streaming)))
        }),
    );
    out.gauges(
        "continuum_standby_lag_bytes",
        "WAL that a standby has not flushed, as its primary sees it",
        standbys().flat_map(|(view, sql)| {
            sql.standbys.iter().filter_map(move |(region, seen)| {
                Some((labels(view, region), number(sql.wal?.bytes_since(seen.flush?))))
            })
        }),
    );
    out.gauges(
        "continuum_standby_replay_lag_seconds",
        "How far a standby's replay is behind, as PostgreSQL measured it",
        standbys().flat_map(|(view, sql)| {
            sql.standbys.iter().filter_map(move |(region, seen)| {
                Some((labels(view, region), seconds(seen.lag_ms?)))
            })
        }),
    );
}

fn places(views: &[(PairView, bool)], members: &[Member<'_>], out: &mut Gathered<'_>) {
    let names = || {
        members.iter().filter(|member| member.is_fresh()).flat_map(|member| {
            let names = member.aged.report.names.iter().flatten();
            names.map(move |(name, report)| (member, name, report))
        })
    };
    out.counters(
        "continuum_name_foreign_writes",
        "Changes of a name's records by others that an agent undid since it started",
        names().map(|(member, name, report)| {
            let undone = report.places.values().map(|place| place.foreign_writes).sum();
            (member.with("name", name), undone)
        }),
    );
    // One agent reports the acceptors of all its pairs.
    let mut told: Vec<(&RegionId, &str, AcceptorStanding, Option<u64>)> = Vec::new();
    for (view, _) in views {
        for (region, aged) in &view.acceptors {
            for (name, report) in &aged.acceptors {
                let known = told.iter().any(|(one, other, ..)| *one == region && *other == name);
                if !known {
                    told.push((region, name, report.standing(aged.age_ms), report.p99_us));
                }
            }
        }
    }
    let labels = |region: &RegionId, name: &str| {
        Labels::from([("region", region.as_str()), ("acceptor", name)])
    };
    out.gauges(
        "continuum_acceptor_answers",
        "Whether an acceptor of the witness answers a region's agent",
        told.iter().filter_map(|(region, name, standing, _)| match standing {
            AcceptorStanding::Answers => Some((labels(region, name), 1.0)),
            AcceptorStanding::Silent => Some((labels(region, name), 0.0)),
            AcceptorStanding::Unknown => None,
        }),
    );
    out.gauges(
        "continuum_acceptor_p99_seconds",
        "99 of 100 answers of an acceptor to a region's agent took no longer, of the last ten to twenty minutes",
        told.iter().filter_map(|(region, name, _, p99)| {
            Some((labels(region, name), Duration::from_micros((*p99)?).as_secs_f64()))
        }),
    );
}
