//! `pause-automation` and `resume-automation`.

use continuum_control_api::rest::{AutomationPause, PauseQuery, PauseRequest};

use crate::args::ops::{PauseArgs, ResumeArgs};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::render::style::Style;
use crate::render::{show, status};

/// Pauses automatic failovers for a while.
pub async fn pause(args: PauseArgs, variables: &Variables) -> Result<Exit, Failure> {
    let for_ms = u64::try_from(args.duration.as_millis())
        .map_err(|_| Failure::usage("--for is longer than can be counted"))?;
    if for_ms == 0 {
        return Err(Failure::usage("--for must be longer than zero"));
    }
    let session = Session::open(&args.client, variables)?;
    let body = PauseRequest { pair: args.pair, reason: args.reason, for_ms };
    let pause = session.ask(async || session.api.pause(&body).await).await?;
    show(session.output(), &pause, || status::pause_line(&pause, session.style))?;
    Ok(Exit::Done)
}

/// Ends a pause; prints those still in force.
pub async fn resume(args: ResumeArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let query = PauseQuery { pair: args.pair };
    let left = session.ask(async || session.api.resume(&query, &args.reason).await).await?;
    show(session.output(), &left, || pauses(&left, session.style))?;
    Ok(Exit::Done)
}

fn pauses(pauses: &[AutomationPause], style: Style) -> String {
    if pauses.is_empty() {
        return "automation runs; no pause is in force\n".into();
    }
    pauses.iter().map(|pause| status::pause_line(pause, style)).collect()
}
