//! Where each value of a configuration came from: a line of a file, or an environment variable.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key's path, one step per table key or array index.
pub type KeyPath = Vec<String>;

/// Writes a path as people write it: `pairs[0].postgres_port`.
pub fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if step.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            text.push_str(&format!("[{step}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(step);
        }
    }
    text
}

/// The steps of the path at which deserialisation failed.
pub fn steps(path: &serde_path_to_error::Path) -> KeyPath {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        })
        .collect()
}

/// One thing that is wrong with a configuration; prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// File the configuration was read from.
    pub file: PathBuf,
    /// Line in it, from 1, where it is known.
    pub line: Option<usize>,
    /// The environment variable that gave the value, when it was not the file.
    pub variable: Option<String>,
    /// The key, dotted; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what is accepted.
    pub problem: String,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.variable, self.line) {
            (Some(variable), _) => write!(f, "environment variable {variable}: ")?,
            (None, Some(line)) => write!(f, "{}:{line}: ", self.file.display())?,
            (None, None) => write!(f, "{}: ", self.file.display())?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        // A problem never spans lines, so that one mistake is one line.
        f.write_str(&self.problem.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Where keys stand.
#[derive(Clone, Debug, Default)]
pub struct Places {
    file: PathBuf,
    lines: BTreeMap<KeyPath, usize>,
    variables: BTreeMap<KeyPath, String>,
}

impl Places {
    /// Places of the keys of `document`, which was parsed from `text`.
    pub fn of(file: &Path, text: &str, document: &DeTable<'_>) -> Self {
        let mut places = Self { file: file.to_owned(), ..Self::default() };
        places.walk_table(text, &mut Vec::new(), document);
        places
    }

    /// Places of a configuration that knows no lines.
    pub fn unknown(file: &Path) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    fn walk_table(&mut self, text: &str, path: &mut KeyPath, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.lines.insert(path.clone(), line_of(text, key.span().start));
            self.walk_value(text, path, value);
            path.pop();
        }
    }

    fn walk_value(&mut self, text: &str, path: &mut KeyPath, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.walk_table(text, path, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.lines.insert(path.clone(), line_of(text, item.span().start));
                    self.walk_value(text, path, item);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// Notes that the value at `path` came from the environment.
    pub fn set_variable(&mut self, path: KeyPath, variable: String) {
        self.variables.insert(path, variable);
    }

    /// An issue with the key at `path`, placed at the key or at its nearest parent in the file.
    pub fn issue(&self, path: &[String], problem: impl Into<String>) -> Issue {
        let variable = self.variables.iter().find(|(at, _)| at.as_slice() == path);
        let line = (1..=path.len()).rev().find_map(|length| self.lines.get(&path[..length]));
        Issue {
            file: self.file.clone(),
            line: line.copied(),
            variable: variable.map(|(_, variable)| variable.clone()),
            key: dotted(path),
            problem: problem.into(),
        }
    }

    /// An issue with the key written as `a.b.0.c` or `a.b[0].c`.
    pub fn issue_at(&self, key: &str, problem: impl Into<String>) -> Issue {
        let key = key.replace('[', ".").replace(']', "");
        let path: KeyPath =
            key.split('.').filter(|step| !step.is_empty()).map(Into::into).collect();
        self.issue(&path, problem)
    }
}

/// The line, from 1, of a byte offset.
pub fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    1 + text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_at_their_lines() {
        let text = "a = 1\n\n[[pairs]]\nid = \"x\"\n[[pairs]]\nid = \"y\"\n";
        let document = DeTable::parse(text).unwrap();
        let places = Places::of(Path::new("f.toml"), text, document.get_ref());
        assert_eq!(places.issue_at("pairs.1.id", "bad").to_string(), "f.toml:6: pairs[1].id: bad");
        assert_eq!(places.issue_at("pairs.0.gone", "m").line, Some(3));
        assert_eq!(places.issue_at("nowhere", "m").line, None);
    }
}
