//! Safety rules, and requests that are kept until another person approves them.

use std::collections::BTreeMap;

use continuum_control_api::approvals::{Approval, ApprovalState};
use continuum_control_api::routes::ApiError;
use continuum_domain::access::{Caller, SafetyRule, is_another_person};
use continuum_domain::{AccessName, ApprovalId, OperationId, PairId};
use serde::{Deserialize, Serialize};

use super::{CoreState, Line, Reply};

/// Most rules.
const RULES_MAX: usize = 100;
/// Most requests that wait.
const WAITING_MAX: usize = 200;
/// How long a request can be approved.
pub const WAIT_MS: i64 = 60 * 60 * 1_000;
/// How long it is kept in all.
const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// A change of rules or of kept requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalChange {
    /// A rule, new or changed.
    SetRule {
        /// The rule.
        rule: SafetyRule,
        /// Why.
        reason: String,
    },
    /// A rule is taken away.
    RemoveRule {
        /// Its name.
        name: AccessName,
        /// Why.
        reason: String,
    },
    /// A request is kept.
    Keep(Box<Kept>),
    /// Somebody approves one.
    Approve {
        /// Which.
        id: ApprovalId,
        /// The person behind who approves.
        person: String,
        /// Why.
        reason: String,
    },
    /// Somebody rejects one.
    Reject {
        /// Which.
        id: ApprovalId,
        /// Why.
        reason: String,
    },
    /// One was carried out.
    Finish {
        /// Which.
        id: ApprovalId,
        /// The HTTP status that it was answered.
        status: u16,
        /// The code of the error, if it was refused.
        code: Option<String>,
        /// The operation that it started.
        operation: Option<OperationId>,
    },
}

/// A request that is kept, with what carrying it out takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// As everybody sees it; its times and its state are set when it is kept.
    pub view: Approval,
    /// Who asked.
    pub caller: Caller,
    /// Its conditions: headers and their values.
    pub conditions: Vec<(String, String)>,
}

/// Rules and kept requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Approvals {
    rules: BTreeMap<AccessName, SafetyRule>,
    kept: BTreeMap<ApprovalId, Kept>,
}

impl Approvals {
    /// Whether nothing was ever ruled or kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is a rule beside the built-in one.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The rules in force.
    pub fn rules(&self) -> Vec<SafetyRule> {
        let built_in = SafetyRule::built_in();
        let replaced = self.rules.contains_key(&built_in.name);
        let built_in = (!replaced).then_some(built_in);
        built_in.into_iter().chain(self.rules.values().cloned()).collect()
    }

    /// A request that was kept.
    pub fn kept(&self, id: &ApprovalId) -> Option<&Kept> {
        self.kept.get(id)
    }

    /// Requests that can be approved at `now_ms`, or were and are not done.
    pub fn waiting(&self, now_ms: i64) -> impl Iterator<Item = &Approval> {
        let waits = move |view: &&Approval| match view.state {
            ApprovalState::Waiting => view.expires_ms > now_ms,
            ApprovalState::Approved { .. } => true,
            ApprovalState::Rejected { .. } | ApprovalState::Done { .. } => false,
        };
        self.kept.values().map(|kept| &kept.view).filter(waits)
    }
}

/// There is no such request.
pub(crate) fn approval_not_found(id: &ApprovalId) -> ApiError {
    ApiError::new(404, "approval-not-found", format!("there is no request {id} that is kept"))
}

fn refused(status: u16, code: &str, text: String) -> Reply {
    Reply::Refused(ApiError::new(status, code, format!("{text}; nothing was changed")))
}

fn rule_text(rule: &SafetyRule) -> String {
    serde_json::to_string(rule).expect("rules are plain data")
}

fn line(action: &str, pair: Option<PairId>, reason: &str, texts: (String, String)) -> Line {
    let (before, after) = texts;
    Line { action: action.into(), pair, reason: reason.into(), before, after, ..Line::default() }
}

const NONE: &str = "none";

impl CoreState {
    /// Rules and kept requests.
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    pub(super) fn change_approvals(&mut self, by: (i64, &str), change: ApprovalChange) -> Reply {
        match change {
            ApprovalChange::SetRule { rule, reason } => self.set_rule(by, rule, &reason),
            ApprovalChange::RemoveRule { name, reason } => self.remove_rule(by, &name, &reason),
            ApprovalChange::Keep(kept) => self.keep(by, *kept),
            ApprovalChange::Approve { id, person, reason } => {
                self.approve_kept(by, &id, (&person, &reason))
            }
            ApprovalChange::Reject { id, reason } => self.reject_kept(by, &id, reason),
            ApprovalChange::Finish { id, status, code, operation } => {
                self.finish_kept(by, &id, (status, code, operation))
            }
        }
    }

    fn set_rule(&mut self, (now_ms, actor): (i64, &str), rule: SafetyRule, reason: &str) -> Reply {
        if rule.verbs.is_empty() {
            return refused(422, "rule-refused", "verbs: one at least is needed".into());
        }
        let known = self.approvals.rules.get(&rule.name);
        if known.is_none() && self.approvals.rules.len() >= RULES_MAX {
            let text = format!("there are {RULES_MAX} rules, and no more are kept");
            return refused(422, "rule-refused", text);
        }
        if known != Some(&rule) {
            let before = known.map_or_else(|| NONE.into(), rule_text);
            let line = line("rule.set", None, reason, (before, rule_text(&rule)));
            self.audit.append(now_ms, actor, line);
            self.approvals.rules.insert(rule.name.clone(), rule.clone());
        }
        Reply::Rule(rule)
    }

    fn remove_rule(
        &mut self,
        (now_ms, actor): (i64, &str),
        name: &AccessName,
        reason: &str,
    ) -> Reply {
        let Some(rule) = self.approvals.rules.remove(name) else {
            return refused(404, "rule-not-found", format!("no rule {name} was made"));
        };
        let line = line("rule.remove", None, reason, (rule_text(&rule), NONE.into()));
        self.audit.append(now_ms, actor, line);
        Reply::Rule(rule)
    }

    fn keep(&mut self, (now_ms, actor): (i64, &str), kept: Kept) -> Reply {
        self.approvals.kept.retain(|_, old| old.view.created_ms.saturating_add(KEPT_MS) > now_ms);
        let asks_alike = |old: &&Approval| {
            let of = |view: &'_ Approval| {
                (view.requester.clone(), view.method.clone(), view.path.clone(), view.body.clone())
            };
            old.state == ApprovalState::Waiting && of(old) == of(&kept.view)
        };
        if let Some(same) = self.approvals.waiting(now_ms).find(asks_alike) {
            return Reply::Approval(same.clone());
        }
        if self.approvals.waiting(now_ms).count() >= WAITING_MAX {
            let text = format!("{WAITING_MAX} requests wait for an approval, and no more are kept");
            return Reply::Refused(ApiError::retryable(409, "refused", text));
        }
        let Kept { mut view, caller, conditions } = kept;
        view.created_ms = now_ms;
        view.expires_ms = now_ms.saturating_add(WAIT_MS);
        view.state = ApprovalState::Waiting;
        let after = format!("{} waits for a {} by rule {}", view.id, view.approver, view.rule);
        let asked = format!("{} {}", view.method, view.path);
        let line = line("approval.request", view.pair.clone(), &asked, (NONE.into(), after));
        self.audit.append(now_ms, actor, line);
        let kept = Kept { view: view.clone(), caller, conditions };
        self.approvals.kept.insert(view.id.clone(), kept);
        Reply::Approval(view)
    }

    fn approve_kept(
        &mut self,
        (now_ms, actor): (i64, &str),
        id: &ApprovalId,
        (person, reason): (&str, &str),
    ) -> Reply {
        let Some(kept) = self.approvals.kept.get_mut(id) else {
            return Reply::Refused(approval_not_found(id));
        };
        if !is_another_person(&kept.view.person, person) {
            let text = format!("{person} stands behind the request, and can not approve it");
            return refused(403, "same-person", text);
        }
        match kept.view.state {
            ApprovalState::Waiting if kept.view.expires_ms > now_ms => {}
            // Approved before, by whomever: what a crash left is to be finished.
            ApprovalState::Approved { .. } => return Reply::Approval(kept.view.clone()),
            _ => {
                let text = format!("request {id} is decided, or over");
                return refused(409, "approval-settled", text);
            }
        }
        kept.view.state = ApprovalState::Approved { by: actor.to_owned(), at_ms: now_ms };
        let view = kept.view.clone();
        let texts = (format!("{id} by {}", view.requester), "approved".into());
        self.audit.append(
            now_ms,
            actor,
            line("approval.approve", view.pair.clone(), reason, texts),
        );
        Reply::Approval(view)
    }

    fn reject_kept(
        &mut self,
        (now_ms, actor): (i64, &str),
        id: &ApprovalId,
        reason: String,
    ) -> Reply {
        let Some(kept) = self.approvals.kept.get_mut(id) else {
            return Reply::Refused(approval_not_found(id));
        };
        if kept.view.state != ApprovalState::Waiting || kept.view.expires_ms <= now_ms {
            return refused(409, "approval-settled", format!("request {id} is decided, or over"));
        }
        let texts = (format!("{id} by {}", kept.view.requester), "rejected".into());
        let line = line("approval.reject", kept.view.pair.clone(), &reason, texts);
        kept.view.state = ApprovalState::Rejected { by: actor.to_owned(), reason };
        let view = kept.view.clone();
        self.audit.append(now_ms, actor, line);
        Reply::Approval(view)
    }

    fn finish_kept(
        &mut self,
        (now_ms, actor): (i64, &str),
        id: &ApprovalId,
        (status, code, operation): (u16, Option<String>, Option<OperationId>),
    ) -> Reply {
        let Some(kept) = self.approvals.kept.get_mut(id) else {
            return Reply::Refused(approval_not_found(id));
        };
        let ApprovalState::Approved { by, .. } = &kept.view.state else {
            return Reply::Approval(kept.view.clone());
        };
        let told = code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        let texts = (
            format!("{id} by {}, approved by {by}", kept.view.requester),
            format!("{status}{told}"),
        );
        let mut line = line("approval.done", kept.view.pair.clone(), "", texts);
        line.operation.clone_from(&operation);
        kept.view.state = ApprovalState::Done { by: by.clone(), status, code, operation };
        let view = kept.view.clone();
        self.audit.append(now_ms, actor, line);
        Reply::Approval(view)
    }
}
