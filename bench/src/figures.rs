//! What is counted, and how it is written down.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::Failure;

/// Durations of calls, in microseconds.
#[derive(Default)]
pub struct Samples(Vec<u32>);

impl Samples {
    /// Adds one call.
    pub fn add(&mut self, span: Duration) {
        self.0.push(u32::try_from(span.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds those of another.
    pub fn join(&mut self, other: Samples) {
        self.0.extend(other.0);
    }

    /// Number of calls.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The duration that this share of the calls did not exceed, in milliseconds; 0 without calls.
    pub fn quantile_ms(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = (self.0.len() as f64 * share) as usize;
        f64::from(self.0.get(at.min(last)).copied().unwrap_or(0)) / 1000.0
    }
}

/// Processor time of a process so far, user and system.
pub fn cpu_time(process: u32) -> Result<Duration, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything; what follows it may not.
    let (_, rest) = text.rsplit_once(") ").ok_or("/proc has no such process")?;
    let mut fields = rest.split(' ').skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (fields.next(), fields.next()) else {
        return Err("/proc/PID/stat reads otherwise than expected".into());
    };
    let ticks = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64((user + system) as f64 / ticks as f64))
}

/// Prints the figures as JSON, or writes them to a file.
pub fn put_down(figures: &impl Serialize, file: Option<&Path>) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    match file {
        Some(file) => std::fs::write(file, text)?,
        None => print!("{text}"),
    }
    Ok(())
}
