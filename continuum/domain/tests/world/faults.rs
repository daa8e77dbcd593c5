//! The network, and everything that goes wrong on purpose.

use std::time::Duration;

use super::{Fault, Host, Plan, Rng, World, ms};

/// Kinds of requests to the register that a scenario may hold up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CasPair,
    CasSession,
    ReadSession,
}

/// Which paths are cut or slow, each until an instant of true time.
pub struct Net {
    witness_out: u64,
    witness_cut: Vec<u64>,
    witness_slow: Vec<u64>,
    answers_lost: Vec<u64>,
    /// The next request of this kind takes that long to land.
    pub delayed: Vec<Option<(Kind, Duration)>>,
    /// The answer to the next request of this kind takes that long.
    pub delayed_answer: Vec<Option<(Kind, Duration)>>,
    /// The next data-plane command takes that long to be carried out.
    pub delayed_command: Vec<Option<Duration>>,
    /// The outcome of the data-plane command under way takes that long to be heard.
    pub delayed_outcome: Vec<Option<Duration>>,
    /// The next directive of the core takes that long to arrive.
    pub delayed_directive: Option<Duration>,
    /// The guard does not get to hear deadlines.
    pub arming_lost: Vec<u64>,
    link_cut: Vec<Vec<u64>>,
    core_cut: Vec<u64>,
    pub core_denies: u64,
    pub core_ignores: u64,
    pub slow_checkpointer: Vec<u64>,
    pub witness_refuses: Vec<u64>,
    pub flush_hangs: Vec<u64>,
    pub receiver_stuck: Vec<u64>,
    pub replay_stall: Vec<u64>,
    pub start_fails: Vec<u64>,
    pub slow_commands: Vec<u64>,
    loss_per_mille: u64,
}

impl Net {
    pub fn new(plan: &Plan) -> Self {
        let zero = || vec![0; plan.regions];
        Self {
            witness_out: 0,
            witness_cut: zero(),
            witness_slow: zero(),
            answers_lost: zero(),
            delayed: vec![None; plan.regions],
            delayed_answer: vec![None; plan.regions],
            delayed_command: vec![None; plan.regions],
            delayed_outcome: vec![None; plan.regions],
            delayed_directive: None,
            arming_lost: zero(),
            link_cut: vec![zero(); plan.regions],
            core_cut: zero(),
            core_denies: 0,
            core_ignores: 0,
            slow_checkpointer: zero(),
            witness_refuses: zero(),
            flush_hangs: zero(),
            receiver_stuck: zero(),
            replay_stall: zero(),
            start_fails: zero(),
            slow_commands: zero(),
            loss_per_mille: plan.loss_per_mille,
        }
    }

    pub fn witness_reaches(&self, r: usize, now: u64) -> bool {
        now >= self.witness_out && now >= self.witness_cut[r]
    }

    pub fn linked(&self, a: usize, b: usize, now: u64) -> bool {
        a == b || (now >= self.link_cut[a][b] && now >= self.link_cut[b][a])
    }

    pub fn core_reaches(&self, r: usize, now: u64) -> bool {
        now >= self.core_cut[r]
    }

    /// On one host.
    pub fn local(&self, rng: &mut Rng) -> Duration {
        rng.between(Duration::from_micros(50), ms(2))
    }

    /// Between regions.
    pub fn far(&self, rng: &mut Rng) -> Duration {
        rng.between(ms(1), ms(15))
    }

    pub fn lost(&self, rng: &mut Rng) -> bool {
        rng.chance(self.loss_per_mille)
    }

    pub fn request_travels(&self, rng: &mut Rng, r: usize, now: u64) -> Option<Duration> {
        if now < self.witness_slow[r] {
            return (!rng.chance(200)).then(|| rng.between(ms(10), ms(3_500)));
        }
        (!self.lost(rng)).then(|| self.far(rng))
    }

    pub fn answer_travels(&self, rng: &mut Rng, r: usize, now: u64) -> Option<Duration> {
        if !self.witness_reaches(r, now) || now < self.answers_lost[r] {
            return None;
        }
        if now < self.witness_slow[r] {
            return (!rng.chance(400)).then(|| rng.between(ms(5), ms(600)));
        }
        (!self.lost(rng)).then(|| self.far(rng))
    }
}

impl World {
    pub fn strike(&mut self, fault: Fault) {
        self.log(|| format!("=== {fault:?}"));
        let until = |w: &World, span: u64| w.now + ms(span).as_nanos() as u64;
        match fault {
            Fault::AgentCrash { r, down } => {
                self.stop_agent(r);
                self.after(ms(down), Host::World, move |w| w.start_agent(r));
            }
            Fault::AgentHang { r, span } => self.regions[r].agent_thaws = until(self, span),
            Fault::GuardCrash { r, down } => {
                self.stop_guard(r);
                self.after(ms(down), Host::World, move |w| w.start_guard(r));
            }
            Fault::PgCrash { r } => self.pg_gone(r, "it crashed", false),
            Fault::HostCrash { r, down } => {
                self.stop_agent(r);
                self.stop_guard(r);
                let first = self.rng.upto(ms(50));
                let second = self.rng.upto(ms(50));
                self.after(ms(down) + first, Host::World, move |w| w.start_guard(r));
                self.after(ms(down) + second, Host::World, move |w| w.start_agent(r));
            }
            Fault::HostFreeze { r, span } => self.regions[r].host_thaws = until(self, span),
            Fault::LinkCut { a, b, span } => self.cut(a, b, span),
            Fault::PeersCut { r, span } => {
                for other in (0..self.regions.len()).filter(|other| *other != r) {
                    self.cut(r, other, span);
                }
            }
            Fault::WitnessCut { r, span } => self.net.witness_cut[r] = until(self, span),
            Fault::WitnessOut { span } => self.net.witness_out = until(self, span),
            Fault::WitnessSlow { r, span } => self.net.witness_slow[r] = until(self, span),
            Fault::AnswersLost { r, span } => self.net.answers_lost[r] = until(self, span),
            Fault::OldCopy { r } => self.bring_back_old_copy(r),
            Fault::CoreCut { r, span } => {
                self.net.core_cut[r] = until(self, span);
                self.core_link_changed(r);
                self.after(ms(span + 1), Host::World, move |w| w.core_link_changed(r));
            }
            Fault::CoreDenies { span } => self.net.core_denies = until(self, span),
            Fault::CoreIgnores { span } => self.net.core_ignores = until(self, span),
            Fault::SlowCheckpointer { r, span } => {
                self.net.slow_checkpointer[r] = until(self, span);
            }
            Fault::WitnessRefuses { r, span } => self.net.witness_refuses[r] = until(self, span),
            Fault::FlushHangs { r, span } => self.net.flush_hangs[r] = until(self, span),
            Fault::ReceiverStuck { r, span } => self.net.receiver_stuck[r] = until(self, span),
            Fault::ReplayStall { r, span } => self.net.replay_stall[r] = until(self, span),
            Fault::StartFails { r, span } => self.net.start_fails[r] = until(self, span),
            Fault::SlowCommands { r, span } => self.net.slow_commands[r] = until(self, span),
            Fault::ResolverSilent { index, span } => {
                self.resolvers.troubles[index].silent = until(self, span);
            }
            Fault::ResolverFails { index, span } => {
                self.resolvers.troubles[index].fails = until(self, span);
            }
            Fault::ResolverStale { index, span } => {
                self.resolvers.troubles[index].stale = until(self, span);
            }
            Fault::DiskLoss { r } => self.lose_disk(r),
            Fault::OperatorFence { r, span } => {
                self.operator_fence(r, true);
                self.after(ms(span), Host::World, move |w| w.operator_fence(r, false));
            }
            order => self.order(order),
        }
    }

    fn cut(&mut self, a: usize, b: usize, span: u64) {
        let end = self.now + ms(span).as_nanos() as u64;
        self.net.link_cut[a][b] = self.net.link_cut[a][b].max(end);
        // A connection over a cut path is given up after a while, not at once.
        let patience = self.rng.between(ms(400), ms(2_500));
        self.after(patience, Host::World, move |w| {
            if !w.net.linked(a, b, w.now) {
                w.drop_connection(a, b);
                w.drop_connection(b, a);
            }
        });
    }

    /// Everything that was cut, slow or down is well again.
    pub fn heal(&mut self) {
        self.log(|| "=== all is healed".into());
        let regions = self.regions.len();
        for r in 0..regions {
            self.net.witness_cut[r] = 0;
            self.net.witness_slow[r] = 0;
            self.net.answers_lost[r] = 0;
            self.net.delayed[r] = None;
            self.net.delayed_answer[r] = None;
            self.net.delayed_command[r] = None;
            self.net.delayed_outcome[r] = None;
            self.net.arming_lost[r] = 0;
            self.net.core_cut[r] = 0;
            self.net.slow_checkpointer[r] = 0;
            self.net.witness_refuses[r] = 0;
            self.net.flush_hangs[r] = 0;
            self.net.receiver_stuck[r] = 0;
            self.net.replay_stall[r] = 0;
            self.net.start_fails[r] = 0;
            self.net.slow_commands[r] = 0;
            self.net.link_cut[r] = vec![0; regions];
            self.operator_fence(r, false);
        }
        self.resolvers.troubles = Default::default();
        self.resolvers.forced = None;
        self.net.witness_out = 0;
        self.net.delayed_directive = None;
        self.net.core_denies = 0;
        self.net.core_ignores = 0;
        self.net.loss_per_mille = 0;
        self.operator_heals();
        for r in 0..regions {
            self.start_guard(r);
            self.start_agent(r);
            self.core_link_changed(r);
        }
    }
}
