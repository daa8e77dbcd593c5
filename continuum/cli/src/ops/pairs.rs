//! `pair`.

use continuum_control_api::rest::{
    ApplyPair, DiffQuery, HistoryQuery, PausePairRequest, ResumePairRequest, RollbackRequest,
};
use continuum_domain::spec::PairSpec;

use crate::args::ops::{PairArgs, PairVerb};
use crate::config::client::OutputFormat;
use crate::config::{Variables, pair};
use crate::failure::{Exit, Failure};
use crate::ops::moves;
use crate::ops::session::Session;
use crate::render::{self, show};

/// Lists, shows, applies, compares and removes pairs.
pub async fn run(args: PairArgs, variables: &Variables) -> Result<Exit, Failure> {
    if let PairVerb::Render(args) = &args.verb {
        return super::manifests::manifests(args);
    }
    // The file is checked before anybody is asked.
    let spec = match &args.verb {
        PairVerb::Apply { file, .. } => Some(pair::load(file)?),
        _ => None,
    };
    let session = Session::open(&args.client, variables)?;
    let (api, output, style) = (&session.api, session.output(), session.style);
    match args.verb {
        PairVerb::List { selector } => {
            let pairs = session.ask(async || api.all_pairs(selector.as_deref()).await).await?;
            show(output, &pairs, || render::pair::listing(&pairs, style))?;
        }
        PairVerb::Show { pair, spec } => {
            let view = session.ask(async || api.pair(&pair).await).await?;
            if spec {
                show_spec(output, &view.spec)?;
            } else {
                show(output, &view, || render::pair::page(&view, style))?;
            }
        }
        PairVerb::Apply { reason, dry_run, .. } => {
            let Some(spec) = spec else { return Ok(Exit::Done) };
            let name = spec.id.to_string();
            let body = ApplyPair { spec, reason };
            if dry_run {
                let diff = session.ask(async || api.check_pair(&body).await).await?;
                show(output, &diff, || render::pair::diff(&diff))?;
                return Ok(Exit::Done);
            }
            let version = session.ask(async || api.apply_pair(&body).await).await?;
            show(output, &version, || render::pair::changed(&version, &name))?;
        }
        PairVerb::Diff { pair, from, to } => {
            let query = DiffQuery { from, to };
            let diff = session.ask(async || api.diff(&pair, &query).await).await?;
            show(output, &diff, || render::pair::diff(&diff))?;
        }
        PairVerb::Moves { pair, limit } => {
            let query = HistoryQuery { limit: Some(limit) };
            let moves = session.ask(async || api.history(&pair, &query).await).await?;
            show(output, &moves, || render::moves::listing(&moves, style))?;
        }
        PairVerb::Pause { pair, dry_run, wait, reason } => {
            let body = PausePairRequest { dry_run, reason };
            let started = session.ask(async || api.pause_pair(&pair, &body).await).await?;
            return moves::follow(&session, started, wait).await;
        }
        PairVerb::Resume { pair, to, dry_run, wait, reason } => {
            let body = ResumePairRequest { to, dry_run, reason };
            let started = session.ask(async || api.resume_pair(&pair, &body).await).await?;
            return moves::follow(&session, started, wait).await;
        }
        PairVerb::Rollback { pair, to, reason } => {
            let body = RollbackRequest { version: to, reason };
            let version = session.ask(async || api.roll_back(&pair, &body).await).await?;
            show(output, &version, || render::pair::changed(&version, pair.as_str()))?;
        }
        // Asks nobody: done before the session was opened.
        PairVerb::Render(_) => {}
        PairVerb::History { pair } => {
            let versions = session.ask(async || api.versions(&pair).await).await?;
            show(output, &versions, || render::pair::history(&versions))?;
        }
        PairVerb::Remove { pair, reason } => {
            let version = session.ask(async || api.remove_pair(&pair, &reason).await).await?;
            show(output, &version, || render::pair::changed(&version, pair.as_str()))?;
        }
    }
    Ok(Exit::Done)
}

/// A spec as `apply` takes it: TOML where a table would be printed.
fn show_spec(output: OutputFormat, spec: &PairSpec) -> Result<(), Failure> {
    let text = toml::to_string(spec).map_err(|error| {
        Failure::new(Exit::Unknown, format!("the spec cannot be written: {error}"))
    })?;
    show(output, spec, || text)
}
