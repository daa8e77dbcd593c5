//! Files with keys: a secret stands in a file that only its process reads, and in no argument.

use std::path::Path;

use super::ProviderError;
use super::rfc2136::TsigKey;

/// Reads a TSIG key as `tsig-keygen` writes it and `nsupdate -k` takes it:
/// `key "fsn" { algorithm hmac-sha256; secret "..."; };`.
pub fn tsig(path: &Path) -> Result<TsigKey, ProviderError> {
    let text = read(path)?;
    let wrong = || {
        let form = r#"key "NAME" { algorithm hmac-sha256; secret "BASE64"; };"#;
        ProviderError::Misconfigured(format!(
            "{} is not one TSIG key; write it as {form}",
            path.display()
        ))
    };
    let (name, algorithm, secret) = parts(&text).ok_or_else(wrong)?;
    TsigKey::new(&name, &algorithm, &secret)
        .map_err(|error| ProviderError::Misconfigured(format!("{}: {error}", path.display())))
}

/// Reads the key of an HTTP API: one line.
pub fn api(path: &Path) -> Result<String, ProviderError> {
    let text = read(path)?;
    let key = text.trim();
    let fits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| key.to_owned()).ok_or_else(|| {
        ProviderError::Misconfigured(format!("{} is not a key on one line", path.display()))
    })
}

fn read(path: &Path) -> Result<String, ProviderError> {
    std::fs::read_to_string(path).map_err(|error| {
        ProviderError::Misconfigured(format!("{} cannot be read: {error}", path.display()))
    })
}

/// Name, algorithm and secret of the only key.
fn parts(text: &str) -> Option<(String, String, String)> {
    // Within a line `//` may be part of a secret.
    let comment = |line: &&str| ["#", "//"].iter().any(|mark| line.trim_start().starts_with(mark));
    let text = text.lines().filter(|line| !comment(line)).collect::<Vec<_>>().join(" ");
    let (head, rest) = text.split_once('{')?;
    let (body, tail) = rest.split_once('}')?;
    let word = |text: &str| text.trim().trim_matches('"').to_owned();
    let name = word(head.trim().strip_prefix("key")?);
    let (mut algorithm, mut secret) = (None, None);
    for statement in body.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        let (key, value) = statement.split_once(char::is_whitespace)?;
        match key {
            "algorithm" => algorithm = Some(word(value).trim_end_matches('.').to_ascii_lowercase()),
            "secret" => secret = Some(word(value)),
            _ => return None,
        }
    }
    let alone = tail.trim().trim_matches(';').is_empty();
    (alone && !name.is_empty()).then_some((name, algorithm?, secret?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_tsig_keygen_writes_it() {
        let text = "key \"fsn\" {\n\talgorithm hmac-sha256;\n\tsecret \"Zm9v//bw==\";\n};\n";
        let due = ("fsn".to_owned(), "hmac-sha256".to_owned(), "Zm9v//bw==".to_owned());
        assert_eq!(parts(text), Some(due.clone()));
        let plain = "# ours\nkey fsn. { secret Zm9v//bw==; algorithm HMAC-SHA256.; };";
        assert_eq!(parts(plain), Some(("fsn.".into(), due.1, due.2)));
        for wrong in [
            "",
            "fsn hmac-sha256 Zm9v",
            "key \"fsn\" { algorithm hmac-sha256; };",
            "key \"fsn\" { algorithm hmac-sha256; secret \"x\"; port 53; };",
            "key { algorithm hmac-sha256; secret \"x\"; };",
            "key a { algorithm hmac-sha256; secret \"x\"; }; key b { };",
        ] {
            assert_eq!(parts(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn errors_name_the_file_and_never_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("k");
        let missing = tsig(&file).unwrap_err().to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
        std::fs::write(&file, "key \"a\" { algorithm hmac-sha256; secret \"s3cr?t\"; };").unwrap();
        let told = tsig(&file).unwrap_err().to_string();
        assert!(told.contains("not base64") && !told.contains("s3cr?t"), "{told}");
        assert!(told.contains(&file.display().to_string()), "{told}");
        assert!(api(&file).is_err());
        std::fs::write(&file, "sekrit\n").unwrap();
        assert_eq!(api(&file), Ok("sekrit".into()));
    }
}
