//! Who is at the other end: names in certificates.
//!
//! Every certificate carries one DNS name `<name>.<role>.continuum.internal`. A client checks that
//! the server it dialled carries the name it expects; a server reads the client's role and name
//! from it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a certificate's owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A control node.
    Core,
    /// A region's agent; the name is the region.
    Region,
    /// A witness server.
    Witness,
    /// A name server.
    Dns,
    /// A person or a tool acting for one.
    Operator,
}

impl Role {
    /// The role's label in a certificate name.
    pub fn label(self) -> &'static str {
        match self {
            Role::Core => "core",
            Role::Region => "region",
            Role::Witness => "witness",
            Role::Dns => "dns",
            Role::Operator => "operator",
        }
    }

    fn from_label(label: &str) -> Option<Role> {
        [Role::Core, Role::Region, Role::Witness, Role::Dns, Role::Operator]
            .into_iter()
            .find(|role| role.label() == label)
    }
}

/// An authenticated party.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// What it is.
    pub role: Role,
    /// Its name within the role.
    pub name: String,
}

const SUFFIX: &str = ".continuum.internal";

impl Identity {
    /// An identity from its parts.
    pub fn new(role: Role, name: impl Into<String>) -> Self {
        Self { role, name: name.into() }
    }

    /// The DNS name its certificate carries.
    pub fn dns_name(&self) -> String {
        format!("{}.{}{SUFFIX}", self.name, self.role.label())
    }

    /// Reads an identity from a certificate's DNS name.
    pub fn from_dns_name(dns_name: &str) -> Option<Self> {
        let (name, label) = dns_name.strip_suffix(SUFFIX)?.rsplit_once('.')?;
        Some(Self { role: Role::from_label(label)?, name: name.to_owned() })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role.label(), self.name)
    }
}

impl FromStr for Identity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(label, name)| {
            Some(Self { role: Role::from_label(label)?, name: name.to_owned() })
        });
        parsed.ok_or_else(|| format!("{text:?} is not an identity; write it as region/fsn"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_through_a_certificate() {
        let identity = Identity::new(Role::Region, "fsn");
        assert_eq!(identity.dns_name(), "fsn.region.continuum.internal");
        assert_eq!(Identity::from_dns_name(&identity.dns_name()), Some(identity));
        assert_eq!(Identity::from_dns_name("fsn.king.continuum.internal"), None);
        assert_eq!(Identity::from_dns_name("example.org"), None);
    }
}
