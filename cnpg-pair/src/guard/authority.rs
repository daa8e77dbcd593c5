//! Who may command, and until when: the guard's generation, epoch and deadline as plain values.

use continuum_domain::{Epoch, Generation, Tick};

/// Newest agent generation, newest epoch, and the deadline armed under them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    generation: Generation,
    epoch: Epoch,
    deadline: Option<Tick>,
}

impl Authority {
    /// Starts from what was on disk. A deadline is never persisted: no PostgreSQL outlives the
    /// guard that held it (R5).
    pub fn new(generation: Generation, epoch: Epoch) -> Self {
        Self { generation, epoch, deadline: None }
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn deadline(&self) -> Option<Tick> {
        self.deadline
    }

    /// R4: a new agent takes over; every earlier generation is refused from this instant. The
    /// deadline stays, so that a running PostgreSQL keeps its bound (R5).
    pub fn take(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }

    /// R4: admits a command of the current generation and of no older epoch, remembering the
    /// newest epoch. `None` for the epoch: a command that gives no authority.
    pub fn admit(
        &mut self,
        generation: Option<Generation>,
        epoch: Option<Epoch>,
    ) -> Result<(), String> {
        let Some(generation) = generation else {
            return Err("the command carries no generation; take the actuator first".into());
        };
        if generation != self.generation {
            return Err(format!(
                "the command is of agent generation {generation}, the actuator is held by {}; \
                 take it again",
                self.generation
            ));
        }
        if let Some(epoch) = epoch {
            if epoch < self.epoch {
                return Err(format!(
                    "epoch {epoch} is older than {}, the newest seen here",
                    self.epoch
                ));
            }
            self.epoch = epoch;
        }
        Ok(())
    }

    /// Sets the deadline after [`Self::admit`]. The newest value counts, also a shorter one.
    pub fn arm(&mut self, deadline: Tick) {
        self.deadline = Some(deadline);
    }

    /// R5: a promotion needs a deadline armed beforehand and still to come.
    pub fn may_promote(&self, now: Tick) -> Result<(), String> {
        match self.deadline {
            None => Err("no deadline is armed; arm one before promoting (R5)".into()),
            Some(deadline) if deadline <= now => {
                Err("the armed deadline has passed; renew the lease and arm again (R5)".into())
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the deadline is armed and has come.
    pub fn expired(&self, now: Tick) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Authority {
        let mut authority = Authority::new(Generation(4), Epoch(7));
        assert_eq!(authority.take(), Generation(5));
        authority
    }

    #[test]
    fn r4_older_generations_and_epochs_are_refused() {
        let mut authority = held();
        assert!(authority.admit(Some(Generation(4)), Some(Epoch(9))).is_err());
        assert!(authority.admit(None, Some(Epoch(9))).is_err());
        assert_eq!(authority.epoch(), Epoch(7), "a refused command leaves no trace");
        assert!(authority.admit(Some(Generation(5)), Some(Epoch(8))).is_ok());
        assert!(authority.admit(Some(Generation(5)), Some(Epoch(7))).is_err());
        assert!(authority.admit(Some(Generation(5)), None).is_ok());
    }

    #[test]
    fn r5_promotion_needs_a_deadline_to_come() {
        let mut authority = held();
        assert!(authority.may_promote(Tick(1)).is_err());
        authority.arm(Tick(100));
        assert!(authority.may_promote(Tick(99)).is_ok());
        assert!(authority.may_promote(Tick(100)).is_err());
        assert!(authority.expired(Tick(100)));
        authority.arm(Tick(50));
        assert!(authority.expired(Tick(60)), "a newer, shorter deadline counts");
    }

    #[test]
    fn r5_a_new_agent_leaves_the_old_deadline_standing() {
        let mut authority = held();
        authority.arm(Tick(100));
        authority.take();
        assert_eq!(authority.deadline(), Some(Tick(100)));
    }
}
