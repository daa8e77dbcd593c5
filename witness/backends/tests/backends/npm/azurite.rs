//! Azurite, which stands for an object store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use continuum_witness::CellStore;
use continuum_witness_backends::object_store::{ObjectCells, ObjectStoreConfig, ObjectStoreKind};

use super::{Service, install_ring, node, npm_part, port_after};

/// Azurite's well-known account; it guards nothing.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub fn azurite(directory: &Path) -> Service {
    let mut command = node();
    command
        .arg(npm_part("azurite/dist/src/blob/main.js"))
        .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck"])
        .args(["--disableTelemetry", "--location"])
        .arg(directory);
    Service::start(command, |line| port_after(line, "successfully listens on http://127.0.0.1:"))
}

/// Creating a container is no task of the product: the lab's script does it.
pub fn create_container(port: u16, name: &str) {
    let script = include_str!("../../../../../chaos/src/azurite/create_container.js");
    let mut command = node();
    let status =
        command.args(["-e", script, &port.to_string(), ACCOUNT, KEY, name]).status().unwrap();
    assert!(status.success(), "no container was created");
}

pub fn azure(endpoint: &str, secrets: &Path) -> ObjectStoreConfig {
    ObjectStoreConfig {
        kind: ObjectStoreKind::Azure,
        bucket: "cells".into(),
        prefix: "witness/one".into(),
        region: None,
        endpoint: Some(endpoint.into()),
        credentials_file: Some(secrets.into()),
        deadline: Duration::from_secs(20),
    }
}

pub fn azure_secrets(directory: &Path, key: &str) -> std::path::PathBuf {
    let file = directory.join("azure");
    let text = format!(
        "# a comment\nAZURE_STORAGE_ACCOUNT_NAME={ACCOUNT}\nAZURE_STORAGE_ACCOUNT_KEY={key}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

pub fn open(config: &ObjectStoreConfig) -> Arc<dyn CellStore> {
    install_ring();
    Arc::new(ObjectCells::open(config).unwrap())
}

/// Where its blobs are.
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}/{ACCOUNT}")
}
