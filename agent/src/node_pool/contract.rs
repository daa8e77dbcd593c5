//! What every node pool must keep. Each implementation's tests run all of it.

use async_trait::async_trait;

use super::{NodePool, Scale};

/// A pool of three nodes that no agent made small.
#[async_trait]
pub trait Stand: Send {
    /// The pool.
    fn pool(&self) -> &dyn NodePool;

    /// The same pool as another agent opens it, which knows nothing of the first.
    fn another(&self) -> &dyn NodePool;

    /// How many nodes it should have.
    async fn size(&mut self) -> u32;

    /// A person says how many it should have; `None`: nobody knows any more.
    async fn set_by_hand(&mut self, size: Option<u32>);
}

async fn former(pool: &dyn NodePool) -> Option<u32> {
    pool.look().await.expect("it answers").former
}

/// It goes down, and comes back as it was, whoever says so.
pub async fn goes_and_comes_back(stand: &mut impl Stand) {
    assert_eq!((stand.size().await, former(stand.pool()).await), (3, None));
    for _ in 0..2 {
        stand.pool().scale_to(Scale::Rest(1)).await.expect("down");
        assert_eq!((stand.size().await, former(stand.another()).await), (1, Some(3)));
    }
    for _ in 0..2 {
        stand.another().scale_to(Scale::Former).await.expect("up");
        assert_eq!((stand.size().await, former(stand.pool()).await), (3, None));
    }
}

/// What a person makes of it stays.
pub async fn leaves_what_a_person_sets(stand: &mut impl Stand) {
    stand.set_by_hand(Some(0)).await;
    stand.pool().scale_to(Scale::Rest(0)).await.expect("nothing to do");
    assert_eq!(former(stand.pool()).await, None);
    stand.pool().scale_to(Scale::Former).await.expect("nothing to do");
    assert_eq!(stand.size().await, 0, "a person wanted none");
    stand.set_by_hand(Some(3)).await;
    stand.pool().scale_to(Scale::Rest(0)).await.expect("down");
    stand.set_by_hand(Some(5)).await;
    stand.pool().scale_to(Scale::Rest(0)).await.expect("left");
    assert_eq!(stand.size().await, 5, "a person needs them");
    stand.pool().scale_to(Scale::Former).await.expect("up");
    assert_eq!((stand.size().await, former(stand.pool()).await), (5, None));
}

/// A size that is not known is not none.
pub async fn leaves_what_is_not_known(stand: &mut impl Stand) {
    stand.set_by_hand(None).await;
    assert_eq!(stand.pool().look().await.expect("it answers").wanted, None);
    for scale in [Scale::Rest(0), Scale::Former] {
        assert!(stand.pool().scale_to(scale).await.is_err(), "{scale:?}");
    }
    stand.set_by_hand(Some(3)).await;
    assert_eq!((stand.size().await, former(stand.pool()).await), (3, None));
}
