//! WAL segment names, timeline histories, and how two histories relate.

use continuum_domain::{Lsn, TimelineId};
use serde::{Deserialize, Serialize};

/// A timeline that was left, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ancestor {
    pub timeline: TimelineId,
    /// First position that belongs to the next timeline.
    pub switch: Lsn,
}

/// How a member's WAL relates to its primary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Every record of the member lies in the primary's history.
    Within,
    /// The member has a record at or past `fork`, where the histories part.
    Diverged { fork: Lsn },
}

/// File name of the segment that holds `lsn` on `timeline`.
pub(crate) fn segment_name(timeline: TimelineId, lsn: Lsn, segment_bytes: u64) -> String {
    let per_id = 0x1_0000_0000 / segment_bytes;
    let number = lsn.0 / segment_bytes;
    format!("{:08X}{:08X}{:08X}", timeline.0, number / per_id, number % per_id)
}

/// File name of a timeline's history.
pub(crate) fn history_name(timeline: TimelineId) -> String {
    format!("{:08X}.history", timeline.0)
}

/// Timeline and first position of a segment file; `None` for other files.
pub(crate) fn parse_segment_name(name: &str, segment_bytes: u64) -> Option<(TimelineId, Lsn)> {
    if name.len() != 24 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let part = |from: usize| u64::from_str_radix(&name[from..from + 8], 16).ok();
    let (timeline, high, low) = (part(0)?, part(8)?, part(16)?);
    let number = high.checked_mul(0x1_0000_0000 / segment_bytes)?.checked_add(low)?;
    Some((TimelineId(timeline), Lsn(number.checked_mul(segment_bytes)?)))
}

/// Reads a history file: one line per timeline left, `timeline <tab> switch <tab> reason`.
pub(crate) fn parse_history(text: &str) -> Result<Vec<Ancestor>, String> {
    let mut ancestors = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut fields = line.split_whitespace();
        let timeline = fields.next().and_then(|text| text.parse().ok()).map(TimelineId);
        let switch = fields.next().and_then(|text| text.parse().ok());
        match (timeline, switch) {
            (Some(timeline), Some(switch)) => ancestors.push(Ancestor { timeline, switch }),
            _ => return Err(format!("line {line:?} of a timeline history is not understood")),
        }
    }
    Ok(ancestors)
}

/// Compares a member's chain of timelines with its primary's. Each chain lists the timelines left,
/// oldest first; `end` is where the last timeline ends (the primary's: its flushed position).
pub(crate) fn relate(
    own: (&[Ancestor], TimelineId, Lsn),
    primary: (&[Ancestor], TimelineId, Lsn),
) -> Relation {
    let chain = |(ancestors, timeline, end): (&[Ancestor], TimelineId, Lsn)| {
        let mut all = ancestors.to_vec();
        all.push(Ancestor { timeline, switch: end });
        all
    };
    let (own, primary) = (chain(own), chain(primary));
    let mut fork = Lsn(0);
    for (index, (mine, theirs)) in own.iter().zip(&primary).enumerate() {
        if mine.timeline != theirs.timeline {
            return Relation::Diverged { fork };
        }
        fork = mine.switch.min(theirs.switch);
        let mine_is_last = index + 1 == own.len();
        let theirs_is_last = index + 1 == primary.len();
        if mine_is_last {
            return if mine.switch <= theirs.switch {
                Relation::Within
            } else {
                Relation::Diverged { fork }
            };
        }
        if theirs_is_last || mine.switch != theirs.switch {
            return Relation::Diverged { fork };
        }
    }
    Relation::Diverged { fork }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB16: u64 = 16 * 1024 * 1024;

    fn left(timeline: u64, switch: u64) -> Ancestor {
        Ancestor { timeline: TimelineId(timeline), switch: Lsn(switch) }
    }

    #[test]
    fn segment_names_round_trip() {
        let name = segment_name(TimelineId(3), Lsn(0x1_0500_0000), MB16);
        assert_eq!(name, "000000030000000100000005");
        assert_eq!(parse_segment_name(&name, MB16), Some((TimelineId(3), Lsn(0x1_0500_0000))));
        assert_eq!(parse_segment_name("00000003.history", MB16), None);
    }

    #[test]
    fn a_history_file_is_read() {
        let text = "1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tx\n";
        assert_eq!(parse_history(text), Ok(vec![left(1, 0x300_0060), left(2, 0x500_0000)]));
        assert!(parse_history("one 0/3").is_err());
    }

    #[test]
    fn an_ancestor_that_stopped_at_the_switch_follows() {
        let primary = [left(1, 100)];
        let own = |end| relate((&[], TimelineId(1), Lsn(end)), (&primary, TimelineId(2), Lsn(500)));
        assert_eq!(own(100), Relation::Within);
        assert_eq!(own(90), Relation::Within);
        assert_eq!(own(101), Relation::Diverged { fork: Lsn(100) });
    }

    #[test]
    fn equal_timeline_numbers_with_other_switches_are_other_timelines() {
        let relation = relate(
            (&[left(1, 90)], TimelineId(2), Lsn(120)),
            (&[left(1, 100)], TimelineId(2), Lsn(500)),
        );
        assert_eq!(relation, Relation::Diverged { fork: Lsn(90) });
    }

    #[test]
    fn ahead_on_the_primarys_own_timeline_is_diverged() {
        let relation = relate(
            (&[left(1, 90)], TimelineId(2), Lsn(120)),
            (&[left(1, 90)], TimelineId(2), Lsn(110)),
        );
        assert_eq!(relation, Relation::Diverged { fork: Lsn(110) });
    }

    #[test]
    fn a_timeline_the_primary_never_had_is_diverged_where_it_left() {
        let relation = relate(
            (&[left(1, 90)], TimelineId(2), Lsn(120)),
            (&[left(1, 100)], TimelineId(3), Lsn(500)),
        );
        assert_eq!(relation, Relation::Diverged { fork: Lsn(90) });
        let stayed =
            relate((&[left(1, 90)], TimelineId(2), Lsn(95)), (&[], TimelineId(1), Lsn(99)));
        assert_eq!(stayed, Relation::Diverged { fork: Lsn(90) });
    }
}
