//! A region's agent: the two machines, and the loops that feed them.

use std::time::Duration;

use continuum_domain::observation::Observation;
use continuum_domain::pair::PairMachine;
use continuum_domain::pair::types::{Event, SessionView};
use continuum_domain::session::{Session, SessionEffect, SessionEvent};
use continuum_domain::{Generation, Tick, Version};

use super::judge::CasWatch;
use super::register::{Answer, Request};
use super::{Host, World};

pub struct Agent {
    pub life: u64,
    pub machine: PairMachine,
    /// When the machine last took something in.
    stepped: Tick,
    pub session: Session,
    pub generation: Option<Generation>,
    pub observation: Observation,
    pub status_sent: u64,
    pub status_seen: u64,
    pub watch: CasWatch,
    view: SessionView,
    wake: u64,
    session_wake: u64,
    pub questions: u64,
}

impl World {
    pub fn start_agent(&mut self, r: usize) {
        if self.regions[r].agent.is_some() {
            return;
        }
        let now = self.local(r);
        let region = &mut self.regions[r];
        region.agent_life += 1;
        let life = region.agent_life;
        // R20: a promise found on disk is served again in full.
        let promised = region.promise.map(|hold| now + hold);
        let machine = PairMachine::new(
            region.name.clone(),
            self.timing,
            self.spec.clone(),
            self.spec_version,
            now,
            promised,
        );
        region.agent = Some(Agent {
            life,
            machine,
            stepped: now,
            session: {
                let mut session = Session::new(self.timing, now);
                session.renew_sooner(self.spec.beat_interval());
                session
            },
            generation: None,
            observation: Observation::default(),
            status_sent: 0,
            status_seen: 0,
            watch: CasWatch::default(),
            view: SessionView::default(),
            wake: 0,
            session_wake: 0,
            questions: 0,
        });
        self.log(|| format!("agent {r} started, life {life}"));
        self.feed_session(r, SessionEvent::Wake);
        self.feed(r, Event::Wake);
        self.core_link_changed(r);
        self.observe_soon(r, life);
        self.beat(r, life);
    }

    /// Asks every other agent whether it lives, again and again.
    fn beat(&mut self, r: usize, life: u64) {
        if !self.agent_is(r, life) {
            return;
        }
        for peer in (0..self.regions.len()).filter(|peer| *peer != r) {
            self.ask_whether_it_lives(r, life, peer);
        }
        let interval = self.spec.beat_interval().unwrap_or(self.timing.renew);
        self.after(interval, Host::Agent(r), move |w| w.beat(r, life));
    }

    fn ask_whether_it_lives(&mut self, r: usize, life: u64, peer: usize) {
        if !self.net.linked(r, peer, self.now) || self.net.lost(&mut self.rng) {
            return;
        }
        let delay = self.net.far(&mut self.rng);
        // The agent itself answers: one that hangs does so late.
        self.after(delay, Host::Agent(peer), move |w| {
            let there = w.regions[peer].agent.is_some();
            if !w.net.linked(r, peer, w.now) || w.net.lost(&mut w.rng) {
                return;
            }
            let back = w.net.far(&mut w.rng);
            w.after(back, Host::Agent(r), move |w| {
                let (at, region) = (w.local(r), w.regions[peer].name.clone());
                let event = if there {
                    Event::PeerHeard { region, at }
                } else {
                    Event::PeerRefused { region, at }
                };
                w.feed_if(r, life, event);
            });
        });
    }

    pub fn stop_agent(&mut self, r: usize) {
        if self.regions[r].agent.take().is_some() {
            self.log(|| format!("agent {r} is gone"));
        }
    }

    pub fn agent_is(&self, r: usize, life: u64) -> bool {
        self.regions[r].agent.as_ref().is_some_and(|agent| agent.life == life)
    }

    /// Feeds the agent of `r` if it is still that one.
    pub fn feed_if(&mut self, r: usize, life: u64, event: Event) {
        if self.agent_is(r, life) {
            self.feed(r, event);
        }
    }

    pub fn feed(&mut self, r: usize, event: Event) {
        let now = self.local(r);
        self.cover(r, now, &event);
        let quiet = matches!(
            event,
            Event::Wake
                | Event::Observed(_)
                | Event::Status(_)
                | Event::SessionRead { .. }
                | Event::Session(_)
                | Event::PairRead { .. }
                | Event::PeerHeard { .. }
                | Event::PeerIdentity { .. }
                | Event::Armed { .. }
        );
        if !quiet {
            self.log(|| format!("agent {r} <- {event:?}"));
        }
        let Some(agent) = &mut self.regions[r].agent else { return };
        agent.watch.heard(&event);
        self.steps += 1;
        let corroborates = self.spec.corroborate.is_some();
        let before = corroborates.then(|| (agent.stepped, agent.machine.clone()));
        agent.stepped = now;
        let effects = agent.machine.step(now, event.clone());
        self.judge_held_back(r, before, (now, &event), &effects);
        for effect in effects {
            self.perform(r, effect);
        }
        self.schedule_wake(r);
    }

    fn schedule_wake(&mut self, r: usize) {
        let now = self.local(r);
        let Some(agent) = &mut self.regions[r].agent else { return };
        agent.wake += 1;
        let (life, token) = (agent.life, agent.wake);
        let due = agent.machine.next_wake(now);
        let time = self.wake_time(r, due);
        let work = move |w: &mut World| {
            let current = w.regions[r].agent.as_ref();
            if current.is_some_and(|agent| agent.life == life && agent.wake == token) {
                w.feed(r, Event::Wake);
            }
        };
        self.at(time, Host::Agent(r), Box::new(work));
    }

    /// Timers fire a little late.
    fn wake_time(&mut self, r: usize, due: Tick) -> u64 {
        self.true_time(r, due).max(self.now) + self.rng.below(1_500_000)
    }

    pub fn feed_session(&mut self, r: usize, event: SessionEvent) {
        let now = self.local(r);
        let Some(agent) = &mut self.regions[r].agent else { return };
        let life = agent.life;
        let effect = agent.session.step(now, event);
        let view = agent.session.view(now);
        agent.session_wake += 1;
        let token = agent.session_wake;
        let due = agent.session.next_wake();
        if let Some(effect) = effect {
            self.perform_session(r, life, effect);
        }
        let time = self.wake_time(r, due);
        let work = move |w: &mut World| {
            let current = w.regions[r].agent.as_ref();
            if current.is_some_and(|agent| agent.life == life && agent.session_wake == token) {
                w.feed_session(r, SessionEvent::Wake);
            }
        };
        self.at(time, Host::Agent(r), Box::new(work));
        let Some(agent) = &mut self.regions[r].agent else { return };
        if view != agent.view {
            agent.view = view;
            self.feed(r, Event::Session(view));
        }
    }

    fn perform_session(&mut self, r: usize, life: u64, effect: SessionEffect) {
        match effect {
            SessionEffect::Read => {
                self.ask_register(r, Request::ReadSession(r), move |w, answer| {
                    let event = match answer {
                        Answer::Session(found) => SessionEvent::Read(found),
                        _ => SessionEvent::ReadFailed,
                    };
                    w.feed_session_if(r, life, event);
                })
            }
            SessionEffect::Cas { expected, value } => {
                let request = Request::CasSession { expected, value: value.clone() };
                self.ask_register(r, request, move |w, answer| {
                    let event = match answer {
                        Answer::Accepted(version) => SessionEvent::Accepted { value, version },
                        Answer::SessionRefused(found) => SessionEvent::Refused(found),
                        _ => SessionEvent::Unanswered,
                    };
                    w.feed_session_if(r, life, event);
                });
            }
        }
    }

    fn feed_session_if(&mut self, r: usize, life: u64, event: SessionEvent) {
        if self.agent_is(r, life) {
            self.feed_session(r, event);
        }
    }

    /// Looks by SQL and asks the guard, again and again.
    fn observe_soon(&mut self, r: usize, life: u64) {
        let Some(agent) = self.regions[r].agent.as_ref().filter(|agent| agent.life == life) else {
            return;
        };
        let pace = if agent.machine.eager() { super::ms(8) } else { agent.machine.pace() };
        let delay = self.rng.between(pace / 2, pace);
        self.after(delay, Host::Agent(r), move |w| w.observe(r, life));
    }

    fn observe(&mut self, r: usize, life: u64) {
        if !self.agent_is(r, life) {
            return;
        }
        let asked = self.local(r);
        let there = self.net.local(&mut self.rng);
        self.after(there, Host::Data(r), move |w| {
            let found = w.look(r);
            let back = w.net.local(&mut w.rng);
            w.after(back, Host::Agent(r), move |w| {
                let (now, hangs) = (w.local(r), w.now < w.net.flush_hangs[r]);
                let agent = w.regions[r].agent.as_mut().filter(|agent| agent.life == life);
                let Some(agent) = agent else { return };
                if found.as_ref().is_some_and(|view| !view.in_recovery && !hangs) {
                    agent.observation.write_probe = Some(now);
                }
                match found {
                    Some(view) => agent.observation.sql = Some((asked, view)),
                    None => agent.observation.failed = Some((now, "no connection".into())),
                }
                let observation = agent.observation.clone();
                w.feed(r, Event::Observed(observation));
                w.observe_soon(r, life);
            });
        });
        self.notify(r);
    }

    pub fn read_pair(&mut self, r: usize, life: u64) {
        let sent = self.local(r);
        self.ask_register(r, Request::ReadPair, move |w, answer| {
            let answer = match answer {
                Answer::Pair(found) => Ok(found),
                _ => Err("no answer".to_owned()),
            };
            w.feed_if(r, life, Event::PairRead { sent, answer });
        });
    }

    /// Sometimes another pair of the region has just read it, and that does.
    pub fn read_session(&mut self, r: usize, life: u64, of: usize, not_before: Tick) {
        let (sent, region) = (self.local(r), self.regions[of].name.clone());
        let age = sent.since(not_before);
        if age > Duration::ZERO && self.net.witness_reaches(r, self.now) && self.rng.chance(300) {
            let sent = sent - self.rng.between(Duration::ZERO, age);
            let answer = Ok(self.register.session_at(of, self.true_time(r, sent)));
            let delay = self.net.local(&mut self.rng);
            return self.after(delay, Host::Agent(r), move |w| {
                w.feed_if(r, life, Event::SessionRead { region, sent, answer });
            });
        }
        self.ask_register(r, Request::ReadSession(of), move |w, answer| {
            let answer = match answer {
                Answer::Session(found) => Ok(found.map(|(_, record): (Version, _)| record)),
                _ => Err("no answer".to_owned()),
            };
            w.feed_if(r, life, Event::SessionRead { region, sent, answer });
        });
    }
}
