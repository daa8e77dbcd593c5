//! Requests that take a second person.

use continuum_control_api::approvals::{Approval, ApprovalState, Awaiting};
use continuum_domain::access::SafetyRule;

use super::text::*;

fn state(view: &Approval) -> String {
    match &view.state {
        ApprovalState::Waiting => {
            format!("waits for a {} until {}", view.approver, time(view.expires_ms))
        }
        ApprovalState::Approved { by, .. } => {
            format!("approved by {}, not finished: approve it again", one_line(by))
        }
        ApprovalState::Rejected { by, reason } => {
            format!("rejected by {}: {}", one_line(by), or_none(&one_line(reason)))
        }
        ApprovalState::Done { by, status, code, operation } => {
            let by = one_line(by);
            match (code, operation) {
                (Some(code), _) => format!("approved by {by}, and refused: {code} ({status})"),
                (None, Some(operation)) => format!("approved by {by}: operation {operation}"),
                (None, None) => format!("approved by {by}, and done"),
            }
        }
    }
}

fn row(view: &Approval) -> [String; 4] {
    let asked = format!("{} {}", view.method, one_line(&view.path));
    [view.id.to_string(), asked, one_line(&view.requester), state(view)]
}

/// `approvals list`.
pub fn listing(all: &[Awaiting]) -> String {
    if all.is_empty() {
        return "nothing waits for an approval\n".into();
    }
    let rows = all.iter().map(|one| match one {
        Awaiting::Request(view) => row(view),
        Awaiting::Operation(operation) => [
            operation.id.to_string(),
            format!("failover of {}", operation.pair),
            one_line(&operation.actor),
            "waits: continuum operation approve".into(),
        ],
    });
    table(["WHAT", "ASKS FOR", "BY", "STATE"], rows)
}

/// One request with its body.
pub fn page(view: &Approval) -> String {
    let [id, asked, by, state] = row(view);
    format!("{id}: {asked}\n  by {by}, rule {}\n  {}\n  {state}\n", view.rule, one_line(&view.body))
}

/// `approvals rules`.
pub fn rules(rules: &[SafetyRule]) -> String {
    let rows = rules.iter().map(|rule| {
        let verbs: Vec<_> = rule.verbs.iter().map(|verb| verb.label()).collect();
        let over = match rule.selector.to_string() {
            text if text.is_empty() => "everything".to_owned(),
            text => text,
        };
        let exempt = rule.exempt.map_or_else(|| "nobody".into(), |tier| tier.to_string());
        [rule.name.to_string(), verbs.join(", "), over, rule.approver.to_string(), exempt]
    });
    table(["RULE", "FOR", "OVER", "APPROVED BY", "EXEMPT"], rows)
}
