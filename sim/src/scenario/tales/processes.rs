//! Processes and hosts that end, hang or stand still.

use super::super::{Scenario, Story, Told, millis, mins, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "postgres-is-killed",
            "1: the primary's PostgreSQL crashes; it is restarted in place under the same epoch",
            postgres_is_killed,
        ),
        scenario(
            "a-backend-crashes",
            "1: one backend crashes and PostgreSQL ends all sessions; nothing moves",
            backend_crashes,
        ),
        scenario(
            "postgres-does-not-start-again",
            "2, 3: the primary's PostgreSQL crashes and cannot start; after its tries the lease moves",
            postgres_does_not_start,
        ),
        scenario(
            "postgres-does-not-start-and-is-the-only-copy",
            "2, 3: the same without another member in sync: it stays, says so, and is tried again",
            postgres_does_not_start_alone,
        ),
        scenario(
            "new-holder-dies-before-its-promotion",
            "9: of three regions, who took over loses power in that very moment; a person lets the third",
            dies_before_promotion,
        )
        .three_regions(),
        scenario(
            "primary-region-loses-power",
            "9: the primary's region goes dark; the other takes over; the old one rejoins",
            primary_loses_power,
        ),
        scenario(
            "a-region-of-three-goes-dark",
            "9: one of three regions dies with the primary; a survivor takes over, the other follows",
            region_of_three_dies,
        )
        .three_regions(),
        scenario(
            "agent-stopped-past-the-ttl",
            "10: the primary's agent is stopped: the guard ends PostgreSQL, the other region takes over",
            agent_stopped,
        ),
        scenario(
            "host-frozen-past-the-ttl",
            "10: the primary's whole host freezes and thaws: the names keep it from acknowledging",
            host_frozen,
        ),
        scenario(
            "virtual-machine-suspended",
            "10: the primary's virtual machine is suspended for 25 seconds and believes nothing",
            machine_suspended,
        ),
        scenario(
            "agent-restarts",
            "11: the primary's agent crashes and is back at once: PostgreSQL goes on, the lease is taken anew",
            agent_restarts,
        ),
        scenario(
            "agent-crash-loops",
            "11: the primary's agent dies every second; the pair is whole when it has stopped doing so",
            agent_crash_loops,
        ),
        scenario(
            "agent-of-the-standby-dies",
            "11: the standby's agent is away: its PostgreSQL streams on and no write waits",
            standby_agent_dies,
        ),
        scenario(
            "guard-crashes",
            "R5: the primary's guard is gone: PostgreSQL does not outlive it, its region says so",
            guard_crashes,
        ),
    ]
}

fn postgres_is_killed(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").postgres_crashes();
    story.expect_nobody_writes(secs(1))?;
    story.expect_primary("fsn", secs(3))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(20))
}

fn backend_crashes(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").backend_crashes();
    story.expect_steady_writes(secs(5), secs(2))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_epoch(epoch)?;
    story.expect_whole(secs(10))
}

fn postgres_does_not_start(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").postgres_cannot_start();
    story.region("fsn").postgres_crashes();
    story.expect_primary("hel", secs(20))?;
    story.expect_acknowledged(secs(5))?;
    story.expect_in_sync(&["hel"], secs(5))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn postgres_does_not_start_alone(story: &mut Story<'_, '_>) -> Told {
    story.region("hel").loses_power();
    story.expect_in_sync(&["fsn"], secs(6))?;
    story.region("fsn").postgres_cannot_start();
    story.region("fsn").postgres_crashes();
    story.expect_blocked("fsn", "restart-failing", secs(40))?;
    story.expect_nobody_writes(secs(1))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("fsn", secs(1))
}

fn dies_before_promotion(story: &mut Story<'_, '_>) -> Told {
    let before = story.epoch();
    story.region("fsn").loses_power();
    story.expect_epoch_after(before, secs(12))?;
    let next =
        if story.holder().as_deref() == Some("hel") { ["hel", "nbg"] } else { ["nbg", "hel"] };
    story.region(next[0]).loses_power();
    // It is not in the ledger: nobody has proven yet that it has everything.
    story.expect_blocked(next[1], "not-in-sync", secs(12))?;
    story.approve_operation();
    story.expect_primary(next[1], secs(12))?;
    story.expect_acknowledged(secs(12))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn primary_loses_power(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").loses_power_for(secs(12));
    story.expect_primary("hel", secs(8))?;
    story.expect_acknowledged(secs(12))?;
    story.expect_steady_writes(secs(3), secs(2))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn region_of_three_dies(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").loses_power();
    story.expect_nobody_writes(secs(1))?;
    let new = story.expect_somebody_of(&["hel", "nbg"], secs(12))?;
    story.expect_acknowledged(secs(12))?;
    story.expect_in_sync(&["hel", "nbg"], secs(15))?;
    story.expect_primary(&new, secs(1))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary(&new, secs(1))
}

fn agent_stopped(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").stopped_for(secs(12));
    story.expect_out("fsn", secs(4))?;
    story.expect_primary("hel", secs(10))?;
    story.expect_silence_of("fsn", secs(10))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn host_frozen(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").freezes_for(secs(10));
    story.expect_primary("hel", secs(9))?;
    story.advance(secs(8))?;
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn machine_suspended(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").freezes_for(secs(25));
    story.expect_primary("hel", secs(9))?;
    story.expect_acknowledged(secs(12))?;
    story.advance(secs(8))?;
    story.expect_whole(secs(30))?;
    story.expect_primary("hel", secs(1))
}

fn agent_restarts(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("fsn").killed_for(millis(300));
    story.expect_steady_writes(secs(8), secs(2))?;
    story.expect_epoch(epoch.next())?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_whole(secs(20))
}

fn agent_crash_loops(story: &mut Story<'_, '_>) -> Told {
    for _ in 0..6 {
        story.region("fsn").killed_for(millis(200));
        story.advance(secs(1))?;
    }
    story.expect_whole(secs(60))
}

fn standby_agent_dies(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.region("hel").killed_for(mins(60));
    story.expect_steady_writes(secs(12), secs(3))?;
    story.expect_primary("fsn", secs(1))?;
    story.expect_epoch(epoch)?;
    story.heal();
    story.expect_whole(secs(30))
}

fn guard_crashes(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").guard_crashes_for(mins(60));
    story.expect_nobody_writes(millis(200))?;
    story.expect_blocked("fsn", "guard-lost", secs(6))?;
    story.expect_no_acknowledgement(secs(3))?;
    story.heal();
    story.expect_whole(secs(60))
}
