//! `dns render` and `dns verify`: the names of a pair as they should be, and as its servers have them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use continuum_control_api::rest::PairView;
use continuum_dns::records::due::due;
use continuum_dns::records::{Records, Wanted};
use continuum_dns::verify::{resolved, shown, verify};
use continuum_domain::name_spec::absolute;
use continuum_domain::spec::{NameRole, NameSpec};

use crate::args::ops::{DnsOpsArgs, DnsVerb, DnsVerifyArgs};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::Session;
use crate::render::dns::{Answer, Rendered, Server};
use crate::render::{self, names, show};

/// Longest time of one question.
const DEADLINE: Duration = Duration::from_secs(2);

/// Runs a verb.
pub async fn run(verb: DnsVerb, variables: &Variables) -> Result<Exit, Failure> {
    match verb {
        DnsVerb::Render(args) => render(args, variables).await,
        DnsVerb::Verify(args) => verify_names(args, variables).await,
    }
}

async fn render(args: DnsOpsArgs, variables: &Variables) -> Result<Exit, Failure> {
    let session = Session::open(&args.client, variables)?;
    let pair = session.ask(async || session.api.pair(&args.pair).await).await?;
    let mut all = Vec::new();
    for name in &pair.spec.names {
        if !name.is_followed() {
            all.push(Rendered::elsewhere(name));
            continue;
        }
        let wanted = match wanted(&pair, name) {
            Ok(wanted) => wanted,
            Err(problem) => {
                all.push(Rendered::unknown(name, problem));
                continue;
            }
        };
        let mut rendered = Rendered::of(name, &wanted);
        for server in authorities(&pair, name, &args) {
            let seen = shown(server, &wanted.name, DEADLINE).await;
            rendered.compare(server, &wanted, seen);
        }
        all.push(rendered);
    }
    show(session.output(), &all, || render::dns::zone(&all))?;
    Ok(Exit::Done)
}

async fn verify_names(args: DnsVerifyArgs, variables: &Variables) -> Result<Exit, Failure> {
    let DnsVerifyArgs { of: args, resolver: resolvers } = args;
    let session = Session::open(&args.client, variables)?;
    let pair = session.ask(async || session.api.pair(&args.pair).await).await?;
    let mut answers = Vec::new();
    for name in pair.spec.names.iter().filter(|name| name.is_followed()) {
        let wanted = wanted(&pair, name).map_err(|problem| {
            Failure::new(Exit::Unknown, format!("{}: {problem}", name.name))
                .next("look with `continuum pair show`")
        })?;
        let servers = authorities(&pair, name, &args);
        if servers.is_empty() && resolvers.is_empty() {
            return Err(Failure::usage(format!("{}: no authority is known", name.name)).next(
                "list them in the spec (names[].authorities), or give --authority or --resolver",
            ));
        }
        let servers: Vec<SocketAddr> = servers.into_iter().collect();
        let zone = absolute(name.zone.as_deref().unwrap_or_default());
        for (server, verdict) in verify(&servers, &zone, &wanted, DEADLINE).await {
            answers.push(Answer {
                name: name.name.clone(),
                server: server.to_string(),
                kind: Server::Authority,
                serves: verdict.serves(),
                verdict: verdict.to_string(),
            });
        }
        for resolver in &resolvers {
            let told = resolved(resolver.0, &wanted, DEADLINE).await;
            answers.push(Answer {
                name: name.name.clone(),
                server: resolver.0.to_string(),
                kind: Server::Resolver,
                serves: told.serves(),
                verdict: told.to_string(),
            });
        }
    }
    if answers.is_empty() {
        let nobody = format!("pair {} has no name whose servers are known", pair.spec.id);
        return Err(Failure::usage(nobody).next(
            "names without a provider are answered from the lease itself; list their zone, addresses and \
             authorities in the spec to have these asked",
        ));
    }
    let served = answers.iter().all(|answer| answer.serves == Some(true));
    show(session.output(), &answers, || render::dns::verdicts(&answers, session.style))?;
    Ok(if served { Exit::Done } else { Exit::Failed })
}

/// The servers to ask: the spec's, else those that the holder's agent asks, and those given.
fn authorities(pair: &PairView, name: &NameSpec, args: &DnsOpsArgs) -> BTreeSet<SocketAddr> {
    let mut servers: BTreeSet<SocketAddr> = name.authorities.iter().map(|one| one.0).collect();
    if servers.is_empty() {
        let told = names::by_holder(pair, name).map(|(report, _)| report.authorities.keys());
        servers.extend(
            told.into_iter().flatten().filter_map(|server| server.parse::<SocketAddr>().ok()),
        );
    }
    servers.extend(args.authority.iter().map(|one| one.0));
    servers
}

/// What should stand at a name, or why that is not known.
fn wanted(pair: &PairView, name: &NameSpec) -> Result<Wanted, String> {
    let (Some(holder), Some(epoch)) = (&pair.holder, pair.epoch) else {
        return Err("what is due is not known: nobody is known to hold the pair".into());
    };
    let records = match name.role {
        NameRole::Primary => {
            due(&pair.spec.id, name, holder, &BTreeSet::new()).map_err(|error| error.to_string())?
        }
        // Which standbys are near enough is the holder's to see.
        NameRole::Standby => {
            let told = names::by_holder(pair, name);
            let told = told.filter(|(report, _)| report.epoch == Some(epoch));
            let read = told.and_then(|(report, _)| Records::read(report.ttl, &report.records));
            read.ok_or("what is due is not known: the holder's agent does not say")?
        }
    };
    let (name, pair, holder) = (absolute(&name.name), pair.spec.id.clone(), holder.clone());
    Ok(Wanted { name, pair, epoch, holder, records })
}
