use proptest::prelude::*;

use super::*;

fn resolvers(count: u8) -> Vec<Resolver> {
    (1..=count).map(|n| Resolver(SocketAddr::from(([127, 0, 0, n], 53)))).collect()
}

fn read(text: &str) -> Result<Corroborate, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn a_word_stands_for_the_defaults_and_a_table_for_what_differs() {
    let short = read(r#""dns""#).expect("the short form");
    assert_eq!(short, Corroborate::default());
    let names: Vec<String> = short.resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["8.8.8.8", "1.1.1.1", "9.9.9.9"]);
    assert_eq!((short.needed(), short.deadline), (2, Duration::from_secs(1)));
    let long = read(
        r#"{"by":"dns","effect":"veto","resolvers":["127.0.0.1:5301","[::1]:53","9.9.9.9"],
            "agree":3,"deadline":"300ms"}"#,
    )
    .expect("the long form");
    assert_eq!(long.effect, CorroborationEffect::Veto);
    assert_eq!((long.needed(), long.deadline), (3, Duration::from_millis(300)));
    let names: Vec<String> = long.resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["127.0.0.1:5301", "::1", "9.9.9.9"]);
    for spec in [short, long] {
        let text = serde_json::to_string(&spec).expect("plain data");
        assert_eq!(read(&text), Ok(spec), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    for (text, says) in [
        (r#""ping""#, "\"ping\" can not corroborate; \"dns\" can"),
        (r#"{"effect":"veto"}"#, "missing field `by`"),
        (r#"{"by":"dns","efect":"veto"}"#, "unknown field `efect`"),
        (r#"{"by":"dns","effect":"lock"}"#, "expected `annotate` or `veto`"),
        (r#"{"by":"dns","resolvers":["dns.google"]}"#, "\"dns.google\" is not a resolver"),
        (r#"{"by":"dns","resolvers":["8.8.8.8:0"]}"#, "\"8.8.8.8:0\" is not a resolver"),
        (r#"{"by":"dns","deadline":"soon"}"#, "\"soon\" is not a duration"),
        ("7", "expected \"dns\", or a table"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(says), "{text}: {error}");
    }
    let with = |count, agree, ms| Corroborate {
        resolvers: resolvers(count),
        agree,
        deadline: Duration::from_millis(ms),
        ..Corroborate::default()
    };
    for (spec, field) in [
        (with(0, None, 1_000), "resolvers"),
        (with(8, None, 1_000), "resolvers"),
        (with(3, Some(1), 1_000), "agree"),
        (with(4, Some(2), 1_000), "agree"),
        (with(3, Some(4), 1_000), "agree"),
        (with(3, None, 99), "deadline"),
        (with(3, None, 5_001), "deadline"),
    ] {
        assert_eq!(spec.check().expect_err("refused").0, field, "{spec:?}");
    }
    let twice =
        Corroborate { resolvers: [resolvers(2), resolvers(1)].concat(), ..with(3, None, 1) };
    assert_eq!(twice.check().expect_err("refused").0, "resolvers");
    for count in 1..=7 {
        assert_eq!(with(count, None, 1_000).check(), Ok(()));
    }
}

#[test]
fn names_are_host_names() {
    for name in ["health.fsn.example.net", "a.b.", "_h.x-1.example"] {
        assert_eq!(name_problem(name), None, "{name}");
    }
    let long = format!("{}.net", "a".repeat(64));
    for name in ["", ".", "localhost", "a..b", "a b.net", "h\u{e4}.net", "*.example.net", &long] {
        assert!(name_problem(name).is_some(), "{name}");
    }
}

#[test]
fn a_word_of_another_version_is_unknown() {
    let read: NameState = serde_json::from_str(r#""flapping""#).expect("tolerant");
    assert_eq!(read, NameState::Unknown);
}

#[test]
fn it_reads_as_one_line() {
    let answers = [
        (resolvers(2)[0], ResolverAnswer::new(NameState::Up, "192.0.2.1")),
        (resolvers(2)[1], ResolverAnswer::new(NameState::Unknown, "no answer in 1s")),
    ];
    let (name, verdict) = ("h.example.net".to_owned(), NameState::Unknown);
    let said = Corroboration { name, verdict, answers: answers.into(), age_ms: 40 };
    assert_eq!(
        said.to_string(),
        "health name h.example.net: unknown, asked 40 ms ago \
         (127.0.0.1 up: 192.0.2.1; 127.0.0.2 unknown: no answer in 1s)"
    );
}

fn state() -> impl Strategy<Value = Option<NameState>> {
    prop::sample::select(vec![
        None,
        Some(NameState::Up),
        Some(NameState::Down),
        Some(NameState::Unknown),
    ])
}

proptest! {
    /// I7: only as many equal words as are needed make a verdict; silence and unknown count for
    /// neither, and no answer changed into an unknown one makes a verdict out of none.
    #[test]
    fn a_verdict_is_a_majority_that_agrees(said in prop::collection::vec(state(), 1..=7)) {
        let spec = Corroborate {
            resolvers: resolvers(u8::try_from(said.len()).expect("few")),
            ..Corroborate::default()
        };
        let answers = |said: &[Option<NameState>]| -> BTreeMap<Resolver, ResolverAnswer> {
            let given = spec.resolvers.iter().zip(said);
            given
                .filter_map(|(resolver, state)| {
                    Some((*resolver, ResolverAnswer::new((*state)?, "")))
                })
                .collect()
        };
        let found = verdict(&answers(&said), spec.needed());
        let count = |state| said.iter().filter(|it| **it == Some(state)).count();
        for state in [NameState::Up, NameState::Down] {
            prop_assert_eq!(found == state, count(state) * 2 > said.len());
        }
        for index in 0..said.len() {
            for less in [None, Some(NameState::Unknown)] {
                let mut said = said.clone();
                said[index] = less;
                let then = verdict(&answers(&said), spec.needed());
                prop_assert!(then == found || then == NameState::Unknown);
            }
        }
    }
}
