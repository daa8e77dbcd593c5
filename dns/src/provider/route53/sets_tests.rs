use continuum_domain::{Epoch, PairId, RegionId};
use proptest::prelude::*;

use super::*;
use crate::records::Wanted;
use crate::records::plan::{Plan, plan};
use crate::records::routed::Srv;

const NAME: &str = "app.db.example.";

fn wanted_by(epoch: u64, holder: &str, records: Records) -> Wanted {
    Wanted {
        name: NAME.into(),
        pair: PairId::new("app").unwrap(),
        epoch: Epoch(epoch),
        holder: RegionId::new(holder).unwrap(),
        records,
    }
}

fn change(seen: &Seen, wanted: &Wanted) -> Change {
    match plan(seen, wanted) {
        Plan::Change { change, .. } => *change,
        other => panic!("{other:?}"),
    }
}

fn lines(batch: &ChangeBatch) -> Vec<String> {
    let line = |change: &ApiChange| {
        let set = change.resource_record_set.as_ref().unwrap();
        let values: Vec<&str> = values(set).collect();
        format!("{} {} {} {}", change.action.as_str(), set.name, set.r#type, values.join(" "))
    };
    batch.changes.iter().map(line).collect()
}

/// What a server that takes the batch has afterwards; `None` when its condition does not hold.
fn applied(listed: &Listed, batch: &ChangeBatch) -> Option<Listed> {
    let mut sets: Vec<ResourceRecordSet> = listed.companion.clone();
    sets.extend(listed.own.clone());
    let key = |set: &ResourceRecordSet| {
        (set.name.clone(), set.r#type.as_str().to_owned(), set.set_identifier.clone())
    };
    for change in &batch.changes {
        let set = change.resource_record_set.as_ref().unwrap();
        let at = sets.iter().position(|stands| key(stands) == key(set));
        match (&change.action, at) {
            (ChangeAction::Delete, Some(at)) if sets[at] == *set => drop(sets.remove(at)),
            (ChangeAction::Create, None) | (ChangeAction::Upsert, None) => sets.push(set.clone()),
            (ChangeAction::Upsert, Some(at)) => sets[at] = set.clone(),
            _ => return None,
        }
    }
    let (own, companion) = sets.into_iter().partition(|set| set.name == NAME);
    Some(Listed::new(companion, own))
}

/// The shape of the fence, word by word.
#[test]
fn a_batch_deletes_what_was_read_and_creates_the_new_companion() {
    let first = wanted_by(7, "fsn", Records::plain(5, ["10.1.0.11".parse().unwrap()].into()));
    let empty = Listed::default();
    let made = batch(&empty, &change(&empty.seen(), &first)).unwrap();
    let sum = first.records.sum();
    let created =
        format!("CREATE _epoch.app.db.example. TXT \"pair=app epoch=7 holder=fsn sum={sum}\"");
    assert_eq!(lines(&made), [created, "UPSERT app.db.example. A 10.1.0.11".into()]);

    let stands = applied(&empty, &made).unwrap();
    let second = wanted_by(8, "hel", Records::alias(5, "pg.hel.example"));
    let made = batch(&stands, &change(&stands.seen(), &second)).unwrap();
    let lines = lines(&made);
    assert_eq!(
        lines[0],
        format!("DELETE _epoch.app.db.example. TXT \"pair=app epoch=7 holder=fsn sum={sum}\"")
    );
    assert_eq!(lines[1], "DELETE app.db.example. A 10.1.0.11");
    assert!(
        lines[2].starts_with("CREATE _epoch.app.db.example. TXT \"pair=app epoch=8"),
        "{lines:?}"
    );
    assert_eq!(lines[3..], ["UPSERT app.db.example. CNAME pg.hel.example."]);
    // The same batch again, and one of a writer that read before it: neither is taken.
    let after = applied(&stands, &made).unwrap();
    assert!(applied(&after, &made).is_none());
    let late = batch(&empty, &change(&empty.seen(), &first)).unwrap();
    assert!(applied(&after, &late).is_none());
}

fn any_records() -> impl Strategy<Value = Records> {
    let address = prop_oneof![
        any::<u8>().prop_map(|last| IpAddr::from([10, 0, 0, last])),
        any::<u16>().prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
    ];
    let addresses = prop::collection::btree_set(address, 1..4);
    let rule =
        prop_oneof![Just(Rule::Primary), Just(Rule::Secondary), (0u64..3).prop_map(Rule::Weight)];
    let routed = (0u8..3, rule, prop::option::of("[a-z]{3}"), addresses.clone()).prop_map(
        |(id, rule, health_check, addresses)| Routed {
            id: format!("r{id}"),
            rule,
            health_check,
            addresses,
        },
    );
    let routed = prop::collection::vec(routed, 1..4).prop_map(|all| {
        // One set of each id, as a provider has it.
        let by_id: BTreeMap<_, _> = all.into_iter().map(|one| (one.id.clone(), one)).collect();
        Records { ttl: 5, routed: by_id.into_values().collect(), ..Records::default() }
    });
    let service = (any::<u16>(), any::<u16>(), any::<u16>(), "[a-z]{1,5}").prop_map(
        |(priority, weight, port, host)| Srv {
            priority,
            weight,
            port,
            target: format!("{host}.example."),
        },
    );
    prop_oneof![
        Just(Records::default()),
        addresses.prop_map(|addresses| Records::plain(5, addresses)),
        "[a-z]{1,5}".prop_map(|host| Records::alias(5, &format!("{host}.example"))),
        prop::collection::btree_set(service, 1..3).prop_map(|all| Records::services(5, all)),
        routed,
    ]
}

proptest! {
    /// Whatever stood, what is wanted stands after one batch and is read back as it was wanted; and
    /// nobody who read before it can write any more.
    #[test]
    fn one_batch_leads_from_anything_to_what_is_wanted(
        all in prop::collection::vec(any_records(), 1..6),
    ) {
        let mut stands = Listed::default();
        let mut late: Vec<ChangeBatch> = Vec::new();
        for (epoch, records) in (1u64..).zip(all) {
            let rival = wanted_by(epoch, "hel", Records::plain(5, ["10.9.9.9".parse().unwrap()].into()));
            late.push(batch(&stands, &change(&stands.seen(), &rival)).unwrap());
            let wanted = wanted_by(epoch, "fsn", records);
            let made = batch(&stands, &change(&stands.seen(), &wanted)).unwrap();
            let after = applied(&stands, &made);
            prop_assert!(after.is_some(), "{:?}", lines(&made));
            stands = after.unwrap();
            let due = Seen {
                companion: Companion::of(&wanted.stamp()),
                records: wanted.records.clone(),
            };
            prop_assert_eq!(stands.seen(), due);
            prop_assert_eq!(plan(&stands.seen(), &wanted), Plan::Nothing);
            for made in &late {
                prop_assert!(applied(&stands, made).is_none(), "{:?}", lines(made));
            }
        }
    }
}
