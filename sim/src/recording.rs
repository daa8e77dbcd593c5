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
    /// By register, each with the host that called.
    events: BTreeMap<String, Vec<(String, Event)>>,
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

    fn add(&self, who: &str, key: &str, called: u64, outcome: Outcome) {
        let returned = self.instant();
        let event = Event { called, returned, outcome };
        self.inner().events.entry(key.to_owned()).or_default().push((who.to_owned(), event));
    }

    /// Checks every register's history; the error names the register. At a quorum, who may not write a
    /// session does not complete what is half-made in it, and is promised less ([`watched`]).
    pub fn check(&self, quorum: bool) -> Result<(), String> {
        let inner = self.inner();
        for (key, events) in &inner.events {
            let open = inner.open.iter().filter(|(_, (of, _))| of == key);
            let open = open.map(|(called, (_, value))| Event {
                called: *called,
                returned: u64::MAX,
                outcome: Outcome::MayHaveWritten(value.clone()),
            });
            let owner = key.strip_prefix("session/").filter(|_| quorum);
            let owns = |who: &str| owner.is_none_or(|owner| who == owner);
            let own = events.iter().filter(|(who, _)| owns(who)).map(|(_, event)| event.clone());
            let own: Vec<Event> = own.chain(open).collect();
            continuum_witness::history::check(&own).map_err(|why| format!("{key}: {why}"))?;
            let others = events.iter().filter(|(who, _)| !owns(who));
            watched(&own, others).map_err(|why| format!("{key}: {why}"))?;
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

/// What an observation window needs of its reads (R6, R7): each shows a value that its owner asked for by
/// then, and none older than one that was made before the read was sent.
fn watched<'a>(
    own: &[Event],
    reads: impl Iterator<Item = &'a (String, Event)>,
) -> Result<(), String> {
    for (who, read) in reads {
        let Outcome::Saw(seen) = &read.outcome else {
            return Err(format!("{who} wrote it: {:?}", read.outcome));
        };
        let version = seen.as_ref().map_or(Version::ABSENT, |seen| seen.version);
        let asked = |event: &&Event| match &event.outcome {
            Outcome::Wrote(made) | Outcome::MayHaveWritten(made) => {
                event.called < read.returned && Some(made) == seen.as_ref()
            }
            _ => false,
        };
        if seen.is_some() && !own.iter().any(|event| asked(&event)) {
            return Err(format!("{who} saw what nobody wrote: version {}", version.0));
        }
        let made_before = |event: &Event| match &event.outcome {
            Outcome::Wrote(made) if event.returned < read.called => Some(made.version),
            _ => None,
        };
        let least = own.iter().filter_map(made_before).max().unwrap_or(Version::ABSENT);
        if version < least {
            let (seen, made) = (version.0, least.0);
            return Err(format!("{who} saw version {seen}, and {made} was made before it asked"));
        }
    }
    Ok(())
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
    who: &'a str,
    history: &'a History,
    called: u64,
}

impl Open<'_> {
    fn begin<'a>(who: &'a str, history: &'a History, key: &str, value: &Versioned) -> Open<'a> {
        let called = history.instant();
        history.inner().open.insert(called, (key.to_owned(), value.clone()));
        Open { who, history, called }
    }

    fn close(&self, outcome: Option<Outcome>) {
        let open = self.history.inner().open.remove(&self.called);
        if let (Some((key, _)), Some(outcome)) = (open, outcome) {
            self.history.add(self.who, &key, self.called, outcome);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let open = self.history.inner().open.remove(&self.called);
        if let Some((key, value)) = open {
            self.history.add(self.who, &key, self.called, Outcome::MayHaveWritten(value));
        }
    }
}

#[async_trait]
impl RegisterStore for Recording {
    async fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let called = self.history.instant();
        let answer = self.store.read(key).await;
        if let Ok(found) = &answer {
            self.history.add(&self.who, key, called, Outcome::Saw(found.clone()));
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
        let open = Open::begin(&self.who, &self.history, key, &written);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn value(version: u64) -> Versioned {
        Versioned { version: Version(version), value: vec![u8::try_from(version).unwrap()] }
    }

    fn event(called: u64, returned: u64, outcome: Outcome) -> Event {
        Event { called, returned, outcome }
    }

    fn read(span: (u64, u64), version: u64) -> (String, Event) {
        let seen = (version > 0).then(|| value(version));
        ("hel".into(), event(span.0, span.1, Outcome::Saw(seen)))
    }

    #[test]
    fn a_watcher_may_see_what_is_half_made_and_never_what_is_old() {
        let own =
            [event(1, 2, Outcome::Wrote(value(1))), event(5, 6, Outcome::MayHaveWritten(value(2)))];
        let check = |read: (String, Event)| watched(&own, [&read].into_iter());
        assert_eq!(check(read((7, 8), 2)), Ok(()));
        assert_eq!(check(read((9, 10), 1)), Ok(()));
        let old = check(read((3, 4), 0));
        assert!(old.unwrap_err().contains("1 was made before"));
        let early = check(read((3, 4), 2));
        assert!(early.unwrap_err().contains("nobody wrote"));
    }
}
