//! `[audit]` of a control node's configuration.

use std::path::PathBuf;
use std::time::Duration;

use continuum_domain::duration_text;
use serde::{Deserialize, Serialize};

/// Seven years, leap days included.
const KEEP_FOR: Duration = Duration::from_secs(7 * 31_557_600);
/// Below this a record could be removed before anybody looked.
const KEEP_FOR_MIN: Duration = Duration::from_secs(24 * 3_600);

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSettings {
    /// How long records are kept in this node's archive.
    #[serde(default = "default_keep_for", with = "duration_text")]
    pub keep_for: Duration,
    /// What this core is called by those who are sent its records.
    #[serde(default = "default_core")]
    pub core: String,
    /// A file with the secret from which pseudonyms are made in exports with `hash_personal`.
    #[serde(default)]
    pub personal_key_file: Option<PathBuf>,
}

fn default_core() -> String {
    "continuum".into()
}

fn default_keep_for() -> Duration {
    KEEP_FOR
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { keep_for: KEEP_FOR, core: default_core(), personal_key_file: None }
    }
}

impl AuditSettings {
    /// Checks what the types cannot: the key and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.keep_for < KEEP_FOR_MIN {
            let text = format!("{:?} is too short; at least 1d is accepted", self.keep_for);
            return Err(("audit.keep_for", text));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.core.is_empty() || !self.core.chars().all(plain) {
            return Err(("audit.core", "letters, digits, -, _ and . are accepted".into()));
        }
        Ok(())
    }
}
