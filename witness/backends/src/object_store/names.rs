//! Keys of cells as names of objects, and tags as text.

use continuum_witness::{StoreError, Tag};
use object_store::UpdateVersion;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

/// Longest prefix: what a name of 1024 bytes leaves beside a key whose every byte is escaped.
pub(super) const PREFIX_BYTES_MAX: usize = 60;

/// The name of a key's object, under `prefix` (empty, or ends with `/`).
///
/// One key, one name: letters, digits and `-` stand for themselves, `/` is `_`, any other byte is
/// a dot and two hexadecimal digits. All of these pass unchanged through URLs and signatures, no
/// name is `.` or `..`, and all objects lie side by side, so depth limits do not matter.
pub(super) fn name(prefix: &str, key: &str) -> Path {
    use std::fmt::Write as _;
    let mut name = prefix.to_owned();
    for byte in key.bytes() {
        match byte {
            b'/' => name.push('_'),
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(name, ".{byte:02x}");
            }
        }
    }
    Path::from(name)
}

/// The key of an object's name; `None` for names that [`name`] does not give.
pub(super) fn key(prefix: &str, name: &Path) -> Option<String> {
    let mut rest = name.as_ref().strip_prefix(prefix)?;
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(&byte) = rest.as_bytes().first() {
        let taken = if byte == b'.' { 3 } else { 1 };
        bytes.push(match byte {
            b'.' => u8::from_str_radix(rest.get(1..3)?, 16).ok()?,
            b'_' => b'/',
            _ => byte,
        });
        rest = rest.get(taken..)?;
    }
    let key = String::from_utf8(bytes).ok()?;
    // A name that somebody else wrote may read as a key and not be the one this key has.
    (self::name(prefix, &key) == *name).then_some(key)
}

/// Accepts what [`name`] may put before a key.
pub(super) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let segments = || prefix.trim_end_matches('/').split('/');
    let good =
        prefix.is_empty() || segments().all(|part| !part.is_empty() && part.bytes().all(plain));
    if good && prefix.len() <= PREFIX_BYTES_MAX {
        return Ok(());
    }
    Err(StoreError::Misconfigured(format!(
        "prefix {prefix:?}: up to {PREFIX_BYTES_MAX} letters, digits, '-', '_', and '/' between them"
    )))
}

/// What a condition compares on one kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// The entity tag: S3, R2, Azure.
    ETag,
    /// The generation number: Google.
    Version,
}

/// A tag as text. Only what the store compares: the rest may differ between the answer to a write
/// and that to a read, and would make one content look like two.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e_tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl Compared {
    /// The tag of what a store answered; `None` when it did not name the content.
    pub(super) fn tag(self, e_tag: Option<String>, version: Option<String>) -> Option<Tag> {
        let text = match self {
            Compared::ETag => Text { e_tag: Some(e_tag?), version: None },
            Compared::Version => Text { version: Some(version?), e_tag: None },
        };
        serde_json::to_string(&text).ok().map(Tag)
    }

    /// The condition that a tag stands for; `None` when another store gave the tag out.
    pub(super) fn condition(self, tag: &Tag) -> Option<UpdateVersion> {
        let Text { e_tag, version } = serde_json::from_str(&tag.0).ok()?;
        let named = match self {
            Compared::ETag => e_tag.is_some(),
            Compared::Version => version.is_some(),
        };
        named.then_some(UpdateVersion { e_tag, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_name_of_its_own_and_is_read_back_from_it() {
        let longest = "\0".repeat(320);
        let keys = [
            "g1/a1/session/fsn",
            "mark",
            "a/b",
            "a_b",
            "a.2fb",
            "a//b/../c",
            "..",
            ".",
            "A",
            "a",
            "nul\0",
            "line\n",
            "ümlaut-雪",
            "%2F?#",
            "/a",
            "a/",
            &longest,
        ];
        let longest_prefix = "p".repeat(PREFIX_BYTES_MAX);
        let names: std::collections::BTreeSet<String> = keys
            .iter()
            .map(|key| {
                let name = name(&format!("{longest_prefix}/"), key);
                assert_eq!(super::key(&format!("{longest_prefix}/"), &name).as_deref(), Some(*key));
                assert!(name.as_ref().len() <= 1024, "{} bytes", name.as_ref().len());
                name.to_string()
            })
            .collect();
        assert_eq!(names.len(), keys.len());
    }

    #[test]
    fn names_of_others_are_no_keys() {
        for foreign in ["p/a.4", "p/.zz", "p/.2F", "p/.61", "p/a b", "q/a", "p/.ff"] {
            assert_eq!(key("p/", &Path::from(foreign)), None, "{foreign}");
        }
    }

    #[test]
    fn prefixes_are_plain() {
        for good in ["", "a", "a/b", "a/b/", "A-1_b"] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        let long = "p".repeat(PREFIX_BYTES_MAX + 1);
        for bad in ["/", "/a", "a//b", "a.b", "..", "a b", &long] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_of_another_kind_of_store_is_no_condition() {
        let tag = Compared::ETag.tag(Some("\"1\"".into()), Some("7".into())).unwrap();
        assert_eq!(tag.0, r#"{"e_tag":"\"1\""}"#);
        assert_eq!(Compared::ETag.condition(&tag).unwrap().e_tag.as_deref(), Some("\"1\""));
        assert!(Compared::Version.condition(&tag).is_none());
        assert!(Compared::ETag.condition(&Tag("7".into())).is_none());
        assert!(Compared::Version.tag(Some("\"1\"".into()), None).is_none());
    }
}
