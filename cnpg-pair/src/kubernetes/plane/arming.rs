//! The deadline: handed to the guard in the pod, and only counted once the guard has repeated it (R5).
//!
//! By SQL where PostgreSQL answers, so that an API server that is away stops nothing; by a command in the
//! container where it does not. The deadline is an instant of the pod's clock that some renewal of the
//! lease really bought: one that lands late is in the past or is true, and the guard takes none of an
//! older generation.

use std::time::Duration;

use continuum_domain::{Epoch, Generation, Tick};

use super::clusters::{Seen, failed};
use super::hands::Said;
use super::pod_clock::Sample;
use super::{Inner, lock, marks};
use crate::plane::PlaneError;
use crate::postgres::sql::{Session, literal};

/// Longest time for one statement.
const STATEMENT_LIMIT: Duration = Duration::from_secs(1);
/// Longest wait for the guard to repeat a deadline.
const ECHO_LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked for.
const ECHO_POLL: Duration = Duration::from_millis(10);
/// What stands for the life of a PostgreSQL that does not answer.
const DOWN: &str = "down";
/// Longest time for a command in the container.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

impl Inner {
    /// Hands the guard a deadline.
    pub(super) async fn arm(&self, epoch: Epoch, deadline: Tick) -> Result<(), PlaneError> {
        self.raise(epoch)?;
        self.mark_led(epoch).await?;
        // A newer command may have been admitted while the API server was waited for (R4).
        self.raise(epoch)?;
        self.known().wanted = Some(deadline);
        let life = self.known().up.as_ref().map(|up| up.started.clone());
        let armed = match life {
            Some(life) => self.arm_by_sql(&life, epoch, deadline).await,
            None => self.arm_by_command(epoch, deadline).await,
        };
        if armed.is_ok() {
            self.known().deadline = Some(deadline);
        } else {
            // It may be gone: the next look at it puts it back.
            lock(&self.guarded).take();
        }
        armed
    }

    /// A Cluster that leads already and that no agent has written yet says from before its first deadline on
    /// that it is led: its lease is renewed past the API server, and what the guard keeps on the volume may be
    /// lost with the power. Everybody else has the mark of the patch that made a primary of it.
    async fn mark_led(&self, epoch: Epoch) -> Result<(), PlaneError> {
        let due = {
            let known = self.known();
            let seen = known.seen.as_ref();
            known.asks_for_primary() && seen.is_some_and(|seen| !marks::was_led(&seen.cluster))
        };
        if !due {
            return Ok(());
        }
        let make = |seen: &Seen| marks::led(&seen.cluster, epoch);
        self.change("marking the Cluster as led by a lease", make).await
    }

    async fn arm_by_sql(&self, life: &str, epoch: Epoch, deadline: Tick) -> Result<(), PlaneError> {
        let what = "arming the guard";
        let mut slot = self.arming.lock().await;
        let (session, home) = match slot.take().filter(|(session, _)| !session.is_closed()) {
            Some(open) => open,
            None => {
                let session = self.session(STATEMENT_LIMIT).await?;
                let home = session.value(what, "select current_setting('data_directory')").await?;
                let home = home.rsplit_once('/').map(|(parent, _)| format!("{parent}/continuum"));
                (session, home.ok_or_else(|| failed(what, &"the data directory has no parent"))?)
            }
        };
        let sample = self.sample_by_sql(&session, life).await?;
        let at = sample.at_pod(deadline, self.config.timing.drift_ppm);
        let line = format!("{} {epoch} {at}", self.generation());
        let (armed, seen) = (format!("{home}/armed"), format!("{home}/seen"));
        let write = format!("copy (select {}) to {}", literal(&line), literal(&armed));
        session.text(what, &write).await?;
        let read = format!("select pg_read_file({}, 0, 200, true)", literal(&seen));
        let until = self.clock.now() + ECHO_LIMIT;
        loop {
            let text = session.text(what, &read).await?.unwrap_or_default();
            let echo = text.strip_prefix(&line).and_then(|rest| rest.trim().parse().ok());
            if let Some(uptime) = echo {
                self.keep_sample(life, Sample { uptime, received: self.clock.now() });
                *slot = Some((session, home));
                return Ok(());
            }
            if self.clock.now() >= until {
                self.is_newest(&session, &home).await?;
                return Err(PlaneError::GuardLost("the guard in the pod does not answer".into()));
            }
            tokio::time::sleep(ECHO_POLL).await;
        }
    }

    /// A guard that has a newer agent's generation hears none of this one (R4).
    async fn is_newest(&self, session: &Session, home: &str) -> Result<(), PlaneError> {
        let file = literal(&format!("{home}/generation"));
        let read = format!("select pg_read_file({file}, 0, 40, true)");
        let text = session.text("reading the guard's generation", &read).await?;
        let newest = text.and_then(|text| text.trim().parse().ok()).map(Generation);
        match newest.filter(|newest| *newest > self.generation()) {
            Some(newest) => Err(PlaneError::Refused(format!(
                "generation {newest} has taken over from {} (R4)",
                self.generation()
            ))),
            None => Ok(()),
        }
    }

    async fn sample_by_sql(&self, session: &Session, life: &str) -> Result<Sample, PlaneError> {
        let what = "reading the pod's clock";
        let kept = lock(&self.sample)
            .clone()
            .filter(|(of, sample)| of == life && !sample.is_old(self.clock.now()));
        if let Some((_, sample)) = kept {
            return Ok(sample);
        }
        let text = session.value(what, "select pg_read_file('/proc/uptime')").await?;
        let received = self.clock.now();
        let uptime = hundredths(&text).ok_or_else(|| failed(what, &format!("{text:?}")))?;
        let sample = Sample { uptime, received };
        self.keep_sample(life, sample);
        Ok(sample)
    }

    fn keep_sample(&self, life: &str, sample: Sample) {
        *lock(&self.sample) = Some((life.to_owned(), sample));
    }

    async fn arm_by_command(&self, epoch: Epoch, deadline: Tick) -> Result<(), PlaneError> {
        let pod = self.pod()?;
        let at = self.at_pod(&self.tell(&pod).await?, deadline)?.to_string();
        let (generation, epoch) = (self.generation().to_string(), epoch.to_string());
        let words = ["arm", &generation, &epoch, &at];
        let lost = |error| match error {
            PlaneError::Failed { reason, .. } => PlaneError::GuardLost(reason),
            error => error,
        };
        self.hands.run(&pod, &words, COMMAND_LIMIT).await.map(drop).map_err(lost)
    }

    /// What the container says of itself.
    pub(super) async fn tell(&self, pod: &str) -> Result<(Said, Tick), PlaneError> {
        let said = self.hands.run(pod, &["tell"], COMMAND_LIMIT).await?;
        Ok((said, self.clock.now()))
    }

    fn at_pod(&self, (said, received): &(Said, Tick), deadline: Tick) -> Result<u64, PlaneError> {
        let unknown = || failed("reading the pod's clock", &"it was not told");
        let uptime = said.number("uptime").ok_or_else(unknown)?;
        let sample = Sample { uptime, received: *received };
        Ok(sample.at_pod(deadline, self.config.timing.drift_ppm))
    }

    /// Sees to it that a guard lives in the container, with the deadline that stands. One that is started
    /// where none stands ends a primary on sight, unless nobody has ever led this Cluster by a lease, and
    /// unless an agent was replaced and has not been confirmed yet, for which a ttl is left.
    pub(super) async fn keep_guard(&self) -> Result<(), PlaneError> {
        let known = {
            let known = self.known();
            let life = known.up.as_ref().map_or(DOWN, |up| up.started.as_str());
            if lock(&self.guarded).as_deref() == Some(life) {
                return Ok(());
            }
            known.clone()
        };
        let pod = self.pod()?;
        let told = self.tell(&pod).await?;
        if told.0.text("guard") != Some("alive") {
            let primary = known.up.as_ref().is_some_and(|up| !up.in_recovery);
            let marked = known.seen.as_ref().is_some_and(|seen| marks::was_led(&seen.cluster));
            // What the guard keeps on the volume says it also of one that was led by an older agent.
            let led = marked || known.epoch > Epoch(0);
            let deadline = match known.wanted {
                Some(deadline) => self.at_pod(&told, deadline)?.to_string(),
                None if known.asks_for_primary() && !led => "-".to_owned(),
                None if primary => {
                    self.at_pod(&told, self.clock.now() + self.config.timing.ttl)?.to_string()
                }
                None => "0".to_owned(),
            };
            let budget = self.quit_share();
            let (generation, epoch) = (self.generation().to_string(), known.epoch.to_string());
            let words = ["start_guard", &generation, &epoch, &deadline, &budget];
            self.hands.run(&pod, &words, COMMAND_LIMIT).await?;
            tracing::info!(cluster = self.name, pod, "the guard was put into the pod");
        }
        let life = known.up.map_or_else(|| DOWN.to_owned(), |up| up.started);
        *lock(&self.guarded) = Some(life);
        Ok(())
    }

    /// How long SIGQUIT alone is given, in hundredths of a second.
    pub(super) fn quit_share(&self) -> String {
        let share = (self.config.timing.stop_budget / 3).min(Duration::from_secs(1));
        (share.as_millis() / 10).to_string()
    }
}

/// `/proc/uptime` in hundredths of a second.
fn hundredths(text: &str) -> Option<u64> {
    let (seconds, parts) = text.split_whitespace().next()?.split_once('.')?;
    let parts = parts.get(..2)?;
    seconds.parse::<u64>().ok()?.checked_mul(100)?.checked_add(parts.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn the_pods_clock_is_read() {
        assert_eq!(hundredths("12345.67 999.10\n"), Some(1_234_567));
        assert_eq!(hundredths("0.05 0.01\n"), Some(5));
        assert_eq!((hundredths(""), hundredths("12 3"), hundredths("1.2 3")), (None, None, None));
    }
}
