//! `audit`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use continuum_control::archive::file::{self, CopyError};
use continuum_control_api::client::ClientError;
use continuum_control_api::rest::{
    AuditQuery, AuditVerdict, ExportFormat, ExportQuery, VerifyQuery,
};

use crate::args::audit::{AuditArgs, AuditVerb, ExportFormatArg};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use crate::ops::session::{Session, told};
use crate::render::style::Style;
use crate::render::{self, show};

/// Lists, verifies and exports the audit chain.
pub async fn run(args: AuditArgs, variables: &Variables) -> Result<Exit, Failure> {
    if let AuditVerb::Verify { file: Some(copy) } = &args.verb {
        return verify_copy(copy, Style::detect(variables));
    }
    let session = Session::open(&args.client, variables)?;
    let api = &session.api;
    match args.verb {
        AuditVerb::List { pair, after, limit } => {
            let query = AuditQuery { pair, after, limit: Some(limit) };
            let records = session.ask(async || api.audit(&query).await).await?;
            show(session.output(), &records, || render::audit::listing(&records))?;
            Ok(Exit::Done)
        }
        AuditVerb::Verify { .. } => {
            let verdict = verify(&session).await?;
            show(session.output(), &verdict, || render::audit::verdict(&verdict, session.style))?;
            Ok(if verdict.intact { Exit::Done } else { Exit::Failed })
        }
        AuditVerb::Export { format, out, from, until, pair, action, hash_personal } => {
            let format = match format {
                ExportFormatArg::Jsonl => ExportFormat::Jsonl,
                ExportFormatArg::Csv => ExportFormat::Csv,
            };
            let query = ExportQuery {
                format,
                from_ms: from.map(|time| time.as_millisecond()),
                until_ms: until.map(|time| time.as_millisecond()),
                pair,
                action,
                hash_personal,
            };
            export(&session, &query, out.as_deref()).await?;
            Ok(Exit::Done)
        }
    }
}

/// Verifies all of it, a piece of the archive at a time, and on one node.
async fn verify(session: &Session) -> Result<AuditVerdict, Failure> {
    let api = &session.api;
    let mut query = VerifyQuery::default();
    let mut whole: Option<AuditVerdict> = None;
    loop {
        let mut verdict = session.ask(async || api.verify_audit(&query).await).await?;
        if let (Some(before), Some(now)) =
            (whole.as_ref().and_then(|whole| whole.archive.as_ref()), &mut verdict.archive)
        {
            // Each piece begins with the last segment of the one before it.
            let again = now.first.zip(before.head.as_ref());
            let again = again.map_or(0, |(first, head)| (head.index + 1).saturating_sub(first));
            now.records += before.records.saturating_sub(again);
            now.first = before.first;
        }
        if let Some(other) = whole.as_ref().filter(|whole| whole.node != verdict.node) {
            let node = render::text::or_unknown(other.node.clone());
            return Err(Failure::new(Exit::Unknown, format!("{node} does not answer any more"))
                .next("name one node with --endpoints, and verify again"));
        }
        let next = verdict.archive.as_ref().and_then(|archive| archive.next);
        let goes_on = verdict.intact && next.is_some() && next > query.after;
        whole = Some(verdict.clone());
        if !goes_on {
            return Ok(verdict);
        }
        query.after = next;
    }
}

fn verify_copy(copy: &Path, style: Style) -> Result<Exit, Failure> {
    let unreadable = |error: String| Failure::usage(format!("{}: {error}", copy.display()));
    let opened = File::open(copy).map_err(|error| unreadable(error.to_string()))?;
    let found = file::verify(BufReader::new(opened)).map_err(|error| match error {
        CopyError::Read(error) => unreadable(error.to_string()),
        pseudonyms => Failure::new(Exit::Refused, format!("{}: {pseudonyms}", copy.display())),
    })?;
    render::line(render::audit::copy(&found, style).trim_end())?;
    Ok(if found.verdict.intact { Exit::Done } else { Exit::Failed })
}

async fn export(session: &Session, query: &ExportQuery, out: Option<&Path>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("the export cannot be written: {error}"))
    };
    let mut sink: Box<dyn Write> = match out {
        Some(path) => Box::new(BufWriter::new(File::create_new(path).map_err(cannot)?)),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let mut failed = None;
    let taken = session.api.export_audit(query, |piece| {
        sink.write_all(piece).map_err(|error| {
            let text = error.to_string();
            failed = Some(error);
            ClientError::Setup(text)
        })
    });
    let taken = taken.await;
    match (failed, taken) {
        (Some(error), _) => Err(cannot(error)),
        (None, Err(error)) => Err(told(error)),
        (None, Ok(())) => sink.flush().map_err(cannot),
    }
}
