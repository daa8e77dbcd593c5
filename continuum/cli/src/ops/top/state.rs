//! What is shown, and what keys do. No terminal and no clock in here.

use continuum_control_api::rest::{Fleet, PairView};
use continuum_domain::operation::Operation;
use continuum_domain::{OperationId, PairId};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::failure::Failure;
use crate::render::style::Style;
use crate::render::text::{duration, one_line};
use crate::render::{fleet, operation, pair};

/// Where one looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Fleet,
    Pair(PairId),
    Operation(OperationId),
}

/// What was answered.
#[derive(Clone, Debug)]
pub enum Data {
    Fleet(Fleet),
    Pair(Box<PairView>),
    Operation(Box<Operation>),
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Stay,
    Ask,
    Stop,
}

/// One screen, ready to be drawn.
#[derive(Debug, PartialEq, Eq)]
pub struct View {
    /// What is looked at, and how old it is.
    pub head: String,
    /// It is older than it should be, or was never answered.
    pub is_old: bool,
    pub lines: Vec<String>,
    /// The line that is chosen.
    pub chosen: Option<usize>,
    /// The first line to be drawn.
    pub from: usize,
    pub keys: &'static str,
}

/// Everything between two frames.
#[derive(Debug)]
pub struct State {
    /// From the fleet down to where one looks.
    path: Vec<Place>,
    data: Option<Data>,
    /// When the data came, and what went wrong since.
    came_ms: Option<i64>,
    problem: Option<String>,
    chosen: usize,
    from: usize,
}

/// Older than this is said to be old, whether or not something went wrong.
const OLD_MS: i64 = 15_000;
/// Lines that a page key goes.
const PAGE: usize = 10;

impl State {
    pub fn new(place: Place) -> Self {
        let mut path = vec![Place::Fleet];
        if place != Place::Fleet {
            path.push(place);
        }
        Self { path, data: None, came_ms: None, problem: None, chosen: 0, from: 0 }
    }

    pub fn place(&self) -> &Place {
        self.path.last().unwrap_or(&Place::Fleet)
    }

    /// Takes an answer, unless one has looked elsewhere since.
    pub fn arrived(&mut self, asked: &Place, answer: Result<Data, Failure>, now_ms: i64) {
        if asked != self.place() {
            return;
        }
        match answer {
            Ok(data) => {
                (self.data, self.came_ms, self.problem) = (Some(data), Some(now_ms), None);
                self.chosen = self.chosen.min(self.count().saturating_sub(1));
            }
            Err(failure) => self.problem = Some(one_line(&failure.what.join("; "))),
        }
    }

    fn count(&self) -> usize {
        match &self.data {
            Some(Data::Fleet(fleet)) => fleet.pairs.len(),
            _ => 0,
        }
    }

    fn go(&mut self, place: Place) -> Next {
        self.path.push(place);
        self.moved()
    }

    fn moved(&mut self) -> Next {
        (self.data, self.came_ms, self.problem) = (None, None, None);
        self.from = 0;
        Next::Ask
    }

    fn back(&mut self) -> Next {
        if self.path.len() == 1 {
            return Next::Stay;
        }
        self.path.pop();
        self.moved()
    }

    fn enter(&mut self) -> Next {
        let place = match &self.data {
            Some(Data::Fleet(fleet)) => {
                fleet.pairs.get(self.chosen).map(|pair| Place::Pair(pair.pair.clone()))
            }
            Some(Data::Pair(pair)) => pair.operation.clone().map(Place::Operation),
            _ => None,
        };
        place.map_or(Next::Stay, |place| self.go(place))
    }

    fn step(&mut self, down: bool, by: usize) -> Next {
        let last = self.count().saturating_sub(1);
        let (at, most) = match self.place() {
            Place::Fleet => (&mut self.chosen, last),
            _ => (&mut self.from, usize::MAX),
        };
        *at = if down { at.saturating_add(by).min(most) } else { at.saturating_sub(by) };
        Next::Stay
    }

    pub fn key(&mut self, key: KeyEvent) -> Next {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => Next::Stop,
            KeyCode::Char('q') => Next::Stop,
            KeyCode::Char('r') => Next::Ask,
            KeyCode::Up | KeyCode::Char('k') => self.step(false, 1),
            KeyCode::Down | KeyCode::Char('j') => self.step(true, 1),
            KeyCode::PageUp => self.step(false, PAGE),
            KeyCode::PageDown => self.step(true, PAGE),
            KeyCode::Enter => self.enter(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.back(),
            _ => Next::Stay,
        }
    }

    /// The screen as of now.
    pub fn view(&self, now_ms: i64) -> View {
        let what = match self.place() {
            Place::Fleet => "fleet".to_owned(),
            Place::Pair(pair) => format!("pair {pair}"),
            Place::Operation(operation) => format!("operation {operation}"),
        };
        let age_ms = self.came_ms.map(|came| u64::try_from(now_ms - came).unwrap_or(0));
        let is_old = self.problem.is_some() || age_ms.is_some_and(|age| age > OLD_MS as u64);
        let age = match (age_ms, &self.problem) {
            (None, None) => "asking".to_owned(),
            (None, Some(problem)) => format!("not known: {problem}"),
            (Some(age), None) => format!("{} old", duration(age)),
            (Some(age), Some(problem)) => format!("{} OLD: {problem}", duration(age)),
        };
        let (lines, chosen) = self.body(now_ms);
        let keys = match self.place() {
            Place::Fleet => "up/down choose   enter pair   r ask now   q quit",
            Place::Pair(_) => "enter operation   up/down scroll   esc back   r ask now   q quit",
            Place::Operation(_) => "up/down scroll   esc back   r ask now   q quit",
        };
        let from = self.from.min(lines.len().saturating_sub(1));
        View { head: format!("{what}   {age}"), is_old, lines, chosen, from, keys }
    }

    fn body(&self, now_ms: i64) -> (Vec<String>, Option<usize>) {
        let text = match &self.data {
            None => return (Vec::new(), None),
            Some(Data::Fleet(found)) => fleet::page(found, Style::PLAIN),
            Some(Data::Pair(found)) => pair::page(found, Style::PLAIN),
            Some(Data::Operation(found)) => operation::page(found, now_ms, Style::PLAIN),
        };
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // The pairs stand at the end of the page, one on each line.
        let above = lines.len().saturating_sub(self.count());
        let chosen = (self.count() > 0).then_some(above + self.chosen);
        (lines, chosen)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
