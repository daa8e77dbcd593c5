//! Names as clients see them: resolution that honours TTL, and a watch that records every change.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_dns::lookup::{ResponseCode, query_a};
use continuum_domain::Tick;
use continuum_runtime::{SharedClock, seed};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

/// How long one question to one name server may take.
const QUERY_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the watch asks.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// What one look at a name brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// These addresses, sorted; none when the name has no record.
    Addresses(Vec<IpAddr>),
    /// No usable answer, and why.
    Nothing(String),
}

/// An answer, and when it was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameAnswer {
    /// Received at.
    pub at: Tick,
    /// What it said.
    pub seen: Seen,
}

/// A resolved name, to be used until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Time to live of the answer.
    pub ttl: Duration,
}

/// The name that clients use, and who is asked for it.
#[derive(Clone, Debug)]
pub struct Name {
    /// Name servers, asked in turn until one answers.
    pub servers: Vec<SocketAddr>,
    /// Fully qualified name.
    pub name: String,
}

impl Name {
    /// Asks the name servers, in turn, past every cache.
    pub async fn resolve(&self) -> Result<Resolved, String> {
        let mut problem = "no name server is configured".to_owned();
        for server in &self.servers {
            match query_a(*server, &self.name, QUERY_TIMEOUT).await {
                Ok(answer) if answer.rcode == ResponseCode::NoError => {
                    let ttl = answer.ttl.unwrap_or_default();
                    return Ok(Resolved { addresses: answer.addresses, ttl });
                }
                Ok(answer) => problem = format!("{server}: {}", answer.rcode),
                Err(error) => problem = format!("{server}: {error}"),
            }
        }
        Err(problem)
    }
}

/// A client's resolver: keeps an answer for its TTL, and forgets it on demand.
#[derive(Debug)]
pub struct Resolver {
    name: Name,
    clock: SharedClock,
    cached: Option<(Tick, IpAddr)>,
}

impl Resolver {
    /// A resolver with nothing cached.
    pub fn new(name: Name, clock: SharedClock) -> Self {
        Self { name, clock, cached: None }
    }

    /// The address to connect to.
    pub async fn address(&mut self) -> Result<IpAddr, String> {
        if let Some((until, address)) = self.cached
            && self.clock.now() < until
        {
            return Ok(address);
        }
        let resolved = self.name.resolve().await?;
        let address = *resolved.addresses.first().ok_or("the name has no address")?;
        self.cached = Some((self.clock.now() + resolved.ttl, address));
        Ok(address)
    }

    /// Forgets the answer, as a client does that was refused where it led.
    pub fn forget(&mut self) {
        self.cached = None;
    }
}

/// Asks for a name again and again and keeps what is needed to judge I3: every change, and for an
/// unchanged answer the last time it was seen.
#[derive(Debug)]
pub struct NameWatch {
    answers: Arc<Mutex<Vec<NameAnswer>>>,
    task: JoinHandle<()>,
}

impl NameWatch {
    /// Starts watching.
    pub fn start(name: Name, clock: SharedClock) -> Self {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let record = answers.clone();
        let task = seed::spawn(async move {
            loop {
                let seen = match name.resolve().await {
                    Ok(mut resolved) => {
                        resolved.addresses.sort_unstable();
                        Seen::Addresses(resolved.addresses)
                    }
                    Err(problem) => Seen::Nothing(problem),
                };
                let answer = NameAnswer { at: clock.now(), seen };
                note(&mut record.lock().unwrap_or_else(PoisonError::into_inner), answer);
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        });
        Self { answers, task }
    }

    /// Everything seen so far.
    pub fn answers(&self) -> Vec<NameAnswer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first time after `since` that the name pointed at exactly `address`.
    pub fn first_pointing_at(&self, address: IpAddr, since: Tick) -> Option<Tick> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let points = |answer: &&NameAnswer| {
            answer.at >= since && answer.seen == Seen::Addresses(vec![address])
        };
        answers.iter().find(points).map(|answer| answer.at)
    }
}

impl Drop for NameWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the first and the last of a row of equal answers.
fn note(answers: &mut Vec<NameAnswer>, answer: NameAnswer) {
    let length = answers.len();
    let repeats = length >= 2
        && answers[length - 1].seen == answer.seen
        && answers[length - 2].seen == answer.seen;
    if repeats {
        answers[length - 1] = answer;
    } else {
        answers.push(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_equal_answers_keeps_its_first_and_its_last() {
        let mut answers = Vec::new();
        let address: IpAddr = [127, 0, 0, 2].into();
        for ms in 0..100 {
            note(&mut answers, NameAnswer { at: Tick(ms), seen: Seen::Addresses(vec![address]) });
        }
        note(&mut answers, NameAnswer { at: Tick(100), seen: Seen::Nothing("gone".into()) });
        note(&mut answers, NameAnswer { at: Tick(101), seen: Seen::Addresses(vec![address]) });
        let times: Vec<u64> = answers.iter().map(|answer| answer.at.0).collect();
        assert_eq!(times, [0, 99, 100, 101]);
    }
}
