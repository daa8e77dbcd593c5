//! `switchover`, `failback`, `failover` and `rejoin`.

use continuum_control_api::rest::{
    FailbackRequest, FailoverRequest, RejoinRequest, Started, SwitchoverRequest,
};
use continuum_domain::Epoch;
use continuum_domain::operation::RejoinMethod;

use crate::args::ops::{FailbackArgs, FailoverArgs, RejoinArgs, SwitchoverArgs};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::ops::{operations, watch};
use crate::render::{self, show};

/// Plans or starts a switchover.
pub async fn switchover(args: SwitchoverArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let body = SwitchoverRequest {
        to: args.to,
        method: args.method.map(Into::into),
        dry_run: args.dry_run,
        reason: args.reason,
    };
    let started = session.ask(async || session.api.switchover(&args.pair, &body).await).await?;
    follow(&session, started, args.wait).await
}

/// Plans or starts a switchover to where the pair belongs.
pub async fn failback(args: FailbackArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let FailbackArgs { method, dry_run, reason, .. } = args;
    let body = FailbackRequest { method: method.map(Into::into), dry_run, reason };
    let started = session.ask(async || session.api.failback(&args.pair, &body).await).await?;
    follow(&session, started, args.wait).await
}

/// Starts a failover that a person orders.
pub async fn failover(args: FailoverArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let body = FailoverRequest {
        to: args.to,
        allow_data_loss: args.allow_data_loss,
        epoch: args.epoch.map(Epoch),
        dry_run: args.dry_run,
        reason: args.reason,
    };
    let started = session.ask(async || session.api.failover(&args.pair, &body).await).await?;
    follow(&session, started, args.wait).await
}

/// Plans or starts that a member rejoins.
pub async fn rejoin(args: RejoinArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let RejoinArgs { region, clone, dry_run, reason, .. } = args;
    let method = if clone { RejoinMethod::Clone } else { RejoinMethod::Retry };
    let body = RejoinRequest { region, method, dry_run, reason };
    let started = session.ask(async || session.api.rejoin(&args.pair, &body).await).await?;
    follow(&session, started, args.wait).await
}

pub(super) async fn follow(
    session: &Session,
    started: Started,
    wait: bool,
) -> Result<Exit, Failure> {
    match started {
        Started::Plan(plan) => {
            show(session.output(), &plan, || render::operation::plan(&plan, session.style))?;
            Ok(if plan.allowed { Exit::Done } else { Exit::Refused })
        }
        Started::Operation(operation) if wait => watch::run(session, operation).await,
        Started::Operation(operation) => {
            let exit = operations::print(session, &operation)?;
            // Accepted is what was asked for without --wait.
            Ok(exit.unwrap_or(Exit::Done))
        }
    }
}
