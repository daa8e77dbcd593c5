//! Publishing through a provider: read, plan, change, and read again when that is in doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use continuum_domain::name_spec::absolute;
use continuum_domain::{PairId, RegionId};

use super::{ProviderError, RecordProvider};
use crate::records::plan::{ForeignWrite, Plan, plan};
use crate::records::{Records, Wanted};
use crate::service::{NameChange, NameError, NameService, Published};

/// Rounds of reading and changing in one call. Each further one means that somebody else wrote
/// between, or that an answer was lost; the caller publishes again anyway.
const ROUNDS_MAX: u32 = 4;

/// What it took to make a name say what was wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything was written.
    pub changed: bool,
    /// What of others was undone.
    pub foreign: Option<ForeignWrite>,
}

/// Makes `provider` hold what is wanted, unless a higher epoch stands there.
pub async fn publish(provider: &dyn RecordProvider, wanted: &Wanted) -> Result<Outcome, NameError> {
    let mut doubt = None;
    // Written by a change whose answer was lost, when a later look finds it done.
    let mut unsure = Outcome::default();
    let mut companions = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let seen = provider.read(&wanted.name).await.map_err(told)?;
        let (change, foreign) = match plan(&seen, wanted) {
            Plan::Nothing => return Ok(unsure),
            Plan::Change { change, foreign } => (change, foreign),
            Plan::Refused { newest } => return Err(NameError::Refused { newest }),
            Plan::Contradicted { holder } => {
                let holder = holder.map_or("nobody".into(), |holder| holder.to_string());
                let text =
                    format!("{} says epoch {} is held by {holder}", wanted.name, wanted.epoch);
                return Err(NameError::Contradicted(text));
            }
            Plan::OfAnother { pair } => {
                return Err(NameError::Misconfigured(format!(
                    "{} follows pair {pair}, not {}; take it out of one of the two \
                     configurations, or remove its companion if that pair is gone",
                    wanted.name, wanted.pair
                )));
            }
        };
        companions.push(seen.companion);
        match provider.change(&change).await {
            Ok(()) => return Ok(Outcome { changed: true, foreign }),
            Err(error @ ProviderError::Conflict(_)) => doubt = Some(error),
            Err(error @ ProviderError::Unanswered(_)) => {
                unsure = Outcome { changed: true, foreign };
                doubt = Some(error);
            }
            Err(error) => return Err(told(error)),
        }
    }
    match (doubt, companions.first()) {
        (Some(ProviderError::Conflict(_)), Some(first))
            if companions.iter().all(|other| other == first) =>
        {
            Err(NameError::Misconfigured(format!(
                "the server shows {first} as the companion of {}, and does not recognise it in an \
                 update; remove that TXT record by hand",
                wanted.name
            )))
        }
        (doubt, _) => Err(doubt.map_or_else(|| NameError::Unanswered(wanted.name.clone()), told)),
    }
}

fn told(error: ProviderError) -> NameError {
    match error {
        ProviderError::Unauthorised(text) => NameError::Unauthorised(text),
        ProviderError::Misconfigured(text) => NameError::Misconfigured(text),
        other => NameError::Unanswered(other.to_string()),
    }
}

/// A name that follows a pair's lease at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedName {
    /// The pair.
    pub pair: PairId,
    /// The records while a region holds it.
    pub records: BTreeMap<RegionId, Records>,
}

impl FollowedName {
    /// A name with plain address records, `ttl` in seconds.
    pub fn plain(pair: PairId, ttl: u32, addresses: &BTreeMap<RegionId, BTreeSet<IpAddr>>) -> Self {
        let records = addresses
            .iter()
            .map(|(region, listed)| (region.clone(), Records::plain(ttl, listed.clone())))
            .collect();
        Self { pair, records }
    }
}

/// Names at a provider, as a name service.
#[derive(Debug)]
pub struct RecordNames {
    provider: Arc<dyn RecordProvider>,
    names: RwLock<BTreeMap<String, FollowedName>>,
}

impl RecordNames {
    /// `names`, by their fully qualified name, at `provider`.
    pub fn new(provider: Arc<dyn RecordProvider>, names: BTreeMap<String, FollowedName>) -> Self {
        let names = names.into_iter().map(|(name, entry)| (absolute(&name), entry)).collect();
        Self { provider, names: RwLock::new(names) }
    }

    /// Follows `name` from now on in this way; the next publish writes it.
    pub fn follow(&self, name: &str, entry: FollowedName) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.insert(absolute(name), entry);
    }

    /// What should stand at a name; an error when it does not follow the pair for that holder.
    pub fn wanted(&self, change: &NameChange) -> Result<Wanted, NameError> {
        let name = absolute(&change.name);
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let entry = names.get(&name).filter(|entry| entry.pair == change.pair);
        let records = entry.and_then(|entry| entry.records.get(&change.holder)).cloned();
        let records = records.ok_or_else(|| {
            NameError::Misconfigured(format!(
                "{name} does not follow pair {} with addresses for {}",
                change.pair, change.holder
            ))
        })?;
        let (pair, epoch, holder) = (change.pair.clone(), change.epoch, change.holder.clone());
        Ok(Wanted { name, pair, epoch, holder, records })
    }

    /// As [`NameService::publish`], and says what it took; a write of others that was undone is
    /// logged.
    pub async fn publish_told(&self, change: &NameChange) -> Result<Outcome, NameError> {
        let wanted = self.wanted(change)?;
        let outcome = publish(&*self.provider, &wanted).await?;
        if let Some(foreign) = &outcome.foreign {
            tracing::warn!(name = %wanted.name, pair = %wanted.pair, epoch = %wanted.epoch, %foreign,
                "somebody else wrote to a name that follows a lease; undone");
        }
        Ok(outcome)
    }
}

#[async_trait]
impl NameService for RecordNames {
    async fn publish(&self, change: &NameChange) -> Result<Published, NameError> {
        let ttl = self.wanted(change)?.records.ttl;
        self.publish_told(change).await?;
        let ttl = std::time::Duration::from_secs(ttl.into());
        Ok(Published { epoch: change.epoch, ttl })
    }
}
