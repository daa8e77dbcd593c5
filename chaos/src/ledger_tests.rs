use std::net::Ipv4Addr;

use super::*;

const FSN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const HEL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const SETTLE: Duration = Duration::from_millis(1_500);

fn at(ms: u64) -> Tick {
    Tick(ms * 1_000_000)
}

fn attempt(seq: u64, sent_ms: u64, address: IpAddr, outcome: Outcome) -> Attempt {
    Attempt {
        writer: 1,
        seq,
        pinned: false,
        sent: at(sent_ms),
        done: at(sent_ms + 5),
        address,
        outcome,
    }
}

fn acknowledged(seq: u64, sent_ms: u64, address: IpAddr) -> Attempt {
    attempt(seq, sent_ms, address, Outcome::Acknowledged)
}

fn unknown(seq: u64, sent_ms: u64, address: IpAddr) -> Attempt {
    attempt(seq, sent_ms, address, Outcome::Indeterminate { why: "connection lost".into() })
}

fn answer(ms: u64, addresses: &[IpAddr]) -> NameAnswer {
    NameAnswer { at: at(ms), seen: Seen::Addresses(addresses.to_vec()) }
}

/// fsn acknowledges 1 and 2, is killed at 1000 ms, hel acknowledges 4 and 5 from 1300 ms.
fn failover() -> (Vec<Attempt>, Survivors, Vec<Move>, Vec<NameAnswer>) {
    let attempts = vec![
        acknowledged(1, 900, FSN),
        acknowledged(2, 950, FSN),
        unknown(3, 998, FSN),
        attempt(4, 1_200, HEL, Outcome::Failed { sqlstate: "25006".into() }),
        acknowledged(5, 1_300, HEL),
        acknowledged(6, 1_400, HEL),
    ];
    let survivors = [1, 2, 3, 5, 6].map(|seq| ((1, seq), 1)).into();
    let moves = vec![Move { at: at(1_000), from: FSN, to: HEL }];
    let names = vec![answer(900, &[FSN]), answer(1_290, &[HEL]), answer(4_000, &[HEL])];
    (attempts, survivors, moves, names)
}

fn judge(run: &(Vec<Attempt>, Survivors, Vec<Move>, Vec<NameAnswer>)) -> Verdict {
    Verdict::of(&run.0, &run.1, &run.2, &run.3, SETTLE, 0)
}

#[test]
fn a_clean_failover_passes_and_is_counted() {
    let run = failover();
    let verdict = judge(&run);
    assert_eq!(verdict.violations(), Vec::<String>::new());
    assert_eq!(verdict.tally.acknowledged, 4);
    assert_eq!((verdict.tally.indeterminate, verdict.tally.indeterminate_present), (1, 1));
    assert_eq!((verdict.tally.failed, verdict.late.late), (1, 0));
    let gap = write_gap(&run.0, at(1_000), None).unwrap();
    assert_eq!(gap.length(), Duration::from_millis(350), "955 to 1305");
}

#[test]
fn planted_a_lost_acknowledgement_is_caught() {
    let mut run = failover();
    run.1.remove(&(1, 2));
    let verdict = judge(&run);
    assert_eq!(verdict.tally.lost, vec![(1, 2)]);
    assert!(verdict.violations()[0].starts_with("I2"), "{:?}", verdict.violations());
    let allowed = Verdict { loss_allowed: 1, ..verdict };
    assert_eq!(
        allowed.violations(),
        Vec::<String>::new(),
        "an approved loss is counted, not hidden"
    );
    assert_eq!(allowed.tally.lost.len(), 1);
}

#[test]
fn planted_a_duplicate_is_caught() {
    let mut run = failover();
    run.1.insert((1, 3), 2);
    assert_eq!(judge(&run).tally.duplicated, vec![(1, 3)]);
    assert_eq!(judge(&run).violations().len(), 1);
}

#[test]
fn planted_a_refused_write_that_happened_is_caught() {
    let mut run = failover();
    run.1.insert((1, 4), 1);
    assert_eq!(judge(&run).tally.failed_present, vec![(1, 4)]);
    assert_eq!(judge(&run).violations().len(), 1);
}

#[test]
fn planted_a_row_nobody_wrote_is_caught() {
    let mut run = failover();
    run.1.insert((9, 9), 1);
    assert_eq!(judge(&run).tally.invented, vec![(9, 9)]);
    assert_eq!(judge(&run).violations().len(), 1);
}

#[test]
fn planted_a_second_writer_is_caught_and_a_harmless_late_acknowledgement_is_only_counted() {
    let mut run = failover();
    run.0.push(acknowledged(7, 1_350, FSN));
    let split = judge(&run);
    assert_eq!(split.late.missing, vec![(1, 7)]);
    assert!(split.violations().iter().any(|text| text.starts_with("I1")));
    run.1.insert((1, 7), 1);
    let harmless = judge(&run);
    assert_eq!((harmless.late.late, harmless.late.missing.len()), (1, 0));
    assert_eq!(harmless.late.window, Duration::from_millis(50));
    assert_eq!(harmless.violations(), Vec::<String>::new());
}

#[test]
fn an_acknowledgement_of_a_statement_sent_before_the_move_is_not_late() {
    let mut run = failover();
    let mut slow = acknowledged(7, 999, FSN);
    slow.done = at(1_320);
    run.0.push(slow);
    run.1.insert((1, 7), 1);
    assert_eq!(judge(&run).late.late, 0);
}

#[test]
fn after_the_move_back_the_first_side_may_write_again() {
    let mut run = failover();
    run.2.push(Move { at: at(2_000), from: HEL, to: FSN });
    run.0.push(acknowledged(8, 2_400, FSN));
    run.1.insert((1, 8), 1);
    run.3.retain(|answer| answer.at < at(2_000));
    let verdict = judge(&run);
    assert_eq!(verdict.late.late, 0);
    assert_eq!(write_gap(&run.0, at(2_000), None).unwrap().length(), Duration::from_millis(1_000));
    assert_eq!(
        write_gap(&run.0, at(1_000), Some(at(2_000))).unwrap().length(),
        Duration::from_millis(350),
        "each event has its own gap"
    );
}

#[test]
fn planted_a_name_that_stays_behind_is_caught() {
    let mut run = failover();
    run.3.push(answer(5_000, &[FSN]));
    assert!(judge(&run).violations()[0].starts_with("I3"));
    let mut through = failover();
    through.3 = vec![answer(900, &[FSN]), answer(9_000, &[FSN])];
    let stale = judge(&through).stale_names;
    assert!(stale.iter().any(|stale| stale.answered == [FSN]), "seen before and after: {stale:?}");
    assert!(stale.iter().any(|stale| stale.answered.is_empty()), "never confirmed: {stale:?}");
    let mut both = failover();
    both.3.push(answer(5_000, &[HEL, FSN]));
    assert_eq!(judge(&both).stale_names.len(), 1);
    let mut never = failover();
    never.3.retain(|answer| answer.at < at(1_000));
    never.3.push(NameAnswer { at: at(4_000), seen: Seen::Nothing("timed out".into()) });
    assert_eq!(judge(&never).stale_names.len(), 1, "the name never came to the holder");
}

#[test]
fn a_stale_answer_within_ttl_and_probe_interval_is_allowed() {
    let mut run = failover();
    run.3.push(answer(1_305 + 1_400, &[FSN]));
    assert_eq!(judge(&run).violations(), Vec::<String>::new());
}

#[test]
fn a_gap_that_never_ended_is_not_reported_as_short() {
    let attempts = vec![acknowledged(1, 100, FSN), acknowledged(2, 200, FSN)];
    assert_eq!(write_gap(&attempts, at(1_000), None), None);
    let mut pinned = acknowledged(3, 1_100, FSN);
    pinned.pinned = true;
    let with_pinned = [attempts, vec![pinned]].concat();
    assert_eq!(write_gap(&with_pinned, at(1_000), None), None, "pinned writers do not end it");
}
