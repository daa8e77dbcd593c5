//! What happened, line by line, with simulated time; and one hash over all of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock::WorldTime;

/// The span the simulated network opens around each host's turn.
const HOST_SPAN: &str = "node";
/// Packets of the simulated network.
const NETWORK_TARGET: &str = "turmoil";

/// How much of a run is shown while it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Show {
    /// Nothing.
    #[default]
    Nothing,
    /// What a person would tell of it.
    Story,
    /// Also what the programs log for developers, which is no part of the hash, and everything else
    /// that is.
    Debug,
}

/// One line of the trace, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// When, since the world began.
    pub at: Duration,
    /// Who did or saw it.
    pub who: String,
    /// What.
    pub what: String,
}

struct Inner {
    hash: Sha256,
    lines: u64,
    show: Show,
    kept: Vec<Noted>,
    seen: BTreeMap<String, u64>,
}

/// The trace of one run. Clones are handles to the same one.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
    time: WorldTime,
}

impl Trace {
    /// An empty trace.
    pub fn new(time: &WorldTime, show: Show) -> Self {
        let inner =
            Inner { hash: Sha256::new(), lines: 0, show, kept: Vec::new(), seen: BTreeMap::new() };
        Self { inner: Arc::new(Mutex::new(inner)), time: time.clone() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `who` did or saw `what`.
    pub fn note(&self, who: &str, what: &str) {
        let at = self.time.now();
        let line = stamped(at, who, what);
        let mut inner = self.inner();
        inner.hash.update(line.as_bytes());
        inner.hash.update(b"\n");
        inner.lines += 1;
        if inner.show >= Show::Story {
            println!("{line}");
        }
        inner.kept.push(Noted { at, who: who.to_owned(), what: what.to_owned() });
    }

    /// Counts something in the hash without a line of the story: packets, acknowledgements.
    pub fn count(&self, what: &str) {
        let now = self.time.now();
        let mut inner = self.inner();
        inner.hash.update(now.as_nanos().to_le_bytes());
        inner.hash.update(what.as_bytes());
        inner.lines += 1;
        if inner.show >= Show::Debug {
            println!("{}", stamped(now, "-", what));
        }
    }

    fn saw(&self, what: String) {
        *self.inner().seen.entry(what).or_default() += 1;
    }

    /// What the programs reported, counted by kind: the coverage of the run.
    pub fn seen(&self) -> BTreeMap<String, u64> {
        self.inner().seen.clone()
    }

    fn aside(&self, who: &str, what: &str) {
        if self.inner().show >= Show::Debug {
            println!("{}", stamped(self.time.now(), who, what));
        }
    }

    /// The hash over everything so far, and of how many events.
    pub fn digest(&self) -> (String, u64) {
        let inner = self.inner();
        let bytes = inner.hash.clone().finalize();
        let text = bytes.iter().take(8).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        });
        (text, inner.lines)
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Noted> {
        self.inner().kept.clone()
    }

    /// Takes what the programs log on this thread into the trace while `work` runs. With
    /// `packets`, every packet counts in the hash.
    pub fn listen<T>(&self, packets: bool, work: impl FnOnce() -> T) -> T {
        let listener = Listener { trace: self.clone(), packets, turns: Mutex::default() };
        tracing::subscriber::with_default(listener, work)
    }
}

fn stamped(now: Duration, who: &str, what: &str) -> String {
    format!("{:>9.3} {who:<6} {what}", now.as_secs_f64())
}

/// The kind of a fact that an agent noted, from its text.
fn kind(text: &str) -> Option<String> {
    let (_, note) = text.split_once("note=")?;
    let name: String = note.chars().take_while(char::is_ascii_alphanumeric).collect();
    let value = |key: &str| {
        let (_, rest) = note.split_once(key)?;
        Some(
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>(),
        )
    };
    Some(match name.as_str() {
        "Acquired" => format!("acquired:{}", value("by: \"")?),
        "Step" => format!("step:{}:{}", value("step: ")?, value("outcome: ")?),
        "Rejoined" => format!("rejoined:{}", value("how: \"")?),
        "Premise" if value("holds: ")? == "true" => "premise:given".into(),
        "Premise" => "premise:taken-back".into(),
        "Blocked" => format!("blocked:{}", value("code: \"")?),
        _ => format!("note:{name}"),
    })
}

/// Takes in what the programs log. Of spans it knows only the turns of hosts, and makes nothing for
/// each: hosts take tens of thousands of turns a run.
struct Listener {
    trace: Trace,
    packets: bool,
    turns: Mutex<Turns>,
}

/// Whose turn it is.
#[derive(Default)]
struct Turns {
    /// All hosts that had one; a span's number is its host's place here, counted from one.
    hosts: Vec<String>,
    /// The turns under way, by their numbers.
    entered: Vec<u64>,
}

impl Turns {
    fn of(&mut self, host: &str) -> u64 {
        let known = self.hosts.iter().position(|name| name == host);
        let place = known.unwrap_or_else(|| {
            self.hosts.push(host.to_owned());
            self.hosts.len() - 1
        });
        u64::try_from(place).map_or(u64::MAX, |place| place + 1)
    }

    fn host(&self) -> Option<&str> {
        let place = usize::try_from(*self.entered.last()?).ok()?.checked_sub(1)?;
        self.hosts.get(place).map(String::as_str)
    }
}

/// Reads a host's name off the span of its turn.
struct Turn<'a>(&'a mut Turns, u64);

impl Visit for Turn<'_> {
    fn record_str(&mut self, _: &Field, name: &str) {
        self.1 = self.0.of(name);
    }

    fn record_debug(&mut self, field: &Field, name: &dyn std::fmt::Debug) {
        self.record_str(field, format!("{name:?}").trim_matches('"'));
    }
}

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        let written = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}={value:?}"),
        };
        written.expect("a string takes everything");
    }
}

impl Listener {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("continuum");
        metadata.is_span() && metadata.name() == HOST_SPAN
            || metadata.is_event() && ours && *metadata.level() <= Level::DEBUG
            || metadata.is_event() && self.packets && metadata.target() == NETWORK_TARGET
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut turns = self.turns();
        let mut turn = Turn(&mut turns, u64::MAX);
        attributes.record(&mut turn);
        Id::from_u64(turn.1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, span: &Id) {
        self.turns().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut turns = self.turns();
        let of = turns.entered.iter().rposition(|entered| *entered == span.into_u64());
        of.map(|place| turns.entered.remove(place));
    }

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        if event.metadata().target() == NETWORK_TARGET {
            return self.trace.count(&words.0);
        }
        if let Some(kind) = kind(&words.0) {
            self.trace.saw(kind);
        }
        if *event.metadata().level() == Level::ERROR {
            self.trace.saw(format!("error:{}", event.metadata().target()));
        }
        let host = self.turns().host().unwrap_or("world").to_owned();
        match *event.metadata().level() {
            Level::ERROR => self.trace.note(&host, &format!("ERROR {}", words.0)),
            Level::WARN => self.trace.note(&host, &format!("warn {}", words.0)),
            Level::INFO => self.trace.note(&host, &words.0),
            _ => self.trace.aside(&host, &words.0),
        }
    }
}
