//! Traffic switches: what leads clients to the primary beside names.
//!
//! ```text
//!   register, peers ---> Desk: TrafficMachine (one per pair) ---> wanted
//!   orders of the core -----^                                       |
//!                                                                   v
//!                     Keeper (one task per switch): look, make it so, look again
//!                                                                   |
//!                       PgBouncer, webhook, Kubernetes, memory <----+
//! ```
//!
//! Every call to a switch is bounded and made by its keeper's own task: one that is down delays neither
//! another one nor anything else of the agent.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::SharedClock;
use serde::{Deserialize, Serialize};

pub mod config;
pub mod contract;
mod desk;
mod keeper;
pub mod kubernetes;
pub mod memory;
pub mod pgbouncer;
pub mod webhook;

pub(crate) use desk::TrafficDesk;

/// Longest time one call to a switch may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(1);

/// A switch that is as it should be is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Where a switch is to lead clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointing {
    /// The pair.
    pub pair: PairId,
    /// The epoch under which the holder holds it.
    pub epoch: Epoch,
    /// The holder.
    pub holder: RegionId,
    /// Where its PostgreSQL answers.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Whether a switch holds clients back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It does not.
    No,
    /// It does, because an agent said so; also when that agent is not there any more.
    Ours {
        /// What for.
        why: String,
        /// `false`: it was told to, and does not do so, or not everywhere.
        complete: bool,
    },
    /// It does, and no agent said so.
    Others,
}

/// What a switch was seen to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it was last told to lead clients; `None`: nobody told it yet.
    pub target: Option<Pointing>,
    /// Whether that is what it does.
    pub in_force: bool,
    /// Whether it holds clients back.
    pub held: Held,
    /// Its sessions at servers. None are left where clients are held back and no transaction is open.
    pub sessions: u64,
    /// Those of them that are at a server it does not lead to any more.
    pub stale: u64,
}

/// What a switch knows beside what it is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// So often somebody else had changed what an agent wrote, and it was undone.
    pub foreign_writes: u64,
    /// What was undone last.
    pub last_foreign: Option<String>,
    /// What a person should know of it, as of the last look.
    pub remarks: Vec<String>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// It leads to the holder of a later epoch already.
    #[error(
        "it leads to the holder of epoch {0} already; an agent that knows less changes nothing"
    )]
    Superseded(Epoch),
    /// It leads to another holder of the same epoch, which cannot be.
    #[error(
        "it leads to {found} in epoch {epoch}, of which {ours} is the holder; find out who wrote that"
    )]
    Contradicted {
        /// The epoch.
        epoch: Epoch,
        /// Whom it leads to.
        found: RegionId,
        /// Whom it should.
        ours: RegionId,
    },
    /// It does not answer.
    #[error("it does not answer: {0}")]
    Unreachable(String),
    /// It said no.
    #[error("{what}: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl SwitchError {
    pub(crate) fn refused(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Refused { what: what.into(), reason: reason.to_string() }
    }
}

/// A traffic switch. Every method is idempotent, and bounded by a few of [`CALL_DEADLINE`]; after an
/// error it may have taken effect or not, which [`TrafficSwitch::look`] tells.
#[async_trait]
pub trait TrafficSwitch: Send + Sync + Debug {
    /// Whether it can hold clients back.
    fn can_hold(&self) -> bool;

    /// Whether it sees the sessions of its clients, so that it can say when no transaction is open.
    fn sees_sessions(&self) -> bool {
        true
    }

    /// How often it is looked at while it is as it should be.
    fn look_every(&self) -> Duration {
        LOOK_INTERVAL
    }

    /// What it knows beside what it is like.
    fn aside(&self) -> Aside {
        Aside::default()
    }

    /// What it is like now.
    async fn look(&self) -> Result<Seen, SwitchError>;

    /// Leads clients there from their next transaction on. Refused where a later epoch was written, by
    /// whomever: what it compares with outlives this agent, and comparing and writing are one.
    async fn point(&self, to: &Pointing) -> Result<(), SwitchError>;

    /// Lets no new transaction begin, and closes sessions as their transaction ends. That an agent
    /// wants this is on disk before it happens.
    async fn hold(&self, why: &str) -> Result<(), SwitchError>;

    /// Ends what [`TrafficSwitch::hold`] began; what others hold stays held.
    async fn let_through(&self) -> Result<(), SwitchError>;

    /// Ends the sessions at servers it does not lead to any more, at the cost of an error for every
    /// client that is connected. Whether clients are held back is the same afterwards.
    async fn end_stale(&self) -> Result<(), SwitchError>;
}

/// A switch with what an agent knows of it.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Its name.
    pub name: String,
    /// Whose clients it leads.
    pub pair: PairId,
    /// `pgbouncer`, `webhook`, `http-route`, `endpoint-slice`, `pooler`.
    pub kind: &'static str,
    /// The switch.
    pub switch: Arc<dyn TrafficSwitch>,
}

/// Opens the configured switches; what cannot be read is said by name.
pub fn open(
    switches: &[config::TrafficConfig],
    clock: &SharedClock,
) -> std::io::Result<Vec<Driven>> {
    let mut sites = kubernetes::Sites::default();
    let mut open = |config: &config::TrafficConfig| -> std::io::Result<Driven> {
        let switch: Arc<dyn TrafficSwitch> = match config {
            config::TrafficConfig::Pgbouncer(config) => {
                Arc::new(pgbouncer::PgBouncer::open(config)?)
            }
            config::TrafficConfig::Webhook(config) => {
                Arc::new(webhook::Webhook::open(config, clock.clone())?)
            }
            config::TrafficConfig::HttpRoute(config) => {
                kubernetes::http_route(config, &mut sites, clock)
            }
            config::TrafficConfig::EndpointSlice(config) => {
                kubernetes::endpoint_slice(config, &mut sites, clock)
            }
            config::TrafficConfig::Pooler(config) => kubernetes::pooler(config, &mut sites, clock),
        };
        let (name, pair) = (config.name().to_owned(), config.pair().clone());
        Ok(Driven { name, pair, kind: config.kind(), switch })
    };
    switches.iter().map(&mut open).collect()
}
