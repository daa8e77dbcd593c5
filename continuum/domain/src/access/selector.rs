//! Choosing pairs by their labels: `env=prod,tier!=bronze,team`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parts of a selector.
const TERMS_MAX: usize = 20;

/// Terms that must all hold. None holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Selector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    /// `key=value`
    Is(String, String),
    /// `key!=value`; holds where the label is missing too.
    IsNot(String, String),
    /// `key`
    Has(String),
    /// `!key`
    HasNot(String),
}

impl Selector {
    /// Whether labels fit.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
            Term::HasNot(key) => !labels.contains_key(key),
        })
    }

    /// Whether it has no term, and so holds for everything.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether whatever this fits surely fits `wider` too. Each term is looked at for itself, so a
    /// "no" may be too careful; a "yes" never is wrong.
    pub fn is_within(&self, wider: &Selector) -> bool {
        wider.0.iter().all(|wanted| self.0.iter().any(|held| held.implies(wanted)))
    }
}

impl Term {
    fn implies(&self, other: &Term) -> bool {
        match (self, other) {
            (Term::Is(key, _), Term::Has(wanted)) => key == wanted,
            (Term::Is(key, value), Term::IsNot(wanted, not)) => key == wanted && value != not,
            (Term::HasNot(key), Term::IsNot(wanted, _)) => key == wanted,
            _ => self == other,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Is(key, value) => write!(f, "{key}={value}"),
            Term::IsNot(key, value) => write!(f, "{key}!={value}"),
            Term::Has(key) => f.write_str(key),
            Term::HasNot(key) => write!(f, "!{key}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<String> = self.0.iter().map(Term::to_string).collect();
        f.write_str(&terms.join(","))
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.to_string()
    }
}

/// As a stored scope: an empty text is everything, which a query must say by leaving it out.
impl TryFrom<String> for Selector {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() { Ok(Self::default()) } else { text.parse() }
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms: Vec<&str> = text.split(',').map(str::trim).collect();
        if terms.len() > TERMS_MAX {
            return Err(format!("at most {TERMS_MAX} terms are accepted"));
        }
        terms.into_iter().map(term).collect::<Result<_, _>>().map(Self)
    }
}

fn term(text: &str) -> Result<Term, String> {
    let wrong = || format!("{text:?} is none of key=value, key!=value, key and !key");
    let label = |part: &str| {
        let part = part.trim();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        (!part.is_empty() && part.bytes().all(fits)).then(|| part.to_owned()).ok_or_else(wrong)
    };
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Term::IsNot(label(key)?, label(value)?));
    }
    if let Some((key, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Term::Is(label(key)?, label(value)?));
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Term::HasNot(label(key)?)),
        None => Ok(Term::Has(label(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        selector.parse::<Selector>().expect("a selector").fits(&labels)
    }

    #[test]
    fn all_terms_must_hold() {
        let prod = [("env", "prod"), ("tier", "gold")];
        assert!(fits("env=prod", &prod) && fits("env==prod, tier", &prod));
        assert!(fits("env=prod,tier!=bronze,!team", &prod) && fits("team!=x", &prod));
        assert!(!fits("env=prod,tier=bronze", &prod) && !fits("!env", &prod));
        assert!(!fits("env=prod", &[]) && fits("env!=prod", &[]));
    }

    #[test]
    fn what_is_no_term_is_named() {
        for bad in ["", "env=", "=prod", "env=prod,", "env prod", "a!", "!"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
        assert!(["a"; 21].join(",").parse::<Selector>().is_err());
    }
}
