//! Colour, where a person looks at a terminal and has not asked for none.

use std::io::IsTerminal;

use crate::config::Variables;

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not known, or on its way.
    Warn,
    /// A person should look.
    Bad,
    /// A heading.
    Strong,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

/// Words of a table that carry a tone of their own.
const WORDS: &[(&str, Tone)] = &[
    ("primary", Tone::Good),
    ("done", Tone::Good),
    ("unknown", Tone::Warn),
    ("promoting", Tone::Warn),
    ("rejoining", Tone::Warn),
    ("handing-over", Tone::Warn),
    ("running", Tone::Warn),
    ("fenced", Tone::Bad),
    ("failed", Tone::Bad),
    ("undone", Tone::Bad),
    ("refused", Tone::Bad),
    ("not", Tone::Bad),
];

impl Style {
    /// Never a colour.
    pub const PLAIN: Style = Style { colour: false };
    /// Always colours.
    pub const COLOURED: Style = Style { colour: true };

    /// Colours only on a terminal, and not when `NO_COLOR` is set to anything or the terminal is dumb.
    pub fn detect(variables: &Variables) -> Self {
        let set = |name: &str, refused: fn(&str) -> bool| {
            variables.iter().any(|(key, value)| key == name && refused(value))
        };
        let refused = set("NO_COLOR", |value| !value.is_empty()) || set("TERM", |v| v == "dumb");
        Self { colour: !refused && std::io::stdout().is_terminal() }
    }

    /// `text` in a tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31;1",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Colours the words of a finished table; done last, so that widths stay right.
    pub fn words(self, table: &str) -> String {
        if !self.colour {
            return table.to_owned();
        }
        let mut out = String::with_capacity(table.len() * 2);
        for part in table.split_inclusive([' ', '\n', ',']) {
            let word = part.trim_end_matches([' ', '\n', ',']);
            match WORDS.iter().find(|(known, _)| *known == word) {
                Some((_, tone)) => {
                    out.push_str(&self.paint(*tone, word));
                    out.push_str(&part[word.len()..]);
                }
                None => out.push_str(part),
            }
        }
        out
    }
}
