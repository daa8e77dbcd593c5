//! How commands end: exit codes, and errors that say what happened, what it means and what to do.

use std::fmt;
use std::process::ExitCode;

use crate::config::Issue;

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Done,
    /// The operation was started and failed, or was undone.
    Failed,
    /// Wrong usage or configuration; nothing was changed.
    Usage,
    /// Refused by the rules; nothing was changed.
    Refused,
    /// Not reachable, or the outcome is not known.
    Unknown,
    /// There is no such pair, operation or node.
    NotFound,
}

impl Exit {
    /// Every code with its meaning, for the help and the reference.
    pub const ALL: &[(Exit, &str)] = &[
        (Exit::Done, "done"),
        (Exit::Failed, "the operation failed or was undone"),
        (Exit::Usage, "wrong usage or configuration; nothing was changed"),
        (Exit::Refused, "refused by the rules, reasons printed; nothing was changed"),
        (Exit::Unknown, "not reachable, or the outcome is not known"),
        (Exit::NotFound, "no such pair, operation or node"),
    ];

    /// The number a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Unknown => 4,
            Exit::NotFound => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// A command that did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What happened. One line per entry.
    pub what: Vec<String>,
    /// What it means for the data; empty when there is nothing to say.
    pub meaning: String,
    /// What to do next; empty when there is nothing to say.
    pub next: String,
}

impl Failure {
    /// A failure with what happened.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: vec![what.into()], meaning: String::new(), next: String::new() }
    }

    /// Adds what it means for the data.
    #[must_use]
    pub fn meaning(mut self, text: impl Into<String>) -> Self {
        self.meaning = text.into();
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, text: impl Into<String>) -> Self {
        self.next = text.into();
        self
    }

    /// Wrong usage.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }
}

/// Configuration errors print as one line each and nothing else, so that each can be acted on.
impl From<Vec<Issue>> for Failure {
    fn from(issues: Vec<Issue>) -> Self {
        let what = issues.iter().map(ToString::to_string).collect();
        Self { exit: Exit::Usage, what, meaning: String::new(), next: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.what.clone();
        if !self.meaning.is_empty() {
            lines.push(format!("  data: {}", self.meaning));
        }
        if !self.next.is_empty() {
            lines.push(format!("  next: {}", self.next));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_numbers_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_failure_says_what_happened_what_it_means_and_what_to_do() {
        let failure = Failure::new(Exit::Unknown, "no answer").meaning("may go on").next("look");
        assert_eq!(failure.to_string(), "no answer\n  data: may go on\n  next: look");
    }
}
