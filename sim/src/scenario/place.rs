//! What may happen to a host.

use std::time::Duration;

use super::Story;
use super::story::{id, ms};
use crate::plan::{Calls, DiskFault, Fault, Half, MemberFault};
use crate::postgres::Cluster;

/// Longest a fault of a story lasts when nobody says when it ends.
const FOR_NOW: Duration = Duration::from_secs(3_600);

/// A host of the story.
pub struct Place<'s, 'r, 'w> {
    pub(super) story: &'s mut Story<'r, 'w>,
    pub(super) name: String,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The network.
impl Place<'_, '_, '_> {
    fn cut(self, a: Vec<String>, b: Vec<String>, both: bool, span: Duration) {
        self.story.begin(Fault::Cut { a, b, both, span: ms(span) });
    }

    /// No message gets through, in either direction.
    pub fn cut_from(self, others: &[&str]) {
        self.cut_from_for(others, FOR_NOW);
    }

    /// The same for `span`.
    pub fn cut_from_for(self, others: &[&str], span: Duration) {
        let me = vec![self.name.clone()];
        self.cut(me, owned(others), true, span);
    }

    /// Its messages arrive, answers do not.
    pub fn hears_nothing_from(self, others: &[&str]) {
        let me = vec![self.name.clone()];
        self.cut(owned(others), me, false, FOR_NOW);
    }

    /// The witness does what it asks of the pair's register, and its answers are lost.
    pub fn hears_no_answer_about_the_pair(self, span: Duration) {
        for calls in [Calls::WritePair, Calls::ReadPair] {
            self.story.begin(Fault::Late {
                host: self.name.clone(),
                calls,
                half: Half::Answer,
                by: ms(FOR_NOW),
                span: ms(span),
            });
        }
    }

    /// It reaches nobody outside itself, and nobody reaches it.
    pub fn cut_from_everybody(self) {
        self.cut_from_everybody_for(FOR_NOW);
    }

    /// The same for `span`.
    pub fn cut_from_everybody_for(self, span: Duration) {
        let (me, others) = (vec![self.name.clone()], self.others());
        self.cut(me, others, true, span);
    }

    /// It reaches nobody but `friends`.
    pub fn reaches_only(self, friends: &[&str]) {
        let me = vec![self.name.clone()];
        let others = self.others().into_iter().filter(|name| !friends.contains(&name.as_str()));
        let others = others.collect();
        self.cut(me, others, true, FOR_NOW);
    }

    fn others(&self) -> Vec<String> {
        self.story.run.world.names_of_others(&self.name)
    }

    /// The link is cut and mended in turn, each for `period`.
    pub fn flaps_with(self, others: &[&str], period: Duration, span: Duration) {
        let (a, b) = (vec![self.name], owned(others));
        self.story.begin(Fault::Flap { a, b, period: ms(period), span: ms(span) });
    }

    /// Messages to and from the others wait, and come all at once after `span`.
    pub fn messages_wait(self, others: &[&str], span: Duration) {
        self.story.begin(Fault::Hold { a: vec![self.name], b: owned(others), span: ms(span) });
    }

    /// Messages to and from the others take up to `most`.
    pub fn is_far_from(self, others: &[&str], most: Duration) {
        let (a, b) = (vec![self.name], owned(others));
        self.story.begin(Fault::Slow { a, b, most: ms(most), span: ms(FOR_NOW) });
    }
}

/// Processes, hosts, disks and clocks.
impl Place<'_, '_, '_> {
    /// Its process is killed and comes back after `down`.
    pub fn killed_for(self, down: Duration) {
        self.story.begin(Fault::Kill { host: self.name, down: ms(down) });
    }

    /// Its process is killed, and is back within `down` as a newer version.
    pub fn upgraded_within(self, down: Duration) {
        self.story.begin(Fault::Upgrade { host: self.name, down: ms(down) });
    }

    /// It loses power for `down`.
    pub fn loses_power_for(self, down: Duration) {
        self.story.begin(Fault::PowerOff { host: self.name, down: ms(down) });
    }

    /// It loses power for good.
    pub fn loses_power(self) {
        self.loses_power_for(FOR_NOW);
    }

    /// It loses power for `down`, and its disk is empty then.
    pub fn loses_its_disk_for(self, down: Duration) {
        self.story.begin(Fault::DiskLost { host: self.name, down: ms(down) });
    }

    /// Its process is stopped (SIGSTOP) for `span`.
    pub fn stopped_for(self, span: Duration) {
        self.story.begin(Fault::Freeze { host: self.name, span: ms(span) });
    }

    /// The whole host stands still for `span`.
    pub fn freezes_for(self, span: Duration) {
        self.story.begin(Fault::FreezeHost { host: self.name, span: ms(span) });
    }

    /// Its wall clock is set ahead, or back, by hours.
    pub fn wall_clock_steps_by_hours(self, hours: i64) {
        self.story.begin(Fault::WallStep { host: self.name, by_ms: hours * 3_600_000 });
    }

    fn disk(self, how: DiskFault, span: Duration) {
        self.story.begin(Fault::Disk { host: self.name, how, span: ms(span) });
    }

    /// Writes to the disk of its own state fail.
    pub fn disk_fails_for(self, span: Duration) {
        self.disk(DiskFault::Fails, span);
    }

    /// Every write to the disk of its own state takes 200 ms more.
    pub fn disk_is_slow_for(self, span: Duration) {
        self.disk(DiskFault::Slow, span);
    }
}

/// PostgreSQL, its guard and its data.
impl Place<'_, '_, '_> {
    fn member(self, what: MemberFault, span: Duration) {
        self.story.begin(Fault::Member { region: self.name, what, span: ms(span) });
    }

    /// Its PostgreSQL crashes.
    pub fn postgres_crashes(self) {
        self.member(MemberFault::PostgresCrash, Duration::ZERO);
    }

    /// Its guard crashes, and PostgreSQL with it; it is back after `down`.
    pub fn guard_crashes_for(self, down: Duration) {
        self.member(MemberFault::GuardCrash, down);
    }

    /// Its PostgreSQL ends whenever it is started.
    pub fn postgres_cannot_start(self) {
        self.member(MemberFault::StartFails, FOR_NOW);
    }

    /// Flushes of PostgreSQL's disk do not return; the process lives.
    pub fn flushes_hang(self) {
        self.member(MemberFault::SyncHangs, FOR_NOW);
    }

    /// PostgreSQL's disk has no room.
    pub fn wal_volume_is_full(self) {
        self.member(MemberFault::DiskFull, FOR_NOW);
    }

    /// The standby receives and flushes, and replays nothing.
    pub fn replay_stalls(self) {
        self.member(MemberFault::ReplayStall, FOR_NOW);
    }

    /// The standby's receiver takes nothing in and says nothing.
    pub fn receiver_is_stuck(self) {
        self.member(MemberFault::ReceiverStuck, FOR_NOW);
    }

    /// The checkpointer takes up no reload.
    pub fn checkpointer_is_busy_for(self, span: Duration) {
        self.member(MemberFault::SlowCheckpointer, span);
    }

    /// An operator fences it by hand, for `span`.
    pub fn is_fenced_by_hand_for(self, span: Duration) {
        self.story.begin(Fault::Fence { region: self.name, span: ms(span) });
    }

    /// Its sessions lower `synchronous_commit` for `span`: their commits wait for nobody.
    pub fn sessions_lower_their_commits_for(self, span: Duration) {
        self.member(MemberFault::CommitLowered, span);
    }

    fn on_cluster(self, what: &str, work: impl FnOnce(&Cluster, &continuum_domain::RegionId)) {
        let world = &self.story.run.world;
        world.trace.note("fault", &format!("PostgreSQL in {}: {what}", self.name));
        work(&world.members.cluster, &id(&self.name));
    }

    /// A backend crashes: PostgreSQL ends all sessions and goes on in the same process.
    pub fn backend_crashes(self) {
        self.member(MemberFault::BackendCrash, Duration::ZERO);
    }

    /// Its data directory is gone.
    pub fn loses_its_data_directory(self) {
        self.on_cluster("the data directory is gone", Cluster::wipe);
    }

    /// Its data directory holds another database system's files under the same name.
    pub fn holds_foreign_data(self) {
        self.on_cluster("the data is another system's", Cluster::swap_system);
    }

    /// A primary writes a checkpoint.
    pub fn checkpoints(self) {
        self.on_cluster("a checkpoint", Cluster::checkpoint);
    }

    /// Somebody cancels the commit that waits longest.
    pub fn a_waiting_commit_is_cancelled(self) {
        self.member(MemberFault::WaitCancelled, Duration::ZERO);
    }
}
