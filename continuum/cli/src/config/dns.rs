//! Configuration of a name server.

use std::path::Path;

use continuum_dns::DnsConfig;
use continuum_dns::provider::key_file;
use continuum_runtime::Role;

use super::loader::{Checks, Document};
use super::witness_access::{self, Witnessed};
use super::{Issue, Reading, RoleFile};

/// Reads and checks a name server's configuration.
pub fn load(
    file: &Path,
    reading: Reading<'_>,
) -> Result<RoleFile<Witnessed<DnsConfig>>, Vec<Issue>> {
    let mut document = Document::read(file, "dns", reading.variables)?;
    let log = document.take("log").unwrap_or_default();
    let tls = document.need("tls");
    let witness = witness_access::take(&mut document);
    let loaded = document.typed::<DnsConfig>()?;
    let config = loaded.value;
    let mut checks = Checks::new(&loaded.places, reading.files);
    checks.filled("name", &config.name);
    checks.listen("listen_dns", &config.listen_dns);
    checks.listen("listen_rpc", &config.listen_rpc);
    witness_access::check(&witness, &mut checks);
    if let Err(error) = config.check() {
        checks.fail(&error.path, error.problem);
    }
    for (index, secondary) in config.secondaries.iter().enumerate() {
        let key = format!("secondaries.{index}.key_file");
        checks.absolute(&key, &secondary.key_file);
        if checks.readable(&key, &secondary.key_file) {
            checks.result(&key, key_file::tsig(&secondary.key_file));
        }
    }
    // Absent only with an issue noted, with which `typed` has ended the reading.
    let Some(tls) = tls else { return Err(Vec::new()) };
    checks.tls("tls", &tls, Role::Dns, Some(&config.name));
    checks.finish()?;
    Ok(RoleFile { config: Witnessed { own: config, witness }, tls, log })
}
