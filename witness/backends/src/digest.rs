//! SHA-256 as text.

use sha2::{Digest, Sha256};

/// The digest in 64 lower-case hex digits.
pub(crate) fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
