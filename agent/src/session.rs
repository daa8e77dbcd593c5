//! Keeping the region's session: one request to the witness at a time, never behind anything else.

use std::sync::Arc;
use std::time::Duration;

use continuum_domain::pair::types::SessionView;
use continuum_domain::record::session_key;
use continuum_domain::session::{Session, SessionEffect, SessionEvent};
use continuum_domain::{RegionId, SessionRecord, Timing, Version};
use continuum_runtime::SharedClock;
use continuum_witness::{Answer, RegisterStore, StoreError, Versioned};
use tokio::sync::watch;

/// Why the keeper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another agent of this region took the session over.
    Superseded,
    /// Nobody listens any more.
    Unwatched,
}

/// Keeps the session until superseded, publishing its state.
pub(crate) async fn keep(
    region: RegionId,
    timing: Timing,
    store: Arc<dyn RegisterStore>,
    clock: SharedClock,
    view: watch::Sender<SessionView>,
    mut sooner: watch::Receiver<Option<Duration>>,
) -> Ended {
    let key = session_key(&region);
    let mut session = Session::new(timing, clock.now());
    let mut event = SessionEvent::Wake;
    loop {
        session.renew_sooner(*sooner.borrow_and_update());
        let effect = session.step(clock.now(), event);
        if view.send(session.view(clock.now())).is_err() {
            return Ended::Unwatched;
        }
        if session.superseded() {
            return Ended::Superseded;
        }
        event = match effect {
            Some(effect) => {
                perform(store.as_ref(), &key, effect, &mut session, &clock, &view).await
            }
            None => {
                let now = clock.now();
                let pause = now.until(session.next_wake()).max(Duration::from_millis(1));
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    changed = sooner.changed() => if changed.is_err() { return Ended::Unwatched },
                }
                SessionEvent::Wake
            }
        };
    }
}

/// Performs one request, and lets the session lapse on time while the answer is out.
async fn perform(
    store: &dyn RegisterStore,
    key: &str,
    effect: SessionEffect,
    session: &mut Session,
    clock: &SharedClock,
    view: &watch::Sender<SessionView>,
) -> SessionEvent {
    let request = request(store, key, effect);
    tokio::pin!(request);
    loop {
        let lapse = session.view(clock.now()).valid_until;
        let pause = lapse.map_or(Duration::from_secs(1), |at| clock.now().until(at));
        tokio::select! {
            event = &mut request => return event,
            () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {
                session.step(clock.now(), SessionEvent::Wake);
                if view.send(session.view(clock.now())).is_err() {
                    tracing::debug!("nobody watches the session");
                }
            }
        }
    }
}

async fn request(store: &dyn RegisterStore, key: &str, effect: SessionEffect) -> SessionEvent {
    match effect {
        SessionEffect::Read => match store.read(key).await.map(parse) {
            Ok(Ok(found)) => SessionEvent::Read(found),
            Ok(Err(error)) => {
                tracing::error!(%error, "the session register does not parse");
                SessionEvent::ReadFailed
            }
            Err(error) => {
                tracing::warn!(%error, "session not read");
                SessionEvent::ReadFailed
            }
        },
        SessionEffect::Cas { expected, value } => {
            let bytes = serde_json::to_vec(&value).expect("session records are plain data");
            match store.compare_and_swap(key, expected, bytes).await {
                Ok(Answer::Accepted(version)) => SessionEvent::Accepted { value, version },
                Ok(Answer::Refused(current)) => match parse(current) {
                    Ok(found) => SessionEvent::Refused(found),
                    Err(_) => SessionEvent::Unanswered,
                },
                Err(error) => {
                    log_failure(&error);
                    SessionEvent::Unanswered
                }
            }
        }
    }
}

fn log_failure(error: &StoreError) {
    match error {
        StoreError::Unauthorised(_) | StoreError::Misconfigured(_) => {
            tracing::error!(%error, "session not renewed");
        }
        _ => tracing::warn!(%error, "session not renewed"),
    }
}

fn parse(found: Option<Versioned>) -> Result<Option<(Version, SessionRecord)>, serde_json::Error> {
    found.map(|found| Ok((found.version, serde_json::from_slice(&found.value)?))).transpose()
}
