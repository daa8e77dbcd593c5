//! What the pair machine asks for, carried out with the delays and losses of the world.

use std::time::Duration;

use continuum_domain::mutation::{Bug, planted};
use continuum_domain::pair::types::{CasAnswer, Effect, Event, PlaneCommand, PlaneOutcome};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, PairRecord, Tick, TimelineId, Version};

use super::register::{Answer, Request};
use super::{Host, World, ms};

/// Hears whether a switchover's target has it all.
type Proof = Box<dyn FnOnce(&mut World, Result<DataDirectoryId, String>)>;

impl World {
    pub fn perform(&mut self, r: usize, effect: Effect) {
        let quiet = matches!(
            effect,
            Effect::ReadPair
                | Effect::ReadSession { .. }
                | Effect::AskIdentity { .. }
                | Effect::PublishNames { .. }
                | Effect::Arm { .. }
        );
        if !quiet {
            self.log(|| format!("agent {r} -> {effect:?}"));
        }
        let life = self.regions[r].agent.as_ref().expect("it just asked").life;
        match effect {
            Effect::Take => self.take(r, life),
            Effect::ReadPair => self.read_pair(r, life),
            Effect::ReadSession { region, not_before } => {
                let of = self.index(&region);
                self.read_session(r, life, of, not_before);
            }
            Effect::Cas { expected, value } => self.cas(r, life, expected, value),
            Effect::Arm { epoch, deadline } => self.send_arm(r, life, epoch, deadline),
            Effect::Fence { epoch, .. } => self.fence(r, life, epoch),
            Effect::Plane { epoch, command } => self.plane(r, life, epoch, command),
            Effect::AskGrant { epoch, .. } => self.ask_grant(r, life, epoch),
            Effect::AskReplayed { region, epoch, timeline, lsn, wait } => {
                let peer = self.index(&region);
                self.ask_replayed(r, life, peer, (epoch, timeline, lsn), wait);
            }
            Effect::AskIdentity { region, epoch } => {
                let peer = self.index(&region);
                self.ask_identity(r, life, peer, epoch);
            }
            Effect::AskPromise { region, epoch, hold } => {
                let peer = self.index(&region);
                self.ask_promise(r, life, peer, epoch, hold);
            }
            Effect::StorePromise { request, hold } => self.store_promise(r, life, request, hold),
            Effect::AnswerPromise { request, answer } => {
                self.answer_promise(r, request, answer.is_ok());
            }
            Effect::AskResolver { question, resolver, name, deadline } => {
                self.ask_resolver(r, life, (question, resolver), &name, deadline);
            }
            Effect::NudgePeers => {
                for peer in (0..self.regions.len()).filter(|peer| *peer != r) {
                    self.tell_peer(r, peer, |w, peer| w.feed(peer, Event::Nudged));
                }
            }
            Effect::PublishNames { epoch } => self.judge_published(r, epoch),
            Effect::Note { note, operation, .. } => {
                self.hear_of_bar(operation, &note);
                self.judge_note(r, &note);
            }
        }
    }

    fn take(&mut self, r: usize, life: u64) {
        let there = self.net.local(&mut self.rng);
        self.after(there, Host::Data(r), move |w| {
            if !w.regions[r].guard.up {
                let silence = w.guard_silence();
                return w.after(silence, Host::Agent(r), move |w| {
                    w.feed_if(r, life, Event::GuardLost("nobody answers".into()));
                });
            }
            // An agent that is gone may have asked last; the newest life wins.
            let newest = w.regions[r].agent_life == life;
            if !newest {
                return;
            }
            let guard = &mut w.regions[r].guard;
            guard.generation = guard.generation.next();
            let (generation, boot) = (guard.generation, guard.boot);
            // The old agent's sessions are ended and seen gone; its canary goes with them.
            w.regions[r].pg.canary = None;
            let status = w.actuator_status(r);
            let back = w.net.local(&mut w.rng);
            w.after(back, Host::Agent(r), move |w| {
                let current = w.regions[r].guard.boot == boot;
                let agent = w.regions[r].agent.as_mut().filter(|agent| agent.life == life);
                let Some(agent) = agent else { return };
                if !current {
                    return w.feed(r, Event::GuardLost("it ended".into()));
                }
                if agent.generation.is_some_and(|known| known > generation) {
                    // An answer that a newer one overtook.
                    return;
                }
                agent.generation = Some(generation);
                agent.status_seen = agent.status_sent;
                w.feed(r, Event::Taken(generation, status));
            });
        });
    }

    fn cas(&mut self, r: usize, life: u64, expected: Version, value: PairRecord) {
        self.judge_cas_sent(r, expected, &value);
        self.ask_register(r, Request::CasPair { expected, value }, move |w, answer| {
            let answer = match answer {
                Answer::Accepted(version) => CasAnswer::Accepted(version),
                Answer::PairRefused(found) => CasAnswer::Refused(found),
                Answer::NotSent => CasAnswer::NotSent,
                _ => CasAnswer::Unanswered,
            };
            w.feed_if(r, life, Event::PairCas(answer));
        });
    }

    fn send_arm(&mut self, r: usize, life: u64, epoch: Epoch, deadline: Tick) {
        let Some(generation) = self.generation(r) else { return };
        let there = self.net.local(&mut self.rng);
        self.after(there, Host::Data(r), move |w| {
            let guard = &mut w.regions[r].guard;
            if w.now < w.net.arming_lost[r] || !guard.up || guard.admit(generation, epoch).is_err()
            {
                return;
            }
            w.arm(r, deadline);
            if w.regions[r].pg.promoted {
                w.regions[r].pg.epoch = epoch;
            }
            let back = w.net.local(&mut w.rng);
            w.after(back, Host::Agent(r), move |w| {
                w.feed_if(r, life, Event::Armed { epoch, deadline });
            });
        });
    }

    fn generation(&self, r: usize) -> Option<continuum_domain::Generation> {
        self.regions[r].agent.as_ref().and_then(|agent| agent.generation)
    }

    fn fence(&mut self, r: usize, life: u64, epoch: Epoch) {
        self.judge_fenced(r);
        let Some(generation) = self.generation(r) else { return };
        let there = self.net.local(&mut self.rng);
        self.after(there, Host::Data(r), move |w| {
            let boot = w.regions[r].guard.boot;
            let end = move |w: &mut World, result: Result<(), String>| {
                let back = w.net.local(&mut w.rng);
                w.after(back, Host::Agent(r), move |w| {
                    if w.regions[r].guard.boot == boot {
                        w.feed_if(r, life, Event::FenceEnded(result));
                    }
                });
            };
            let guard = &mut w.regions[r].guard;
            if !guard.up {
                return;
            }
            if let Err(reason) = guard.admit(generation, epoch) {
                return end(w, Err(reason));
            }
            guard.stops += 1;
            w.stop_now(r, "an immediate stop was ordered");
            w.wait_stopped(r, Box::new(move |w, _| end(w, Ok(()))));
        });
    }

    fn plane(&mut self, r: usize, life: u64, epoch: Epoch, command: PlaneCommand) {
        let Some(generation) = self.generation(r) else { return };
        let delay = self.command_delay(r);
        // Two commands may overtake each other once the first was given up.
        let time = self.now + delay.as_nanos() as u64;
        let question = self.fresh_id();
        self.agent_mut(r).questions = question;
        let done = move |w: &mut World, outcome: PlaneOutcome| {
            let slow = w.net.delayed_outcome[r].take();
            let back = slow.unwrap_or_else(|| w.net.local(&mut w.rng));
            w.after(back, Host::Agent(r), move |w| {
                let open = w.agent_is(r, life) && w.agent_mut(r).questions == question;
                if open {
                    w.agent_mut(r).questions = 0;
                    w.feed(r, Event::Plane(outcome));
                }
            });
        };
        let limit = match &command {
            PlaneCommand::Rewind(_) | PlaneCommand::Reclone(_) | PlaneCommand::Initialise => None,
            PlaneCommand::Start { .. } | PlaneCommand::Promote { .. } => Some(ms(4_000)),
            PlaneCommand::StopFast => Some(ms(4_000)),
            _ => Some(ms(1_000)),
        };
        if let Some(limit) = limit {
            let unknown = PlaneOutcome::Unknown("no answer in time".into());
            self.after(limit, Host::Agent(r), move |w| done(w, unknown));
        }
        let work = move |w: &mut World| {
            let guard = &mut w.regions[r].guard;
            if !guard.up {
                let silence = w.guard_silence();
                return w.after(silence, Host::Agent(r), move |w| {
                    w.feed_if(r, life, Event::GuardLost("nobody answers".into()));
                });
            }
            match guard.admit(generation, epoch) {
                Err(reason) => done(w, PlaneOutcome::Failed(reason)),
                Ok(ticket) => {
                    let boot = ticket.boot;
                    let reply = move |w: &mut World, outcome: PlaneOutcome| {
                        // A guard that died has told so already.
                        if w.regions[r].guard.boot == boot {
                            done(w, outcome);
                        }
                    };
                    w.carry_out(r, ticket, command, Box::new(reply));
                }
            }
        };
        self.at(time, Host::Data(r), Box::new(work));
    }

    fn agent_mut(&mut self, r: usize) -> &mut super::Agent {
        self.regions[r].agent.as_mut().expect("it is alive")
    }

    /// A message from one agent to another; it may be lost.
    pub fn tell_peer(
        &mut self,
        from: usize,
        peer: usize,
        work: impl FnOnce(&mut World, usize) + 'static,
    ) {
        if !self.net.linked(from, peer, self.now) || self.net.lost(&mut self.rng) {
            return;
        }
        let delay = self.net.far(&mut self.rng);
        self.after(delay, Host::Agent(peer), move |w| {
            if w.regions[peer].agent.is_some() && w.net.linked(from, peer, w.now) {
                work(w, peer);
            }
        });
    }

    fn ask_replayed(
        &mut self,
        r: usize,
        life: u64,
        peer: usize,
        to: (Epoch, TimelineId, Lsn),
        wait: Duration,
    ) {
        let question = self.fresh_id();
        let region = self.regions[peer].name.clone();
        self.agent_mut(r).watch.proof = question;
        let answer = move |w: &mut World, answer: Result<DataDirectoryId, String>| {
            if w.agent_is(r, life) && w.agent_mut(r).watch.proof == question {
                w.agent_mut(r).watch.proof = 0;
                w.feed(r, Event::PeerReplayed { region, answer });
            }
        };
        let timeout = answer.clone();
        self.after(wait + ms(200), Host::Agent(r), move |w| timeout(w, Err("no answer".into())));
        self.tell_peer(r, peer, move |w, peer| {
            let until = w.now + wait.as_nanos() as u64;
            let back = move |w: &mut World, found: Result<DataDirectoryId, String>| {
                w.tell_peer(peer, r, move |w, _| answer(w, found));
            };
            w.wait_replayed(peer, to, until, Box::new(back));
        });
    }

    fn wait_replayed(
        &mut self,
        peer: usize,
        to: (Epoch, TimelineId, Lsn),
        until: u64,
        done: Proof,
    ) {
        let (epoch, timeline, lsn) = to;
        let pg = &self.regions[peer].pg;
        // What a look by SQL can tell: a position, on a timeline of that number.
        let there =
            pg.running() && !pg.primary && pg.replayed_to() >= lsn && pg.timeline() == timeline.0;
        let agent = self.regions[peer].agent.as_ref();
        let proven = agent.is_some_and(|agent| agent.machine.directory_for(epoch).is_some())
            || planted(Bug::HandOverToStranger);
        if there
            && proven
            && let Some(id) = pg.directory.clone()
        {
            return done(self, Ok(id));
        }
        if self.now >= until {
            return done(self, Err("not replayed".into()));
        }
        self.after(ms(4), Host::Agent(peer), move |w| w.wait_replayed(peer, to, until, done));
    }

    fn ask_identity(&mut self, r: usize, life: u64, peer: usize, epoch: Epoch) {
        let region = self.regions[peer].name.clone();
        self.tell_peer(r, peer, move |w, peer| {
            let machine = &w.regions[peer].agent.as_ref().expect("checked").machine;
            let data_directory = machine.directory_for(epoch).cloned();
            w.tell_peer(peer, r, move |w, r| {
                w.feed_if(r, life, Event::PeerIdentity { region, data_directory });
            });
        });
    }

    fn ask_promise(&mut self, r: usize, life: u64, peer: usize, epoch: Epoch, hold: Duration) {
        let (sent, from) = (self.local(r), self.regions[r].name.clone());
        let region = self.regions[peer].name.clone();
        let request = self.fresh_id();
        self.operator.promises.insert(request, (r, life, region, sent, hold));
        self.tell_peer(r, peer, move |w, peer| {
            w.feed(peer, Event::PromiseAsked { request, from, epoch, hold });
        });
    }

    fn store_promise(&mut self, r: usize, life: u64, request: u64, hold: Duration) {
        let delay = self.net.local(&mut self.rng);
        self.after(delay, Host::Agent(r), move |w| {
            if !w.agent_is(r, life) {
                return;
            }
            let stored = !w.rng.chance(20);
            if stored {
                w.regions[r].promise = Some(w.regions[r].promise.unwrap_or_default().max(hold));
            }
            w.feed(r, Event::PromiseStored { request, stored });
        });
    }

    fn answer_promise(&mut self, peer: usize, request: u64, promised: bool) {
        let Some((r, life, region, sent, hold)) = self.operator.promises.remove(&request) else {
            return;
        };
        self.tell_peer(peer, r, move |w, r| {
            w.feed_if(r, life, Event::PeerPromised { region, sent, hold, promised });
        });
    }
}
