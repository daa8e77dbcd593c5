//! Sinks as people see them: how they stand, a test, dead letters sent again.

use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::ask::Ask;
use continuum_control_api::routes::ApiError;
use continuum_control_api::sinks::{DeadLetter, SinkRetried, SinkStanding, SinkTested, SinkView};
use continuum_runtime::seed;

use super::deliver::once;
use super::event::Event;
use super::send::Sent;
use super::{Sink, in_memory, newest};
use crate::archive::read::{Item, Reader};
use crate::core::Core;
use crate::link::registry::millis;
use crate::state::Change;

/// How long dead letters are sent again for one request, which is answered within 10 s.
const RETRY_FOR: Duration = Duration::from_secs(6);
/// How long a test may take.
const TEST_DEADLINE: Duration = Duration::from_secs(8);

fn found<'a>(core: &'a Core, name: &str) -> Result<&'a Arc<Sink>, ApiError> {
    core.outbox.sink(name).ok_or_else(|| {
        let text = format!("{} is configured with no sink {name}", core.config.name);
        ApiError::new(404, "sink-not-found", text)
    })
}

/// All sinks of the leader's configuration.
pub(crate) fn all(core: &Core) -> Vec<SinkView> {
    core.outbox.sinks.iter().map(|sink| one(core, sink)).collect()
}

fn one(core: &Core, sink: &Sink) -> SinkView {
    let name = &sink.config.name;
    let seen = sink.seen().clone();
    let kept = core.node.read(|state| state.sink(name).cloned());
    let position = seen.done.or(kept.as_ref().map(|kept| kept.done));
    let lag_records = position.map(|done| newest(core).saturating_sub(done));
    let waits = |done: u64| {
        let oldest = in_memory(core, done + 1)?;
        u64::try_from(core.now_ms().saturating_sub(oldest.at_ms)).ok()
    };
    let lag_ms = match (lag_records, position) {
        (Some(0), _) => Some(0),
        (_, Some(done)) => waits(done),
        _ => None,
    };
    let kind = serde_json::to_value(sink.config.kind).ok();
    let kept = kept.unwrap_or_default();
    SinkView {
        name: name.clone(),
        kind: kind.and_then(|kind| Some(kind.as_str()?.to_owned())).unwrap_or_default(),
        standing: match (seen.failing_since, seen.tried) {
            (Some(_), _) => SinkStanding::Retrying,
            (None, true) => SinkStanding::Delivering,
            (None, false) => SinkStanding::Unknown,
        },
        retrying_ms: seen.failing_since.map(|since| millis(core.clock.now().since(since))),
        failures: seen.failures,
        position,
        lag_records,
        lag_ms,
        delivered: kept.delivered,
        dead_letters: kept.dead.len() as u64,
        dropped: kept.dropped,
        lost: kept.lost,
        last_error: seen.last_error,
    }
}

/// What a sink refused for good, oldest first.
pub(crate) fn dead_letters(core: &Core, name: &str) -> Result<Vec<DeadLetter>, ApiError> {
    found(core, name)?;
    Ok(core.node.read(|state| {
        state.sink(name).map(|sink| sink.dead.values().cloned().collect()).unwrap_or_default()
    }))
}

/// Sends a test event now.
pub(crate) async fn test(core: &Core, ask: &Ask, name: &str) -> Result<SinkTested, ApiError> {
    let sink = found(core, name)?;
    let event = Event::test(seed::random_id(12), core.now_ms(), &ask.actor());
    let sent = tokio::time::timeout(TEST_DEADLINE, once(core, sink, &event)).await;
    let said = match sent {
        Ok(Sent::Taken) => None,
        Ok(Sent::Unwanted) => Some("this kind of sink takes no such event".into()),
        Ok(Sent::Refused(why) | Sent::Later { why, .. }) => Some(why),
        Err(_) => Some(format!("no answer within {TEST_DEADLINE:?}")),
    };
    let note = Change::Note {
        action: "sink.test".into(),
        reason: format!("a test of the sink {name}"),
        before: String::new(),
        after: said.clone().unwrap_or_else(|| "taken".into()),
    };
    // It was sent already; a lost note is logged, not a reason to say that it was not.
    if let Err(error) = core.change(ask, note).await {
        tracing::warn!(%error, sink = name, "the test of a sink could not be audited");
    }
    Ok(SinkTested { id: event.id, taken: said.is_none(), said })
}

/// Sends dead letters again, oldest first, until time is over or the sink cannot be reached.
pub(crate) async fn retry(
    core: &Arc<Core>,
    ask: &Ask,
    name: &str,
) -> Result<SinkRetried, ApiError> {
    let sink = found(core, name)?;
    let letters = dead_letters(core, name)?;
    let mut retried = SinkRetried { left: letters.len() as u64, ..SinkRetried::default() };
    let mut taken = Vec::new();
    let work = async {
        for letter in &letters {
            let Some(event) = record(core, letter.index).await else { continue };
            match once(core, sink, &event).await {
                Sent::Taken | Sent::Unwanted => {
                    taken.push(letter.index);
                    retried.taken += 1;
                }
                Sent::Refused(why) => {
                    retried.refused += 1;
                    retried.said = Some(why);
                }
                Sent::Later { why, .. } => {
                    retried.said = Some(why);
                    return;
                }
            }
            retried.left -= 1;
        }
    };
    let is_over = tokio::time::timeout(RETRY_FOR, work).await.is_err();
    if is_over && retried.said.is_none() {
        retried.said = Some(format!("time was over after {RETRY_FOR:?}; ask again"));
    }
    let change = Change::SinkSettled { sink: name.to_owned(), positions: taken };
    core.change(ask, change).await?;
    Ok(retried)
}

async fn record(core: &Arc<Core>, index: u64) -> Option<Event> {
    if let Some(record) = in_memory(core, index) {
        return Some(Event::of(record));
    }
    let mut reader = Reader::new(core.clone(), index - 1);
    let piece = reader.piece().await.ok().flatten()?;
    let wanted = |item: Item| match item {
        Item::Record(record) if record.index == index => Some(Event::of(*record)),
        _ => None,
    };
    piece.into_iter().find_map(wanted)
}
