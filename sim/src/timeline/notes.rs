//! What the programs themselves say that belongs into a timeline, taken from the trace.

use std::collections::BTreeMap;

use super::lanes::{Mark, Sign, seconds};
use crate::trace::Noted;

/// What is written before a broken rule by the judge.
const VIOLATION: &str = "VIOLATION ";

/// A kind of moment of which everybody should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A rule is broken.
    Wrong,
    /// A fault begins or ends.
    Fault,
    /// The lease.
    Lease,
    /// PostgreSQL.
    Postgres,
    /// The rest.
    Other,
}

/// Marks for the lanes, from what was noted.
pub(super) fn marks(notes: &[Noted]) -> Vec<(&str, Mark)> {
    notes.iter().filter_map(|note| Some((note.who.as_str(), mark(note)?))).collect()
}

fn mark(note: &Noted) -> Option<Mark> {
    let what = note.what.as_str();
    let (sign, label) = if what.contains("note=Fenced(") {
        (Sign::Fence, "fence".into())
    } else if let Some(code) = quoted(what, "note=Blocked(Some(Blocked { code: \"") {
        (Sign::Other, format!("blocked: {code}"))
    } else if let Some(how) = quoted(what, "note=Rejoined { how: \"") {
        (Sign::Other, format!("rejoin: {how}"))
    } else if let Some(to) = handover(note) {
        (Sign::Other, format!("hands over to {to}"))
    } else if what.starts_with("leading") {
        (Sign::Other, "leads".into())
    } else if what.starts_with("failover asked for") {
        (Sign::Other, "failover asked".into())
    } else if let Some(state) = operation(what) {
        (Sign::Other, format!("operation: {state}"))
    } else if what.starts_with("the process ended") {
        (Sign::Other, "process ended".into())
    } else if what.starts_with("ERROR ") {
        (Sign::Other, "error".into())
    } else if what.ends_with("are lost, by approval") {
        (Sign::Other, "commits lost, approved".into())
    } else {
        return None;
    };
    let title = format!("{} s: {} {what}", seconds(note.at), note.who);
    Some(Mark { at: note.at, sign, label, title })
}

/// Up to the next quotation mark behind `key`.
fn quoted(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(key)?;
    Some(rest.split('"').next().unwrap_or(rest).to_owned())
}

fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

fn handover(note: &Noted) -> Option<String> {
    if !note.what.starts_with("writing the pair register") {
        return None;
    }
    quoted(&note.what, "handover_to=Some(RegionId(\"")
}

fn operation(text: &str) -> Option<String> {
    let rest = text.strip_prefix("operation operation=")?;
    let (_, state) = rest.split_once(" state=")?;
    Some(word(state))
}

/// How each epoch was acquired.
pub(super) fn acquired(notes: &[Noted]) -> BTreeMap<u64, String> {
    let one = |note: &Noted| {
        let by = quoted(&note.what, "note=Acquired { by: \"")?;
        let (_, epoch) = note.what.split_once("epoch=")?;
        Some((word(epoch).parse().ok()?, by))
    };
    notes.iter().filter_map(one).collect()
}

/// Moments of the whole world: a rule is broken, it stands, is healed, stands again.
pub(super) fn world(notes: &[Noted]) -> Vec<Mark> {
    let one = |note: &Noted| {
        let what = note.what.as_str();
        let (sign, label) = match note.who.as_str() {
            "judge" => (Sign::Wrong, what.strip_prefix(VIOLATION)?),
            "world" if what.starts_with("stands") => (Sign::Other, what),
            "fault" if what == "everything is healed" => (Sign::Other, "healed"),
            _ => return None,
        };
        let (label, title) = (label.to_owned(), format!("{} s: {what}", seconds(note.at)));
        Some(Mark { at: note.at, sign, label, title })
    };
    notes.iter().filter_map(one).collect()
}

/// What belongs into the list of events; programs say much more than that.
pub(super) fn kind(note: &Noted) -> Option<Kind> {
    let what = note.what.as_str();
    match note.who.as_str() {
        "judge" => return Some(Kind::Wrong),
        "fault" => return Some(Kind::Fault),
        "pair" => return Some(Kind::Lease),
        "world" | "expect" => return Some(Kind::Other),
        _ => {}
    }
    let starts = |words: &[&str]| words.iter().any(|word| what.starts_with(word));
    if ["note=Fenced(", "note=Acquired", "note=Blocked"].iter().any(|key| what.contains(key)) {
        Some(Kind::Lease)
    } else if starts(&["PostgreSQL", "streams from", "data directory"]) {
        Some(Kind::Postgres)
    } else if starts(&["is started", "the process ended", "leading", "failover asked", "ERROR"])
        || what.contains("note=Rejoined")
        || operation(what).is_some()
        || what.ends_with("by approval")
    {
        Some(Kind::Other)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn note(who: &str, what: &str) -> Noted {
        Noted { at: Duration::from_millis(1_500), who: who.into(), what: what.into() }
    }

    #[test]
    fn facts_of_the_agents_become_marks() {
        let notes = [
            note("fsn", "fact pair=app epoch=1 operation=None note=Fenced(\"it lapsed\")"),
            note(
                "fsn",
                "fact note=Blocked(Some(Blocked { code: \"no-witness\", meaning: \"x\" }))",
            ),
            note("c1", "operation operation=op-1 pair=app epoch=1 state=Undone { reason: \"x\" }"),
            note("fsn", "warn session not renewed"),
        ];
        let found: Vec<_> =
            marks(&notes).into_iter().map(|(who, mark)| (who, mark.label)).collect();
        let expected =
            [("fsn", "fence"), ("fsn", "blocked: no-witness"), ("c1", "operation: Undone")];
        assert_eq!(found, expected.map(|(who, label)| (who, label.to_owned())));
    }

    #[test]
    fn an_epoch_tells_how_it_was_acquired() {
        let text =
            "fact pair=app epoch=2 operation=None note=Acquired { by: \"expired\", from: None }";
        assert_eq!(acquired(&[note("hel", text)]), BTreeMap::from([(2, "expired".to_owned())]));
    }

    #[test]
    fn only_the_judge_finds_violations() {
        let notes = [note("judge", "VIOLATION I1: two"), note("fsn", "VIOLATION of nothing")];
        let found: Vec<_> = world(&notes).into_iter().map(|mark| (mark.sign, mark.label)).collect();
        assert_eq!(found, [(Sign::Wrong, "I1: two".to_owned())]);
    }
}
