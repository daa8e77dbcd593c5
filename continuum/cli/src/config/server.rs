//! Configuration of a control node.

use std::path::Path;

use continuum_control::CoreConfig;
use continuum_runtime::Role;

use super::loader::{Checks, Document};
use super::traces::check as traces;
use super::witness_access::{self, Witnessed};
use super::{Issue, Reading, RoleFile};

/// Reads and checks a control node's configuration.
pub fn load(
    file: &Path,
    reading: Reading<'_>,
) -> Result<RoleFile<Witnessed<CoreConfig>>, Vec<Issue>> {
    let mut document = Document::read(file, "server", reading.variables)?;
    let log = document.take("log").unwrap_or_default();
    let tls = document.need("tls");
    let witness = witness_access::take(&mut document);
    let loaded = document.typed::<CoreConfig>()?;
    let config = loaded.value;
    let mut checks = Checks::new(&loaded.places, reading.files);
    checks.filled("name", &config.name);
    checks.listen("listen_rpc", &config.listen_rpc);
    checks.listen("listen_api", &config.listen_api);
    for (key, address) in
        [("advertise_rpc", &config.advertise_rpc), ("advertise_api", &config.advertise_api)]
    {
        if let Some(address) = address {
            checks.address(key, address);
        }
    }
    checks.absolute("data_directory", &config.data_directory);
    if let Some(file) = &config.audit.personal_key_file {
        checks.absolute("audit.personal_key_file", file);
        checks.readable("audit.personal_key_file", file);
    }
    for (index, sink) in config.sinks.iter().enumerate() {
        for (key, problem) in sink.problems() {
            checks.fail(&format!("sinks.{index}.{key}"), problem);
        }
        for (key, file) in sink.files() {
            checks.readable(&format!("sinks.{index}.{key}"), file);
        }
    }
    let names: Vec<_> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    checks.distinct("the sink", names, |index| format!("sinks.{index}.name"));
    witness_access::check(&witness, &mut checks);
    for (index, peer) in config.peers.iter().enumerate() {
        checks.filled(&format!("peers.{index}.name"), &peer.name);
        checks.address(&format!("peers.{index}.address"), &peer.address);
        checks.address(&format!("peers.{index}.api_address"), &peer.api_address);
    }
    traces(config.traces.as_ref(), &mut checks);
    // Of sinks and traces all that is wrong was told above.
    if let Err(error) = config.check()
        && !error.key.starts_with("sinks.")
        && !error.key.starts_with("traces.")
    {
        checks.fail(&error.key, error.problem);
    }
    // Absent only with an issue noted, with which `typed` has ended the reading.
    let Some(tls) = tls else { return Err(Vec::new()) };
    checks.tls("tls", &tls, Role::Core, Some(&config.name));
    checks.finish()?;
    Ok(RoleFile { config: Witnessed { own: config, witness }, tls, log })
}
