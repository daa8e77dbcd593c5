//! A run as a picture: lanes for whoever takes part, over simulated time.
//!
//! ```text
//!   Recorded (facts of the run) --> lanes (who, bars, marks) --> draw (places) --> svg (text)
//!                                                                             +--> html
//! ```
//!
//! The same run gives the same bytes.

mod draw;
mod flags;
mod header;
mod html;
mod lanes;
mod notes;
mod recorded;
mod scale;
mod struck;
mod style;
mod svg;

use crate::run::{Verdict, Watch};
use crate::scenario::Scenario;

pub use recorded::{Recorded, Strike, Strikes};

/// Runs a scenario and keeps what its timeline is drawn from. One run at a time per process.
pub fn tell(scenario: &Scenario, watch: Watch) -> (Verdict, Recorded) {
    crate::run::tell_recorded(&scenario.plan, watch, scenario.tale)
}

/// What a timeline is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A picture.
    Svg,
    /// A page with the picture and the events as text.
    Html,
}

impl Format {
    /// The format that the name of `file` asks for.
    pub fn of(file: &str) -> Option<Self> {
        let (_, ending) = file.rsplit_once('.')?;
        match ending {
            "svg" => Some(Self::Svg),
            "html" => Some(Self::Html),
            _ => None,
        }
    }
}

/// A run that is over, to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    /// What ran, as the command line says it.
    pub what: &'a str,
    /// What was recorded.
    pub recorded: &'a Recorded,
    /// What was found.
    pub verdict: &'a Verdict,
}

impl Timeline<'_> {
    /// The whole file.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Svg => self.svg(),
            Format::Html => html::page(self),
        }
    }

    fn svg(&self) -> String {
        draw::picture(self)
    }

    /// What ran, and how it ended.
    fn headline(&self) -> String {
        format!("continuum-sim {}: {}", self.what, self.ending())
    }

    fn ending(&self) -> &'static str {
        match (self.verdict.is_ok(), &self.verdict.blocked) {
            (false, _) => "WRONG",
            (true, Some(_)) => "waits for a person",
            (true, None) => "OK",
        }
    }
}
