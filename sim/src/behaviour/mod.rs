//! The behaviour table: what each kind of partition does, measured from outside.
//!
//! Each cell is a few runs of the whole simulator with nothing broken but the partition. What the
//! table says is what clients, the name server and PostgreSQL showed, not what a machine meant.

mod kinds;
mod measure;
mod table;

use std::time::Duration;

use continuum_domain::Timing;
use continuum_domain::spec::{Durability, WitnessLossPolicy};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

pub use kinds::{Kind, SPAN_MS, all};
pub use measure::{Measured, measure};
pub use table::{markdown, put_between, replace};

/// Runs of each cell.
pub const SEEDS: u64 = 3;

/// One cell's world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the kind.
    pub kind: String,
    /// Durability.
    pub durability: Durability,
    /// What the primary does without a witness.
    pub policy: WitnessLossPolicy,
    /// Seed.
    pub seed: u64,
}

/// All cells. Where a partition leaves the witness to the primary, its policy is not asked.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for durability in [Durability::Strict, Durability::Available, Durability::Async] {
        for kind in all() {
            let policies: &[_] = match kind.of_witness {
                true => &[WitnessLossPolicy::Fence, WitnessLossPolicy::Failsafe],
                false => &[WitnessLossPolicy::Fence],
            };
            for policy in policies {
                cells.extend((1..=SEEDS).map(|seed| Cell {
                    kind: kind.name.to_owned(),
                    durability,
                    policy: *policy,
                    seed,
                }));
            }
        }
    }
    cells
}

/// The lab's timing: a ttl of 10 s.
pub(crate) fn timing() -> Timing {
    Timing {
        ttl: Duration::from_secs(10),
        renew: Duration::from_secs(2),
        stop_budget: Duration::from_millis(2_500),
        guard: Duration::from_millis(250),
        ..Timing::default()
    }
}

impl Cell {
    fn plan(&self) -> Plan {
        let mut plan = Plan::quiet(self.seed, 2, self.durability);
        plan.timing = timing();
        plan.on_witness_loss = self.policy;
        plan.anti_flap = 60_000;
        if self.durability == Durability::Async {
            plan.rpo_bytes = Some(1 << 20);
        }
        plan
    }
}
