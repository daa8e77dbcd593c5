//! Clients: each commit carries a number of its own, and goes to whoever accepts it.

use super::{Host, World};

impl World {
    pub fn start_clients(&mut self) {
        for r in 0..self.regions.len() {
            self.write_soon(r);
        }
    }

    fn write_soon(&mut self, r: usize) {
        let span = self.write_interval;
        let delay = self.rng.between(span / 2, span * 3 / 2);
        self.after(delay, Host::Data(r), move |w| {
            // Any region: a client does not know who the primary is. While an immediate stop is
            // under way backends may still serve; a fast stop ends sessions first.
            let region = &w.regions[r];
            let ending = region.guard.stopping == Some(true) && region.pg.serves();
            if region.pg.primary && (region.pg.running() || ending) {
                let commit = w.fresh_id();
                w.commit(r, Some(commit));
            }
            w.write_soon(r);
        });
    }
}
