//! Configuration of a name server.

use std::path::Path;

use continuum_dns::DnsConfig;
use continuum_runtime::Role;

use super::loader::{Checks, Document};
use super::{Issue, Reading, RoleFile};

/// Reads and checks a name server's configuration.
pub fn load(file: &Path, reading: Reading<'_>) -> Result<RoleFile<DnsConfig>, Vec<Issue>> {
    let mut document = Document::read(file, "dns", reading.variables)?;
    let log = document.take("log").unwrap_or_default();
    let tls = document.need("tls");
    let loaded = document.typed::<DnsConfig>()?;
    let config = loaded.value;
    let mut checks = Checks::new(&loaded.places, reading.files);
    checks.filled("name", &config.name);
    checks.listen("listen_dns", &config.listen_dns);
    checks.listen("listen_rpc", &config.listen_rpc);
    checks.filled("witness.name", &config.witness.name);
    checks.address("witness.address", &config.witness.address);
    if let Err(error) = config.check() {
        checks.fail(&error.path, error.problem);
    }
    // Absent only with an issue noted, with which `typed` has ended the reading.
    let Some(tls) = tls else { return Err(Vec::new()) };
    checks.tls("tls", &tls, Role::Dns, Some(&config.name));
    checks.finish()?;
    Ok(RoleFile { config, tls, log })
}
