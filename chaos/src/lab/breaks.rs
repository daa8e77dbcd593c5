//! How a lab is broken: its parts and processes are ended, stopped where they are, and started again.

use std::time::Duration;

use continuum_domain::RegionId;
use rustix::process::Signal;

use super::{Error, Lab};
use crate::{pooler, process, supervise};

impl Lab {
    /// Kills one part with SIGKILL; the object store's stand-in is ended so that it keeps what it
    /// answered, as a real one does.
    pub async fn kill(&mut self, part: &str) -> Result<(), Error> {
        Ok(self.supervisor.kill(part).await?)
    }

    /// Kills one part, if it runs, and starts it.
    pub async fn restart(&mut self, part: &str) -> Result<(), Error> {
        Ok(self.supervisor.restart(part).await?)
    }

    /// Kills all control nodes.
    pub async fn kill_core(&mut self) -> Result<(), Error> {
        for node in self.core_names() {
            self.kill(&node).await?;
        }
        Ok(())
    }

    /// Starts all control nodes that do not run, without the additional environment that
    /// [`crate::LabOptions::server_env`] gave them.
    pub async fn restart_core(&mut self) -> Result<(), Error> {
        for node in self.core_names() {
            self.supervisor.set_environment(&node, Default::default());
            if !self.supervisor.is_running(&node) {
                self.supervisor.start(&node)?;
            }
        }
        Ok(())
    }

    /// Names of the control nodes.
    pub fn core_names(&self) -> Vec<String> {
        self.layout.core.iter().map(|node| node.name.clone()).collect()
    }

    /// Sets a part's additional environment, from its next start on.
    pub fn set_environment(&mut self, part: &str, variables: &[(&str, &str)]) {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        self.supervisor.set_environment(part, variables.collect());
    }

    /// Says that a part will end by itself, so that this does not end every wait.
    pub fn expect_end(&mut self, part: &str) {
        self.supervisor.expect_end(part);
    }

    /// Waits until a part has ended by itself, as one that crashes on purpose does.
    pub async fn wait_part_ended(&mut self, part: &str, limit: Duration) -> bool {
        self.supervisor.ended(part, limit).await
    }

    /// Whether a part runs.
    pub fn is_running(&self, part: &str) -> bool {
        self.supervisor.is_running(part)
    }

    /// Kills a region's agent, guard and PostgreSQL at once, with SIGKILL.
    pub async fn kill_region(&mut self, region: &RegionId) -> Result<(), Error> {
        Ok(self.supervisor.kill_region(region.as_str()).await?)
    }

    /// Starts a region's guard and agent again, and its pooler if it has one.
    pub async fn start_region(&mut self, region: &RegionId) -> Result<(), Error> {
        for role in
            ["guard", "agent"].into_iter().chain(self.options.pooler.then_some(pooler::ROLE))
        {
            self.supervisor.restart(&format!("{region}-{role}")).await?;
        }
        Ok(())
    }

    /// Kills a region's postmaster alone, with SIGKILL; its guard and agent live.
    pub fn kill_postgres(&self, region: &RegionId) -> Result<(), Error> {
        let postmaster = supervise::postmaster(&self.layout.data_directory(region));
        let reached = process::signal_all(postmaster.as_slice(), Signal::KILL);
        if reached.is_empty() {
            return Err(Error::Options(format!("PostgreSQL of {region} does not run")));
        }
        Ok(())
    }

    /// Sends a signal to a standby's WAL receiver: stopped, the standby falls behind without
    /// noticing; killed after that, what had reached it and was not written is gone.
    pub fn signal_receiver(&self, region: &RegionId, signal: Signal) -> Result<(), Error> {
        self.signal_titled(region, "walreceiver", signal)
    }

    /// Stops every process of a region's PostgreSQL where it is, with SIGSTOP; its guard and agent
    /// live.
    pub fn hang_postgres(&self, region: &RegionId) -> Result<(), Error> {
        self.signal_titled(region, "postgres", Signal::STOP)
    }

    /// Lets a PostgreSQL that was stopped where it is go on; whether any of it was still there.
    pub fn resume_postgres(&self, region: &RegionId) -> bool {
        self.signal_titled(region, "postgres", Signal::CONT).is_ok()
    }

    /// Every living process of a region's PostgreSQL.
    pub fn postgres_processes(&self, region: &RegionId) -> Vec<process::Process> {
        let mut processes = self.supervisor.processes_of(region.as_str());
        processes.retain(|found| {
            let title = process::arguments(found.pid);
            title.first().is_some_and(|program| program.contains("postgres"))
        });
        processes
    }

    /// The process of one part, if it runs.
    pub fn process(&self, part: &str) -> Option<process::Process> {
        process::read(self.supervisor.part(part).ok()?.pid?)
    }

    fn signal_titled(&self, region: &RegionId, part: &str, signal: Signal) -> Result<(), Error> {
        let mut processes = self.postgres_processes(region);
        processes
            .retain(|found| process::arguments(found.pid).iter().any(|word| word.contains(part)));
        if process::signal_all(&processes, signal).is_empty() {
            return Err(Error::Options(format!("{region} has no {part} process")));
        }
        Ok(())
    }

    /// Whether a region's PostgreSQL runs (frozen counts as running).
    pub fn postgres_runs(&self, region: &RegionId) -> bool {
        supervise::postmaster(&self.layout.data_directory(region)).is_some()
    }

    /// Freezes a region's agent, guard and PostgreSQL with SIGSTOP; how many processes.
    pub fn freeze(&mut self, region: &RegionId) -> usize {
        self.supervisor.freeze(region.as_str())
    }

    /// Lets a frozen region go on.
    pub fn thaw(&mut self, region: &RegionId) {
        self.supervisor.thaw(region.as_str());
    }
}
