//! Members that are told to come back: to try again, or to take a fresh clone.

use super::super::{Scenario, Story, Told, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "listed-standby-is-cloned-anew",
            "R13: an operator has a listed standby cloned: it leaves the ledger first, and writes go on",
            listed_is_cloned,
        ),
        scenario(
            "clone-has-no-room",
            "a standby without room on its disk is told to be cloned: it says that it failed, and is told again",
            clone_has_no_room,
        ),
        scenario(
            "holder-lost-while-its-standby-is-cloned",
            "R13, I2: the holder dies when its only standby is being cloned: nobody else leads, nothing is lost",
            holder_lost_meanwhile,
        ),
        scenario(
            "clone-of-the-second-copy-in-strict",
            "R13: in strict a listed standby is not cloned on anybody's word, and nothing is touched",
            refused_in_strict,
        )
        .strict(),
        scenario(
            "standby-that-follows-is-told-to-try-again",
            "a member that streams has nothing to try again: refused; nor is the holder cloned",
            nothing_to_try,
        ),
    ]
}

fn listed_is_cloned(story: &mut Story<'_, '_>) -> Told {
    let (epoch, before) = (story.epoch(), story.directory("hel"));
    story.clone_anew("hel");
    story.expect_in_sync(&["fsn"], secs(8))?;
    story.expect_cloned("hel", before.as_ref(), secs(30))?;
    story.expect_in_sync(&["fsn", "hel"], secs(30))?;
    story.expect_steady_writes(secs(3), secs(2))?;
    story.expect_whole(secs(20))?;
    story.expect_nothing_lost()?;
    story.expect_epoch(epoch)
}

fn clone_has_no_room(story: &mut Story<'_, '_>) -> Told {
    let before = story.directory("hel");
    story.region("hel").wal_volume_is_full();
    story.expect_in_sync(&["fsn"], secs(8))?;
    story.clone_anew("hel");
    story.expect_blocked("hel", "clone-failed", secs(20))?;
    story.expect_steady_writes(secs(2), secs(2))?;
    story.heal();
    story.clone_anew("hel");
    story.expect_cloned("hel", before.as_ref(), secs(60))?;
    story.expect_whole(secs(60))?;
    story.expect_nothing_lost()
}

fn holder_lost_meanwhile(story: &mut Story<'_, '_>) -> Told {
    story.clone_anew("hel");
    story.expect_in_sync(&["fsn"], secs(8))?;
    story.expect("the standby has stopped", secs(5), |story| story.is_stopped("hel"))?;
    story.region("fsn").loses_power();
    story.expect_blocked("hel", "not-in-sync", secs(20))?;
    story.expect_nobody_but("fsn", secs(5))?;
    story.heal();
    story.expect_primary("fsn", secs(20))?;
    story.expect_whole(secs(60))?;
    story.expect_nothing_lost()
}

fn refused_in_strict(story: &mut Story<'_, '_>) -> Told {
    let (epoch, before) = (story.epoch(), story.directory("hel"));
    story.clone_anew("hel");
    story.expect_refused("never shrinks in strict", secs(3))?;
    story.expect_steady_writes(secs(4), secs(2))?;
    story.expect("the same directory", secs(1), |story| story.directory("hel") == before)?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(10))
}

fn nothing_to_try(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.advance(secs(3))?;
    story.try_again("hel");
    story.expect_refused("nothing to try again", secs(3))?;
    story.clone_anew("fsn");
    story.expect_refused("what the others follow", secs(3))?;
    story.expect_steady_writes(secs(2), secs(2))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(10))
}
