//! Safety rules: which requests take a second person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ENVIRONMENT_LABEL, Labels, PRODUCTION, Selector, Tier};
use crate::ids::AccessName;

/// The name of the rule that is there from the beginning.
const BUILT_IN: &str = "production";

/// What a request wants to do to a pair.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// To move it while it is well.
    Switchover,
    /// To move it when its primary is lost.
    Failover,
    /// To change its spec, a rollback included.
    Change,
    /// To remove it.
    Remove,
    /// To pause its automation.
    Pause,
    /// To stop it everywhere until it is resumed.
    Stop,
    /// To replace a member's data directory by a fresh copy.
    Clone,
}

impl Verb {
    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Verb::Switchover => "switchover",
            Verb::Failover => "failover",
            Verb::Change => "change",
            Verb::Remove => "remove",
            Verb::Pause => "pause",
            Verb::Stop => "stop",
            Verb::Clone => "clone",
        }
    }

    /// All of them.
    pub const ALL: [Verb; 7] = [
        Verb::Switchover,
        Verb::Failover,
        Verb::Change,
        Verb::Remove,
        Verb::Pause,
        Verb::Stop,
        Verb::Clone,
    ];
}

impl std::str::FromStr for Verb {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|verb| verb.label() == text).ok_or_else(|| {
            format!(
                "{text:?} is none of switchover, failover, change, remove, pause, stop and clone"
            )
        })
    }
}

/// Requests that are kept until another person approves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SafetyRule {
    /// Its name.
    pub name: AccessName,
    /// On which pairs; empty is all.
    #[serde(default, skip_serializing_if = "Selector::is_everything")]
    pub selector: Selector,
    /// For which requests.
    pub verbs: Vec<Verb>,
    /// The least tier of who approves.
    pub approver: Tier,
    /// From which tier on nobody else is needed; absent: everybody needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<Tier>,
}

impl SafetyRule {
    /// The rule that is there from the beginning: a switchover in production takes two people, or an
    /// owner. One of the same name takes its place.
    pub fn built_in() -> Self {
        let name = AccessName::new(BUILT_IN).expect("a valid name");
        let selector = format!("{ENVIRONMENT_LABEL}={PRODUCTION}").parse();
        Self {
            name,
            selector: selector.expect("a selector"),
            verbs: vec![Verb::Switchover],
            approver: Tier::Operator,
            exempt: Some(Tier::Owner),
        }
    }

    /// Whether a request is kept by it: of what it is about, something fits, and who asks does not
    /// hold the tier that is exempt over all of it.
    pub fn holds(&self, verb: Verb, about: &[(Labels, Option<Tier>)]) -> bool {
        let exempt = |held: Option<Tier>| self.exempt.is_some_and(|tier| held >= Some(tier));
        self.verbs.contains(&verb)
            && about.iter().any(|(labels, _)| self.selector.fits(labels))
            && !about.iter().all(|(_, held)| exempt(*held))
    }
}

/// Of the rules by which a request is kept, the one that asks for most.
pub fn strictest<'a>(
    rules: impl IntoIterator<Item = &'a SafetyRule>,
    verb: Verb,
    about: &[(Labels, Option<Tier>)],
) -> Option<&'a SafetyRule> {
    rules.into_iter().filter(|rule| rule.holds(verb, about)).max_by_key(|rule| rule.approver)
}

/// Whether somebody may approve what another one asked for: never the same person.
pub fn is_another_person(requester: &str, approver: &str) -> bool {
    requester != approver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(environment: &str, held: Tier) -> [(Labels, Option<Tier>); 1] {
        [(Labels::from([("env-type".into(), environment.into())]), Some(held))]
    }

    #[test]
    fn a_switchover_in_production_takes_two_people_or_an_owner() {
        let rule = SafetyRule::built_in();
        for tier in Tier::ALL {
            let owner = tier == Tier::Owner;
            assert_eq!(rule.holds(Verb::Switchover, &about("prod", tier)), !owner, "{tier}");
            assert!(!rule.holds(Verb::Failover, &about("prod", tier)));
            assert!(!rule.holds(Verb::Switchover, &about("test", tier)));
        }
        let nobody = SafetyRule { exempt: None, ..rule };
        assert!(nobody.holds(Verb::Switchover, &about("prod", Tier::Owner)));
    }

    #[test]
    fn one_label_set_that_fits_is_enough_and_the_exempt_tier_must_be_held_over_all() {
        let rule = SafetyRule { verbs: vec![Verb::Change], ..SafetyRule::built_in() };
        let [test] = about("test", Tier::Owner);
        let [prod] = about("prod", Tier::Admin);
        assert!(rule.holds(Verb::Change, &[test.clone(), prod.clone()]));
        assert!(rule.holds(Verb::Change, &[prod, test]));
    }

    #[test]
    fn the_rule_that_asks_for_most_counts() {
        let weak = SafetyRule::built_in();
        let strong = SafetyRule {
            approver: Tier::Admin,
            name: "strong".parse().expect("a name"),
            ..weak.clone()
        };
        let about = about("prod", Tier::Operator);
        let found = strictest([&strong, &weak], Verb::Switchover, &about);
        assert_eq!(found, Some(&strong));
        assert_eq!(strictest([&strong, &weak], Verb::Remove, &about), None);
    }

    #[test]
    fn nobody_is_another_person_than_oneself() {
        assert!(!is_another_person("user/ann", "user/ann"));
        assert!(is_another_person("user/ann", "user/bob"));
    }
}
