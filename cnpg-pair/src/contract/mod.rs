//! What every [`DataPlane`] must do, as a suite that any implementation runs.
//!
//! An implementation provides a [`Bench`]; each function here builds what it needs from an empty
//! one and panics, as tests do, when the contract is broken. Nothing here sleeps for a guessed
//! time: conditions are polled with a deadline.

#![expect(clippy::missing_panics_doc, reason = "every function here is a test")]

mod bench;

use std::time::Duration;

use continuum_domain::observation::{Lineage, ProcessState};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, SyncNames};

use crate::plane::{PlaneError, StopMode, Upstream};
use bench::{
    FAR, Member, PATIENCE, first_primary, look, member, refused, standby_of, until, wait_stopped,
    wait_streaming,
};

pub use bench::{Bench, region};

/// Initialise makes an identity, start boots a standby, and promotion needs a deadline that was
/// armed beforehand and is still to come (R5).
pub async fn promotion_needs_an_armed_deadline<B: Bench + ?Sized>(bench: &mut B) {
    let it = member(bench, "fsn").await;
    let names = SyncNames::default();
    refused(it.plane.start(Epoch(1), &names, None).await, "start without a directory");
    let id = it.plane.initialise().await.expect("initialised");
    refused(it.plane.initialise().await, "initialise over a directory");
    it.plane.start(Epoch(1), &names, None).await.expect("started");
    assert!(look(bench, &*it.plane).await.in_recovery, "it boots as a standby");
    refused(it.plane.promote(Epoch(1), &names).await, "promote unarmed");
    bench.arm(&*it.plane, Epoch(1), bench.now()).await;
    refused(it.plane.promote(Epoch(1), &names).await, "promote after the deadline");
    let status = it.plane.status().await.expect("status");
    assert_eq!((status.process, status.promoted), (ProcessState::Running, false));
    assert_eq!(status.data_directory, Some(id));

    bench.arm(&*it.plane, Epoch(1), bench.now() + FAR).await;
    let promoted = it.plane.promote(Epoch(1), &names).await.expect("promoted");
    let view = look(bench, &*it.plane).await;
    assert!(!view.in_recovery);
    assert_eq!(view.timeline, promoted.timeline);
    assert!(view.wal.is_some_and(|wal| wal >= promoted.starts_at), "{promoted:?}");
    it.plane.commit_probe().await.expect("a commit is acknowledged");
    until(bench, "the write probe succeeds", async || it.plane.observe().await.write_probe).await;
}

/// A standby is promoted only under a deadline that was armed for it and is still to come (R5).
pub async fn a_standby_is_promoted_under_a_deadline_alone<B: Bench + ?Sized>(bench: &mut B) {
    let a = first_primary(bench, "fsn", "hel").await;
    let b = standby_of(bench, "hel", &a).await;
    let names = SyncNames::default();
    a.plane.stop(Epoch(1), StopMode::Immediate).await.expect("stopped");
    refused(b.plane.promote(Epoch(2), &names).await, "promote unarmed");
    bench.arm(&*b.plane, Epoch(2), bench.now()).await;
    refused(b.plane.promote(Epoch(2), &names).await, "promote after the deadline");
    assert!(look(bench, &*b.plane).await.in_recovery, "refused means untouched");
    let status = b.plane.status().await.expect("status");
    assert_eq!((status.process, status.promoted), (ProcessState::Running, false));

    bench.arm(&*b.plane, Epoch(2), bench.now() + FAR).await;
    let promoted = b.plane.promote(Epoch(2), &names).await.expect("promoted");
    let view = look(bench, &*b.plane).await;
    assert_eq!((view.in_recovery, view.timeline), (false, promoted.timeline));
    b.plane.commit_probe().await.expect("a commit is acknowledged");
}

/// At the deadline a primary stops (R5), and the change is announced; a standby goes on.
pub async fn the_deadline_stops_a_primary<B: Bench + ?Sized>(bench: &mut B) {
    let it = first_primary(bench, "fsn", "hel").await;
    let seen = it.plane.status().await.expect("status");
    let deadline = bench.now() + Duration::from_secs(1);
    bench.arm(&*it.plane, Epoch(1), deadline).await;
    let announced = async {
        let mut known = seen.clone();
        // What stands in the way of a move may change before, and is announced as well.
        while known.process == ProcessState::Running {
            assert_eq!(known.exits, seen.exits, "it ran on");
            known = it.plane.changed(&known).await.expect("announced");
        }
    };
    tokio::select! {
        () = announced => assert!(bench.now() >= deadline, "not before the deadline"),
        () = bench.pause(PATIENCE) => panic!("not within {PATIENCE:?}: it stops"),
    }
    let stopped = wait_stopped(bench, &*it.plane).await;
    assert_eq!(stopped.exits, seen.exits + 1);

    it.plane.start(Epoch(1), &SyncNames::default(), None).await.expect("started again");
    bench.pause(Duration::from_millis(100)).await;
    let status = it.plane.status().await.expect("status");
    assert_eq!(status.process, ProcessState::Running, "a standby outlives the passed deadline");
}

/// Commands of an older generation or epoch are refused and change nothing (R4).
pub async fn older_agents_and_epochs_are_refused<B: Bench + ?Sized>(bench: &mut B) {
    let old = first_primary(bench, "fsn", "hel").await;
    let new = bench.agent(&old.region).await;
    let far = bench.now() + FAR;
    refused(new.arm(Epoch(2), far).await, "a command before taking");
    let taken = new.take().await.expect("taken");
    assert_eq!(taken.status.process, ProcessState::Running, "PostgreSQL runs on (R5)");
    refused(old.plane.arm(Epoch(9), far).await, "arm by the old agent");
    refused(old.plane.set_names(Epoch(9), &SyncNames::default()).await, "names by the old agent");
    refused(old.plane.stop(Epoch(9), StopMode::Immediate).await, "stop by the old agent");
    let elsewhere = bench.upstream(&region("hel"));
    refused(old.plane.reclone(Epoch(9), &elsewhere).await, "a copy by the old agent");
    assert_eq!(new.status().await.expect("status").epoch, Epoch(1), "refused means untouched");

    bench.arm(&*new, Epoch(2), far).await;
    refused(new.arm(Epoch(1), far).await, "arm under an older epoch");
    refused(new.set_names(Epoch(1), &SyncNames::default()).await, "names under an older epoch");
    refused(new.reclone(Epoch(1), &elsewhere).await, "a copy under an older epoch");
    let status = new.status().await.expect("status");
    assert_eq!((status.process, status.promoted), (ProcessState::Running, true), "untouched");

    bench.restart_actuator(&old.region).await;
    let later = bench.agent(&old.region).await;
    let taken_later = later.take().await.expect("taken");
    assert!(taken_later.generation > taken.generation, "generations never repeat");
    assert_eq!(taken_later.status.epoch, Epoch(2), "the epoch is remembered");
    refused(later.start(Epoch(1), &SyncNames::default(), None).await, "start under epoch 1");
}

/// A clone streams under its region's name; its identity is its own (R13).
pub async fn a_cloned_standby_streams<B: Bench + ?Sized>(bench: &mut B) {
    let primary = first_primary(bench, "fsn", "hel").await;
    let standby = standby_of(bench, "hel", &primary).await;
    let identity = async |member: &Member| -> DataDirectoryId {
        let status = member.plane.status().await.expect("status");
        status.data_directory.expect("an identity")
    };
    assert_ne!(identity(&primary).await, identity(&standby).await);
    let mark = primary.plane.wake().await.expect("a record is written");
    until(bench, "the standby replays it", async || {
        let view = look(bench, &*primary.plane).await;
        view.standbys.get(&standby.region)?.replay.filter(|replay| *replay >= mark)
    })
    .await;
    let view = look(bench, &*standby.plane).await;
    assert!(view.in_recovery && view.wal >= Some(mark) && view.replay >= Some(mark), "{view:?}");
    refused(standby.plane.follow(Epoch(0), None).await, "an older epoch");
    standby.plane.follow(Epoch(1), None).await.expect("unfollowed");
    if standby.plane.status().await.expect("status").always_receives {
        return goes_on_receiving(bench, &primary, &standby).await;
    }
    until(bench, "the receiver is gone", async || {
        (!look(bench, &*standby.plane).await.receiver_streaming).then_some(())
    })
    .await;
}

/// A standby that says that it always receives says so when it is told to stop too, and goes on: nothing is
/// built on what it has received (R18).
async fn goes_on_receiving<B: Bench + ?Sized>(bench: &B, primary: &Member, standby: &Member) {
    let told = standby.plane.stop_receiving(Epoch(1)).await;
    assert!(matches!(told, Err(PlaneError::Failed { .. })), "it promises nothing: {told:?}");
    let mark = primary.plane.wake().await.expect("a record is written");
    until(bench, "it is received", async || {
        (look(bench, &*standby.plane).await.wal >= Some(mark)).then_some(())
    })
    .await;
}

/// What a standby shows of its primary's WAL is as old as the primary's words, however new the look
/// is (R21).
pub async fn words_of_a_primary_get_older<B: Bench + ?Sized>(bench: &mut B) {
    let primary = first_primary(bench, "fsn", "hel").await;
    let standby = standby_of(bench, "hel", &primary).await;
    wait_streaming(bench, &standby, &primary).await;
    let heard = async |bench: &B| {
        let mark = primary.plane.wake().await.expect("a record is written");
        until(bench, "the standby hears of it", async || {
            primary.plane.wake().await.expect("a record is written");
            let view = look(bench, &*standby.plane).await;
            let age = view.upstream_age_ms.filter(|_| view.upstream_end >= Some(mark))?;
            (age < 1_000).then_some(())
        })
        .await;
    };
    heard(bench).await;
    bench.stick_receiver(&standby.region, true).await;
    let begun = bench.now();
    let unheard = primary.plane.wake().await.expect("a record is written");
    let shown = until(bench, "the words are old", async || {
        let view = look(bench, &*standby.plane).await;
        view.upstream_age_ms.is_some_and(|age| age > 1_500).then_some(view)
    })
    .await;
    assert!(shown.upstream_end < Some(unheard), "{shown:?}");
    let passed = bench.now().since(begun) + Duration::from_secs(2);
    assert!(shown.upstream_age_ms.map(Duration::from_millis) < Some(passed), "{shown:?}");
    bench.stick_receiver(&standby.region, false).await;
    heard(bench).await;
}

/// With names commits wait for all of them, seen by the canary (R12); without names they do not.
pub async fn names_make_commits_wait<B: Bench + ?Sized>(bench: &mut B) {
    let primary = first_primary(bench, "fsn", "hel").await;
    let standby = standby_of(bench, "hel", &primary).await;
    let plane = &*primary.plane;
    plane.start_canary().await.expect("started");
    bench.pause(Duration::from_millis(50)).await;
    assert!(!plane.look_canary().await.expect("looked").waiting, "nobody is waited for");

    let names = SyncNames::of([standby.region.clone()]);
    plane.set_names(Epoch(1), &names.with_probe()).await.expect("named");
    let commit: Lsn = until(bench, "the canary waits", async || {
        let seen = plane.look_canary().await.expect("looked");
        if !seen.waiting {
            plane.start_canary().await.expect("started");
        }
        seen.commit_lsn.filter(|_| seen.waiting)
    })
    .await;
    until(bench, "the standby has it", async || {
        let view = look(bench, plane).await;
        view.standbys.get(&standby.region)?.flush.filter(|flush| *flush >= commit)
    })
    .await;
    let seen = plane.look_canary().await.expect("looked");
    assert!(seen.waiting && seen.commit_lsn == Some(commit), "it waits for the probe: {seen:?}");

    plane.set_names(Epoch(1), &names).await.expect("named");
    plane.wake().await.expect("woken");
    until(bench, "the canary returns", async || {
        (!plane.look_canary().await.expect("looked").waiting).then_some(())
    })
    .await;
    let view = look(bench, plane).await;
    assert_eq!(view.sync_names, names.to_string());
    assert!(view.standbys.get(&standby.region).is_some_and(|standby| standby.sync));
    plane.commit_probe().await.expect("acknowledged with its standby there");
}

/// Starting and promoting only add names (R10): what was configured before a crash still stands.
pub async fn start_and_promote_only_add_names<B: Bench + ?Sized>(bench: &mut B) {
    let it = first_primary(bench, "fsn", "hel").await;
    let names = SyncNames::of([region("hel")]);
    it.plane.set_names(Epoch(1), &names).await.expect("named");
    it.plane.stop(Epoch(1), StopMode::Immediate).await.expect("stopped");
    it.plane.start(Epoch(1), &SyncNames::default(), None).await.expect("started");
    bench.arm(&*it.plane, Epoch(1), bench.now() + FAR).await;
    it.plane.promote(Epoch(1), &SyncNames::default()).await.expect("promoted");
    assert_eq!(look(bench, &*it.plane).await.sync_names, names.to_string());
    it.plane.set_names(Epoch(1), &SyncNames::default()).await.expect("relaxed");
    it.plane.wake().await.expect("woken");
    it.plane.commit_probe().await.expect("acknowledged alone");
}

/// A primary stopped cleanly after its standby had everything follows without a rewind.
pub async fn a_clean_switchover_needs_no_rewind<B: Bench + ?Sized>(bench: &mut B) {
    let a = first_primary(bench, "fsn", "hel").await;
    let b = standby_of(bench, "hel", &a).await;
    a.plane.checkpoint().await.expect("checkpointed");
    a.plane.stop(Epoch(1), StopMode::Fast).await.expect("stopped");
    let control = a.plane.control_data().await.expect("readable");
    assert!(control.clean_shutdown && !control.in_recovery, "{control:?}");
    until(bench, "the standby replayed the shutdown", async || {
        look(bench, &*b.plane).await.replay.filter(|replay| *replay > control.checkpoint)
    })
    .await;
    bench.arm(&*b.plane, Epoch(2), bench.now() + FAR).await;
    b.plane.promote(Epoch(2), &SyncNames::default()).await.expect("promoted");
    b.plane.ensure_replication(std::slice::from_ref(&a.region)).await.expect("prepared");
    let upstream = bench.upstream(&b.region);
    assert_eq!(a.plane.lineage(&upstream).await.expect("compared"), Lineage::Follows);
    a.plane.start(Epoch(2), &SyncNames::default(), Some(&upstream)).await.expect("started");
    wait_streaming(bench, &a, &b).await;
    b.plane.commit_probe().await.expect("acknowledged");
}

/// A failover that leaves the old primary stopped with a tail of its own. Of that: its history, as it is
/// compared with the new primary's, and a position that is in the tail.
async fn fails_over<B: Bench + ?Sized>(bench: &mut B) -> (Member, Member, Lineage, [Lsn; 3]) {
    let a = first_primary(bench, "fsn", "hel").await;
    let b = standby_of(bench, "hel", &a).await;
    b.plane.stop(Epoch(1), StopMode::Immediate).await.expect("stopped");
    let tail = a.plane.wake().await.expect("a record only A has");
    let end = a.plane.wake().await.expect("and another");
    a.plane.stop(Epoch(1), StopMode::Immediate).await.expect("stopped");

    let names = SyncNames::default();
    b.plane.start(Epoch(2), &names, None).await.expect("started");
    bench.arm(&*b.plane, Epoch(2), bench.now() + FAR).await;
    let promoted = b.plane.promote(Epoch(2), &names).await.expect("promoted");
    b.plane.ensure_replication(std::slice::from_ref(&a.region)).await.expect("prepared");
    let lineage = a.plane.lineage(&bench.upstream(&b.region)).await.expect("compared");
    (a, b, lineage, [promoted.starts_at, tail, end])
}

/// What was rejoined has another identity (R13), and streams.
async fn rejoins<B: Bench + ?Sized>(
    bench: &mut B,
    (a, b): (&Member, &Member),
    [before, after]: [Option<DataDirectoryId>; 2],
) {
    assert_ne!(after, before, "another directory, by its identity");
    assert_eq!(a.plane.status().await.expect("status").data_directory, after);
    let upstream = bench.upstream(&b.region);
    a.plane.start(Epoch(2), &SyncNames::default(), Some(&upstream)).await.expect("started");
    wait_streaming(bench, a, b).await;
    b.plane.commit_probe().await.expect("acknowledged");
}

/// An old primary with a tail of its own is seen as diverged, its tail is saved, and after the
/// rewind it streams, with another identity (R13).
pub async fn a_diverged_primary_is_rewound<B: Bench + ?Sized>(bench: &mut B) {
    let (a, b, lineage, [promoted, _, tail]) = fails_over(bench).await;
    let Lineage::Diverged { fork, end, timeline } = lineage else {
        panic!("it has a tail of its own: {lineage:?}")
    };
    assert_eq!(fork, promoted);
    assert!(end >= tail, "{end} reaches the last record at {tail}");
    let artefact = a.plane.save_tail(fork, timeline).await.expect("saved");
    assert!(artefact.commits >= 1 && artefact.end == end, "{artefact:?}");
    let before = a.plane.status().await.expect("status").data_directory;
    let after = a.plane.rewind(Epoch(2), &bench.upstream(&b.region)).await.expect("rewound");
    rejoins(bench, (&a, &b), [before, Some(after)]).await;
}

/// The same of a member that does not rewind: it says so, and is copied.
pub async fn a_diverged_primary_is_copied<B: Bench + ?Sized>(bench: &mut B) {
    let (a, b, lineage, [promoted, tail, _]) = fails_over(bench).await;
    let Lineage::Apart { fork, end, timeline } = lineage else {
        panic!("it has a tail of its own, and only a copy joins it: {lineage:?}")
    };
    assert_eq!(fork, promoted);
    assert!(end >= tail, "{end}, where the last record begins, is past the one before, {tail}");
    let artefact = a.plane.save_tail(fork, timeline).await.expect("saved");
    assert!(artefact.commits >= 2 && artefact.end == end, "{artefact:?}");
    let before = a.plane.status().await.expect("status").data_directory;
    let upstream = bench.upstream(&b.region);
    let rewound = a.plane.rewind(Epoch(2), &upstream).await;
    assert!(matches!(rewound, Err(PlaneError::Failed { .. })), "{rewound:?}");
    assert_eq!(a.plane.status().await.expect("status").data_directory, before, "untouched");
    let after = a.plane.reclone(Epoch(2), &upstream).await.expect("copied");
    rejoins(bench, (&a, &b), [before, Some(after)]).await;
}

/// A primary that dies soon after its own promotion, before its first checkpoint, is rewound like any
/// other: the crash recovery that comes first must leave the WAL that the rewind looks for.
pub async fn a_primary_that_was_just_promoted_is_rewound<B: Bench + ?Sized>(bench: &mut B) {
    let a = first_primary(bench, "fsn", "hel").await;
    let b = standby_of(bench, "hel", &a).await;
    let names = SyncNames::default();
    // No shutdown checkpoint: the last one that both know is the clone's, some segments back.
    let end = look(bench, &*a.plane).await.wal;
    until(bench, "the standby has it all", async || {
        (look(bench, &*b.plane).await.replay >= end).then_some(())
    })
    .await;
    b.plane.stop_receiving(Epoch(2)).await.expect("receives no more");
    bench.arm(&*b.plane, Epoch(2), bench.now() + FAR).await;
    b.plane.promote(Epoch(2), &names).await.expect("promoted");
    b.plane.ensure_replication(std::slice::from_ref(&a.region)).await.expect("prepared");
    a.plane.stop(Epoch(2), StopMode::Immediate).await.expect("stopped");
    let upstream = bench.upstream(&b.region);
    if let Lineage::Diverged { .. } = a.plane.lineage(&upstream).await.expect("compared") {
        a.plane.rewind(Epoch(2), &upstream).await.expect("rewound");
    }
    a.plane.start(Epoch(2), &names, Some(&upstream)).await.expect("started");
    wait_streaming(bench, &a, &b).await;

    a.plane.stop_receiving(Epoch(2)).await.expect("receives no more");
    b.plane.wake().await.expect("a record only B has");
    bench.arm(&*a.plane, Epoch(3), bench.now() + FAR).await;
    a.plane.promote(Epoch(3), &names).await.expect("promoted");
    a.plane.ensure_replication(std::slice::from_ref(&b.region)).await.expect("prepared");
    b.plane.stop(Epoch(3), StopMode::Immediate).await.expect("stopped");
    let upstream = bench.upstream(&a.region);
    let lineage = b.plane.lineage(&upstream).await.expect("compared");
    assert!(matches!(lineage, Lineage::Diverged { .. }), "{lineage:?}");
    b.plane.rewind(Epoch(3), &upstream).await.expect("rewound");
    b.plane.start(Epoch(3), &names, Some(&upstream)).await.expect("started");
    wait_streaming(bench, &b, &a).await;
}

/// A standby that stopped receiving has no WAL receiver and gets nothing any more (R18), its primary's
/// commits wait for it, and it can follow again. One whose receiver hangs does not say that it stopped.
pub async fn a_standby_stops_receiving<B: Bench + ?Sized>(bench: &mut B) {
    let primary = first_primary(bench, "fsn", "hel").await;
    let standby = standby_of(bench, "hel", &primary).await;
    assert!(!standby.plane.status().await.expect("status").always_receives);
    let names = SyncNames::of([standby.region.clone()]);
    // Backends wait once the checkpointer has taken the names up (R12).
    primary.plane.set_names(Epoch(1), &names.with_probe()).await.expect("named");
    until(bench, "commits wait", async || {
        primary.plane.start_canary().await.expect("started");
        bench.pause(Duration::from_millis(20)).await;
        primary.plane.look_canary().await.expect("looked").waiting.then_some(())
    })
    .await;
    primary.plane.set_names(Epoch(1), &names).await.expect("named");
    primary.plane.wake().await.expect("woken");
    primary.plane.commit_probe().await.expect("acknowledged by both");

    let received = standby.plane.stop_receiving(Epoch(2)).await.expect("stopped receiving");
    let written = primary.plane.wake().await.expect("a record is written");
    assert!(written > received, "{written} was written after {received}");
    let seen = look(bench, &*standby.plane).await;
    assert!(!seen.receiver_streaming && seen.wal == Some(received), "{seen:?}");
    let waits = tokio::select! {
        done = primary.plane.commit_probe() => panic!("acknowledged by one: {done:?}"),
        () = bench.pause(Duration::from_millis(500)) => look(bench, &*primary.plane).await,
    };
    assert!(waits.waiting_commits >= 1, "{waits:?}");
    let seen = look(bench, &*standby.plane).await;
    assert_eq!(seen.wal, Some(received), "nothing came meanwhile");
    refused(standby.plane.stop_receiving(Epoch(1)).await, "an older epoch");

    let upstream = bench.upstream(&primary.region);
    standby.plane.follow(Epoch(2), Some(&upstream)).await.expect("follows again");
    wait_streaming(bench, &standby, &primary).await;
    primary.plane.commit_probe().await.expect("acknowledged by both");

    bench.stick_receiver(&standby.region, true).await;
    let stuck = standby.plane.stop_receiving(Epoch(2)).await;
    assert!(matches!(stuck, Err(PlaneError::Failed { .. })), "it hangs: {stuck:?}");
    bench.stick_receiver(&standby.region, false).await;
    standby.plane.stop_receiving(Epoch(2)).await.expect("stopped receiving");
}

/// Two members promoted apart from the same position, so under the same timeline number; each then
/// writes. The first is stopped, and the second's upstream is returned.
async fn promoted_apart<B: Bench + ?Sized>(
    bench: &mut B,
    writes: [u32; 2],
) -> (Member, Member, Upstream, Lsn) {
    let a = first_primary(bench, "fsn", "hel").await;
    let b = standby_of(bench, "hel", &a).await;
    let names = SyncNames::default();
    // A stops cleanly, B has it all.
    a.plane.stop(Epoch(1), StopMode::Fast).await.expect("stopped");
    let control = a.plane.control_data().await.expect("readable");
    until(bench, "the standby replayed the shutdown", async || {
        look(bench, &*b.plane).await.replay.filter(|replay| *replay > control.checkpoint)
    })
    .await;
    b.plane.follow(Epoch(1), None).await.expect("unfollowed");
    until(bench, "the receiver is gone", async || {
        (!look(bench, &*b.plane).await.receiver_streaming).then_some(())
    })
    .await;
    let mut promoted = Vec::new();
    a.plane.start(Epoch(1), &names, None).await.expect("started");
    for (member, count) in [&a, &b].into_iter().zip(writes) {
        bench.arm(&*member.plane, Epoch(2), bench.now() + FAR).await;
        promoted.push(member.plane.promote(Epoch(2), &names).await.expect("promoted"));
        for _ in 0..count {
            member.plane.wake().await.expect("written");
        }
    }
    assert_eq!(promoted[0], promoted[1], "the same number from the same position");
    a.plane.stop(Epoch(2), StopMode::Immediate).await.expect("stopped");
    b.plane.ensure_replication(std::slice::from_ref(&a.region)).await.expect("prepared");
    let upstream = bench.upstream(&b.region);
    (a, b, upstream, promoted[0].starts_at)
}

/// Two members promoted apart bear the same timeline number; content tells them apart, and only a
/// clone joins them: `pg_rewind` goes by the numbers.
pub async fn equal_timeline_numbers_are_told_apart<B: Bench + ?Sized>(bench: &mut B) {
    // A is short: by positions alone it would lie within B's history.
    let (a, b, upstream, fork) = promoted_apart(bench, [0, 20]).await;
    let names = SyncNames::default();
    let lineage = a.plane.lineage(&upstream).await.expect("compared");
    assert!(matches!(lineage, Lineage::Apart { fork: at, .. } if at == fork), "{lineage:?}");
    a.plane.reclone(Epoch(2), &upstream).await.expect("cloned");
    a.plane.start(Epoch(2), &names, Some(&upstream)).await.expect("started");
    wait_streaming(bench, &a, &b).await;
}

/// The same where the primary has gone on to the next timeline: by switches alone, the member would
/// leave the common history only there.
pub async fn a_fork_under_an_equal_number_is_found<B: Bench + ?Sized>(bench: &mut B) {
    let (a, b, upstream, fork) = promoted_apart(bench, [60, 0]).await;
    let names = SyncNames::default();
    b.plane.stop(Epoch(2), StopMode::Fast).await.expect("stopped");
    b.plane.start(Epoch(2), &names, None).await.expect("started");
    bench.arm(&*b.plane, Epoch(3), bench.now() + FAR).await;
    b.plane.promote(Epoch(3), &names).await.expect("promoted");
    let lineage = a.plane.lineage(&upstream).await.expect("compared");
    let Lineage::Apart { fork: at, timeline, .. } = lineage else { panic!("{lineage:?}") };
    assert_eq!(at, fork);
    let tail = a.plane.save_tail(at, timeline).await.expect("saved");
    assert_eq!(tail.fork, fork);
}

/// The fence stops PostgreSQL, bars every start, and outlives the actuator.
pub async fn the_fence_is_durable<B: Bench + ?Sized>(bench: &mut B) {
    let it = first_primary(bench, "fsn", "hel").await;
    it.plane.set_fence(Some("drill")).await.expect("fenced");
    let status = it.plane.status().await.expect("status");
    assert_eq!((status.process, status.fenced.as_deref()), (ProcessState::Stopped, Some("drill")));
    refused(it.plane.start(Epoch(1), &SyncNames::default(), None).await, "start while fenced");
    bench.restart_actuator(&it.region).await;
    it.plane.take().await.expect("taken");
    let status = it.plane.status().await.expect("status");
    assert_eq!(status.fenced.as_deref(), Some("drill"));
    refused(it.plane.start(Epoch(1), &SyncNames::default(), None).await, "start while fenced");
    it.plane.set_fence(None).await.expect("unfenced");
    it.plane.start(Epoch(1), &SyncNames::default(), None).await.expect("started");
}

/// A person who moves a data directory away needs to tell nobody: the agent hears of it.
pub async fn a_directory_moved_away_is_heard_of<B: Bench + ?Sized>(bench: &mut B) {
    let it = first_primary(bench, "fsn", "hel").await;
    it.plane.stop(Epoch(1), StopMode::Fast).await.expect("stopped");
    let seen = it.plane.status().await.expect("status");
    assert!(seen.data_directory.is_some(), "{seen:?}");
    bench.move_away(&it.region).await;
    let now = it.plane.changed(&seen).await.expect("a change");
    assert_eq!((now.process, now.data_directory), (ProcessState::Stopped, None));
    it.plane.initialise().await.expect("initialised anew");
}
