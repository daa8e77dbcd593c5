//! From a `Continuum` to the pair's own spec. [`from_pair_spec`] is the way back.
//!
//! What cannot be said on the other side is an error with the path of the field, never left out: a
//! spec that went through a `Continuum` is the spec that was meant, or it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use continuum_domain::objective::Objectives;
use continuum_domain::spec::{
    self, MemberSpec, NamePolicy, NameSpec, PairMode, PairSpec, SpecError,
};
use continuum_domain::{PairId, RegionId, Timing};
use kube::ResourceExt as _;

use super::continuum::{Continuum, ContinuumSpec, LuaRecord, NamedRecord, Region};
use super::{CnpgPairSpec, durations};

pub use super::convert_back::from_pair_spec;

/// The label that `applicationRef` is kept as.
pub(super) const APPLICATION: &str = "application";
/// The priority of the first primary, and the step from one standby to the next.
const FIRST_PRIORITY: u32 = 100;
const PRIORITY_STEP: u32 = 10;

/// Collects what is wrong, so that all of it is seen at once.
struct Errors(Vec<SpecError>);

impl Errors {
    fn fail(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SpecError { path: path.into(), problem: problem.into() });
    }

    fn take<T>(&mut self, result: Result<T, SpecError>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    fn duration(&mut self, path: &str, text: Option<&String>, into: &mut Duration) {
        if let Some(read) = text.and_then(|text| self.take(durations::read(path, text))) {
            *into = read;
        }
    }

    fn region(&mut self, path: &str, name: &str) -> Option<RegionId> {
        RegionId::new(name).map_err(|error| self.fail(path, error.to_string())).ok()
    }
}

/// The pair's spec. `pair` is the `CnpgPair` it names, if that was read. Paths in errors are those of
/// the `Continuum`.
pub fn to_pair_spec(
    continuum: &Continuum,
    pair: Option<&CnpgPairSpec>,
) -> Result<PairSpec, Vec<SpecError>> {
    let spec = &continuum.spec;
    let mut errors = Errors(Vec::new());
    let id = PairId::new(continuum.name_any())
        .map_err(|error| errors.fail("metadata.name", error.to_string()));
    let members = members(spec, &mut errors);
    let primary = errors.region("spec.primaryRegion", &spec.primary_region);
    regions_fit(spec, pair, &mut errors);
    errors.take(timing(spec));
    let (Ok(id), Some(primary)) = (id, primary) else { return Err(errors.0) };
    let mut out = PairSpec::new(id, members, primary);
    policy(spec, &mut out, &mut errors);
    waits(spec, &mut out, &mut errors);
    out.labels.clone_from(&spec.labels);
    if let Some(application) = &spec.application_ref
        && out.labels.insert(APPLICATION.into(), application.clone()).is_some()
    {
        errors.fail("spec.labels.application", "is what applicationRef says; leave one out");
    }
    out.objectives = objectives(spec, pair, &mut errors);
    out.names = names(spec, &mut errors);
    if errors.0.is_empty() {
        errors.take(out.check().map_err(|error| SpecError { path: at(&error.path), ..error }));
    }
    if errors.0.is_empty() { Ok(out) } else { Err(errors.0) }
}

/// The timing the `Continuum` expects of the agents; the agents' files set it.
pub fn timing(spec: &ContinuumSpec) -> Result<Option<Timing>, SpecError> {
    let Some(lease) = &spec.lease_client else { return Ok(None) };
    let fail = |path: &str, problem: String| Err(SpecError { path: path.into(), problem });
    if lease.kind != "witness" {
        let problem = format!(
            "{:?} is not accepted: only witness. Its registers are set in the agents' files",
            lease.kind
        );
        return fail("spec.leaseClient.kind", problem);
    }
    let Some(config) = &lease.config else { return Ok(None) };
    let seconds = |number: u32| Duration::from_secs(number.into());
    let timing = Timing {
        ttl: seconds(config.ttl_seconds),
        renew: seconds(config.renew_seconds),
        stop_budget: seconds(config.stop_budget_seconds),
        guard: seconds(config.guard_seconds),
        ..Timing::default()
    };
    match timing.check() {
        Ok(()) => Ok(Some(timing)),
        Err(error) => fail("spec.leaseClient.config", error.to_string()),
    }
}

/// The path of the pair's own field, as the `Continuum` has it.
fn at(path: &str) -> String {
    let mut words = path.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    let camel = words.fold(first, |text, word| {
        let (head, tail) = word.split_at(word.len().min(1));
        text + &head.to_ascii_uppercase() + tail
    });
    format!("spec.{}", camel.replace("members.", "regions."))
}

fn members(spec: &ContinuumSpec, errors: &mut Errors) -> BTreeMap<RegionId, MemberSpec> {
    let mut members = BTreeMap::new();
    for (index, region) in spec.regions.iter().enumerate() {
        let path = format!("spec.regions[{index}]");
        let Some(name) = errors.region(&format!("{path}.name"), &region.name) else { continue };
        let member = MemberSpec {
            priority: region.priority.unwrap_or_else(|| priority(spec, &region.name)),
            host: region.host.clone(),
            port: region.port,
            health_name: None,
        };
        if members.insert(name, member).is_some() {
            errors.fail(format!("{path}.name"), format!("{} is listed twice", region.name));
        }
    }
    members
}

/// By the order of the standbys, the first primary before all.
fn priority(spec: &ContinuumSpec, region: &str) -> u32 {
    let place = spec.hot_standby_regions.iter().position(|name| name == region);
    let steps = place.map_or(0, |place| u32::try_from(place + 1).unwrap_or(u32::MAX));
    FIRST_PRIORITY.saturating_sub(steps.saturating_mul(PRIORITY_STEP))
}

fn regions_fit(spec: &ContinuumSpec, pair: Option<&CnpgPairSpec>, errors: &mut Errors) {
    let listed: BTreeSet<&str> = spec.regions.iter().map(|region| region.name.as_str()).collect();
    let mut said = BTreeSet::from([spec.primary_region.as_str()]);
    for (index, name) in spec.hot_standby_regions.iter().enumerate() {
        if !said.insert(name) {
            let path = format!("spec.hotStandbyRegions[{index}]");
            errors.fail(path, format!("{name} is named already"));
        }
    }
    for name in said.difference(&listed) {
        errors.fail("spec.regions", format!("{name} has no entry"));
    }
    for name in listed.difference(&said) {
        errors.fail("spec.regions", format!("{name} is neither primary nor hot standby"));
    }
    let target = spec.switchover.as_ref().and_then(|wish| wish.target_region.as_deref());
    if let Some(target) = target.filter(|target| !said.contains(target)) {
        errors.fail("spec.switchover.targetRegion", format!("{target} is not one of the regions"));
    }
    let Some(pair) = pair else { return };
    for name in [&pair.primary_region, &pair.replica_region] {
        if !listed.contains(name.as_str()) {
            errors.fail("spec.cnpgPair", format!("its region {name} is not one of the regions"));
        }
    }
}

fn policy(spec: &ContinuumSpec, out: &mut PairSpec, errors: &mut Errors) {
    out.mode = match (spec.mode, spec.auto_failover) {
        (Some(mode), Some(auto)) if auto != (mode == PairMode::Automatic) => {
            errors.fail("spec.autoFailover", "and mode say different things; leave one out");
            mode
        }
        (Some(mode), _) => mode,
        (None, Some(true)) => PairMode::Automatic,
        // Who does not ask for it does not get it.
        (None, _) => PairMode::Manual,
    };
    out.durability = spec.durability.unwrap_or(out.durability);
    out.takeover = spec.takeover.unwrap_or(out.takeover);
    out.on_witness_loss = spec.on_witness_loss.unwrap_or(out.on_witness_loss);
    out.autonomous = spec.autonomous.unwrap_or(out.autonomous);
    out.max_lag_bytes = spec.max_lag_bytes.unwrap_or(out.max_lag_bytes);
    out.restarts_in_place = spec.restarts_in_place.unwrap_or(out.restarts_in_place);
    out.drain_failure = spec.drain_failure.unwrap_or(out.drain_failure);
    out.loss_approval =
        spec.loss_approval.map(|approval| spec::LossApproval { rpo_bytes: approval.rpo_bytes });
}

fn waits(spec: &ContinuumSpec, out: &mut PairSpec, errors: &mut Errors) {
    for (path, text, into) in [
        ("spec.coreGrace", &spec.core_grace, &mut out.core_grace),
        ("spec.stallTimeout", &spec.stall_timeout, &mut out.stall_timeout),
        ("spec.antiFlap", &spec.anti_flap, &mut out.anti_flap),
        ("spec.switchoverDeadline", &spec.switchover_deadline, &mut out.switchover_deadline),
        ("spec.restartBudget", &spec.restart_budget, &mut out.restart_budget),
        ("spec.writeStallTimeout", &spec.write_stall_timeout, &mut out.write_stall_timeout),
        ("spec.suspectAfter", &spec.suspect_after, &mut out.suspect_after),
        ("spec.drain", &spec.drain, &mut out.drain),
    ] {
        errors.duration(path, text.as_ref(), into);
    }
}

fn objectives(
    spec: &ContinuumSpec,
    pair: Option<&CnpgPairSpec>,
    errors: &mut Errors,
) -> Option<Objectives> {
    let mut out = Objectives { rto: None, rpo_bytes: spec.rpo_bytes };
    let seconds = pair.and_then(|pair| pair.rto_seconds);
    out.rto = match &spec.rto {
        Some(text) => errors.take(durations::read("spec.rto", text)),
        None => seconds.map(|seconds| Duration::from_secs(seconds.into())),
    };
    let rpo = match &spec.rpo {
        Some(text) => errors.take(durations::read("spec.rpo", text)).map(|rpo| ("spec.rpo", rpo)),
        None => pair
            .and_then(|pair| pair.rpo_seconds)
            .map(|seconds| ("spec.cnpgPair", Duration::from_secs(seconds.into()))),
    };
    match (rpo, out.rpo_bytes) {
        (Some((_, rpo)), None | Some(0)) if rpo.is_zero() => out.rpo_bytes = Some(0),
        (Some((path, _)), _) => errors.fail(
            path,
            "a loss is measured in bytes of WAL, not in time: say rpoBytes, and 0 or nothing here",
        ),
        (None, _) => {}
    }
    (out != Objectives::default()).then_some(out)
}

fn names(spec: &ContinuumSpec, errors: &mut Errors) -> Vec<NameSpec> {
    let addresses = addresses(&spec.regions, errors);
    let mut names = Vec::new();
    for (index, record) in spec.names.iter().enumerate() {
        names.extend(name(&format!("spec.names[{index}]"), record, &addresses, errors));
    }
    if let Some(lua) = &spec.lua_record {
        names.extend(lua_names(lua, &addresses, errors));
    }
    names
}

type Addresses = BTreeMap<RegionId, BTreeSet<IpAddr>>;

fn addresses(regions: &[Region], errors: &mut Errors) -> Addresses {
    let mut all = Addresses::new();
    for (index, region) in regions.iter().enumerate() {
        let Ok(name) = RegionId::new(region.name.clone()) else { continue };
        for (place, text) in region.lb_ips.iter().enumerate() {
            match text.parse::<IpAddr>() {
                Ok(address) => {
                    all.entry(name.clone()).or_default().insert(address);
                }
                Err(_) => errors.fail(
                    format!("spec.regions[{index}].lbIPs[{place}]"),
                    format!("{text:?} is no IP address"),
                ),
            }
        }
    }
    all
}

fn name(
    path: &str,
    record: &NamedRecord,
    addresses: &Addresses,
    errors: &mut Errors,
) -> Option<NameSpec> {
    let ttl = errors.take(durations::read(&format!("{path}.ttl"), &record.ttl))?;
    let mut name = NameSpec::new(record.name.clone(), ttl);
    name.provider.clone_from(&record.provider);
    name.zone.clone_from(&record.zone);
    name.role = record.role.unwrap_or_default();
    name.policy = record.policy.unwrap_or_default();
    name.health_port = record.health_port.and_then(NonZeroU16::new);
    if let Some(lag) = &record.lag_max {
        name.lag_max = Some(errors.take(durations::read(&format!("{path}.lagMax"), lag))?);
    }
    if name.provider.is_some() {
        name.addresses.clone_from(addresses);
    }
    Some(name)
}

fn lua_names(lua: &LuaRecord, addresses: &Addresses, errors: &mut Errors) -> Vec<NameSpec> {
    if NonZeroU16::new(lua.health_port).is_none() {
        errors.fail("spec.luaRecord.healthPort", "1 to 65535 is accepted");
    }
    let ttl = Duration::from_secs(lua.ttl.into());
    let one = |hostname: &String| {
        let place = (lua.provider.as_str(), lua.zone.as_str());
        let mut name = NameSpec::at_provider(hostname.clone(), ttl, place, addresses.clone());
        name.policy = NamePolicy::Follow;
        name.health_port = NonZeroU16::new(lua.health_port);
        name
    };
    lua.hostnames.iter().map(one).collect()
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
