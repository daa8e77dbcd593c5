//! Above the lanes: what ran, how it ended, what the signs mean.

use std::time::Duration;

use super::Timeline;
use super::draw::{LEFT, symbol};
use super::lanes::{Sign, seconds};
use super::scale::{fit, width};
use super::style::EPOCH_COLOURS;
use super::svg::Svg;
use crate::postgres::{Content, Event};

/// Findings written out above the lanes; the rest is in the page.
const FINDINGS: usize = 4;
const LINE: f64 = 16.0;

/// Times without an acknowledgement that are longer than this are shown.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

impl Timeline<'_> {
    /// When clients were acknowledged, in order.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = Duration> {
        self.recorded.happened.iter().filter_map(|happening| match &happening.event {
            Event::Acknowledged(one) if matches!(one.content, Content::Append(_)) => {
                Some(happening.at)
            }
            _ => None,
        })
    }

    /// From the first acknowledgement on, when none came for long.
    pub(super) fn silences(&self) -> Vec<(Duration, Duration)> {
        let mut times: Vec<Duration> = self.acknowledged().collect();
        times.sort_unstable();
        if times.is_empty() {
            return vec![(Duration::ZERO, self.recorded.end)];
        }
        times.push(self.recorded.end);
        let gaps = times.windows(2).map(|pair| (pair[0], pair[1]));
        gaps.filter(|(from, to)| *to >= *from + SILENCE).collect()
    }

    fn facts(&self) -> Vec<String> {
        let (plan, verdict) = (&self.recorded.plan, self.verdict);
        let world = format!(
            "seed {}, {} regions, {} control nodes, durability {:?}, ttl {:.1} s, {:.1} simulated s",
            plan.seed,
            plan.regions,
            plan.nodes,
            plan.durability,
            plan.timing.ttl.as_secs_f64(),
            self.recorded.end.as_secs_f64()
        );
        let mut clients = format!(
            "{} commits acknowledged, {} lost by approval",
            verdict.acknowledged, verdict.lost_by_approval
        );
        let longest = self.silences().into_iter().max_by_key(|(from, to)| *to - *from);
        if let Some((from, to)) = longest {
            clients.push_str(&format!(
                "; longest without an acknowledgement: {} s ({} to {})",
                seconds(to - from),
                seconds(from),
                seconds(to)
            ));
        }
        if let Some(after) = verdict.recovered_after {
            clients.push_str(&format!("; whole again {after:.1} s after healing"));
        }
        vec![world, clients]
    }
}

/// Writes title, facts and findings from `y` on; returns where they end.
pub(super) fn header(svg: &mut Svg, timeline: &Timeline<'_>, right: f64, mut y: f64) -> f64 {
    let what = format!("continuum-sim {}", timeline.what);
    let class = match (timeline.verdict.is_ok(), &timeline.verdict.blocked) {
        (false, _) => "wrongtext",
        (true, Some(_)) => "waits",
        (true, None) => "ok",
    };
    svg.two_texts(("title", &what), (class, timeline.ending()), (14.0, y));
    let mut line = |class: &str, words: &str| {
        y += LINE;
        svg.text(class, (14.0, y), &fit(words, 11.5, right - 14.0));
    };
    timeline.facts().iter().for_each(|fact| line("fact", fact));
    if let Some(state) = &timeline.verdict.blocked {
        line("waits", &format!("waits for a person: {state}"));
    }
    let findings = &timeline.verdict.findings;
    findings.iter().take(FINDINGS).for_each(|finding| line("wrongtext", finding));
    if findings.len() > FINDINGS {
        line("wrongtext", &format!("and {} more findings", findings.len() - FINDINGS));
    }
    y
}

/// Writes the legend in the line around `y`.
pub(super) fn legend(svg: &mut Svg, y: f64) {
    let mut x = LEFT;
    let top = y - 5.0;
    let word = |svg: &mut Svg, from: f64, words: &str| {
        svg.text("small", (from, y + 3.5), words);
        from + width(words, 10.0) + 12.0
    };
    for epoch in 0..EPOCH_COLOURS {
        svg.rect(&format!("e{epoch}"), (x, top), (6.0, 10.0), "");
        x += 6.0;
    }
    x = word(svg, x + 4.0, "lease, by epoch (acks too)");
    for (class, words) in [("primary", "primary"), ("standby", "standby"), ("fault", "fault")] {
        svg.rect(class, (x, top), (18.0, 10.0), "");
        x = word(svg, x + 22.0, words);
    }
    let signs = [
        (Sign::Promote, "promote"),
        (Sign::Fence, "fence"),
        (Sign::Stop, "stop"),
        (Sign::Fault, "fault or order at an instant"),
        (Sign::Other, "other fact"),
    ];
    for (sign, words) in signs {
        symbol(svg, sign, (x + 5.0, y), "");
        x = word(svg, x + 14.0, words);
    }
    svg.line("wrongline", (x + 4.0, top), (x + 4.0, y + 5.0), "");
    word(svg, x + 10.0, "violation");
}
