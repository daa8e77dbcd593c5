//! BIND with one zone in a file of its own.

use std::io;
use std::path::Path;

use super::{Key, Make, NEGATIVE_TTL};
use crate::layout::{Layout, ZONE};

pub(super) fn command(named: &Path, directory: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    vec![text(named), "-g".into(), "-c".into(), text(&directory.join("named.conf"))]
}

pub(super) fn prepare(layout: &Layout, directory: &Path, keys: &[Key]) -> io::Result<()> {
    let zone = format!(
        "$TTL 60\n@ IN SOA ns1 hostmaster 1 60 10 3600 {NEGATIVE_TTL}\n@ IN NS ns1\n\
         ns1 IN A 127.0.0.1\n"
    );
    std::fs::write(directory.join("zone"), zone)?;
    let server = layout.authority(Make::Bind).ok_or_else(|| io::Error::other("no port for it"))?;
    let mut text = format!(
        "options {{ directory \"{}\"; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};\n\
         pid-file none; session-keyfile none; lock-file none; recursion no;\n\
         dnssec-validation no; allow-transfer {{ none; }}; notify no; }};\ncontrols {{ }};\n",
        directory.display(),
        server.port(),
        server.ip(),
    );
    for key in keys {
        text.push_str(&key.statement);
    }
    text.push_str(&format!("zone \"{ZONE}\" {{ type primary; file \"zone\"; update-policy {{\n"));
    for key in keys {
        text.push_str(&format!("  grant {} zonesub ANY;\n", key.name));
    }
    text.push_str("}; };\n");
    std::fs::write(directory.join("named.conf"), text)
}
