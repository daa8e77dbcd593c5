//! An agent asks to fail over.

use continuum_control_api::link::GrantAnswer;
use continuum_domain::PairId;
use continuum_domain::operation::{
    Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord,
};
use continuum_domain::safety::{self, FailoverFacts, Reason, Verdict};
use continuum_domain::sequence::TRIGGER_ORDERED;
use continuum_domain::sequence::failover::waits_for_approval;
use continuum_domain::spec::PairSpec;

use super::{CoreState, Denial, FailoverAsk, Line, Reply, Waiting, bars};

/// The code of the refusal in mode observe-only: its operation is the record of what would have
/// been done.
const OBSERVE_ONLY: &str = "observe-only";

impl CoreState {
    /// What the rules say to an ask, without changing anything. The leader looks first, so that an
    /// agent that asks every second does not fill the log with the same refusal.
    pub fn judge(&self, now_ms: i64, ask: &FailoverAsk) -> Judgement {
        let Some((_, spec)) = self.spec(&ask.pair) else {
            return Judgement::Deny(vec![Reason::new(
                "pair-not-found",
                "the core has no such pair",
            )]);
        };
        if !spec.members.contains_key(&ask.region) {
            let text = format!("{} is not a member of the pair", ask.region);
            return Judgement::Deny(vec![Reason::new("not-a-member", text)]);
        }
        let mine = self.grant_under_way(ask);
        if let Some(operation) = mine.filter(|operation| operation.cancel_requested) {
            let text = format!("operation {} was cancelled and has not ended yet", operation.id);
            return Judgement::Deny(vec![Reason::new("cancelled", text)]);
        }
        let proposal = mine.filter(|operation| waits_for_approval(operation));
        let decided = |operation: &&Operation| {
            operation.steps.iter().any(|line| {
                line.region.is_none()
                    && line.step == Step::Preflight
                    && line.outcome == StepOutcome::Done
            })
        };
        if let Some(operation) = mine.filter(decided) {
            // Decided already: the same answer to a repeated question.
            return Judgement::Known(GrantAnswer::Granted {
                operation: operation.id.clone(),
                allow_data_loss: matches!(
                    operation.kind,
                    OperationKind::Failover { allow_data_loss: true, .. }
                ),
                by_person: was_a_persons(operation),
                trace: None,
            });
        }
        let verdict = self.verdict(now_ms, ask, spec);
        match (proposal, verdict) {
            // What it waited for is not needed any more: the member was listed, or its lag measured.
            (_, Verdict::Allow { why }) if ask.objections.is_empty() => Judgement::Allow { why },
            (_, Verdict::Wait { reason, data_loss: false })
                if ask.objections.is_empty() && self.proposes_a_loss(&ask.pair) =>
            {
                Judgement::Wait { reason, data_loss: false }
            }
            (Some(proposal), _) => {
                let waiting = self.waiting(&proposal.id).map_or("", |waiting| &waiting.reason);
                let reason = format!("{waiting} (approve operation {})", proposal.id);
                Judgement::Known(GrantAnswer::WaitForApproval { reason })
            }
            (None, Verdict::Deny { mut reasons }) => {
                reasons.extend(ask.objections.iter().cloned());
                Judgement::Deny(reasons)
            }
            (None, Verdict::Allow { .. }) => Judgement::Deny(ask.objections.clone()),
            (None, Verdict::Wait { .. }) if !ask.objections.is_empty() => {
                Judgement::Deny(ask.objections.clone())
            }
            (None, Verdict::Wait { reason, data_loss }) => match self.proposed(ask) {
                // One question at a time to the people who approve.
                Some(other) => {
                    let text = format!("operation {} waits for approval on this pair", other.id);
                    Judgement::Deny(vec![Reason::new("operation-under-way", text)])
                }
                None => Judgement::Wait { reason, data_loss },
            },
        }
    }

    /// What waits for approval on this pair, from the epoch that `ask` is about.
    fn proposed(&self, ask: &FailoverAsk) -> Option<&Operation> {
        self.proposed_on(&ask.pair).filter(|operation| operation.at_epoch >= ask.epoch)
    }

    /// Whether what waits for approval on this pair would lose what was acknowledged. Nobody is
    /// asked that while a member can take over that loses nothing.
    fn proposes_a_loss(&self, pair: &PairId) -> bool {
        let proposal = self.proposed_on(pair).and_then(|operation| self.waiting(&operation.id));
        proposal.is_some_and(|waiting| waiting.data_loss)
    }

    fn verdict(&self, now_ms: i64, ask: &FailoverAsk, spec: &PairSpec) -> Verdict {
        let pair = self.pair(&ask.pair);
        safety::automatic_failover(&FailoverFacts {
            spec,
            now_ms,
            epoch: ask.epoch,
            known_epoch: pair.and_then(|pair| Some(pair.newest_epoch()?.0)),
            pause: self.pause_of(&ask.pair, now_ms),
            last_failover_ms: pair.and_then(|pair| pair.last_failover_ms),
            failovers_elsewhere: self.failovers_elsewhere(ask),
            failovers_max: ask.failovers_max,
            under_way: self.barred_by(ask).map(|operation| &operation.id),
            listed: ask.listed,
            lag_bytes: ask.lag_bytes,
            corroboration: ask.corroboration.as_ref(),
        })
    }

    /// Whether a refusal was recorded already, so that proposing it again would change nothing.
    pub fn denial_known(&self, ask: &FailoverAsk, reasons: &[Reason]) -> bool {
        let last = self.pair(&ask.pair).and_then(|pair| pair.last_denial.as_ref());
        // An ask on a pair nobody knows leaves no record at all.
        self.pair(&ask.pair).is_none() || last == Some(&denial(ask, reasons))
    }

    /// The failover already created for this very ask.
    fn grant_under_way(&self, ask: &FailoverAsk) -> Option<&Operation> {
        self.operations.values().find(|operation| {
            operation.state == OperationState::Running
                && operation.pair == ask.pair
                && operation.at_epoch == ask.epoch
                && matches!(&operation.kind, OperationKind::Failover { to, .. } if *to == ask.region)
        })
    }

    /// What bars an ask: as [`CoreState::barring`], but for what gives way to it.
    fn barred_by(&self, ask: &FailoverAsk) -> Option<&Operation> {
        self.running(&ask.pair).find(|operation| {
            bars(operation) && operation.at_epoch >= ask.epoch && !gives_way(operation, ask)
        })
    }

    fn take_place(&mut self, (now_ms, actor): (i64, &str), ask: &FailoverAsk) {
        let ended: Vec<Operation> =
            self.running(&ask.pair).filter(|one| gives_way(one, ask)).cloned().collect();
        for operation in ended {
            let reason = format!(
                "operation {} took its place: {} is the better candidate and asked itself; the register \
                 lets one of them win",
                ask.id, ask.region
            );
            self.change_to(now_ms, actor, &operation.id, OperationState::Undone { reason });
        }
    }

    fn failovers_elsewhere(&self, ask: &FailoverAsk) -> usize {
        self.operations
            .values()
            .filter(|operation| {
                operation.pair != ask.pair
                    && operation.state == OperationState::Running
                    && matches!(operation.kind, OperationKind::Failover { .. })
                    && !waits_for_approval(operation)
            })
            .count()
    }

    pub(super) fn request_failover(&mut self, now_ms: i64, actor: &str, ask: FailoverAsk) -> Reply {
        let by = (now_ms, actor);
        match self.judge(now_ms, &ask) {
            Judgement::Known(answer) => Reply::Grant(answer),
            Judgement::Deny(reasons) => self.deny(by, &ask, reasons),
            Judgement::Allow { why } => {
                let operation = ask.id.clone();
                self.take_place(by, &ask);
                self.make_room(by, &ask.pair, ask.epoch, &operation);
                let line = (StepOutcome::Done, format!("allowed by the safety rules: {why}"));
                self.create_failover(by, &ask, line);
                // Within a standing bound the agent measures again when it takes over (R21).
                Reply::Grant(GrantAnswer::Granted {
                    operation,
                    allow_data_loss: false,
                    by_person: false,
                    trace: None,
                })
            }
            Judgement::Wait { reason, data_loss } => {
                let line = (StepOutcome::Started, format!("waiting: {}", reason.text));
                self.make_room(by, &ask.pair, ask.epoch, &ask.id);
                self.create_failover(by, &ask, line);
                let waiting = format!("{}: {}", reason.code, reason.text);
                let text = format!("{waiting} (approve operation {})", ask.id);
                self.waiting.insert(ask.id, Waiting { reason: waiting, data_loss });
                Reply::Grant(GrantAnswer::WaitForApproval { reason: text })
            }
        }
    }

    fn create_failover(
        &mut self,
        (now_ms, actor): (i64, &str),
        ask: &FailoverAsk,
        (outcome, detail): (StepOutcome, String),
    ) {
        let preflight = StepRecord {
            step: Step::Preflight,
            outcome,
            region: None,
            at_ms: now_ms,
            took_us: None,
            detail,
        };
        let operation = Operation {
            id: ask.id.clone(),
            pair: ask.pair.clone(),
            kind: OperationKind::Failover {
                from: ask.from.clone(),
                to: ask.region.clone(),
                trigger: ask.trigger.clone(),
                autonomous: false,
                allow_data_loss: false,
            },
            at_epoch: ask.epoch,
            actor: actor.to_owned(),
            reason: ask.evidence.clone(),
            created_ms: now_ms,
            ended_ms: None,
            state: OperationState::Running,
            cancel_requested: false,
            steps: [preflight].into_iter().chain(second_opinion(now_ms, ask)).collect(),
        };
        self.create((now_ms, actor), operation);
    }

    fn deny(
        &mut self,
        (now_ms, actor): (i64, &str),
        ask: &FailoverAsk,
        reasons: Vec<Reason>,
    ) -> Reply {
        let texts: Vec<String> =
            reasons.iter().map(|reason| format!("{}: {}", reason.code, reason.text)).collect();
        if !self.denial_known(ask, &reasons) {
            if let Some(pair) = self.pairs.get_mut(&ask.pair) {
                pair.last_denial = Some(denial(ask, &reasons));
            }
            let line = Line {
                action: "failover.denied".into(),
                pair: Some(ask.pair.clone()),
                epoch: Some(ask.epoch),
                operation: None,
                reason: match &ask.corroboration {
                    Some(said) => format!("{}; {}; {said}", ask.trigger, ask.evidence),
                    None => format!("{}; {}", ask.trigger, ask.evidence),
                },
                before: "asked".into(),
                after: texts.join("; "),
            };
            self.audit.append(now_ms, actor, line);
            if reasons.iter().any(|reason| reason.code == OBSERVE_ONLY) {
                let line = (StepOutcome::Started, "observed only".to_owned());
                self.create_failover((now_ms, actor), ask, line);
                let state = OperationState::Refused { reasons: texts.clone() };
                self.change_to(now_ms, actor, &ask.id, state);
            }
        }
        Reply::Grant(GrantAnswer::Denied { reasons: texts })
    }
}

/// What the rules say to an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Decided before; nothing changes.
    Known(GrantAnswer),
    /// A failover is created.
    Allow {
        /// What speaks for it.
        why: String,
    },
    /// A failover is created that waits for a person.
    Wait {
        /// For what.
        reason: Reason,
        /// The approval is one of a possible loss.
        data_loss: bool,
    },
    /// No.
    Deny(Vec<Reason>),
}

/// What the resolvers had said when the failover was asked for.
fn second_opinion(now_ms: i64, ask: &FailoverAsk) -> Option<StepRecord> {
    Some(StepRecord {
        step: Step::Corroborate,
        outcome: StepOutcome::Done,
        region: Some(ask.region.clone()),
        at_ms: now_ms,
        took_us: None,
        detail: ask.corroboration.as_ref()?.to_string(),
    })
}

/// Whether a person ordered the failover, or approved it.
fn was_a_persons(operation: &Operation) -> bool {
    let ordered = matches!(&operation.kind,
        OperationKind::Failover { trigger, .. } if trigger == TRIGGER_ORDERED);
    let waited = operation.steps.iter().any(|line| {
        line.region.is_none()
            && line.step == Step::Preflight
            && line.outcome == StepOutcome::Started
    });
    ordered || waited
}

/// Whether a grant gives way to an ask: one that its target has not used, to the best candidate that
/// asks itself. Who asked first, for a reason of its own, may be unable to use what it got, and would
/// bar the pair for as long as a grant lasts. Both may try then, and the register lets one win.
fn gives_way(operation: &Operation, ask: &FailoverAsk) -> bool {
    let OperationKind::Failover { to, .. } = &operation.kind else { return false };
    let is_used = operation.steps.iter().any(|line| {
        line.region.is_some() && line.step == Step::Commit && line.outcome == StepOutcome::Done
    });
    ask.preferred
        && ask.listed
        && *to != ask.region
        && operation.at_epoch == ask.epoch
        && !waits_for_approval(operation)
        && !was_a_persons(operation)
        && !is_used
}

fn denial(ask: &FailoverAsk, reasons: &[Reason]) -> Denial {
    Denial {
        region: ask.region.clone(),
        epoch: ask.epoch,
        codes: reasons.iter().map(|reason| reason.code.clone()).collect(),
    }
}
