//! What people see. Pure: from the API's types and a point in time to text.

pub mod acceptors;
pub mod access;
pub mod approvals;
pub mod audit;
pub mod beside;
pub mod core;
pub mod dns;
pub mod fleet;
pub mod moves;
pub mod names;
pub mod operation;
pub mod pair;
pub mod sinks;
pub mod status;
pub mod style;
pub mod takeover;
pub mod text;
pub mod traffic;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::config::client::OutputFormat;
use crate::failure::{Exit, Failure};

/// Prints `value` as asked: the API's own data, or the table.
pub fn show<T: Serialize>(
    format: OutputFormat,
    value: &T,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Unknown, format!("the answer cannot be written: {error}"))
    };
    let text = match format {
        OutputFormat::Table => table(),
        OutputFormat::Json => {
            serde_json::to_string_pretty(value).map_err(|error| failed(&error))?
        }
        OutputFormat::Yaml => serde_yaml_ng::to_string(value).map_err(|error| failed(&error))?,
    };
    line(&text)
}

/// Prints lines to standard output. A reader that has gone away (`| head`) is not an error.
pub fn line(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Unknown, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
