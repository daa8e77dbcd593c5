//! Every fault a few times, with clients that hold on to both sides.

use std::collections::BTreeMap;
use std::time::Duration;

use continuum_chaos::Lab;
use continuum_chaos::lab::Error;
use continuum_chaos::wan::Line;
use continuum_domain::RegionId;

use crate::stand::{self, Run, WHOLE_LIMIT, WRITE_LIMIT};

/// How long a fault lasts at least.
const LASTS: Duration = Duration::from_secs(6);
const CUT: Line = Line { cut: true, delay: Duration::ZERO, loss: 0.0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    RegionKilled,
    AgentKilled,
    RegionFrozen,
    PostgresFrozen,
    RegionCut,
    RegionUnheard,
    RegionDeaf,
    PeersCut,
    PeersOneWay,
    PeersOtherWay,
}

const ALL: [Fault; 10] = [
    Fault::RegionKilled,
    Fault::AgentKilled,
    Fault::RegionFrozen,
    Fault::PostgresFrozen,
    Fault::RegionCut,
    Fault::RegionUnheard,
    Fault::RegionDeaf,
    Fault::PeersCut,
    Fault::PeersOneWay,
    Fault::PeersOtherWay,
];

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::RegionKilled => "primary's region killed (SIGKILL)",
            Self::AgentKilled => "primary's agent killed, PostgreSQL lives",
            Self::RegionFrozen => "primary's region frozen (SIGSTOP), thawed after it",
            Self::PostgresFrozen => "primary's PostgreSQL frozen, its agent and guard live",
            Self::RegionCut => "primary's region cut off, both directions",
            Self::RegionUnheard => "primary's region hears and is not heard",
            Self::RegionDeaf => "primary's region is heard and does not hear",
            Self::PeersCut => "line between the regions cut, both directions",
            Self::PeersOneWay => "line between the regions cut, primary to standby",
            Self::PeersOtherWay => "line between the regions cut, standby to primary",
        }
    }

    /// Whether the primary is to be taken over: where only the line to the standby is cut, the
    /// witness still sees the holder, and it goes on without the standby.
    fn moves(self) -> bool {
        !matches!(self, Self::PeersCut | Self::PeersOneWay | Self::PeersOtherWay)
    }

    async fn begin(self, lab: &mut Lab, holder: &RegionId, other: &RegionId) -> Result<(), Error> {
        match self {
            Self::RegionKilled => lab.kill_region(holder).await?,
            Self::AgentKilled => lab.kill(&format!("{holder}-agent")).await?,
            Self::RegionFrozen => {
                lab.freeze(holder);
            }
            Self::PostgresFrozen => lab.hang_postgres(holder)?,
            Self::RegionCut => {
                lab.wan()?.outgoing(holder, CUT)?;
                lab.wan()?.incoming(holder, CUT)?;
            }
            Self::RegionUnheard => lab.wan()?.outgoing(holder, CUT)?,
            Self::RegionDeaf => lab.wan()?.incoming(holder, CUT)?,
            Self::PeersCut => {
                lab.wan()?.between(holder.as_str(), other.as_str(), CUT)?;
                lab.wan()?.between(other.as_str(), holder.as_str(), CUT)?;
            }
            Self::PeersOneWay => {
                lab.wan()?.between(holder.as_str(), other.as_str(), CUT)?;
            }
            Self::PeersOtherWay => {
                lab.wan()?.between(other.as_str(), holder.as_str(), CUT)?;
            }
        }
        Ok(())
    }

    async fn end(self, lab: &mut Lab, holder: &RegionId) -> Result<(), Error> {
        match self {
            Self::RegionKilled => lab.start_region(holder).await?,
            Self::AgentKilled => lab.restart(&format!("{holder}-agent")).await?,
            Self::RegionFrozen => lab.thaw(holder),
            Self::PostgresFrozen => {
                // Its guard may have killed it by then.
                lab.resume_postgres(holder);
            }
            _ => lab.wan()?.heal(),
        }
        Ok(())
    }
}

pub async fn run(runs: usize, only: &str) -> Result<(String, bool), Error> {
    let mut lab = Lab::start(stand::options(true)).await?;
    let mut found: BTreeMap<usize, Vec<Run>> = BTreeMap::new();
    for (index, fault) in ALL.into_iter().enumerate() {
        if !fault.name().contains(only) {
            continue;
        }
        for _ in 0..runs {
            let run = once(&mut lab, fault).await?;
            found.entry(index).or_default().push(run);
        }
    }
    lab.stop().await?;
    Ok(table(&found))
}

async fn once(lab: &mut Lab, fault: Fault) -> Result<Run, Error> {
    let (holder, other, _) = stand::write_everywhere(lab).await?;
    let at = lab.clock.now();
    fault.begin(lab, &holder, &other).await?;
    tokio::time::sleep(LASTS).await;
    lab.wait_acknowledged(None, WRITE_LIMIT).await?;
    fault.end(lab, &holder).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    stand::undisturbed().await;
    stand::judge(lab, fault.name(), (&holder, &other), at).await
}

fn table(found: &BTreeMap<usize, Vec<Run>>) -> (String, bool) {
    let mut text = String::from(
        "| fault | runs | write gap, s (lowest / median / highest) | moved | acknowledged | lost | late, all there |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut held = true;
    for (index, runs) in found {
        let Some(fault) = ALL.get(*index) else { continue };
        let moved = runs.iter().filter(|run| run.moved).count();
        held &= runs.iter().all(|run| run.violations.is_empty() && run.moved == fault.moves());
        let acknowledged: u64 = runs.iter().map(|run| run.acknowledged).sum();
        let lost: usize = runs.iter().map(|run| run.lost).sum();
        let late: u64 = runs.iter().map(|run| run.late).sum();
        text.push_str(&format!(
            "| {} | {} | {} | {moved} | {acknowledged} | {lost} | {late} |\n",
            fault.name(),
            runs.len(),
            stand::spread(runs.iter().map(|run| run.gap).collect()),
        ));
    }
    (text, held)
}
