//! From the pair's own spec to a `Continuum`.

use std::time::Duration;

use continuum_domain::RegionId;
use continuum_domain::objective::Objectives;
use continuum_domain::spec::{MemberSpec, NameSpec, PairSpec, SpecError};

use super::continuum::{Continuum, ContinuumSpec, LossApproval, NamedRecord, Region};
use super::convert::APPLICATION;
use super::durations;

/// A `Continuum` that says the same. Paths in errors are those of the pair's own spec.
pub fn from_pair_spec(spec: &PairSpec) -> Result<Continuum, Vec<SpecError>> {
    // Field by field, so that a new one is not forgotten here.
    let PairSpec {
        id,
        labels,
        members: _,
        first_primary,
        durability,
        mode,
        autonomous,
        core_grace,
        stall_timeout,
        anti_flap,
        switchover_deadline,
        max_lag_bytes,
        restarts_in_place,
        restart_budget,
        write_stall_timeout,
        takeover,
        suspect_after,
        corroborate,
        on_witness_loss,
        loss_approval,
        objectives,
        names,
        drain,
        drain_failure,
    } = spec;
    let mut errors = Vec::new();
    if corroborate.is_some() {
        errors.push(unsayable("corroborate"));
    }
    let regions = regions(spec, &mut errors);
    let mut wait = |path: &str, value: &Duration| text(path, *value, &mut errors);
    let mut out = ContinuumSpec {
        labels: labels.clone(),
        primary_region: first_primary.to_string(),
        hot_standby_regions: standbys(spec),
        regions,
        mode: Some(*mode),
        durability: Some(*durability),
        takeover: Some(*takeover),
        on_witness_loss: Some(*on_witness_loss),
        autonomous: Some(*autonomous),
        max_lag_bytes: Some(*max_lag_bytes),
        restarts_in_place: Some(*restarts_in_place),
        drain_failure: Some(*drain_failure),
        loss_approval: loss_approval.map(|one| LossApproval { rpo_bytes: one.rpo_bytes }),
        core_grace: wait("core_grace", core_grace),
        stall_timeout: wait("stall_timeout", stall_timeout),
        anti_flap: wait("anti_flap", anti_flap),
        switchover_deadline: wait("switchover_deadline", switchover_deadline),
        restart_budget: wait("restart_budget", restart_budget),
        write_stall_timeout: wait("write_stall_timeout", write_stall_timeout),
        suspect_after: wait("suspect_after", suspect_after),
        drain: wait("drain", drain),
        ..ContinuumSpec::default()
    };
    out.application_ref = out.labels.remove(APPLICATION);
    if let Some(Objectives { rto, rpo_bytes }) = objectives {
        out.rpo_bytes = *rpo_bytes;
        out.rto = rto.and_then(|rto| rto_text(rto, &mut errors));
    }
    for (index, name) in names.iter().enumerate() {
        out.names.extend(named(&format!("names[{index}]"), name, spec, &mut errors));
    }
    if errors.is_empty() { Ok(Continuum::new(id.as_str(), out)) } else { Err(errors) }
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
    let mut regions = Vec::new();
    for (name, member) in &spec.members {
        let MemberSpec { priority, host, port, health_name } = member;
        if health_name.is_some() {
            errors.push(unsayable(format!("members.{name}.health_name")));
        }
        let listed = addresses.and_then(|one| one.addresses.get(name));
        regions.push(Region {
            name: name.to_string(),
            host: host.clone(),
            port: *port,
            priority: Some(*priority),
            lb_ips: listed.into_iter().flatten().map(ToString::to_string).collect(),
        });
    }
    regions
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
    if plain != *name {
        let field = beyond(name, &plain).map_or(String::new(), |field| format!(".{field}"));
        errors.push(unsayable(format!("{path}{field}")));
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

/// The first field that a `Continuum` has no word for, of those that have a name here.
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
