//! `status` and `fleet`.

use continuum_control_api::rest::FleetQuery;

use crate::args::ops::{FleetArgs, StatusArgs};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::render;

/// Shows everything at a glance.
pub async fn run(args: StatusArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let mut status = session.ask(async || session.api.status().await).await?;
    if let Some(pair) = &args.pair {
        status.pairs.retain(|view| view.spec.id == *pair);
        status.operations.retain(|operation| operation.pair == *pair);
        if status.pairs.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("there is no pair {pair}"))
                .next("continuum pair list shows those there are"));
        }
    }
    render::show(session.output(), &status, || {
        render::status::page(&status, session.now_ms(), session.style)
    })?;
    Ok(Exit::Done)
}

/// Shows how all pairs stand.
pub async fn fleet(args: FleetArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let query = FleetQuery { selector: args.selector };
    let fleet = session.ask(async || session.api.fleet(&query).await).await?;
    render::show(session.output(), &fleet, || render::fleet::page(&fleet, session.style))?;
    Ok(Exit::Done)
}
