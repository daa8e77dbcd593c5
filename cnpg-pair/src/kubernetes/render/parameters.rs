//! PostgreSQL's settings in a pair.

use std::collections::BTreeMap;

use super::Side;

/// Settings that carry the pair, or that the operator keeps for itself.
const KEPT: &[&str] = &[
    "allow_alter_system",
    "allow_system_table_mods",
    "archive_cleanup_command",
    "archive_command",
    "archive_mode",
    "cluster_name",
    "data_directory",
    "event_source",
    "external_pid_file",
    "fsync",
    "full_page_writes",
    "hot_standby",
    "hot_standby_feedback",
    "listen_addresses",
    "max_standby_streaming_delay",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "restart_after_crash",
    "restore_command",
    "shared_preload_libraries",
    "synchronous_commit",
    "synchronous_standby_names",
    "wal_level",
    "wal_log_hints",
    "wal_receiver_status_interval",
    "wal_receiver_timeout",
    "wal_sender_timeout",
];

/// Whole families of them.
const KEPT_FAMILIES: &[&str] = &["log_", "logging_", "recovery_", "ssl", "syslog_", "unix_socket_"];

/// Settings that have a field of their own in `size`.
const SIZED: &[&str] = &[
    "effective_cache_size",
    "maintenance_work_mem",
    "max_connections",
    "max_slot_wal_keep_size",
    "max_wal_size",
    "shared_buffers",
    "wal_keep_size",
];

/// Why a setting cannot be set by hand.
pub(super) fn problem(name: &str, value: &str) -> Option<&'static str> {
    let plain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    };
    let lower = name.to_ascii_lowercase();
    if !plain(name) {
        return Some("is no name of a setting");
    }
    if value.contains(['\n', '\r', '\0']) {
        return Some("must be one line");
    }
    if SIZED.contains(&lower.as_str()) {
        return Some("has a field of its own in size");
    }
    let kept = KEPT.contains(&lower.as_str())
        || KEPT_FAMILIES.iter().any(|family| lower.starts_with(family));
    kept.then_some("is kept: the pair or the operator depends on it")
}

/// All settings of one Cluster.
pub(super) fn parameters(side: Side<'_>) -> BTreeMap<String, String> {
    let sizes = side.sizes;
    // A commit waits until the standby has applied it, so nothing may hold applying up: queries on
    // the standby hold back cleaning on the primary, and are ended where that was not enough.
    let commit = if side.durability.is_synchronous() { "remote_apply" } else { "on" };
    let own = [
        ("synchronous_commit", commit),
        ("hot_standby_feedback", "on"),
        ("max_standby_streaming_delay", "5s"),
        ("wal_receiver_status_interval", "1s"),
        ("wal_receiver_timeout", "5s"),
        ("wal_sender_timeout", "5s"),
        ("shared_buffers", &sizes.shared_buffers),
        ("effective_cache_size", &sizes.effective_cache_size),
        ("maintenance_work_mem", &sizes.maintenance_work_mem),
        ("max_wal_size", &sizes.max_wal_size),
        ("wal_keep_size", &sizes.wal_keep_size),
        ("max_slot_wal_keep_size", &sizes.max_slot_wal_keep_size),
    ];
    let mut all = sizes.parameters.clone();
    all.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    all.insert("max_connections".into(), sizes.max_connections.to_string());
    all
}
