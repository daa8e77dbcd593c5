//! Route 53 by its API. A batch of changes is taken as a whole or not at all, and a DELETE must name
//! what stands value by value: so the DELETE of the companion that was read, together with the CREATE
//! of the new one and the records, is a compare-and-swap. This is a fence.
//!
//! Route 53 answers when it has accepted a batch, and spreads it to its servers after that, often for
//! some ten seconds; [`RecordProvider::settled`] tells. An account may ask five times a second in all,
//! so a name that stands as wanted is looked at seldom: [`RecordProvider::look_again`].

mod access;
mod sets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsOutput;
use aws_sdk_route53::types::{ChangeStatus, ResourceRecordSet, RrType};
use continuum_domain::name_spec::absolute;
use continuum_runtime::SharedClock;

use super::patience::Patience;
use super::{ProviderError, RecordProvider, within};
use crate::records::plan::Change;
use crate::records::{Seen, companion_name};
use access::{Access, refused, told};
use sets::Listed;

/// Pages of one listing; a name with more record sets than they hold is not one of ours.
const PAGES_MAX: u32 = 20;

/// Where a hosted zone is.
#[derive(Clone)]
pub struct Route53At {
    /// The zone's name.
    pub zone: String,
    /// Its id, as `Z0123456789ABC`.
    pub zone_id: String,
    /// File with the keys.
    pub key_file: PathBuf,
    /// The region that requests are signed for.
    pub region: String,
    /// Where the API is; the usual place of the region without one.
    pub endpoint: Option<String>,
    /// Longest time of one call. A change takes up to three, and each again when it is throttled.
    pub deadline: Duration,
    /// How long a name that stands as wanted is not looked at again.
    pub look_again: Duration,
}

/// A hosted zone of Route 53.
pub struct Route53 {
    at: Route53At,
    zone: String,
    access: Access,
    memory: Mutex<Memory>,
}

/// By name.
#[derive(Default)]
struct Memory {
    /// As it was read last; good for one change, whose batch fails when it is not so any more.
    listed: BTreeMap<String, Listed>,
    /// The change that was accepted last, and may not be everywhere yet.
    spreading: BTreeMap<String, String>,
}

impl std::fmt::Debug for Route53 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Route53({} in {})", self.zone, self.at.zone_id)
    }
}

impl Route53 {
    /// The zone. `clock` tells the time in signatures. The keys are read for each call, so that
    /// they can be replaced while this runs.
    pub fn new(at: Route53At, clock: SharedClock) -> Self {
        let zone = absolute(&at.zone);
        let access = Access::new(&at, clock);
        Self { at, zone, access, memory: Mutex::default() }
    }

    /// The id of the hosted zone.
    pub fn zone_id(&self) -> &str {
        &self.at.zone_id
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands now. The companion first: a writer that finds it unchanged knows that what it
    /// read after it was not written by one of us.
    async fn list(&self, name: &str) -> Result<Listed, ProviderError> {
        let companion = self.sets_at(&companion_name(name), RrType::Txt).await?;
        Ok(Listed::new(companion, self.sets_at(name, RrType::A).await?))
    }

    async fn page(
        &self,
        (name, kind, id): &(String, RrType, Option<String>),
    ) -> Result<ListResourceRecordSetsOutput, ProviderError> {
        let client = self.access.client().await?;
        let mut patience = Patience::new();
        loop {
            let request = client
                .list_resource_record_sets()
                .hosted_zone_id(&self.at.zone_id)
                .start_record_name(name)
                .start_record_type(kind.clone())
                .set_start_record_identifier(id.clone());
            match request.send().await {
                Ok(page) => return Ok(page),
                Err(error) => patience.after(told(error, &self.at.zone_id)).await?,
            }
        }
    }

    /// The record sets at `name` from type `kind` on, in the order of the API.
    async fn sets_at(
        &self,
        name: &str,
        kind: RrType,
    ) -> Result<Vec<ResourceRecordSet>, ProviderError> {
        let mut sets = Vec::new();
        let mut from = (name.to_owned(), kind, None);
        for _ in 0..PAGES_MAX {
            let page = self.page(&from).await?;
            let own = page.resource_record_sets().iter().take_while(|set| set.name == name);
            sets.extend(own.cloned());
            // They are in order: what is not ours ends them.
            let ended = page.resource_record_sets().last().is_some_and(|set| set.name != name);
            match (page.next_record_name(), page.next_record_type()) {
                (Some(next), Some(kind)) if page.is_truncated() && !ended && next == name => {
                    let id = page.next_record_identifier().map(str::to_owned);
                    from = (next.to_owned(), kind.clone(), id);
                }
                _ => return Ok(sets),
            }
        }
        let problem = format!("{name} has more record sets than {PAGES_MAX} pages hold");
        Err(ProviderError::Misconfigured(problem))
    }
}

#[async_trait]
impl RecordProvider for Route53 {
    async fn read(&self, name: &str) -> Result<Seen, ProviderError> {
        within(&self.zone, name)?;
        let listed = self.list(name).await?;
        let seen = listed.seen();
        self.memory().listed.insert(name.to_owned(), listed);
        Ok(seen)
    }

    async fn change(&self, change: &Change) -> Result<(), ProviderError> {
        within(&self.zone, &change.name)?;
        if !change.records.lua.is_empty() {
            let text = "Route 53 keeps no LUA records; use a provider of kind powerdns";
            return Err(ProviderError::Misconfigured(text.into()));
        }
        let known = self.memory().listed.remove(&change.name);
        let listed = match known.filter(|known| known.companion() == change.expected) {
            Some(known) => known,
            None => self.list(&change.name).await?,
        };
        if listed.companion() != change.expected {
            return Err(ProviderError::Conflict(change.name.clone()));
        }
        let batch = sets::batch(&listed, change)
            .map_err(|error| ProviderError::Misconfigured(error.to_string()))?;
        let client = self.access.client().await?;
        let mut patience = Patience::new();
        let answer = loop {
            let request = client
                .change_resource_record_sets()
                .hosted_zone_id(&self.at.zone_id)
                .change_batch(batch.clone());
            match request.send().await {
                Ok(answer) => break answer,
                Err(error) => patience.after(refused(error, change, &self.at)).await?,
            }
        };
        if let Some(info) = answer.change_info() {
            self.memory().spreading.insert(change.name.clone(), info.id().to_owned());
        }
        Ok(())
    }

    fn is_fence(&self) -> bool {
        true
    }

    async fn settled(&self, name: &str) -> Result<Option<bool>, ProviderError> {
        let Some(id) = self.memory().spreading.get(name).cloned() else { return Ok(None) };
        let client = self.access.client().await?;
        let mut patience = Patience::new();
        let answer = loop {
            match client.get_change().id(&id).send().await {
                Ok(answer) => break answer,
                // Forgotten over there: how far it has come is not known any more.
                Err(error)
                    if error.as_service_error().is_some_and(|told| told.is_no_such_change()) =>
                {
                    self.memory().spreading.remove(name);
                    return Ok(None);
                }
                Err(error) => patience.after(told(error, &self.at.zone_id)).await?,
            }
        };
        let status = answer.change_info().map(|info| info.status().clone());
        Ok(Some(status == Some(ChangeStatus::Insync)))
    }

    fn look_again(&self) -> Duration {
        self.at.look_again
    }
}
