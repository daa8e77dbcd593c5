//! Knot as a secondary: it transfers the zone from the embedded server and is told of each change.

use std::io;
use std::path::Path;

use super::Key;
use crate::layout::{Layout, ZONE};

pub(super) fn command(knotd: &Path, directory: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    vec![text(knotd), "-c".into(), text(&directory.join("knot.conf"))]
}

pub(super) fn prepare(layout: &Layout, directory: &Path, key: &Key) -> io::Result<()> {
    let (primary, own) = (layout.embedded(), layout.name_server());
    let Key { name, secret, .. } = key;
    let directory_text = directory.display();
    let text = format!(
        "server:\n  listen: {}@{}\n  rundir: {directory_text}\n  pidfile: {directory_text}/pid\n  \
         udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: {directory_text}\n\
         key:\n  - id: {name}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
         remote:\n  - id: primary\n    address: {}@{}\n    key: {name}\n\
         acl:\n  - id: told\n    address: {}\n    key: {name}\n    action: notify\n\
         zone:\n  - domain: {ZONE}\n    storage: {directory_text}\n    file: transferred\n    \
         master: primary\n    acl: told\n",
        own.ip(),
        own.port(),
        primary.ip(),
        primary.port(),
        primary.ip(),
    );
    continuum_runtime::durable::write_atomic(&directory.join("knot.conf"), text.as_bytes())
}
