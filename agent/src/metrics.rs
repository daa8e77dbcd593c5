//! What an agent tells Prometheus of what only it knows.

use std::time::Duration;

use continuum_cnpg_pair::plane::OperatorWait;
use continuum_control_api::link::{AcceptorStanding, MemberReport, NameReport};
use continuum_domain::observation::{ActuatorStatus, ProcessState};
use continuum_domain::pair::PairStatus;
use continuum_domain::pair::types::SessionView;
use continuum_domain::{PairId, RegionId, Tick};
use continuum_runtime::metrics::{Gathered, Labels, number, spans};
use continuum_runtime::traces::Traces;
use continuum_runtime::{SharedClock, SharedNetwork};
use continuum_witness::quorum::QuorumHealth;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::at_rest::RestDesk;
use crate::beats::Beats;
use crate::core_link::Pairs;
use crate::kubernetes::backups::BackupDesk;
use crate::kubernetes::roles::RoleDesk;
use crate::report::{acceptor_reports, member_report, millis};

mod at_rest;
mod backups;
mod roles;

/// A look by SQL that is older says nothing of now.
const LOOK_AGE_MS_MAX: u64 = 5_000;
/// A register that was read longer ago says nothing of now.
const RECORD_AGE_MS_MAX: u64 = 30_000;

/// What is looked at.
#[derive(Clone)]
pub(crate) struct Scraped {
    pub region: RegionId,
    pub clock: SharedClock,
    pub network: SharedNetwork,
    pub pairs: Pairs,
    pub session: watch::Receiver<SessionView>,
    /// Whether the core's stream stands; `None` where no core is configured.
    pub core: Option<watch::Receiver<bool>>,
    pub beats: Beats,
    pub acceptors: Option<QuorumHealth>,
    pub traces: Traces,
    pub rest: RestDesk,
    pub backups: BackupDesk,
    pub roles: RoleDesk,
}

/// One pair's member here.
struct Member {
    pair: PairId,
    status: PairStatus,
    report: MemberReport,
    waits: Vec<OperatorWait>,
}

/// A scrape: where values go, and what they are labelled with.
struct Page<'a, 'b> {
    out: Gathered<'a>,
    region: &'b str,
    members: &'b [Member],
    now: Tick,
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// How much of a time is left; `None` where it is over or there is none.
fn left(until: Option<Tick>, now: Tick) -> Option<f64> {
    until.filter(|until| now < *until).map(|until| seconds(millis(now, until)))
}

impl Scraped {
    /// Everything this agent knows now.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let now = self.clock.now();
        let members = self.members(now);
        let mut registry = Registry::default();
        let out = Gathered { registry: &mut registry };
        let region = self.region.as_str();
        let mut page = Page { out, region, members: &members, now };
        self.process(&mut page);
        self.witness(&mut page);
        leases(&mut page);
        guards(&mut page);
        operators(&mut page);
        postgresql(&mut page);
        standbys(&mut page);
        names(&mut page);
        at_rest::gather(&self.rest, region, &mut page.out);
        backups::gather(&self.backups.look(), region, &mut page.out);
        roles::gather(&self.roles.look(), region, &mut page.out);
        spans(self.traces.counts(), &mut page.out);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn members(&self, now: Tick) -> Vec<Member> {
        let pairs = self.pairs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let member = |(pair, handle): (&PairId, &crate::driver::PairHandle)| {
            let status = handle.status.borrow().clone();
            let report = member_report(&status, &self.beats, &handle.names, now);
            let waits = handle.plane.operator_waits();
            Member { pair: pair.clone(), status, report, waits }
        };
        pairs.iter().map(member).collect()
    }

    fn process(&self, page: &mut Page<'_, '_>) {
        let version = [("version", env!("CARGO_PKG_VERSION")), ("region", page.region)];
        page.out.gauges(
            "continuum_agent_build_info",
            "The running version",
            [(version.into(), 1.0)],
        );
        let of = || Labels::from([("region", page.region)]);
        let ends = self.network.certificates_end_ms().and_then(|ms| u64::try_from(ms).ok());
        page.out.gauges(
            "continuum_agent_own_certificate_end_seconds",
            "When the first of this agent's certificate and authorities ends, seconds since 1970",
            ends.map(|ms| (of(), seconds(ms))),
        );
        page.out.gauges(
            "continuum_agent_core_link_up",
            "Whether the stream to the core's leader stands",
            self.core.as_ref().map(|up| (of(), truth(*up.borrow()))),
        );
        let peers = self.beats.report(page.now);
        page.out.gauges(
            "continuum_agent_peer_heard_age_seconds",
            "Since another region's agent last answered this one",
            peers.iter().filter_map(|(peer, link)| {
                let labels = [("region", page.region), ("peer", peer.as_str())];
                Some((labels.into(), seconds(link.heard_age_ms?)))
            }),
        );
    }

    fn witness(&self, page: &mut Page<'_, '_>) {
        let session = *self.session.borrow();
        let of = || Labels::from([("region", page.region)]);
        page.out.gauges(
            "continuum_agent_session_valid",
            "Whether this region's session at the witness is valid by the local clock",
            [(of(), truth(session.valid(page.now)))],
        );
        page.out.gauges(
            "continuum_agent_session_remaining_seconds",
            "Until this region's session lapses",
            left(session.valid_until, page.now).map(|left| (of(), left)),
        );
        page.out.gauges(
            "continuum_agent_witness_answered_age_seconds",
            "Since the witness last answered this agent",
            session.witness_answered.map(|at| (of(), seconds(millis(at, page.now)))),
        );
        let Some(acceptors) = &self.acceptors else { return };
        let reports = acceptor_reports(&acceptors.view(), page.now);
        let of = |name: &str| Labels::from([("region", page.region), ("acceptor", name)]);
        page.out.gauges(
            "continuum_agent_acceptor_answers",
            "Whether an acceptor of the witness answers this agent",
            reports.iter().filter_map(|(name, report)| match report.standing(0) {
                AcceptorStanding::Answers => Some((of(name), 1.0)),
                AcceptorStanding::Silent => Some((of(name), 0.0)),
                AcceptorStanding::Unknown => None,
            }),
        );
        page.out.gauges(
            "continuum_agent_acceptor_p_seconds",
            "So many of 100 answers of an acceptor to this agent took no longer, of the last ten to twenty minutes",
            reports.iter().flat_map(|(name, report)| {
                let one = |percent, us: Option<u64>| {
                    let labels =
                        [("region", page.region), ("acceptor", name.as_str()), ("percent", percent)];
                    Some((Labels::from(labels), Duration::from_micros(us?).as_secs_f64()))
                };
                [one("50", report.p50_us), one("99", report.p99_us)].into_iter().flatten()
            }),
        );
    }
}

impl Page<'_, '_> {
    /// One value of each member that has one.
    fn members(&mut self, name: &str, help: &str, value: impl Fn(&Member) -> Option<f64>) {
        let one = |member: &Member| {
            let labels = [("pair", member.pair.as_str()), ("region", self.region)];
            Some((Labels::from(labels), value(member)?))
        };
        let values: Vec<_> = self.members.iter().filter_map(one).collect();
        self.out.gauges(name, help, values);
    }

    /// Values of each member by one more label.
    fn each(
        &mut self,
        (name, label): (&str, &'static str),
        help: &str,
        values: impl Fn(&Member) -> Vec<(String, f64)>,
    ) {
        let one = |member: &Member| {
            let labels = |told: &str| {
                let pair = member.pair.as_str();
                Labels::from([("pair", pair), ("region", self.region), (label, told)])
            };
            values(member).into_iter().map(move |(told, value)| (labels(&told), value)).collect()
        };
        let values: Vec<_> =
            self.members.iter().flat_map(|member| -> Vec<_> { one(member) }).collect();
        self.out.gauges(name, help, values);
    }
}

fn leases(page: &mut Page<'_, '_>) {
    let now = page.now;
    page.each(
        ("continuum_agent_role", "role"),
        "What the member is doing: 1 for the role that is its",
        |member| {
            member.report.role.label().map(|role| (role.to_owned(), 1.0)).into_iter().collect()
        },
    );
    page.members(
        "continuum_agent_lease_remaining_seconds",
        "Until PostgreSQL here may accept writes no longer; absent where it may not",
        |member| left(member.status.lease_until, now),
    );
    page.members(
        "continuum_agent_held_epoch",
        "The epoch under which this region holds the lease; absent where it does not",
        |member| {
            left(member.status.lease_until, now)?;
            Some(number(member.report.record.as_ref()?.1.epoch.0))
        },
    );
    page.members(
        "continuum_agent_record_age_seconds",
        "Since this agent last read the pair's register",
        |member| Some(seconds(member.report.record.as_ref()?.2)),
    );
    page.each(
        ("continuum_agent_in_sync", "member"),
        "Members that the in-sync ledger lists, by a register read lately",
        |member| {
            let record = member.report.record.as_ref();
            let fresh = record.filter(|(_, _, age_ms)| *age_ms <= RECORD_AGE_MS_MAX);
            let listed = fresh.into_iter().flat_map(|(_, record, _)| record.in_sync.keys());
            listed.map(|member| (member.to_string(), 1.0)).collect()
        },
    );
    page.each(
        ("continuum_agent_blocked", "state"),
        "A named state in which the member waits for a person",
        |member| member.report.blocked.iter().map(|state| (state.code.clone(), 1.0)).collect(),
    );
}

fn guards(page: &mut Page<'_, '_>) {
    let now = page.now;
    let guard = |member: &Member, value: &dyn Fn(&ActuatorStatus) -> Option<f64>| {
        member.status.actuator.as_ref().and_then(value)
    };
    page.members("continuum_agent_guard_alive", "Whether the guard answers", |member| {
        Some(truth(member.status.actuator.is_some()))
    });
    page.members(
        "continuum_agent_guard_epoch",
        "Newest epoch that any command to the guard carried",
        |member| guard(member, &|guard| Some(number(guard.epoch.0))),
    );
    page.members(
        "continuum_agent_deadline_remaining_seconds",
        "Until the guard stops PostgreSQL, if armed",
        |member| guard(member, &|guard| left(guard.deadline, now)),
    );
    page.members("continuum_agent_fenced", "Whether a person fenced the member", |member| {
        guard(member, &|guard| Some(truth(guard.fenced.is_some())))
    });
    page.members("continuum_agent_postgresql_running", "Whether PostgreSQL runs", |member| {
        guard(member, &|guard| Some(truth(guard.process == ProcessState::Running)))
    });
    let one = |member: &Member| {
        let labels = [("pair", member.pair.as_str()), ("region", page.region)];
        Some((Labels::from(labels), member.status.actuator.as_ref()?.exits))
    };
    let exits: Vec<_> = page.members.iter().filter_map(one).collect();
    page.out.counters(
        "continuum_agent_postgresql_exits",
        "Ends of a PostgreSQL process since its guard started, those that were asked for included",
        exits,
    );
}

/// What of the time is others' who look after a member.
fn operators(page: &mut Page<'_, '_>) {
    let values = |value: fn(&OperatorWait) -> f64| {
        move |member: &Member| {
            member.waits.iter().map(|wait| (wait.what.to_owned(), value(wait))).collect()
        }
    };
    page.each(
        ("continuum_agent_operator_waits", "what"),
        "How often the operator of a Cluster was waited for, since this agent's start",
        values(|wait| number(wait.times)),
    );
    page.each(
        ("continuum_agent_operator_wait_seconds", "what"),
        "How long the operator of a Cluster was waited for in all, since this agent's start",
        values(|wait| wait.took.as_secs_f64()),
    );
}

fn postgresql(page: &mut Page<'_, '_>) {
    page.members(
        "continuum_agent_sql_age_seconds",
        "Since PostgreSQL last answered this agent",
        |member| Some(seconds(member.report.sql.as_ref()?.1)),
    );
    page.members(
        "continuum_agent_write_probe_age_seconds",
        "Since WAL was last seen to reach the primary's disk",
        |member| Some(seconds(member.report.write_probe_age_ms?)),
    );
    page.members(
        "continuum_agent_postgresql_in_recovery",
        "Whether PostgreSQL is a standby, by its own word",
        |member| Some(truth(look(member)?.in_recovery)),
    );
    page.members(
        "continuum_agent_waiting_commits",
        "Sessions whose commit waits for a standby",
        |member| look(member).filter(|sql| !sql.in_recovery).map(|sql| sql.waiting_commits.into()),
    );
    page.members(
        "continuum_agent_receiver_streaming",
        "Whether a standby receives WAL",
        |member| {
            look(member).filter(|sql| sql.in_recovery).map(|sql| truth(sql.receiver_streaming))
        },
    );
    page.members(
        "continuum_agent_replay_lag_bytes",
        "WAL that a standby has not replayed, of what its sender had lately",
        |member| {
            let sql = look(member).filter(|sql| sql.in_recovery)?;
            sql.upstream_age_ms.filter(|age_ms| *age_ms <= LOOK_AGE_MS_MAX)?;
            Some(number(sql.upstream_end?.bytes_since(sql.replay?)))
        },
    );
}

/// What PostgreSQL said lately.
fn look(member: &Member) -> Option<&continuum_domain::observation::SqlView> {
    let (sql, age_ms) = member.report.sql.as_ref()?;
    (*age_ms <= LOOK_AGE_MS_MAX).then_some(sql)
}

fn standbys(page: &mut Page<'_, '_>) {
    page.each(
        ("continuum_agent_standby_streaming", "standby"),
        "Whether a standby streams, as the primary here sees it",
        |member| {
            let seen = look(member).into_iter().flat_map(|sql| &sql.standbys);
            seen.map(|(standby, seen)| (standby.to_string(), truth(seen.streaming))).collect()
        },
    );
    page.each(
        ("continuum_agent_standby_sync", "standby"),
        "Whether PostgreSQL counts a standby as synchronous",
        |member| {
            let seen = look(member).into_iter().flat_map(|sql| &sql.standbys);
            seen.map(|(standby, seen)| (standby.to_string(), truth(seen.sync))).collect()
        },
    );
    page.each(
        ("continuum_agent_standby_lag_bytes", "standby"),
        "WAL that a standby has not flushed, as the primary here sees it",
        |member| {
            let of = |sql: &continuum_domain::observation::SqlView| {
                let lag =
                    |(standby, seen): (&RegionId, &continuum_domain::observation::StandbyView)| {
                        let bytes = sql.wal?.bytes_since(seen.flush?);
                        Some((standby.to_string(), number(bytes)))
                    };
                sql.standbys.iter().filter_map(lag).collect()
            };
            look(member).map(of).unwrap_or_default()
        },
    );
}

fn names(page: &mut Page<'_, '_>) {
    fn kept(member: &Member) -> impl Iterator<Item = (&String, &NameReport)> {
        member.report.names.iter().flatten()
    }
    page.each(
        ("continuum_agent_name_problem", "name"),
        "Whether something keeps this agent from keeping a name",
        |member| {
            kept(member).map(|(name, said)| (name.clone(), truth(said.problem.is_some()))).collect()
        },
    );
    page.each(
        ("continuum_agent_name_failures", "name"),
        "Tries in a row to write a name that did not succeed, at the place with the most",
        |member| {
            let most = |said: &NameReport| said.places.values().map(|place| place.failures).max();
            kept(member)
                .filter_map(|(name, said)| Some((name.clone(), number(most(said)?))))
                .collect()
        },
    );
    page.each(
        ("continuum_agent_name_published_age_seconds", "name"),
        "Since a name last was found or made to say what was wanted, at the place where that is longest ago",
        |member| {
            let oldest = |said: &NameReport| {
                let ages = said.places.values().map(|place| place.published_age_ms);
                ages.collect::<Option<Vec<_>>>()?.into_iter().max()
            };
            kept(member)
                .filter_map(|(name, said)| Some((name.clone(), seconds(oldest(said)?))))
                .collect()
        },
    );
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(crate) mod tests;
