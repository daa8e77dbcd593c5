//! Measures what the sequencer decides by.

use std::collections::BTreeSet;

use continuum_domain::candidate::REPORT_AGE_MS_MAX;
use continuum_domain::operation::{Operation, OperationKind};
use continuum_domain::sequence::{self, MoveFacts};
use continuum_domain::spec::PairSpec;
use continuum_domain::{PairId, PairRecord, RegionId};

use super::Ages;
use crate::core::Core;
use crate::link::registry::millis;
use crate::plan::{self, Inputs, Wish};
use crate::view::Reports;
use crate::{rejoin, rest};

/// Facts for one operation, measured now. What cannot be measured stays unknown.
pub(super) async fn measure(core: &Core, operation: &Operation, ages: &Ages) -> MoveFacts {
    let register = match core.read_register(&operation.pair).await {
        Ok(record) => record,
        Err(error) => {
            tracing::warn!(pair = %operation.pair, operation = %operation.id, %error, "register not read");
            None
        }
    };
    let remembered = MoveFacts {
        directive_age_ms: ages.directive,
        aborting_for_ms: ages.aborting,
        drain_age_ms: ages.drain,
        checkpoint_age_ms: ages.checkpoint,
        bar_age_ms: ages.bar,
        unbarred: ages.unbarred,
        ..MoveFacts::default()
    };
    // A pair whose spec was removed meanwhile is carried on by its last one.
    let spec = core.node.read(|state| {
        let versions = &state.pair(&operation.pair)?.versions;
        versions.iter().rev().find_map(|version| version.spec.clone())
    });
    let Some(spec) = spec else {
        return MoveFacts { register, ..remembered };
    };
    let reports = Reports::collect(&core.links, &operation.pair, &spec, core.clock.now());
    let to = sequence::target(operation);
    // An old report of the target, from a time when it held the pair before, proves nothing.
    let to_is_current = reports.epoch_seen(to).is_some_and(|epoch| epoch > operation.at_epoch);
    // The old holder's word counts only if it knows the register as it is now.
    let from_writable = sequence::origin(operation).and_then(|from| {
        let seen = reports.epoch_seen(from)?;
        let current = register.as_ref().is_some_and(|record| record.epoch == seen);
        reports.writable(from).filter(|_| current)
    });
    let from = sequence::origin(operation);
    let is_switchover = matches!(operation.kind, OperationKind::Switchover { .. });
    // A new leader has no reports yet: that is unknown, not a reason against the move.
    let heard =
        reports.is_fresh(to) && (!is_switchover || from.is_some_and(|from| reports.is_fresh(from)));
    let known = register.as_ref().filter(|_| heard);
    MoveFacts {
        preflight: known.map(|record| preflight(core, operation, &spec, &reports, record)),
        from_writable,
        to_writable: reports.writable(to).filter(|_| to_is_current),
        standby_streams: reports.any_standby_streams(to).filter(|_| to_is_current),
        synchronous: spec.durability.is_synchronous(),
        switchover_deadline_ms: i64::try_from(spec.switchover_deadline.as_millis())
            .unwrap_or(i64::MAX),
        member_streams: reports.streams(to),
        not_still: rest::not_still(&reports, &spec),
        switches: switches(core, &operation.pair, &spec),
        drain_ms: i64::try_from(spec.drain.as_millis()).unwrap_or(i64::MAX),
        drain_failure: spec.drain_failure,
        register,
        ..remembered
    }
}

/// Regions whose agents said lately that they drive a switch which can hold the pair's clients back.
fn switches(core: &Core, pair: &PairId, spec: &PairSpec) -> BTreeSet<RegionId> {
    let drives = |region: &&RegionId| {
        let told = core.links.traffic(region, pair, core.clock.now());
        told.is_some_and(|(age, switches)| {
            millis(age) <= REPORT_AGE_MS_MAX && switches.values().any(|switch| switch.can_hold)
        })
    };
    spec.members.keys().filter(drives).cloned().collect()
}

fn preflight(
    core: &Core,
    operation: &Operation,
    spec: &PairSpec,
    reports: &Reports,
    record: &PairRecord,
) -> Vec<String> {
    let inputs =
        Inputs { spec, register: Some(record), reports, links: &core.links, under_way: None };
    let wish = match &operation.kind {
        OperationKind::Pause { from } => return rest::pause(&inputs, Some(from)).refusals,
        OperationKind::Resume { to } => return rest::resume(&inputs, Some(to)).refusals,
        OperationKind::Rejoin { region, method } => {
            return rejoin::plan(&inputs, region, *method).refusals;
        }
        OperationKind::Switchover { method, .. } => Wish::Switchover(Some(*method)),
        OperationKind::Failover { allow_data_loss, .. } => Wish::Failover {
            allow_data_loss: *allow_data_loss,
            loss_epoch: allow_data_loss.then_some(operation.at_epoch),
        },
    };
    plan::plan(&inputs, sequence::target(operation), wish).refusals
}
