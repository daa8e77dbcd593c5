//! Which lanes a fault strikes, and the few words it has there.

use std::time::Duration;

use super::recorded::Strike;
use crate::plan::{DiskFault, Fault, MemberFault, Plan, USERS};

/// A fault in one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Struck {
    /// Whose lane.
    pub lane: String,
    /// What is written there.
    pub label: String,
}

/// The lanes that `strike` hits.
pub(super) fn struck(strike: &Strike, plan: &Plan) -> Vec<Struck> {
    let one = |lane: &str, label: String| vec![Struck { lane: lane.to_owned(), label }];
    let agent = |host: &str| if is_region(plan, host) { "agent " } else { "" };
    match &strike.fault {
        Fault::Cut { a, b, both: true, .. } => sides(plan, a, b, "cut from", "cut from"),
        Fault::Cut { a, b, both: false, .. } => {
            sides(plan, a, b, "does not reach", "hears nothing from")
        }
        Fault::Flap { a, b, .. } => sides(plan, a, b, "link flaps to", "link flaps to"),
        Fault::Hold { a, b, .. } => sides(plan, a, b, "messages held to", "messages held to"),
        Fault::Slow { a, b, most, .. } => {
            let words = format!("up to {most} ms to");
            sides(plan, a, b, &words, &words)
        }
        Fault::Late { host, calls, half, .. } => {
            one(host, format!("{calls:?}: {half:?} late").to_lowercase())
        }
        Fault::Kill { host, .. } => one(host, format!("{}killed", agent(host))),
        Fault::Upgrade { host, .. } => one(host, format!("{}upgraded", agent(host))),
        Fault::PowerOff { host, .. } => one(host, "power off".into()),
        Fault::DiskLost { host, .. } => one(host, "disk lost".into()),
        Fault::Freeze { host, .. } => one(host, format!("{}stopped (SIGSTOP)", agent(host))),
        Fault::FreezeHost { host, .. } => one(host, "host frozen".into()),
        Fault::Disk { host, how, .. } => one(host, disk(*how).into()),
        Fault::WallStep { host, by_ms } => one(host, wall_clock(*by_ms)),
        Fault::Member { region, what, .. } => one(region, member(*what).into()),
        Fault::Resolver { index, how, .. } => {
            one(USERS, format!("resolver {index} {how:?}").to_lowercase())
        }
        Fault::Fence { region, .. } => one(region, "fenced by hand".into()),
        Fault::Switchover { to, .. } => one(USERS, format!("switchover to {to}")),
        Fault::Failover { to, allow_data_loss } => {
            let loss = if *allow_data_loss { ", loss allowed" } else { "" };
            one(USERS, format!("failover to {to}{loss}"))
        }
        Fault::Rejoin { region, method } => one(USERS, format!("rejoin of {region}: {method:?}")),
        Fault::PauseAutomation { .. } => one(USERS, "automation paused".into()),
        Fault::SetMode { mode } => one(USERS, format!("mode {mode:?}")),
        Fault::ReplaceAcceptor { name } => one(name, "taken in again".into()),
        Fault::PausePair { .. } => one(USERS, "pair paused".into()),
        Fault::StopPair { .. } => one(USERS, "pair stopped".into()),
        Fault::Assertion { region } => one(region, "assertion fails".into()),
        Fault::CancelOperation => one(USERS, "cancel".into()),
        Fault::ApproveOperation => one(USERS, "approve".into()),
        Fault::SetDurability { durability } => one(USERS, format!("durability {durability:?}")),
    }
}

/// How long it lasted, as it is written behind the label.
pub(super) fn lasted(strike: &Strike, end: Duration) -> String {
    if strike.is_instant() {
        return String::new();
    }
    let until = strike.ended.unwrap_or(end);
    let span = until.saturating_sub(strike.began);
    let open = if strike.ended.is_none() { "+" } else { "" };
    match span.as_millis() {
        short @ ..1_000 => format!(" {short}{open} ms"),
        _ => format!(" {:.1}{open} s", span.as_secs_f64()),
    }
}

fn is_region(plan: &Plan, host: &str) -> bool {
    plan.region_names().iter().any(|name| name == host)
}

/// A link has two sides and both are struck; a side that is nearly everybody says nothing about
/// whom it hit, and is left out.
fn sides(plan: &Plan, a: &[String], b: &[String], there: &str, back: &str) -> Vec<Struck> {
    let mut all = side(plan, a, b, there);
    all.extend(side(plan, b, a, back));
    all
}

fn side(plan: &Plan, hit: &[String], lost: &[String], words: &str) -> Vec<Struck> {
    if hit.len() > plan.nodes {
        return Vec::new();
    }
    let label = format!("{words} {}", together(plan, lost));
    hit.iter().map(|lane| Struck { lane: lane.clone(), label: label.clone() }).collect()
}

fn together(plan: &Plan, hosts: &[String]) -> String {
    if hosts.len() + 1 >= plan.hosts().len() {
        "everybody".into()
    } else if hosts == plan.core() {
        "all control nodes".into()
    } else {
        hosts.join("+")
    }
}

fn wall_clock(by_ms: i64) -> String {
    const HOUR: i64 = 3_600_000;
    match by_ms {
        hours if hours % HOUR == 0 => format!("wall clock {:+} h", hours / HOUR),
        seconds if seconds % 1_000 == 0 => format!("wall clock {:+} s", seconds / 1_000),
        _ => format!("wall clock {by_ms:+} ms"),
    }
}

fn disk(how: DiskFault) -> &'static str {
    match how {
        DiskFault::Fails => "disk fails",
        DiskFault::Full => "disk full",
        DiskFault::Slow => "disk slow",
    }
}

fn member(what: MemberFault) -> &'static str {
    match what {
        MemberFault::PostgresCrash => "PostgreSQL crashes",
        MemberFault::GuardCrash => "guard crashes",
        MemberFault::SlowCheckpointer => "checkpointer slow",
        MemberFault::ReplayStall => "replay stalls",
        MemberFault::StartFails => "PostgreSQL does not start",
        MemberFault::SlowCommands => "commands slow",
        MemberFault::ReceiverStuck => "WAL receiver stuck",
        MemberFault::SyncHangs => "fsync hangs",
        MemberFault::DiskFull => "PostgreSQL disk full",
        MemberFault::BackendCrash => "a backend crashes",
        MemberFault::Wiped => "data directory gone",
        MemberFault::WaitCancelled => "waiting commit cancelled",
        MemberFault::CommitLowered => "commits wait for nobody",
    }
}

#[cfg(test)]
mod tests {
    use continuum_domain::spec::Durability;

    use super::*;

    fn labels(fault: Fault) -> Vec<(String, String)> {
        let plan = Plan::quiet(1, 2, Durability::Available);
        let strike = Strike { fault, began: Duration::ZERO, ended: None };
        struck(&strike, &plan).into_iter().map(|one| (one.lane, one.label)).collect()
    }

    fn pair(lane: &str, label: &str) -> (String, String) {
        (lane.into(), label.into())
    }

    #[test]
    fn a_cut_strikes_both_sides_in_their_own_words() {
        let (a, b) = (vec!["w1".to_owned()], vec!["fsn".to_owned()]);
        assert_eq!(
            labels(Fault::Cut { a, b, both: false, span: 9 }),
            [pair("w1", "does not reach fsn"), pair("fsn", "hears nothing from w1")]
        );
    }

    #[test]
    fn who_is_cut_from_everybody_is_struck_alone() {
        let mut b = Plan::quiet(1, 2, Durability::Available).hosts();
        b.retain(|host| host != "fsn");
        let cut = Fault::Cut { a: vec!["fsn".into()], b, both: true, span: 9 };
        assert_eq!(labels(cut), [pair("fsn", "cut from everybody")]);
    }

    #[test]
    fn a_regions_process_is_its_agent() {
        let kill = |host: &str| labels(Fault::Kill { host: host.into(), down: 9 });
        assert_eq!(kill("fsn"), [pair("fsn", "agent killed")]);
        assert_eq!(kill("c1"), [pair("c1", "killed")]);
    }

    #[test]
    fn what_goes_on_at_the_end_says_so() {
        let fault = Fault::Freeze { host: "fsn".into(), span: 9_000 };
        let began = Duration::from_secs(2);
        let mut strike = Strike { fault, began, ended: None };
        assert_eq!(lasted(&strike, Duration::from_secs(7)), " 5.0+ s");
        strike.ended = Some(Duration::from_millis(3_500));
        assert_eq!(lasted(&strike, Duration::from_secs(7)), " 1.5 s");
    }
}
