//! An agent asks to fail over. The rules are the replicated state's; the leader adds what only its
//! live view gives, and looks first so that a repeated refusal costs no proposal.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use continuum_control_api::link::{GrantAnswer, ToAgent};
use continuum_domain::candidate::{self, Purpose};
use continuum_domain::corroborate::Corroboration;
use continuum_domain::safety::Reason;
use continuum_domain::{Epoch, PairId, RegionId, Tick};
use continuum_runtime::Role;
use continuum_runtime::traces::Began;

use crate::core::{Core, new_operation_id};
use crate::state::{Change, FailoverAsk, Judgement, Reply};
use crate::traces::{Wish, grant_context, tell_grant};
use crate::view::Reports;

/// How long a better candidate is waited for. It is connected and asks by itself when it sees the
/// same silence; when it does not, the next best goes.
const PREFER_FOR: Duration = Duration::from_millis(1_500);
/// Asks remembered; the oldest are forgotten.
const ASKS_MAX: usize = 256;

/// First asks, for the preference among several candidates. In memory only: a new leader waits for
/// the better candidate once more, which costs time, never data.
#[derive(Default)]
pub(crate) struct Asks(Mutex<BTreeMap<(PairId, Epoch, RegionId), Tick>>);

impl Asks {
    fn first(&self, key: (PairId, Epoch, RegionId), now: Tick) -> Tick {
        let mut asks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asks.len() >= ASKS_MAX && !asks.contains_key(&key) {
            let oldest = asks.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                asks.remove(&oldest);
            }
        }
        *asks.entry(key).or_insert(now)
    }
}

/// A grant request as it came in.
pub(super) struct Ask {
    pub(super) request: u64,
    pub(super) pair: PairId,
    pub(super) epoch: Epoch,
    pub(super) trigger: String,
    pub(super) evidence: String,
    pub(super) listed: bool,
    pub(super) lag_bytes: Option<u64>,
    pub(super) corroboration: Option<Corroboration>,
}

/// Answers a wish; `None` when this node cannot, so that the agent asks again or goes alone by its
/// own rules.
pub(super) async fn answer(core: &Core, region: &RegionId, ask: Ask) -> Option<ToAgent> {
    let (request, pair, epoch) = (ask.request, ask.pair.clone(), ask.epoch);
    let (preferred, objections) = rank(core, region, &ask);
    let ask = FailoverAsk {
        id: new_operation_id(),
        region: region.clone(),
        objections,
        preferred,
        from: holder(core, &ask.pair),
        pair: ask.pair,
        epoch: ask.epoch,
        trigger: ask.trigger,
        evidence: ask.evidence,
        listed: ask.listed,
        lag_bytes: ask.lag_bytes,
        corroboration: ask.corroboration,
        failovers_max: core.config.max_failovers_at_once,
    };
    let answer = traced(core, region, decide(core, region, ask).await?);
    tracing::info!(%region, %pair, %epoch, ?answer, "failover asked for");
    Some(ToAgent::Grant { request, pair, epoch, answer: answer.into() })
}

/// A grant says below which span what comes of it is told.
fn traced(core: &Core, region: &RegionId, mut answer: GrantAnswer) -> GrantAnswer {
    if let GrantAnswer::Granted { operation, trace, .. } = &mut answer {
        let known = core.node.read(|state| state.operation(operation).cloned());
        *trace = known.and_then(|operation| grant_context(core, &operation, region));
    }
    answer
}

async fn decide(core: &Core, region: &RegionId, ask: FailoverAsk) -> Option<GrantAnswer> {
    let (now_ms, began) = (core.now_ms(), Began::now(&core.clock));
    let first_look = core.node.read(|state| {
        let judgement = state.judge(now_ms, &ask);
        let settled = match &judgement {
            Judgement::Known(_) => true,
            Judgement::Deny(reasons) => state.denial_known(&ask, reasons),
            Judgement::Allow { .. } | Judgement::Wait { .. } => false,
        };
        settled.then_some(judgement)
    });
    if let Some(judgement) = first_look {
        // Nothing new would be recorded; but a deposed leader must not answer from what it
        // remembers.
        core.node.linearizable().await.ok()?;
        return match judgement {
            Judgement::Known(answer) => Some(answer),
            Judgement::Deny(reasons) => Some(GrantAnswer::Denied {
                reasons: reasons.iter().map(|r| format!("{}: {}", r.code, r.text)).collect(),
            }),
            Judgement::Allow { .. } | Judgement::Wait { .. } => None,
        };
    }
    let actor = format!("{}/{region}", Role::Region.label());
    let (id, pair, epoch) = (ask.id.clone(), ask.pair.clone(), ask.epoch);
    let wish = Wish { id, pair, epoch, region: region.clone(), began };
    match core.propose(&actor, Change::RequestFailover(ask)).await {
        Ok(Reply::Grant(answer)) => {
            tell_grant(core, wish, &answer);
            Some(answer)
        }
        Ok(other) => {
            tracing::error!(%other, "a failover request was answered with something else");
            None
        }
        Err(error) => {
            tracing::warn!(%region, %error, "a failover request could not be decided");
            None
        }
    }
}

fn holder(core: &Core, pair: &PairId) -> Option<RegionId> {
    let now = core.clock.now();
    core.node.read(|state| {
        let (_, spec) = state.spec(pair)?;
        let reports = Reports::collect(&core.links, pair, spec, now);
        let reported = reports.newest_record().and_then(|(_, record, _)| record.holder.clone());
        reported
            .or_else(|| state.pair(pair)?.newest_epoch().map(|(_, record)| record.holder.clone()))
    })
}

/// Whether the region is the best of several candidates; and an objection where another one is, and
/// is likely to ask itself.
fn rank(core: &Core, region: &RegionId, ask: &Ask) -> (bool, Vec<Reason>) {
    let now = core.clock.now();
    let better = core.node.read(|state| {
        let (_, spec) = state.spec(&ask.pair)?;
        if spec.members.len() < 3 {
            return None;
        }
        let reports = Reports::collect(&core.links, &ask.pair, spec, now);
        let (_, record, _) = reports.newest_record()?;
        let candidates = spec
            .members
            .keys()
            .filter(|member| !record.held_by(member) && core.links.connected(member))
            .map(|member| (member.clone(), reports.candidate(spec, member, None)))
            .collect();
        let purpose = Purpose::Failover { allow_data_loss: !ask.listed };
        candidate::choose(&candidates, Some(record), purpose).best
    });
    let preferred = better.as_ref() == Some(region);
    let Some(better) = better.filter(|_| !preferred) else { return (preferred, Vec::new()) };
    let first = core.asks.first((ask.pair.clone(), ask.epoch, region.clone()), now);
    if now.since(first) >= PREFER_FOR {
        return (false, Vec::new());
    }
    let text = format!("{better} is the better candidate; ask again");
    (false, vec![Reason::new("better-candidate", text)])
}
