//! `core`.

use continuum_control_api::rest::AddCoreNode;

use crate::args::ops::{CoreArgs, CoreVerb};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::render::{self, show};

/// Shows and changes the control core's members.
pub async fn core(args: CoreArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let api = &session.api;
    let view = match args.verb {
        CoreVerb::Show => session.ask(async || api.core().await).await?,
        CoreVerb::Add { name, id, address, api_address } => {
            let body = AddCoreNode { name, id, address, api_address };
            session.ask(async || api.add_node(&body).await).await?
        }
        CoreVerb::Remove { name } => {
            let view = session.ask(async || api.core().await).await?;
            let node = view.members.iter().find(|member| member.name == name);
            let Some(id) = node.map(|node| node.id) else {
                let what = format!("there is no control node {name}");
                return Err(Failure::new(Exit::NotFound, what)
                    .next("continuum core show lists those there are"));
            };
            session.ask(async || api.remove_node(id).await).await?
        }
    };
    show(session.output(), &view, || render::core::page(&view, session.style))?;
    Ok(Exit::Done)
}
