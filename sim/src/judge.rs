//! What must hold, seen from outside: by clients, in the members' WAL, in the register.

mod audit;
mod corroboration;
mod register;
mod shown;
mod stability;
mod takeovers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use continuum_domain::spec::Durability;
use continuum_domain::{DataDirectoryId, Epoch, Lsn, PairRecord, RegionId, SessionRecord, Version};
use continuum_witness::Versioned;

use crate::core_watch::{self, Votes};
use crate::hosts::{DNS_MAX_AGE, DNS_POLL, Shared};
use crate::postgres::{Acknowledged, Content, Event, Happening, LineId, RecordId};

pub use audit::Shown as ShownAudit;
pub use shown::{Shown, Silences};
pub use stability::{Stability, spares_primaries};

/// On top of what the rules allow: messages on their way, and a tick.
const NAMES_SLACK: Duration = Duration::from_millis(1_500);
/// Clocks, latencies and the ticks at which the judge looks.
const LAG_SLACK: Duration = Duration::from_millis(500);
/// How recent an acknowledgement must be for the pair to count as writable.
const QUIET: Duration = Duration::from_secs(2);

/// A promotion.
#[derive(Clone, Debug)]
struct Reign {
    epoch: Epoch,
    member: RegionId,
    /// When the first commit under it was let go to a client.
    first_released: Option<Duration>,
}

/// A commit that a client was told of.
#[derive(Clone, Debug)]
struct Kept {
    record: RecordId,
    id: u64,
    /// Under which it was acknowledged.
    epoch: Epoch,
    /// Where it ends.
    end: Lsn,
    /// When it was let go.
    released: Duration,
}

/// The judge of one run.
pub struct Judge {
    pub(crate) shared: Shared,
    /// What was found.
    pub violations: Vec<String>,
    /// Acknowledged commits.
    pub acknowledged: u64,
    /// Acknowledged, and given up under an approval.
    pub lost_by_approval: u64,
    /// When the last one came.
    pub last_acknowledged: Duration,
    /// Every value of the pair's register, and when it was first seen.
    pub registers: Vec<(Duration, PairRecord)>,
    /// Notable things, counted.
    pub seen: BTreeMap<String, u64>,
    pub(crate) votes: Votes,
    /// I6: whether acknowledgements must go on.
    pub(crate) stability: Stability,
    /// I7: whom the core can not hear.
    pub(crate) silences: Silences,
    /// When each region's session changed last.
    beats: BTreeMap<RegionId, (SessionRecord, Duration)>,
    /// Members that acknowledged something later than a ttl after their last renewal.
    overdue: BTreeSet<RegionId>,
    /// The registers as they were at the last look.
    known: BTreeMap<String, Versioned>,
    happened: usize,
    answered: usize,
    reigns: BTreeMap<LineId, Reign>,
    kept: Vec<Kept>,
    record: Option<(Version, PairRecord)>,
    /// Who held the pair from when on.
    holders: Vec<(Duration, Option<String>)>,
    /// When each region's session changed last while its PostgreSQL was a primary.
    beats_of_primaries: BTreeMap<RegionId, Duration>,
    takeovers: takeovers::Takeovers,
}

impl Judge {
    /// A judge of a world that begins.
    pub fn new(shared: &Shared) -> Self {
        Self {
            shared: shared.clone(),
            violations: Vec::new(),
            acknowledged: 0,
            lost_by_approval: 0,
            last_acknowledged: Duration::ZERO,
            registers: Vec::new(),
            seen: BTreeMap::new(),
            votes: Votes::default(),
            stability: Stability::default(),
            silences: Silences::default(),
            beats: BTreeMap::new(),
            overdue: BTreeSet::new(),
            known: BTreeMap::new(),
            happened: 0,
            answered: 0,
            reigns: BTreeMap::new(),
            kept: Vec::new(),
            record: None,
            holders: vec![(Duration::ZERO, None)],
            beats_of_primaries: BTreeMap::new(),
            takeovers: takeovers::Takeovers::default(),
        }
    }

    fn violated(&mut self, what: String) {
        self.shared.trace.note("judge", &format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// Counts a notable thing.
    pub(crate) fn saw(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    /// Looks at a control node's vote as it stands on its disk.
    pub fn look_at_vote(&mut self, now: Duration, node: &str, file: &[u8]) {
        if let Some(wrong) = self.votes.look(now, node, file) {
            self.violated(wrong);
        }
    }

    /// I6: looks at whether writes go on; `spared`: nothing was broken that a primary needs.
    pub fn look_at_stability(&mut self, now: Duration, spared: bool) {
        if !spared {
            self.stability.end();
        }
        if let Some(wrong) = self.stability.judge(now, self.last_acknowledged) {
            self.violated(wrong);
        }
    }

    /// I7: looks at what operators were shown since the last call.
    pub fn look_at_shown(&mut self) {
        let shown = std::mem::take(&mut self.shared.users.learnt().shown);
        for shown in shown {
            self.saw("shown");
            self.judge_shown_veto(&shown.view);
            if let Some(wrong) = self.silences.judge(&shown) {
                self.violated(wrong);
            }
        }
    }

    /// I4: looks at the audit chain as an operator was shown it; says what it does not tell of yet.
    /// `ended` are the ends of processes, by host.
    pub fn look_at_audit(
        &mut self,
        shown: &ShownAudit,
        ended: &[(Duration, String)],
    ) -> Option<String> {
        if let Some(wrong) = audit::broken(shown) {
            self.violated(wrong);
        }
        let promoted = self.reigns.values().map(|reign| reign.epoch).collect();
        audit::untold(&shown.records, &self.registers, &promoted, ended)
    }

    /// What was demanded did not come about.
    pub fn demanded(&mut self, wrong: String) {
        self.violated(wrong);
    }

    /// Members that went on past their lease since the last call: only promises let them.
    pub fn take_overdue(&mut self) -> BTreeSet<RegionId> {
        std::mem::take(&mut self.overdue)
    }

    /// R20: `member` went on past its lease; `peer` has a promise on its disk, or has not.
    pub fn judge_promise(&mut self, member: &RegionId, peer: &str, on_disk: bool) {
        self.saw("promise:relied-on");
        if !on_disk {
            self.violated(format!(
                "R20: {member} acknowledged past its lease, and no promise is on the disk of {peer}"
            ));
        }
    }

    /// Looks at everything that is new.
    pub fn look(&mut self, now: Duration) {
        self.look_at_register(now);
        self.look_at_takeovers(now);
        let happened = self.shared.members.cluster.happened(self.happened);
        self.happened += happened.len();
        for happening in happened {
            self.look_at(happening);
        }
        self.look_at_names();
    }

    fn look_at(&mut self, happening: Happening) {
        let Happening { at, event } = happening;
        match event {
            Event::Acknowledged(acknowledged) => self.judge_acknowledged(at, &acknowledged),
            Event::Promoted { member, line, timeline, starts_at, epoch, receiving } => {
                self.note(
                    &member,
                    &format!(
                        "PostgreSQL is promoted: timeline {timeline} at {starts_at}, epoch {epoch}"
                    ),
                );
                let reign = Reign { epoch, member: member.clone(), first_released: None };
                self.reigns.insert(line, reign);
                self.judge_promoted(&member, epoch, starts_at);
                if receiving {
                    self.judge_receiving(&member, epoch);
                }
            }
            Event::Streams { member, from, at, sound } => {
                self.note(&member, &format!("streams from {from} at {at}"));
                if !sound {
                    self.violated(format!(
                        "lineage: {member} streams from {from}, whose history does not contain its own"
                    ));
                }
            }
            Event::Stopped { member, primary, clean, why } => {
                let role = if primary { "primary" } else { "standby" };
                let how = if clean { "cleanly" } else { "at once" };
                self.note(&member, &format!("PostgreSQL ({role}) stopped {how}: {why}"));
                self.saw(format!("stopped:{role}:{how}"));
            }
            Event::Started { member } => self.note(&member, "PostgreSQL accepts connections"),
            Event::Directory { member, how, .. } => {
                self.note(&member, &format!("data directory: {how}"));
                self.saw("directory");
            }
            Event::Forgotten { member, id } => self.judge_directory(&member, &id),
            Event::WaitCancelled { member, .. } => {
                self.note(&member, "a commit's wait is cancelled")
            }
            Event::SlotLost { member, standby } => {
                self.note(&member, &format!("the slot of {standby} is lost"));
            }
            Event::Note(text) => self.shared.trace.note("pg", &text),
        }
    }

    fn note(&self, member: &RegionId, what: &str) {
        self.shared.trace.note(member.as_str(), what);
    }

    fn judge_acknowledged(&mut self, at: Duration, acknowledged: &Acknowledged) {
        let Content::Append(id) = acknowledged.content else { return };
        self.shared.trace.count(&format!("ack {id} by {}", acknowledged.member));
        self.acknowledged += 1;
        self.last_acknowledged = at;
        if !self.reigns.contains_key(&acknowledged.line) {
            return self.violated(format!("{id} was acknowledged under no promotion"));
        }
        let (chosen, behind) =
            (self.is_the_clients_choice(acknowledged), self.may_be_behind(acknowledged));
        let Some(reign) = self.reigns.get_mut(&acknowledged.line) else { return };
        if !chosen {
            self.kept.push(Kept {
                record: acknowledged.record,
                id,
                epoch: reign.epoch,
                end: acknowledged.end,
                released: acknowledged.released,
            });
        }
        let released = acknowledged.released;
        let over = self.shared.plan.timing.ttl * 102 / 100;
        if self.beats.get(&acknowledged.member).is_some_and(|(_, at)| released > *at + over) {
            self.overdue.insert(acknowledged.member.clone());
        }
        reign.first_released = Some(reign.first_released.map_or(released, |at| at.min(released)));
        let mine = reign.clone();
        if behind {
            return self.saw("acknowledged:without-waiting");
        }
        let rivals: Vec<Reign> = self
            .reigns
            .values()
            .filter(|other| other.first_released.is_some_and(|first| first < released))
            .filter(|other| other.epoch >= mine.epoch && other.member != mine.member)
            .cloned()
            .collect();
        for rival in rivals {
            self.judge_rival(id, acknowledged, &mine, &rival);
        }
    }

    /// I1: nothing is acknowledged under `mine` that is not part of the history of `rival`, under
    /// which something was acknowledged before.
    fn judge_rival(&mut self, id: u64, acknowledged: &Acknowledged, mine: &Reign, rival: &Reign) {
        if rival.epoch == mine.epoch {
            let (one, other) = (&mine.member, &rival.member);
            return self.violated(format!(
                "I1: {one} and {other} acknowledged under epoch {}",
                mine.epoch
            ));
        }
        let view = self.shared.members.cluster.member(&rival.member);
        if !view.holds(acknowledged.record) {
            self.violated(format!(
                "I1: {} acknowledged {id} under epoch {} after {} had acknowledged under {}, which \
                 does not hold it",
                mine.member, mine.epoch, rival.member, rival.epoch
            ));
        }
    }

    /// Who is promoted has every acknowledged commit, unless a loss was approved, and stands on WAL
    /// that was written in one go.
    fn judge_promoted(&mut self, member: &RegionId, epoch: Epoch, fork: Lsn) {
        self.saw("promoted");
        let view = self.shared.members.cluster.member(member);
        if !view.is_one_history() {
            self.violated(format!("lineage: {member} is promoted on WAL of two histories"));
        }
        self.judge_kept(member, epoch, &format!("was promoted under epoch {epoch}"), Some(fork));
    }

    /// Whether somebody approved a loss for the epoch that `member` took over from.
    fn loss_is_approved(&self, member: &RegionId, epoch: Epoch) -> bool {
        let until = self.registers.iter().filter(|(_, record)| record.epoch <= epoch);
        let mine = |(_, record): &&(Duration, PairRecord)| record.held_by(member);
        let before = until.rev().skip_while(mine).map(|(_, record)| record.epoch).next();
        let learnt = self.shared.users.learnt();
        before.is_some_and(|before| learnt.approved.range(before..epoch).next().is_some())
    }

    /// R21: the standing bound is for the lag as it was measured, at most a ttl before the last
    /// holder fell silent. What it acknowledged later nobody could measure.
    fn within_bound(&self, member: &RegionId, fork: Lsn, missing: &[Kept]) -> bool {
        let ttl = self.shared.plan.timing.ttl;
        let before = self.beats_of_primaries.iter().filter(|(region, _)| *region != member);
        let silent = before.map(|(_, at)| *at).max().unwrap_or_default();
        let measured = silent.saturating_sub(ttl + ttl / 10 + LAG_SLACK);
        let known = missing.iter().filter(|kept| kept.released < measured);
        let lost = known.map(|kept| kept.end.bytes_since(fork)).max();
        self.standing_bound().is_some_and(|bound| lost.is_none_or(|lost| lost <= bound))
    }

    fn standing_bound(&self) -> Option<u64> {
        let plan = &self.shared.plan;
        plan.rpo_bytes.filter(|_| plan.durability == Durability::Async)
    }

    /// I2: `member`, which leads under `epoch`, holds every commit acknowledged until then. Of what
    /// was acknowledged under a later one, who thaws with an old promotion under way need not know.
    fn judge_kept(&mut self, member: &RegionId, epoch: Epoch, when: &str, fork: Option<Lsn>) {
        let view = self.shared.members.cluster.member(member);
        let held: BTreeSet<RecordId> = view.wal.iter().map(|record| record.id).collect();
        let lacks = |kept: &Kept| kept.epoch <= epoch && !held.contains(&kept.record);
        let missing: Vec<Kept> = self.kept.iter().filter(|kept| lacks(kept)).cloned().collect();
        if missing.is_empty() {
            return;
        }
        let count = missing.len();
        let standing = match fork {
            Some(fork) => self.within_bound(member, fork, &missing),
            // Every promotion was judged by itself; what is left is what it could not measure.
            None => self.standing_bound().is_some(),
        };
        if standing || self.loss_is_approved(member, epoch) {
            self.note(member, &format!("{count} acknowledged commits are lost, by approval"));
            self.lost_by_approval += count as u64;
        } else if let Some(bound) = self.standing_bound() {
            self.violated(format!(
                "R21: {member} {when} by a standing approval of {bound} bytes without {count} \
                 commits that were acknowledged long before the holder was lost"
            ));
        } else {
            let shown: Vec<u64> = missing.iter().map(|kept| kept.id).take(5).collect();
            self.violated(format!("I2: {member} {when} without {count} acknowledged: {shown:?}"));
        }
        self.kept.retain(|kept| !lacks(kept));
    }

    /// R13: nothing destructive begins with a directory that is listed. One that was lost while it
    /// was listed is cloned anew: in `strict` nothing else can take its place in the ledger.
    fn judge_directory(&mut self, member: &RegionId, directory: &DataDirectoryId) {
        let listed = self.record.as_ref().and_then(|(_, record)| record.in_sync.get(member));
        if listed == Some(directory) {
            self.violated(format!("R13: the listed directory of {member} is replaced"));
        }
    }

    /// I3: an answer names a region that held the pair not longer ago than answers may be old.
    fn look_at_names(&mut self) {
        let learnt = self.shared.users.learnt();
        let answers = learnt.answers.get(self.answered..).unwrap_or_default().to_vec();
        drop(learnt);
        self.answered += answers.len();
        for answer in answers {
            let named = answer.region.as_deref();
            self.shared.trace.count(&format!("name {}", named.unwrap_or("-")));
            let Some(region) = named else {
                self.saw("name:none");
                continue;
            };
            let oldest = answer.asked.saturating_sub(DNS_MAX_AGE + DNS_POLL + NAMES_SLACK);
            if !self.held_within(region, oldest, answer.came) {
                self.violated(format!(
                    "I3: the name pointed at {region} at {:.3}, which had not held the pair since \
                     {:.3}",
                    answer.came.as_secs_f64(),
                    oldest.as_secs_f64()
                ));
            }
        }
    }

    fn held_within(&self, region: &str, from: Duration, to: Duration) -> bool {
        let ends = self.holders.iter().skip(1).map(|(begin, _)| *begin);
        let ends = ends.chain([Duration::MAX]);
        self.holders.iter().zip(ends).any(|((begin, holder), end)| {
            holder.as_deref() == Some(region) && *begin <= to && end >= from
        })
    }

    /// Why the pair is not yet as it should be after all faults; `None`: it is (I5).
    pub fn unsettled(&self, now: Duration) -> Option<String> {
        let Some((_, record)) = &self.record else { return Some("no pair register".into()) };
        let Some(holder) = &record.holder else { return Some("nobody holds the pair".into()) };
        let cluster = &self.shared.members.cluster;
        let primary = cluster.member(holder);
        if !(primary.primary && primary.accepts_writes) {
            return Some(format!("{holder} holds the pair and takes no writes"));
        }
        let durability_known = !self.shared.users.learnt().durability_changed;
        for region in self.shared.members.regions().filter(|region| *region != holder) {
            let view = cluster.member(region);
            if view.streams_from.as_ref() != Some(holder) {
                return Some(format!("{region} does not stream from {holder}"));
            }
            let listed = view.directory.as_ref().is_some_and(|id| record.lists(region, id));
            if durability_known && self.shared.plan.durability.is_synchronous() && !listed {
                return Some(format!("{region} is not in the in-sync set"));
            }
        }
        if now.saturating_sub(self.last_acknowledged) > QUIET {
            return Some("nothing is acknowledged".into());
        }
        let learnt = self.shared.users.learnt();
        let answer = learnt.answers.last().filter(|answer| now - answer.came < QUIET);
        let right = answer.is_some_and(|answer| answer.region.as_deref() == Some(holder.as_str()));
        (!right).then(|| format!("the name does not point at {holder}"))
    }

    /// What can only be judged at the end.
    pub fn finish(&mut self) {
        let last = self.record().and_then(|record| Some((record.holder.clone()?, record.epoch)));
        if let Some((holder, epoch)) = last {
            self.judge_kept(&holder, epoch, "is the last primary", None);
        }
        let learnt = self.shared.users.learnt();
        let journal = learnt.operations.as_ref().and_then(|(accepted, operations)| {
            core_watch::judge_journal(operations, accepted, &self.registers)
        });
        drop(learnt);
        if let Some(wrong) = journal {
            self.violated(wrong);
        }
        if let Err(why) = self.shared.history.check(self.shared.plan.acceptors > 0) {
            self.violated(format!("the witness is not linearizable: {why}"));
        }
    }

    /// The pair's register as last seen.
    pub fn record(&self) -> Option<&PairRecord> {
        self.record.as_ref().map(|(_, record)| record)
    }
}
