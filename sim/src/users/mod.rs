//! Those who use the pair: operators and clients, on one host outside all regions.

mod operator;
mod resolver;
pub mod rest;
mod writer;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::rest::PairView;
use continuum_domain::operation::Operation;
use continuum_domain::spec::PairSpec;
use continuum_domain::{Epoch, OperationId};
use tokio::sync::mpsc;

use crate::judge::{Shown, ShownAudit};
use crate::plan::Fault;

pub use resolver::{Answered, Resolver};
pub use writer::{Way, Writer};

/// What an operator is told to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// An order of the plan.
    Fault(Fault),
    /// Takes a fence mark away.
    Unfence {
        /// The member's region.
        region: String,
    },
    /// Ends the pause of the pair's register.
    ResumePair,
    /// Starts a pair again that somebody stopped.
    StartPair,
    /// Starts it in this region, once.
    StartPairIn {
        /// The region.
        region: String,
    },
    /// Takes back everything that holds automation up.
    Heal,
    /// Fetches the pair as the core shows it.
    Look,
    /// Fetches all operations.
    Account,
    /// Fetches the audit chain.
    Audit,
}

/// How one write ended, as its writer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed.
    Acknowledged,
    /// It certainly is not.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// One write, in the world's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// When it was asked for.
    pub asked: Duration,
    /// When its writer knew.
    pub ended: Duration,
    /// What.
    pub outcome: Outcome,
}

/// What the users learnt, for the judge.
#[derive(Default)]
pub struct Learnt {
    /// Answers of the name server.
    pub answers: Vec<Answered>,
    /// Epochs for which somebody approved a loss.
    pub approved: BTreeSet<Epoch>,
    /// The spec as it was last applied, or asked to be.
    pub spec: Option<PairSpec>,
    /// Whether the durability was changed, or asked to be.
    pub durability_changed: bool,
    /// The pair as the core last showed it, and when.
    pub view: Option<(Duration, PairView)>,
    /// The pair as it was shown, since the judge last looked.
    pub shown: Vec<Shown>,
    /// The audit chain as the core last showed it.
    pub audit: Option<ShownAudit>,
    /// All operations as last shown, and those that had been accepted when they were asked for: what is
    /// accepted meanwhile need not be among them.
    pub operations: Option<(Vec<OperationId>, Vec<Operation>)>,
    /// When a switchover was last asked for, whatever came of it.
    pub switchover_asked: Option<Duration>,
    /// When a failover was last ordered or approved, whatever came of it.
    pub failover_asked: Option<Duration>,
    /// Whether the core has taken the spec.
    pub applied: bool,
    /// Operations that the core accepted, as it answered.
    pub accepted: Vec<OperationId>,
    /// Writes one by one, oldest first.
    pub writes: Vec<Write>,
    /// What the core answered to orders, oldest first.
    pub answers_to_orders: Vec<rest::Reply>,
    ids: u64,
}

/// The users. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Users {
    orders: mpsc::UnboundedSender<Order>,
    inbox: Arc<Mutex<Option<mpsc::UnboundedReceiver<Order>>>>,
    learnt: Arc<Mutex<Learnt>>,
}

impl Default for Users {
    fn default() -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        Self { orders, inbox: Arc::new(Mutex::new(Some(inbox))), learnt: Arc::default() }
    }
}

impl Users {
    /// Gives an order; it is carried out in its own time.
    pub fn order(&self, order: Order) {
        // The receiver lives as long as the world.
        let _sent = self.orders.send(order);
    }

    /// What they learnt so far.
    pub fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number never given before.
    fn next_id(&self) -> u64 {
        let mut learnt = self.learnt();
        learnt.ids += 1;
        learnt.ids
    }

    fn take_inbox(&self) -> Option<mpsc::UnboundedReceiver<Order>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub use operator::{operate, spec};
