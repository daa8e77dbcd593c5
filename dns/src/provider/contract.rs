//! The contract of a provider, as code.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::seed;

use super::publish::publish;
use super::{ProviderError, RecordProvider};
use crate::contract::{Violation, expect};
use crate::records::plan::{Change, Plan, plan};
use crate::records::routed::Srv;
use crate::records::{Companion, Records, Seen, Wanted};
use crate::service::NameError;

/// Writers that race for one epoch.
const WRITERS: u8 = 20;
/// Epochs that they race for.
const ROUNDS: u64 = 5;

/// A provider under test: `name` was never written, and `pair` is whose it becomes.
#[derive(Debug)]
pub struct Subject {
    /// The provider; a client of its own for each writer.
    pub clients: Vec<Arc<dyn RecordProvider>>,
    /// The name, with its last dot.
    pub name: String,
    /// The pair.
    pub pair: PairId,
}

impl Subject {
    fn provider(&self) -> &dyn RecordProvider {
        &*self.clients[0]
    }

    /// What `region` wants under `epoch`; `last` makes its addresses differ.
    fn wanted(&self, epoch: u64, region: &str, last: u8) -> Result<Wanted, Violation> {
        let holder = RegionId::new(region).map_err(|error| violation("a region", &error))?;
        let v4 = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()));
        let addresses: BTreeSet<IpAddr> =
            if last.is_multiple_of(2) { [v4, v6].into() } else { [v4].into() };
        Ok(Wanted {
            name: self.name.clone(),
            pair: self.pair.clone(),
            epoch: Epoch(epoch),
            holder,
            records: Records::plain(5, addresses),
        })
    }

    async fn read(&self) -> Result<Seen, Violation> {
        self.provider().read(&self.name).await.map_err(|error| violation("a read", &error))
    }

    async fn stands(&self, what: &str, wanted: &Wanted) -> Result<(), Violation> {
        let due =
            Seen { companion: Companion::of(&wanted.stamp()), records: wanted.records.clone() };
        expect(what, self.read().await?, due)
    }
}

fn violation(what: &str, seen: &dyn std::fmt::Display) -> Violation {
    Violation { what: what.into(), seen: seen.to_string(), due: "success".into() }
}

fn change(seen: &Seen, wanted: &Wanted) -> Result<Change, Violation> {
    match plan(seen, wanted) {
        Plan::Change { change, .. } => Ok(*change),
        other => Err(violation("a plan to change", &format!("{other:?}"))),
    }
}

/// Runs the whole contract: what is written is read back, publishing twice is as once, a change
/// whose condition does not hold changes nothing, of racing writers one wins, epochs never go back,
/// and records of one kind leave none of another.
pub async fn all(subject: &Subject) -> Result<(), Violation> {
    writes_are_read_back(subject).await?;
    conditions_hold(subject).await?;
    if subject.provider().is_fence() {
        one_of_many_wins(subject).await?;
    }
    kinds_replace_each_other(subject).await
}

async fn writes_are_read_back(subject: &Subject) -> Result<(), Violation> {
    expect("a name never written", subject.read().await?, Seen::default())?;
    let mut epoch = 0;
    for (region, last) in [("fsn", 1), ("hel", 2), ("hel", 3), ("fsn", 4)] {
        epoch += 1;
        let wanted = subject.wanted(epoch, region, last)?;
        for (what, changed) in [("a publish", true), ("the same again", false)] {
            let done = publish(subject.provider(), &wanted).await;
            let done = done.map_err(|error| violation(what, &error))?;
            expect(what, (done.changed, done.foreign), (changed, None))?;
            subject.stands(what, &wanted).await?;
        }
    }
    let stands = subject.wanted(4, "fsn", 4)?;
    let stale = publish(subject.provider(), &subject.wanted(3, "hel", 3)?).await;
    expect("an older epoch", stale.err(), Some(NameError::Refused { newest: Epoch(4) }))?;
    let rival = publish(subject.provider(), &subject.wanted(4, "hel", 3)?).await;
    let refused = matches!(rival, Err(NameError::Contradicted(_)));
    expect("whether another's epoch is refused", refused, true)?;
    subject.stands("the name after both", &stands).await
}

async fn conditions_hold(subject: &Subject) -> Result<(), Violation> {
    let stands = subject.wanted(4, "fsn", 4)?;
    let seen = subject.read().await?;
    let wanted = subject.wanted(5, "hel", 6)?;
    let right = change(&seen, &wanted)?;
    let mut other = seen.clone();
    other.companion = Companion::of(&subject.wanted(3, "hel", 3)?.stamp());
    let mut more = seen.clone();
    more.companion.0.extend(other.companion.0.clone());
    for (what, expected) in [
        ("a companion that was", other.companion),
        ("no companion", Companion::default()),
        ("one text more", more.companion),
    ] {
        let wrong = Change { expected, ..right.clone() };
        let answer = subject.provider().change(&wrong).await;
        expect(what, matches!(answer, Err(ProviderError::Conflict(_))), true)?;
        subject.stands(what, &stands).await?;
    }
    subject.provider().change(&right).await.map_err(|error| violation("a change", &error))?;
    subject.stands("a change", &wanted).await?;
    let twice = subject.provider().change(&right).await;
    expect("the same change twice", matches!(twice, Err(ProviderError::Conflict(_))), true)
}

async fn one_of_many_wins(subject: &Subject) -> Result<(), Violation> {
    for round in 0..ROUNDS {
        let epoch = 10 + round;
        let seen = subject.read().await?;
        let mut racing = Vec::new();
        for writer in 0..WRITERS {
            let wanted = subject.wanted(epoch, &format!("r{writer}"), 100 + writer)?;
            let change = change(&seen, &wanted)?;
            let client = subject.clients[usize::from(writer) % subject.clients.len()].clone();
            racing.push((wanted, seed::spawn(async move { client.change(&change).await })));
        }
        let mut winners = Vec::new();
        for (wanted, running) in racing {
            let answer = running.await.map_err(|error| violation("a writer", &error))?;
            match answer {
                Ok(()) => winners.push(wanted),
                Err(ProviderError::Conflict(_)) => {}
                Err(error) => return Err(violation("a racing writer", &error)),
            }
        }
        expect(&format!("winners of epoch {epoch}"), winners.len(), 1)?;
        subject.stands("the winner's records", &winners[0]).await?;
    }
    Ok(())
}

async fn kinds_replace_each_other(subject: &Subject) -> Result<(), Violation> {
    let service = |region: &str, weight| Srv {
        priority: 0,
        weight,
        port: 5432,
        target: format!("pg.{region}.example."),
    };
    let plain = |last| subject.wanted(1, "fsn", last).map(|wanted| wanted.records);
    let steps = [
        Records::alias(5, "PG.fsn.example"),
        Records::alias(5, "pg.hel.example"),
        plain(2)?,
        Records::services(5, [service("fsn", 1)].into()),
        Records::services(5, [service("fsn", 1), service("hel", 65_535)].into()),
        Records::alias(7, "pg.fsn.example"),
        Records::services(5, [service("hel", 0)].into()),
        plain(1)?,
        Records::default(),
        Records::alias(5, "pg.hel.example"),
    ];
    let mut epoch = 30;
    for records in steps {
        epoch += 1;
        let wanted = Wanted { records, ..subject.wanted(epoch, "fsn", 1)? };
        for changed in [true, false] {
            let what = format!("{:?} once more: {}", wanted.records.lines(), !changed);
            let done = publish(subject.provider(), &wanted).await;
            let done = done.map_err(|error| violation(&what, &error))?;
            expect(&what, (done.changed, done.foreign), (changed, None))?;
            subject.stands(&what, &wanted).await?;
        }
    }
    Ok(())
}
