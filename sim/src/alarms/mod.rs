//! How often a holder that lives is taken for lost: quiet worlds of ledger takeover under one
//! disturbance each, for many simulated minutes, by how long the silence must last.

mod kinds;
mod table;

use std::time::Duration;

use continuum_domain::spec::{Durability, Takeover};
use serde::{Deserialize, Serialize};

use crate::behaviour::timing;
use crate::plan::{Ms, Plan, REGIONS};
use crate::random::Dice;
use crate::run::{Run, Watch, measured};

pub use kinds::{Kind, all};
pub use table::{markdown, replace};

/// Values of `suspect_after` that are compared.
pub const SUSPECT_AFTER: [Ms; 5] = [200, 400, 600, 1_000, 2_000];
/// Runs of each cell.
pub const SEEDS: u64 = 1;
/// Simulated minutes of each run.
pub const MINUTES: u64 = 6;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the disturbance.
    pub kind: String,
    /// For how long a holder must have been silent.
    pub suspect_after: Ms,
    /// Seed.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Times the pair moved: never needed, for nobody was lost.
    pub moves: u64,
    /// How often the disturbance struck.
    pub struck: u64,
    /// Longest time without an acknowledgement.
    pub gap_ms: u64,
    /// Broken rules.
    pub findings: Vec<String>,
}

/// All cells.
pub fn cells() -> Vec<Cell> {
    let of_kind = |kind: &Kind| -> Vec<Cell> {
        let cell = |suspect_after, seed| Cell { kind: kind.name.into(), suspect_after, seed };
        let of = |suspect_after| (1..=SEEDS).map(move |seed| cell(suspect_after, seed));
        SUSPECT_AFTER.into_iter().flat_map(of).collect()
    };
    all().iter().flat_map(of_kind).collect()
}

impl Cell {
    fn plan(&self) -> Plan {
        let mut plan = Plan::quiet(self.seed, 2, Durability::Available);
        plan.timing = timing();
        plan.takeover = Takeover::Ledger;
        plan.suspect_after = self.suspect_after;
        plan.anti_flap = 0;
        plan.write_interval = 200;
        plan
    }
}

/// Runs a cell. One run at a time per process.
pub fn count(cell: &Cell) -> Result<Counted, String> {
    let kind = all().into_iter().find(|kind| kind.name == cell.kind);
    let kind = kind.ok_or_else(|| format!("there is no disturbance {:?}", cell.kind))?;
    let span = Duration::from_secs(MINUTES * 60);
    let (verdict, found) = measured(&cell.plan(), Watch::default(), |run| {
        let mut dice = Dice::of(cell.seed ^ 0xA1A6);
        let (began, first) = (run.world.now(), run.judge.registers.len());
        for fault in kind.for_all_the_time(MINUTES * 60_000) {
            run.world.break_with(fault);
        }
        let (mut struck, mut gap) = (0, Duration::ZERO);
        while run.world.now() < began + span {
            let pause = kind.pause(&mut dice);
            wait(run, Duration::from_millis(pause), &mut gap)?;
            let (holder, standby) = roles(run);
            let faults = kind.strike(&mut dice, &holder, &standby);
            struck += u64::from(!faults.is_empty());
            faults.into_iter().for_each(|fault| run.world.break_with(fault));
        }
        let holders = run.judge.registers.iter().skip(first.saturating_sub(1));
        let holders: Vec<_> = holders.filter_map(|(_, record)| record.holder.clone()).collect();
        let moves = holders.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let (moves, gap_ms) = (moves as u64, u64::try_from(gap.as_millis()).unwrap_or(u64::MAX));
        Ok(Counted { moves, struck, gap_ms, findings: Vec::new() })
    });
    Ok(Counted { findings: verdict.findings, ..found.unwrap_or_default() })
}

fn wait(run: &mut Run<'_>, span: Duration, gap: &mut Duration) -> Result<(), String> {
    let until = run.world.now() + span;
    while run.world.now() < until {
        let step = Duration::from_millis(100).min(until - run.world.now());
        run.until(run.world.now() + step)?;
        if let Some(broken) = run.judge.violations.first() {
            return Err(broken.clone());
        }
        *gap = (*gap).max(run.world.now().saturating_sub(run.judge.last_acknowledged));
    }
    Ok(())
}

/// Who holds the pair, and the other one.
fn roles(run: &Run<'_>) -> (String, String) {
    let [one, other, _] = REGIONS;
    let holder = run.judge.record().and_then(|record| record.holder.clone());
    let names = match holder {
        Some(holder) if holder.as_str() == other => (other, one),
        _ => (one, other),
    };
    (names.0.to_owned(), names.1.to_owned())
}
