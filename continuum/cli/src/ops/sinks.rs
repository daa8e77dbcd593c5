//! `sinks`.

use crate::args::audit::{SinksArgs, SinksVerb};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::render::{self, show};

/// Shows where audit records are sent to, and helps where that does not go well.
pub async fn run(args: SinksArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let (api, style) = (&session.api, session.style);
    match args.verb {
        SinksVerb::List => {
            let sinks = session.ask(async || api.sinks().await).await?;
            show(session.output(), &sinks, || render::sinks::listing(&sinks, style))?;
            Ok(Exit::Done)
        }
        SinksVerb::DeadLetters { sink } => {
            let letters = session.ask(async || api.dead_letters(&sink).await).await?;
            show(session.output(), &letters, || render::sinks::letters(&letters))?;
            Ok(Exit::Done)
        }
        SinksVerb::Test { sink } => {
            let tested = session.ask(async || api.test_sink(&sink).await).await?;
            show(session.output(), &tested, || render::sinks::tested(&tested, style))?;
            Ok(if tested.taken { Exit::Done } else { Exit::Failed })
        }
        SinksVerb::Retry { sink } => {
            let retried = session.ask(async || api.retry_dead_letters(&sink).await).await?;
            show(session.output(), &retried, || render::sinks::retried(&retried))?;
            let all = retried.refused == 0 && retried.left == 0;
            Ok(if all { Exit::Done } else { Exit::Failed })
        }
    }
}
