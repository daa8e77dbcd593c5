//! Versions of the zone and the changes between them.

use std::collections::{BTreeSet, VecDeque};

use hickory_proto::rr::Record;

use super::older;

/// Changes that are kept for secondaries that are behind.
const STEPS_MAX: usize = 256;
/// Their records, all together.
const RECORDS_MAX: usize = 20_000;
/// An edition's share of the serial: as many changes of holders as fit before the next edition.
const EDITION_BITS: u32 = 20;

/// The serial of what stood when the epochs of all pairs had the sum `epochs`, under a configuration's
/// `edition`. The low 32 bits are all that fits (RFC 1982).
pub fn serial(edition: u32, epochs: u64) -> u32 {
    let low = u32::try_from(epochs & u64::from(u32::MAX)).unwrap_or_default();
    edition.wrapping_shl(EDITION_BITS).wrapping_add(1).wrapping_add(low)
}

/// The lowest edition whose serials are all newer than `than`.
pub fn edition_after(than: u32) -> u32 {
    (than >> EDITION_BITS).wrapping_add(1) & (u32::MAX >> EDITION_BITS)
}

/// One change: what went and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    from: u32,
    to: u32,
    gone: Vec<Record>,
    came: Vec<Record>,
}

/// What a secondary gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// It has the newest version, or one that is newer than ours.
    Nothing,
    /// The records of the newest version, without the SOA.
    Whole(Vec<Record>),
    /// Change after change: serial before, what goes, serial after, what comes.
    Changes(Vec<(u32, Vec<Record>, u32, Vec<Record>)>),
}

/// The newest version and how it came to be, as far as this server has seen it.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    newest: Option<(u32, BTreeSet<Record>)>,
    steps: VecDeque<Step>,
}

impl Versions {
    /// The newest serial; `None` while nothing is known.
    pub fn serial(&self) -> Option<u32> {
        self.newest.as_ref().map(|(serial, _)| *serial)
    }

    /// Takes a version without its SOA; true when it is newer than what was known.
    pub fn take(&mut self, serial: u32, records: BTreeSet<Record>) -> bool {
        if let Some((known, before)) = &self.newest {
            if !older(*known, serial) {
                return false;
            }
            let gone = before.difference(&records).cloned().collect();
            let came = records.difference(before).cloned().collect();
            self.steps.push_back(Step { from: *known, to: serial, gone, came });
            self.forget();
        }
        self.newest = Some((serial, records));
        true
    }

    fn forget(&mut self) {
        let size = |step: &Step| step.gone.len() + step.came.len();
        let mut records: usize = self.steps.iter().map(size).sum();
        while self.steps.len() > STEPS_MAX || records > RECORDS_MAX {
            let Some(oldest) = self.steps.pop_front() else { break };
            records -= size(&oldest);
        }
    }

    /// What a secondary gets that has the version `have`, or asks for all of it; `None` while nothing
    /// is known.
    pub fn since(&self, have: Option<u32>) -> Option<Transfer> {
        let (serial, records) = self.newest.as_ref()?;
        let whole = || Transfer::Whole(records.iter().cloned().collect());
        let Some(have) = have else { return Some(whole()) };
        if !older(have, *serial) {
            return Some(Transfer::Nothing);
        }
        let Some(first) = self.steps.iter().position(|step| step.from == have) else {
            return Some(whole());
        };
        let steps = self.steps.iter().skip(first).cloned();
        let changes: Vec<_> =
            steps.map(|step| (step.from, step.gone, step.to, step.came)).collect();
        let size: usize =
            changes.iter().map(|(_, gone, _, came)| gone.len() + came.len() + 2).sum();
        Some(if size <= records.len() + 2 { Transfer::Changes(changes) } else { whole() })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::str::FromStr;

    use hickory_proto::rr::{Name, RData};
    use proptest::prelude::*;

    use super::*;

    fn record(number: u8) -> Record {
        let name = Name::from_str("a.db.example.").unwrap();
        Record::from_rdata(name, 5, RData::A(Ipv4Addr::new(192, 0, 2, number).into()))
    }

    fn records(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<Record> {
        numbers.into_iter().map(record).collect()
    }

    #[test]
    fn editions_stand_above_epochs_and_go_round() {
        assert_eq!(serial(0, 0), 1);
        assert_eq!(serial(0, 41), 42);
        for (before, after) in [((0, 900_000), (1, 3)), ((4095, 7), (4096, 7)), ((7, 9), (8, 0))] {
            let (before, after) = (serial(before.0, before.1), serial(after.0, after.1));
            assert!(older(before, after), "{before} {after}");
        }
        for than in [0, 41, 2_026_112_700, u32::MAX - 5] {
            assert!(older(than, serial(edition_after(than), 0)), "{than}");
        }
    }

    #[test]
    fn who_is_far_behind_or_knows_another_line_gets_the_whole() {
        let mut versions = Versions::default();
        assert_eq!(versions.since(None), None);
        assert!(versions.take(3, records(0..40)));
        assert!(!versions.take(3, records([9])), "the same serial again");
        assert!(!versions.take(2, records([9])), "an older one");
        assert_eq!(
            versions.since(Some(2)),
            Some(Transfer::Whole(records(0..40).into_iter().collect()))
        );
        assert!(versions.take(5, records(1..41)));
        let step = (3, vec![record(0)], 5, vec![record(40)]);
        assert_eq!(versions.since(Some(3)), Some(Transfer::Changes(vec![step])));
        assert!(
            matches!(versions.since(Some(4)), Some(Transfer::Whole(_))),
            "a version never seen"
        );
        for have in [5, 6] {
            assert_eq!(versions.since(Some(have)), Some(Transfer::Nothing));
        }
        assert!(versions.take(6, records(50..90)));
        assert!(
            matches!(versions.since(Some(3)), Some(Transfer::Whole(_))),
            "cheaper than changes"
        );
        for serial in 7..7 + 2 * STEPS_MAX as u32 {
            versions.take(serial, records([(serial % 7) as u8]));
        }
        assert_eq!(versions.steps.len(), STEPS_MAX);
    }

    proptest! {
        /// Whoever applies the changes from any version that is still known has the newest one.
        #[test]
        fn changes_lead_to_the_newest_version(
            line in prop::collection::vec(prop::collection::btree_set(0..250u8, 0..120), 1..8),
        ) {
            let mut versions = Versions::default();
            for (serial, numbers) in (1..).zip(&line) {
                versions.take(serial, records(numbers.iter().copied()));
            }
            let newest = records(line[line.len() - 1].iter().copied());
            for (serial, numbers) in (1..).zip(&line) {
                let mut has = records(numbers.iter().copied());
                match versions.since(Some(serial)).unwrap() {
                    Transfer::Nothing => {}
                    Transfer::Whole(whole) => has = whole.into_iter().collect(),
                    Transfer::Changes(changes) => {
                        let mut at = serial;
                        for (from, gone, to, came) in changes {
                            prop_assert_eq!(from, at);
                            prop_assert!(gone.iter().all(|record| has.remove(record)));
                            prop_assert!(came.into_iter().all(|record| has.insert(record)));
                            at = to;
                        }
                        prop_assert_eq!(Some(at), versions.serial());
                    }
                }
                prop_assert_eq!(&has, &newest);
            }
        }
    }
}
