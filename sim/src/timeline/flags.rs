//! The words at the marks of a lane: few enough to be read.

use std::time::Duration;

use super::lanes::{Mark, Sign};
use super::scale::{Scale, fit};

/// Marks closer than this share one label.
const TOGETHER: f64 = 8.0;
/// Longest label.
const LONGEST: f64 = 300.0;

/// What is written of one mark or of equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    sign: Sign,
    text: String,
    times: usize,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// Where it stands.
    pub at: Duration,
    /// The weightiest of its marks.
    pub sign: Sign,
    words: Vec<Word>,
}

impl Flag {
    /// The label, cut where it would be too long.
    pub fn text(&self, size: f64) -> String {
        // What matters most comes first: the end may be cut.
        let mut words: Vec<&Word> = self.words.iter().collect();
        words.sort_by_key(|word| word.sign);
        let text = |word: &&Word| match word.times {
            1 => word.text.clone(),
            times => format!("{} ×{times}", word.text),
        };
        fit(&words.iter().map(text).collect::<Vec<_>>().join(", "), size, LONGEST)
    }
}

/// The labels of `marks`, which are in order of time: what happens together is said together, and
/// what only repeats is counted.
pub(super) fn flags(marks: &[Mark], scale: &Scale) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    // The last fact that was written, as indices of a flag and of its words.
    let mut written: Option<(usize, usize)> = None;
    for mark in marks {
        let is_fact = mark.sign == Sign::Other;
        if let Some((flag, word)) = written
            && let Some(word) = flags[flag].words.get_mut(word)
            && is_fact
            && word.text == mark.label
        {
            word.times += 1;
            continue;
        }
        let near = |flag: &Flag| scale.x(mark.at) - scale.x(flag.at) < TOGETHER;
        let word = Word { sign: mark.sign, text: mark.label.clone(), times: 1 };
        match flags.last_mut().filter(|flag| near(flag)) {
            Some(flag) if flag.words.iter().any(|old| old.text == word.text) => continue,
            Some(flag) => {
                flag.sign = flag.sign.min(mark.sign);
                flag.words.push(word);
            }
            None => flags.push(Flag { at: mark.at, sign: mark.sign, words: vec![word] }),
        }
        if is_fact {
            let last = flags.len() - 1;
            written = Some((last, flags[last].words.len() - 1));
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(marks: &[(u64, Sign, &str)]) -> Vec<String> {
        let scale = Scale::new(0.0, 1_000.0, Duration::from_secs(100));
        let mark = |(at, sign, label): &(u64, Sign, &str)| Mark {
            at: Duration::from_millis(*at),
            sign: *sign,
            label: (*label).to_owned(),
            title: String::new(),
        };
        let marks: Vec<Mark> = marks.iter().map(mark).collect();
        flags(&marks, &scale).iter().map(|flag| flag.text(11.0)).collect()
    }

    #[test]
    fn what_happens_together_is_said_together() {
        let marks = [(5_000, Sign::Fence, "fence"), (5_040, Sign::Stop, "stop at once")];
        assert_eq!(texts(&marks), ["fence, stop at once"]);
        let other = [(5_000, Sign::Other, "leads"), (5_040, Sign::Fence, "fence")];
        assert_eq!(texts(&other), ["fence, leads"], "the weightier word comes first");
        let apart = [(5_000, Sign::Fence, "fence"), (5_900, Sign::Stop, "stop at once")];
        assert_eq!(texts(&apart), ["fence", "stop at once"]);
    }

    #[test]
    fn a_fact_that_repeats_is_counted() {
        let asked = |at| (at, Sign::Other, "failover asked");
        let marks = [asked(1_000), asked(3_000), (4_000, Sign::Other, "leads"), asked(6_000)];
        assert_eq!(texts(&marks), ["failover asked ×2", "leads", "failover asked"]);
    }

    #[test]
    fn a_promotion_that_repeats_is_news() {
        let marks = [(1_000, Sign::Promote, "promote"), (9_000, Sign::Promote, "promote")];
        assert_eq!(texts(&marks), ["promote", "promote"]);
    }
}
