use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MB16: u64 = 16 << 20;

fn fields() -> Value {
    json!({
        "latestCheckpointTimelineID": "3",
        "redoWalFile": "000000030000000100000005",
        "databaseSystemIdentifier": "7432651119204741151",
        "latestCheckpointREDOLocation": "1/5000028",
        "timeOfLatestCheckpoint": "Mon 03 Aug 2026 10:00:00 AM UTC",
        "operatorVersion": "1.30.0",
    })
}

fn text(fields: &Value) -> String {
    STANDARD.encode(fields.to_string())
}

fn token() -> DemotionToken {
    DemotionToken::decode(&text(&fields()), MB16).expect("a sound token")
}

/// A target that has replayed the shutdown checkpoint.
fn there() -> Position {
    let token = token();
    Position {
        system_id: token.system_id,
        timeline: token.timeline,
        replayed: Lsn(token.redo.0 + 120),
        received: Some(Lsn(token.redo.0 + 120)),
        checkpoint_redo: Some(token.redo),
    }
}

#[test]
fn a_token_is_read_field_by_field() {
    let token = token();
    assert_eq!(token.timeline, TimelineId(3));
    assert_eq!(token.redo, Lsn(0x1_0500_0028));
    assert_eq!(token.system_id, 7_432_651_119_204_741_151);
    assert_eq!(token.operator_version, "1.30.0");
    assert_eq!(DemotionToken::decode(&format!("  {}\n", text(&fields())), MB16), Ok(token));
}

#[test]
fn a_field_that_is_missing_empty_or_no_text_is_refused() {
    let names: Vec<String> = fields().as_object().expect("an object").keys().cloned().collect();
    assert_eq!(names.len(), 6);
    for name in names {
        for planted in [None, Some(json!("")), Some(json!(3)), Some(Value::Null)] {
            let mut fields = fields();
            let object = fields.as_object_mut().expect("an object");
            match planted.clone() {
                None => object.remove(&name),
                Some(value) => object.insert(name.clone(), value),
            };
            let decoded = DemotionToken::decode(&text(&fields), MB16);
            assert!(decoded.is_err(), "{name} as {planted:?}");
        }
    }
}

#[test]
fn what_cannot_be_a_checkpoint_is_refused_by_its_field() {
    let cases = [
        ("latestCheckpointTimelineID", "0"),
        ("latestCheckpointTimelineID", "-1"),
        ("latestCheckpointTimelineID", "+3"),
        ("latestCheckpointTimelineID", "4294967296"),
        // The file of another timeline, another segment, and no file at all.
        ("redoWalFile", "000000020000000100000005"),
        ("redoWalFile", "000000030000000100000006"),
        ("redoWalFile", "000000030000000100000005.partial"),
        ("redoWalFile", "this-wal-file"),
        ("databaseSystemIdentifier", "0"),
        ("databaseSystemIdentifier", "18446744073709551616"),
        ("databaseSystemIdentifier", "0x17"),
        ("latestCheckpointREDOLocation", "0/0"),
        ("latestCheckpointREDOLocation", "15000028"),
        ("latestCheckpointREDOLocation", "1/+5000028"),
        ("latestCheckpointREDOLocation", "1/500002800"),
        ("timeOfLatestCheckpoint", " "),
        ("operatorVersion", " "),
    ];
    for (field, planted) in cases {
        let mut fields = fields();
        fields[field] = json!(planted);
        match DemotionToken::decode(&text(&fields), MB16) {
            Err(TokenError::Field { field: named, found, .. }) => {
                assert_eq!((named, found.as_str()), (field, planted));
            }
            // Another REDO or timeline no longer goes with the file's name.
            other => panic!("{field} as {planted:?}: {other:?}"),
        }
    }
}

#[test]
fn the_file_is_checked_against_the_place_and_the_segment_size() {
    let mut moved = fields();
    moved["latestCheckpointREDOLocation"] = json!("1/6000028");
    let error = DemotionToken::decode(&text(&moved), MB16).expect_err("refused").to_string();
    assert!(error.contains("1/6000028 on timeline 3 lies in 000000030000000100000006"), "{error}");
    assert!(DemotionToken::decode(&text(&fields()), 64 << 20).is_err(), "another segment size");
    for size in [0, 1, 3 << 20, 1 << 31] {
        assert_eq!(DemotionToken::decode(&text(&fields()), size), Err(TokenError::Segment(size)));
    }
}

#[test]
fn what_is_no_token_at_all_is_refused() {
    let long = "A".repeat(TEXT_BYTES_MAX + 4);
    let mut more = fields();
    more["promoteAnyway"] = json!("true");
    for planted in ["", "  ", "not base64!", "e30=", "W10=", "bnVsbA==", &long, &text(&more)] {
        assert!(DemotionToken::decode(planted, MB16).is_err(), "{planted:?}");
    }
    let twice = fields().to_string().replace('{', r#"{"operatorVersion":"x","#);
    assert!(DemotionToken::decode(&STANDARD.encode(twice), MB16).is_err(), "a field twice");
}

#[test]
fn only_a_target_that_ends_at_the_shutdown_checkpoint_fits() {
    let token = token();
    let fits = |change: fn(&mut Position)| {
        let mut position = there();
        change(&mut position);
        token.fits(&position)
    };
    assert_eq!(fits(|_| ()), Fit::Exact);
    assert_eq!(fits(|at| at.received = None), Fit::Exact);
    assert_eq!(fits(|at| at.checkpoint_redo = None), Fit::Exact);
    // An older restart point says nothing against it; the record has been replayed.
    assert_eq!(fits(|at| at.checkpoint_redo = Some(Lsn(at.replayed.0 - 4096))), Fit::Exact);
    // Received from the archive: the receiver's own place is below.
    assert_eq!(fits(|at| at.received = Some(Lsn(0x1_0500_0000))), Fit::Exact);
    assert_eq!(fits(|at| at.system_id += 1), Fit::OtherSystem);
    assert_eq!(fits(|at| at.timeline = TimelineId(2)), Fit::OtherTimeline);
    assert_eq!(fits(|at| at.timeline = TimelineId(4)), Fit::OtherTimeline);
}

#[test]
fn before_the_checkpoint_is_behind_and_past_it_is_ahead() {
    let token = token();
    let at = |replayed: u64, received: u64, redo: u64| {
        token.fits(&Position {
            replayed: Lsn(replayed),
            received: Some(Lsn(received)),
            checkpoint_redo: Some(Lsn(redo)),
            ..there()
        })
    };
    let redo = token.redo.0;
    // Everything but the checkpoint's record itself.
    assert_eq!(at(redo, redo, 0), Fit::Behind { missing: 1 });
    assert_eq!(at(redo - 100, redo + 120, 0), Fit::Behind { missing: 100 });
    assert!(at(redo - 100, redo, 0).may_come());
    // Each of the three shows it alone.
    assert_eq!(at(redo + 120, redo + 120, redo + 8), Fit::Ahead { beyond: 8 });
    assert_eq!(at(redo + 201, redo, redo), Fit::Ahead { beyond: 1 });
    assert_eq!(at(redo + 120, redo + 8192, redo), Fit::Ahead { beyond: 8192 - 200 });
    // Also where it has not replayed what it received.
    assert_eq!(at(redo - 100, redo + 8192, 0), Fit::Ahead { beyond: 8192 - 200 });
    assert!(!at(redo + 8192, redo + 8192, redo).may_come());
}

#[test]
fn a_token_that_was_used_is_known_again() {
    let (first, mut fields) = (text(&fields()), fields());
    fields["latestCheckpointREDOLocation"] = json!("1/5000098");
    let second = text(&fields);
    let consumed = TokenHash::of(&first);
    let known = [TokenHash::of("older"), consumed.clone()];
    assert!(is_new(&first, &[]) && is_new(&second, &known));
    assert!(!is_new(&first, &known));
    assert!(!is_new(&format!("{first}\n"), &known), "a line's end makes no new token");
    assert!(!is_new("", &[]) && !is_new(" ", &known));
    assert!(!first.contains(&consumed.to_string()));
}

proptest! {
    #[test]
    fn every_sound_token_goes_round(
        timeline in 1u32..,
        redo in WAL_START.0..,
        system_id in 1u64..,
        shift in 20u32..=30,
        time in "[ -~]{0,40}[a-z]",
        version in "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]",
    ) {
        let segment_bytes = 1u64 << shift;
        let (timeline, redo) = (TimelineId(timeline.into()), Lsn(redo));
        let token = DemotionToken {
            timeline,
            redo_wal_file: wal::segment_name(timeline, redo, segment_bytes),
            system_id,
            redo,
            checkpoint_time: time,
            operator_version: version,
        };
        prop_assert_eq!(DemotionToken::decode(&token.encode(), segment_bytes), Ok(token));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", shift in 0u32..64) {
        let _ = DemotionToken::decode(&text, 1 << shift);
        let _ = DemotionToken::decode(&STANDARD.encode(&text), 1 << shift);
    }

    /// Only one stretch of places is exact; everything else is refused or waits.
    #[test]
    fn exact_is_never_before_or_far_past_the_checkpoint(
        replayed in 0u64..0x3_0000_0000,
        received in proptest::option::of(0u64..0x3_0000_0000),
        checkpoint_redo in proptest::option::of(0u64..0x3_0000_0000),
    ) {
        let token = token();
        let position = Position {
            replayed: Lsn(replayed),
            received: received.map(Lsn),
            checkpoint_redo: checkpoint_redo.map(Lsn),
            ..there()
        };
        if token.fits(&position) == Fit::Exact {
            prop_assert!(position.replayed > token.redo);
            prop_assert!(position.replayed.bytes_since(token.redo) <= CHECKPOINT_BYTES_MAX);
            let received = position.received.unwrap_or(Lsn(0));
            prop_assert!(received.bytes_since(token.redo) <= CHECKPOINT_BYTES_MAX);
            prop_assert!(position.checkpoint_redo.unwrap_or(Lsn(0)) <= token.redo);
        }
    }
}
