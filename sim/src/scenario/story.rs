//! The words scenarios are written in.

use std::time::Duration;

use crate::plan::{Fault, MemberFault, WITNESS};
use crate::run::Run;

/// Seconds.
pub fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Milliseconds.
pub fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Longest a fault of a story lasts when nobody says when it ends.
const FOR_NOW_MS: u64 = 3_600_000;

/// A story under way.
pub struct Story<'r, 'w> {
    run: &'r mut Run<'w>,
}

/// A host of the story.
pub struct Place<'s, 'r, 'w> {
    story: &'s mut Story<'r, 'w>,
    name: String,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl<'r, 'w> Story<'r, 'w> {
    /// A story in this run.
    pub(crate) fn new(run: &'r mut Run<'w>) -> Self {
        Self { run }
    }

    /// A region.
    pub fn region(&mut self, name: &str) -> Place<'_, 'r, 'w> {
        Place { story: self, name: name.to_owned() }
    }

    /// A control node.
    pub fn node(&mut self, name: &str) -> Place<'_, 'r, 'w> {
        self.region(name)
    }

    /// The witness.
    pub fn witness(&mut self) -> Place<'_, 'r, 'w> {
        self.region(WITNESS)
    }

    /// An operator asks for a switchover.
    pub fn switch_over_to(&mut self, to: &str) {
        self.run.world.break_with(Fault::Switchover { to: to.to_owned() });
    }

    /// Time passes.
    pub fn advance(&mut self, span: Duration) -> Result<(), String> {
        self.run.until(self.run.world.now() + span)
    }

    /// Everything is mended.
    pub fn heal(&mut self) {
        self.run.world.heal_all();
    }

    /// Who takes writes now.
    pub fn writable(&self) -> Vec<String> {
        let members = &self.run.world.members;
        members
            .regions()
            .filter(|region| members.cluster.member(region).accepts_writes)
            .map(|region| region.as_str().to_owned())
            .collect()
    }

    /// `region` takes writes, alone, within `within`.
    pub fn expect_primary(&mut self, region: &str, within: Duration) -> Result<(), String> {
        let what = format!("{region} takes writes, alone");
        self.expect(&what, within, |story| story.writable() == [region])
    }

    /// Nobody takes writes, within `within`.
    pub fn expect_nobody_writes(&mut self, within: Duration) -> Result<(), String> {
        self.expect("nobody takes writes", within, |story| story.writable().is_empty())
    }

    /// A client is acknowledged within `within`.
    pub fn expect_acknowledged(&mut self, within: Duration) -> Result<(), String> {
        let before = self.run.judge.acknowledged;
        self.expect("writes go on", within, |story| story.run.judge.acknowledged > before)
    }

    /// Clients are acknowledged all through `span`, with no gap longer than `gap`.
    pub fn expect_steady_writes(&mut self, span: Duration, gap: Duration) -> Result<(), String> {
        let until = self.run.world.now() + span;
        while self.run.world.now() < until {
            self.advance(millis(100))?;
            let silent = self.run.world.now().saturating_sub(self.run.judge.last_acknowledged);
            if silent > gap {
                return Err(format!("nothing was acknowledged for {silent:?}"));
            }
        }
        Ok(())
    }

    /// The pair is whole: one primary, every other member streams and is listed.
    pub fn expect_whole(&mut self, within: Duration) -> Result<(), String> {
        self.run.stand(within).map_err(|why| format!("not whole within {within:?}: {why}"))
    }

    fn expect(
        &mut self,
        what: &str,
        within: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let until = self.run.world.now() + within;
        while !holds(self) {
            if self.run.world.now() >= until {
                let now = self.writable().join("+");
                return Err(format!("expected within {within:?}: {what}; writable: [{now}]"));
            }
            self.advance(millis(20))?;
        }
        self.run.world.trace.note("expect", what);
        Ok(())
    }
}

impl Place<'_, '_, '_> {
    fn cut(self, from: &[&str], both: bool, turned: bool) {
        let (mut a, mut b) = (vec![self.name], from.iter().map(|name| (*name).into()).collect());
        if turned {
            std::mem::swap(&mut a, &mut b);
        }
        self.story.run.world.break_with(Fault::Cut { a, b, both, span: FOR_NOW_MS });
    }

    /// No message gets through, in either direction.
    pub fn cut_from(self, others: &[&str]) {
        self.cut(others, true, false);
    }

    /// Its messages arrive, answers do not.
    pub fn hears_nothing_from(self, others: &[&str]) {
        self.cut(others, false, true);
    }

    /// It reaches nobody outside itself, and nobody reaches it.
    pub fn cut_from_everybody(self) {
        let others = self.story.run.world.names_of_others(&self.name);
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        self.cut_from(&others);
    }

    /// Its process is killed and comes back after `down`.
    pub fn killed_for(self, down: Duration) {
        self.story.run.world.break_with(Fault::Kill { host: self.name, down: ms(down) });
    }

    /// It loses power for `down`.
    pub fn loses_power_for(self, down: Duration) {
        self.story.run.world.break_with(Fault::PowerOff { host: self.name, down: ms(down) });
    }

    /// Its process is stopped (SIGSTOP) for `span`.
    pub fn stopped_for(self, span: Duration) {
        self.story.run.world.break_with(Fault::Freeze { host: self.name, span: ms(span) });
    }

    /// The whole host stands still for `span`.
    pub fn freezes_for(self, span: Duration) {
        self.story.run.world.break_with(Fault::FreezeHost { host: self.name, span: ms(span) });
    }

    /// Its PostgreSQL crashes.
    pub fn postgres_crashes(self) {
        let fault = Fault::Member { region: self.name, what: MemberFault::PostgresCrash, span: 0 };
        self.story.run.world.break_with(fault);
    }
}
