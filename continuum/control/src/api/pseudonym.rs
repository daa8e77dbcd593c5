//! Names of people as pseudonyms: HMAC-SHA-256 under a key that only the operators of the core have.

use std::io;
use std::path::Path;

use continuum_control_api::audit::AuditOrigin;
use continuum_control_api::rest::AuditRecord;
use continuum_control_api::routes::ApiError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A shorter key could be guessed, and then every name.
const KEY_BYTES_MIN: usize = 16;
/// Actors whose names are those of machines.
const MACHINES: [&str; 2] = ["core/", "agent/"];

/// Makes pseudonyms.
pub(super) struct Pseudonyms {
    key: Vec<u8>,
}

fn no_key(why: impl std::fmt::Display) -> ApiError {
    ApiError::new(409, "no-personal-key", format!("{why}; nothing was exported"))
}

impl Pseudonyms {
    /// With the key in a file, read anew each time so that it can be replaced.
    pub(super) async fn load(file: Option<&Path>) -> Result<Self, ApiError> {
        let Some(file) = file else {
            return Err(no_key("audit.personal_key_file is not set on this node"));
        };
        let read = tokio::fs::read(file).await;
        // Which file it is, is nobody's business who exports.
        let text = read.map_err(|error: io::Error| {
            no_key(format!("the file of audit.personal_key_file cannot be read: {error}"))
        })?;
        Self::new(text.trim_ascii()).ok_or_else(|| {
            no_key(format!(
                "the key of audit.personal_key_file is shorter than {KEY_BYTES_MIN} bytes"
            ))
        })
    }

    fn new(key: &[u8]) -> Option<Self> {
        (key.len() >= KEY_BYTES_MIN).then(|| Self { key: key.to_vec() })
    }

    /// The pseudonym of a text: always the same under the same key.
    fn of(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes any key");
        mac.update(text.as_bytes());
        let code = mac.finalize().into_bytes();
        let hex: String = code.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("p-{hex}")
    }

    /// A record in which people and where they called from are pseudonyms.
    pub(super) fn apply(&self, mut record: AuditRecord) -> AuditRecord {
        if !MACHINES.iter().any(|role| record.actor.starts_with(role)) {
            let name = std::mem::take(&mut record.actor);
            record.actor = match name.split_once('/') {
                Some((role, _)) => format!("{role}/{}", self.of(&name)),
                None => self.of(&name),
            };
            for text in [&mut record.reason, &mut record.before, &mut record.after] {
                *text = text.replace(&name, &record.actor);
            }
        }
        record.origin = record.origin.map(|origin| {
            // One host is one pseudonym, whatever port it called from.
            let host = |address: String| match address.rsplit_once(':') {
                Some((host, _)) => self.of(host),
                None => self.of(&address),
            };
            AuditOrigin {
                address: origin.address.map(host),
                request: origin.request.map(|name| self.of(&name)),
            }
        });
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::records;

    #[test]
    fn the_same_person_has_the_same_pseudonym_and_no_name_is_left() {
        let pseudonyms = Pseudonyms::new(b"0123456789abcdef").unwrap();
        let mut record = records(1).remove(0);
        record.actor = "operator/alice".into();
        record.reason = "as operator/alice said".into();
        record.origin = Some(AuditOrigin {
            address: Some("10.0.0.9:50000".into()),
            request: Some("alice-1".into()),
        });
        let one = pseudonyms.apply(record.clone());
        record.origin = Some(AuditOrigin { address: Some("10.0.0.9:7".into()), request: None });
        let two = pseudonyms.apply(record.clone());
        assert_eq!(one.actor, two.actor);
        assert_eq!(one.origin.as_ref().unwrap().address, two.origin.unwrap().address);
        let text = serde_json::to_string(&one).unwrap();
        assert!(!text.contains("alice") && !text.contains("10.0.0.9"), "{text}");
        assert!(one.actor.starts_with("operator/p-"), "{}", one.actor);
        let other = Pseudonyms::new(b"fedcba9876543210").unwrap();
        assert_ne!(other.apply(record).actor, one.actor);
        assert!(Pseudonyms::new(b"short").is_none());
    }

    #[test]
    fn machines_keep_their_names() {
        let pseudonyms = Pseudonyms::new(b"0123456789abcdef").unwrap();
        let mut record = records(1).remove(0);
        record.actor = "core/c1".into();
        assert_eq!(pseudonyms.apply(record).actor, "core/c1");
    }
}
