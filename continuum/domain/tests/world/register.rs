//! The witness: a linearizable store of versioned values, behind a network that delays, loses and
//! reorders, and where a request given up may still land (R9).

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_domain::{PairRecord, SessionRecord, Version};

use super::{Host, Kind, World, ms};

/// How long an agent waits for an answer.
pub const REQUEST_LIMIT: Duration = ms(400);

#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    ReadPair,
    CasPair { expected: Version, value: PairRecord },
    ReadSession(usize),
    CasSession { expected: Version, value: SessionRecord },
}

impl Request {
    fn is(&self, kind: Kind) -> bool {
        match self {
            Request::CasPair { .. } => kind == Kind::CasPair,
            Request::CasSession { .. } => kind == Kind::CasSession,
            Request::ReadSession(_) => kind == Kind::ReadSession,
            Request::ReadPair => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Pair(Option<(Version, PairRecord)>),
    Session(Option<(Version, SessionRecord)>),
    Accepted(Version),
    PairRefused(Option<(Version, PairRecord)>),
    SessionRefused(Option<(Version, SessionRecord)>),
    /// Nobody knows.
    None,
    /// Certainly not carried out.
    NotSent,
}

type Callback = Box<dyn FnOnce(&mut World, Answer)>;

pub struct Register {
    pub pair: Option<(Version, PairRecord)>,
    pub sessions: Vec<Option<(Version, SessionRecord)>>,
    /// What stood in each session's register, from which true time on.
    past: Vec<Vec<(u64, SessionRecord)>>,
    open: BTreeMap<u64, Callback>,
}

impl Register {
    pub fn new(regions: usize) -> Self {
        let (sessions, past) = (vec![None; regions], vec![Vec::new(); regions]);
        Self { pair: None, sessions, past, open: BTreeMap::new() }
    }

    /// What stood in the session's register of `of` at the true time `at`.
    pub fn session_at(&self, of: usize, at: u64) -> Option<SessionRecord> {
        let past = self.past[of].iter().rev().find(|(from, _)| *from <= at);
        past.map(|(_, record)| record.clone())
    }

    pub fn record(&self) -> Option<&PairRecord> {
        self.pair.as_ref().map(|(_, record)| record)
    }
}

impl World {
    /// Sends `request` from the agent of `r`; `done` hears exactly once, on that agent.
    pub fn ask_register(
        &mut self,
        r: usize,
        request: Request,
        done: impl FnOnce(&mut World, Answer) + 'static,
    ) {
        self.judge_requested(r);
        let id = self.fresh_id();
        self.register.open.insert(id, Box::new(done));
        let finish = move |answer: Answer| {
            move |w: &mut World| {
                if let Some(done) = w.register.open.remove(&id) {
                    done(w, answer);
                }
            }
        };
        let refused = self.now < self.net.witness_refuses[r];
        if refused || (!self.net.witness_reaches(r, self.now) && self.rng.chance(500)) {
            let wait = if refused { ms(0) } else { ms(20) };
            let delay = self.net.local(&mut self.rng) + wait;
            return self.after(delay, Host::Agent(r), finish(Answer::NotSent));
        }
        self.after(REQUEST_LIMIT, Host::Agent(r), finish(Answer::None));
        let mut travel = self.net.request_travels(&mut self.rng, r, self.now);
        if let Some((_, delay)) = self.net.delayed[r].take_if(|(kind, _)| request.is(*kind)) {
            travel = Some(delay);
        }
        if let Some(delay) = travel {
            self.after(delay, Host::World, move |w| w.request_lands(r, id, request));
        }
    }

    fn request_lands(&mut self, r: usize, id: u64, request: Request) {
        if !self.net.witness_reaches(r, self.now) {
            // Stuck in a cut path: it may be lost, or land when the path is back.
            if self.rng.chance(500) {
                let later = self.rng.between(ms(100), ms(3_000));
                self.after(later, Host::World, move |w| w.request_lands(r, id, request));
            }
            return;
        }
        let slow = self.net.delayed_answer[r].take_if(|(kind, _)| request.is(*kind));
        let answer = self.apply(r, request);
        let finish = move |w: &mut World| {
            if let Some(done) = w.register.open.remove(&id) {
                done(w, answer);
            }
        };
        let travel = self.net.answer_travels(&mut self.rng, r, self.now);
        if let Some(delay) = slow.map(|(_, delay)| delay).or(travel) {
            self.after(delay, Host::Agent(r), finish);
        }
    }

    fn apply(&mut self, r: usize, request: Request) -> Answer {
        match request {
            Request::ReadPair => Answer::Pair(self.register.pair.clone()),
            Request::ReadSession(of) => Answer::Session(self.register.sessions[of].clone()),
            Request::CasSession { expected, value } => {
                let slot = &mut self.register.sessions[r];
                let version = slot.as_ref().map_or(Version::ABSENT, |(version, _)| *version);
                if version != expected {
                    return Answer::SessionRefused(slot.clone());
                }
                let version = Version(version.0 + 1);
                self.register.past[r].push((self.now, value.clone()));
                *slot = Some((version, value));
                self.judge_beat(r);
                Answer::Accepted(version)
            }
            Request::CasPair { expected, value } => {
                let version =
                    self.register.pair.as_ref().map_or(Version::ABSENT, |(version, _)| *version);
                if version != expected {
                    return Answer::PairRefused(self.register.pair.clone());
                }
                self.write_pair(Some(r), value);
                Answer::Accepted(Version(version.0 + 1))
            }
        }
    }

    /// The pair register changes; `writer` is a region, or the core (which sets `paused` only).
    pub fn write_pair(&mut self, writer: Option<usize>, value: PairRecord) {
        let before = self.register.pair.take();
        let version = Version(before.as_ref().map_or(0, |(version, _)| version.0) + 1);
        self.log(|| format!("REGISTER v{} by {writer:?}: {value:?}", version.0));
        self.register.pair = Some((version, value.clone()));
        self.judge_register(writer, before.map(|(_, record)| record), &value);
    }
}
