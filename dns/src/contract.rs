//! The contract of a name service, as code.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::{Epoch, PairId, RegionId};

use crate::service::{NameChange, NameError, NameService, Published};

/// How a service broke the contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {seen}, where {due} was due")]
pub struct Violation {
    /// The step.
    pub what: String,
    /// What was seen.
    pub seen: String,
    /// What was due.
    pub due: String,
}

/// A name service under test, with the world around it.
#[async_trait]
pub trait World: Send + Sync {
    /// The pair the suite may use.
    fn pair(&self) -> PairId;
    /// The name it may use, not published before.
    fn name(&self) -> String;
    /// Two members of the pair.
    fn regions(&self) -> [RegionId; 2];
    /// The service as `region`'s agent reaches it.
    fn service(&self, region: &RegionId) -> Arc<dyn NameService>;
    /// Makes `holder` win the pair under `epoch`, as the lease knows it.
    async fn elect(&self, epoch: Epoch, holder: &RegionId);
    /// The region a client is sent to by the name; `None` when it is sent nowhere.
    async fn resolve(&self) -> Option<RegionId>;
}

pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    seen: T,
    due: T,
) -> Result<(), Violation> {
    if seen == due {
        return Ok(());
    }
    Err(Violation { what: what.into(), seen: format!("{seen:?}"), due: format!("{due:?}") })
}

/// Runs the whole contract: publishing makes the name point at the holder, twice is as once, a
/// newer epoch moves it, an older one is refused with the newer one and changes nothing.
pub async fn all(world: &dyn World) -> Result<(), Violation> {
    let [one, two] = world.regions();
    let publish = async |epoch: u64, holder: &RegionId| {
        let change = NameChange {
            pair: world.pair(),
            name: world.name(),
            epoch: Epoch(epoch),
            holder: holder.clone(),
            ttl: Duration::from_secs(1),
        };
        world.service(holder).publish(&change).await.map(|Published { epoch, .. }| epoch)
    };
    let refused = |newest| Err(NameError::Refused { newest: Epoch(newest) });

    world.elect(Epoch(3), &one).await;
    expect("the first publish", publish(3, &one).await, Ok(Epoch(3)))?;
    expect("the name after it", world.resolve().await, Some(one.clone()))?;
    expect("the same again", publish(3, &one).await, Ok(Epoch(3)))?;
    expect("the name after it", world.resolve().await, Some(one.clone()))?;

    world.elect(Epoch(4), &two).await;
    expect("a new holder", publish(4, &two).await, Ok(Epoch(4)))?;
    expect("the name after it", world.resolve().await, Some(two.clone()))?;
    expect("the old holder", publish(3, &one).await, refused(4))?;
    expect("the name after it", world.resolve().await, Some(two.clone()))?;
    let claimed = publish(4, &one).await;
    expect("whether another's epoch is refused", claimed.is_err(), true)?;
    expect("the name after it", world.resolve().await, Some(two))?;

    world.elect(Epoch(9), &one).await;
    expect("the first holder again", publish(9, &one).await, Ok(Epoch(9)))?;
    expect("the name after it", world.resolve().await, Some(one))?;
    expect("an epoch that was skipped", publish(8, &world.regions()[1]).await, refused(9))
}
