//! The names of a pair as records, and what their servers say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use continuum_dns::records::{Wanted, companion_name};
use continuum_dns::verify::{Shown, Verdict};
use continuum_domain::Epoch;
use continuum_domain::spec::NameSpec;
use serde::Serialize;

use super::names;
use super::style::Style;
use super::text::*;

/// A name as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// The name.
    pub name: String,
    /// What it is, in a few words.
    pub kind: String,
    /// Under which epoch; absent where it is not at a provider, or not known.
    pub epoch: Option<Epoch>,
    /// The records that are due, as a zone file has them.
    pub records: Vec<String>,
    /// Why there are none; absent where there are.
    pub problem: Option<String>,
    /// Each authority, by address.
    pub authorities: BTreeMap<String, Difference>,
}

/// How one authority differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is due and not there.
    pub missing: Vec<String>,
    /// What is there and not due.
    pub foreign: Vec<String>,
    /// LUA records: what it computes now.
    pub computes: Vec<String>,
    /// Why it does not say.
    pub problem: Option<String>,
}

fn line(name: &str, ttl: u32, record: &str) -> String {
    let (kind, content) = record.split_once(' ').unwrap_or((record, ""));
    match content.split_once(' ') {
        // A zone file has no word for how a provider chooses.
        Some((address, rule)) if matches!(kind, "A" | "AAAA") => {
            format!("{name} {ttl} IN {kind} {address} ; {rule}")
        }
        _ => format!("{name} {ttl} IN {kind} {content}"),
    }
}

fn text(content: &str) -> String {
    let mut quoted = String::from("TXT \"");
    for c in content.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// Records, each with its ttl, and companion.
fn lines(
    name: &str,
    records: impl Iterator<Item = (String, u32)>,
    companion: impl Iterator<Item = (String, u32)>,
) -> BTreeSet<String> {
    let records = records.map(|(record, ttl)| line(name, ttl, &record));
    let companion = companion.map(|(said, ttl)| line(&companion_name(name), ttl, &text(&said)));
    records.chain(companion).collect()
}

impl Rendered {
    /// A name at a provider.
    pub fn of(name: &NameSpec, wanted: &Wanted) -> Self {
        let ttl = wanted.records.ttl;
        let mut records: Vec<String> =
            wanted.records.lines().iter().map(|record| line(&wanted.name, ttl, record)).collect();
        let stamp = text(&wanted.stamp().to_string());
        records.push(line(&companion_name(&wanted.name), ttl, &stamp));
        Self { epoch: Some(wanted.epoch), records, ..Self::unknown(name, String::new()).plain() }
    }

    fn plain(self) -> Self {
        Self { problem: None, ..self }
    }

    /// A name whose records are not known.
    pub fn unknown(name: &NameSpec, problem: String) -> Self {
        Self {
            name: name.name.clone(),
            kind: names::kind(name),
            epoch: None,
            records: Vec::new(),
            problem: Some(problem),
            authorities: BTreeMap::new(),
        }
    }

    /// A name that is not at a provider.
    pub fn elsewhere(name: &NameSpec) -> Self {
        Self::unknown(name, "the embedded name servers keep no records".into())
    }

    /// Notes what an authority answered.
    pub fn compare(&mut self, server: SocketAddr, wanted: &Wanted, seen: Result<Shown, Verdict>) {
        let difference = match seen {
            Err(verdict) => Difference { problem: Some(verdict.to_string()), ..Default::default() },
            Ok(shown) => difference(wanted, shown),
        };
        self.authorities.insert(server.to_string(), difference);
    }
}

fn difference(wanted: &Wanted, shown: Shown) -> Difference {
    let (name, ttl) = (&wanted.name, wanted.records.ttl);
    let is_computed = !wanted.records.lua.is_empty();
    let answers = wanted.records.answers().into_iter();
    let answers = answers.filter(|_| !is_computed).map(|record| (record, ttl));
    let stamp = std::iter::once((wanted.stamp().to_string(), ttl));
    let due = lines(name, answers, stamp);
    let computes = match is_computed {
        true => lines(name, shown.records.iter().cloned(), std::iter::empty()),
        false => BTreeSet::new(),
    };
    let stands = shown.records.into_iter().filter(|_| !is_computed);
    let stands = lines(name, stands, shown.companion.into_iter());
    Difference {
        missing: due.difference(&stands).cloned().collect(),
        foreign: stands.difference(&due).cloned().collect(),
        computes: computes.into_iter().collect(),
        problem: None,
    }
}

/// `dns render`: as a zone file, with what differs in comments.
pub fn zone(all: &[Rendered]) -> String {
    if all.is_empty() {
        return "; the pair has no names\n".into();
    }
    let mut out = String::new();
    for name in all {
        let epoch = name.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
        out.push_str(&format!("; {} ({}){epoch}\n", name.name, name.kind));
        if let Some(problem) = &name.problem {
            out.push_str(&format!("; {}\n", one_line(problem)));
        }
        for record in &name.records {
            out.push_str(&format!("{}\n", one_line(record)));
        }
        for (server, difference) in &name.authorities {
            out.push_str(&authority(server, difference));
        }
        out.push('\n');
    }
    out
}

fn authority(server: &str, difference: &Difference) -> String {
    let Difference { missing, foreign, computes, problem } = difference;
    if let Some(problem) = problem {
        return format!("; {server}: {}\n", one_line(problem));
    }
    let word = if missing.is_empty() && foreign.is_empty() { "no difference" } else { "differs" };
    let mut out = format!("; {server}: {word}\n");
    let marked = [("-", foreign), ("+", missing), ("=", computes)];
    for (mark, lines) in marked {
        for line in lines {
            out.push_str(&format!(";   {mark} {}\n", one_line(line)));
        }
    }
    out
}

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// An authoritative server.
    Authority,
    /// A recursive resolver.
    Resolver,
}

/// What one server says of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The name.
    pub name: String,
    /// The server.
    pub server: String,
    /// What it is.
    pub kind: Server,
    /// Whether it serves what is due; absent when that is not known.
    pub serves: Option<bool>,
    /// In words.
    pub verdict: String,
}

/// `dns verify`.
pub fn verdicts(answers: &[Answer], style: Style) -> String {
    let rows = answers.iter().map(|answer| {
        let kind = match answer.kind {
            Server::Authority => "authority",
            Server::Resolver => "resolver",
        };
        [answer.name.clone(), answer.server.clone(), kind.into(), answer.verdict.clone()]
    });
    let table = table(["NAME", "SERVER", "KIND", "VERDICT"], rows);
    let serving = answers.iter().filter(|answer| answer.serves == Some(true)).count();
    style.words(&format!("{table}\n{serving} of {} serve what is due\n", answers.len()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use continuum_dns::records::Records;
    use continuum_domain::PairId;

    use super::super::fixtures::region;
    use super::*;

    fn wanted(lua: Option<&str>) -> Wanted {
        let mut records = Records::plain(5, ["10.1.0.11".parse().unwrap()].into());
        if let Some(lua) = lua {
            (records.addresses, records.lua) = (BTreeSet::new(), [lua.to_owned()].into());
        }
        Wanted {
            name: "app.db.example.".into(),
            pair: PairId::new("app").unwrap(),
            epoch: Epoch(7),
            holder: region("fsn"),
            records,
        }
    }

    fn spec() -> NameSpec {
        let at = ("pdns", "db.example");
        NameSpec::at_provider("app.db.example", Duration::from_secs(5), at, BTreeMap::new())
    }

    fn shown(addresses: &[&str], companion: &str) -> Shown {
        let records = addresses.iter().map(|address| (format!("A {address}"), 5));
        Shown { records: records.collect(), companion: [(companion.to_owned(), 5)].into() }
    }

    #[test]
    fn records_are_printed_as_a_zone_has_them_and_what_differs_beside_them() {
        let wanted = wanted(None);
        let stamp = wanted.stamp().to_string();
        let mut rendered = Rendered::of(&spec(), &wanted);
        let at = |last| SocketAddr::from(([10, 3, 0, last], 53));
        rendered.compare(at(1), &wanted, Ok(shown(&["10.1.0.11"], &stamp)));
        rendered.compare(at(2), &wanted, Ok(shown(&["10.2.0.11"], "v=\"x\"")));
        rendered.compare(at(3), &wanted, Err(Verdict::ServerFailure));
        let sum = wanted.records.sum();
        let expected = format!(
            "\
; app.db.example (the primary's, flip, at pdns), epoch 7
app.db.example. 5 IN A 10.1.0.11
_epoch.app.db.example. 5 IN TXT \"pair=app epoch=7 holder=fsn sum={sum}\"
; 10.3.0.1:53: no difference
; 10.3.0.2:53: differs
;   - _epoch.app.db.example. 5 IN TXT \"v=\\\"x\\\"\"
;   - app.db.example. 5 IN A 10.2.0.11
;   + _epoch.app.db.example. 5 IN TXT \"{stamp}\"
;   + app.db.example. 5 IN A 10.1.0.11
; 10.3.0.3:53: {}

",
            Verdict::ServerFailure
        );
        assert_eq!(zone(&[rendered]), expected);
    }

    #[test]
    fn what_a_lua_record_computes_is_shown_and_is_no_difference() {
        let wanted = wanted(Some("A \"all({'10.1.0.11'})\""));
        let mut rendered = Rendered::of(&spec(), &wanted);
        let stamp = wanted.stamp().to_string();
        let server = SocketAddr::from(([10, 3, 0, 1], 53));
        rendered.compare(server, &wanted, Ok(shown(&["10.2.0.11"], &stamp)));
        let text = zone(&[rendered]);
        assert!(text.contains("5 IN LUA A \"all({'10.1.0.11'})\"\n"), "{text}");
        let seen = "; 10.3.0.1:53: no difference\n;   = app.db.example. 5 IN A 10.2.0.11\n";
        assert!(text.contains(seen), "{text}");
    }

    #[test]
    fn aliases_services_and_chosen_addresses_are_printed_and_compared() {
        let server = SocketAddr::from(([10, 3, 0, 1], 53));
        for (lines, printed) in [
            (&["CNAME pg.fsn.example."][..], "5 IN CNAME pg.fsn.example.\n"),
            (&["SRV 0 1 5432 pg.fsn.example."], "5 IN SRV 0 1 5432 pg.fsn.example.\n"),
            (
                &["A 10.1.0.11 id=fsn primary check=c", "A 10.2.0.11 id=hel secondary check=d"],
                "5 IN A 10.2.0.11 ; id=hel secondary check=d\n",
            ),
        ] {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let mut wanted = wanted(None);
            wanted.records = Records::read(5, &lines).unwrap();
            let mut rendered = Rendered::of(&spec(), &wanted);
            let companion = [(wanted.stamp().to_string(), 5)].into();
            let served = lines[0].split(" id=").next().unwrap().to_owned();
            let shown = Shown { records: [(served, 5)].into(), companion };
            rendered.compare(server, &wanted, Ok(shown));
            let text = zone(&[rendered]);
            assert!(text.contains(printed), "{text}");
            assert!(text.contains("; 10.3.0.1:53: no difference\n"), "{text}");
        }
    }

    #[test]
    fn verdicts_are_counted() {
        let answer = |serves, verdict: &str| Answer {
            name: "app.db.example".into(),
            server: "10.3.0.1:53".into(),
            kind: Server::Authority,
            serves,
            verdict: verdict.into(),
        };
        let text =
            verdicts(&[answer(Some(true), "serves"), answer(None, "unanswered: x")], Style::PLAIN);
        assert!(text.ends_with("1 of 2 serve what is due\n"), "{text}");
    }
}
