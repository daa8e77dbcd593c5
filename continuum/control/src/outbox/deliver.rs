//! The task of one sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::rest::AuditRecord;
use continuum_control_api::sinks::DeadLetter;
use continuum_domain::Tick;
use continuum_domain::outbox::{Next, Outbox, Outcome};
use continuum_runtime::seed;
use rand::Rng;

use super::config::Start;
use super::event::Event;
use super::send::{self, SEND_DEADLINE, Sender, Sent};
use super::{Sink, newest};
use crate::archive::read::{Item, Reader};
use crate::core::Core;
use crate::state::{Change, Reply, SinkProgress};

/// Pause before the first position is proposed again.
const PROPOSE_AGAIN: Duration = Duration::from_secs(1);
/// As much of what a sink said is replicated.
const WHY_CHARS_MAX: usize = 300;

struct Delivery {
    core: Arc<Core>,
    sink: Arc<Sink>,
    outbox: Outbox,
    source: Source,
    sender: Option<Box<dyn Sender>>,
    /// What happened since the last step that was written down.
    step: SinkProgress,
}

/// Sends what the sink does not have yet, as long as this node leads.
pub(super) async fn run(core: Arc<Core>, sink: Arc<Sink>) {
    let done = begin(&core, &sink).await;
    let name = sink.config.name.clone();
    let step = SinkProgress { sink: name, from: done, done, ..SinkProgress::default() };
    let outbox = Outbox::after(done);
    let mut applied = core.node.watch_applied();
    let source = Source::default();
    let mut delivery = Delivery { core, sink, outbox, source, sender: None, step };
    loop {
        applied.borrow_and_update();
        delivery.save().await;
        delivery.tell();
        let now = delivery.core.clock.now();
        let pause = match delivery.outbox.next(now, newest(&delivery.core)) {
            Next::Send(position) => {
                delivery.deliver(position).await;
                continue;
            }
            Next::Wait(at) => Some(at),
            Next::Idle => None,
        };
        let wake = [pause, delivery.outbox.save_at()].into_iter().flatten().min();
        tokio::select! {
            // In a pause nothing is sent, whatever comes.
            changed = applied.changed(), if pause.is_none() => if changed.is_err() { return },
            () = until(&delivery.core, wake), if wake.is_some() => {}
        }
    }
}

async fn until(core: &Core, at: Option<Tick>) {
    if let Some(at) = at {
        tokio::time::sleep(core.clock.now().until(at)).await;
    }
}

/// The position to go on after: as replicated, or as configured where the sink is new.
async fn begin(core: &Core, sink: &Sink) -> u64 {
    loop {
        let name = &sink.config.name;
        if let Some(done) = core.node.read(|state| state.sink(name).map(|sink| sink.done)) {
            return done;
        }
        let done = match sink.config.start() {
            Start::Oldest => 0,
            Start::Newest => newest(core),
        };
        let first = SinkProgress { sink: name.clone(), done, ..SinkProgress::default() };
        propose(core, first).await;
        if core.node.read(|state| state.sink(name).is_none()) {
            tokio::time::sleep(PROPOSE_AGAIN).await;
        }
    }
}

async fn propose(core: &Core, step: SinkProgress) -> bool {
    let actor = format!("core/{}", core.config.name);
    match core.propose(&actor, Change::SinkProgress(step)).await {
        Ok(Reply::Done) => true,
        Ok(other) => {
            tracing::warn!(%other, "how far a sink is was not written down");
            false
        }
        Err(error) => {
            tracing::debug!(%error, "how far a sink is was not written down");
            false
        }
    }
}

impl Delivery {
    /// Writes down how far the sink is, if it is time.
    async fn save(&mut self) {
        let now = self.core.clock.now();
        let Some(position) = self.outbox.to_save(now) else { return };
        self.step.done = position;
        let saved = propose(&self.core, self.step.clone()).await;
        self.outbox.saved(position, self.core.clock.now(), saved);
        if saved {
            let sink = std::mem::take(&mut self.step.sink);
            self.step =
                SinkProgress { sink, from: position, done: position, ..SinkProgress::default() };
        }
    }

    /// Takes one record to its outcome, or to a pause.
    async fn deliver(&mut self, position: u64) {
        let outcome = match self.source.record(&self.core, position).await {
            Err(why) => self.failed(&why, None),
            Ok(None) => {
                tracing::error!(sink = %self.step.sink, position, "a record is not on this node; the sink will never have it");
                self.step.lost += 1;
                Outcome::Lost
            }
            Ok(Some(record)) => {
                let event = Event::of(*record);
                match event.is_wanted(&self.sink.config) {
                    true => self.send(&event).await,
                    false => Outcome::Unwanted,
                }
            }
        };
        let chance = seed::rng().next_u32();
        self.outbox.outcome(&outcome, self.core.clock.now(), chance);
        if !matches!(outcome, Outcome::Later(_)) {
            self.source.settled(position);
        }
    }

    async fn send(&mut self, event: &Event) -> Outcome {
        match self.attempt(event).await {
            Sent::Taken => {
                self.step.delivered += 1;
                self.sink.seen().tried = true;
                Outcome::Taken
            }
            Sent::Unwanted => Outcome::Unwanted,
            Sent::Refused(why) => {
                tracing::warn!(sink = %self.step.sink, record = event.record.index, %why, "a sink refused a record; it is among its dead letters");
                self.step.refused.push(letter(event, self.core.now_ms(), &why));
                let mut seen = self.sink.seen();
                (seen.tried, seen.last_error) = (true, Some(why));
                Outcome::Refused
            }
            Sent::Later { why, after } => self.failed(&why, after),
        }
    }

    /// One attempt, within its deadline. After one that failed everything is opened anew: files may have
    /// changed, and nothing is known of the connection.
    async fn attempt(&mut self, event: &Event) -> Sent {
        let work = async {
            let mut sender = match self.sender.take() {
                Some(sender) => sender,
                None => match open(&self.core, &self.sink).await {
                    Ok(sender) => sender,
                    Err(why) => return Sent::Later { why, after: None },
                },
            };
            let sent = sender.send(event).await;
            if !matches!(sent, Sent::Later { .. }) {
                self.sender = Some(sender);
            }
            sent
        };
        tokio::time::timeout(SEND_DEADLINE, work).await.unwrap_or_else(|_| late())
    }

    fn failed(&mut self, why: &str, after: Option<Duration>) -> Outcome {
        if self.outbox.failures() == 0 {
            tracing::warn!(sink = %self.step.sink, %why, "a sink does not take records; they wait, and it is tried again");
        }
        let mut seen = self.sink.seen();
        (seen.tried, seen.last_error) = (true, Some(why.to_owned()));
        Outcome::Later(after)
    }

    /// Tells how it stands.
    fn tell(&self) {
        let mut seen = self.sink.seen();
        seen.done = Some(self.outbox.done());
        seen.failures = self.outbox.failures();
        seen.failing_since = self.outbox.failing_since();
    }
}

fn late() -> Sent {
    Sent::Later { why: format!("no answer within {SEND_DEADLINE:?}"), after: None }
}

async fn open(core: &Core, sink: &Sink) -> Result<Box<dyn Sender>, String> {
    send::open(&sink.config, &core.config.audit.core, &core.clock)
        .await
        .map_err(|error| error.to_string())
}

/// Sends one event now, apart from the others: a test, or a dead letter.
pub(super) async fn once(core: &Core, sink: &Sink, event: &Event) -> Sent {
    let work = async {
        match open(core, sink).await {
            Ok(mut sender) => sender.send(event).await,
            Err(why) => Sent::Later { why, after: None },
        }
    };
    tokio::time::timeout(SEND_DEADLINE, work).await.unwrap_or_else(|_| late())
}

fn letter(event: &Event, at_ms: i64, why: &str) -> DeadLetter {
    DeadLetter {
        index: event.record.index,
        at_ms,
        action: event.record.action.clone(),
        pair: event.record.pair.clone(),
        why: why.chars().take(WHY_CHARS_MAX).collect(),
    }
}

/// Where records come from: memory, or the archive for what has left it. A piece of either is held.
#[derive(Default)]
struct Source {
    reader: Option<Reader>,
    ready: VecDeque<Item>,
}

impl Source {
    /// The record at a position, which is the one after the last that was settled; `None` where this
    /// node does not have it.
    async fn record(
        &mut self,
        core: &Arc<Core>,
        position: u64,
    ) -> Result<Option<Box<AuditRecord>>, String> {
        if let Some(record) = super::in_memory(core, position) {
            (self.reader, self.ready) = (None, VecDeque::new());
            return Ok(Some(Box::new(record)));
        }
        loop {
            match self.ready.front() {
                Some(Item::Record(record)) if record.index == position => {
                    return Ok(Some(record.clone()));
                }
                Some(Item::Damaged(index)) if *index == position => return Ok(None),
                Some(Item::Missing(gap)) if gap.from <= position && position <= gap.to => {
                    return Ok(None);
                }
                Some(_) => drop(self.ready.pop_front()),
                None => {
                    let reader =
                        self.reader.get_or_insert_with(|| Reader::new(core.clone(), position - 1));
                    match reader.piece().await {
                        Ok(Some(piece)) => self.ready = piece.into(),
                        Ok(None) => {
                            self.reader = None;
                            return Ok(None);
                        }
                        Err(error) => {
                            self.reader = None;
                            return Err(format!("the archive cannot be read: {error}"));
                        }
                    }
                }
            }
        }
    }

    /// The record has an outcome and is not asked for again.
    fn settled(&mut self, position: u64) {
        let is_over = |item: &Item| match item {
            Item::Record(record) => record.index <= position,
            Item::Damaged(index) => *index <= position,
            Item::Missing(gap) => gap.to <= position,
        };
        while self.ready.front().is_some_and(is_over) {
            self.ready.pop_front();
        }
    }
}
