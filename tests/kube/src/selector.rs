//! Label and field selectors.

use serde_json::Value;

use crate::failure::Failure;

/// What a list or a watch is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// Reads both selectors of a request.
    ///
    /// # Errors
    /// One of them is not understood.
    pub fn read(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Failure> {
        let labels = split(labels.unwrap_or_default()).into_iter().map(|text| requirement(&text));
        let labels = labels.collect::<Result<Vec<_>, _>>()?;
        let fields = fields.unwrap_or_default().split(',').filter(|text| !text.is_empty());
        let fields = fields.map(field).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether an object is among the selected.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |name: &str| labels.get(name).and_then(Value::as_str);
        let by_label = self.labels.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => {
                label(name).is_some_and(|is| values.iter().any(|value| value == is))
            }
            Requirement::NotIn(name, values) => {
                label(name).is_none_or(|is| values.iter().all(|value| value != is))
            }
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::Missing(name) => label(name).is_none(),
        });
        by_label
            && self.fields.iter().all(|(path, equal, value)| {
                let mut at = object;
                for part in path.split('.') {
                    at = &at[part];
                }
                (at.as_str().unwrap_or_default() == value) == *equal
            })
    }
}

/// Splits at commas that are not within parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_i32);
    for sign in text.chars() {
        match sign {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(sign);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(text: &str) -> Result<Requirement, Failure> {
    let text = text.trim();
    let refused = || Failure::bad_request(format!("unable to parse requirement: {text}"));
    let set = |rest: &str| {
        let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let own = |name: &str| name.trim().to_owned();
    if let Some((name, rest)) = text.split_once(" notin ") {
        return Ok(Requirement::NotIn(own(name), set(rest).ok_or_else(refused)?));
    }
    if let Some((name, rest)) = text.split_once(" in ") {
        return Ok(Requirement::In(own(name), set(rest).ok_or_else(refused)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(own(name), vec![own(value)]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(own(name), vec![own(value)]));
    }
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(own(name)));
    }
    if text.contains(char::is_whitespace) {
        return Err(refused());
    }
    Ok(Requirement::Exists(own(text)))
}

/// Fields that a selector may name here; the real server refuses others by kind too.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "status.phase",
    "type",
    "reason",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.kind",
    "involvedObject.uid",
];

fn field(text: &str) -> Result<(String, bool, String), Failure> {
    let (name, equal, value) = if let Some((name, value)) = text.split_once("!=") {
        (name, false, value)
    } else if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (name, true, value)
    } else {
        return Err(Failure::bad_request(format!("invalid selector: '{text}'; can't understand")));
    };
    if !FIELDS.contains(&name) {
        return Err(Failure::bad_request(format!("field label not supported: {name}")));
    }
    Ok((name.to_owned(), equal, value.to_owned()))
}
