//! Asking resolvers for a second opinion while a holder is suspected.
//!
//! A question belongs to one suspicion: of this holder, at this epoch, without a break. What was said
//! of an earlier one is never used. The question is asked when the suspicion begins, so that the answer
//! is there when the window closes, and again while it lasts. What comes of it can only hold a standby
//! back: nothing here lets anybody take over, and nothing here is asked by a holder.

use std::collections::BTreeMap;
use std::time::Duration;

use super::types::Effect;
use super::{Asking, PairMachine};
use crate::corroborate::{
    Corroborate, Corroboration, CorroborationEffect, NameState, Resolver, ResolverAnswer, verdict,
};
use crate::ids::{Epoch, RegionId};
use crate::mutation::{Bug, planted};
use crate::operation::{Step, StepOutcome};
use crate::record::PairRecord;
use crate::spec::{PairMode, Takeover};
use crate::time::Tick;

/// While the suspicion lasts, it is asked again this long after the last question.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// One question, and what came back so far.
#[derive(Clone, Debug)]
struct Question {
    number: u64,
    asked: Tick,
    answers: BTreeMap<Resolver, ResolverAnswer>,
    /// It was decided, or given up, and taken note of.
    over: bool,
}

/// What a question found.
#[derive(Clone, Debug)]
struct Found {
    verdict: NameState,
    asked: Tick,
    answers: BTreeMap<Resolver, ResolverAnswer>,
}

/// A suspicion that lasts.
#[derive(Clone, Debug)]
struct Suspected {
    holder: RegionId,
    epoch: Epoch,
    name: String,
    question: Question,
    found: Option<Found>,
    /// A takeover began in it: from then on what is found goes to the journal at once.
    told: bool,
    /// The verdict that the journal has.
    noted: Option<NameState>,
}

/// What is known of the holder's health name.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Questions so far: an answer to any but the last comes too late.
    questions: u64,
    current: Option<Suspected>,
}

/// Whether the second opinion holds this member back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Veto {
    /// It does not.
    No,
    /// Not known yet; for no longer than the question's deadline.
    Waits,
    /// The name answers.
    Stands,
}

impl State {
    /// What was said is of no more use.
    fn end(&mut self) {
        if !planted(Bug::OldVerdictUsed) {
            self.current = None;
        }
    }

    /// When the question that is open is given up.
    pub fn due(&self, spec: Option<&Corroborate>) -> Option<Tick> {
        let question = self.current.as_ref().map(|current| &current.question)?;
        (!question.over).then_some(question.asked + spec?.deadline)
    }
}

impl PairMachine {
    /// Asks about the suspected holder, and takes down what was found.
    pub(super) fn corroborate(&mut self, now: Tick, record: &PairRecord, holder: &RegionId) {
        let name = self.spec.members.get(holder).and_then(|member| member.health_name.clone());
        let (Some(spec), Some(name)) = (self.spec.corroborate.clone(), name) else {
            return self.end_corroboration(now);
        };
        let by_ledger = self.spec.takeover == Takeover::Ledger;
        let suspected = self.suspicious(now) || (by_ledger && self.suspects(now, holder).is_some());
        if !suspected {
            return self.end_corroboration(now);
        }
        let same = |current: &Suspected| {
            (&current.holder, current.epoch, &current.name) == (holder, record.epoch, &name)
                || planted(Bug::OldVerdictUsed)
        };
        if !self.corroboration.current.as_ref().is_some_and(same) {
            let question = self.ask_resolvers(now, &spec, &name);
            let (holder, epoch) = (holder.clone(), record.epoch);
            let (found, told, noted) = (None, false, None);
            let suspected = Suspected { holder, epoch, name, question, found, told, noted };
            self.corroboration.current = Some(suspected);
            return;
        }
        self.settle_question(now, &spec);
        let due = |current: &Suspected| {
            current.question.over
                && now.since(current.question.asked) >= ASK_AGAIN
                && !planted(Bug::OldVerdictUsed)
        };
        if self.corroboration.current.as_ref().is_some_and(due) {
            let question = self.ask_resolvers(now, &spec, &name);
            if let Some(current) = &mut self.corroboration.current {
                current.question = question;
            }
        }
    }

    fn ask_resolvers(&mut self, now: Tick, spec: &Corroborate, name: &str) -> Question {
        self.corroboration.questions += 1;
        let number = self.corroboration.questions;
        for resolver in &spec.resolvers {
            let (resolver, name, deadline) = (*resolver, name.to_owned(), spec.deadline);
            self.out.push(Effect::AskResolver { question: number, resolver, name, deadline });
        }
        Question { number, asked: now, answers: BTreeMap::new(), over: false }
    }

    /// One resolver answered, or could not be asked.
    pub(super) fn resolver_answered(
        &mut self,
        number: u64,
        resolver: Resolver,
        answer: ResolverAnswer,
    ) {
        let asked = self.spec.corroborate.as_ref();
        let known = asked.is_some_and(|spec| spec.resolvers.contains(&resolver));
        let Some(current) = &mut self.corroboration.current else { return };
        if !known || current.question.number != number {
            return;
        }
        // The first word counts: a resolver has one voice in a question.
        current.question.answers.entry(resolver).or_insert(answer);
        let (asked, answers) = (current.question.asked, &current.question.answers);
        if let Some(found) = current.found.as_mut().filter(|found| found.asked == asked) {
            // Late words are shown; what was decided stays, for as many as are needed agreed.
            found.answers.clone_from(answers);
        }
    }

    /// Takes down what the open question found: as soon as enough resolvers agree, or all answered,
    /// or the deadline has passed.
    fn settle_question(&mut self, now: Tick, spec: &Corroborate) {
        let Some(current) = &mut self.corroboration.current else { return };
        let question = &mut current.question;
        let said = verdict(&question.answers, spec.needed());
        let complete = question.answers.len() >= spec.resolvers.len();
        let late = now >= question.asked + spec.deadline;
        if question.over || (said == NameState::Unknown && !complete && !late) {
            return;
        }
        question.over = true;
        let said = if late && !complete {
            // Who is silent said nothing, and that is what is taken down.
            for resolver in &spec.resolvers {
                let silent = || ResolverAnswer::new(NameState::Unknown, "no answer in time");
                question.answers.entry(*resolver).or_insert_with(silent);
            }
            verdict(&question.answers, spec.needed())
        } else {
            said
        };
        let before = current.found.as_ref().map(|found| found.verdict);
        let (asked, answers) = (question.asked, question.answers.clone());
        current.found = Some(Found { verdict: said, asked, answers });
        let told = current.told;
        let barred = |verdict| verdict == NameState::Up;
        if spec.effect == CorroborationEffect::Veto
            && before.is_some_and(|before| barred(before) != barred(said))
        {
            // The core judged by another word: it is asked anew, with a grace of its own.
            self.asking = Asking::default();
        } else if before != Some(said) {
            self.asking.last_asked = None;
        }
        if told {
            self.note_corroboration(now);
        }
    }

    /// Nobody is suspected any more. A question that a takeover did not wait for is still taken down.
    pub(super) fn end_corroboration(&mut self, now: Tick) {
        let open = |current: &Suspected| current.told && !current.question.over;
        if self.corroboration.current.as_ref().is_some_and(open)
            && let Some(spec) = self.spec.corroborate.clone()
        {
            self.settle_question(now, &spec);
            if self.corroboration.current.as_ref().is_some_and(open) {
                return;
            }
        }
        self.corroboration.end();
    }

    /// What is known now of the suspected holder's name; `None` while nothing is, or nothing that is
    /// recent enough.
    pub(super) fn corroboration_known(&self, now: Tick) -> Option<Corroboration> {
        let spec = self.spec.corroborate.as_ref()?;
        let current = self.corroboration.current.as_ref()?;
        let found = current.found.as_ref()?;
        let age = now.since(found.asked);
        let recent = age <= ASK_AGAIN + spec.deadline * 2 || planted(Bug::OldVerdictUsed);
        recent.then(|| Corroboration {
            name: current.name.clone(),
            verdict: found.verdict,
            answers: found.answers.clone(),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Whether the second opinion holds this member back from an automatic failover.
    pub(super) fn veto(&self, now: Tick) -> Veto {
        let Some(spec) = &self.spec.corroborate else { return Veto::No };
        let Some(current) = &self.corroboration.current else { return Veto::No };
        if spec.effect != CorroborationEffect::Veto || planted(Bug::VetoIgnored) {
            return Veto::No;
        }
        match self.corroboration_known(now).map(|known| known.verdict) {
            Some(NameState::Up) => Veto::Stands,
            Some(NameState::Down | NameState::Unknown) => Veto::No,
            None if now < current.question.asked + spec.deadline => Veto::Waits,
            None => Veto::No,
        }
    }

    /// The same for what an agent does by itself: a person's word is asked for in the other modes, and
    /// nothing holds that back.
    pub(super) fn veto_of_automation(&self, now: Tick) -> Veto {
        if self.spec.mode == PairMode::Automatic { self.veto(now) } else { Veto::No }
    }

    pub(super) fn block_vetoed(&mut self, now: Tick) {
        let Some(known) = self.corroboration_known(now) else { return };
        self.block(
            "health-name-answers",
            format!(
                "the holder is silent, and its health name still has an address as resolvers see it; \
                 with corroborate.effect = \"veto\" nobody takes over by itself meanwhile: {known}"
            ),
            "look whether the holder's region is really lost; if it is, order the failover, or take its \
             health name down",
        );
    }

    /// A takeover begins: what was found goes to the journal with it.
    pub(super) fn tell_corroboration(&mut self, now: Tick) {
        if let Some(current) = &mut self.corroboration.current {
            current.told = true;
            self.note_corroboration(now);
        }
    }

    /// Notes a verdict that the journal does not have yet.
    fn note_corroboration(&mut self, now: Tick) {
        let Some(known) = self.corroboration_known(now) else { return };
        let Some(current) = &mut self.corroboration.current else { return };
        if current.noted.replace(known.verdict) == Some(known.verdict) {
            return;
        }
        self.step_note(Step::Corroborate, StepOutcome::Done, None, known.to_string());
    }
}
