//! Checks that several roles share.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use continuum_runtime::Role;
use continuum_runtime::net::TlsFiles;

use super::loader::Checks;

impl Checks<'_> {
    /// An address to dial must read `host:port`.
    pub fn address(&mut self, key: &str, address: &str) {
        if port_of(address).is_none_or(|port| port == 0) {
            self.fail(key, format!("{address:?} is not an address; write it as host:port"));
        }
    }

    /// An address to listen on must read `host:port`; port 0 takes any.
    pub fn listen(&mut self, key: &str, address: &str) {
        if port_of(address).is_none() {
            self.fail(key, format!("{address:?} is not an address; write it as host:port"));
        }
    }

    /// A text must not be empty.
    pub fn filled(&mut self, key: &str, text: &str) {
        if text.trim().is_empty() {
            self.fail(key, "must not be empty");
        }
    }

    /// A path must start at the root: a role's working directory is nobody's business.
    pub fn absolute(&mut self, key: &str, path: &Path) {
        if !path.is_absolute() {
            self.fail(key, format!("{:?} must be an absolute path", path.display().to_string()));
        }
    }

    /// No value may come twice; `key` gives the key of the n-th element.
    pub fn distinct<T: Ord + Display>(
        &mut self,
        what: &str,
        values: impl IntoIterator<Item = T>,
        key: impl Fn(usize) -> String,
    ) {
        let mut seen = BTreeMap::new();
        for (index, value) in values.into_iter().enumerate() {
            if let Some(first) = seen.get(&value) {
                let first: usize = *first;
                let problem = format!("{what} {value} is already given at {}", shown(&key(first)));
                self.fail(&key(index), problem);
            } else {
                seen.insert(value, index);
            }
        }
    }

    /// A file must be there and be readable by this process.
    pub fn readable(&mut self, key: &str, path: &Path) -> bool {
        if !self.files {
            return false;
        }
        let mut byte = [0u8; 1];
        match File::open(path).and_then(|mut file| file.read(&mut byte)) {
            Ok(_) => true,
            Err(error) => {
                self.fail(key, format!("{} cannot be read: {error}", path.display()));
                false
            }
        }
    }

    /// Certificate, key and authority must be there, fit each other, and carry the expected name.
    pub fn tls(&mut self, key: &str, files: &TlsFiles, role: Role, name: Option<&str>) {
        let all = [
            self.readable(&format!("{key}.authority"), &files.authority),
            self.readable(&format!("{key}.certificate"), &files.certificate),
            self.readable(&format!("{key}.key"), &files.key),
        ];
        if all != [true; 3] {
            return;
        }
        if let Err(error) = files.server_config() {
            return self.fail(&at_file(key, files, &error.to_string()), error.to_string());
        }
        let certificate = format!("{key}.certificate");
        match files.identity() {
            Err(error) => self.fail(&certificate, error.to_string()),
            Ok(identity) if identity.role != role => {
                let wanted = role.label();
                self.fail(&certificate, format!("is of {identity}, but a {wanted} is needed here"));
            }
            Ok(identity) => {
                if let Some(name) = name.filter(|name| **name != identity.name) {
                    let wanted = format!("{}/{name}", role.label());
                    self.fail(
                        &certificate,
                        format!("is of {identity}, but the configuration says {wanted}"),
                    );
                }
            }
        }
    }
}

fn port_of(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    if host.is_empty() { None } else { port.parse().ok() }
}

/// The key whose file an error message names.
fn at_file(key: &str, files: &TlsFiles, message: &str) -> String {
    let candidates =
        [("authority", &files.authority), ("certificate", &files.certificate), ("key", &files.key)];
    let named = candidates.iter().find(|(_, path)| message.contains(&path.display().to_string()));
    named.map_or_else(|| key.to_owned(), |(field, _)| format!("{key}.{field}"))
}

fn shown(key: &str) -> String {
    super::locate::dotted(&key.split('.').map(Into::into).collect::<Vec<_>>())
}
