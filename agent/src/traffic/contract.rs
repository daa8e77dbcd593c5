//! What every traffic switch that can hold clients back must keep. Each implementation's tests run all
//! of it.

use std::time::Duration;

use async_trait::async_trait;

use super::{Held, Pointing, Seen, SwitchError, TrafficSwitch};
use continuum_domain::Epoch;

/// How long a switch may take to do what it does by itself.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// A switch that nobody told anything yet, with clients.
#[async_trait]
pub trait Stand: Send {
    /// The switch.
    fn switch(&self) -> &dyn TrafficSwitch;

    /// The same switch as another agent opens it, which knows nothing of the first.
    fn another(&self) -> &dyn TrafficSwitch;

    /// Where to lead clients: `holder` is `fsn` or `hel`, both of which accept writes.
    fn to(&self, epoch: u64, holder: &str) -> Pointing;

    /// A client begins a transaction: the holder it is at, or `None` where it was held back.
    async fn begin(&mut self) -> Option<String>;

    /// The oldest open transaction ends, whatever becomes of it.
    async fn end(&mut self);

    /// Somebody holds clients back without an agent, or lets them through.
    async fn hold_by_hand(&mut self, held: bool);
}

async fn look(switch: &dyn TrafficSwitch) -> Seen {
    switch.look().await.expect("it answers")
}

async fn wait(what: &str, switch: &dyn TrafficSwitch, until: impl Fn(&Seen) -> bool) -> Seen {
    let mut last = None;
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let seen = look(switch).await;
            if until(&seen) {
                return seen;
            }
            last = Some(seen);
            tokio::time::sleep(LOOK).await;
        }
    });
    let waited = waited.await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen in {PATIENCE:?}: {last:?}"))
}

/// It leads clients where it was told last under the highest epoch, whoever told it.
pub async fn follows_the_highest_epoch(stand: &mut impl Stand) {
    let fresh = look(stand.switch()).await;
    assert_eq!((fresh.target, fresh.held), (None, Held::No), "nobody told it anything");
    let (seven, eight) = (stand.to(7, "fsn"), stand.to(8, "hel"));
    stand.switch().point(&seven).await.expect("the first word");
    let seen = look(stand.switch()).await;
    assert_eq!((seen.target.as_ref(), seen.in_force), (Some(&seven), true));
    assert_eq!(stand.begin().await.as_deref(), Some("fsn"));
    stand.end().await;
    stand.switch().point(&seven).await.expect("said twice");
    stand.another().point(&eight).await.expect("a later epoch");
    // The first agent was frozen meanwhile, and says what it was about to say.
    let late = stand.switch().point(&seven).await;
    assert_eq!(late, Err(SwitchError::Superseded(Epoch(8))));
    let other = stand.switch().point(&stand.to(8, "fsn")).await;
    assert!(matches!(other, Err(SwitchError::Contradicted { .. })), "{other:?}");
    let seen = look(stand.switch()).await;
    assert_eq!((seen.target.as_ref(), seen.in_force), (Some(&eight), true));
    assert_eq!(stand.begin().await.as_deref(), Some("hel"));
    stand.end().await;
}

/// Held back, no transaction begins and those that are open end; another agent can end it.
pub async fn holds_clients_back(stand: &mut impl Stand) {
    stand.switch().point(&stand.to(7, "fsn")).await.expect("pointed");
    assert!(stand.begin().await.is_some());
    stand.switch().hold("a move").await.expect("held");
    let seen = look(stand.another()).await;
    assert_eq!(seen.held, Held::Ours { why: "a move".into(), complete: true });
    let seen_open = u64::from(stand.switch().sees_sessions());
    assert_eq!(seen.sessions, seen_open, "a transaction is open");
    assert_eq!(stand.begin().await, None, "a new one waits");
    stand.switch().hold("a move").await.expect("said twice");
    stand.end().await;
    wait("emptying", stand.switch(), |seen| seen.sessions == 0).await;
    // It is led elsewhere while nobody is on it.
    stand.switch().point(&stand.to(8, "hel")).await.expect("pointed");
    let seen = look(stand.another()).await;
    assert!(matches!(seen.held, Held::Ours { .. }), "{seen:?}");
    stand.another().let_through().await.expect("let through");
    stand.another().let_through().await.expect("said twice");
    assert_eq!(look(stand.switch()).await.held, Held::No);
    assert_eq!(stand.begin().await.as_deref(), Some("hel"));
    stand.end().await;
}

/// What others hold back stays so, and is told apart.
pub async fn leaves_what_others_hold(stand: &mut impl Stand) {
    stand.switch().point(&stand.to(7, "fsn")).await.expect("pointed");
    stand.hold_by_hand(true).await;
    assert_eq!(look(stand.switch()).await.held, Held::Others);
    stand.switch().let_through().await.expect("not ours to end");
    stand.switch().point(&stand.to(8, "hel")).await.expect("led elsewhere all the same");
    assert_eq!(look(stand.switch()).await.held, Held::Others);
    assert_eq!(stand.begin().await, None);
    stand.hold_by_hand(false).await;
    assert_eq!(look(stand.switch()).await.held, Held::No);
    assert_eq!(stand.begin().await.as_deref(), Some("hel"));
    stand.end().await;
}

/// A session at a former holder is seen, and ended on demand, whether clients are held back or not.
pub async fn ends_sessions_at_a_former_holder(stand: &mut impl Stand) {
    stand.switch().point(&stand.to(7, "fsn")).await.expect("pointed");
    for (epoch, holder, held) in [(8, "hel", false), (9, "fsn", true)] {
        assert!(stand.begin().await.is_some());
        assert_eq!(look(stand.switch()).await.stale, 0, "where it belongs");
        if held {
            stand.switch().hold("a takeover").await.expect("held");
        }
        stand.switch().point(&stand.to(epoch, holder)).await.expect("pointed");
        assert_eq!(look(stand.switch()).await.stale, 1, "at the former holder");
        stand.switch().end_stale().await.expect("ended");
        let seen = wait("ending", stand.switch(), |seen| seen.stale == 0).await;
        assert_eq!(matches!(seen.held, Held::Ours { .. }), held, "{seen:?}");
        stand.switch().let_through().await.expect("let through");
        stand.end().await;
        assert_eq!(stand.begin().await.as_deref(), Some(holder));
        stand.end().await;
    }
}
