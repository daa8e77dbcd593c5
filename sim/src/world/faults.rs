//! Faults: how they begin, and how they end.

use std::time::Duration;

use continuum_domain::record::pair_key;
use continuum_domain::{PairRecord, RegionId};

use crate::disk::DiskTrouble;
use crate::hosts::pair;
use crate::judge::spares_primaries;
use crate::links::{Absence, Links};
use crate::plan::{DiskFault, Fault, MemberFault, Ms};
use crate::users::Order;
use crate::world::World;

/// What happens at an instant of the run.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A fault begins.
    Begin(Fault),
    /// It is over.
    End(Fault),
    /// A flapping link changes; true: it is cut now.
    Flip(Vec<String>, Vec<String>, Ms, bool, Duration),
    /// A host is started.
    Start(String),
}

fn ms(span: Ms) -> Duration {
    Duration::from_millis(span)
}

impl World<'_> {
    pub(super) fn at(&mut self, when: Duration, action: Action) {
        self.agenda_seq += 1;
        self.agenda.insert((when, self.agenda_seq), action);
    }

    fn after(&mut self, span: Duration, action: Action) {
        let when = self.sim.elapsed() + span;
        self.at(when, action);
    }

    /// Does what is due.
    pub(super) fn act(&mut self) {
        let now = self.sim.elapsed();
        while let Some(((when, seq), action)) = self.agenda.pop_first() {
            if when > now {
                self.agenda.insert((when, seq), action);
                return;
            }
            match action {
                Action::Begin(fault) => self.begin(fault),
                Action::End(fault) => self.end(&fault),
                Action::Flip(a, b, period, cut, until) => self.flip(a, b, period, cut, until),
                Action::Start(host) => self.start(&host),
            }
        }
    }

    /// Lets a fault begin; its end is put on the agenda.
    pub(super) fn begin(&mut self, fault: Fault) {
        self.trace.note("fault", &fault.to_string());
        self.strikes.begin(self.sim.elapsed(), &fault);
        self.spared &= spares_primaries(&fault, &self.plan);
        *self.counters.entry(kind(&fault)).or_default() += 1;
        match &fault {
            Fault::Cut { a, b, both, .. } => {
                self.each_link(a, b, |from, to| self.links.cut(from, to));
                if *both {
                    self.each_link(b, a, |from, to| self.links.cut(from, to));
                }
                self.set_links(a, b);
            }
            Fault::Flap { a, b, period, span } => {
                let until = self.sim.elapsed() + ms(*span);
                return self.flip(a.clone(), b.clone(), *period, true, until);
            }
            Fault::Hold { a, b, .. } => {
                self.each_link(a, b, |from, to| self.links.hold(from, to));
                self.set_links(a, b);
            }
            Fault::Slow { a, b, most, .. } => {
                self.each_link(a, b, |from, to| self.links.slow(from, to, Some(ms(*most))));
                self.set_links(a, b);
            }
            Fault::Late { host, calls, half, by, .. } => {
                if let Some(host) = self.hosts.get(host) {
                    host.late.begin(*calls, *half, ms(*by));
                }
            }
            Fault::Kill { host, down } => return self.stop(host, false, ms(*down)),
            Fault::Upgrade { host, down } => {
                if let Some(host) = self.hosts.get(host) {
                    host.upgrade();
                }
                return self.stop(host, false, ms(*down));
            }
            Fault::DiskLost { host, down } => {
                self.stop(host, true, ms(*down));
                if let Some(host) = self.hosts.get(host) {
                    host.disk.replaced();
                    host.archive.replaced();
                }
                return;
            }
            Fault::PowerOff { host, down } => return self.stop(host, true, ms(*down)),
            Fault::Freeze { host, .. } => self.freeze(host, true),
            Fault::FreezeHost { host, .. } => {
                self.freeze(host, true);
                self.members.freeze(host, true);
            }
            Fault::Disk { host, how, .. } => self.disk_trouble(host, Some(*how)),
            Fault::WallStep { host, by_ms } => {
                if let Some(host) = self.hosts.get(host) {
                    host.clock.step_wall(*by_ms);
                }
                return;
            }
            Fault::Member { region, what: MemberFault::Wiped, .. }
                if !self.another_copy_of(region) =>
            {
                return self.trace.note("fault", "it holds the last listed copy: left alone");
            }
            Fault::Assertion { region } => return self.shared.fail_assertion(region),
            Fault::Member { region, what, .. } => {
                if !self.members.begin(region, *what) {
                    return;
                }
            }
            Fault::Resolver { index, how, .. } => {
                let regions = self.plan.region_names();
                self.shared.resolvers.trouble(*index, Some(*how), &regions);
            }
            Fault::Switchover { .. }
            | Fault::Failover { .. }
            | Fault::Rejoin { .. }
            | Fault::PauseAutomation { .. }
            | Fault::CancelOperation
            | Fault::ApproveOperation
            | Fault::SetMode { .. }
            | Fault::ReplaceAcceptor { .. }
            | Fault::SetDurability { .. } => return self.order(Order::Fault(fault)),
            Fault::PausePair { .. } | Fault::StopPair { .. } | Fault::Fence { .. } => {
                self.order(Order::Fault(fault.clone()))
            }
        }
        self.after(ms(fault.span()), Action::End(fault));
    }

    fn end(&mut self, fault: &Fault) {
        self.trace.note("fault", &format!("over: {fault}"));
        self.strikes.end(self.sim.elapsed(), fault);
        match fault {
            Fault::Cut { a, b, both, .. } => {
                self.each_link(a, b, |from, to| self.links.mend(from, to));
                if *both {
                    self.each_link(b, a, |from, to| self.links.mend(from, to));
                }
                self.set_links(a, b);
            }
            Fault::Hold { a, b, .. } => {
                self.each_link(a, b, |from, to| self.links.release(from, to));
                self.set_links(a, b);
            }
            Fault::Slow { a, b, .. } => {
                self.each_link(a, b, |from, to| self.links.slow(from, to, None));
                self.set_links(a, b);
            }
            Fault::Late { host, calls, half, by, .. } => {
                if let Some(host) = self.hosts.get(host) {
                    host.late.end(*calls, *half, ms(*by));
                }
            }
            Fault::Freeze { host, .. } => self.freeze(host, false),
            Fault::FreezeHost { host, .. } => {
                self.members.freeze(host, false);
                self.freeze(host, false);
            }
            Fault::Disk { host, .. } => self.disk_trouble(host, None),
            Fault::Member { region, what, .. } => self.members.end(region, *what),
            Fault::Resolver { index, .. } => self.shared.resolvers.trouble(*index, None, &[]),
            Fault::PausePair { .. } => self.order(Order::ResumePair),
            Fault::StopPair { .. } => self.order(Order::StartPair),
            Fault::Fence { region, .. } => self.order(Order::Unfence { region: region.clone() }),
            _ => {}
        }
    }

    fn flip(&mut self, a: Vec<String>, b: Vec<String>, period: Ms, cut: bool, until: Duration) {
        let over = self.sim.elapsed() >= until;
        if cut && over {
            return;
        }
        let change = if cut { Links::cut } else { Links::mend };
        self.each_link(&a, &b, |from, to| change(&self.links, from, to));
        self.each_link(&b, &a, |from, to| change(&self.links, from, to));
        self.set_links(&a, &b);
        if cut || !over {
            self.after(ms(period), Action::Flip(a, b, period, !cut, until));
        }
    }

    /// Takes a host's process away, with its power if asked to, and starts it again later.
    fn stop(&mut self, name: &str, power: bool, down: Duration) {
        let Some(host) = self.hosts.get(name).cloned() else { return };
        if self.down.contains(name) {
            return;
        }
        self.thaw_wholly(name);
        self.ends.push((self.sim.elapsed(), name.to_owned()));
        if power {
            // Nobody is told: not even the end of a connection leaves a host without power.
            self.isolate(name, Links::cut);
        }
        self.sim.crash(name);
        if power {
            host.disk.power_lost();
            host.archive.power_lost();
            self.members.power(name, false);
        } else {
            host.disk.process_killed();
            host.archive.process_killed();
        }
        let absence = if power { Absence::Host } else { Absence::Process };
        self.links.absent(name, Some(absence));
        self.down.insert(name.to_owned());
        if power {
            self.powerless.insert(name.to_owned());
        }
        self.after(down, Action::Start(name.to_owned()));
    }

    fn isolate(&mut self, name: &str, change: fn(&Links, &str, &str)) {
        let (me, others) = ([name.to_owned()], self.others(name));
        self.each_link(&me, &others, |from, to| change(&self.links, from, to));
        self.each_link(&others, &me, |from, to| change(&self.links, from, to));
        self.set_links(&me, &others);
    }

    /// Starts a host that is down.
    pub(super) fn start(&mut self, name: &str) {
        if !self.down.remove(name) {
            return;
        }
        if self.powerless.remove(name) {
            self.isolate(name, Links::mend);
            self.members.power(name, true);
        }
        self.links.absent(name, None);
        self.trace.note(name, "is started");
        self.strikes.started(self.sim.elapsed(), name);
        self.sim.bounce(name);
    }

    /// A process that ended by itself is started again, as its service manager would.
    pub(super) fn restart_ended(&mut self) {
        let ended: Vec<String> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.take_ended())
            .map(|(name, _)| name.clone())
            .collect();
        for name in ended {
            self.stop(&name, false, Duration::from_secs(1));
        }
    }

    /// Stops or continues a host's process; its links hold what is on the way meanwhile.
    fn freeze(&mut self, name: &str, on: bool) {
        let Some(host) = self.hosts.get(name).cloned() else { return };
        let others = self.others(name);
        let me = [name.to_owned()];
        if on {
            if self.down.contains(name) {
                return;
            }
            *self.frozen.entry(name.to_owned()).or_default() += 1;
            host.freezer.freeze();
            self.each_link(&me, &others, |from, to| self.links.stop(from, to));
        } else {
            let Some(count) = self.frozen.get_mut(name) else { return };
            *count -= 1;
            let wholly = *count == 0;
            self.each_link(&me, &others, |from, to| self.links.go_on(from, to));
            if wholly {
                self.frozen.remove(name);
                host.freezer.thaw();
            }
        }
        self.set_links(&me, &others);
    }

    fn thaw_wholly(&mut self, name: &str) {
        while self.frozen.contains_key(name) {
            self.freeze(name, false);
        }
    }

    fn disk_trouble(&mut self, name: &str, how: Option<DiskFault>) {
        let Some(host) = self.hosts.get(name) else { return };
        let trouble = match how {
            None => DiskTrouble::default(),
            Some(DiskFault::Fails) => DiskTrouble { fails: true, ..DiskTrouble::default() },
            Some(DiskFault::Full) => DiskTrouble { full: true, ..DiskTrouble::default() },
            Some(DiskFault::Slow) => {
                DiskTrouble { slow: Duration::from_millis(200), ..DiskTrouble::default() }
            }
        };
        host.disk.trouble(trouble);
        host.archive.trouble(trouble);
    }

    /// Whether the register lists another member, which runs on the directory that is listed.
    fn another_copy_of(&self, region: &str) -> bool {
        let Some(found) = self.shared.register(&pair_key(&pair())) else { return false };
        let Ok(record) = serde_json::from_slice::<PairRecord>(&found.value) else { return false };
        let whole = |other: &RegionId| {
            let directory = self.members.cluster.member(other).directory;
            directory.is_some_and(|id| record.lists(other, &id))
        };
        self.members.regions().any(|other| other.as_str() != region && whole(other))
    }

    fn order(&mut self, order: Order) {
        self.users.order(order);
    }

    /// Ends every fault.
    pub(super) fn heal(&mut self) {
        self.trace.note("fault", "everything is healed");
        self.strikes.healed(self.sim.elapsed());
        let agenda = std::mem::take(&mut self.agenda);
        for name in self.frozen.keys().cloned().collect::<Vec<_>>() {
            self.thaw_wholly(&name);
        }
        self.hosts.values().for_each(|host| host.late.heal());
        for (a, b) in self.links.heal() {
            self.set_links(&[a], &[b]);
        }
        let hosts: Vec<String> = self.hosts.keys().cloned().collect();
        for name in &hosts {
            self.disk_trouble(name, None);
            self.members.freeze(name, false);
        }
        self.members.heal();
        self.shared.resolvers.heal();
        for name in self.down.clone() {
            self.start(&name);
        }
        for action in agenda.into_values() {
            if let Action::End(Fault::Fence { region, .. }) = action {
                self.order(Order::Unfence { region });
            }
        }
        self.order(Order::Heal);
    }
}

/// A fault as it is counted.
fn kind(fault: &Fault) -> String {
    let text = format!("{fault:?}");
    let end = text.find([' ', '{', '(']).unwrap_or(text.len());
    match fault {
        Fault::Member { what, .. } => format!("Member:{what:?}"),
        Fault::Disk { how, .. } => format!("Disk:{how:?}"),
        _ => text[..end].to_owned(),
    }
}
