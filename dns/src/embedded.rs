//! The embedded name service without its sockets: polls registers, takes publishes, answers.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::record::pair_key;
use continuum_domain::{PairId, PairRecord, RegionId, Tick};
use continuum_runtime::SharedClock;
use continuum_witness::{RegisterStore, StoreError};

use crate::config::{ConfigError, DnsConfig};
use crate::evidence::{Evidence, Known, NotTaken, Observed};
use crate::service::{NameChange, NameError, NameService, Published};
use crate::zone::{Answer, Question, Zone};

/// How long a publish of a new epoch waits for the register before the region's word must do.
const PUBLISH_READ_MAX: Duration = Duration::from_millis(500);

/// The names of a configuration and what is known of their pairs.
pub struct EmbeddedNames {
    zone: RwLock<Zone>,
    store: Arc<dyn RegisterStore>,
    clock: SharedClock,
    poll: Duration,
}

impl std::fmt::Debug for EmbeddedNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EmbeddedNames")
    }
}

impl EmbeddedNames {
    /// Names with nothing known yet; `server_addresses` are the name server's own.
    pub fn new(
        config: &DnsConfig,
        server_addresses: Vec<IpAddr>,
        store: Arc<dyn RegisterStore>,
        clock: SharedClock,
    ) -> Result<Arc<Self>, ConfigError> {
        let zone = RwLock::new(Zone::new(config, server_addresses)?);
        Ok(Arc::new(Self { zone, store, clock, poll: config.poll }))
    }

    /// What ages are measured by.
    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Answers one question from memory.
    pub fn answer(&self, question: &Question) -> Answer {
        let now = self.clock.now();
        self.zone.read().unwrap_or_else(PoisonError::into_inner).answer(question, now)
    }

    /// Pairs that names follow.
    pub fn pairs(&self) -> Vec<PairId> {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).pairs().cloned().collect()
    }

    /// Reads `pair`'s register again and again; never returns.
    pub async fn poll(&self, pair: PairId) {
        let mut was_well = true;
        loop {
            let read = self.refresh(&pair).await;
            match &read {
                Ok(()) if !was_well => tracing::info!(%pair, "pair register is read again"),
                Err(error) if was_well => {
                    tracing::warn!(%pair, %error, "pair register cannot be read");
                }
                _ => {}
            }
            was_well = read.is_ok();
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Reads `pair`'s register once and takes what it says.
    pub async fn refresh(&self, pair: &PairId) -> Result<(), StoreError> {
        let sent = self.clock.now();
        let held = self.store.read(&pair_key(pair)).await?;
        let record = match held {
            Some(held) => {
                Some(serde_json::from_slice::<PairRecord>(&held.value).map_err(|error| {
                    StoreError::Misconfigured(format!("{pair}: not a pair record: {error}"))
                })?)
            }
            None => None,
        };
        self.observe(pair, record.as_ref(), sent);
        Ok(())
    }

    fn observe(&self, pair: &PairId, record: Option<&PairRecord>, sent: Tick) {
        let observed = self.with_evidence(pair, |evidence| {
            let (before, observed) = (evidence.newest(), evidence.observe(record, sent));
            (before, evidence.newest(), observed)
        });
        match observed {
            Some((newest, _, Observed::Contradiction)) => tracing::error!(
                %pair, %newest, epoch = ?record.map(|record| record.epoch),
                "the register shows an older epoch than was known: a witness lost its state, or a \
                 region published an epoch it never won. The names answer SERVFAIL until the \
                 register has caught up"
            ),
            Some((before, now, Observed::Taken)) if now > before => {
                let holder = record.and_then(|record| record.holder.as_ref());
                tracing::info!(%pair, epoch = %now, ?holder, "names follow a new epoch");
            }
            _ => {}
        }
    }

    fn with_evidence<T>(&self, pair: &PairId, act: impl FnOnce(&mut Evidence) -> T) -> Option<T> {
        let mut zone = self.zone.write().unwrap_or_else(PoisonError::into_inner);
        zone.evidence_mut(pair).map(act)
    }

    /// Takes a publish by `caller`'s agent, whose identity was proven.
    ///
    /// A known epoch is refreshed by the holder's word at once. A new one is looked up in the
    /// register; only when that cannot be read does the word stand alone (I6).
    pub async fn publish(
        &self,
        caller: &RegionId,
        change: &NameChange,
    ) -> Result<Published, NameError> {
        if change.holder != *caller {
            return Err(NameError::Unauthorised(format!(
                "region {caller} may not publish {} as holder",
                change.holder
            )));
        }
        let ttl = {
            let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
            zone.ttl_for(&change.name, &change.pair, caller)
        };
        let ttl = ttl.ok_or_else(|| {
            NameError::Misconfigured(format!(
                "{} does not follow pair {} with addresses for {caller}; see [[names]]",
                change.name, change.pair
            ))
        })?;
        let newest = self.with_evidence(&change.pair, |evidence| evidence.newest());
        let mut proven = false;
        if newest.is_none_or(|newest| newest < change.epoch) {
            let read = tokio::time::timeout(PUBLISH_READ_MAX, self.refresh(&change.pair)).await;
            proven = matches!(read, Ok(Ok(())));
        }
        self.take_word(change, proven)?;
        Ok(Published { epoch: change.epoch, ttl })
    }

    /// Takes the word of the holder. When the register was just read, it must show the epoch.
    fn take_word(&self, change: &NameChange, register_read: bool) -> Result<(), NameError> {
        let now = self.clock.now();
        let taken = self.with_evidence(&change.pair, |evidence| {
            if register_read && evidence.newest() < change.epoch {
                return Err(NameError::Contradicted(format!(
                    "the register is at epoch {}, before {}",
                    evidence.newest(),
                    change.epoch
                )));
            }
            evidence.vouch(change.epoch, &change.holder, now).map_err(not_taken)
        });
        taken.unwrap_or_else(|| {
            Err(NameError::Misconfigured(format!("no name follows pair {}", change.pair)))
        })
    }

    /// Whether `pair` has a holder by what is known now.
    pub fn holder(&self, pair: &PairId) -> Option<RegionId> {
        let now = self.clock.now();
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        match zone.known(pair, now) {
            Known::Lease { holder, .. } => holder.cloned(),
            Known::Unknown => None,
        }
    }
}

fn not_taken(why: NotTaken) -> NameError {
    match why {
        NotTaken::Older { newest } => NameError::Refused { newest },
        NotTaken::NotHolder { holder: Some(holder) } => {
            NameError::Contradicted(format!("the epoch is held by {holder}"))
        }
        NotTaken::NotHolder { holder: None } => {
            NameError::Contradicted("nobody holds the epoch".into())
        }
        NotTaken::Contradicted { newest } => NameError::Contradicted(format!(
            "the register fell behind epoch {newest}, which was known"
        )),
    }
}

/// The embedded service as one region's agent sees it, without a network: for the simulator.
#[derive(Clone, Debug)]
pub struct LocalNameService {
    names: Arc<EmbeddedNames>,
    caller: RegionId,
}

impl LocalNameService {
    /// The service, called by `caller`.
    pub fn new(names: Arc<EmbeddedNames>, caller: RegionId) -> Self {
        Self { names, caller }
    }
}

#[async_trait]
impl NameService for LocalNameService {
    async fn publish(&self, change: &NameChange) -> Result<Published, NameError> {
        self.names.publish(&self.caller, change).await
    }
}
