//! The judgement over two histories.

use super::*;
use crate::wal::Ancestor;

fn history() -> PrimaryHistory {
    let left = |timeline, switch| Ancestor { timeline: TimelineId(timeline), switch: Lsn(switch) };
    PrimaryHistory {
        timeline: TimelineId(3),
        ancestors: vec![left(1, 100), left(2, 500)],
        flushed: Lsn(900),
    }
}

fn judged(timeline: u64, last: u64, standby: bool, bytes: Bytes) -> &'static str {
    match judge(&history(), TimelineId(timeline), Lsn(last), standby, bytes) {
        Lineage::Follows => "follows",
        Lineage::Apart { fork: Lsn(0), .. } => "apart from the start",
        Lineage::Apart { fork, .. } => {
            assert_eq!(fork, end_of(&history(), TimelineId(timeline)).unwrap());
            "apart"
        }
        Lineage::Unprovable { .. } => "unprovable",
        Lineage::Diverged { .. } | Lineage::Foreign { .. } => panic!("never said here"),
    }
}

#[test]
fn within_the_history_the_bytes_decide() {
    for standby in [true, false] {
        assert_eq!(judged(2, 499, standby, Bytes::Same), "follows");
        assert_eq!(judged(3, 899, standby, Bytes::Same), "follows");
    }
    assert_eq!(judged(2, 499, true, Bytes::Different), "unprovable");
    assert_eq!(judged(2, 499, false, Bytes::Different), "apart from the start");
    assert_eq!(judged(2, 499, true, Bytes::Gone), "unprovable");
    assert_eq!(judged(2, 499, false, Bytes::Gone), "apart from the start");
}

#[test]
fn a_record_at_the_fork_is_a_tail() {
    for standby in [true, false] {
        assert_eq!(judged(2, 500, standby, Bytes::Same), "apart");
        assert_eq!(judged(1, 300, standby, Bytes::Gone), "apart");
        assert_eq!(judged(3, 900, standby, Bytes::Same), "apart", "past the primary's own end");
    }
}

#[test]
fn a_timeline_that_the_primary_never_had_is_never_followed() {
    for bytes in [Bytes::Same, Bytes::Different, Bytes::Gone] {
        assert_eq!(judged(4, 10, false, bytes), "apart from the start");
        assert_eq!(judged(4, 10, true, bytes), "unprovable");
    }
}
