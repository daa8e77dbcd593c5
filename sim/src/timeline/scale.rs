//! Time to pixels, ticks of the axis, the width of words, and rows in which nothing overlaps.

use std::time::Duration;

/// Least distance between two ticks.
const TICK_MIN: f64 = 72.0;
/// Free space between two neighbours in a row.
const GAP: f64 = 6.0;

/// Simulated time on a horizontal axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Where time zero is.
    pub left: f64,
    /// Where the run ends.
    pub right: f64,
    per_second: f64,
}

impl Scale {
    /// `span` of time between `left` and `left + width`.
    pub fn new(left: f64, width: f64, span: Duration) -> Self {
        let seconds = span.as_secs_f64().max(0.001);
        Self { left, right: left + width, per_second: width / seconds }
    }

    /// Where `at` is; what lies outside is put on the edge.
    pub fn x(&self, at: Duration) -> f64 {
        (self.left + at.as_secs_f64() * self.per_second).clamp(self.left, self.right)
    }

    /// Whole seconds for the axis, with round steps.
    pub fn ticks(&self) -> Vec<u64> {
        let steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 3_600];
        let fits = |step: &u64| seconds(*step) * self.per_second >= TICK_MIN;
        let step = steps.into_iter().find(fits).unwrap_or(3_600);
        let last = (self.right - self.left) / self.per_second;
        (0..).map(|index| index * step).take_while(|at| seconds(*at) <= last).collect()
    }

    /// The shortest round slice of time that is at least `pixels` wide.
    pub fn slice(&self, pixels: f64) -> Duration {
        let slices = [100, 200, 500, 1_000, 2_000, 5_000, 10_000].map(Duration::from_millis);
        let wide = |slice: &Duration| slice.as_secs_f64() * self.per_second >= pixels;
        slices.into_iter().find(wide).unwrap_or(Duration::from_secs(30))
    }
}

fn seconds(count: u64) -> f64 {
    Duration::from_secs(count).as_secs_f64()
}

/// How wide `text` is at most in the fonts a viewer may have: too wide is better than an overlap.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let share = |letter: char| match letter {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | ' ' | 'I' => 0.36,
        'f' | 'r' | 't' | '(' | ')' | '-' | '/' => 0.44,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
        'A'..='Z' => 0.74,
        'a'..='z' | '0'..='9' => 0.63,
        _ => 0.84,
    };
    text.chars().map(share).sum::<f64>() * size
}

/// `text`, cut to fit into `space`; empty when not even two letters would.
pub(super) fn fit(text: &str, size: f64, space: f64) -> String {
    if width(text, size) <= space {
        return text.to_owned();
    }
    let mut short: String = text.to_owned();
    while short.pop().is_some() {
        let ended = format!("{}…", short.trim_end());
        if width(&ended, size) <= space {
            return if short.chars().count() < 2 { String::new() } else { ended };
        }
    }
    String::new()
}

/// What wants a place in one of several rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wish {
    /// Left edge.
    pub from: f64,
    /// Right edge.
    pub to: f64,
    /// Where its line to row zero runs down, if it has one: no word may stand in the way of it.
    pub stem: Option<f64>,
}

impl Wish {
    /// A bar: no line leads anywhere.
    pub fn bar(from: f64, to: f64) -> Self {
        Self { from, to, stem: None }
    }
}

/// Rows in which nobody touches anybody, served in the order given: the lowest free row, or `None`
/// where `rows` are not enough.
pub(super) fn stack(wishes: &[Wish], rows: usize) -> Vec<Option<usize>> {
    let mut taken: Vec<Vec<(f64, f64)>> = Vec::new();
    let free = |row: &Vec<(f64, f64)>, from: f64, to: f64| {
        row.iter().all(|(left, right)| from >= right + GAP || to + GAP <= *left)
    };
    let mut place = |wish: &Wish| {
        let row = taken.iter().position(|row| free(row, wish.from, wish.to));
        let row = row.unwrap_or(taken.len());
        let below = &taken[..row.min(taken.len())];
        let blocked = wish.stem.is_some_and(|x| !below.iter().all(|row| free(row, x, x)));
        if row >= rows || blocked {
            return None;
        }
        if row == taken.len() {
            taken.push(Vec::new());
        }
        taken[row].push((wish.from, wish.to));
        if let Some(x) = wish.stem {
            taken[..row].iter_mut().for_each(|below| below.push((x, x)));
        }
        Some(row)
    };
    wishes.iter().map(&mut place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn time_is_put_between_the_edges() {
        let scale = Scale::new(100.0, 1_000.0, secs(20));
        assert_eq!(
            [scale.x(secs(0)), scale.x(secs(5)), scale.x(secs(20))],
            [100.0, 350.0, 1_100.0]
        );
        assert_eq!(scale.x(secs(3_600)), 1_100.0, "a fault of an hour ends at the edge");
    }

    #[test]
    fn ticks_are_round_and_far_enough_apart() {
        assert_eq!(
            Scale::new(0.0, 1_000.0, secs(20)).ticks(),
            (0..=10).map(|n| n * 2).collect::<Vec<_>>()
        );
        let long = Scale::new(0.0, 1_000.0, secs(170)).ticks();
        assert_eq!(long, [0, 20, 40, 60, 80, 100, 120, 140, 160]);
    }

    #[test]
    fn a_slice_is_wide_enough_to_be_seen() {
        let scale = Scale::new(0.0, 1_000.0, secs(20));
        assert_eq!(scale.slice(4.0), Duration::from_millis(100));
        assert_eq!(scale.slice(6.0), Duration::from_millis(200));
    }

    #[test]
    fn neighbours_share_a_row_and_overlaps_do_not() {
        let bars = [(0.0, 50.0), (40.0, 90.0), (60.0, 100.0), (45.0, 70.0)];
        let bars = bars.map(|(from, to)| Wish::bar(from, to));
        assert_eq!(stack(&bars, 9), [Some(0), Some(1), Some(0), Some(2)]);
        assert_eq!(stack(&bars, 2), [Some(0), Some(1), Some(0), None], "dropped, not overlapping");
    }

    #[test]
    fn who_only_nearly_touches_gets_another_row() {
        let rows = |one: (f64, f64), other: (f64, f64)| {
            stack(&[Wish::bar(one.0, one.1), Wish::bar(other.0, other.1)], 9)
        };
        assert_eq!(rows((0.0, 50.0), (53.0, 90.0)), [Some(0), Some(1)]);
        assert_eq!(rows((50.0, 90.0), (0.0, 44.0)), [Some(0), Some(0)]);
    }

    #[test]
    fn no_line_runs_through_a_word() {
        let flag = |x: f64, width: f64| Wish { from: x, to: x + width, stem: Some(x) };
        // The second stands above the first, whose words its line would cross.
        assert_eq!(stack(&[flag(0.0, 60.0), flag(30.0, 60.0)], 9), [Some(0), None]);
        // From right to left the lines run down beside the words.
        assert_eq!(stack(&[flag(30.0, 60.0), flag(0.0, 60.0)], 9), [Some(0), Some(1)]);
        // And a later word does not stand on a line that is there already.
        let three = [flag(30.0, 60.0), flag(10.0, 60.0), flag(-20.0, 40.0)];
        assert_eq!(stack(&three, 9), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn long_words_are_cut_or_left_out() {
        assert_eq!(fit("epoch 2", 10.0, 200.0), "epoch 2");
        let cut = fit("cut from the whole world", 10.0, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 60.0, "{cut}");
        assert_eq!(fit("epoch 2", 10.0, 12.0), "");
    }
}
