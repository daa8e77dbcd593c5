//! `approvals`.

use continuum_control_api::approvals::{Approval, ApprovalState, RuleBody};

use crate::args::access::{ApprovalsArgs, ApprovalsVerb};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::render::{approvals as render, show};

/// Lists, approves and rejects requests; lists, makes and takes away rules.
pub async fn run(args: ApprovalsArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let api = &session.api;
    match args.verb {
        ApprovalsVerb::List => {
            let all = session.ask(async || api.approvals().await).await?;
            show(session.output(), &all, || render::listing(&all))?;
        }
        ApprovalsVerb::Approve { id, reason } => {
            let view = session.ask(async || api.approve_request(&id, &reason).await).await?;
            show(session.output(), &view, || render::page(&view))?;
            return Ok(exit_of(&view));
        }
        ApprovalsVerb::Reject { id, reason } => {
            let view = session.ask(async || api.reject_request(&id, &reason).await).await?;
            show(session.output(), &view, || render::page(&view))?;
        }
        ApprovalsVerb::Rules => {
            let rules = session.ask(async || api.rules().await).await?;
            show(session.output(), &rules, || render::rules(&rules))?;
        }
        ApprovalsVerb::Rule { name, verbs, selector, approver, exempt, reason } => {
            let body = RuleBody { selector, verbs, approver, exempt, reason };
            let rule = session.ask(async || api.set_rule(&name, &body).await).await?;
            show(session.output(), &rule, || render::rules(std::slice::from_ref(&rule)))?;
        }
        ApprovalsVerb::Unrule { name, reason } => {
            let rules = session.ask(async || api.remove_rule(&name, &reason).await).await?;
            show(session.output(), &rules, || render::rules(&rules))?;
        }
    }
    Ok(Exit::Done)
}

/// What was approved may still have been refused when it was tried.
fn exit_of(view: &Approval) -> Exit {
    match view.state {
        ApprovalState::Done { status, .. } if status >= 300 => Exit::Refused,
        _ => Exit::Done,
    }
}
