//! Foreign writes of the roles of the Clusters here.

use std::collections::BTreeMap;

use continuum_cnpg_pair::kubernetes::plane::RoleLook;
use continuum_domain::PairId;
use continuum_runtime::metrics::{Gathered, Labels};

use super::truth;

/// Gathers them.
pub(super) fn gather(looks: &BTreeMap<PairId, RoleLook>, region: &str, out: &mut Gathered<'_>) {
    let of = |pair: &PairId| Labels::from([("pair", pair.as_str()), ("region", region)]);
    out.counters(
        "continuum_agent_foreign_writes",
        "Writes of the role of the Cluster here by others than agents, since this agent began",
        looks.iter().map(|(pair, look)| (of(pair), look.count)),
    );
    out.gauges(
        "continuum_agent_foreign_write_stands",
        "Whether the role of the Cluster here is another than was written last; absent where not known",
        looks
            .iter()
            .filter(|(_, look)| look.compared)
            .map(|(pair, look)| (of(pair), truth(look.stands.is_some()))),
    );
}
