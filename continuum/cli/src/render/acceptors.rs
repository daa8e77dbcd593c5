//! The acceptors of the witness's quorum: by a look of one's own, and as the agents see them.

use std::collections::BTreeMap;

use continuum_control_api::link::{AcceptorReport, AcceptorStanding};
use continuum_control_api::rest::{AgedAcceptors, PairView};
use continuum_domain::RegionId;
use serde::Serialize;

use super::text::*;

/// One acceptor by a look of one's own.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub acceptor: String,
    /// Whether it is one of the acceptors; it may be on standby, or replaced.
    pub member: bool,
    /// Why it does not count now; absent when it does.
    pub problem: Option<String>,
    /// Generation of its mark.
    pub generation: Option<u64>,
    /// Its incarnation.
    pub incarnation: Option<String>,
    /// Registers it has a part of.
    pub registers: Option<usize>,
    /// Newest ballot over all registers.
    pub ballot: Option<u64>,
    /// Latency of reads.
    pub p50_us: Option<u64>,
    /// The same, of the slowest hundredth.
    pub p99_us: Option<u64>,
    /// How the agents see it, by region; absent when the core did not say.
    pub seen_by: Option<BTreeMap<RegionId, Option<Seen>>>,
}

/// An acceptor as one agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Milliseconds since the core received this.
    pub age_ms: u64,
    /// What the agent says.
    pub report: AcceptorReport,
}

/// What the agents say, by region; `None` for an agent that does not say.
pub type Told = BTreeMap<RegionId, Option<AgedAcceptors>>;

/// What the agents of all pairs say; each agent is a member of several perhaps.
pub fn told(pairs: &[PairView]) -> Told {
    let mut told = Told::new();
    for pair in pairs {
        for region in pair.spec.members.keys() {
            let entry = told.entry(region.clone()).or_default();
            *entry = entry.take().or_else(|| pair.acceptors.get(region).cloned());
        }
    }
    told
}

/// How each agent sees one acceptor.
pub fn seen_by(told: &Told, acceptor: &str) -> BTreeMap<RegionId, Option<Seen>> {
    let seen = |aged: &AgedAcceptors| {
        let report = aged.acceptors.get(acceptor)?.clone();
        Some(Seen { age_ms: aged.age_ms, report })
    };
    told.iter().map(|(region, aged)| (region.clone(), aged.as_ref().and_then(seen))).collect()
}

/// `witness status` of so many acceptors. `unheard` says why the agents' view is not there.
pub fn page(rows: &[Row], members: usize, unheard: Option<&str>) -> String {
    let mut out = String::new();
    for row in rows {
        out.push_str(&format!("{}  {}\n", row.acceptor, own_look(row)));
        for (region, seen) in row.seen_by.iter().flatten() {
            let seen = seen.as_ref().map_or_else(
                || format!("{UNKNOWN}: its agent does not say"),
                |seen| seen_line(&seen.report, seen.age_ms),
            );
            out.push_str(&format!("    {region}: {seen}\n"));
        }
    }
    match unheard {
        Some(why) => {
            out.push_str(&format!("how the agents see them is {UNKNOWN}: {}\n", one_line(why)));
        }
        None if rows.iter().all(|row| row.seen_by.as_ref().is_none_or(BTreeMap::is_empty)) => {
            out.push_str(&format!("how the agents see them is {UNKNOWN}: there is no pair\n"));
        }
        None => {}
    }
    let up = rows.iter().filter(|row| row.problem.is_none()).count();
    let verdict = if up > members / 2 { "a majority" } else { "NO MAJORITY" };
    out.push_str(&format!("{up} of {} acceptors count: {verdict}", members));
    out
}

fn own_look(row: &Row) -> String {
    match &row.problem {
        Some(problem) => format!("does not count: {}", one_line(problem)),
        None => format!(
            "counts; generation {}, incarnation {}, {} registers, newest ballot {}, read p50 {} p99 {}",
            or_unknown(row.generation),
            or_unknown(row.incarnation.as_deref()),
            or_unknown(row.registers),
            or_unknown(row.ballot),
            or_unknown(row.p50_us.map(took)),
            or_unknown(row.p99_us.map(took)),
        ),
    }
}

/// How an agent sees an acceptor, by a report of this age.
fn seen_line(report: &AcceptorReport, age_ms: u64) -> String {
    let word = match report.standing(age_ms) {
        _ if age_ms > STALE_MS => format!("reported {}", ago(age_ms)),
        AcceptorStanding::Answers => "answers".to_owned(),
        AcceptorStanding::Silent => "DOES NOT ANSWER".to_owned(),
        AcceptorStanding::Unknown => format!("{UNKNOWN}, not asked lately"),
    };
    let mut line = format!("{word}: {}", last_answer(report, age_ms));
    if report.failures > 0 {
        let error = report.last_error.as_ref().map(|(_, code)| one_line(code));
        line.push_str(&format!(", {} failures since ({})", report.failures, or_unknown(error)));
    }
    let latency = |us: Option<u64>| or_unknown(us.map(took));
    line.push_str(&format!(", p50 {} p99 {}", latency(report.p50_us), latency(report.p99_us)));
    line
}

fn last_answer(report: &AcceptorReport, age_ms: u64) -> String {
    match report.answered_age_ms.map(|age| age.saturating_add(age_ms)) {
        Some(age) => format!("last success {} ago", short(age)),
        None => "never answered".into(),
    }
}

/// Agents that have lost acceptors, each with what to do below it. What an agent did not say lately
/// is told of elsewhere.
pub fn remarks(pair: &PairView) -> Vec<String> {
    let mut lines = Vec::new();
    for (region, aged) in pair.acceptors.iter().filter(|(_, aged)| aged.age_ms <= STALE_MS) {
        let standing = |wanted: AcceptorStanding| {
            let stands = move |(_, report): &(&String, &AcceptorReport)| {
                report.standing(aged.age_ms) == wanted
            };
            aged.acceptors.iter().filter(stands)
        };
        let silent: Vec<String> = standing(AcceptorStanding::Silent)
            .map(|(name, report)| {
                let error = report.last_error.as_ref().map(|(_, code)| one_line(code));
                let (last, error) = (last_answer(report, aged.age_ms), or_unknown(error));
                format!("{}: {last} ({error})", one_line(name))
            })
            .collect();
        if silent.is_empty() {
            continue;
        }
        let (all, up) = (aged.acceptors.len(), standing(AcceptorStanding::Answers).count());
        let meaning = match up > all / 2 {
            true => "the lease bears fewer losses",
            false => "NO MAJORITY: it can neither keep nor take the lease",
        };
        lines.push(format!("! {region}: {up} of {all} acceptors answer {region}; {meaning}"));
        lines.extend(silent.into_iter().map(|line| format!("    not {line}")));
        lines.push(
            "    do: bring them back, or the way to them; see continuum witness status".into(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, region};
    use super::super::status;
    use super::super::style::Style;
    use super::*;

    fn answering() -> AcceptorReport {
        AcceptorReport {
            answered_age_ms: Some(180),
            failures: 0,
            last_error: None,
            p50_us: Some(1_900),
            p99_us: Some(12_000),
        }
    }

    fn silent() -> AcceptorReport {
        AcceptorReport {
            answered_age_ms: Some(11_500),
            failures: 6,
            last_error: Some((300, "not-sent".into())),
            ..answering()
        }
    }

    fn aged(age_ms: u64, third: AcceptorReport) -> AgedAcceptors {
        let acceptors = [("core", answering()), ("w1", answering()), ("bucket", third)];
        let acceptors = acceptors.map(|(name, report)| (name.to_owned(), report)).into();
        AgedAcceptors { age_ms, acceptors }
    }

    fn row(acceptor: &str, problem: Option<&str>, told: &Told) -> Row {
        let counts = problem.is_none();
        Row {
            acceptor: acceptor.into(),
            member: true,
            problem: problem.map(str::to_owned),
            generation: counts.then_some(1),
            incarnation: counts.then(|| "0a".into()),
            registers: counts.then_some(3),
            ballot: counts.then_some(41),
            p50_us: counts.then_some(900),
            p99_us: counts.then_some(2_500),
            seen_by: Some(seen_by(told, acceptor)),
        }
    }

    #[test]
    fn each_acceptor_shows_a_look_of_ones_own_and_how_every_agent_sees_it() {
        let mut pair = fixtures::pair();
        pair.acceptors.insert(region("fsn"), aged(120, silent()));
        let told = told(&[pair]);
        let rows = [row("core", None, &told), row("bucket", Some("no answer\nin time"), &told)];
        let expected = "\
core  counts; generation 1, incarnation 0a, 3 registers, newest ballot 41, read p50 0.90 ms p99 2.5 ms
    fsn: answers: last success 300 ms ago, p50 1.9 ms p99 12 ms
    hel: unknown: its agent does not say
bucket  does not count: no answer in time
    fsn: DOES NOT ANSWER: last success 11 s ago, 6 failures since (not-sent), p50 1.9 ms p99 12 ms
    hel: unknown: its agent does not say
1 of 2 acceptors count: NO MAJORITY";
        assert_eq!(page(&rows, 2, None), expected);
        let alone = [Row { seen_by: None, ..row("core", None, &told) }];
        let text = page(&alone, 1, Some("no control node answered"));
        assert!(text.contains("how the agents see them is unknown: no control node"), "{text}");
    }

    #[test]
    fn what_is_old_or_was_never_asked_is_never_shown_as_answering() {
        let never =
            AcceptorReport { answered_age_ms: None, p50_us: None, p99_us: None, ..answering() };
        let text = seen_line(&never, 0);
        assert_eq!(text, "unknown, not asked lately: never answered, p50 unknown p99 unknown");
        let old = seen_line(&answering(), 9_000);
        assert!(old.starts_with("reported 9.0 s ago: last success 9180 ms ago"), "{old}");
        let long_ago = AcceptorReport { answered_age_ms: Some(90_000), ..answering() };
        assert!(seen_line(&long_ago, 0).starts_with("unknown"), "nobody asked for long");
    }

    fn told_on_the_page(acceptors: Option<AgedAcceptors>) -> Vec<String> {
        let mut pair = fixtures::pair();
        pair.acceptors = acceptors.map(|aged| (region("fsn"), aged)).into_iter().collect();
        let text = status::pair_block(&pair, Style::PLAIN);
        text.lines().skip_while(|line| !line.contains("acceptors")).map(str::to_owned).collect()
    }

    #[test]
    fn an_agent_that_lost_an_acceptor_is_warned_of() {
        assert_eq!(
            told_on_the_page(Some(aged(120, silent()))),
            [
                "  ! fsn: 2 of 3 acceptors answer fsn; the lease bears fewer losses",
                "      not bucket: last success 11 s ago (not-sent)",
                "      do: bring them back, or the way to them; see continuum witness status",
            ]
        );
        let mut two = aged(120, silent());
        two.acceptors.insert("w1".into(), silent());
        let lines = told_on_the_page(Some(two));
        assert!(lines[0].contains("1 of 3 acceptors answer fsn; NO MAJORITY"), "{lines:?}");
    }

    #[test]
    fn nothing_is_said_where_all_answer_one_was_lost_on_the_way_or_nobody_says() {
        let once = AcceptorReport { failures: 1, ..silent() };
        for quiet in [None, Some(aged(120, answering())), Some(aged(120, once))] {
            assert_eq!(told_on_the_page(quiet), Vec::<String>::new());
        }
        let stale = aged(9_000, silent());
        assert_eq!(told_on_the_page(Some(stale)), Vec::<String>::new(), "told by its age");
    }
}
