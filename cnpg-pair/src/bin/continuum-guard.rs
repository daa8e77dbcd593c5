//! Runs one guard on the main thread: `continuum-guard --config FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use continuum_cnpg_pair::guard::{self, GuardConfig, GuardError};
use continuum_runtime::logging::{LogFormat, install};

fn main() -> ExitCode {
    install(LogFormat::Human, "info");
    let mut arguments = std::env::args_os().skip(1);
    let config = match (arguments.next(), arguments.next()) {
        (Some(flag), Some(path)) if flag == "--config" => PathBuf::from(path),
        _ => {
            eprintln!("usage: continuum-guard --config FILE");
            return ExitCode::from(2);
        }
    };
    match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(path: &std::path::Path) -> Result<(), GuardError> {
    let config = GuardConfig::load(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| GuardError::Environment {
        what: "the runtime cannot be built".into(),
        reason: error.to_string(),
        remedy: "check the limits of this process".into(),
    })?;
    runtime.block_on(guard::run(config))
}
