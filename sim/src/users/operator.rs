//! The operator: everything through the public API, at any moment, also at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use continuum_agent::operator_client;
use continuum_control_api::rest::{
    ApplyPair, AuditRecord, FailoverRequest, PairView, PausePairRequest, PauseRequest, ReasonBody,
    RejoinRequest, ResumePairRequest, Started, SwitchoverRequest,
};
use continuum_domain::operation::{Operation, OperationKind};
use continuum_domain::record::pair_key;
use continuum_domain::spec::{LossApproval, MemberSpec, NameSpec, PairSpec};
use continuum_domain::{PairRecord, RegionId};
use continuum_runtime::net::SharedNetwork;
use continuum_runtime::seed;
use continuum_witness::{Answer, RegisterStore};
use serde::Serialize;

use super::{Order, Users, rest};
use crate::clock::WorldTime;
use crate::coverage::Coverage;
use crate::hosts::{DNS_TTL, PAIR_NAME, RPC_PORT, Shared, pair, witness};
use crate::judge::{Shown, ShownAudit};
use crate::plan::{Fault, Plan, REGIONS};
use crate::resolvers::{corroborate, health_name};
use crate::trace::Trace;

/// Pause between two tries of what must succeed.
const RETRY: Duration = Duration::from_millis(300);
/// Records of the audit chain that are asked for at once: the most that the API gives.
const AUDIT_PAGE: usize = 1_000;
/// As many operations as the core keeps of what has ended, and as one page holds: a pair whose failovers are
/// refused for minutes has more than a usual page of them.
const OPERATIONS_KEPT: usize = 1_000;

/// One operator.
#[derive(Clone)]
struct Operator {
    plan: Arc<Plan>,
    network: SharedNetwork,
    users: Users,
    trace: Trace,
    time: WorldTime,
    coverage: Coverage,
    register: Arc<dyn RegisterStore>,
}

/// Creates the pair, then carries out orders for ever.
pub async fn operate(shared: &Shared, network: SharedNetwork, register: Arc<dyn RegisterStore>) {
    let Shared { plan, users, trace, time, coverage, .. } = shared.clone();
    let Some(mut inbox) = users.take_inbox() else { return };
    let operator = Operator { plan, network, users, trace, time, coverage, register };
    let body = ApplyPair { spec: spec(&operator.plan), reason: "simulation".into() };
    while !operator.apply(&body).await {
        tokio::time::sleep(RETRY).await;
    }
    operator.users.learnt().applied = true;
    while let Some(order) = inbox.recv().await {
        let operator = operator.clone();
        seed::spawn(async move { operator.carry_out(order).await });
    }
}

/// The spec of a plan's pair.
pub fn spec(plan: &Plan) -> PairSpec {
    let region = |name: &str| RegionId::new(name).expect("a valid name");
    let member = |name: &str| MemberSpec {
        priority: 100,
        host: format!("pg-{name}"),
        port: 5432,
        health_name: plan.corroborate.map(|_| health_name(name)),
    };
    let names = plan.region_names();
    let members: BTreeMap<_, _> = names.iter().map(|name| (region(name), member(name))).collect();
    let mut spec = PairSpec::new(pair(), members, region(REGIONS[0]));
    spec.durability = plan.durability;
    spec.mode = plan.mode;
    spec.on_witness_loss = plan.on_witness_loss;
    spec.corroborate = plan.corroborate.map(corroborate);
    spec.takeover = plan.takeover;
    spec.suspect_after = Duration::from_millis(plan.suspect_after);
    spec.loss_approval = plan.rpo_bytes.map(|rpo_bytes| LossApproval { rpo_bytes });
    spec.anti_flap = Duration::from_millis(plan.anti_flap);
    if let Some(deadline) = plan.switchover_deadline {
        spec.switchover_deadline = Duration::from_millis(deadline);
    }
    spec.stall_timeout = plan.timing.ttl / 2;
    spec.write_stall_timeout = plan.timing.ttl * 2;
    spec.names = vec![NameSpec::new(PAIR_NAME, DNS_TTL)];
    spec
}

fn because(reason: &str) -> ReasonBody {
    ReasonBody { reason: reason.into() }
}

impl Operator {
    async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Option<rest::Reply> {
        let mut nodes = self.plan.core();
        let turn = seed::child_seed().unwrap_or_default() as usize % nodes.len();
        nodes.rotate_left(turn);
        rest::call(&self.network, &nodes, method, path, body).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        self.call("GET", path, None::<&()>).await?.value()
    }

    async fn change(&self, method: &str, path: &str, body: &(impl Serialize + Sync)) {
        let reply = self.call(method, path, Some(body)).await;
        let answer = reply.as_ref().map_or_else(|| "no answer".into(), rest::Reply::summary);
        self.trace.note("users", &format!("{method} {path}: {answer}"));
        if let Some(code) = reply.as_ref().and_then(rest::Reply::code) {
            self.coverage.reached(format!("order {code}"));
        }
        if let Some(Started::Operation(begun)) = reply.as_ref().and_then(rest::Reply::value) {
            self.users.learnt().accepted.push(begun.id);
        }
        self.users.learnt().answers_to_orders.extend(reply);
    }

    async fn apply(&self, body: &ApplyPair) -> bool {
        let path = format!("/pairs/{}", pair());
        self.call("PUT", &path, Some(body)).await.is_some_and(|reply| reply.status < 300)
    }

    async fn carry_out(&self, order: Order) {
        match order {
            Order::Fault(fault) => self.fault(fault).await,
            Order::Unfence { region } => {
                while !self.unfence(&region).await {
                    tokio::time::sleep(RETRY).await;
                }
            }
            Order::ResumePair => self.resume_pair().await,
            Order::StartPair => self.start_pair().await,
            Order::StartPairIn { region } => {
                let to = Some(RegionId::new(region).expect("a valid name"));
                let body = ResumePairRequest { to, reason: "simulation".into(), dry_run: false };
                self.change("POST", &format!("/pairs/{}/resume", pair()), &body).await;
            }
            Order::Heal => {
                tokio::join!(self.heal(), async {
                    self.resume_pair().await;
                    self.start_pair().await;
                });
            }
            Order::Account => {
                let path = format!("/operations?pair={}&limit={OPERATIONS_KEPT}", pair());
                let accepted = self.users.learnt().accepted.clone();
                if let Some(shown) = self.get(&path).await {
                    self.users.learnt().operations = Some((accepted, shown));
                }
            }
            Order::Look => {
                let asked = self.time.now();
                let view: Option<PairView> = self.get(&format!("/pairs/{}", pair())).await;
                if let Some(view) = view {
                    let (came, mut learnt) = (self.time.now(), self.users.learnt());
                    learnt.shown.push(Shown { asked, came, view: view.clone() });
                    learnt.view = Some((came, view));
                }
            }
            Order::Audit => {
                let shown = self.audit().await;
                self.users.learnt().audit = shown;
            }
        }
    }

    /// The whole audit chain, page by page, and what the core says of it.
    async fn audit(&self) -> Option<ShownAudit> {
        let mut records: Vec<AuditRecord> = Vec::new();
        loop {
            let after = records.last().map_or(0, |record| record.index);
            let path = format!("/audit?after={after}&limit={AUDIT_PAGE}");
            let page: Vec<AuditRecord> = self.get(&path).await?;
            let whole = page.len() < AUDIT_PAGE;
            records.extend(page);
            if whole {
                let verdict = self.get("/audit/verify").await?;
                return Some(ShownAudit { records, verdict });
            }
        }
    }

    async fn fault(&self, fault: Fault) {
        let reason = "simulation".to_owned();
        let region = |name: &str| RegionId::new(name).expect("a valid name");
        if matches!(fault, Fault::Failover { .. } | Fault::ApproveOperation) {
            self.users.learnt().failover_asked = Some(self.time.now());
        }
        match fault {
            Fault::Switchover { to, method } => {
                self.users.learnt().switchover_asked = Some(self.time.now());
                let body = SwitchoverRequest { to: region(&to), method, dry_run: false, reason };
                self.change("POST", &format!("/pairs/{}/switchover", pair()), &body).await;
            }
            Fault::Failover { to, allow_data_loss } => {
                let view: Option<PairView> = self.get(&format!("/pairs/{}", pair())).await;
                let epoch = view.and_then(|view| view.epoch).filter(|_| allow_data_loss);
                self.users.learnt().approved.extend(epoch);
                let body = FailoverRequest {
                    to: region(&to),
                    allow_data_loss,
                    epoch,
                    dry_run: false,
                    reason,
                };
                self.change("POST", &format!("/pairs/{}/failover", pair()), &body).await;
            }
            Fault::Rejoin { region: name, method } => {
                let body = RejoinRequest { region: region(&name), method, dry_run: false, reason };
                self.change("POST", &format!("/pairs/{}/rejoin", pair()), &body).await;
            }
            Fault::PauseAutomation { span } => {
                let body = PauseRequest { pair: Some(pair()), reason, for_ms: span };
                self.change("PUT", "/automation/pause", &body).await;
            }
            Fault::CancelOperation => self.operation("cancel").await,
            Fault::ApproveOperation => self.operation("approve").await,
            Fault::SetDurability { durability } => {
                self.users.learnt().durability_changed = true;
                self.edit(|spec| spec.durability = durability).await;
            }
            Fault::SetMode { mode } => self.edit(|spec| spec.mode = mode).await,
            Fault::ReplaceAcceptor { name } => {
                self.take_in_again(name).await;
            }
            Fault::PausePair { .. } => {
                self.pause_pair(true).await;
            }
            Fault::StopPair { .. } => {
                let body = PausePairRequest { dry_run: false, reason };
                self.change("POST", &format!("/pairs/{}/pause", pair()), &body).await;
            }
            Fault::Fence { region: name, .. } => {
                let address = format!("{name}:{RPC_PORT}");
                let (region, pair) = (region(&name), pair());
                let answer =
                    operator_client::fence(&self.network, &address, &region, &pair, &reason).await;
                self.trace.note("users", &format!("fence {name}: {answer:?}"));
            }
            _ => {}
        }
    }

    /// Has an acceptor taken in again; does not give up.
    async fn take_in_again(&self, name: String) {
        loop {
            let (plan, network) = (self.plan.clone(), self.network.clone());
            if witness::take_in_again(plan, network, name.clone()).await {
                return self.trace.note("users", &format!("acceptor {name} counts again"));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Applies the spec as it is, changed.
    async fn edit(&self, change: impl FnOnce(&mut PairSpec)) {
        let mut spec = self.users.learnt().spec.clone().unwrap_or_else(|| spec(&self.plan));
        change(&mut spec);
        self.users.learnt().spec = Some(spec.clone());
        let body = ApplyPair { spec, reason: "simulation".into() };
        self.change("PUT", &format!("/pairs/{}", pair()), &body).await;
    }

    /// Writes `paused` into the pair's register as the core may; whether it stands so now.
    async fn pause_pair(&self, paused: bool) -> bool {
        let key = pair_key(&pair());
        let Ok(Some(found)) = self.register.read(&key).await else { return false };
        let Ok(mut record) = serde_json::from_slice::<PairRecord>(&found.value) else {
            return false;
        };
        if record.paused == paused {
            return true;
        }
        record.paused = paused;
        let value = serde_json::to_vec(&record).expect("records are plain data");
        let answer = self.register.compare_and_swap(&key, found.version, value).await;
        self.trace.note("users", &format!("pair paused {paused}: {answer:?}"));
        matches!(answer, Ok(Answer::Accepted(_)))
    }

    async fn resume_pair(&self) {
        while !self.pause_pair(false).await {
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Calls off what is about to stop the pair, and starts it where it is stopped; does not give up.
    async fn start_pair(&self) {
        let of_pair = format!("/pairs/{}", pair());
        loop {
            let open = self.get::<Vec<Operation>>(&format!("/operations?pair={}", pair())).await;
            let stops = |one: &&Operation| {
                !one.state.is_final() && matches!(one.kind, OperationKind::Pause { .. })
            };
            let stopping = open.as_ref().map(|open| open.iter().find(stops).map(|one| &one.id));
            let view = self.get::<PairView>(&of_pair).await;
            let fresh = view.filter(|view| view.record_age_ms.is_some_and(|age| age < 1_000));
            match (stopping, fresh) {
                (Some(Some(id)), _) => {
                    self.change("POST", &format!("/operations/{id}/cancel"), &because("over"))
                        .await;
                }
                (Some(None), Some(view)) if view.resting.is_none() => return,
                (Some(None), Some(_)) => {
                    self.change("POST", &format!("{of_pair}/resume"), &because("over")).await;
                }
                _ => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn unfence(&self, name: &str) -> bool {
        let region = RegionId::new(name).expect("a valid name");
        let address = format!("{name}:{RPC_PORT}");
        let (pair, why) = (pair(), "simulation");
        let answer = operator_client::unfence(&self.network, &address, &region, &pair, why).await;
        self.trace.note("users", &format!("unfence {name}: {answer:?}"));
        answer.is_ok()
    }

    /// Cancels or approves the operation under way.
    async fn operation(&self, what: &str) {
        let path = format!("/operations?pair={}", pair());
        let operations: Option<Vec<Operation>> = self.get(&path).await;
        let open = operations.unwrap_or_default();
        let Some(open) = open.iter().find(|operation| !operation.state.is_final()) else { return };
        // Only what waits for the approval of a loss makes one allowed.
        let waits = |of: &str| open.steps.iter().any(|line| line.detail.contains(of));
        if what == "approve" && !waits("semi-automatic") {
            let view: Option<PairView> = self.get(&format!("/pairs/{}", pair())).await;
            self.users.learnt().approved.extend(view.and_then(|view| view.epoch));
            self.users.learnt().approved.insert(open.at_epoch);
        }
        self.change("POST", &format!("/operations/{}/{what}", open.id), &because("simulation"))
            .await;
    }

    async fn heal(&self) {
        let path = format!("/automation/pause?pair={}", pair());
        loop {
            let reply = self.call("DELETE", &path, Some(&because("simulation is over"))).await;
            // 404: there is none.
            if reply.is_some_and(|reply| reply.status < 500) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
