//! Configuration of a witness server.

use std::path::Path;

use continuum_runtime::Role;
use continuum_witness::WitnessConfig;

use super::loader::{Checks, Document};
use super::{Issue, Reading, RoleFile};

/// Reads and checks a witness server's configuration.
pub fn load(file: &Path, reading: Reading<'_>) -> Result<RoleFile<WitnessConfig>, Vec<Issue>> {
    let mut document = Document::read(file, "witness", reading.variables)?;
    let log = document.take("log").unwrap_or_default();
    let tls = document.need("tls");
    document.refuse_repeats("pairs", "region");
    let loaded = document.typed::<WitnessConfig>()?;
    let config = loaded.value;
    let mut checks = Checks::new(&loaded.places, reading.files);
    checks.filled("name", &config.name);
    checks.listen("listen", &config.listen);
    checks.absolute("data_directory", &config.data_directory);
    for (pair, members) in &config.pairs {
        if members.len() < 2 {
            let problem = "lists fewer than 2 regions; all members of the pair must be listed";
            checks.fail_path(&vec!["pairs".into(), pair.to_string()], problem);
        }
    }
    // Absent only with an issue noted, with which `typed` has ended the reading.
    let Some(tls) = tls else { return Err(Vec::new()) };
    checks.tls("tls", &tls, Role::Witness, Some(&config.name));
    checks.finish()?;
    Ok(RoleFile { config, tls, log })
}
