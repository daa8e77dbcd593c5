//! Files with keys: a secret stands in a file that only its process reads, and in no argument.

use std::io;
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
    line(path, std::fs::read_to_string(path))
}

/// The same; `text` is what reading the file gave.
pub fn line(path: &Path, text: io::Result<String>) -> Result<String, ProviderError> {
    let text = text.map_err(|error| unreadable(path, &error))?;
    let key = text.trim();
    let fits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| key.to_owned()).ok_or_else(|| {
        ProviderError::Misconfigured(format!("{} is not a key on one line", path.display()))
    })
}

/// Keys of an AWS user or role.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token, of keys that end by themselves.
    pub session: Option<String>,
}

impl std::fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AwsKeys({})", self.id)
    }
}

/// Reads keys as `~/.aws/credentials` has them, one section; `text` is what reading the file gave.
pub fn aws(path: &Path, text: io::Result<String>) -> Result<AwsKeys, ProviderError> {
    let text = text.map_err(|error| unreadable(path, &error))?;
    aws_parts(&text).ok_or_else(|| {
        ProviderError::Misconfigured(format!(
            "{} has not the keys of one user; write aws_access_key_id = ID and \
             aws_secret_access_key = SECRET, and aws_session_token = TOKEN where there is one",
            path.display()
        ))
    })
}

fn aws_parts(text: &str) -> Option<AwsKeys> {
    let (mut id, mut secret, mut session, mut sections) = (None, None, None, 0);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            sections += 1;
            continue;
        }
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let place = match key.trim() {
            "aws_access_key_id" => &mut id,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut session,
            // Others belong to other programs.
            _ => continue,
        };
        let fits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        if place.replace(value.to_owned()).is_some() || !fits {
            return None;
        }
    }
    (sections <= 1).then_some(AwsKeys { id: id?, secret: secret?, session })
}

fn read(path: &Path) -> Result<String, ProviderError> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> ProviderError {
    ProviderError::Misconfigured(format!("{} cannot be read: {error}", path.display()))
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
    fn keys_of_aws_are_read_as_its_own_programs_write_them() {
        let text = "# ours\n[default]\naws_access_key_id = AK\naws_secret_access_key=s/+=\n\
                    region = eu-central-1\n";
        let keys = AwsKeys { id: "AK".into(), secret: "s/+=".into(), session: None };
        assert_eq!(aws_parts(text), Some(keys.clone()));
        assert!(!format!("{keys:?}").contains("s/+="));
        let session = Some("t".to_owned());
        let with = format!("{text}aws_session_token = t\n");
        assert_eq!(aws_parts(&with), Some(AwsKeys { session, ..keys }));
        for wrong in [
            "",
            "AK s",
            "aws_access_key_id = AK",
            "aws_access_key_id = AK\naws_secret_access_key =",
            &format!("{text}[other]\n"),
            &format!("{text}aws_access_key_id = B\n"),
        ] {
            assert_eq!(aws_parts(wrong), None, "{wrong:?}");
        }
        let path = Path::new("/k");
        let told = aws(path, Ok("aws_secret_access_key = s3cr".into())).unwrap_err().to_string();
        assert!(told.starts_with("/k has not the keys") && !told.contains("s3cr"), "{told}");
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
