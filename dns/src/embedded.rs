//! The embedded name service without its sockets: polls registers, takes publishes, answers.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::record::pair_key;
use continuum_domain::{PairId, PairRecord, RegionId, Tick};
use continuum_runtime::SharedClock;
use continuum_witness::{RegisterStore, StoreError};
use hickory_proto::rr::{Name, Record};
use tokio::sync::watch;

use crate::config::{ConfigError, DnsConfig};
use crate::evidence::{Evidence, Known, NotTaken, Observed};
use crate::service::{NameChange, NameError, NameService, Published};
use crate::transfer::versions::Transfer;
use crate::transfer::{Transfers, messages};
use crate::zone::{Answer, Question, Zone};

/// How long a publish of a new epoch waits for the register before the region's word must do.
const PUBLISH_READ_MAX: Duration = Duration::from_millis(500);

/// The names of a configuration and what is known of their pairs.
pub struct EmbeddedNames {
    zone: RwLock<Zone>,
    store: Arc<dyn RegisterStore>,
    clock: SharedClock,
    poll: Duration,
    has_secondaries: bool,
    /// The serial that secondaries are given.
    serial: watch::Sender<Option<u32>>,
    /// Counts changes of registers, where there are secondaries: what stood in all of them at one
    /// instant takes a read of each after the change.
    changed: watch::Sender<u64>,
    transfers: Transfers,
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
        Ok(Arc::new(Self {
            zone,
            store,
            clock,
            poll: config.poll,
            has_secondaries: !config.secondaries.is_empty(),
            serial: watch::Sender::new(None),
            changed: watch::Sender::new(0),
            transfers: Transfers::default(),
        }))
    }

    /// The serial that secondaries are given, as it changes; `None` while it is not known.
    pub fn serials(&self) -> watch::Receiver<Option<u32>> {
        self.serial.subscribe()
    }

    /// Transfers since the start.
    pub fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    /// The zone's name.
    pub fn origin(&self) -> Name {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).origin()
    }

    /// Where the zone says which configuration it is of, and what it says there.
    pub(crate) fn names_text(&self) -> Option<(Name, String)> {
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        zone.names_text().map(|(name, text)| (name, text.to_owned()))
    }

    /// The SOA of the version `serial`.
    pub(crate) fn soa_of(&self, serial: u32) -> Record {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).soa_of(serial)
    }

    /// The records that bring a secondary from the version `have`, or from nothing, to the newest one;
    /// `None` while that is not known. The flag says whether they are changes alone.
    pub(crate) fn transfer(&self, have: Option<u32>) -> Option<(Vec<Record>, bool)> {
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        let (serial, transfer) = zone.transfer(have)?;
        let changes = !matches!(transfer, Transfer::Whole(_));
        Some((messages::records(transfer, serial, |serial| zone.soa_of(serial)), changes))
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
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let read = self.refresh(&pair).await;
            match &read {
                Ok(()) if !was_well => tracing::info!(%pair, "pair register is read again"),
                Err(error) if was_well => {
                    tracing::warn!(%pair, %error, "pair register cannot be read");
                }
                _ => {}
            }
            was_well = read.is_ok();
            // The sender lives as long as this does: only a change, or the time, ends the wait.
            let _change_or_time = tokio::time::timeout(self.poll, changed.changed()).await;
        }
    }

    /// Reads `pair`'s register once and takes what it says.
    pub async fn refresh(&self, pair: &PairId) -> Result<(), StoreError> {
        let sent = self.clock.now();
        let held = self.store.read(&pair_key(pair)).await?;
        let received = self.clock.now();
        let record = match held {
            Some(held) => {
                Some(serde_json::from_slice::<PairRecord>(&held.value).map_err(|error| {
                    StoreError::Misconfigured(format!("{pair}: not a pair record: {error}"))
                })?)
            }
            None => None,
        };
        self.observe(pair, record.as_ref(), sent);
        self.count_for_secondaries(pair, record.as_ref(), sent, received);
        Ok(())
    }

    fn count_for_secondaries(
        &self,
        pair: &PairId,
        record: Option<&PairRecord>,
        sent: Tick,
        received: Tick,
    ) {
        let mut zone = self.zone.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(serial) = zone.read_took(pair, record, sent, received) {
            tracing::info!(serial, "a new version of the zone for its secondaries");
            // Under the lock: two reads may end at once, and the later serial is the one that stays.
            self.serial.send_replace(Some(serial));
        }
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
                if self.has_secondaries {
                    self.changed.send_modify(|count| *count = count.wrapping_add(1));
                }
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
