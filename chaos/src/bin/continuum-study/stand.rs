//! What all studies share: a pair under writes, and the judgement of one run.

use std::time::Duration;

use continuum_chaos::judge::Judged;
use continuum_chaos::lab::Error;
use continuum_chaos::ledger::{Move, write_gap};
use continuum_chaos::{Lab, LabOptions};
use continuum_control_api::rest::PairView;
use continuum_domain::spec::Takeover;
use continuum_domain::{Epoch, RegionId, Tick};

/// Writers of each workload.
pub const WRITERS: usize = 4;
/// How long a pair may take to be whole again.
pub const WHOLE_LIMIT: Duration = Duration::from_secs(180);
/// How long writes may stand still before a study gives up.
pub const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// Writes go on undisturbed for this long before and after.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// A synchronous pair with ledger takeover, its ttl left at 10 s.
pub fn options(own_network: bool) -> LabOptions {
    LabOptions { takeover: Takeover::Ledger, own_network, ..LabOptions::default() }
}

/// Lets writes go on for a while.
pub async fn undisturbed() {
    tokio::time::sleep(UNDISTURBED).await;
}

/// Who holds the lease, who does not, and the epoch.
pub fn sides(view: &PairView) -> Result<(RegionId, RegionId, Epoch), Error> {
    let unknown = || Error::Options("the pair's holder is not known".into());
    let holder = view.holder.clone().ok_or_else(unknown)?;
    let other = view.spec.others(&holder).into_iter().next().ok_or_else(unknown)?;
    Ok((holder, other, view.epoch.ok_or_else(unknown)?))
}

/// Fresh writers that follow the name, and two that stay on each side whatever happens: clients that
/// would be acknowledged by a second primary.
pub async fn write_everywhere(lab: &mut Lab) -> Result<(RegionId, RegionId, Epoch), Error> {
    let (holder, other, epoch) = sides(&lab.wait_healthy(WHOLE_LIMIT).await?)?;
    lab.start_workload(WRITERS).await?;
    for region in [&holder, &other] {
        let address = lab.address(region)?;
        lab.workload()?.pin(address);
        lab.workload()?.pin(address);
    }
    lab.wait_acknowledged(None, WRITE_LIMIT).await?;
    lab.wait_hot(&other, WHOLE_LIMIT).await?;
    undisturbed().await;
    Ok((holder, other, epoch))
}

/// What one run came to.
#[derive(Debug)]
pub struct Run {
    /// Longest time without an acknowledgement.
    pub gap: Duration,
    /// Whether another region holds the lease after it.
    pub moved: bool,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Acknowledged and not there.
    pub lost: usize,
    /// Acknowledged by the old side after the new one's first acknowledgement; all of them are there.
    pub late: u64,
    /// What broke.
    pub violations: Vec<String>,
}

/// Stops the writers and judges what began at `at`, when `from` held the lease.
pub async fn judge(
    lab: &mut Lab,
    what: &str,
    (from, to): (&RegionId, &RegionId),
    at: Tick,
) -> Result<Run, Error> {
    let (holder, ..) = sides(&lab.wait_healthy(WHOLE_LIMIT).await?)?;
    let moved = holder != *from;
    let step = Move { at, from: lab.address(from)?, to: lab.address(to)? };
    let moves = if moved { vec![step] } else { Vec::new() };
    let Judged { attempts, verdict, .. } = lab.judge(&moves, None).await?;
    let mut violations = verdict.violations();
    let gap = write_gap(&attempts, at, None).map_or(Duration::MAX, |gap| gap.length());
    if gap == Duration::MAX {
        violations.push("writes did not come back".into());
    }
    let run = Run {
        gap,
        moved,
        acknowledged: verdict.tally.acknowledged,
        lost: verdict.tally.lost.len(),
        late: verdict.late.late,
        violations,
    };
    eprintln!(
        "{what}: gap {:.3} s, {}, {} acknowledged, {} lost, {} late",
        run.gap.as_secs_f64(),
        if moved { "moved" } else { "stayed" },
        run.acknowledged,
        run.lost,
        run.late
    );
    for violation in &run.violations {
        eprintln!("BROKEN  {what}: {violation}");
    }
    Ok(run)
}

/// Lowest, median and highest of some durations, in seconds.
pub fn spread(mut values: Vec<Duration>) -> String {
    values.sort_unstable();
    let (Some(lowest), Some(highest)) = (values.first(), values.last()) else { return "-".into() };
    let median = values.get(values.len() / 2).unwrap_or(highest);
    let [lowest, median, highest] = [lowest, median, highest].map(Duration::as_secs_f64);
    format!("{lowest:.2} / {median:.2} / {highest:.2}")
}
