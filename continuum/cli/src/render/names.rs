//! The names that follow a pair's lease, as the agents see them.

use continuum_control_api::link::{NameReport, NameStanding, PlaceReport};
use continuum_control_api::rest::PairView;
use continuum_domain::RegionId;
use continuum_domain::spec::{NameKind, NamePolicy, NameRole, NameSpec, Routing};

use super::status;
use super::style::Style;
use super::text::*;

/// A write of others is warned of for so long.
const FOREIGN_TOLD_MS: u64 = 3_600_000;

/// What a member's agent says of a name, and how old that is.
pub fn told<'a>(
    pair: &'a PairView,
    region: &RegionId,
    name: &NameSpec,
) -> Option<(&'a NameReport, u64)> {
    let aged = status::report(pair, region)?;
    Some((aged.report.names.as_ref()?.get(&name.name)?, aged.age_ms))
}

/// What the holder's agent says of it.
pub fn by_holder<'a>(pair: &'a PairView, name: &NameSpec) -> Option<(&'a NameReport, u64)> {
    told(pair, pair.holder.as_ref()?, name)
}

/// How a name stands by the holder's report. Nobody's word is unknown, and so is a report that is
/// old or of an epoch that is not the pair's.
pub fn standing(pair: &PairView, name: &NameSpec) -> NameStanding {
    let Some((report, age_ms)) = by_holder(pair, name) else { return NameStanding::Unknown };
    match name.provider {
        Some(_) => report.standing(pair.epoch, age_ms),
        None => report.standing_as_served(pair.epoch, age_ms),
    }
}

/// What a name is, in a few words.
pub fn kind(name: &NameSpec) -> String {
    let Some(provider) = &name.provider else {
        return "answered from the lease itself".into();
    };
    let policy = match (name.kind, name.policy, name.routing) {
        (NameKind::Cname, ..) => "by CNAME",
        (NameKind::Srv, ..) => "by SRV",
        (NameKind::Address, NamePolicy::Follow, _) => "follow",
        (NameKind::Address, NamePolicy::Flip, Routing::Simple) => "flip",
        (NameKind::Address, NamePolicy::Flip, Routing::Failover) => "failover",
        (NameKind::Address, NamePolicy::Flip, Routing::Weighted) => "weighted",
    };
    let role = match (name.role, name.lag_max) {
        (NameRole::Primary, _) => "the primary's".to_owned(),
        (NameRole::Standby, None) => "standbys'".to_owned(),
        (NameRole::Standby, Some(lag)) => {
            let lag = duration(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
            format!("standbys' within {lag}")
        }
    };
    format!("{role}, {policy}, at {}", one_line(provider))
}

/// The part of `pair show`; empty where the pair has no names.
pub fn section(pair: &PairView, style: Style) -> String {
    let mut out = String::new();
    for name in &pair.spec.names {
        if !name.is_followed() {
            out.push_str(&format!("  {}: {}\n", name.name, kind(name)));
            continue;
        }
        out.push_str(&format!("  {} ({}): {}\n", name.name, kind(name), word(pair, name)));
        let Some((report, age_ms)) = by_holder(pair, name) else { continue };
        if !report.records.is_empty() {
            let records = report.records.join(", ");
            out.push_str(&format!("    {}, ttl {} s\n", one_line(&records), report.ttl));
        } else if report.epoch.is_some() {
            out.push_str("    no records: no standby is known to be near enough\n");
        }
        for (place, seen) in &report.places {
            out.push_str(&format!("    {}: {}\n", one_line(place), place_line(seen, age_ms)));
        }
        for (server, seen) in &report.authorities {
            let ago = ago(seen.age_ms.saturating_add(age_ms));
            out.push_str(&format!("    authority {server}: {}, {ago}\n", one_line(&seen.said)));
        }
        if let Some((epoch, ms)) = report.converged {
            let took = short(ms);
            out.push_str(&format!(
                "    every authority served epoch {epoch} {took} after it was won\n"
            ));
        }
    }
    if out.is_empty() { out } else { style.words(&format!("names:\n{out}\n")) }
}

fn word(pair: &PairView, name: &NameSpec) -> String {
    match standing(pair, name) {
        NameStanding::Published => {
            format!("published under epoch {}", or_unknown(pair.epoch))
        }
        NameStanding::NotPublished => "NOT PUBLISHED".into(),
        NameStanding::Unknown => match &pair.holder {
            Some(region) => format!("{UNKNOWN}: the agent of {region} does not say"),
            None => format!("{UNKNOWN}: nobody is known to hold the pair"),
        },
    }
}

fn place_line(seen: &PlaceReport, age_ms: u64) -> String {
    let mut line = match seen.published_age_ms.map(|age| age.saturating_add(age_ms)) {
        Some(age) => format!("epoch {} confirmed {}", or_unknown(seen.epoch), ago(age)),
        None => "never published from here".to_owned(),
    };
    if seen.failures > 0 {
        let error = seen
            .last_error
            .as_ref()
            .map(|(_, code, text)| format!("{}: {}", one_line(code), one_line(text)));
        line.push_str(&format!(", {} failures since ({})", seen.failures, or_unknown(error)));
    }
    if let Some(ms) = seen.spreading_ms.map(|ms| ms.saturating_add(age_ms)) {
        line.push_str(&format!(", on its way to all its servers for {}", short(ms)));
    }
    if let Some((age, what)) = &seen.last_foreign {
        let age = ago(age.saturating_add(age_ms));
        let what = one_line(what);
        line.push_str(&format!(
            "; {} writes of others undone, the last {age}: {what}",
            seen.foreign_writes
        ));
    }
    line
}

/// Names that do not say what they should, or could not after a move, each with what to do below it.
pub fn remarks(pair: &PairView) -> Vec<String> {
    let mut lines = Vec::new();
    for name in pair.spec.names.iter().filter(|name| name.is_followed()) {
        by_others(pair, name, &mut lines);
        let Some(holder) = &pair.holder else { continue };
        match (standing(pair, name), by_holder(pair, name)) {
            (NameStanding::Published, Some((report, age_ms))) => {
                not_served(holder, name, report, &mut lines);
                foreign(holder, name, report, age_ms, &mut lines);
            }
            (NameStanding::NotPublished, Some((report, age_ms))) => {
                not_published(holder, name, report, age_ms, &mut lines);
            }
            (_, told) => {
                let why = match told {
                    Some(_) => "it was not confirmed lately",
                    None => "its agent does not say",
                };
                let name = &name.name;
                lines.push(format!(
                    "! {holder}: whether {name} follows the lease is {UNKNOWN}: {why}"
                ));
                lines.push(format!(
                    "    do: ask its servers: continuum dns verify {}",
                    pair.spec.id
                ));
            }
        }
    }
    lines
}

/// Members that could not keep the name if they held the pair.
fn by_others(pair: &PairView, name: &NameSpec, lines: &mut Vec<String>) {
    for region in pair.spec.members.keys().filter(|region| Some(*region) != pair.holder.as_ref()) {
        let problem = told(pair, region, name).and_then(|(report, _)| report.problem.as_ref());
        if let Some(problem) = problem {
            let problem = one_line(problem);
            lines
                .push(format!("! {region}: {} would not follow a move here: {problem}", name.name));
            lines.push("    do: mend its agent's file, or the spec, before it has to move".into());
        }
    }
}

fn not_published(
    holder: &RegionId,
    name: &NameSpec,
    report: &NameReport,
    age_ms: u64,
    lines: &mut Vec<String>,
) {
    let leads = "clients may be led elsewhere";
    if let Some(problem) = &report.problem {
        let problem = one_line(problem);
        lines.push(format!("! {holder}: {} is not published, {leads}: {problem}", name.name));
        lines.push("    do: mend the agent's file or the spec".into());
        return;
    }
    lines.push(format!("! {holder}: {} is not published, {leads}", name.name));
    if report.places.is_empty() {
        return lines.extend(unserved(report));
    }
    for (place, seen) in &report.places {
        lines.push(format!("    {}: {}", one_line(place), place_line(seen, age_ms)));
    }
    lines.push(
        "    do: see docs/DNS.md for the word in brackets; it is tried again each second".into(),
    );
}

fn not_served(holder: &RegionId, name: &NameSpec, report: &NameReport, lines: &mut Vec<String>) {
    let all = report.authorities.len();
    let not = report.authorities.values().filter(|seen| seen.serves != Some(true)).count();
    if not == 0 {
        return;
    }
    let (up, name) = (all - not, &name.name);
    lines.push(format!("! {holder}: {up} of {all} authorities are seen to serve {name}"));
    lines.extend(unserved(report));
}

/// The authorities that are not seen to serve a name, and what to do.
fn unserved(report: &NameReport) -> Vec<String> {
    let not = report.authorities.iter().filter(|(_, seen)| seen.serves != Some(true));
    let each = not.map(|(server, seen)| format!("    not {server}: {}", one_line(&seen.said)));
    let next = "    do: look at its transfer from the primary; continuum dns verify asks from here";
    each.chain([next.to_owned()]).collect()
}

fn foreign(
    holder: &RegionId,
    name: &NameSpec,
    report: &NameReport,
    age_ms: u64,
    lines: &mut Vec<String>,
) {
    for (place, seen) in &report.places {
        let Some((age, what)) = &seen.last_foreign else { continue };
        let age = age.saturating_add(age_ms);
        if age > FOREIGN_TOLD_MS {
            continue;
        }
        let (name, place, what) = (&name.name, one_line(place), one_line(what));
        lines.push(format!(
            "! {holder}: somebody else wrote to {name} at {place} {}: {what}",
            ago(age)
        ));
        lines.push("    do: it was undone; find out who has a key, and take it away".into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use continuum_control_api::link::AuthorityReport;
    use continuum_domain::Epoch;

    use super::super::fixtures::{self, region};
    use super::*;

    const NAME: &str = "app.db.example";
    const PLACE: &str = "pdns at 10.3.0.20:53";

    fn spec() -> NameSpec {
        let address = |last| [std::net::IpAddr::from([10, 0, 0, last])].into();
        let addresses = [(region("fsn"), address(1)), (region("hel"), address(2))].into();
        NameSpec::at_provider(NAME, Duration::from_secs(5), ("pdns", "db.example"), addresses)
    }

    fn report() -> NameReport {
        let place = PlaceReport {
            published_age_ms: Some(300),
            epoch: Some(Epoch(7)),
            ..PlaceReport::default()
        };
        let serves = AuthorityReport { age_ms: 900, serves: Some(true), said: "serves".into() };
        NameReport {
            epoch: Some(Epoch(7)),
            ttl: 5,
            records: vec!["A 10.0.0.1".into()],
            places: [(PLACE.into(), place)].into(),
            authorities: [("10.3.0.20:53".into(), serves)].into(),
            converged: Some((Epoch(7), 38)),
            ..NameReport::default()
        }
    }

    fn pair(report: Option<NameReport>) -> PairView {
        let mut pair = fixtures::pair();
        pair.spec.names = vec![spec()];
        for (region, aged) in &mut pair.members {
            let of = |name: &RegionId| match name.as_str() {
                "fsn" => report.clone(),
                _ => Some(NameReport::default()),
            };
            if let Some(aged) = aged {
                aged.report.names = of(region).map(|report| [(NAME.into(), report)].into());
            }
        }
        pair
    }

    fn with_place(change: impl FnOnce(&mut PlaceReport)) -> NameReport {
        let mut report = report();
        change(report.places.values_mut().next().unwrap());
        report
    }

    #[test]
    fn a_name_that_is_well_is_shown_with_its_records_and_how_long_it_took() {
        let pair = pair(Some(report()));
        let expected = "\
names:
  app.db.example (the primary's, flip, at pdns): published under epoch 7
    A 10.0.0.1, ttl 5 s
    pdns at 10.3.0.20:53: epoch 7 confirmed 0.4 s ago
    authority 10.3.0.20:53: serves, 1.0 s ago
    every authority served epoch 7 38 ms after it was won

";
        assert_eq!(section(&pair, Style::PLAIN), expected);
        assert_eq!(remarks(&pair), Vec::<String>::new());
    }

    #[test]
    fn a_change_that_spreads_is_shown_as_published_and_on_its_way() {
        let spreads = with_place(|place| place.spreading_ms = Some(12_000));
        let pair = pair(Some(spreads));
        assert_eq!(standing(&pair, &spec()), NameStanding::Published);
        let line = "epoch 7 confirmed 0.4 s ago, on its way to all its servers for 12 s";
        let text = section(&pair, Style::PLAIN);
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn of_names_without_a_provider_nothing_is_claimed() {
        let mut pair = pair(None);
        pair.spec.names = vec![NameSpec::new(NAME, Duration::from_secs(1))];
        let text = section(&pair, Style::PLAIN);
        assert_eq!(text, "names:\n  app.db.example: answered from the lease itself\n\n");
        assert_eq!(remarks(&pair), Vec::<String>::new());
    }

    #[test]
    fn of_a_name_that_secondaries_answer_it_is_said_what_they_serve() {
        let authorities = vec!["10.3.0.20".parse().unwrap()];
        let embedded = NameSpec { provider: None, authorities, ..spec() };
        let served = NameReport { places: Default::default(), ..report() };
        let mut late = served.clone();
        let authority = late.authorities.values_mut().next().unwrap();
        (authority.serves, authority.said) = (Some(false), "stale: serial 1".into());
        let of = |report| {
            let mut pair = pair(Some(report));
            pair.spec.names = vec![embedded.clone()];
            pair
        };
        let text = section(&of(served.clone()), Style::PLAIN);
        assert!(
            text.contains("(answered from the lease itself): published under epoch 7"),
            "{text}"
        );
        assert!(text.contains("authority 10.3.0.20:53: serves"), "{text}");
        assert_eq!(remarks(&of(served)), Vec::<String>::new());
        let lines = remarks(&of(late));
        assert!(lines[0].contains("app.db.example is not published"), "{lines:?}");
        assert_eq!(lines[1], "    not 10.3.0.20:53: stale: serial 1");
    }

    #[test]
    fn what_is_not_known_is_never_shown_as_published() {
        let silent = pair(None);
        assert_eq!(standing(&silent, &spec()), NameStanding::Unknown);
        assert!(section(&silent, Style::PLAIN).contains("unknown: the agent of fsn does not say"));
        assert!(remarks(&silent)[0].contains("follows the lease is unknown"));
        let never = with_place(|place| place.published_age_ms = None);
        assert_eq!(standing(&pair(Some(never)), &spec()), NameStanding::Unknown);
        let old = with_place(|place| place.published_age_ms = Some(10_000));
        assert_eq!(standing(&pair(Some(old)), &spec()), NameStanding::Unknown);
        let nowhere = NameReport { places: Default::default(), ..report() };
        assert_eq!(standing(&pair(Some(nowhere)), &spec()), NameStanding::Unknown);
        let mut stale = pair(Some(report()));
        let aged = stale.members.get_mut(&region("fsn")).unwrap().as_mut().unwrap();
        aged.age_ms = 10_001;
        assert_eq!(standing(&stale, &spec()), NameStanding::Unknown);
        let mut headless = pair(Some(report()));
        headless.holder = None;
        assert_eq!(standing(&headless, &spec()), NameStanding::Unknown);
    }

    #[test]
    fn what_went_wrong_is_warned_of_with_what_to_do() {
        let failing = with_place(|place| {
            (place.epoch, place.published_age_ms) = (Some(Epoch(6)), Some(11_000));
            place.failures = 9;
            place.last_error = Some((200, "unanswered".into(), "not\nreachable".into()));
        });
        let lines = remarks(&pair(Some(failing)));
        assert_eq!(
            lines[0],
            "! fsn: app.db.example is not published, clients may be led elsewhere"
        );
        let due = "    pdns at 10.3.0.20:53: epoch 6 confirmed 11 s ago, 9 failures since \
                   (unanswered: not reachable)";
        assert_eq!(lines[1], due);
        assert!(lines[2].starts_with("    do: "));

        let older = with_place(|place| place.epoch = Some(Epoch(6)));
        assert_eq!(standing(&pair(Some(older)), &spec()), NameStanding::NotPublished);

        let written = with_place(|place| {
            (place.foreign_writes, place.last_foreign) = (1, Some((2_000, "A 6.6.6.6".into())));
        });
        let told = &remarks(&pair(Some(written)))[0];
        assert!(
            told.contains("somebody else wrote to app.db.example") && told.ends_with("A 6.6.6.6")
        );

        let mut late = report();
        let authority = late.authorities.values_mut().next().unwrap();
        (authority.serves, authority.said) = (None, "unanswered: no".into());
        let lines = remarks(&pair(Some(late)));
        assert_eq!(lines[0], "! fsn: 0 of 1 authorities are seen to serve app.db.example");
        assert_eq!(lines[1], "    not 10.3.0.20:53: unanswered: no");

        let mut lacking = pair(Some(report()));
        let aged = lacking.members.get_mut(&region("hel")).unwrap().as_mut().unwrap();
        let problem = Some("the agent's file has no name_provider \"pdns\"".into());
        let report = NameReport { problem, ..NameReport::default() };
        aged.report.names = Some([(NAME.into(), report)].into());
        let lines = remarks(&lacking);
        assert_eq!(
            lines[0],
            "! hel: app.db.example would not follow a move here: the agent's file has no \
             name_provider \"pdns\""
        );
    }
}
