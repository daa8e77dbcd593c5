use super::*;

const AFTER: Duration = Duration::from_millis(600);
const RENEW: Duration = Duration::from_millis(120);

fn at(ms: u64) -> Tick {
    Tick(ms * 1_000_000)
}

fn fsn() -> RegionId {
    RegionId::new("fsn").expect("name")
}

struct Watch {
    suspicion: Suspicion,
    beat: u64,
}

impl Watch {
    fn new() -> Self {
        Self { suspicion: Suspicion::default(), beat: 0 }
    }

    /// Lets `from..to` pass in steps of 20 ms. The agent answers every `answers` ms and the session
    /// beats every `beats` ms, where they do at all.
    fn pass(
        &mut self,
        from: u64,
        to: u64,
        answers: Option<u64>,
        beats: Option<u64>,
    ) -> Option<u64> {
        for now in (from..to).step_by(20) {
            self.suspicion.step(at(now), AFTER);
            if answers.is_some_and(|every| now % every == 0) {
                self.suspicion.heard(at(now), &fsn(), AFTER);
            }
            if beats.is_some_and(|every| now % every == 0) {
                self.beat += 1;
            }
            let record =
                SessionRecord { incarnation: 1, beat: self.beat, ttl_ms: 10_000, renew_ms: 120 };
            self.suspicion.session_read(at(now), at(now - 5), &fsn(), Some(record), AFTER);
            if self.suspicion.of(at(now), &fsn(), AFTER, RENEW).is_some() {
                return Some(now);
            }
        }
        None
    }
}

#[test]
fn both_silent_are_suspect_after_the_time() {
    let mut watch = Watch::new();
    assert_eq!(watch.pass(1_000, 10_000, Some(120), Some(120)), None);
    let suspected = watch.pass(10_000, 20_000, None, None).expect("suspected");
    assert!((10_500..=10_720).contains(&suspected), "{suspected}");
}

#[test]
fn one_signal_is_not_enough() {
    let mut cut_link = Watch::new();
    assert_eq!(cut_link.pass(1_000, 10_000, Some(120), Some(120)), None);
    assert_eq!(cut_link.pass(10_000, 60_000, None, Some(120)), None, "its session beats");
    let mut no_witness = Watch::new();
    assert_eq!(no_witness.pass(1_000, 10_000, Some(120), Some(120)), None);
    assert_eq!(no_witness.pass(10_000, 60_000, Some(120), None), None, "its agent answers");
}

#[test]
fn who_was_never_heard_is_unknown() {
    let mut watch = Watch::new();
    assert_eq!(watch.pass(1_000, 60_000, None, None), None);
}

#[test]
fn an_own_pause_counts_against_nobody() {
    let mut watch = Watch::new();
    assert_eq!(watch.pass(1_000, 10_000, Some(120), Some(120)), None);
    // This member did not run for two seconds; what it did not hear meanwhile says nothing.
    let suspected = watch.pass(12_000, 20_000, None, None).expect("suspected in the end");
    assert!(suspected >= 12_580, "{suspected}");
}

#[test]
fn a_slower_link_gets_more_patience_and_loses_it_again() {
    let mut watch = Watch::new();
    assert_eq!(watch.pass(1_000, 10_000, Some(580), Some(120)), None);
    let suspected = watch.pass(10_000, 20_000, None, None).expect("suspected");
    assert!(suspected >= 10_900, "twice the usual pause: {suspected}");
    let mut calm = Watch::new();
    assert_eq!(calm.pass(1_000, 10_000, Some(580), Some(120)), None);
    assert_eq!(calm.pass(10_000, 50_000, Some(120), Some(120)), None);
    let suspected = calm.pass(50_000, 60_000, None, None).expect("suspected");
    assert!(suspected <= 50_720, "forgotten: {suspected}");
}

#[test]
fn patience_has_an_end() {
    let mut watch = Watch::new();
    assert_eq!(watch.pass(1_000, 2_000, Some(120), Some(120)), None);
    // A long outage does not make the next one invisible.
    watch.pass(2_000, 60_000, None, None);
    watch.pass(60_000, 61_000, Some(120), Some(120));
    let suspected = watch.pass(61_000, 90_000, None, None).expect("suspected");
    assert!(suspected <= 61_000 + 4 * 600 + 40, "{suspected}");
}

#[test]
fn refused_connections_halve_the_time() {
    let mut watch = Watch::new();
    assert_eq!(watch.pass(1_000, 10_000, Some(120), Some(120)), None);
    watch.suspicion.refused(at(10_010), &fsn());
    let suspected = watch.pass(10_020, 20_000, None, None).expect("suspected");
    assert!(suspected <= 10_420, "{suspected}");
}

#[test]
fn a_witness_that_does_not_answer_says_nothing() {
    let mut watch = Watch::new();
    assert_eq!(watch.pass(1_000, 10_000, Some(120), Some(120)), None);
    for now in (10_000..20_000).step_by(20) {
        watch.suspicion.step(at(now), AFTER);
        assert_eq!(watch.suspicion.of(at(now), &fsn(), AFTER, RENEW), None);
    }
}
