//! Operations: start, journal lines of the core, ends, cancel, approve.

use continuum_control_api::routes::ApiError;
use continuum_domain::operation::{
    Operation, OperationKind, OperationState, Step, StepOutcome, StepRecord,
};
use continuum_domain::sequence::{self, Recorded};
use continuum_domain::{Epoch, OperationId, PairId};

use super::pairs::{pair_not_found, under_way};
use super::{AddedLine, CoreState, ENDED_MAX, Reply, kind_text, state_word};

fn operation_not_found(id: &OperationId) -> ApiError {
    ApiError::new(404, "operation-not-found", format!("there is no operation {id}"))
}

impl CoreState {
    /// Starts an operation a person asked for. The same request while it runs answers the same
    /// operation: a client whose answer was lost may ask again.
    pub(super) fn start(&mut self, now_ms: i64, actor: &str, operation: Operation) -> Reply {
        let Some((_, spec)) = self.spec(&operation.pair) else {
            return Reply::Refused(pair_not_found(&operation.pair));
        };
        if !spec.members.contains_key(sequence::target(&operation)) {
            let text = "the target is not a member of the pair; nothing was changed";
            return Reply::Refused(ApiError::new(422, "not-a-member", text));
        }
        let (pair, epoch) = (&operation.pair, operation.at_epoch);
        let rejoins = matches!(operation.kind, OperationKind::Rejoin { .. });
        let rejoining = self.rejoining(pair, epoch).filter(|_| rejoins);
        if let Some(running) = self.barring(pair, epoch).or(rejoining) {
            let same = running.kind == operation.kind
                && running.at_epoch == operation.at_epoch
                && running.actor == operation.actor;
            if same {
                return Reply::Operation(running.clone());
            }
            return Reply::Refused(under_way(running.id.as_str()));
        }
        self.make_room((now_ms, actor), &operation.pair, operation.at_epoch, &operation.id);
        self.create((now_ms, actor), operation.clone());
        Reply::Operation(operation)
    }

    /// Ends what the operation `by`, a move from `epoch`, takes the place of: a proposal that nobody
    /// approved, and what still runs from an earlier epoch.
    pub(super) fn make_room(
        &mut self,
        (now_ms, actor): (i64, &str),
        pair: &PairId,
        epoch: Epoch,
        by: &OperationId,
    ) {
        let over = |operation: &&Operation| {
            operation.at_epoch < epoch || sequence::failover::waits_for_approval(operation)
        };
        let ended: Vec<_> = self.running(pair).filter(over).cloned().collect();
        for operation in ended {
            let state = if sequence::failover::waits_for_approval(&operation) {
                let reason = format!(
                    "operation {by} took its place before anybody approved it; nothing was touched"
                );
                OperationState::Undone { reason }
            } else {
                let reason = sequence::overtaken(epoch, by);
                OperationState::Failed { reason }
            };
            self.change_to(now_ms, actor, &operation.id, state);
        }
    }

    /// Adds an operation and makes room by dropping the oldest ended ones.
    pub(super) fn create(&mut self, by: (i64, &str), operation: Operation) {
        let texts = (operation.reason.clone(), "none".into(), kind_text(&operation.kind));
        self.audit_operation(by, &operation, "start", texts);
        self.operations.insert(operation.id.clone(), operation);
        let mut ended: Vec<_> = self
            .operations
            .values()
            .filter_map(|old| Some((old.ended_ms?, old.id.clone())))
            .collect();
        if ended.len() > ENDED_MAX {
            ended.sort();
            for (_, id) in ended.iter().take(ended.len() - ENDED_MAX) {
                self.operations.remove(id);
                self.waiting.remove(id);
            }
        }
    }

    pub(super) fn core_line(
        &mut self,
        now_ms: i64,
        actor: &str,
        id: &OperationId,
        line: StepRecord,
    ) -> Reply {
        if !self.operations.contains_key(id) {
            return Reply::Refused(operation_not_found(id));
        }
        let added = self.add_line((now_ms, actor), id, line);
        Reply::Journalled { seq: 0, added: added.into_iter().collect() }
    }

    /// Offers a line to an operation's journal and audits what came of it.
    pub(super) fn add_line(
        &mut self,
        by: (i64, &str),
        id: &OperationId,
        line: StepRecord,
    ) -> Option<AddedLine> {
        let operation = self.operations.get_mut(id)?;
        let (step, outcome) = (line.step, line.outcome.clone());
        let text = line_text(&line);
        let recorded = sequence::record(operation, line);
        let action = match recorded {
            Recorded::Added => "step",
            Recorded::Late => "late-step",
            Recorded::Full => "step-dropped",
            Recorded::Duplicate => return None,
        };
        let operation = operation.clone();
        let word = state_word(&operation.state);
        self.audit_operation(by, &operation, action, (String::new(), word, text));
        let kind = sequence::kind_label(&operation.kind).to_owned();
        (recorded == Recorded::Added).then(|| AddedLine {
            operation: id.clone(),
            kind,
            step,
            outcome,
        })
    }

    pub(super) fn change_to(
        &mut self,
        now_ms: i64,
        actor: &str,
        id: &OperationId,
        state: OperationState,
    ) -> Reply {
        let Some(operation) = self.operations.get_mut(id) else {
            return Reply::Refused(operation_not_found(id));
        };
        let before = state_word(&operation.state);
        if sequence::transition(operation, state, now_ms) {
            if operation.state.is_final() {
                self.waiting.remove(id);
            }
            let operation = operation.clone();
            let after = state_word(&operation.state);
            self.audit_operation(
                (now_ms, actor),
                &operation,
                "state",
                (String::new(), before, after),
            );
            return Reply::Operation(operation);
        }
        Reply::Operation(operation.clone())
    }

    pub(super) fn cancel(
        &mut self,
        now_ms: i64,
        actor: &str,
        id: &OperationId,
        reason: String,
    ) -> Reply {
        let Some(operation) = self.operations.get_mut(id) else {
            return Reply::Refused(operation_not_found(id));
        };
        if !sequence::may_cancel(operation) {
            let text = format!(
                "operation {id} is past the point where it can be cancelled ({}); nothing was changed",
                state_word(&operation.state)
            );
            return Reply::Refused(ApiError::new(409, "too-late-to-cancel", text));
        }
        if operation.cancel_requested {
            return Reply::Operation(operation.clone());
        }
        operation.cancel_requested = true;
        let operation = operation.clone();
        let texts = (reason, "running".into(), "running, cancel requested".into());
        self.audit_operation((now_ms, actor), &operation, "cancel", texts);
        Reply::Operation(operation)
    }

    /// A person approves. The approval counts for this operation only, hence for its pair, target
    /// and epoch, and no other (R21).
    pub(super) fn approve(
        &mut self,
        now_ms: i64,
        actor: &str,
        id: &OperationId,
        reason: String,
    ) -> Reply {
        let Some(operation) = self.operations.get_mut(id) else {
            return Reply::Refused(operation_not_found(id));
        };
        let waits = sequence::failover::waits_for_approval(operation);
        let Some(waiting) = self.waiting.remove(id).filter(|_| waits) else {
            let text = format!("operation {id} does not wait for an approval; nothing was changed");
            return Reply::Refused(ApiError::new(409, "nothing-to-approve", text));
        };
        if let OperationKind::Failover { allow_data_loss, .. } = &mut operation.kind {
            *allow_data_loss = *allow_data_loss || waiting.data_loss;
        }
        let line = StepRecord {
            step: Step::Preflight,
            outcome: StepOutcome::Done,
            region: None,
            at_ms: now_ms,
            took_us: None,
            detail: format!("approved by {actor}"),
        };
        sequence::record(operation, line);
        let operation = operation.clone();
        let after = if waiting.data_loss { "approved, a loss included" } else { "approved" };
        let before = format!("waiting: {}", waiting.reason);
        self.audit_operation(
            (now_ms, actor),
            &operation,
            "approve",
            (reason, before, after.into()),
        );
        Reply::Operation(operation)
    }
}

fn line_text(line: &StepRecord) -> String {
    let step = serde_json::to_string(&line.step).expect("steps are plain data");
    let outcome = serde_json::to_string(&line.outcome).expect("outcomes are plain data");
    format!("{step} {outcome} {}", line.detail)
}
