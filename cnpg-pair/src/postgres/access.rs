//! How an agent gets into its member's own PostgreSQL, and by which names the members are known there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use continuum_domain::RegionId;

use super::PlaneConfig;
use super::tls::ServerTls;
use crate::guard::replication_role;

/// The way in.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// The unix socket of a PostgreSQL on this host, as its superuser.
    Socket {
        /// The socket's directory.
        directory: PathBuf,
        /// PostgreSQL's port.
        port: u16,
    },
    /// A PostgreSQL elsewhere.
    Remote(Remote),
}

/// A PostgreSQL that is reached over the network.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role, which may do what an agent needs.
    pub user: String,
    /// File with the role's password, one line; none where the server asks for none.
    pub password_file: Option<PathBuf>,
    /// How the connection is encrypted; `None`: it is not.
    pub tls: Option<ServerTls>,
}

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    region: RegionId,
    role: String,
}

/// The way in, and who is who.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    door: Door,
    /// Members by the name that their receivers bear.
    members: BTreeMap<String, Known>,
}

impl Access {
    /// For a PostgreSQL under a guard: receivers bear the name of their region, each under a role of
    /// its own.
    pub fn local(config: &PlaneConfig) -> Self {
        let known = |region: &RegionId| {
            let role = replication_role(region);
            (region.to_string(), Known { region: region.clone(), role })
        };
        let door = Door::Socket { directory: config.socket_directory.clone(), port: config.port };
        Self { door, members: config.members.iter().map(known).collect() }
    }

    /// For a PostgreSQL whose receivers bear these names, all under one role.
    pub fn remote(remote: Remote, names: &BTreeMap<RegionId, String>, role: &str) -> Self {
        let known = |(region, name): (&RegionId, &String)| {
            (name.clone(), Known { region: region.clone(), role: role.to_owned() })
        };
        Self { door: Door::Remote(remote), members: names.iter().map(known).collect() }
    }

    /// The way in.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Whose name a receiver bears.
    pub fn member(&self, name: &str) -> Option<&RegionId> {
        self.members.get(name).map(|known| &known.region)
    }

    /// Whether a receiver of that name may have that role.
    pub fn is_role_of(&self, name: &str, role: Option<&str>) -> bool {
        self.members.get(name).is_some_and(|known| Some(known.role.as_str()) == role)
    }

    /// `synchronous_standby_names` as PostgreSQL shows it, in the words of regions.
    pub fn in_regions(&self, shown: &str) -> String {
        let mut text = shown.to_owned();
        for (name, known) in &self.members {
            let region = known.region.as_str();
            if name != region {
                text = text.replace(&format!("\"{name}\""), &format!("\"{region}\""));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clusters_are_told_as_regions() {
        let region = |name: &str| RegionId::new(name).unwrap();
        let names = BTreeMap::from([
            (region("fsn"), "shop-fsn".to_owned()),
            (region("hel"), "shop-hel".to_owned()),
        ]);
        let remote = Remote {
            host: "db".into(),
            port: 5432,
            user: "continuum".into(),
            password_file: None,
            tls: None,
        };
        let access = Access::remote(remote, &names, "streaming_replica");
        assert_eq!(access.member("shop-hel"), Some(&region("hel")));
        assert_eq!(access.member("hel"), None, "the name of a region is nobody's there");
        assert!(access.is_role_of("shop-hel", Some("streaming_replica")));
        assert!(
            !access.is_role_of("shop-hel", Some("app")) && !access.is_role_of("shop-hel", None)
        );
        let shown = r#"FIRST 2 ("shop-hel","continuum_probe")"#;
        assert_eq!(access.in_regions(shown), r#"FIRST 2 ("hel","continuum_probe")"#);
    }
}
