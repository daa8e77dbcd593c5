//! A `CnpgPair` out of the pair's own spec, for who has no other.

use continuum_domain::RegionId;
use continuum_domain::spec::{MemberSpec, PairSpec, SpecError};

use crate::kubernetes::crd::{CnpgPair, CnpgPairSpec, Member, Members};

/// Two Clusters named after the pair and their regions, reached where the spec says.
pub fn pair_of(spec: &PairSpec, namespace: &str) -> Result<CnpgPair, SpecError> {
    let standbys: Vec<(&RegionId, &MemberSpec)> =
        spec.members.iter().filter(|(region, _)| **region != spec.first_primary).collect();
    let ([(region, standby)], Some(first)) =
        (standbys.as_slice(), spec.members.get(&spec.first_primary))
    else {
        let problem = "manifests are rendered for two members".into();
        return Err(SpecError { path: "members".into(), problem });
    };
    let member = |member: &MemberSpec| Member {
        host: Some(member.host.clone()),
        port: Some(member.port),
        ..Member::default()
    };
    // What the schema's defaults are comes from the types: an object with only what must be there.
    let base: CnpgPairSpec = serde_json::from_value(serde_json::json!({
        "primaryCluster": format!("{}-{}", spec.id, spec.first_primary),
        "replicaCluster": format!("{}-{region}", spec.id),
        "primaryRegion": spec.first_primary,
        "replicaRegion": region,
        "members": {"primary": {}, "replica": {}},
    }))
    .map_err(|error| SpecError { path: "spec".into(), problem: error.to_string() })?;
    let members = Members { primary: member(first), replica: member(standby) };
    let mut pair = CnpgPair::new(spec.id.as_str(), CnpgPairSpec { members, ..base });
    pair.metadata.namespace = Some(namespace.to_owned());
    Ok(pair)
}
