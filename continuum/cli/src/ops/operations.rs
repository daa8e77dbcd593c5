//! `operation`.

use continuum_control_api::rest::OperationsQuery;
use continuum_domain::operation::{Operation, OperationState};

use crate::args::ops::{OperationArgs, OperationVerb};
use crate::config::Variables;
use crate::config::client::OutputFormat;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::ops::watch;
use crate::render::{self, show};

/// Lists, shows, watches, cancels and approves operations.
pub async fn run(args: OperationArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let api = &session.api;
    match args.verb {
        OperationVerb::List { pair } => {
            let query = OperationsQuery { pair, limit: Some(1_000), ..Default::default() };
            let operations = session.ask(async || api.operations(&query).await).await?;
            show(session.output(), &operations, || {
                render::operation::listing(&operations, session.now_ms(), session.style)
            })?;
        }
        OperationVerb::Show { operation } => {
            let operation = session.ask(async || api.operation(&operation).await).await?;
            print(&session, &operation)?;
            print_names(&session, &operation).await?;
        }
        OperationVerb::Watch { operation } => {
            let operation = session.insist(async || api.operation(&operation).await).await?;
            return watch::run(&session, operation).await;
        }
        OperationVerb::Cancel { operation, reason } => {
            let operation = session.ask(async || api.cancel(&operation, &reason).await).await?;
            print(&session, &operation)?;
        }
        OperationVerb::Approve { operation, reason } => {
            let operation = session.ask(async || api.approve(&operation, &reason).await).await?;
            print(&session, &operation)?;
        }
    }
    Ok(Exit::Done)
}

/// Prints an operation; its exit code if it has ended.
pub fn print(session: &Session, operation: &Operation) -> Result<Option<Exit>, Failure> {
    show(session.output(), operation, || {
        render::operation::page(operation, session.now_ms(), session.style)
    })?;
    Ok(exit_of(&operation.state))
}

/// Below an operation that has moved its pair: names of the pair that do not follow now. A move waits for
/// no name server, so it may be done before them. Nothing where the pair cannot be had.
pub async fn print_names(session: &Session, operation: &Operation) -> Result<(), Failure> {
    let moved = matches!(operation.state, OperationState::Moved | OperationState::Done);
    if !moved || session.output() != OutputFormat::Table {
        return Ok(());
    }
    let Ok(pair) = session.api.pair(&operation.pair).await else { return Ok(()) };
    for line in render::names::remarks(&pair) {
        render::line(&session.style.words(&line))?;
    }
    Ok(())
}

/// The exit code of an operation that has ended.
pub fn exit_of(state: &OperationState) -> Option<Exit> {
    match state {
        OperationState::Running | OperationState::Moved => None,
        OperationState::Done => Some(Exit::Done),
        OperationState::Undone { .. } | OperationState::Failed { .. } => Some(Exit::Failed),
        OperationState::Refused { .. } => Some(Exit::Refused),
    }
}
