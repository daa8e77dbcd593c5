//! Keeping one switch as it should be: look, make it so, look again.

use std::time::Duration;

use continuum_domain::traffic::{Gate, Why};
use continuum_domain::{Epoch, OperationId, Tick};
use continuum_runtime::SharedClock;
use tokio::sync::watch;

use super::desk::{Desk, Wish};
use super::{Aside, Driven, Held, Pointing, Seen, SwitchError};

/// A switch is looked at so many times as often while clients are held back and nothing is waited for but
/// the holder.
const HELD_FACTOR: u32 = 20;
/// The same while transactions, or sessions at a former holder, are waited for.
const EMPTYING_INTERVAL: Duration = Duration::from_millis(5);
/// Sessions at a former holder get this long to end by themselves: a server that was stopped has closed
/// them, and ending them costs every client of the switch an error.
const STALE_GRACE: Duration = Duration::from_millis(200);
/// Pause after an error; each further one is twice as long, up to the longest.
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The longest pause while clients are held back, or should be.
const RETRY_HELD: Duration = Duration::from_millis(200);
/// A round that takes longer is given up, and what is asked of the switch looked at anew.
const ROUND_DEADLINE: Duration = Duration::from_secs(8);

/// What is known of a switch, for reports.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub target: Option<Pointing>,
    pub wanted: Option<Epoch>,
    pub success: Option<Tick>,
    pub held_since: Option<Tick>,
    pub held_by_others: bool,
    pub error: Option<(Tick, String)>,
    pub aside: Aside,
}

/// The task of one switch.
pub(super) struct Keeper {
    driven: Driven,
    clock: SharedClock,
    desk: Desk,
    wishes: watch::Receiver<Wish>,
    stale_since: Option<Tick>,
    failures: u32,
}

/// How a round went that did not fail.
enum Round {
    /// As it should be.
    Settled,
    /// As it should be but for what ends by itself.
    Emptying,
}

impl Keeper {
    pub fn new(
        driven: Driven,
        clock: SharedClock,
        desk: Desk,
        wishes: watch::Receiver<Wish>,
    ) -> Self {
        Self { driven, clock, desk, wishes, stale_since: None, failures: 0 }
    }

    /// Runs until the pair's task has ended.
    pub async fn run(mut self) {
        loop {
            let wish = self.wishes.borrow_and_update().clone();
            let round = tokio::time::timeout(ROUND_DEADLINE, self.round(&wish)).await;
            let round = round.unwrap_or_else(|_| {
                Err(SwitchError::Unreachable(format!("not done in {ROUND_DEADLINE:?}")))
            });
            let pause = self.after(&wish, round);
            tokio::select! {
                changed = self.wishes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn round(&mut self, wish: &Wish) -> Result<(Seen, Round), SwitchError> {
        let switch = self.driven.switch.clone();
        let mut seen = switch.look().await?;
        let open = wish.wanted.gate == Gate::Open;
        if let Err(error) = self.lead(wish, &mut seen).await {
            // Where clients are led is one thing; that nobody waits past the bound is another.
            if open && matches!(seen.held, Held::Ours { .. }) {
                switch.let_through().await?;
            }
            return Err(error);
        }
        if !switch.can_hold() {
            return Ok((seen, Round::Settled));
        }
        if let Gate::Held { why, .. } = &wish.wanted.gate {
            if !matches!(seen.held, Held::Ours { complete: true, .. } | Held::Others) {
                switch.hold(&reason(why)).await?;
                seen = switch.look().await?;
            }
            if let Why::Drain(operation) = why {
                self.tell_drain(operation, &seen);
            }
        }
        let mut ended = Ok(());
        let stale_for_long = self.is_stale_for_long(&seen);
        if stale_for_long {
            tracing::warn!(
                switch = self.driven.name,
                sessions = seen.stale,
                "ending sessions at a server that does not hold the pair any more"
            );
            ended = switch.end_stale().await;
            self.stale_since = None;
        }
        let may_pass = seen.stale == 0 || stale_for_long;
        if open && may_pass && matches!(seen.held, Held::Ours { .. }) {
            switch.let_through().await?;
        }
        ended?;
        seen = switch.look().await?;
        let emptying = seen.stale > 0 || (!open && seen.sessions > 0);
        Ok((seen, if emptying { Round::Emptying } else { Round::Settled }))
    }

    /// Has it lead clients where they should go.
    async fn lead(&self, wish: &Wish, seen: &mut Seen) -> Result<(), SwitchError> {
        let switch = &self.driven.switch;
        let Some(to) = &wish.pointing else { return Ok(()) };
        if seen.target.as_ref() == Some(to) && seen.in_force {
            return Ok(());
        }
        switch.point(to).await?;
        tracing::info!(switch = self.driven.name, pair = %to.pair, epoch = %to.epoch,
            holder = %to.holder, "traffic switch leads there");
        *seen = switch.look().await?;
        match seen.in_force {
            true => Ok(()),
            false => Err(SwitchError::refused(
                "leading clients to the holder",
                "it was told to, and does not",
            )),
        }
    }

    /// Whether sessions have been at a former holder for longer than they get.
    fn is_stale_for_long(&mut self, seen: &Seen) -> bool {
        if seen.stale == 0 {
            self.stale_since = None;
            return false;
        }
        let now = self.clock.now();
        now.since(*self.stale_since.get_or_insert(now)) >= STALE_GRACE
    }

    fn tell_drain(&self, operation: &OperationId, seen: &Seen) {
        let held = matches!(seen.held, Held::Ours { complete: true, .. } | Held::Others);
        if held && seen.sessions == 0 {
            self.desk.drained(operation, &self.driven.name, Ok(()));
        } else if !held {
            let told = "clients are not held back yet".to_owned();
            self.desk.drained(operation, &self.driven.name, Err(told));
        } else {
            let open = format!("{} sessions still have a transaction open", seen.sessions);
            self.desk.drained(operation, &self.driven.name, Err(open));
        }
    }

    /// Notes how it went; how long to wait before the next round.
    fn after(&mut self, wish: &Wish, round: Result<(Seen, Round), SwitchError>) -> Duration {
        let now = self.clock.now();
        let wanted = wish.pointing.as_ref().map(|to| to.epoch);
        let held = wish.wanted.gate != Gate::Open;
        let aside = self.driven.switch.aside();
        match round {
            Ok((seen, round)) => {
                self.failures = 0;
                self.desk.note(&self.driven.name, |state| {
                    state.held_by_others = seen.held == Held::Others;
                    state.held_since = match seen.held {
                        Held::No => None,
                        _ => state.held_since.or(Some(now)),
                    };
                    (state.target, state.wanted) = (seen.target, wanted);
                    (state.success, state.error) = (Some(now), None);
                    state.aside = aside;
                });
                match round {
                    Round::Emptying => EMPTYING_INTERVAL,
                    Round::Settled if held => self.driven.switch.look_every() / HELD_FACTOR,
                    Round::Settled => self.driven.switch.look_every(),
                }
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(switch = self.driven.name, %error, "traffic switch");
                }
                let text = error.to_string();
                if let Gate::Held { why: Why::Drain(operation), .. } = &wish.wanted.gate {
                    self.desk.drained(operation, &self.driven.name, Err(text.clone()));
                }
                self.desk.note(&self.driven.name, |state| {
                    state.wanted = wanted;
                    state.error = Some((now, text));
                    state.aside = aside;
                });
                let pause = RETRY * 2u32.saturating_pow(self.failures.min(10));
                self.failures += 1;
                pause.min(if held { RETRY_HELD } else { RETRY_MAX })
            }
        }
    }
}

fn reason(why: &Why) -> String {
    match why {
        Why::Drain(operation) => format!("operation {operation}"),
        Why::Takeover(epoch) => format!("epoch {epoch}"),
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
