//! Resolvers, and the health names they answer for: a region's name has an address while its agent
//! runs. And the judge of what comes of it: a second opinion only ever holds back.

use std::time::Duration;

use continuum_domain::corroborate::{
    Corroborate, CorroborationEffect, NameState, Resolver, ResolverAnswer,
};
use continuum_domain::operation::Step;
use continuum_domain::pair::PairMachine;
use continuum_domain::pair::types::{Effect, Event, Note};
use continuum_domain::spec::PairSpec;
use continuum_domain::{RegionId, Tick};

use super::{Host, World, ms};

/// How a resolver misbehaves, each until an instant of true time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub silent: u64,
    pub fails: u64,
    /// It answers from what it kept: the name has an address.
    pub stale: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Resolvers {
    pub troubles: [Trouble; 3],
    /// What they all say, whatever is so.
    pub forced: Option<NameState>,
    pub asked: u64,
}

/// How these worlds ask.
pub fn corroborated(effect: CorroborationEffect) -> Corroborate {
    Corroborate { effect, deadline: ms(500), ..Corroborate::default() }
}

/// Health names for every member.
pub fn name_members(spec: &mut PairSpec) {
    for (region, member) in &mut spec.members {
        member.health_name = Some(format!("health.{region}.test"));
    }
}

impl World {
    pub fn ask_resolver(
        &mut self,
        r: usize,
        life: u64,
        (question, resolver): (u64, Resolver),
        name: &str,
        deadline: Duration,
    ) {
        self.resolvers.asked += 1;
        let spec = self.spec.corroborate.as_ref().expect("somebody asked");
        let index =
            spec.resolvers.iter().position(|known| *known == resolver).expect("a known one");
        let trouble = self.resolvers.troubles[index];
        let region = name.strip_prefix("health.").and_then(|rest| rest.strip_suffix(".test"));
        let of = self.index(&RegionId::new(region.expect("a health name")).unwrap());
        let lost = self.now < trouble.silent || self.net.lost(&mut self.rng);
        let delay =
            if lost { deadline } else { self.net.far(&mut self.rng) + self.net.far(&mut self.rng) };
        let state = match self.resolvers.forced {
            _ if lost || self.now < trouble.fails => NameState::Unknown,
            Some(forced) => forced,
            None if self.now < trouble.stale || self.is_well(of) => NameState::Up,
            None => NameState::Down,
        };
        let answer = ResolverAnswer::new(state, if lost { "no answer" } else { "answered" });
        self.after(delay, Host::Agent(r), move |w| {
            w.feed_if(r, life, Event::ResolverAnswered { question, resolver, answer });
        });
    }

    fn is_well(&self, r: usize) -> bool {
        let region = &self.regions[r];
        let thawed = self.now >= region.agent_thaws.max(region.host_thaws);
        region.agent.is_some() && thawed
    }

    /// What was noted of a second opinion must be what the resolvers said, word by word.
    pub fn judge_corroboration(&mut self, note: &Note) {
        let Note::Step { step: Step::Corroborate, detail, .. } = note else { return };
        let needed = self.spec.corroborate.as_ref().map_or(1, Corroborate::needed);
        let (head, said) = detail.split_once(" (").expect("the verdict, then what each said");
        let count = |word: &str| said.matches(&format!(" {word}: ")).count();
        for word in ["up", "down"] {
            let agreed = count(word) >= needed;
            if agreed != head.contains(&format!(": {word},")) {
                return self.violated(format!("I7: {detail}"));
            }
        }
    }

    /// The same machine without a second opinion, in the same state and by the same event, would take
    /// over as well; and what it does to keep others safe it does no sooner.
    pub fn judge_held_back(
        &mut self,
        r: usize,
        before: Option<(Tick, PairMachine)>,
        (now, event): (Tick, &Event),
        effects: &[Effect],
    ) {
        let Some((stepped, mut machine)) = before else { return };
        let status = machine.status(stepped);
        if status.spec_version != self.spec_version || matches!(event, Event::Spec(..)) {
            return;
        }
        let plain = PairSpec { corroborate: None, ..self.spec.clone() };
        let mut others = machine.step(stepped, Event::Spec(self.spec_version, plain));
        others.extend(machine.step(now, event.clone()));
        let me = &self.regions[r].name;
        let holds = status.record.is_some_and(|(_, record, _)| record.held_by(me));
        let takes = |effect: &&Effect| matches!(effect, Effect::Cas { .. });
        let guards = |effect: &&Effect| {
            matches!(effect, Effect::Fence { .. } | Effect::Arm { .. })
                || (holds && matches!(effect, Effect::Cas { .. } | Effect::Plane { .. }))
        };
        let more = effects.iter().filter(takes).find(|effect| !others.contains(effect));
        let less = others.iter().filter(guards).find(|effect| !effects.contains(effect));
        let wrong = match (more, less) {
            (Some(more), _) => format!("only with a second opinion, {r} does {more:?}"),
            (None, Some(less)) => format!("a second opinion keeps {r} from {less:?}"),
            (None, None) => return,
        };
        self.violated(wrong);
    }
}
