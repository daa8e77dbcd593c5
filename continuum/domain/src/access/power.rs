//! What a caller may do, and the decision.

use std::collections::BTreeMap;

use super::{Caller, Grant, Selector, Tier};

/// The labels of a pair.
pub type Labels = BTreeMap<String, String>;

/// Everything a caller holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Power {
    holdings: Vec<(Tier, Selector)>,
    break_glass: bool,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over<'a> {
    /// One pair; `None` when there is none of the name, which only an unscoped caller may learn.
    Pair(Option<&'a Labels>),
    /// Some pair or other: a list, of which is shown what is in scope.
    AnyPair,
    /// Every pair that a selector fits, now or ever.
    Scope(&'a Selector),
    /// What belongs to no pair.
    All,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// The caller may not even know whether the pair is there.
    Hidden,
    /// The caller may know of it and not do this.
    Denied {
        /// The tier that would be enough.
        needed: Tier,
    },
}

impl Power {
    /// A tier over everything.
    pub fn everywhere(tier: Tier) -> Self {
        Self::over(tier, Selector::default())
    }

    /// A tier over what a selector fits.
    pub fn over(tier: Tier, selector: Selector) -> Self {
        Self { holdings: vec![(tier, selector)], break_glass: false }
    }

    /// What grants give to a caller.
    pub fn of_grants<'a>(caller: &Caller, grants: impl IntoIterator<Item = &'a Grant>) -> Self {
        let mut power = Self::default();
        for grant in grants.into_iter().filter(|grant| grant.is_for(caller)) {
            power.holdings.push((grant.tier, grant.selector.clone()));
            power.break_glass |= grant.break_glass;
        }
        power
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Power) -> Self {
        self.holdings.extend(other.holdings);
        self.break_glass |= other.break_glass;
        self
    }

    /// The same, and it may break the glass.
    #[must_use]
    pub fn with_break_glass(self) -> Self {
        Self { break_glass: true, ..self }
    }

    /// The same, and it may not.
    #[must_use]
    pub fn without_break_glass(self) -> Self {
        Self { break_glass: false, ..self }
    }

    /// Whether it may break the glass.
    pub fn may_break_glass(&self) -> bool {
        self.break_glass
    }

    /// Each tier with its scope.
    pub fn holdings(&self) -> &[(Tier, Selector)] {
        &self.holdings
    }

    fn highest(&self, fits: impl Fn(&Selector) -> bool) -> Option<Tier> {
        self.holdings.iter().filter(|(_, selector)| fits(selector)).map(|(tier, _)| *tier).max()
    }

    /// The tier held over something; `None` when it is not in scope at all.
    pub fn tier(&self, over: Over<'_>) -> Option<Tier> {
        match over {
            Over::Pair(Some(labels)) => self.highest(|selector| selector.fits(labels)),
            Over::AnyPair => self.highest(|_| true),
            Over::Scope(scope) => self.highest(|selector| scope.is_within(selector)),
            Over::Pair(None) | Over::All => self.highest(Selector::is_everything),
        }
    }

    /// Whether a pair of these labels is shown.
    pub fn sees(&self, labels: &Labels) -> bool {
        self.tier(Over::Pair(Some(labels))).is_some()
    }

    /// Whether what belongs to no pair is shown.
    pub fn sees_all(&self) -> bool {
        self.tier(Over::All).is_some()
    }
}

/// Decides whether a caller of some power may do what takes `needed` over something.
pub fn authorise(power: &Power, needed: Tier, over: Over<'_>) -> Verdict {
    match (power.tier(over), over) {
        (Some(held), _) if held >= needed => Verdict::Allowed,
        (None, Over::Pair(_)) => Verdict::Hidden,
        _ => Verdict::Denied { needed },
    }
}
