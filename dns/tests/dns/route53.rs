//! Route 53 through the real SDK, against a stand-in that keeps its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::TIMEOUT;
use crate::authority::calls::Fault;
use crate::authority::route53::{KEY_IDS, Route53 as Server, Set, ZONE, ZONE_ID};
use async_trait::async_trait;
use continuum_dns::contract::World;
use continuum_dns::provider::contract::{Subject, all};
use continuum_dns::provider::publish::{FollowedName, RecordNames, publish};
use continuum_dns::provider::route53::{Route53, Route53At};
use continuum_dns::provider::{ProviderError, RecordProvider};
use continuum_dns::records::due::due;
use continuum_dns::records::plan::{Change, ForeignWrite};
use continuum_dns::records::routed::Srv;
use continuum_dns::records::{Companion, Records, Wanted};
use continuum_dns::{NameError, NameService};
use continuum_domain::spec::{NameSpec, Routing};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::BootClock;
use tempfile::TempDir;

const NAME: &str = "app.db.example.";
const COMPANION: &str = "_epoch.app.db.example.";
/// Short, for answers that never come.
const SHORT: Duration = Duration::from_secs(1);

fn pair() -> PairId {
    PairId::new("app").unwrap()
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// A server, and the keys of its clients.
struct Lab {
    server: Server,
    keys: TempDir,
}

impl Lab {
    async fn new() -> Self {
        let lab = Self { server: Server::start().await, keys: tempfile::tempdir().unwrap() };
        for id in KEY_IDS {
            lab.write_key(id, id);
        }
        lab
    }

    fn key_file(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    fn write_key(&self, name: &str, id: &str) {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s3cr3t\n");
        std::fs::write(self.key_file(name), text).unwrap();
    }

    fn at(&self, key: &str) -> Route53At {
        Route53At {
            zone: ZONE.into(),
            zone_id: ZONE_ID.into(),
            key_file: self.key_file(key),
            region: "us-east-1".into(),
            endpoint: Some(self.server.url()),
            deadline: TIMEOUT,
            look_again: Duration::ZERO,
        }
    }

    fn client(&self, key: &str) -> Route53 {
        Route53::new(self.at(key), Arc::new(BootClock))
    }

    fn impatient(&self) -> Route53 {
        Route53::new(Route53At { deadline: SHORT, ..self.at("AKFSN") }, Arc::new(BootClock))
    }

    fn subject(&self, name: &str) -> Subject {
        let clients = KEY_IDS.map(|key| -> Arc<dyn RecordProvider> { Arc::new(self.client(key)) });
        Subject { clients: clients.into(), name: name.into(), pair: pair() }
    }

    /// What stands at the name, as `TYPE id values`.
    fn stands(&self) -> Vec<String> {
        let sets = self.server.zone().at(NAME).into_iter();
        let line = |set: Set| {
            let values: Vec<String> = set.values.into_iter().collect();
            let id = set.id.map(|id| format!(" {id}")).unwrap_or_default();
            let rest = ["Failover", "Weight", "HealthCheckId"];
            let rest = rest.iter().filter_map(|key| set.rest.get(*key));
            let rest: String = rest.map(|value| format!(" {value}")).collect();
            format!("{}{id}{rest} {}", set.kind, values.join(" "))
        };
        sets.map(line).collect()
    }
}

fn wanted(epoch: u64, holder: &str, records: Records) -> Wanted {
    Wanted { name: NAME.into(), pair: pair(), epoch: Epoch(epoch), holder: region(holder), records }
}

fn plain(address: &str) -> Records {
    Records::plain(5, [address.parse().unwrap()].into())
}

fn first(epoch: u64) -> Wanted {
    wanted(epoch, "fsn", plain("192.0.2.1"))
}

/// The name service of a server, for the contract of name services.
struct Served<'a>(&'a Lab);

#[async_trait]
impl World for Served<'_> {
    fn pair(&self) -> PairId {
        pair()
    }
    fn name(&self) -> String {
        NAME.into()
    }
    fn regions(&self) -> [RegionId; 2] {
        [region("fsn"), region("hel")]
    }
    fn service(&self, holder: &RegionId) -> Arc<dyn NameService> {
        let addresses: BTreeMap<RegionId, BTreeSet<IpAddr>> =
            [("fsn", "192.0.2.1"), ("hel", "192.0.2.2")]
                .map(|(name, address)| (region(name), [address.parse().unwrap()].into()))
                .into();
        let key = if holder.as_str() == "fsn" { "AKFSN" } else { "AKHEL" };
        let followed = [(NAME.into(), FollowedName::plain(pair(), 5, &addresses))];
        Arc::new(RecordNames::new(Arc::new(self.0.client(key)), followed.into()))
    }
    async fn elect(&self, _epoch: Epoch, _holder: &RegionId) {}
    async fn resolve(&self) -> Option<RegionId> {
        match &self.0.stands()[..] {
            [] => None,
            [one] => Some(region(if one == "A 192.0.2.1" { "fsn" } else { "hel" })),
            more => panic!("{more:?}"),
        }
    }
}

#[tokio::test]
async fn it_keeps_the_contracts() {
    let lab = Lab::new().await;
    all(&lab.subject("one.db.example.")).await.unwrap();
    continuum_dns::contract::all(&Served(&lab)).await.unwrap();
}

type Told = (Result<(), ProviderError>, Change);

/// Twenty writers for one epoch, all of which have read before any writes: nothing but the batch's own
/// condition is left. Those that won, and those that did not.
async fn race(lab: &Lab, clients: &[Arc<Route53>], epoch: u64) -> (Vec<Told>, Vec<Told>) {
    let mut writers = Vec::new();
    for (last, client) in clients.iter().enumerate() {
        let records = plain(&format!("192.0.2.{}", last + 1));
        let wanted = wanted(epoch, &format!("r{last}"), records);
        let expected = client.read(NAME).await.unwrap().companion;
        let (name, stamp) = (NAME.to_owned(), wanted.stamp());
        writers.push(Change { name, expected, stamp, records: wanted.records });
    }
    let lists = lab.server.made("list");
    let mut racing = tokio::task::JoinSet::new();
    for (client, change) in clients.iter().cloned().zip(writers) {
        racing.spawn(async move { (client.change(&change).await, change) });
    }
    let answers = racing.join_all().await;
    assert_eq!(lab.server.made("list"), lists, "somebody looked again before writing");
    answers.into_iter().partition(|told| told.0.is_ok())
}

#[tokio::test]
async fn of_twenty_that_read_the_same_one_wins_at_the_server() {
    let lab = Lab::new().await;
    let clients: Vec<Arc<Route53>> = (0..20).map(|_| Arc::new(lab.client("AKFSN"))).collect();
    for epoch in 1..=5 {
        let (won, lost) = race(&lab, &clients, epoch).await;
        let conflicts =
            lost.iter().filter(|told| matches!(told.0, Err(ProviderError::Conflict(_))));
        assert_eq!((won.len(), conflicts.count()), (1, 19), "epoch {epoch}: {lost:?}");
        let stands = clients[0].read(NAME).await.unwrap();
        assert_eq!(stands.companion, Companion::of(&won[0].1.stamp));
        assert_eq!(stands.records, won[0].1.records);
    }
}

/// A test of the test before: without the condition at the server it would not pass.
#[tokio::test]
async fn a_server_that_takes_a_stale_delete_has_many_winners() {
    let lab = Lab::new().await;
    let clients: Vec<Arc<Route53>> = (0..20).map(|_| Arc::new(lab.client("AKFSN"))).collect();
    race(&lab, &clients, 1).await;
    lab.server.zone().lenient = true;
    assert_eq!(race(&lab, &clients, 2).await.0.len(), 20);
}

#[tokio::test]
async fn what_stands_as_wanted_costs_two_questions_and_no_change() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    assert!(publish(&client, &first(1)).await.unwrap().changed);
    assert_eq!((lab.server.made("list"), lab.server.made("change")), (2, 1));
    assert!(!publish(&client, &first(1)).await.unwrap().changed);
    assert_eq!((lab.server.made("list"), lab.server.made("change")), (4, 1));
}

#[tokio::test]
async fn what_a_hand_wrote_is_found_and_repaired() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    let repaired = async |what: &str| {
        let outcome = publish(&client, &first(3)).await.unwrap();
        assert_eq!(lab.stands(), ["A 192.0.2.1"], "{what}");
        assert_eq!(publish(&client, &first(3)).await.unwrap().foreign, None, "{what}");
        outcome.foreign
    };
    lab.server.zone().put(Set::new(NAME, "CNAME", &["elsewhere.example."]));
    assert!(matches!(repaired("a CNAME from before").await, Some(ForeignWrite::Unstamped(_))));
    lab.server.zone().put(Set::new(NAME, "A", &["198.51.100.66"]));
    assert!(matches!(repaired("an address").await, Some(ForeignWrite::Records { .. })));
    lab.server.zone().put(Set::new(NAME, "AAAA", &["2001:db8::66"]));
    assert!(repaired("an address more").await.is_some());
    lab.server.zone().put(Set::new(NAME, "SRV", &["0 0 1 elsewhere.example."]));
    assert!(repaired("a service").await.is_some());

    let alias = "<HostedZoneId>Z2</HostedZoneId><DNSName>lb.example.</DNSName>\
                 <EvaluateTargetHealth>false</EvaluateTargetHealth>";
    let rest = BTreeMap::from([("AliasTarget".to_owned(), alias.to_owned())]);
    lab.server.zone().put(Set { rest, ..Set::new(NAME, "A", &[]) });
    assert!(repaired("an alias to a load balancer").await.is_some());
    lab.server.zone().remove(NAME, "A");
    for (rule, value) in [("Weight", "7"), ("Region", "eu-central-1")] {
        let mut odd = Set { id: Some("mine".into()), ..Set::new(NAME, "A", &["198.51.100.66"]) };
        odd.rest.insert(rule.into(), value.into());
        lab.server.zone().remove(NAME, "A");
        lab.server.zone().put(odd);
        assert!(repaired(rule).await.is_some());
    }
    for text in [r#""v=spf1" "two""#, r#""a\"b""#, r#""a\\b""#, r#""\303\251""#, r#""<&>""#] {
        lab.server.zone().put(Set::new(COMPANION, "TXT", &[text]));
        assert!(matches!(repaired(text).await, Some(ForeignWrite::Companion(_))), "{text}");
    }
    lab.server.zone().remove(COMPANION, "TXT");
    assert!(repaired("no companion").await.is_some());

    lab.server.zone().put(Set::new(COMPANION, "TXT", &[r#""pair=app epoch=9 holder=hel""#]));
    let refused = publish(&client, &first(3)).await;
    assert_eq!(refused, Err(NameError::Refused { newest: Epoch(9) }));
}

/// A hand that writes between the read and the change makes the whole batch fail, and the name is
/// read anew.
#[tokio::test]
async fn a_stale_look_at_the_records_changes_nothing() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    publish(&client, &first(1)).await.unwrap();
    lab.server.zone().put(Set::new(NAME, "CNAME", &["elsewhere.example."]));
    lab.server.zone().remove(NAME, "A");
    let seen = client.read(NAME).await.unwrap();
    lab.server.zone().put(Set::new(NAME, "CNAME", &["another.example."]));
    let wanted = first(2);
    let change = Change {
        name: NAME.into(),
        expected: seen.companion,
        stamp: wanted.stamp(),
        records: wanted.records.clone(),
    };
    let answer = client.change(&change).await;
    assert!(matches!(answer, Err(ProviderError::Conflict(_))), "{answer:?}");
    assert_eq!(lab.stands(), ["CNAME another.example."]);
    assert!(publish(&client, &wanted).await.unwrap().changed);
    assert_eq!(lab.stands(), ["A 192.0.2.1"]);
}

/// Another writer of ours comes between the pages of a read. What is seen then is no write of a
/// stranger: it is read anew.
#[tokio::test]
async fn a_read_that_another_writer_tore_accuses_nobody() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    publish(&client, &first(1)).await.unwrap();
    let rival = wanted(2, "hel", plain("192.0.2.2"));
    let text = format!("\"{}\"", rival.stamp());
    lab.server.zone().after_page =
        vec![Set::new(COMPANION, "TXT", &[&text]), Set::new(NAME, "A", &["192.0.2.2"])];
    let outcome = publish(&client, &first(3)).await.unwrap();
    assert_eq!((outcome.changed, outcome.foreign), (true, None));
    assert_eq!(lab.stands(), ["A 192.0.2.1"]);
}

fn spec(routing: Routing, checks: bool) -> NameSpec {
    let address = |last| [IpAddr::from([192, 0, 2, last])].into();
    let addresses = [(region("fsn"), address(1)), (region("hel"), address(2))].into();
    let at = ("aws", "db.example");
    let health_checks = ["fsn", "hel"].map(|name| (region(name), format!("check-{name}")));
    NameSpec {
        routing,
        health_checks: if checks { health_checks.into() } else { BTreeMap::new() },
        ..NameSpec::at_provider("app.db.example", Duration::from_secs(5), at, addresses)
    }
}

#[tokio::test]
async fn failover_and_weighted_records_follow_the_holder() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    let mut epoch = 0;
    let mut stands_for = async |spec: NameSpec, holder: &str, due_lines: &[&str]| {
        epoch += 1;
        let records = due(&pair(), &spec, &region(holder), &BTreeSet::new()).unwrap();
        let wanted = wanted(epoch, holder, records);
        let outcome = publish(&client, &wanted).await.unwrap();
        assert_eq!((outcome.changed, outcome.foreign), (true, None), "{due_lines:?}");
        assert_eq!(lab.stands(), due_lines);
        assert_eq!(client.read(NAME).await.unwrap().records, wanted.records);
        assert!(!publish(&client, &wanted).await.unwrap().changed);
        let read = Records::read(5, &wanted.records.lines());
        assert_eq!(read, Some(wanted.records), "lines are read back");
    };
    stands_for(spec(Routing::Simple, false), "fsn", &["A 192.0.2.1"]).await;
    let fsn_first = ["A fsn PRIMARY check-fsn 192.0.2.1", "A hel SECONDARY check-hel 192.0.2.2"];
    stands_for(spec(Routing::Failover, true), "fsn", &fsn_first).await;
    let hel_first = ["A fsn SECONDARY check-fsn 192.0.2.1", "A hel PRIMARY check-hel 192.0.2.2"];
    stands_for(spec(Routing::Failover, true), "hel", &hel_first).await;
    let weighted = ["A fsn 0 check-fsn 192.0.2.1", "A hel 1 check-hel 192.0.2.2"];
    stands_for(spec(Routing::Weighted, true), "hel", &weighted).await;
    let unchecked = ["A fsn 1 192.0.2.1", "A hel 0 192.0.2.2"];
    stands_for(spec(Routing::Weighted, false), "fsn", &unchecked).await;
    stands_for(spec(Routing::Simple, false), "hel", &["A 192.0.2.2"]).await;
}

#[tokio::test]
async fn aliases_and_services_are_written_and_replace_addresses() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    let srv = |target: &str| Srv { priority: 0, weight: 1, port: 5432, target: target.into() };
    let steps = [
        (plain("192.0.2.1"), "A 192.0.2.1"),
        (Records::alias(5, "PG.fsn.example"), "CNAME pg.fsn.example."),
        (Records::alias(5, "pg.hel.example"), "CNAME pg.hel.example."),
        (Records::services(5, [srv("pg.fsn.example.")].into()), "SRV 0 1 5432 pg.fsn.example."),
        (plain("192.0.2.2"), "A 192.0.2.2"),
    ];
    for (epoch, (records, line)) in steps.into_iter().enumerate() {
        let wanted = wanted(epoch as u64 + 1, "fsn", records);
        let outcome = publish(&client, &wanted).await.unwrap();
        assert_eq!((outcome.changed, outcome.foreign), (true, None), "{line}");
        assert_eq!(lab.stands(), [line]);
        assert!(!publish(&client, &wanted).await.unwrap().changed, "{line}");
    }
    // A companion stands beside an alias, not at it.
    let at_the_apex = Wanted { name: ZONE.into(), ..first(9) };
    let refused = publish(&client, &at_the_apex).await;
    assert!(matches!(refused, Err(NameError::Misconfigured(_))), "{refused:?}");
}

#[tokio::test]
async fn throttling_is_borne_for_a_while() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    lab.server.zone().calls.fail("list", &[Fault::Throttled, Fault::Prior]);
    lab.server.zone().calls.fail("change", &[Fault::Prior, Fault::Throttled, Fault::Prior]);
    assert!(publish(&client, &first(1)).await.unwrap().changed);
    assert_eq!((lab.server.made("list"), lab.server.made("change")), (4, 4));
    lab.server.zone().calls.fail("change", &[Fault::Throttled; 5]);
    let told = publish(&client, &first(2)).await.unwrap_err();
    assert!(matches!(told, NameError::Unanswered(_)), "{told:?}");
    assert!(told.to_string().contains("Throttling: Rate exceeded, 5 times"), "{told}");
    assert_eq!(client.read(NAME).await.unwrap().companion, Companion::of(&first(1).stamp()));
    assert!(publish(&client, &first(2)).await.unwrap().changed);
}

#[tokio::test]
async fn a_lost_answer_is_no_guess() {
    let lab = Lab::new().await;
    let client = lab.impatient();
    for (epoch, fault) in [(1, Fault::ReplyLost), (2, Fault::Garbled), (3, Fault::RequestLost)] {
        lab.server.zone().calls.fail("change", &[fault]);
        let outcome = publish(&client, &first(epoch)).await.unwrap();
        assert_eq!((outcome.changed, outcome.foreign), (true, None), "{fault:?}");
        let stands = client.read(NAME).await.unwrap().companion;
        assert_eq!(stands, Companion::of(&first(epoch).stamp()), "{fault:?}");
    }
    // Lost, and another one wins before it is read again: its own change did not stand.
    lab.server.zone().calls.fail("change", &[Fault::RequestLost]);
    let (rival, fourth) = (lab.client("AKHEL"), first(4));
    let (late, won) = tokio::join!(publish(&client, &fourth), async {
        while lab.server.made("change") < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publish(&rival, &wanted(5, "hel", plain("192.0.2.2"))).await
    });
    assert!(won.unwrap().changed);
    assert_eq!(late, Err(NameError::Refused { newest: Epoch(5) }));
}

#[tokio::test]
async fn a_change_spreads_until_the_service_says_so() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    lab.server.zone().pending = 2;
    assert_eq!(client.settled(NAME).await, Ok(None));
    publish(&client, &first(1)).await.unwrap();
    for due in [false, false, true, true] {
        assert_eq!(client.settled(NAME).await, Ok(Some(due)));
    }
    publish(&client, &first(2)).await.unwrap();
    assert_eq!(client.settled(NAME).await, Ok(Some(false)), "another change spreads anew");
    lab.server.zone().changes = 0;
    assert_eq!(client.settled(NAME).await, Ok(None), "what is forgotten is not known");
    let asked = lab.server.made("state");
    assert_eq!(client.settled(NAME).await, Ok(None));
    assert_eq!(lab.server.made("state"), asked, "nobody is asked for it again");
}

#[tokio::test]
async fn a_name_is_found_on_whichever_page_it_is() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    for number in 0..30 {
        for beside in ["", "_x.app.", "-y.app.", "zz."] {
            let name = format!("{beside}n{number}.db.example.");
            lab.server.zone().put(Set::new(&name, "A", &["203.0.113.1"]));
        }
        let above = format!("a{number}.app.db.example.");
        lab.server.zone().put(Set::new(&above, "TXT", &["\"between\""]));
    }
    let records = due(&pair(), &spec(Routing::Weighted, true), &region("fsn"), &BTreeSet::new());
    let both = wanted(1, "fsn", records.unwrap());
    for page in 1..5 {
        lab.server.zone().page = page;
        let wanted = Wanted { epoch: Epoch(page as u64), ..both.clone() };
        assert!(publish(&client, &wanted).await.unwrap().changed, "{page}");
        assert_eq!(client.read(NAME).await.unwrap().records, wanted.records, "{page}");
        assert_eq!(lab.stands().len(), 2);
    }
    let others = lab.server.zone().at("n7.db.example.");
    assert_eq!(others.len(), 1, "nothing of others was touched");
}

#[tokio::test]
async fn kinds_of_failure_are_told_apart() {
    let lab = Lab::new().await;
    let client = lab.client("AKFSN");
    lab.write_key("other", "AKOTHER");
    let denied = lab.client("other").read(NAME).await.unwrap_err();
    assert!(matches!(denied, ProviderError::Unauthorised(_)), "{denied:?}");
    assert!(denied.to_string().contains("InvalidClientTokenId"), "{denied}");
    assert!(!denied.to_string().contains("s3cr3t"), "{denied}");
    let keyless = lab.client("missing").read(NAME).await;
    assert!(matches!(keyless, Err(ProviderError::Misconfigured(_))), "{keyless:?}");
    // The keys are replaced while it runs.
    lab.write_key("AKFSN", "AKOTHER");
    assert!(matches!(client.read(NAME).await, Err(ProviderError::Unauthorised(_))));
    lab.write_key("AKFSN", "AKHEL");
    assert!(client.read(NAME).await.is_ok());

    let zoneless = Route53At { zone_id: "Z9".into(), ..lab.at("AKFSN") };
    let zoneless = Route53::new(zoneless, Arc::new(BootClock)).read(NAME).await.unwrap_err();
    assert!(zoneless.to_string().contains("check hosted zone Z9"), "{zoneless}");
    let outside = client.read("app.other.example.").await;
    assert!(matches!(outside, Err(ProviderError::Misconfigured(_))), "{outside:?}");
    let computed = Records { lua: ["A \"x\"".into()].into(), ..Records::default() };
    let computed = publish(&client, &wanted(1, "fsn", computed)).await;
    assert!(matches!(computed, Err(NameError::Misconfigured(_))), "{computed:?}");
    lab.server.zone().calls.fail("list", &[Fault::Internal]);
    let failed = client.read(NAME).await;
    assert!(matches!(failed, Err(ProviderError::Failed(_))), "{failed:?}");

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let endpoint = Some(format!("http://{address}"));
    let down = Route53::new(Route53At { endpoint, ..lab.at("AKHEL") }, Arc::new(BootClock));
    let down = down.read(NAME).await;
    assert!(matches!(down, Err(ProviderError::Unreachable(_))), "{down:?}");
    lab.server.zone().calls.fail("list", &[Fault::RequestLost]);
    let silent = lab.impatient().read(NAME).await;
    assert!(matches!(silent, Err(ProviderError::Unanswered(_))), "{silent:?}");
}
