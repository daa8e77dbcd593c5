//! Disks that are full, hang or are gone.

use super::super::{Scenario, Story, Told, millis, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "wal-volume-is-full",
            "16: the primary's WAL volume has no room; nothing acknowledged is lost, nobody writes apart",
            wal_volume_full,
        ),
        scenario(
            "flushes-hang-and-the-process-lives",
            "17: flushes of the primary's disk do not return, and the kernel ends no process that waits for one: it is fenced, by name; when its host is shot, the other takes over",
            flushes_hang,
        ),
        scenario(
            "flushes-hang-at-the-only-copy",
            "17: the same while nobody else is in sync: it stays, by name, until its disk is back",
            flushes_hang_alone,
        ),
        scenario(
            "replay-alone-stalls",
            "19: a standby flushes and does not replay: it leaves the set once, and is listed when it replays",
            replay_stalls,
        ),
        scenario(
            "stuck-standby-is-no-candidate",
            "19: a standby that takes nothing in leaves the set, and may not lead when the primary dies",
            stuck_standby,
        ),
        scenario(
            "holder-loses-its-data-directory",
            "7, 54: the holder's data directory is gone; the other takes over, the loser is cloned anew",
            holder_wiped,
        ),
        scenario(
            "standby-loses-its-data-directory",
            "7: the standby's data directory is gone: it is cloned, and listed by its new name",
            standby_wiped,
        ),
        scenario(
            "another-systems-data",
            "7: another database system's files stand where a standby's did: left alone, and said by name",
            foreign_data,
        ),
        scenario(
            "slot-falls-off-its-cap",
            "19, 54: a standby was away too long and its slot is lost; it is made anew without a person",
            slot_lost,
        ),
        scenario(
            "agent-disk-fails",
            "16: the disk of the primary's agent fails for seconds; never two primaries, then whole",
            agent_disk_fails,
        ),
    ]
}

fn wal_volume_full(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").wal_volume_is_full();
    story.advance(secs(3))?;
    story.expect_silence_of("fsn", secs(8))?;
    story.expect_primary("hel", secs(20))?;
    story.expect_acknowledged(secs(5))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn flushes_hang(story: &mut Story<'_, '_>) -> Told {
    // What waited for the growth is let go by the next word of the standby.
    story.advance(millis(1_500))?;
    story.region("fsn").flushes_hang();
    story.advance(millis(200))?;
    story.expect_no_acknowledgement(secs(3))?;
    story.expect_blocked("fsn", "writes-stalled", secs(8))?;
    story.expect_nobody_writes(secs(3))?;
    story.region("fsn").loses_power();
    story.expect_primary("hel", secs(10))?;
    story.expect_acknowledged(secs(12))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn flushes_hang_alone(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").cut_from(&["fsn"]);
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.region("fsn").flushes_hang();
    story.expect_blocked("fsn", "writes-stalled", secs(12))?;
    story.expect_nobody_but("fsn", secs(5))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}

fn replay_stalls(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").replay_stalls();
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.expect_steady_writes(secs(15), secs(1))?;
    story.expect_in_sync(&["fsn"], secs(0))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}

fn stuck_standby(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").receiver_is_stuck();
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.expect_steady_writes(secs(6), secs(4))?;
    story.region("fsn").loses_power();
    story.expect_nobody_but("fsn", secs(10))?;
    story.expect_blocked("hel", "not-in-sync", secs(3))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}

fn holder_wiped(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").loses_its_data_directory();
    story.expect_primary("hel", secs(20))?;
    story.expect_acknowledged(secs(5))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn standby_wiped(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("hel").loses_its_data_directory();
    story.expect_steady_writes(secs(6), secs(3))?;
    story.expect_happened("cloned")?;
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_epoch(epoch)
}

fn foreign_data(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("hel").loses_power_for(secs(6));
    story.expect_in_sync(&["fsn"], secs(5))?;
    story.region("hel").holds_foreign_data();
    story.expect_blocked("hel", "foreign-data", secs(15))?;
    story.expect_steady_writes(secs(2), secs(2))?;
    // What the state asks a person for: the directory is moved away.
    story.region("hel").loses_its_data_directory();
    story.expect_whole(secs(60))?;
    story.expect_epoch(epoch)
}

fn slot_lost(story: &mut Story<'_, '_>) -> Told {
    story.slots_hold_little();
    story.region("hel").cut_from(&["fsn"]);
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.expect_steady_writes(secs(5), secs(4))?;
    story.region("fsn").checkpoints();
    story.expect_happened("SlotLost")?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}

fn agent_disk_fails(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").disk_fails_for(secs(6));
    story.advance(secs(8))?;
    story.expect_whole(secs(60))
}
