//! What a name at a provider holds: addresses, an alias or a service; and how addresses are routed.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::corroborate::name_problem;
use crate::ids::RegionId;
use crate::name_spec::{NamePolicy, NameRole, NameSpec, absolute};

/// First label of the names at which companions stand.
pub const COMPANION_LABEL: &str = "_epoch";
/// Longest id of a health check.
const HEALTH_CHECK_MAX: usize = 64;

/// What stands at a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NameKind {
    /// A and AAAA: `addresses`.
    #[default]
    Address,
    /// A CNAME: the holder's one of `targets`.
    Cname,
    /// SRV: the holder's, or each listed standby's, one of `services`.
    Srv,
}

/// How a provider that answers by health checks of its own chooses among address records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// It does not: the records are answered as they are.
    #[default]
    Simple,
    /// The holder is primary and the other member secondary. Each has a health check of its
    /// lease-gated URL, so that a check that fails answers nobody who does not hold the lease.
    Failover,
    /// The holder has weight 1 and every other member 0; listed standbys have 1 each.
    Weighted,
}

/// One member as an SRV record has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Lower ones are tried first.
    #[serde(default)]
    pub priority: u16,
    /// Share among those of one priority.
    #[serde(default)]
    pub weight: u16,
    /// Where PostgreSQL listens.
    pub port: NonZeroU16,
    /// The host, fully qualified; a name with addresses of its own.
    pub target: String,
}

type Problem = (String, String);

fn fail(field: impl Into<String>, problem: impl Into<String>) -> Result<(), Problem> {
    Err((field.into(), problem.into()))
}

/// Each member is in a table of the spec, and nobody else.
pub(crate) fn complete<'a, T>(
    (table, entries): (&str, &BTreeMap<RegionId, T>),
    members: impl Iterator<Item = &'a RegionId> + Clone,
    what: &str,
    filled: impl Fn(&T) -> bool,
) -> Result<(), Problem> {
    for region in members.clone() {
        if !entries.get(region).is_some_and(&filled) {
            let problem = format!("{what} is needed: this member may hold the lease");
            return fail(format!("{table}.{region}"), problem);
        }
    }
    match entries.keys().find(|region| !members.clone().any(|member| member == *region)) {
        Some(other) => fail(format!("{table}.{other}"), "is not one of the members"),
        None => Ok(()),
    }
}

impl NameSpec {
    /// Checks kind, what belongs to it, and routing; the error is the field and what is accepted there.
    pub fn check_kind<'a>(
        &self,
        members: impl Iterator<Item = &'a RegionId> + Clone,
    ) -> Result<(), Problem> {
        if self.name.split('.').next().is_some_and(|label| {
            // Companions are looked up in any case.
            label.eq_ignore_ascii_case(COMPANION_LABEL)
        }) {
            return fail("name", "names below _epoch are companions of other names");
        }
        let tables = [
            ("addresses", NameKind::Address, self.addresses.is_empty()),
            ("targets", NameKind::Cname, self.targets.is_empty()),
            ("services", NameKind::Srv, self.services.is_empty()),
        ];
        for (table, kind, empty) in tables {
            if kind != self.kind && !empty {
                let word = match kind {
                    NameKind::Address => "address",
                    NameKind::Cname => "cname",
                    NameKind::Srv => "srv",
                };
                return fail(table, format!("is only for kind \"{word}\""));
            }
        }
        if self.kind != NameKind::Address && self.policy != NamePolicy::Flip {
            return fail("policy", "\"follow\" is only for kind \"address\"");
        }
        match self.kind {
            NameKind::Address => {
                let table = ("addresses", &self.addresses);
                let what = "at least one address";
                complete(table, members.clone(), what, |listed| !listed.is_empty())?;
            }
            NameKind::Cname => self.check_targets(members.clone())?,
            NameKind::Srv => self.check_services(members.clone())?,
        }
        self.check_routing(members)
    }

    fn check_targets<'a>(
        &self,
        members: impl Iterator<Item = &'a RegionId> + Clone,
    ) -> Result<(), Problem> {
        if self.role == NameRole::Standby {
            return fail(
                "role",
                "\"standby\" needs kind \"address\" or \"srv\": a CNAME has one target",
            );
        }
        complete(("targets", &self.targets), members, "a target", |_| true)?;
        for (region, target) in &self.targets {
            let field = format!("targets.{region}");
            if let Some(problem) = name_problem(target) {
                return fail(field, problem);
            }
            if absolute(target) == absolute(&self.name) {
                return fail(field, "is the name itself");
            }
        }
        Ok(())
    }

    fn check_services<'a>(
        &self,
        members: impl Iterator<Item = &'a RegionId> + Clone,
    ) -> Result<(), Problem> {
        complete(("services", &self.services), members, "a service", |_| true)?;
        for (region, service) in &self.services {
            if let Some(problem) = name_problem(&service.target) {
                return fail(format!("services.{region}.target"), problem);
            }
        }
        Ok(())
    }

    fn check_routing<'a>(
        &self,
        members: impl Iterator<Item = &'a RegionId> + Clone,
    ) -> Result<(), Problem> {
        for (region, check) in &self.health_checks {
            let fits = (1..=HEALTH_CHECK_MAX).contains(&check.len())
                && check.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !fits {
                return fail(format!("health_checks.{region}"), "is not the id of a health check");
            }
        }
        let checks = ("health_checks", &self.health_checks);
        match self.routing {
            Routing::Simple if !self.health_checks.is_empty() => {
                return fail("health_checks", "is only for routing \"failover\" or \"weighted\"");
            }
            Routing::Simple => return Ok(()),
            _ if self.kind != NameKind::Address || self.policy != NamePolicy::Flip => {
                return fail("routing", "is only for kind \"address\" and policy \"flip\"");
            }
            Routing::Failover if self.role == NameRole::Standby => {
                return fail("routing", "\"failover\" is for the primary's name; use \"weighted\"");
            }
            Routing::Failover if members.clone().count() != 2 => {
                return fail("routing", "\"failover\" is for two members; use \"weighted\"");
            }
            // With some alone, a check of the holder that fails would answer a member whose own
            // health nobody asks.
            Routing::Weighted if self.health_checks.is_empty() => return Ok(()),
            Routing::Failover | Routing::Weighted => {}
        }
        complete(checks, members, "a health check of its lease-gated URL", |_| true)
    }
}
