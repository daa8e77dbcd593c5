//! An object store on this machine: Azurite, which keeps the conditions of a write as the
//! contract of the cells asks it, run as a part of the lab.
//!
//! It writes its state down every five seconds and when it is told to end. A real object store
//! loses nothing that it answered; so this one is ended and never killed: an acceptor that forgets
//! what it promised is no fault that a quorum has to bear.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::layout::Layout;
use crate::manifest::Part;

/// The part's name, which is the acceptor's.
pub const PART: &str = "object-store";
/// The part's role.
pub const ROLE: &str = "object-store";

/// Names the directory that holds `node_modules/azurite`, instead of looking for it.
const PLACE: &str = "CONTINUUM_NPM_PARTS";
/// Where `make npm-parts` puts it, below the project's directory.
const USUAL_PLACE: &str = "target/npm";
const PROGRAM: &str = "node_modules/azurite/dist/src/blob/main.js";
const CONTAINER: &str = "lease";
/// Azurite's well-known account; it guards nothing.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Finds the program, and Node, which runs it; the error says how to install them.
pub async fn find(binary: &Path) -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|error| error.to_string())?;
    let named = std::env::var_os(PLACE).map(PathBuf::from);
    let program = locate(named, &here, binary)?;
    let mut node = Command::new("node");
    node.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match node.status().await {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => Err(format!("--witness object-store: node --version ended with {status}")),
        Err(error) => Err(format!(
            "--witness object-store: Azurite needs Node, which cannot be started: {error}; \
             install nodejs"
        )),
    }
}

/// In the place that is named; else in the usual one of `here` or a directory above it; else in
/// that of the project the binary was built in.
fn locate(named: Option<PathBuf>, here: &Path, binary: &Path) -> Result<PathBuf, String> {
    let usual = here.ancestors().map(|above| above.join(USUAL_PLACE));
    // <project>/target/<profile>/continuum
    let beside = binary.ancestors().nth(2).map(|target| target.join("npm"));
    let places: Vec<PathBuf> = match named {
        Some(named) => vec![named],
        None => usual.chain(beside).collect(),
    };
    let mut programs = places.into_iter().map(|place| place.join(PROGRAM));
    programs.find(|program| program.is_file()).ok_or_else(|| {
        format!(
            "--witness object-store: Azurite is not installed: run `make npm-parts` in the \
             project, or name the directory of its node_modules in {PLACE}"
        )
    })
}

/// The part that runs it.
pub fn part(layout: &Layout, program: &Path, port: u16) -> Part {
    let data_directory = layout.directory.join(PART);
    let text = |path: &Path| path.display().to_string();
    let mut argv: Vec<String> = vec!["node".into(), text(program)];
    argv.extend(["--blobHost", "127.0.0.1", "--blobPort"].map(str::to_owned));
    argv.push(port.to_string());
    argv.extend(["--skipApiVersionCheck", "--disableTelemetry", "--location"].map(str::to_owned));
    argv.push(text(&data_directory));
    Part {
        name: PART.into(),
        role: ROLE.into(),
        region: None,
        pid: None,
        started: None,
        argv,
        ports: [("http".to_owned(), port)].into(),
        data_directory,
        log: layout.log_file(PART),
    }
}

/// The `store` of an acceptor that is this object store.
pub fn store(port: u16, credentials_file: &Path) -> Value {
    json!({
        "kind": "azure",
        "bucket": CONTAINER,
        "prefix": "lab",
        "endpoint": format!("http://127.0.0.1:{port}/{ACCOUNT}"),
        "credentials_file": credentials_file,
    })
}

/// What the credentials file says.
pub fn credentials() -> String {
    format!("AZURE_STORAGE_ACCOUNT_NAME={ACCOUNT}\nAZURE_STORAGE_ACCOUNT_KEY={KEY}\n")
}

/// Creates the container, unless it is there; the error says why not.
pub async fn create_container(port: u16) -> Result<(), String> {
    let mut node = Command::new("node");
    node.args(["-e", include_str!("azurite/create_container.js")]);
    node.args([&port.to_string(), ACCOUNT, KEY, CONTAINER]).stdin(Stdio::null()).kill_on_drop(true);
    let done = node.output().await.map_err(|error| error.to_string())?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_program_is_found_where_it_is_installed_and_missed_by_name() {
        let root = tempfile::tempdir().unwrap();
        let (below, binary) = (root.path().join("a/b"), root.path().join("target/debug/continuum"));
        let elsewhere = tempfile::tempdir().unwrap();
        let missing = locate(None, &below, &binary).unwrap_err();
        assert!(missing.contains("make npm-parts") && missing.contains(PLACE), "{missing}");

        let program = root.path().join(USUAL_PLACE).join(PROGRAM);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        assert_eq!(locate(None, &below, Path::new("/bin/continuum")), Ok(program.clone()));
        assert_eq!(locate(None, elsewhere.path(), &binary), Ok(program));
        let named = Some(elsewhere.path().to_owned());
        assert!(locate(named, &below, &binary).is_err(), "what was named is not there");
    }
}
