//! The control core: its nodes, their disks and their links.

use super::super::{Scenario, Story, Told, millis, mins, scenario, secs};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "core-lost-then-region-lost",
            "32, 95: the core has no quorum: writes go on, and a region that is cut off is still replaced",
            core_lost,
        ),
        scenario(
            "region-dies-with-a-control-node",
            "34: a control node dies in the same instant as the primary's region",
            region_dies_with_node,
        ),
        scenario(
            "control-plane-lost-and-back",
            "94: all control nodes are away for a while: the database does not notice, orders work after",
            control_plane_back,
        ),
        scenario(
            "core-partitioned-during-a-failover",
            "32, 110: each control node is cut from the others while the primary's region is lost",
            core_partitioned,
        ),
        scenario(
            "all-control-nodes-lose-power",
            "109: all control nodes lose power at once: the journal is torn, and is read back",
            core_loses_power,
        ),
        scenario(
            "disk-of-a-control-node-fails",
            "109: writes of one control node's disk fail: the others carry the order out",
            node_disk_fails,
        ),
        scenario(
            "control-nodes-with-slow-disks",
            "110: two control nodes write slowly and one is cut off and comes back: one order, one move",
            slow_disks,
        ),
        scenario(
            "control-node-dies-in-a-switchover",
            "68, 93: each control node dies in turn during one switchover: it comes to its end",
            node_dies_in_switchover,
        ),
    ]
}

fn core_lost(story: &mut Story<'_, '_>) -> Told {
    story.node("c1").killed_for(mins(60));
    story.node("c2").killed_for(mins(60));
    story.expect_steady_writes(secs(8), secs(2))?;
    story.region("fsn").cut_from_everybody();
    story.expect_primary("hel", secs(15))?;
    story.heal();
    story.expect_whole(secs(60))
}

fn region_dies_with_node(story: &mut Story<'_, '_>) -> Told {
    story.region("fsn").loses_power();
    story.node("c1").loses_power();
    story.expect_primary("hel", secs(12))?;
    story.expect_acknowledged(secs(12))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn control_plane_back(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.core_killed_for(secs(10));
    story.expect_steady_writes(secs(14), secs(1))?;
    story.expect_epoch(epoch)?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(10))?;
    story.expect_whole(secs(30))
}

fn core_partitioned(story: &mut Story<'_, '_>) -> Told {
    story.node("c1").cut_from(&["c2", "c3"]);
    story.node("c2").cut_from(&["c3"]);
    story.advance(secs(3))?;
    story.region("fsn").loses_power();
    story.expect_primary("hel", secs(15))?;
    story.expect_acknowledged(secs(12))?;
    story.heal();
    story.expect_whole(secs(60))?;
    story.expect_primary("hel", secs(1))
}

fn core_loses_power(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_to("hel");
    story.advance(millis(60))?;
    for node in story.core() {
        story.node(&node).loses_power_for(secs(3));
    }
    story.expect_acknowledged(secs(20))?;
    story.advance(secs(4))?;
    story.expect_whole(secs(60))
}

fn node_disk_fails(story: &mut Story<'_, '_>) -> Told {
    story.node("c1").disk_fails_for(secs(12));
    story.expect_steady_writes(secs(4), secs(1))?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(14))?;
    story.expect_whole(secs(40))?;
    story.expect_primary("hel", secs(1))
}

fn slow_disks(story: &mut Story<'_, '_>) -> Told {
    let epoch = story.epoch();
    story.node("c1").disk_is_slow_for(secs(15));
    story.node("c2").disk_is_slow_for(secs(15));
    story.node("c3").cut_from_everybody_for(secs(3));
    story.advance(secs(1))?;
    story.switch_over_to("hel");
    story.expect_primary("hel", secs(15))?;
    story.expect_whole(secs(40))?;
    story.expect_epochs_since(epoch, 2)
}

fn node_dies_in_switchover(story: &mut Story<'_, '_>) -> Told {
    story.switch_over_to("hel");
    for node in story.core() {
        story.advance(millis(80))?;
        story.node(&node).killed_for(millis(400));
    }
    story.expect_acknowledged(secs(20))?;
    story.advance(secs(3))?;
    story.expect_whole(secs(60))
}
