//! `whoami`, `access`, `token` and `break-glass`.

use std::time::Duration;

use continuum_control_api::access::{GlassBody, GrantBody, TokenBody};

use crate::args::access::{
    AccessArgs, AccessVerb, GlassArgs, GlassVerb, TokenArgs, TokenVerb, WhoamiArgs,
};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::render::{access as render, show};

fn millis(duration: Duration) -> Result<u64, Failure> {
    u64::try_from(duration.as_millis())
        .map_err(|_| Failure::usage("--for is longer than can be counted"))
}

/// Shows who asks, and what it may do.
pub async fn whoami(args: WhoamiArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let who = session.ask(async || session.api.who_am_i().await).await?;
    show(session.output(), &who, || render::whoami(&who, session.style))?;
    Ok(Exit::Done)
}

/// Lists, makes and takes away grants.
pub async fn grants(args: AccessArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let api = &session.api;
    let all = match args.verb {
        AccessVerb::Grants => session.ask(async || api.grants().await).await?,
        AccessVerb::Grant { name, subjects, tier, selector, break_glass, reason } => {
            let body = GrantBody { subjects, tier, selector, break_glass, reason };
            vec![session.ask(async || api.set_grant(&name, &body).await).await?]
        }
        AccessVerb::Ungrant { name, reason } => {
            session.ask(async || api.remove_grant(&name, &reason).await).await?
        }
    };
    show(session.output(), &all, || render::grants(&all))?;
    Ok(Exit::Done)
}

/// Makes, lists and ends tokens.
pub async fn tokens(args: TokenArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let api = &session.api;
    match args.verb {
        TokenVerb::Create { name, tier, selector, duration, reason } => {
            let body = TokenBody { name, tier, selector, for_ms: millis(duration)?, reason };
            // Each call draws a key of its own, so a lost answer leaves a token that nobody knows:
            // asked once, and looked at before it is asked again.
            let made = api.create_token(&body).await.map_err(crate::ops::session::told)?;
            show(session.output(), &made, || render::new_token(&made))?;
        }
        TokenVerb::List => {
            let all = session.ask(async || api.tokens().await).await?;
            show(session.output(), &all, || render::tokens(&all))?;
        }
        TokenVerb::Revoke { id, reason } => {
            let ended = session.ask(async || api.revoke_token(&id, &reason).await).await?;
            show(session.output(), &ended, || format!("token {} ({id}) is ended\n", ended.name))?;
        }
    }
    Ok(Exit::Done)
}

/// Breaks the glass, mends it, shows whose is broken.
pub async fn glass(args: GlassArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let api = &session.api;
    let all = match args.verb {
        GlassVerb::Open { reason, duration } => {
            let body = GlassBody { reason, for_ms: millis(duration)? };
            vec![session.ask(async || api.break_glass(&body).await).await?]
        }
        GlassVerb::Close { reason } => session.ask(async || api.close_glass(&reason).await).await?,
        GlassVerb::Show => session.ask(async || api.glass().await).await?,
    };
    show(session.output(), &all, || render::glass(&all, session.style))?;
    Ok(Exit::Done)
}
