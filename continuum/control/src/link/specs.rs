//! The specs of a region, for its agent. The message names all of them, so that it is made only when one
//! changed, and with many of them not each time that one did.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_control_api::link::ToAgent;
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, RegionId, Tick};

use crate::core::Core;
use crate::state::CoreState;

/// How long the message is held back after one, for each spec in it: a change of one of a thousand pairs
/// may wait for a fifth of a second, one of a few pairs never does.
const PER_SPEC: Duration = Duration::from_micros(200);

/// What an agent was told last.
#[derive(Default)]
pub(super) struct Sent {
    told: Option<Told>,
    /// Until when a change that was seen is held back, and how long that is.
    held: Option<Duration>,
}

#[derive(Debug, PartialEq)]
struct Told {
    at: Tick,
    /// Pairs with the versions of their specs. A version is never given to another spec.
    versions: BTreeMap<PairId, u64>,
    /// Until when (wall clock, milliseconds) each paused pair is paused.
    paused_until: BTreeMap<PairId, i64>,
}

impl Sent {
    /// Whether a change is held back.
    pub(super) fn is_waiting(&self) -> bool {
        self.held.is_some()
    }

    /// Returns once what is held back may be sent.
    pub(super) async fn due(&self) {
        tokio::time::sleep(self.held.unwrap_or_default()).await;
    }

    /// What is to be told now; `None` where nothing is.
    pub(super) fn news(&mut self, core: &Core, region: &RegionId) -> Option<ToAgent> {
        let (now, now_ms) = (core.clock.now(), core.now_ms());
        core.node.read(|state| self.news_of(state, region, (now, now_ms)))
    }

    fn news_of(
        &mut self,
        state: &CoreState,
        region: &RegionId,
        (now, now_ms): (Tick, i64),
    ) -> Option<ToAgent> {
        self.held = None;
        if let Some(told) = &self.told {
            if told.is_current(state, region, now_ms) {
                return None;
            }
            let count = u32::try_from(told.versions.len()).unwrap_or(u32::MAX);
            let rest = PER_SPEC.saturating_mul(count).saturating_sub(now.since(told.at));
            if !rest.is_zero() {
                self.held = Some(rest);
                return None;
            }
        }
        let specs = mine(state, region).map(|(pair, version, spec)| {
            // Of no use to an agent, and an older one would refuse the spec for it.
            let spec = PairSpec { objectives: None, ..spec.clone() };
            (pair.clone(), (version, spec.into()))
        });
        let specs: BTreeMap<_, _> = specs.collect();
        let paused_until: BTreeMap<_, _> =
            paused(state, region, now_ms).map(|(pair, until)| (pair.clone(), until)).collect();
        let left = |until_ms: i64| u64::try_from(until_ms - now_ms).unwrap_or(0);
        let automation_paused =
            paused_until.iter().map(|(pair, until)| (pair.clone(), left(*until))).collect();
        let versions = mine(state, region).map(|(pair, version, _)| (pair.clone(), version));
        self.told = Some(Told { at: now, versions: versions.collect(), paused_until });
        Some(ToAgent::Specs { specs, automation_paused })
    }
}

impl Told {
    fn is_current(&self, state: &CoreState, region: &RegionId, now_ms: i64) -> bool {
        let versions = mine(state, region).map(|(pair, version, _)| (pair, version));
        let told = self.versions.iter().map(|(pair, version)| (pair, *version));
        let paused_until = self.paused_until.iter().map(|(pair, until)| (pair, *until));
        versions.eq(told) && paused(state, region, now_ms).eq(paused_until)
    }
}

fn mine<'a>(
    state: &'a CoreState,
    region: &'a RegionId,
) -> impl Iterator<Item = (&'a PairId, u64, &'a PairSpec)> {
    state.specs().filter(|(_, _, spec)| spec.members.contains_key(region))
}

/// The region's pairs whose automation is paused, and until when.
fn paused<'a>(
    state: &'a CoreState,
    region: &'a RegionId,
    now_ms: i64,
) -> impl Iterator<Item = (&'a PairId, i64)> {
    mine(state, region)
        .filter_map(move |(pair, ..)| Some((pair, state.pause_of(pair, now_ms)?.until_ms)))
}

#[cfg(test)]
mod tests {
    use continuum_control_api::ask::Condition;
    use continuum_domain::spec::MemberSpec;

    use super::*;
    use crate::raft::Machine;
    use crate::state::{Change, Command};

    fn region(name: &str) -> RegionId {
        name.parse().unwrap()
    }

    fn spec(number: usize, label: &str) -> PairSpec {
        let member = MemberSpec { priority: 100, host: "h".into(), port: 5432, health_name: None };
        let members = [(region("fsn"), member.clone()), (region("hel"), member)].into();
        let name = format!("pair-{number}").parse().unwrap();
        let mut spec = PairSpec::new(name, members, region("fsn"));
        spec.labels.insert("change".into(), label.into());
        spec
    }

    fn change(state: &mut CoreState, change: Change) {
        state.apply(1, Command::new(1_000, "operator/test", change));
    }

    fn put(state: &mut CoreState, number: usize, label: &str) {
        let spec = spec(number, label);
        let condition = Condition::None;
        change(state, Change::ApplyPair { spec, reason: "test".into(), condition });
    }

    fn ms(ms: u64) -> (Tick, i64) {
        (Tick(ms * 1_000_000), 1_000)
    }

    /// Versions and pauses that were told.
    fn told(message: Option<ToAgent>) -> Option<(Vec<u64>, usize)> {
        let ToAgent::Specs { specs, automation_paused } = message? else { panic!("not specs") };
        Some((specs.values().map(|(version, _)| *version).collect(), automation_paused.len()))
    }

    #[test]
    fn a_change_of_few_pairs_is_told_at_once_and_nothing_twice() {
        let (mut state, mut sent, hel) = (CoreState::default(), Sent::default(), region("hel"));
        put(&mut state, 1, "a");
        assert_eq!(told(sent.news_of(&state, &hel, ms(5_000))), Some((vec![1], 0)));
        assert_eq!(told(sent.news_of(&state, &hel, ms(5_001))), None);
        assert!(!sent.is_waiting());
        put(&mut state, 1, "b");
        assert_eq!(told(sent.news_of(&state, &hel, ms(5_002))), Some((vec![2], 0)));
        let pair = Some("pair-1".parse().unwrap());
        change(&mut state, Change::Pause { pair, reason: "test".into(), for_ms: 60_000 });
        assert_eq!(told(sent.news_of(&state, &hel, ms(5_003))), Some((vec![2], 1)));
        // It has run out by itself.
        let over = (Tick(5_004_000_000), 99_000);
        assert_eq!(told(sent.news_of(&state, &hel, over)), Some((vec![2], 0)));
        put(&mut state, 2, "a");
        assert_eq!(
            told(sent.news_of(&state, &hel, (Tick(5_005_000_000), 99_000))).unwrap().0.len(),
            2
        );
        let nobody = region("ash");
        assert_eq!(told(Sent::default().news_of(&state, &nobody, ms(0))), Some((vec![], 0)));
    }

    #[test]
    fn changes_of_many_pairs_are_gathered_and_none_is_forgotten() {
        let (mut state, mut sent, hel) = (CoreState::default(), Sent::default(), region("hel"));
        for number in 0..1_000 {
            put(&mut state, number, "a");
        }
        assert!(told(sent.news_of(&state, &hel, ms(5_000))).is_some(), "the first at once");
        put(&mut state, 7, "b");
        assert_eq!(told(sent.news_of(&state, &hel, ms(5_010))), None);
        assert_eq!(sent.held, Some(Duration::from_millis(190)));
        put(&mut state, 8, "b");
        assert_eq!(told(sent.news_of(&state, &hel, ms(5_199))), None);
        let (versions, _) = told(sent.news_of(&state, &hel, ms(5_200))).expect("it is due");
        assert_eq!(versions.iter().filter(|version| **version == 2).count(), 2);
        assert!(!sent.is_waiting());
        assert_eq!(told(sent.news_of(&state, &hel, ms(9_000))), None);
        put(&mut state, 7, "c");
        assert!(told(sent.news_of(&state, &hel, ms(9_001))).is_some(), "long after the last one");
    }
}
