//! `sim`: hands over to the simulator, a program of its own.
//!
//! It replaces clocks, network and disks, and can be built with rules taken out; none of that may
//! be in the binary that keeps databases.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Exit, Failure};

/// The simulator's program.
const PROGRAM: &str = "continuum-sim";
/// Names the program where it lies elsewhere.
const VARIABLE: &str = "CONTINUUM_SIM_BIN";

/// Becomes the simulator; returns only if that cannot be done.
pub fn run(arguments: &[OsString]) -> Result<Infallible, Failure> {
    let program = locate().ok_or_else(|| {
        Failure::new(Exit::Usage, format!("the simulator, {PROGRAM}, was not found"))
            .meaning("nothing was run")
            .next(format!("build it with `make sim`, put it beside this binary, or set {VARIABLE}"))
    })?;
    let error = Command::new(&program).args(arguments).exec();
    Err(Failure::new(Exit::Usage, format!("{} cannot be run: {error}", program.display()))
        .meaning("nothing was run")
        .next("check that it is a program of this machine"))
}

fn locate() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Some(named.into());
    }
    let own = std::env::current_exe().ok()?;
    let beside = own.parent()?;
    let built = beside.parent().map(|target| target.join("sim"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let searched = std::env::split_paths(&path);
    [Some(beside.to_path_buf()), built]
        .into_iter()
        .flatten()
        .chain(searched)
        .map(|directory| directory.join(PROGRAM))
        .find(|program| program.is_file())
}
