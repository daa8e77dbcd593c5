//! The one way configuration is read: TOML, then the environment, then the types, then the checks.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::DeTable;
use toml::{Table, Value};

use super::environment::{self, Variables};
use super::locate::{Issue, KeyPath, Places, line_of, steps};

/// A configuration as read, with the places of its keys for later checks.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The value.
    pub value: T,
    /// Where its keys stand.
    pub places: Places,
}

/// A configuration that is read and merged, but not yet typed.
#[derive(Debug)]
pub struct Document {
    table: Table,
    places: Places,
    /// Keys that were taken out of the table; named when an unknown key is reported.
    taken: Vec<&'static str>,
    /// Keys that are needed and absent.
    missing: Vec<KeyPath>,
    issues: Vec<Issue>,
}

/// Reads a file as text.
pub fn read(file: &Path) -> Result<String, Issue> {
    std::fs::read_to_string(file)
        .map_err(|error| Places::unknown(file).issue(&[], format!("cannot be read: {error}")))
}

impl Document {
    /// Reads `file`, with overrides of `prefix` from `variables`.
    pub fn read(file: &Path, prefix: &str, variables: &Variables) -> Result<Self, Vec<Issue>> {
        let text = read(file).map_err(|issue| vec![issue])?;
        Self::parse(file, &text, prefix, variables)
    }

    /// As [`Document::read`], from text that is already read.
    pub fn parse(
        file: &Path,
        text: &str,
        prefix: &str,
        variables: &Variables,
    ) -> Result<Self, Vec<Issue>> {
        let syntax = |error: toml::de::Error| {
            let mut issue = Places::unknown(file).issue(&[], error.message());
            issue.line = error.span().map(|span| line_of(text, span.start));
            vec![issue]
        };
        let document = DeTable::parse(text).map_err(syntax)?;
        let mut places = Places::of(file, text, document.get_ref());
        let mut table: Table = text.parse().map_err(syntax)?;
        let mut issues = Vec::new();
        environment::merge(&mut table, prefix, variables, &mut places, &mut issues);
        if !issues.is_empty() {
            return Err(issues);
        }
        Ok(Self { table, places, taken: Vec::new(), missing: Vec::new(), issues })
    }

    /// Takes one key out and types it: for what the role's own struct does not hold.
    pub fn take<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.taken.push(key);
        let value = self.table.remove(key)?;
        match serde_path_to_error::deserialize(value) {
            Ok(value) => Some(value),
            Err(error) => {
                let mut path = vec![key.to_owned()];
                path.extend(steps(error.path()));
                let Explained { path, problem, .. } = explain(path, error.inner().message(), &[]);
                self.issues.push(self.places.issue(&path, problem));
                None
            }
        }
    }

    /// Notes that a key taken before is needed.
    pub fn need<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        if !self.table.contains_key(key) {
            self.missing.push(vec![key.to_owned()]);
        }
        self.take(key)
    }

    /// Replaces a key by what a flag said.
    pub fn replace<T: serde::Serialize>(&mut self, key: &str, value: &T) {
        let value = Value::try_from(value).expect("flags are plain data");
        self.table.insert(key.to_owned(), value);
    }

    /// Refuses a list that names one thing twice, for lists whose type is a set. Lists are found in
    /// the value at `key` or in the table there.
    pub fn refuse_repeats(&mut self, key: &str, what: &str) {
        let lists: Vec<(KeyPath, &Vec<Value>)> = match self.table.get(key) {
            Some(Value::Array(items)) => vec![(vec![key.to_owned()], items)],
            Some(Value::Table(table)) => table
                .iter()
                .filter_map(|(name, value)| {
                    Some((vec![key.to_owned(), name.clone()], value.as_array()?))
                })
                .collect(),
            _ => Vec::new(),
        };
        for (path, items) in lists {
            for (index, item) in items.iter().enumerate() {
                if let (true, Some(text)) = (items[..index].contains(item), item.as_str()) {
                    let problem = format!("{what} {text} is given twice");
                    self.issues.push(self.places.issue(&path, problem));
                }
            }
        }
    }

    /// Types what is left. Every unknown key is reported, and the first value that does not fit.
    pub fn typed<T: DeserializeOwned>(self) -> Result<Loaded<T>, Vec<Issue>> {
        let Self { mut table, places, taken, mut missing, mut issues } = self;
        let mut unknown: Vec<KeyPath> = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
                Ok(value) if issues.is_empty() && missing.is_empty() => {
                    return Ok(Loaded { value, places });
                }
                Ok(_) => break,
                Err(error) => error,
            };
            let message = error.inner().message().to_owned();
            let explained = explain(steps(error.path()), &message, &taken);
            match explained.what {
                // Taken out, so that one run names every unknown key.
                What::Unknown if remove(&mut table, &explained.path) => {
                    issues.push(places.issue(&explained.path, explained.problem));
                    unknown.push(explained.path);
                    continue;
                }
                What::Missing => missing.push(explained.path),
                _ => issues.push(places.issue(&explained.path, explained.problem)),
            }
            // What follows a value that does not fit would be guesswork.
            break;
        }
        // A misspelt key is one mistake, not an unknown key and a missing one.
        missing.retain(|path| !unknown.iter().any(|other| parent(other) == parent(path)));
        issues.extend(missing.iter().map(|path| places.issue(path, "is needed and not set")));
        Err(issues)
    }
}

fn parent(path: &[String]) -> &[String] {
    path.split_last().map_or(&[], |(_, parent)| parent)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Unknown,
    Missing,
    Value,
}

/// serde's message in the words of a configuration file.
struct Explained {
    path: KeyPath,
    problem: String,
    what: What,
}

fn explain(mut path: KeyPath, message: &str, taken: &[&str]) -> Explained {
    if let Some(key) = quoted_after(message, "unknown field `") {
        if path.last().map(String::as_str) != Some(key) {
            path.push(key.to_owned());
        }
        let known = message.split_once("`, expected ").map_or("", |(_, known)| known);
        let known = known.replace('`', "");
        let known = known.trim_start_matches("one of ").split([',', ' ']);
        let mut known: Vec<_> = known.filter(|key| !key.is_empty() && *key != "or").collect();
        if path.len() == 1 {
            known.extend(taken);
        }
        let problem = format!("unknown key; known here: {}", known.join(", "));
        return Explained { path, problem, what: What::Unknown };
    }
    if let Some(key) = quoted_after(message, "missing field `") {
        path.push(key.to_owned());
        return Explained { path, problem: String::new(), what: What::Missing };
    }
    let problem = message.replace("invalid type: ", "wrong type: ").replace('`', "'");
    Explained { path, problem, what: What::Value }
}

fn quoted_after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split('`').next()
}

fn remove(table: &mut Table, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let Some((first, rest)) = parents.split_first() else { return table.remove(last).is_some() };
    let mut at = table.get_mut(first);
    for step in rest {
        at = match at {
            Some(Value::Table(table)) => table.get_mut(step),
            Some(Value::Array(items)) => {
                step.parse().ok().and_then(|index: usize| items.get_mut(index))
            }
            _ => None,
        };
    }
    at.and_then(Value::as_table_mut).is_some_and(|table| table.remove(last).is_some())
}

/// Collects what is wrong beyond the types.
#[derive(Debug)]
pub struct Checks<'a> {
    places: &'a Places,
    /// Whether files are looked at.
    pub files: bool,
    issues: Vec<Issue>,
}

impl<'a> Checks<'a> {
    /// Checks of a configuration whose keys stand at `places`.
    pub fn new(places: &'a Places, files: bool) -> Self {
        Self { places, files, issues: Vec::new() }
    }

    /// Notes a problem with the key written as `a.b.0.c`.
    pub fn fail(&mut self, key: &str, problem: impl Into<String>) {
        self.issues.push(self.places.issue_at(key, problem));
    }

    /// Notes a problem with a key given by its steps (which may contain dots).
    pub fn fail_path(&mut self, path: &KeyPath, problem: impl Into<String>) {
        self.issues.push(self.places.issue(path, problem));
    }

    /// Notes a problem unless `result` is fine.
    pub fn result<T>(&mut self, key: &str, result: Result<T, impl ToString>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(key, error.to_string());
                None
            }
        }
    }

    /// What was found.
    pub fn finish(self) -> Result<(), Vec<Issue>> {
        if self.issues.is_empty() { Ok(()) } else { Err(self.issues) }
    }
}
