//! The witness is three acceptors: any one may go, two may not.

use super::super::{Scenario, Story, Told, millis, scenario, secs};

/// All acceptors.
const ALL: [&str; 3] = ["w1", "w2", "w3"];

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "quorum-loses-any-one",
            "37: each acceptor is away for longer than the ttl, one after the other: nothing moves",
            any_one,
        )
        .acceptors(3),
        scenario(
            "quorum-loses-two",
            "33, 37: two of three acceptors are away: the primary fences, nobody takes over, it returns",
            two,
        )
        .acceptors(3),
        scenario(
            "quorum-primary-cut-from-a-majority",
            "I5: the primary reaches one acceptor of three, the standby all: it takes over",
            primary_cut,
        )
        .acceptors(3),
        scenario(
            "quorum-standby-cut-from-a-majority",
            "the standby reaches one acceptor of three: nothing moves",
            standby_cut,
        )
        .acceptors(3),
        scenario(
            "quorum-loses-power-in-a-failover",
            "36: one acceptor after the other loses power while the standby takes over: one epoch, one primary",
            power_in_failover,
        )
        .acceptors(3),
        scenario(
            "quorum-acceptor-wiped-and-taken-in-again",
            "36: an acceptor lost its disk and does not count; taken in again it bears the loss of another",
            wiped,
        )
        .acceptors(3),
        scenario(
            "quorum-takes-in-again-during-a-failover",
            "36: registers are carried over while the region is lost that holds the pair",
            taken_in_during_failover,
        )
        .acceptors(3),
    ]
}

fn any_one(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    for acceptor in ALL {
        story.region(acceptor).killed_for(secs(5));
        story.expect_steady_writes(secs(7), secs(2))?;
    }
    story.expect_primary("fsn", secs(1))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(20))
}

fn two(story: &mut Story<'_, '_>) -> Told {
    for acceptor in ["w1", "w3"] {
        story.region(acceptor).killed_for(secs(12));
    }
    story.expect_nobody_writes(secs(3))?;
    story.expect_no_acknowledgement(secs(6))?;
    story.expect_nobody_but("fsn", secs(2))?;
    story.expect_whole(secs(40))
}

fn primary_cut(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").cut_from(&["w1", "w2"]);
    story.expect_out("fsn", secs(4))?;
    story.expect_primary("hel", secs(15))?;
    // What the one acceptor took of the old primary's wish to return may be carried out first.
    story.expect_epochs_since(epoch, 2)?;
    story.heal();
    story.expect_whole(secs(60))
}

fn standby_cut(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("hel").cut_from(&["w2", "w3"]);
    story.expect_steady_writes(secs(10), secs(2))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_epoch(epoch)?;
    story.heal();
    story.expect_whole(secs(30))
}

fn power_in_failover(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").cut_from(&ALL);
    story.expect_nobody_writes(secs(4))?;
    for acceptor in ALL {
        story.region(acceptor).loses_power_for(millis(300));
        story.advance(millis(500))?;
    }
    story.expect_primary("hel", secs(15))?;
    story.expect_epochs_since(epoch, 1)?;
    story.heal();
    story.expect_whole(secs(60))
}

fn wiped(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("w1").loses_its_disk_for(secs(1));
    story.expect_steady_writes(secs(6), secs(2))?;
    story.take_in_again("w1");
    story.expect_steady_writes(secs(6), secs(2))?;
    story.region("w2").killed_for(secs(5));
    story.expect_steady_writes(secs(7), secs(2))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(20))
}

fn taken_in_during_failover(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("w3").loses_its_disk_for(millis(300));
    story.advance(secs(1))?;
    story.region("fsn").loses_power();
    story.advance(secs(2))?;
    story.take_in_again("w3");
    story.expect_primary("hel", secs(15))?;
    story.expect_epochs_since(epoch, 1)?;
    story.heal();
    story.expect_whole(secs(60))
}
