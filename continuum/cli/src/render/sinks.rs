//! Where audit records are sent to.

use continuum_control_api::sinks::{DeadLetter, SinkRetried, SinkStanding, SinkTested, SinkView};

use super::style::{Style, Tone};
use super::text::*;

/// `sinks list`.
pub fn listing(sinks: &[SinkView], style: Style) -> String {
    if sinks.is_empty() {
        return "no sinks are configured\n".into();
    }
    let header =
        ["SINK", "KIND", "STATE", "AT", "WAITING", "OLDEST WAITS", "DELIVERED", "DEAD", "LOST"];
    let rows = sinks.iter().map(|sink| {
        [
            sink.name.clone(),
            sink.kind.clone(),
            standing(sink),
            or_unknown(sink.position),
            or_unknown(sink.lag_records),
            sink.lag_ms.map_or_else(|| UNKNOWN.into(), duration),
            sink.delivered.to_string(),
            (sink.dead_letters + sink.dropped).to_string(),
            sink.lost.to_string(),
        ]
    });
    let mut text = table(header, rows);
    for sink in sinks {
        if let (SinkStanding::Retrying, Some(why)) = (sink.standing, &sink.last_error) {
            let line = format!("{}: {}", sink.name, one_line(why));
            text.push_str(&style.paint(Tone::Bad, &line));
            text.push('\n');
        }
    }
    text
}

fn standing(sink: &SinkView) -> String {
    match (sink.standing, sink.retrying_ms) {
        (SinkStanding::Delivering, _) => "delivering".into(),
        (SinkStanding::Retrying, Some(ms)) => format!("retrying for {}", duration(ms)),
        (SinkStanding::Retrying, None) => "retrying".into(),
        (SinkStanding::Unknown, _) => UNKNOWN.into(),
    }
}

/// `sinks dead-letters`.
pub fn letters(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "none\n".into();
    }
    let rows = letters.iter().map(|letter| {
        [
            letter.index.to_string(),
            time(letter.at_ms),
            letter.action.clone(),
            letter.pair.as_ref().map_or_else(|| NONE.into(), ToString::to_string),
            one_line(&letter.why),
        ]
    });
    table(["#", "REFUSED AT", "ACTION", "PAIR", "WHY"], rows)
}

/// `sinks test`.
pub fn tested(tested: &SinkTested, style: Style) -> String {
    let id = &tested.id;
    match (&tested.said, tested.taken) {
        (_, true) => format!("{}: {id}\n", style.paint(Tone::Good, "taken")),
        (said, false) => {
            let said = or_unknown(said.as_ref().map(|said| one_line(said)));
            format!("{}: {said} ({id})\n", style.paint(Tone::Bad, "NOT taken"))
        }
    }
}

/// `sinks retry`.
pub fn retried(retried: &SinkRetried) -> String {
    let SinkRetried { taken, refused, left, said } = retried;
    let said = said.as_ref().map(|said| format!("; {}", one_line(said))).unwrap_or_default();
    format!("{taken} taken, {refused} refused again, {left} left{said}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_shown_as_well() {
        let sink = SinkView {
            name: "mirror".into(),
            kind: "nats".into(),
            standing: SinkStanding::Unknown,
            retrying_ms: None,
            failures: 0,
            position: None,
            lag_records: None,
            lag_ms: None,
            delivered: 0,
            dead_letters: 0,
            dropped: 0,
            lost: 0,
            last_error: None,
        };
        let text = listing(&[sink], Style::PLAIN);
        assert_eq!(text.matches(UNKNOWN).count(), 4, "{text}");
        assert!(!text.contains("delivering"), "{text}");
    }
}
