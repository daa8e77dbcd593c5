//! `synchronous_standby_names` as a value.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::RegionId;
use crate::mutation::{Bug, planted};

/// The standbys a commit must wait for: every one listed, never a quorum of them, so that "in the
/// ledger" means "has every acknowledged commit".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncNames {
    /// Members that must acknowledge.
    pub members: BTreeSet<RegionId>,
    /// Adds one name that no standby carries, so that every commit waits: the first half of the
    /// proof that backends really wait (R12).
    pub probe: bool,
}

/// The name no standby may carry.
pub const PROBE_NAME: &str = "continuum_probe";

impl SyncNames {
    /// Names for exactly these members.
    pub fn of(members: impl IntoIterator<Item = RegionId>) -> Self {
        Self { members: members.into_iter().collect(), probe: false }
    }

    /// The same members with the unfillable name added.
    #[must_use]
    pub fn with_probe(&self) -> Self {
        Self { members: self.members.clone(), probe: true }
    }

    /// Whether going from `self` to `next` lets go of somebody a commit waits for. Only the relax
    /// step may do that (R10).
    pub fn loses_a_name(&self, next: &SyncNames) -> bool {
        (self.probe && !next.probe) || !self.members.is_subset(&next.members)
    }

    /// Whether commits wait for nobody.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && !self.probe
    }
}

/// The value for `synchronous_standby_names`: empty, or `FIRST k (...)` with k = all of them.
impl fmt::Display for SyncNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        let count = self.members.len() + usize::from(self.probe);
        if planted(Bug::NamesAnyOne) && !self.probe {
            write!(f, "ANY 1 (")?;
        } else {
            write!(f, "FIRST {count} (")?;
        }
        let names =
            self.members.iter().map(RegionId::as_str).chain(self.probe.then_some(PROBE_NAME));
        for (index, name) in names.enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "\"{name}\"")?;
        }
        f.write_str(")")
    }
}

/// Whether `shown`, a value of `synchronous_standby_names`, makes a commit wait for each of `members`.
pub fn requires_all(shown: &str, members: &[RegionId]) -> bool {
    if members.is_empty() || planted(Bug::NamesAnyOne) {
        return true;
    }
    let Some((count, list)) = shown.strip_prefix("FIRST ").and_then(|rest| rest.split_once(" ("))
    else {
        return false;
    };
    let names: BTreeSet<&str> =
        list.trim_end_matches(')').split(',').map(|name| name.trim().trim_matches('"')).collect();
    count.parse() == Ok(names.len()) && members.iter().all(|member| names.contains(member.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> RegionId {
        RegionId::new(name).expect("valid name")
    }

    #[test]
    fn all_of_them_are_required() {
        let names = SyncNames::of([region("hel"), region("ash")]);
        assert_eq!(names.to_string(), r#"FIRST 2 ("ash", "hel")"#);
        assert_eq!(names.with_probe().to_string(), r#"FIRST 3 ("ash", "hel", "continuum_probe")"#);
        assert_eq!(SyncNames::default().to_string(), "");
    }

    #[test]
    fn letting_go_is_seen() {
        let both = SyncNames::of([region("hel"), region("ash")]);
        let one = SyncNames::of([region("hel")]);
        assert!(both.loses_a_name(&one));
        assert!(!one.loses_a_name(&both));
        assert!(one.with_probe().loses_a_name(&one));
    }
}
