//! Backups of the Clusters that this agent runs members of.

use continuum_runtime::metrics::{Gathered, Labels};

use super::{seconds, truth};
use crate::kubernetes::backups::Told;

/// Gathers them.
pub(super) fn gather(told: &[Told], region: &str, out: &mut Gathered<'_>) {
    let of = |one: &Told| Labels::from([("pair", one.pair.as_str()), ("region", region)]);
    out.gauges(
        "continuum_agent_backup_age_seconds",
        "Since the newest complete backup ended; absent where there is none or that is not known",
        told.iter().filter_map(|one| Some((of(one), seconds(one.age_ms?)))),
    );
    out.gauges(
        "continuum_agent_backup_failures",
        "Backups that failed since the newest complete one; absent where that is not known",
        told.iter().map(|one| (of(one), f64::from(one.failures))),
    );
    out.gauges(
        "continuum_agent_backup_well",
        "Whether backups are as recent as their schedule wants, and the newest did not fail; absent where not known",
        told.iter().filter_map(|one| Some((of(one), truth(one.well?)))),
    );
}
