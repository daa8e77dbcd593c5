//! Clusters that sleep and pools of nodes that are small while pairs are paused.

use continuum_runtime::metrics::{Gathered, Labels};

use crate::at_rest::{RestDesk, RestSeen};

/// Gathers them.
pub(super) fn gather(desk: &RestDesk, region: &str, out: &mut Gathered<'_>) {
    let (sleepers, pools) = desk.look();
    let sleeper = |pair: &str| Labels::from([("pair", pair), ("region", region)]);
    let truth = |value: bool| f64::from(u8::from(value));
    out.gauges(
        "continuum_agent_cluster_asleep",
        "Whether the Cluster of a paused pair sleeps; absent where that is not known",
        sleepers
            .iter()
            .filter_map(|(pair, seen)| Some((sleeper(pair.as_str()), truth(seen.asleep?)))),
    );
    out.gauges(
        "continuum_agent_cluster_rest_failures",
        "Tries in a row to put a Cluster to sleep or to wake it that failed",
        sleepers.iter().map(|(pair, seen)| (sleeper(pair.as_str()), f64::from(seen.failures))),
    );
    let pool = |name: &str| Labels::from([("pool", name), ("region", region)]);
    let nodes = |of: &dyn Fn(&RestSeen) -> Option<u32>| -> Vec<(Labels, f64)> {
        let one = |(name, seen): (&String, &RestSeen)| Some((pool(name), f64::from(of(seen)?)));
        pools.iter().filter_map(one).collect()
    };
    out.gauges(
        "continuum_agent_node_pool_wanted",
        "How many nodes a pool should have; absent where that is not known",
        nodes(&|seen| seen.pool?.wanted),
    );
    out.gauges(
        "continuum_agent_node_pool_ready",
        "How many nodes a pool has; absent where that is not known",
        nodes(&|seen| seen.pool?.ready),
    );
    out.gauges(
        "continuum_agent_node_pool_former",
        "How many nodes a pool had before an agent made it small; absent where none did",
        nodes(&|seen| seen.pool?.former),
    );
    out.gauges(
        "continuum_agent_node_pool_failures",
        "Tries in a row to look at a pool or to scale it that failed",
        nodes(&|seen| Some(seen.failures)),
    );
}
