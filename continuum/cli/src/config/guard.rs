//! Configuration of a guard.

use std::path::{Path, PathBuf};

use continuum_cnpg_pair::guard::GuardConfig;
use continuum_runtime::logging::LogFormat;

use super::loader::{Checks, Document};
use super::{Issue, Reading};

/// A guard's configuration and where it was read.
#[derive(Clone, Debug)]
pub struct GuardFile {
    /// The file.
    pub file: PathBuf,
    /// Its content.
    pub config: GuardConfig,
    /// How log lines look.
    pub log: LogFormat,
}

/// Reads and checks a guard's configuration.
pub fn load(file: &Path, reading: Reading<'_>) -> Result<GuardFile, Vec<Issue>> {
    let mut document = Document::read(file, "guard", reading.variables)?;
    let log = document.take("log").unwrap_or_default();
    document.refuse_repeats("members", "region");
    let loaded = document.typed::<GuardConfig>()?;
    let config = loaded.value;
    let mut checks = Checks::new(&loaded.places, reading.files);
    if let Err(error) = config.check() {
        checks.fail(&error.path, error.problem);
    }
    checks.readable("replication_password_file", &config.replication_password_file);
    if let Some(directory) = &config.bin_directory {
        checks.readable("bin_directory", &directory.join("postgres"));
    }
    checks.finish()?;
    Ok(GuardFile { file: file.to_owned(), config, log })
}
