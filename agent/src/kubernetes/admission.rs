//! Whether an object is brought to the core, which owns what is wanted of a pair.
//!
//! Several clusters may hold an object of the same pair, and people change specs at the core as well. So
//! an object is a request on top of a version: it is brought to the core where somebody changed it since
//! it was last taken over and the core still has that version. Otherwise nothing is overwritten, and
//! what differs is said.

use continuum_cnpg_pair::kubernetes::crd::{Admitted, CnpgPairSpec, ContinuumSpec};
use continuum_control_api::spec_diff;
use continuum_domain::spec::{PairSpec, SpecError};
use sha2::{Digest as _, Sha256};

/// The annotation by which a person says: over this version of the core's.
pub const OVER_VERSION: &str = "dr.openova.io/over-version";
/// Most differing fields that are named.
const PATHS_MAX: usize = 8;

/// What the core has of the pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Core<'a> {
    /// It did not say, lately or in words that are understood.
    Unknown,
    /// No such pair, or none that this region is a member of.
    Absent,
    /// A version of its spec.
    Has(u64, &'a PairSpec),
}

/// What is done with an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing: what would have to be known is not.
    Wait,
    /// Nothing: it cannot be meant.
    Refused(Vec<SpecError>),
    /// Nothing: it says what the core has.
    Same {
        /// The core's version.
        version: u64,
    },
    /// Nothing: nobody changed it since, and the core went on.
    Behind {
        /// The core's version.
        version: u64,
        /// What differs.
        paths: Vec<String>,
    },
    /// It is brought to the core.
    Apply {
        /// On top of this version; `None`: the pair must not be there.
        expected: Option<u64>,
    },
    /// Nothing: it was changed on both sides.
    Conflict {
        /// The core's version.
        version: u64,
        /// What differs.
        paths: Vec<String>,
    },
    /// Nothing: the pair was removed at the core since.
    Removed {
        /// The newest version that was seen there.
        version: u64,
    },
}

/// What is wanted by an object, to tell whether somebody changed it: all of its spec but the wish to
/// move, and what it takes of its `CnpgPair`.
pub fn digest(spec: &ContinuumSpec, pair: Option<&CnpgPairSpec>) -> String {
    let wanted = ContinuumSpec { switchover: None, ..spec.clone() };
    let objectives = pair.map(|pair| (pair.rto_seconds, pair.rpo_seconds));
    let text = serde_json::to_vec(&(wanted, objectives)).expect("specs are plain data");
    hex(&Sha256::digest(text))
}

/// The beginning of a digest: enough to tell two objects of one name apart.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What is known of an object's past.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past<'a> {
    /// What the core has taken over.
    pub admitted: Option<&'a Admitted>,
    /// The newest version that the core was seen to have, of whomever.
    pub seen: Option<u64>,
    /// The version that a person said may be overwritten.
    pub over: Option<u64>,
}

/// Decides about an object.
pub fn decide(
    wanted: Result<&PairSpec, &[SpecError]>,
    digest: &str,
    past: Past<'_>,
    core: Core<'_>,
) -> Verdict {
    let Past { admitted, seen, over } = past;
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(errors) => return Verdict::Refused(errors.to_vec()),
    };
    let changed = admitted.is_none_or(|admitted| admitted.digest != digest);
    match (core, admitted) {
        (Core::Unknown, _) => Verdict::Wait,
        (Core::Absent, _) => match seen.max(admitted.map(|admitted| admitted.version)) {
            Some(version) if over != Some(version) => Verdict::Removed { version },
            _ => Verdict::Apply { expected: None },
        },
        (Core::Has(version, spec), _) if spec == wanted => Verdict::Same { version },
        (Core::Has(version, spec), Some(_)) if !changed => {
            Verdict::Behind { version, paths: paths(wanted, spec) }
        }
        (Core::Has(version, spec), admitted) => {
            let on_top = admitted.is_some_and(|admitted| admitted.version == version);
            if on_top || over == Some(version) {
                Verdict::Apply { expected: Some(version) }
            } else {
                Verdict::Conflict { version, paths: paths(wanted, spec) }
            }
        }
    }
}

fn paths(wanted: &PairSpec, spec: &PairSpec) -> Vec<String> {
    let diff = spec_diff::diff((None, Some(spec)), (None, Some(wanted)));
    let mut paths: Vec<_> = diff.changes.into_iter().map(|change| change.path).collect();
    if paths.len() > PATHS_MAX {
        let more = paths.len() - PATHS_MAX;
        paths.truncate(PATHS_MAX);
        paths.push(format!("{more} more"));
    }
    paths
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
