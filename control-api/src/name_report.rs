//! What an agent says of the names that follow a pair's lease. What may be missing is then not
//! known.

use std::collections::BTreeMap;

use continuum_domain::Epoch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name at a provider, or one whose authorities are asked, as one agent sees it. Only the holder writes
/// it and asks; the others say whether they could. Ages are in milliseconds at the time of sending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameReport {
    /// Why this agent cannot keep it; absent when nothing speaks against it.
    #[serde(default)]
    pub problem: Option<String>,
    /// The epoch under which this agent last wanted it to lead here; absent when it never did.
    #[serde(default)]
    pub epoch: Option<Epoch>,
    /// Time to live of the records, seconds.
    #[serde(default)]
    pub ttl: u32,
    /// The records that it wants, each as `TYPE content`.
    #[serde(default)]
    pub records: Vec<String>,
    /// Where it is written, by what people call the place; none where the embedded servers answer for it.
    #[serde(default)]
    pub places: BTreeMap<String, PlaceReport>,
    /// The servers that are asked whether they serve it, by address.
    #[serde(default)]
    pub authorities: BTreeMap<String, AuthorityReport>,
    /// The newest epoch that every authority was seen to serve, and how many milliseconds after that
    /// epoch was won.
    #[serde(default)]
    pub converged: Option<(Epoch, u64)>,
}

/// One place where a name is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceReport {
    /// Since the name last was made to say what was wanted, or found so; absent when it never was.
    #[serde(default)]
    pub published_age_ms: Option<u64>,
    /// Under which epoch.
    #[serde(default)]
    pub epoch: Option<Epoch>,
    /// Tries in a row, since then, that did not succeed.
    #[serde(default)]
    pub failures: u64,
    /// Age, kind and text of the last of them. Kinds: `unanswered`, `newer-epoch`, `contradicted`,
    /// `unauthorised`, `misconfigured`.
    #[serde(default)]
    pub last_error: Option<(u64, String, String)>,
    /// Writes of others that were undone since the agent started.
    #[serde(default)]
    pub foreign_writes: u64,
    /// Age of the last of them, and what stood there.
    #[serde(default)]
    pub last_foreign: Option<(u64, String)>,
    /// Since the place was first found to have a change that is not at all its servers yet; absent
    /// when there is none, or where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spreading_ms: Option<u64>,
}

/// One authoritative server of a name, asked from a holder's agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorityReport {
    /// Since it was asked.
    pub age_ms: u64,
    /// Whether it serves what is due; absent when it did not answer.
    #[serde(default)]
    pub serves: Option<bool>,
    /// What it was found to do.
    #[serde(default)]
    pub said: String,
}

/// Whether a name says what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStanding {
    /// It was written, or found so, just now, at every place.
    Published,
    /// The last try at some place failed, or was under an older epoch.
    NotPublished,
    /// Nobody said, or not lately.
    Unknown,
}

/// A holder publishes each second; what it did not confirm for so long is not known.
const PUBLISHED_AGE_MS_MAX: u64 = 10_000;
/// Authorities that serve what is due are asked every ten seconds.
const ASKED_AGE_MS_MAX: u64 = 30_000;

impl NameReport {
    /// How it stands by the holder's report, which is `report_age_ms` old, while `epoch` is the
    /// pair's.
    pub fn standing(&self, epoch: Option<Epoch>, report_age_ms: u64) -> NameStanding {
        if report_age_ms > PUBLISHED_AGE_MS_MAX {
            return NameStanding::Unknown;
        }
        if self.problem.is_some() || self.places.values().any(|place| place.failures > 0) {
            return NameStanding::NotPublished;
        }
        let fresh = |place: &PlaceReport| {
            let age = place.published_age_ms.map(|age| age.saturating_add(report_age_ms));
            age.is_some_and(|age| age <= PUBLISHED_AGE_MS_MAX)
        };
        let Some(epoch) = epoch else { return NameStanding::Unknown };
        if self.places.is_empty() || !self.places.values().all(fresh) {
            return NameStanding::Unknown;
        }
        match self.places.values().all(|place| place.epoch == Some(epoch)) {
            true => NameStanding::Published,
            false => NameStanding::NotPublished,
        }
    }

    /// The same of a name without a provider: it is written nowhere, and stands as those say who are asked.
    pub fn standing_as_served(&self, epoch: Option<Epoch>, report_age_ms: u64) -> NameStanding {
        let Some(epoch) = epoch else { return NameStanding::Unknown };
        let said = |one: &AuthorityReport| {
            let age = one.age_ms.saturating_add(report_age_ms);
            one.serves.filter(|_| age <= ASKED_AGE_MS_MAX)
        };
        let all: Option<Vec<bool>> = self.authorities.values().map(said).collect();
        let Some(all) = all.filter(|all| !all.is_empty()) else { return NameStanding::Unknown };
        // What was said before the pair moved is of the epoch before.
        let of_epoch = self.converged.is_some_and(|(served, _)| served == epoch);
        match of_epoch && all.into_iter().all(|serves| serves) {
            true => NameStanding::Published,
            false => NameStanding::NotPublished,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(serves: &[Option<bool>], converged: u64) -> NameReport {
        let asked = |(number, serves): (usize, &Option<bool>)| {
            (
                format!("10.0.0.{number}:53"),
                AuthorityReport { serves: *serves, ..Default::default() },
            )
        };
        NameReport {
            epoch: Some(Epoch(7)),
            authorities: serves.iter().enumerate().map(asked).collect(),
            converged: Some((Epoch(converged), 40)),
            ..NameReport::default()
        }
    }

    #[test]
    fn a_name_that_is_written_nowhere_stands_as_its_authorities_say() {
        use NameStanding::{NotPublished, Published, Unknown};
        let (yes, no) = (Some(true), Some(false));
        for (serves, converged, due) in [
            (&[yes, yes][..], 7, Published),
            (&[yes, no], 7, NotPublished),
            // What was said was said of the epoch before.
            (&[yes, yes], 6, NotPublished),
            (&[yes, None], 7, Unknown),
            (&[], 7, Unknown),
        ] {
            assert_eq!(
                asked(serves, converged).standing_as_served(Some(Epoch(7)), 0),
                due,
                "{serves:?}"
            );
        }
        assert_eq!(asked(&[yes], 7).standing_as_served(None, 0), Unknown);
        let mut old = asked(&[yes], 7);
        if let Some(one) = old.authorities.values_mut().next() {
            one.age_ms = 25_000;
        }
        assert_eq!(old.standing_as_served(Some(Epoch(7)), 1_000), Published);
        assert_eq!(old.standing_as_served(Some(Epoch(7)), 6_000), Unknown);
    }
}
