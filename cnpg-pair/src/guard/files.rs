//! The PostgreSQL configuration the guard generates, outside the data directory.
//!
//! It lies outside so that neither `pg_rewind` nor `pg_basebackup` can carry another member's
//! identity in, and so that names and upstream change by rename + SIGHUP, never by SQL (R4).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use continuum_domain::SyncNames;

use super::config::{
    AGENT_CONNECTIONS, GuardConfig, is_owned_setting, replication_role, slot_name,
};
use super::tools::RunAs;
use crate::plane::Upstream;

/// Where the guard keeps its own files.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub root: PathBuf,
}

impl Layout {
    pub fn state(&self) -> PathBuf {
        self.root.join("guard.json")
    }
    pub fn artefacts(&self) -> PathBuf {
        self.root.join("artefacts")
    }
    pub fn configuration(&self) -> PathBuf {
        self.root.join("postgresql")
    }
    pub fn main(&self) -> PathBuf {
        self.configuration().join("postgresql.conf")
    }
    pub fn for_rewind(&self) -> PathBuf {
        self.configuration().join("rewind.conf")
    }
    pub fn replication(&self) -> PathBuf {
        self.configuration().join("replication.conf")
    }
    pub fn hba(&self) -> PathBuf {
        self.configuration().join("pg_hba.conf")
    }
    pub fn ident(&self) -> PathBuf {
        self.configuration().join("pg_ident.conf")
    }
    pub fn passfile(&self) -> PathBuf {
        self.configuration().join("passfile")
    }
    pub fn log(&self) -> PathBuf {
        self.root.join("log").join("postgresql.log")
    }

    /// Makes the directories. Those PostgreSQL must pass through are traversable, not listable;
    /// only the guard may write in them.
    pub fn create(&self) -> io::Result<()> {
        make_directory(&self.root, 0o711, None)?;
        make_directory(&self.configuration(), 0o711, None)?;
        make_directory(&self.root.join("log"), 0o700, None)?;
        make_directory(&self.artefacts(), 0o700, None)
    }
}

/// Makes a directory with its parents and sets mode and owner, whatever the umask.
pub(crate) fn make_directory(path: &Path, mode: u32, owner: Option<&RunAs>) -> io::Result<()> {
    if !path.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    match owner {
        Some(owner) => chown(path, Some(owner.uid), Some(owner.gid)),
        None => Ok(()),
    }
}

/// Replaces a file atomically, owned by `owner`. The new file is made exclusively, so that a link
/// planted in a directory of PostgreSQL's user cannot redirect a guard that runs as root.
pub(crate) fn replace(
    path: &Path,
    content: &[u8],
    owner: Option<&RunAs>,
    durable: bool,
) -> io::Result<()> {
    if !durable && fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".guard-new");
    let temporary = PathBuf::from(temporary);
    remove_if_there(&temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    if let Some(owner) = owner {
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    if durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    if durable { sync_parent(path) } else { Ok(()) }
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes names in a directory durable.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => continuum_runtime::durable::sync_directory(parent),
        None => Ok(()),
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn path_text(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Settings a hot standby must have at least as large as its WAL says: name, name in
/// `pg_controldata`, PostgreSQL's default.
const FLOORED_SETTINGS: &[(&str, &str, u64)] = &[
    ("max_connections", "max_connections setting", 100),
    ("max_worker_processes", "max_worker_processes setting", 8),
    ("max_wal_senders", "max_wal_senders setting", 16),
    ("max_prepared_transactions", "max_prepared_xacts setting", 0),
    ("max_locks_per_transaction", "max_locks_per_xact setting", 64),
];

/// The settings that must be raised, from the output of `pg_controldata`. Every start is one as a
/// standby, and a standby with less than its WAL was written under refuses to start.
pub(crate) fn raised_settings(config: &GuardConfig, control: &str) -> Vec<(&'static str, u64)> {
    let floor = |key: &str| -> Option<u64> {
        let line = control.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line?.trim().parse().ok()
    };
    let raise = |(name, key, default): &(&'static str, &str, u64)| {
        let wanted = config.settings.get(*name).and_then(|value| value.parse().ok());
        let floor = floor(key).filter(|floor| *floor > wanted.unwrap_or(*default))?;
        tracing::warn!(setting = name, wanted, floor, "raised to what this member's WAL demands");
        Some((*name, floor))
    };
    FLOORED_SETTINGS.iter().filter_map(raise).collect()
}

/// The main configuration file: defaults, then the operator's settings, then what the guard owns.
pub(crate) fn main_text(config: &GuardConfig, layout: &Layout, raised: &[(&str, u64)]) -> String {
    let mut lines =
        vec!["# Written by the continuum guard at every start; changes are lost.".into()];
    let mut set = |name: &str, value: &str| lines.push(format!("{name} = {}", quoted(value)));
    for (name, value) in [
        ("wal_level", "replica"),
        ("wal_log_hints", "on"),
        ("max_wal_senders", "16"),
        ("max_replication_slots", "16"),
        // A rewind looks for the last checkpoint before the fork, whose WAL the checkpoint under way
        // when the primary died may have removed: about as much as lies between two checkpoints.
        ("wal_keep_size", "1GB"),
        ("wal_receiver_status_interval", "1s"),
        ("wal_receiver_timeout", "5s"),
        ("wal_sender_timeout", "5s"),
        // A standby whose primary restarted reconnects after this long.
        ("wal_retrieve_retry_interval", "100ms"),
        ("log_line_prefix", "%m [%p] %q%a "),
        ("lc_messages", "C"),
        ("password_encryption", "scram-sha-256"),
        // After the crash of one backend PostgreSQL re-initialises in the same process, with the
        // same names and under the same deadline.
        ("restart_after_crash", "on"),
        // One call instead of one per file: a crash is answered in tenths of a second.
        ("recovery_init_sync_method", "syncfs"),
    ] {
        set(name, value);
    }
    for (name, value) in &config.settings {
        set(name, value);
    }
    for (name, value) in raised {
        set(name, &value.to_string());
    }
    let commit = if config.durability.is_synchronous() { "remote_apply" } else { "on" };
    for (name, value) in [
        ("hot_standby", "on"),
        ("synchronous_commit", commit),
        ("recovery_target_timeline", "latest"),
        ("superuser_reserved_connections", &AGENT_CONNECTIONS.to_string()),
        ("max_slot_wal_keep_size", &config.max_slot_wal_keep_size),
        ("cluster_name", &format!("{}/{}", config.pair, config.region)),
        ("listen_addresses", &config.listen_host),
        ("port", &config.port.to_string()),
        ("unix_socket_directories", &config.socket_directory.to_string_lossy()),
        ("unix_socket_permissions", "0700"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
    ] {
        set(name, value);
    }
    lines.push(format!("hba_file = {}", path_text(&layout.hba())));
    lines.push(format!("ident_file = {}", path_text(&layout.ident())));
    lines.push(format!("include = {}", path_text(&layout.replication())));
    lines.join("\n") + "\n"
}

/// What `pg_rewind` starts PostgreSQL by, for a crash recovery: it ends with a checkpoint, which would
/// remove WAL from before it, and the rewind looks there for the last checkpoint before the fork.
pub(crate) fn rewind_text(layout: &Layout) -> String {
    format!("include = {}\nwal_keep_size = '1TB'\n", path_text(&layout.main()))
}

/// Names and upstream: the part that changes while PostgreSQL runs.
pub(crate) fn replication_text(
    config: &GuardConfig,
    layout: &Layout,
    names: &SyncNames,
    upstream: Option<&Upstream>,
) -> String {
    let (conninfo, slot) = match upstream {
        Some(upstream) => (standby_conninfo(config, layout, upstream), slot_name(&config.region)),
        None => (String::new(), String::new()),
    };
    format!(
        "synchronous_standby_names = {}\nprimary_conninfo = {}\nprimary_slot_name = {}\n",
        quoted(&names.to_string()),
        quoted(&conninfo),
        quoted(&slot),
    )
}

/// Connection of a tool of this member to `upstream`. The application name is never the region's:
/// that name belongs to the receiver alone (R18). The password comes from the passfile.
pub(crate) fn tool_conninfo(config: &GuardConfig, upstream: &Upstream, name: &str) -> String {
    format!(
        "host={} port={} user={} dbname=postgres application_name={} connect_timeout=5",
        conninfo_value(&upstream.host),
        upstream.port,
        conninfo_value(&replication_role(&config.region)),
        conninfo_value(name),
    )
}

fn standby_conninfo(config: &GuardConfig, layout: &Layout, upstream: &Upstream) -> String {
    format!(
        "host={} port={} user={} application_name={} passfile={} connect_timeout=2 \
         gssencmode=disable keepalives_idle=2 keepalives_interval=1 keepalives_count=3",
        conninfo_value(&upstream.host),
        upstream.port,
        conninfo_value(&replication_role(&config.region)),
        conninfo_value(config.region.as_str()),
        conninfo_value(&layout.passfile().to_string_lossy()),
    )
}

fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Who may connect: the owner of the socket directory, each member's replication role with its
/// password, trusted networks, then the operator's lines.
pub(crate) fn hba_text(config: &GuardConfig) -> String {
    let mut lines = vec!["local all all trust".to_owned()];
    for member in &config.members {
        let role = replication_role(member);
        for database in ["replication", "postgres"] {
            lines.push(format!("host {database} {role} all scram-sha-256"));
        }
    }
    for network in &config.trusted_networks {
        lines.push(format!("host all postgres {network} trust"));
    }
    lines.extend(config.hba.iter().cloned());
    lines.join("\n") + "\n"
}

/// The password of this member's replication role, for libpq.
pub(crate) fn passfile_text(config: &GuardConfig, password: &str) -> String {
    let password = password.replace('\\', "\\\\").replace(':', "\\:");
    format!("*:*:*:{}:{password}\n", replication_role(&config.region))
}

/// Reads the password file; an empty one is an error.
pub(crate) fn read_password(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::other(format!("{}: holds no password", path.display()))),
    }
}

/// Takes the guard's settings out of `postgresql.auto.conf`: PostgreSQL reads that file last, so
/// an `ALTER SYSTEM` (or a copy from another member) would override names and upstream (R10).
pub(crate) fn strip_overrides(data: &Path, owner: Option<&RunAs>) -> io::Result<()> {
    let path = data.join("postgresql.auto.conf");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let owned = |line: &str| {
        let name = line.trim_start().split(|c: char| c == '=' || c.is_whitespace()).next();
        name.is_some_and(is_owned_setting)
    };
    if !text.lines().any(owned) {
        return Ok(());
    }
    tracing::warn!(file = %path.display(), "settings the guard owns were overridden; taken out");
    let kept: String = text.lines().filter(|line| !owned(line)).map(|l| format!("{l}\n")).collect();
    replace(&path, kept.as_bytes(), owner, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_stripped_and_the_rest_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postgresql.auto.conf");
        fs::write(&path, "# head\nsynchronous_standby_names = ''\nwork_mem = '8MB'\n").unwrap();
        strip_overrides(directory.path(), None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "# head\nwork_mem = '8MB'\n");
    }

    #[test]
    fn settings_below_what_the_wal_demands_are_raised() {
        let text = crate::guard::config::tests::EXAMPLE;
        let mut config: GuardConfig = toml::from_str(text).unwrap();
        config.settings.insert("max_connections".into(), "30".into());
        let control = "max_connections setting:              100\nmax_wal_senders setting:  10\n";
        assert_eq!(raised_settings(&config, control), vec![("max_connections", 100)]);
    }

    #[test]
    fn values_are_quoted() {
        assert_eq!(quoted("it's"), "'it''s'");
        assert_eq!(conninfo_value("a'b\\"), r"'a\'b\\'");
    }
}
