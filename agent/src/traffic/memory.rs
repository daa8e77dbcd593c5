//! A switch in memory: for tests of what drives switches, and to show what the contract asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Held, Pointing, Seen, SwitchError, TrafficSwitch};

#[derive(Clone, Debug, Default)]
struct Content {
    target: Option<Pointing>,
    /// Why an agent holds it; on a real one this is on disk.
    ours: Option<String>,
    by_hand: bool,
    /// Holders of the sessions whose transaction is open.
    open: Vec<Pointing>,
    down: bool,
    refusing: bool,
    calls: Vec<String>,
}

/// The switch, and what a test does to it.
#[derive(Debug, Default)]
pub struct MemorySwitch(Mutex<Content>);

impl MemorySwitch {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client begins a transaction: the holder it is at, or `None` where it is held back or nobody
    /// is there.
    pub fn begin(&self) -> Option<String> {
        let mut content = self.content();
        if content.ours.is_some() || content.by_hand {
            return None;
        }
        let target = content.target.clone()?;
        let holder = target.holder.to_string();
        content.open.push(target);
        Some(holder)
    }

    /// The oldest open transaction ends.
    pub fn end(&self) {
        let mut content = self.content();
        if !content.open.is_empty() {
            content.open.remove(0);
        }
    }

    /// Somebody holds clients back by hand, or lets them through.
    pub fn hold_by_hand(&self, held: bool) {
        self.content().by_hand = held;
    }

    /// From now on it answers nobody, or does.
    pub fn set_down(&self, down: bool) {
        self.content().down = down;
    }

    /// From now on it refuses to lead elsewhere, or does not.
    pub fn set_refusing(&self, refusing: bool) {
        self.content().refusing = refusing;
    }

    /// What it was told so far, in order.
    pub fn calls(&self) -> Vec<String> {
        self.content().calls.clone()
    }

    fn up(&self) -> Result<MutexGuard<'_, Content>, SwitchError> {
        let content = self.content();
        match content.down {
            true => Err(SwitchError::Unreachable("it is down".into())),
            false => Ok(content),
        }
    }
}

#[async_trait]
impl TrafficSwitch for MemorySwitch {
    fn can_hold(&self) -> bool {
        true
    }

    async fn look(&self) -> Result<Seen, SwitchError> {
        let content = self.up()?;
        let held = match (&content.ours, content.by_hand) {
            (Some(why), _) => Held::Ours { why: why.clone(), complete: true },
            (None, true) => Held::Others,
            (None, false) => Held::No,
        };
        let count = |open: usize| u64::try_from(open).unwrap_or(u64::MAX);
        let holder = content.target.as_ref().map(|to| &to.holder);
        let stale = content.open.iter().filter(|at| Some(&at.holder) != holder);
        Ok(Seen {
            in_force: content.target.is_some(),
            held,
            sessions: count(content.open.len()),
            stale: count(stale.count()),
            target: content.target.clone(),
        })
    }

    async fn point(&self, to: &Pointing) -> Result<(), SwitchError> {
        let mut content = self.up()?;
        may_point(content.target.as_ref(), to)?;
        if content.refusing {
            return Err(SwitchError::refused("leading elsewhere", "it was told to refuse"));
        }
        content.calls.push(format!("point {} {}", to.epoch, to.holder));
        content.target = Some(to.clone());
        Ok(())
    }

    async fn hold(&self, why: &str) -> Result<(), SwitchError> {
        let mut content = self.up()?;
        content.calls.push(format!("hold {why}"));
        content.ours = Some(why.to_owned());
        Ok(())
    }

    async fn let_through(&self) -> Result<(), SwitchError> {
        let mut content = self.up()?;
        content.calls.push("let through".into());
        content.ours = None;
        Ok(())
    }

    async fn end_stale(&self) -> Result<(), SwitchError> {
        let mut content = self.up()?;
        content.calls.push("end stale".into());
        let holder = content.target.as_ref().map(|to| to.holder.clone());
        content.open.retain(|at| Some(&at.holder) == holder.as_ref());
        Ok(())
    }
}

/// Whether what stands may be replaced by `to`.
pub(super) fn may_point(found: Option<&Pointing>, to: &Pointing) -> Result<(), SwitchError> {
    match found {
        Some(found) if found.epoch > to.epoch => Err(SwitchError::Superseded(found.epoch)),
        Some(found) if found.epoch == to.epoch && found.holder != to.holder => {
            Err(SwitchError::Contradicted {
                epoch: to.epoch,
                found: found.holder.clone(),
                ours: to.holder.clone(),
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use continuum_domain::{Epoch, PairId, RegionId};

    use super::super::contract::{self, Stand};
    use super::*;

    #[derive(Default)]
    struct InMemory(Arc<MemorySwitch>);

    #[async_trait]
    impl Stand for InMemory {
        fn switch(&self) -> &dyn TrafficSwitch {
            self.0.as_ref()
        }

        fn another(&self) -> &dyn TrafficSwitch {
            self.0.as_ref()
        }

        fn to(&self, epoch: u64, holder: &str) -> Pointing {
            Pointing {
                pair: PairId::new("app").unwrap(),
                epoch: Epoch(epoch),
                holder: RegionId::new(holder).unwrap(),
                host: holder.into(),
                port: 5432,
            }
        }

        async fn begin(&mut self) -> Option<String> {
            self.0.begin()
        }

        async fn end(&mut self) {
            self.0.end();
        }

        async fn hold_by_hand(&mut self, held: bool) {
            self.0.hold_by_hand(held);
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        contract::follows_the_highest_epoch(&mut InMemory::default()).await;
        contract::holds_clients_back(&mut InMemory::default()).await;
        contract::leaves_what_others_hold(&mut InMemory::default()).await;
        contract::ends_sessions_at_a_former_holder(&mut InMemory::default()).await;
    }
}
