//! A region that is cut off from a majority of the acceptors, and from nothing else at first: the
//! primary's must stop by its deadline and be taken over, the standby's must disturb nobody.

use std::time::Duration;

use continuum_chaos::lab::Error;
use continuum_chaos::wan::{HUB, Line};
use continuum_chaos::{Lab, LabOptions, LabWitness};
use continuum_domain::{Epoch, RegionId, Tick};

use crate::stand::{self, Run, WHOLE_LIMIT};

/// A call to an acceptor gets half a renewal: enough on a machine that also builds.
const TTL: Duration = Duration::from_secs(6);
const RENEW: Duration = Duration::from_millis(1_200);
/// How long a fault lasts at least: the ttl, the takeover, and some writes after it.
const LASTS: Duration = Duration::from_secs(12);
/// How long the region keeps its lines to everything but the acceptors.
const THEN: Duration = Duration::from_secs(1);
/// Promised for a takeover, above the ttl.
const TAKEOVER: Duration = Duration::from_secs(2);
/// What a debug build on a busy machine may take longer.
const SLACK: Duration = Duration::from_secs(2);
/// Longest pause between two acknowledged writes of a pair that nothing disturbs.
const UNINTERRUPTED: Duration = Duration::from_secs(2);
const CUT: Line = Line { cut: true, delay: Duration::ZERO, loss: 0.0 };
/// The two servers, or the core and one of them: the hub's other parts go with the core.
const SERVERS: [&str; 2] = ["witness", "witness-2"];
const CORE_AND_SERVER: [&str; 2] = [HUB, "witness-2"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    PrimaryFromServers,
    PrimaryFromCoreAndServer,
    PrimaryThenFromAll,
    StandbyFromServers,
    StandbyFromCoreAndServer,
}

const ALL: [Isolation; 5] = [
    Isolation::PrimaryFromServers,
    Isolation::PrimaryFromCoreAndServer,
    Isolation::PrimaryThenFromAll,
    Isolation::StandbyFromServers,
    Isolation::StandbyFromCoreAndServer,
];

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::PrimaryFromServers => "primary's region cut off from both servers",
            Self::PrimaryFromCoreAndServer => "primary's region cut off from core and a server",
            Self::PrimaryThenFromAll => "primary's region cut off from both servers, then from all",
            Self::StandbyFromServers => "standby's region cut off from both servers",
            Self::StandbyFromCoreAndServer => "standby's region cut off from core and a server",
        }
    }

    fn of_primary(self) -> bool {
        !matches!(self, Self::StandbyFromServers | Self::StandbyFromCoreAndServer)
    }

    fn lost(self) -> [&'static str; 2] {
        match self {
            Self::PrimaryFromCoreAndServer | Self::StandbyFromCoreAndServer => CORE_AND_SERVER,
            _ => SERVERS,
        }
    }

    async fn begin(self, lab: &Lab, region: &RegionId) -> Result<(), Error> {
        let wan = lab.wan()?;
        for acceptor in self.lost() {
            wan.between(region.as_str(), acceptor, CUT)?;
            wan.between(acceptor, region.as_str(), CUT)?;
        }
        if self == Self::PrimaryThenFromAll {
            tokio::time::sleep(THEN).await;
            wan.outgoing(region, CUT)?;
            wan.incoming(region, CUT)?;
        }
        Ok(())
    }
}

pub async fn run(only: &str) -> Result<(String, bool), Error> {
    let witness = LabWitness::Servers;
    let renew = Some(RENEW);
    let options =
        LabOptions { ttl: TTL, renew, witness, own_network: true, ..LabOptions::default() };
    let mut lab = Lab::start(options).await?;
    let mut text = String::from(
        "| isolated | moved | write gap, s | acknowledged | lost | late | broken |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut held = true;
    for isolation in ALL.into_iter().filter(|isolation| isolation.name().contains(only)) {
        let run = once(&mut lab, isolation).await?;
        held &= run.violations.is_empty();
        text.push_str(&format!(
            "| {} | {} | {:.2} | {} | {} | {} | {} |\n",
            isolation.name(),
            run.moved,
            run.gap.as_secs_f64(),
            run.acknowledged,
            run.lost,
            run.late,
            run.violations.len()
        ));
    }
    lab.stop().await?;
    Ok((text, held))
}

async fn once(lab: &mut Lab, isolation: Isolation) -> Result<Run, Error> {
    let (holder, other, before) = stand::write_everywhere(lab).await?;
    let region = if isolation.of_primary() { &holder } else { &other };
    let at = lab.clock.now();
    isolation.begin(lab, region).await?;
    let mut violations = match isolation.of_primary() {
        true => taken_over(lab, &holder, &other, at).await?,
        false => undisturbed(lab, &holder, before).await?,
    };
    lab.wan()?.heal();
    lab.wait_healthy(WHOLE_LIMIT).await?;
    stand::undisturbed().await;
    let mut run = stand::judge(lab, isolation.name(), (&holder, &other), at).await?;
    let longest = if isolation.of_primary() { TTL + TAKEOVER + SLACK } else { UNINTERRUPTED };
    if run.gap > longest {
        violations.push(format!("writes stood still for {:?}", run.gap));
    }
    if run.moved != isolation.of_primary() {
        violations.push(format!("moved: {}", run.moved));
    }
    // By the ttl, the old side is stopped before the new one begins.
    if run.late > 0 {
        violations.push(format!("{} acknowledged after the new side's first", run.late));
    }
    for violation in &violations {
        eprintln!("BROKEN  {}: {violation}", isolation.name());
    }
    run.violations.append(&mut violations);
    Ok(run)
}

/// The primary's PostgreSQL is gone by its deadline, and the other side's clients are answered.
async fn taken_over(
    lab: &Lab,
    holder: &RegionId,
    other: &RegionId,
    at: Tick,
) -> Result<Vec<String>, Error> {
    let mut violations = Vec::new();
    let stopped = lab.until("PostgreSQL of the isolated region to be stopped", LASTS, async || {
        if lab.postgres_runs(holder) { Err("it runs".to_owned()) } else { Ok(lab.clock.now()) }
    });
    match stopped.await {
        Ok(stopped) => {
            let after = stopped.since(at);
            eprintln!("{holder} was fenced {after:?} after it was isolated");
            if after > TTL + SLACK {
                violations.push(format!("fenced {after:?} after it was isolated"));
            }
        }
        Err(error) => violations.push(error.to_string()),
    }
    if let Err(error) = lab.wait_acknowledged(Some(lab.address(other)?), LASTS).await {
        violations.push(error.to_string());
    }
    tokio::time::sleep(lab.clock.now().until(at + LASTS)).await;
    Ok(violations)
}

/// The holder goes on under its epoch, whatever becomes of the standby's session.
async fn undisturbed(lab: &Lab, holder: &RegionId, before: Epoch) -> Result<Vec<String>, Error> {
    tokio::time::sleep(LASTS).await;
    let mut violations = Vec::new();
    if !lab.postgres_runs(holder) {
        violations.push("the primary was stopped".to_owned());
    }
    let view = lab.pair().await?;
    if view.epoch != Some(before) {
        violations.push(format!("epoch {:?} after {before:?}", view.epoch));
    }
    Ok(violations)
}
