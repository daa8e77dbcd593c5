//! Setting the simulated network as the table of links says.

use std::time::Duration;

use crate::links::Mode;
use crate::world::World;

impl World<'_> {
    /// Sets every link between a host of `a` and a host of `b`.
    pub(super) fn set_links(&mut self, a: &[String], b: &[String]) {
        for one in a {
            for other in b.iter().filter(|other| *other != one) {
                self.set_link(one, other);
            }
        }
    }

    fn set_link(&mut self, a: &str, b: &str) {
        let (mode, slow) = self.links.mode(a, b);
        let key = if a < b { (a.to_owned(), b.to_owned()) } else { (b.to_owned(), a.to_owned()) };
        let held = self.held.contains(&key);
        match mode {
            Mode::Held => {
                self.sim.hold(a, b);
                self.held.insert(key);
            }
            Mode::Open(there, back) => {
                if held {
                    self.sim.release(a, b);
                    self.held.remove(&key);
                }
                for (open, from, to) in [(there, a, b), (back, b, a)] {
                    if open {
                        self.sim.repair_oneway(from, to);
                    } else {
                        self.sim.partition_oneway(from, to);
                    }
                }
            }
        }
        let most = slow.unwrap_or(self.links.latency().1);
        self.sim.set_link_max_message_latency(a, b, most.max(Duration::from_millis(1)));
    }

    pub(super) fn each_link(&self, a: &[String], b: &[String], change: impl Fn(&str, &str)) {
        for one in a {
            for other in b.iter().filter(|other| *other != one) {
                change(one, other);
            }
        }
    }

    /// All hosts but `host`.
    pub(super) fn others(&self, host: &str) -> Vec<String> {
        self.hosts.keys().filter(|name| *name != host).cloned().collect()
    }
}
