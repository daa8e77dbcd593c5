use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::plan::{Change, ForeignWrite, Plan, foreign, plan};
use super::*;

fn pair(name: &str) -> PairId {
    PairId::new(name).unwrap()
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn wanted(epoch: u64, holder: &str, last: u8) -> Wanted {
    let address = IpAddr::V4(Ipv4Addr::new(10, 1, 0, last));
    Wanted {
        name: "app.db.example.".into(),
        pair: pair("app"),
        epoch: Epoch(epoch),
        holder: region(holder),
        records: Records::plain(5, [address].into()),
    }
}

fn left_by(wanted: &Wanted) -> Seen {
    Seen { companion: Companion::of(&wanted.stamp()), records: wanted.records.clone() }
}

fn texts(texts: &[&str]) -> Companion {
    Companion(texts.iter().map(|text| vec![text.as_bytes().to_vec()]).collect())
}

/// A server with one name and an honest condition.
#[derive(Default)]
struct Server(Seen);

impl Server {
    fn take(&mut self, change: &Change) -> bool {
        if self.0.companion != change.expected {
            return false;
        }
        self.0 = Seen { companion: Companion::of(&change.stamp), records: change.records.clone() };
        true
    }

    fn epoch(&self) -> Epoch {
        self.0.companion.stamps().map(|stamp| stamp.epoch).max().unwrap_or_default()
    }
}

#[test]
fn a_stamp_is_read_as_it_was_written_and_nothing_else_is_one() {
    for text in [
        "pair=app epoch=7 holder=fsn",
        "pair=app epoch=7 holder=-",
        "pair=app epoch=7 holder=fsn sum=00ff",
    ] {
        assert_eq!(Stamp::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "v=spf1",
        "pair=app epoch=07 holder=fsn",
        "pair=app epoch=7",
        "epoch=7 pair=app",
        "pair=app epoch=7 holder=fsn sum=a b",
        "pair=app epoch=-1 holder=fsn",
        "pair=app epoch=7 holder=fsn ",
        "pair=app epoch=7 holder=fsn sum=a sum=b",
    ] {
        assert_eq!(Stamp::parse(text), None, "{text:?}");
    }
}

#[test]
fn lines_are_read_back_as_they_were_written() {
    let addresses = ["10.1.0.11".parse().unwrap(), "2001:db8::11".parse().unwrap()].into();
    let mut records = Records::plain(5, addresses);
    records.lua.insert(r#"A "all({'10.1.0.11'})""#.into());
    assert_eq!(Records::read(5, &records.lines()), Some(records));
    assert_eq!(Records::read(0, &[]), Some(Records::default()));
    assert_eq!(Records::read(5, &["A nowhere".into()]), None);
    let alias = Records::alias(5, "A.example");
    assert_eq!(alias.lines(), ["CNAME a.example."]);
    assert_eq!(Records::read(5, &alias.lines()), Some(alias));
    let two = ["CNAME a.example.", "CNAME b.example."].map(str::to_owned);
    assert_eq!(Records::read(5, &two), None);
    assert_eq!(Records::read(5, &["SRV 0 1 5432".into()]), None);
    assert_eq!(Records::read(5, &["A 10.1.0.11 id=a best".into()]), None);
}

#[test]
fn what_is_done_follows_from_what_stands() {
    let mine = wanted(7, "fsn", 1);
    let writes = |seen: &Seen| match plan(seen, &mine) {
        Plan::Change { change, foreign } => {
            assert_eq!(change.expected, seen.companion);
            assert_eq!((&change.stamp, &change.records), (&mine.stamp(), &mine.records));
            foreign
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(writes(&Seen::default()), None);
    assert_eq!(writes(&left_by(&wanted(6, "hel", 2))), None);
    assert_eq!(plan(&left_by(&mine), &mine), Plan::Nothing);
    // The configuration has changed under the same epoch: nobody else wrote.
    assert_eq!(writes(&left_by(&wanted(7, "fsn", 9))), None);

    let mut edited = left_by(&mine);
    edited.records.addresses = [IpAddr::V4(Ipv4Addr::new(6, 6, 6, 6))].into();
    let found = ForeignWrite::Records { stamp: mine.stamp(), found: edited.records.clone() };
    assert_eq!(writes(&edited), Some(found));
    let mut longer = left_by(&mine);
    longer.records.ttl = 3600;
    assert!(matches!(writes(&longer), Some(ForeignWrite::Records { .. })));
    let older = Seen { records: Records::plain(60, edited.records.addresses), ..Seen::default() };
    assert_eq!(writes(&older), Some(ForeignWrite::Unstamped(older.records.clone())));
    let odd = Seen { companion: texts(&["v=spf1"]), ..Seen::default() };
    assert_eq!(writes(&odd), Some(ForeignWrite::Companion(odd.companion.clone())));
}

#[test]
fn what_stands_higher_is_left_alone() {
    let mine = wanted(7, "fsn", 1);
    let newer = left_by(&wanted(9, "hel", 2));
    assert_eq!(plan(&newer, &mine), Plan::Refused { newest: Epoch(9) });
    let mut beside = newer;
    beside.companion.0.extend(texts(&["v=spf1", "pair=app epoch=1 holder=fsn"]).0);
    assert_eq!(plan(&beside, &mine), Plan::Refused { newest: Epoch(9) });
    let rival = left_by(&wanted(7, "hel", 2));
    assert_eq!(plan(&rival, &mine), Plan::Contradicted { holder: Some(region("hel")) });
    let other = Seen { companion: texts(&["pair=other epoch=1 holder=fsn"]), ..Seen::default() };
    assert_eq!(plan(&other, &mine), Plan::OfAnother { pair: pair("other") });
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    // Only one region holds an epoch.
    (0u64..6, 0u8..3)
        .prop_map(|(epoch, last)| wanted(epoch, if epoch % 2 == 0 { "fsn" } else { "hel" }, last))
}

#[derive(Clone, Debug)]
enum Act {
    Read(usize, Wanted),
    Write(usize),
    Edit(u8),
    EditCompanion(Vec<String>),
}

fn act() -> impl Strategy<Value = Act> {
    let text = prop_oneof![
        Just("v=spf1".to_owned()),
        (0u64..6).prop_map(|epoch| format!("pair=app epoch={epoch} holder=fsn")),
    ];
    prop_oneof![
        4 => (0usize..3, any_wanted()).prop_map(|(writer, wanted)| Act::Read(writer, wanted)),
        4 => (0usize..3).prop_map(Act::Write),
        1 => any::<u8>().prop_map(Act::Edit),
        1 => prop::collection::vec(text, 1..3).prop_map(Act::EditCompanion),
    ]
}

proptest! {
    /// Three writers, each of which may be as late as it likes between reading and writing, and
    /// hands that edit: no writer ever replaces a higher epoch, and whoever holds the newest one
    /// and repeats itself gets its records, and then finds nothing to do.
    #[test]
    fn the_epoch_never_goes_back_by_a_writer(acts in prop::collection::vec(act(), 0..60)) {
        let mut server = Server::default();
        let mut plans: [Option<Change>; 3] = [const { None }; 3];
        for act in acts {
            match act {
                Act::Read(writer, wanted) => {
                    plans[writer] = match plan(&server.0, &wanted) {
                        Plan::Change { change, .. } => Some(*change),
                        _ => None,
                    };
                }
                Act::Write(writer) => {
                    if let Some(change) = plans[writer].take() {
                        let before = server.epoch();
                        let taken = server.take(&change);
                        prop_assert!(!taken || change.stamp.epoch >= before, "{before}: {change:?}");
                    }
                }
                Act::Edit(last) => {
                    server.0.records.addresses = [IpAddr::V4(Ipv4Addr::new(6, 6, 6, last))].into();
                }
                Act::EditCompanion(texts) => {
                    server.0.companion =
                        Companion(texts.into_iter().map(|text| vec![text.into_bytes()]).collect());
                }
            }
        }
        let holder = wanted(10, "fsn", 1);
        let due = matches!(plan(&server.0, &holder), Plan::Change { .. });
        prop_assert!(due, "the holder is kept out: {:?}", server.0);
        if let Plan::Change { change, .. } = plan(&server.0, &holder) {
            prop_assert!(server.take(&change));
            prop_assert!(!server.take(&change), "the same change twice");
        }
        prop_assert_eq!(plan(&server.0, &holder), Plan::Nothing);
        prop_assert_eq!(foreign(&server.0), None);
    }
}
