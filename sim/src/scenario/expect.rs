//! The words scenarios are written in: what must be seen.

use std::time::Duration;

use continuum_domain::observation::ProcessState;
use continuum_domain::spec::{PairMode, Takeover};
use continuum_domain::{DataDirectoryId, Epoch};

use super::Story;
use super::story::{id, millis, secs};
use crate::postgres::Event;
use crate::users::Order;

/// Who is being stopped acknowledges within the stop's budget, and that is then still on its way.
const ON_THEIR_WAY: Duration = Duration::from_millis(600);

impl Story<'_, '_> {
    /// The judge found nothing so far.
    pub(super) fn sound(&self) -> Result<(), String> {
        match self.run.judge.violations.first() {
            None => Ok(()),
            Some(found) => Err(found.clone()),
        }
    }

    /// Who takes writes now.
    pub fn writable(&self) -> Vec<String> {
        let members = &self.run.world.members;
        members
            .regions()
            .filter(|region| members.cluster.accepts_writes(region))
            .map(|region| region.as_str().to_owned())
            .collect()
    }

    /// The epoch of the register.
    pub fn epoch(&self) -> Epoch {
        self.run.judge.record().map_or(Epoch(0), |record| record.epoch)
    }

    /// Who holds the pair by the register.
    pub fn holder(&self) -> Option<String> {
        let holder = self.run.judge.record()?.holder.as_ref()?;
        Some(holder.as_str().to_owned())
    }

    /// The in-sync set of the register.
    pub fn in_sync(&self) -> Vec<String> {
        let record = self.run.judge.record();
        record.map_or_else(Vec::new, |record| {
            record.in_sync.keys().map(|region| region.as_str().to_owned()).collect()
        })
    }

    /// Whether listed standbys take over by the ledger: sooner than within the ttl.
    pub fn by_ledger(&self) -> bool {
        self.run.world.plan.takeover == Takeover::Ledger
    }

    /// The register says that the holder waits for every listed member, or that it does not.
    pub fn expect_waits_for_all(&mut self, waits: bool, within: Duration) -> Result<(), String> {
        let what = if waits { "the holder waits for all" } else { "it does not wait for all" };
        self.expect(what, within, |story| {
            story.run.judge.record().is_some_and(|record| record.waits_for_all == waits)
        })
    }

    /// A commit waits at `region` for its standbys, within `within`, longer than usual.
    pub fn expect_waiting(&mut self, region: &str, within: Duration) -> Result<(), String> {
        let (member, what) = (id(region), format!("a commit waits at {region}"));
        let receives = |story: &Self| {
            let cluster = &story.run.world.members.cluster;
            let names = story.run.world.plan.region_names();
            let mut others = names.iter().filter(|it| *it != region);
            let streams = others.any(|it| cluster.receives(&id(it)).0);
            streams || cluster.member(&member).waiting == 0
        };
        let until = self.run.world.now() + within;
        while receives(self) {
            if self.run.world.now() >= until {
                return Err(format!("expected within {within:?}: {what}"));
            }
            self.advance(millis(1))?;
        }
        Ok(())
    }

    /// `region` acknowledges something, within `within`.
    pub fn expect_acknowledged_by(&mut self, region: &str, within: Duration) -> Result<(), String> {
        let (before, what) = (self.acknowledged_by(region), format!("{region} acknowledges"));
        self.expect(&what, within, |story| story.acknowledged_by(region) > before)
    }

    /// Commits that clients were told of, by who told them.
    pub fn acknowledged_by(&self, region: &str) -> usize {
        let region = id(region);
        let happened = self.run.world.members.cluster.happened(0);
        let by = |event: &Event| matches!(event, Event::Acknowledged(it) if it.member == region);
        happened.iter().filter(|happening| by(&happening.event)).count()
    }

    /// `region` takes writes, alone, within `within`.
    pub fn expect_primary(&mut self, region: &str, within: Duration) -> Result<(), String> {
        let what = format!("{region} takes writes, alone");
        self.expect(&what, within, |story| story.writable() == [region])
    }

    /// `region` is the only one that takes writes, all through `span`; it may have none meanwhile.
    pub fn expect_nobody_but(&mut self, region: &str, span: Duration) -> Result<(), String> {
        self.all_through(span, |story| {
            let other = story.writable().into_iter().find(|other| other != region);
            other.map_or(Ok(()), |other| Err(format!("{other} takes writes")))
        })
    }

    /// Nobody takes writes, within `within`.
    pub fn expect_nobody_writes(&mut self, within: Duration) -> Result<(), String> {
        self.expect("nobody takes writes", within, |story| story.writable().is_empty())
    }

    /// The register says that `by` stopped the pair, and PostgreSQL runs in no region, within `within`.
    pub fn expect_at_rest(&mut self, by: &str, within: Duration) -> Result<(), String> {
        let first = id(by);
        self.expect(&format!("the pair rests, stopped in {by}"), within, |story| {
            let record = story.run.judge.record();
            let rests = record.is_some_and(|record| record.resting() == Some(&first));
            let regions = story.run.world.plan.region_names();
            let cluster = &story.run.world.members.cluster;
            let runs =
                |region: &String| cluster.member(&id(region)).process != ProcessState::Stopped;
            rests && !regions.iter().any(runs)
        })
    }

    /// `region` does not lead any longer, within `within`: nobody takes writes, or by the ledger, which
    /// needs no ttl, another does already.
    pub fn expect_out(&mut self, region: &str, within: Duration) -> Result<(), String> {
        self.expect(&format!("{region} leads no longer"), within, |story| {
            let writable = story.writable();
            let led = story.by_ledger() && writable.iter().any(|other| other != region);
            led || writable.is_empty()
        })
    }

    /// `region` takes writes, whoever else believes to do so as well, within `within`.
    pub fn expect_writable(&mut self, region: &str, within: Duration) -> Result<(), String> {
        self.expect(&format!("{region} takes writes"), within, |story| {
            story.writable().iter().any(|writable| writable == region)
        })
    }

    /// A client is acknowledged within `within`.
    pub fn expect_acknowledged(&mut self, within: Duration) -> Result<(), String> {
        let before = self.run.judge.acknowledged;
        self.expect("writes go on", within, |story| story.run.judge.acknowledged > before)
    }

    /// No client is acknowledged, by anybody, all through `span`.
    pub fn expect_no_acknowledgement(&mut self, span: Duration) -> Result<(), String> {
        self.advance(ON_THEIR_WAY)?;
        let before = self.run.judge.acknowledged;
        self.all_through(span, |story| {
            let more = story.run.judge.acknowledged - before;
            if more == 0 { Ok(()) } else { Err(format!("{more} commits were acknowledged")) }
        })
    }

    /// `region` acknowledges nothing, all through `span`.
    pub fn expect_silence_of(&mut self, region: &str, span: Duration) -> Result<(), String> {
        self.advance(ON_THEIR_WAY)?;
        let before = self.acknowledged_by(region);
        self.advance(span)?;
        let more = self.acknowledged_by(region) - before;
        if more == 0 { Ok(()) } else { Err(format!("{region} acknowledged {more} commits")) }
    }

    /// Clients are acknowledged all through `span`, with no gap longer than `gap`.
    pub fn expect_steady_writes(&mut self, span: Duration, gap: Duration) -> Result<(), String> {
        let begun = self.run.world.now();
        self.all_through(span, |story| {
            let last = story.run.judge.last_acknowledged.max(begun);
            let silent = story.run.world.now().saturating_sub(last);
            let why = || format!("nothing was acknowledged for {silent:?}");
            if silent > gap { Err(why()) } else { Ok(()) }
        })
    }

    /// The pair is whole: one primary, every other member streams and is listed.
    pub fn expect_whole(&mut self, within: Duration) -> Result<(), String> {
        let stood = self.run.stand(within);
        self.sound()?;
        stood.map_err(|why| format!("not whole within {within:?}: {why}"))
    }

    /// The register lists exactly `members`, within `within`.
    pub fn expect_in_sync(&mut self, members: &[&str], within: Duration) -> Result<(), String> {
        let what = format!("in sync: {}", members.join("+"));
        self.expect(&what, within, |story| story.in_sync() == members)
    }

    /// Whether no process of the PostgreSQL of `region` is left.
    pub fn is_stopped(&self, region: &str) -> bool {
        let member = self.run.world.members.cluster.member(&id(region));
        member.process == ProcessState::Stopped
    }

    /// The data directory of `region`, as its guard knows it.
    pub fn directory(&self, region: &str) -> Option<DataDirectoryId> {
        self.run.world.members.cluster.member(&id(region)).directory
    }

    /// `region` has another data directory than `before`, whole, within `within`.
    pub fn expect_cloned(
        &mut self,
        region: &str,
        before: Option<&DataDirectoryId>,
        within: Duration,
    ) -> Result<(), String> {
        self.expect(&format!("{region} is cloned anew"), within, |story| {
            story.directory(region).is_some_and(|now| Some(&now) != before)
        })
    }

    /// The pair's register has a later epoch than `before`: its very moment.
    pub fn expect_epoch_after(&mut self, before: Epoch, within: Duration) -> Result<(), String> {
        self.expect("a later epoch", within, |story| story.epoch() > before)
    }

    /// The epoch is still `epoch`.
    pub fn expect_epoch(&mut self, epoch: Epoch) -> Result<(), String> {
        self.expect(&format!("epoch {epoch}"), Duration::ZERO, |story| story.epoch() == epoch)
    }

    /// The name points at `region`, within `within`.
    pub fn expect_name(&mut self, region: &str, within: Duration) -> Result<(), String> {
        let what = format!("the name points at {region}");
        self.expect(&what, within, |story| story.named().as_deref() == Some(region))
    }

    /// The name server names nobody: it answers so within `within`.
    pub fn expect_no_name(&mut self, within: Duration) -> Result<(), String> {
        self.expect("the name points at nobody", within, |story| {
            let learnt = story.run.world.users.learnt();
            learnt.answers.last().is_some_and(|answer| answer.region.is_none())
        })
    }

    /// The region that the name server gave last, if it answered within a second.
    fn named(&self) -> Option<String> {
        let now = self.run.world.now();
        let learnt = self.run.world.users.learnt();
        let fresh = |came: Duration| now.saturating_sub(came) < secs(1);
        learnt.answers.last().filter(|answer| fresh(answer.came))?.region.clone()
    }

    /// One of `regions` takes writes, alone, within `within`; says which.
    pub fn expect_somebody_of(
        &mut self,
        regions: &[&str],
        within: Duration,
    ) -> Result<String, String> {
        let what = format!("one of {} takes writes, alone", regions.join("+"));
        let one = |story: &Self| match story.writable().as_slice() {
            [one] if regions.contains(&one.as_str()) => Some(one.clone()),
            _ => None,
        };
        self.expect(&what, within, |story| one(story).is_some())?;
        one(self).ok_or(what)
    }

    /// The epoch rose by `most` at most since `before`.
    pub fn expect_epochs_since(&mut self, before: Epoch, most: u64) -> Result<(), String> {
        let rose = self.epoch().0 - before.0;
        if rose <= most { Ok(()) } else { Err(format!("the epoch rose by {rose}, not {most}")) }
    }

    /// `region` says by name what holds it up, as the core shows it, within `within`.
    pub fn expect_blocked(
        &mut self,
        region: &str,
        code: &str,
        within: Duration,
    ) -> Result<(), String> {
        let (since, what) = (self.run.world.now(), format!("{region} is blocked: {code}"));
        let mut last = "nothing".to_owned();
        while self.run.world.now() < since + within {
            self.run.world.users.order(Order::Look);
            self.advance(millis(300))?;
            let (seen_at, shown) = self.shown_block(region);
            last = shown.unwrap_or_else(|| "nothing".into());
            if last == code && seen_at > since {
                self.run.world.trace.note("expect", &what);
                return Ok(());
            }
        }
        Err(format!("expected within {within:?}: {what}; the core shows {last}"))
    }

    /// The core shows that the agent of `region` does not understand the newest spec, within `within`.
    pub fn expect_not_understood(&mut self, region: &str, within: Duration) -> Result<(), String> {
        let since = self.run.world.now();
        while self.run.world.now() < since + within {
            self.run.world.users.order(Order::Look);
            self.advance(millis(300))?;
            let learnt = self.run.world.users.learnt();
            let fresh = learnt.view.as_ref().filter(|(at, _)| *at > since);
            let state = fresh.and_then(|(_, view)| view.not_understood.get(&id(region)));
            if state.is_some_and(|state| state.code == "spec-not-understood") {
                let what = format!("{region} does not understand the newest spec");
                self.run.world.trace.note("expect", &what);
                return Ok(());
            }
        }
        Err(format!("expected within {within:?}: {region} does not understand the newest spec"))
    }

    /// While the pair is manual and the region of `primary` is dark, `other` hears of it and is held
    /// back by the core: neither acts as if the core were gone.
    pub fn expect_asked_core(&mut self, primary: &str, other: &str) -> Result<(), String> {
        let epoch = self.epoch();
        self.set_mode(PairMode::Manual);
        self.advance(secs(1))?;
        self.region(primary).loses_power_for(secs(11));
        self.expect_blocked(other, "denied-by-core", secs(10))?;
        self.advance(secs(3))?;
        self.expect_primary(primary, secs(20))?;
        let moved = self.epoch().0 - epoch.0;
        if moved > 1 {
            return Err(format!("{primary} returned, and the epoch rose by {moved}"));
        }
        self.set_mode(PairMode::Automatic);
        self.expect_whole(secs(40))
    }

    fn shown_block(&self, region: &str) -> (Duration, Option<String>) {
        let learnt = self.run.world.users.learnt();
        let Some((at, view)) = learnt.view.as_ref() else { return (Duration::ZERO, None) };
        let report = view.members.get(&id(region)).and_then(Option::as_ref);
        (*at, report.and_then(|aged| aged.report.blocked.as_ref()).map(|it| it.code.clone()))
    }

    /// The core refuses the last order, with `reason` in its answer, within `within`.
    pub fn expect_refused(&mut self, reason: &str, within: Duration) -> Result<(), String> {
        let what = format!("the order is refused: {reason}");
        self.expect(&what, within, |story| {
            let learnt = story.run.world.users.learnt();
            let last = learnt.answers_to_orders.last();
            let says = |body: &[u8]| String::from_utf8_lossy(body).contains(reason);
            last.is_some_and(|reply| reply.status / 100 == 4 && says(&reply.body))
        })
    }

    /// Acknowledged commits were lost, under an approval, and the judge counted them.
    pub fn expect_loss_counted(&mut self) -> Result<(), String> {
        self.expect("the loss is counted", Duration::ZERO, |story| {
            story.run.judge.lost_by_approval > 0
        })
    }

    /// Nothing acknowledged was lost, although a loss was allowed.
    pub fn expect_nothing_lost(&mut self) -> Result<(), String> {
        self.expect("nothing is lost", Duration::ZERO, |story| {
            story.run.judge.lost_by_approval == 0
        })
    }

    /// This happened, by the words of the trace's counters.
    pub fn expect_happened(&mut self, what: &str) -> Result<(), String> {
        let heard = self
            .run
            .world
            .members
            .cluster
            .happened(0)
            .into_iter()
            .any(|happening| format!("{:?}", happening.event).contains(what));
        if heard { Ok(()) } else { Err(format!("it never happened: {what}")) }
    }

    fn all_through(
        &mut self,
        span: Duration,
        holds: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let until = self.run.world.now() + span;
        while self.run.world.now() < until {
            self.advance(millis(20))?;
            holds(self)?;
        }
        Ok(())
    }

    pub(super) fn expect(
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
