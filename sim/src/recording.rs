//! What everyone learnt of the registers, for the judge: a recorder around any store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use continuum_domain::Version;
use continuum_witness::history::{Event, Outcome};
use continuum_witness::{Answer, RegisterStore, StoreError, Versioned};

#[derive(Default)]
struct Inner {
    /// Instants: each call and each return is one, and no two are equal.
    instant: u64,
    events: BTreeMap<String, Vec<Event>>,
    /// Changes under way, by the instant of their call.
    open: BTreeMap<u64, (String, Versioned)>,
    /// Changes that were asked for, oldest first.
    asked: Vec<Asked>,
}

/// A change that somebody asked for, as it was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who.
    pub who: String,
    /// The register.
    pub key: String,
    /// At this version.
    pub expected: Version,
    /// What is to stand there.
    pub value: Vec<u8>,
}

/// All calls to all registers. Clones are handles to the same one.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Inner>>);

impl History {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instant(&self) -> u64 {
        let mut inner = self.inner();
        inner.instant += 1;
        inner.instant
    }

    fn add(&self, key: &str, called: u64, outcome: Outcome) {
        let returned = self.instant();
        let event = Event { called, returned, outcome };
        self.inner().events.entry(key.to_owned()).or_default().push(event);
    }

    /// Checks every register's history; the error names the register.
    pub fn check(&self) -> Result<(), String> {
        let inner = self.inner();
        for (key, events) in &inner.events {
            let open = inner.open.iter().filter(|(_, (of, _))| of == key);
            let open = open.map(|(called, (_, value))| Event {
                called: *called,
                returned: u64::MAX,
                outcome: Outcome::MayHaveWritten(value.clone()),
            });
            let all: Vec<Event> = events.iter().cloned().chain(open).collect();
            continuum_witness::history::check(&all).map_err(|why| format!("{key}: {why}"))?;
        }
        Ok(())
    }

    /// Changes asked for, from the `from`-th on, oldest first.
    pub fn asked(&self, from: usize) -> Vec<Asked> {
        self.inner().asked.get(from..).unwrap_or_default().to_vec()
    }

    /// Number of calls recorded.
    pub fn calls(&self) -> usize {
        self.inner().events.values().map(Vec::len).sum()
    }
}

/// A store whose answers are recorded.
pub struct Recording {
    store: Arc<dyn RegisterStore>,
    who: String,
    history: History,
}

impl Recording {
    /// Records what `who` learns from `store`.
    pub fn new(store: Arc<dyn RegisterStore>, who: &str, history: &History) -> Self {
        Self { store, who: who.to_owned(), history: history.clone() }
    }
}

/// A change under way: one that nobody hears the end of may have been made.
struct Open<'a> {
    history: &'a History,
    called: u64,
}

impl Open<'_> {
    fn begin<'a>(history: &'a History, key: &str, value: &Versioned) -> Open<'a> {
        let called = history.instant();
        history.inner().open.insert(called, (key.to_owned(), value.clone()));
        Open { history, called }
    }

    fn close(&self, outcome: Option<Outcome>) {
        let open = self.history.inner().open.remove(&self.called);
        if let (Some((key, _)), Some(outcome)) = (open, outcome) {
            self.history.add(&key, self.called, outcome);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let open = self.history.inner().open.remove(&self.called);
        if let Some((key, value)) = open {
            self.history.add(&key, self.called, Outcome::MayHaveWritten(value));
        }
    }
}

#[async_trait]
impl RegisterStore for Recording {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let called = self.history.instant();
        let answer = self.store.read(key).await;
        if let Ok(found) = &answer {
            self.history.add(key, called, Outcome::Saw(found.clone()));
        }
        answer
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Version,
        value: Vec<u8>,
    ) -> Result<Answer, StoreError> {
        let written = Versioned { version: Version(expected.0 + 1), value: value.clone() };
        let open = Open::begin(&self.history, key, &written);
        self.history.inner().asked.push(Asked {
            who: self.who.clone(),
            key: key.to_owned(),
            expected,
            value: value.clone(),
        });
        let answer = self.store.compare_and_swap(key, expected, value).await;
        match &answer {
            Ok(Answer::Accepted(version)) => {
                open.close(Some(Outcome::Wrote(Versioned { version: *version, ..written })));
            }
            Ok(Answer::Refused(found)) => open.close(Some(Outcome::Saw(found.clone()))),
            Err(error) if error.may_have_taken_effect() => {
                tracing::debug!(who = self.who, key, "unanswered");
                open.close(Some(Outcome::MayHaveWritten(written)));
            }
            Err(_) => open.close(None),
        }
        answer
    }
}
