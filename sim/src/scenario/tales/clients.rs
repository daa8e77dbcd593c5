//! Names, and the clients that follow them.

use super::super::{Scenario, Story, Told, millis, scenario, secs};
use crate::plan::WITNESS;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "name-server-down-at-the-flip",
            "79: the name server is away when the lease moves: the pair moves, the name follows later",
            names_down_at_flip,
        ),
        scenario(
            "name-server-cut-from-the-witness",
            "80, 82: the name server knows nothing new: it names nobody rather than somebody old",
            names_know_nothing,
        ),
        scenario(
            "clients-lose-the-name-server",
            "84: clients reach no name server: that moves nothing, writers who know the way go on",
            clients_lose_names,
        ),
        scenario(
            "sessions-pinned-to-the-demoted-primary",
            "85: sessions stay open to the old primary through a move: it acknowledges nothing more",
            pinned_sessions,
        ),
        scenario(
            "clients-cut-off-from-the-primary-only",
            "84: clients do not reach the primary, the regions see each other: no failover for that",
            clients_cut_off,
        ),
    ]
}

fn names_down_at_flip(story: &mut Story<'_, '_>) -> Told {
    story.names().killed_for(secs(14));
    story.region("fsn").loses_power();
    story.expect_primary("hel", secs(8))?;
    story.expect_acknowledged(secs(12))?;
    story.expect_name("hel", secs(12))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn names_know_nothing(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.names().cut_from(&[WITNESS, "fsn", "hel"]);
    story.expect_no_name(secs(5))?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(10))?;
    story.expect_no_name(secs(0))?;
    story.expect_epochs_since(epoch, 2)?;
    story.heal();
    story.expect_name("hel", secs(3))?;
    story.expect_whole(secs(30))
}

fn clients_lose_names(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.names().cut_from(&[crate::plan::USERS]);
    story.expect_steady_writes(secs(10), secs(2))?;
    story.expect_epoch(epoch)?;
    story.heal();
    story.expect_name("fsn", secs(4))?;
    story.expect_whole(secs(10))
}

fn pinned_sessions(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_to("hel");
    // A hot move leaves nobody in charge for less than a look at it takes.
    story.expect_out("fsn", secs(5))?;
    story.expect_silence_of("fsn", secs(8))?;
    story.expect_primary("hel", secs(1))?;
    story.expect_name("hel", secs(2))?;
    story.expect_whole(secs(20))
}

fn clients_cut_off(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").cut_from(&[crate::plan::USERS]);
    story.advance(millis(500))?;
    story.expect_no_acknowledgement(secs(8))?;
    story.expect_epoch(epoch)?;
    story.expect_primary("fsn", secs(0))?;
    story.heal();
    story.expect_whole(secs(20))
}
