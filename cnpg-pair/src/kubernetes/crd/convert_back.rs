//! From the pair's own spec to a `Continuum`.

use std::time::Duration;

use continuum_domain::RegionId;
use continuum_domain::spec::{MemberSpec, NameSpec, PairSpec, SpecError};

use super::continuum::{Continuum, ContinuumSpec, LossApproval, NamedRecord, Region};
use super::convert::APPLICATION;
use super::durations;

/// A `Continuum` that says the same. Paths in errors are those of the pair's own spec.
pub fn from_pair_spec(spec: &PairSpec) -> Result<Continuum, Vec<SpecError>> {
    let mut errors = Vec::new();
    if spec.corroborate.is_some() {
        errors.push(unsayable("corroborate"));
    }
    let mut out = ContinuumSpec {
        primary_region: spec.first_primary.to_string(),
        hot_standby_regions: standbys(spec),
        regions: regions(spec, &mut errors),
        mode: Some(spec.mode),
        durability: Some(spec.durability),
        takeover: Some(spec.takeover),
        on_witness_loss: Some(spec.on_witness_loss),
        autonomous: Some(spec.autonomous),
        max_lag_bytes: Some(spec.max_lag_bytes),
        restarts_in_place: Some(spec.restarts_in_place),
        drain_failure: Some(spec.drain_failure),
        loss_approval: spec
            .loss_approval
            .map(|approval| LossApproval { rpo_bytes: approval.rpo_bytes }),
        labels: spec.labels.clone(),
        ..ContinuumSpec::default()
    };
    out.application_ref = out.labels.remove(APPLICATION);
    if let Some(objectives) = &spec.objectives {
        out.rpo_bytes = objectives.rpo_bytes;
        out.rto = objectives.rto.and_then(|rto| rto_text(rto, &mut errors));
    }
    for (path, value, into) in [
        ("core_grace", spec.core_grace, &mut out.core_grace),
        ("stall_timeout", spec.stall_timeout, &mut out.stall_timeout),
        ("anti_flap", spec.anti_flap, &mut out.anti_flap),
        ("switchover_deadline", spec.switchover_deadline, &mut out.switchover_deadline),
        ("restart_budget", spec.restart_budget, &mut out.restart_budget),
        ("write_stall_timeout", spec.write_stall_timeout, &mut out.write_stall_timeout),
        ("suspect_after", spec.suspect_after, &mut out.suspect_after),
        ("drain", spec.drain, &mut out.drain),
    ] {
        *into = text(path, value, &mut errors);
    }
    for (index, name) in spec.names.iter().enumerate() {
        out.names.extend(named(&format!("names[{index}]"), name, spec, &mut errors));
    }
    if errors.is_empty() { Ok(Continuum::new(spec.id.as_str(), out)) } else { Err(errors) }
}

fn unsayable(path: impl Into<String>) -> SpecError {
    let problem = "cannot be said in a Continuum; keep this pair's spec in the control core";
    SpecError { path: path.into(), problem: problem.into() }
}

fn text(path: &str, value: Duration, errors: &mut Vec<SpecError>) -> Option<String> {
    durations::write(path, value).map_err(|error| errors.push(error)).ok()
}

fn rto_text(rto: Duration, errors: &mut Vec<SpecError>) -> Option<String> {
    let written = text("objectives.rto", rto, errors)?;
    if written.ends_with("ms") {
        errors.push(unsayable("objectives.rto"));
        return None;
    }
    Some(written)
}

/// The preferred one first; by name where two are the same.
fn standbys(spec: &PairSpec) -> Vec<String> {
    let mut standbys: Vec<(&RegionId, &MemberSpec)> =
        spec.members.iter().filter(|(region, _)| **region != spec.first_primary).collect();
    standbys.sort_by_key(|(region, member)| (std::cmp::Reverse(member.priority), *region));
    standbys.into_iter().map(|(region, _)| region.to_string()).collect()
}

fn regions(spec: &PairSpec, errors: &mut Vec<SpecError>) -> Vec<Region> {
    let addresses = shared_addresses(spec, errors);
    let region = |(name, member): (&RegionId, &MemberSpec)| Region {
        name: name.to_string(),
        host: member.host.clone(),
        port: member.port,
        priority: Some(member.priority),
        lb_ips: addresses
            .and_then(|one| one.addresses.get(name))
            .map(|listed| listed.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
    };
    for (name, member) in &spec.members {
        if member.health_name.is_some() {
            errors.push(unsayable(format!("members.{name}.health_name")));
        }
    }
    spec.members.iter().map(region).collect()
}

/// A `Continuum` has the addresses of a region once.
fn shared_addresses<'a>(spec: &'a PairSpec, errors: &mut Vec<SpecError>) -> Option<&'a NameSpec> {
    let mut at_providers =
        spec.names.iter().enumerate().filter(|(_, name)| name.provider.is_some());
    let (_, first) = at_providers.next()?;
    for (index, name) in at_providers {
        if name.addresses != first.addresses {
            errors.push(unsayable(format!("names[{index}].addresses")));
        }
    }
    Some(first)
}

fn named(
    path: &str,
    name: &NameSpec,
    spec: &PairSpec,
    errors: &mut Vec<SpecError>,
) -> Option<NamedRecord> {
    let mut plain = NameSpec::new(name.name.clone(), name.ttl);
    plain.provider.clone_from(&name.provider);
    plain.zone.clone_from(&name.zone);
    (plain.role, plain.policy) = (name.role, name.policy);
    (plain.lag_max, plain.health_port) = (name.lag_max, name.health_port);
    plain.addresses.clone_from(&name.addresses);
    if let Some(field) = beyond(name, &plain) {
        errors.push(unsayable(format!("{path}.{field}")));
        return None;
    }
    if name.addresses.keys().any(|region| !spec.members.contains_key(region)) {
        errors.push(unsayable(format!("{path}.addresses")));
    }
    let lag_max = match name.lag_max {
        Some(lag) => Some(text(&format!("{path}.lag_max"), lag, errors)?),
        None => None,
    };
    Some(NamedRecord {
        name: name.name.clone(),
        ttl: text(&format!("{path}.ttl"), name.ttl, errors)?,
        provider: name.provider.clone(),
        zone: name.zone.clone(),
        role: (name.role != Default::default()).then_some(name.role),
        lag_max,
        policy: (name.policy != Default::default()).then_some(name.policy),
        health_port: name.health_port.map(std::num::NonZeroU16::get),
    })
}

/// The first field that a `Continuum` has no word for.
fn beyond(name: &NameSpec, plain: &NameSpec) -> Option<&'static str> {
    let fields = [
        ("lua", name.lua != plain.lua),
        ("authorities", name.authorities != plain.authorities),
        ("kind", name.kind != plain.kind),
        ("targets", name.targets != plain.targets),
        ("services", name.services != plain.services),
        ("routing", name.routing != plain.routing),
        ("health_checks", name.health_checks != plain.health_checks),
    ];
    fields.into_iter().find(|(_, differs)| *differs).map(|(field, _)| field)
}
