//! A pool-domain-manager: the provider against the reference, and both against the written contract.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::authority::TIMEOUT;
use crate::authority::calls::Fault;
use crate::authority::pdm::{CODES, Pdm as Server, Spoilt, TOKENS, ZONE};
use async_trait::async_trait;
use continuum_dns::contract::World;
use continuum_dns::provider::contract::{Subject, all};
use continuum_dns::provider::pdm::{
    Commit, Committed, Name, Pdm, PdmAt, REPLAYED, Record, Refusal,
};
use continuum_dns::provider::publish::{FollowedName, RecordNames, publish};
use continuum_dns::provider::{ProviderError, RecordProvider};
use continuum_dns::records::plan::{Change, ForeignWrite};
use continuum_dns::records::routed::Srv;
use continuum_dns::records::{Companion, Records, Wanted};
use continuum_dns::{NameError, NameService};
use continuum_domain::{Epoch, PairId, RegionId};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

const NAME: &str = "app.db.example.";
/// Short, for answers that never come.
const SHORT: Duration = Duration::from_secs(1);

fn pair() -> PairId {
    PairId::new("app").unwrap()
}

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

/// A service, and the tokens of its clients.
struct Lab {
    server: Server,
    tokens: TempDir,
}

impl Lab {
    async fn new() -> Self {
        let lab = Self { server: Server::start().await, tokens: tempfile::tempdir().unwrap() };
        for token in TOKENS {
            std::fs::write(lab.token_file(token), format!("{token}\n")).unwrap();
        }
        lab
    }

    fn token_file(&self, name: &str) -> PathBuf {
        self.tokens.path().join(name)
    }

    fn at(&self, token: &str) -> PdmAt {
        let (api, token_file) = (self.server.url(), self.token_file(token));
        PdmAt { api, token_file, zone: ZONE.into(), deadline: TIMEOUT }
    }

    fn client(&self, token: &str) -> Pdm {
        Pdm::new(self.at(token)).unwrap()
    }

    fn clients(&self, count: usize) -> Vec<Arc<Pdm>> {
        (0..count).map(|_| Arc::new(self.client(TOKENS[0]))).collect()
    }

    fn subject(&self) -> Subject {
        let clients = TOKENS[..2].iter();
        let clients =
            clients.map(|token| -> Arc<dyn RecordProvider> { Arc::new(self.client(token)) });
        Subject { clients: clients.collect(), name: "one.db.example.".into(), pair: pair() }
    }

    fn stands(&self) -> Vec<String> {
        let records = self.server.zone().at(NAME).records;
        records.iter().map(|record| format!("{} {}", record.kind, record.content)).collect()
    }

    /// A commit as it is sent, and the status, whether it is a replay, and the body.
    async fn post(&self, commit: &Commit) -> (StatusCode, bool, String) {
        let url = format!("{}/v1/commit", self.server.url());
        let request = Client::new().post(url).bearer_auth(TOKENS[0]).json(commit);
        let answer = request.send().await.unwrap();
        let (status, again) = (answer.status(), answer.headers().contains_key(REPLAYED));
        (status, again, answer.text().await.unwrap())
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
        let token = if holder.as_str() == "fsn" { TOKENS[0] } else { TOKENS[1] };
        let followed = [(NAME.into(), FollowedName::plain(pair(), 5, &addresses))];
        Arc::new(RecordNames::new(Arc::new(self.0.client(token)), followed.into()))
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
    all(&lab.subject()).await.unwrap();
    continuum_dns::contract::all(&Served(&lab)).await.unwrap();
}

/// Twenty writers for one epoch, all of which have read before any writes: how many won, and how many
/// were told that it has changed.
async fn race(clients: &[Arc<Pdm>], epoch: u64) -> (usize, usize) {
    let mut writers = Vec::new();
    for (last, client) in clients.iter().enumerate() {
        let records = plain(&format!("192.0.2.{}", last + 1));
        let wanted = wanted(epoch, &format!("r{last}"), records);
        let expected = client.read(NAME).await.unwrap().companion;
        let (name, stamp) = (NAME.to_owned(), wanted.stamp());
        writers.push(Change { name, expected, stamp, records: wanted.records });
    }
    let mut racing = tokio::task::JoinSet::new();
    for (client, change) in clients.iter().cloned().zip(writers) {
        racing.spawn(async move { client.change(&change).await });
    }
    let answers = racing.join_all().await;
    let conflicts = answers.iter().filter(|told| matches!(told, Err(ProviderError::Conflict(_))));
    (answers.iter().filter(|told| told.is_ok()).count(), conflicts.count())
}

#[tokio::test]
async fn of_twenty_that_read_the_same_one_wins_at_the_service() {
    let lab = Lab::new().await;
    let clients = lab.clients(20);
    for epoch in 1..=5 {
        assert_eq!(race(&clients, epoch).await, (1, 19), "epoch {epoch}");
        assert_eq!(lab.server.zone().at(NAME).commit.unwrap().epoch, epoch);
    }
    assert_eq!(lab.server.made("read"), 100, "somebody looked before writing");
}

/// Tests of the tests: each part of the contract that a service leaves out is noticed.
#[tokio::test]
async fn a_service_that_breaks_the_contract_is_caught() {
    for spoilt in [Spoilt::TakesStaleEpochs, Spoilt::IgnoresVersions, Spoilt::ForgetsCommits] {
        let lab = Lab::new().await;
        lab.server.zone().spoilt = Some(spoilt);
        assert!(written_contract(&lab).await.is_err(), "{spoilt:?} was not noticed");
    }
    written_contract(&Lab::new().await).await.unwrap();
}

fn commit(epoch: u64, revision: u64, holder: &str, expected_version: u64) -> Commit {
    Commit {
        zone: ZONE.into(),
        name: NAME.into(),
        pair: "app".into(),
        epoch,
        revision,
        holder: holder.into(),
        sum: "00".into(),
        expected_version,
        ttl: 5,
        records: vec![Record { kind: "A".into(), content: "192.0.2.1".into() }],
    }
}

/// The written contract, commit by commit; the error is the first that was answered otherwise.
async fn written_contract(lab: &Lab) -> Result<(), String> {
    let ok = "ok";
    let replay = "replay";
    let mut other = commit(1, 0, "fsn", 0);
    other.records[0].content = "192.0.2.9".into();
    let steps = [
        ("the first", commit(1, 0, "fsn", 0), ok),
        ("the same again", commit(1, 0, "fsn", 0), replay),
        ("another body of the same epoch", other, "body-differs"),
        ("another holder of the same epoch", commit(1, 1, "hel", 1), "epoch-taken"),
        ("another pair", Commit { pair: "b".into(), ..commit(2, 0, "fsn", 1) }, "other-pair"),
        ("a further revision", commit(1, 1, "fsn", 1), ok),
        ("a revision before", commit(1, 0, "fsn", 0), "stale-revision"),
        ("a version that stood before", commit(2, 0, "hel", 1), "changed"),
        ("the next epoch", commit(2, 0, "hel", 2), ok),
        ("an epoch before", commit(1, 7, "fsn", 3), "stale-epoch"),
        ("an epoch that was skipped to", commit(9, 0, "fsn", 3), ok),
        ("its replay", commit(9, 0, "fsn", 3), replay),
        ("one that was skipped", commit(8, 0, "hel", 4), "stale-epoch"),
        ("another zone", Commit { zone: "x.".into(), ..commit(10, 0, "a", 4) }, "no-such-zone"),
        ("a name elsewhere", Commit { name: "a.x.".into(), ..commit(10, 0, "a", 4) }, "invalid"),
        ("a ttl of days", Commit { ttl: 86_400, ..commit(10, 0, "a", 4) }, "invalid"),
    ];
    let mut accepted = String::new();
    for (what, commit, due) in steps {
        let (status, again, body) = lab.post(&commit).await;
        let told = match (status, again) {
            (StatusCode::OK, false) => "ok".to_owned(),
            (StatusCode::OK, true) if body == accepted => "replay".to_owned(),
            (StatusCode::OK, true) => "another answer".to_owned(),
            _ => serde_json::from_str::<Refusal>(&body).unwrap().code,
        };
        if told != due {
            return Err(format!("{what}: {told}, not {due}"));
        }
        if told == ok {
            accepted = body;
        }
    }
    Ok(())
}

/// After a lost answer what stands is read, and the change is found to be made, or made then.
#[tokio::test]
async fn a_lost_answer_is_no_guess() {
    let lab = Lab::new().await;
    let client = Pdm::new(PdmAt { deadline: SHORT, ..lab.at(TOKENS[0]) }).unwrap();
    for (epoch, fault) in [(1, Fault::ReplyLost), (2, Fault::RequestLost)] {
        lab.server.zone().calls.fail("commit", &[fault]);
        let outcome = publish(&client, &first(epoch)).await.unwrap();
        assert_eq!((outcome.changed, outcome.foreign), (true, None), "{fault:?}");
        let stands = client.read(NAME).await.unwrap().companion;
        assert_eq!(stands, Companion::of(&first(epoch).stamp()), "{fault:?}");
    }
    assert_eq!(lab.server.zone().at(NAME).version, 2, "neither was made twice");
    // Sent again while the service is said to be away: the replay is told from a change.
    lab.server.zone().calls.fail("commit", &[Fault::DoneAndUnavailable]);
    let before = lab.server.made("commit");
    let records = plain("192.0.2.3");
    let wanted = wanted(3, "fsn", records.clone());
    let expected = client.read(NAME).await.unwrap().companion;
    let change = Change { name: NAME.into(), expected, stamp: wanted.stamp(), records };
    let answer = client.change(&change).await;
    assert!(matches!(answer, Err(ProviderError::Conflict(_))), "{answer:?}");
    assert_eq!(lab.server.made("commit"), before + 2);
    assert!(!publish(&client, &wanted).await.unwrap().changed, "it stands");
    assert_eq!(lab.server.zone().at(NAME).version, 3);
}

#[tokio::test]
async fn what_a_hand_wrote_is_found_and_repaired_under_the_same_epoch() {
    let lab = Lab::new().await;
    let client = lab.client(TOKENS[0]);
    let repaired = async |what: &str| {
        let outcome = publish(&client, &first(3)).await.unwrap();
        assert_eq!(lab.stands(), ["A 192.0.2.1"], "{what}");
        assert_eq!(publish(&client, &first(3)).await.unwrap(), Default::default(), "{what}");
        outcome.foreign
    };
    lab.server.zone().put(NAME, &[("CNAME", "elsewhere.example.")]);
    assert!(matches!(repaired("a CNAME from before").await, Some(ForeignWrite::Unstamped(_))));
    lab.server.zone().put(NAME, &[("A", "198.51.100.66")]);
    assert!(matches!(repaired("an address").await, Some(ForeignWrite::Records { .. })));
    lab.server.zone().put(NAME, &[]);
    assert!(repaired("nothing").await.is_some());
    lab.server.zone().forget(NAME);
    assert!(matches!(repaired("no commit").await, Some(ForeignWrite::Unstamped(_))));
    lab.server.zone().put(NAME, &[("MX", "10 mail.example.")]);
    let stuck = publish(&client, &first(3)).await.unwrap_err();
    assert!(stuck.to_string().contains("not ours to change (MX)"), "{stuck}");
    // The addresses of a holder change within its epoch: no foreign write, and a further revision.
    lab.server.zone().put(NAME, &[("A", "192.0.2.1")]);
    let before = lab.server.zone().at(NAME).commit.unwrap().revision;
    let changed = wanted(3, "fsn", plain("192.0.2.3"));
    let outcome = publish(&client, &changed).await.unwrap();
    assert_eq!((outcome.changed, outcome.foreign), (true, None));
    assert_eq!(lab.server.zone().at(NAME).commit.unwrap().revision, before + 1);
    let refused = publish(&client, &wanted(2, "hel", plain("192.0.2.2"))).await;
    assert_eq!(refused, Err(NameError::Refused { newest: Epoch(3) }));
}

#[tokio::test]
async fn aliases_and_services_are_kept_and_computed_records_are_not() {
    let lab = Lab::new().await;
    let client = lab.client(TOKENS[0]);
    let srv = Srv { priority: 0, weight: 1, port: 5432, target: "pg.fsn.example.".into() };
    let steps = [
        (Records::alias(5, "PG.fsn.example"), "CNAME pg.fsn.example."),
        (Records::services(5, [srv].into()), "SRV 0 1 5432 pg.fsn.example."),
        (plain("2001:db8::1"), "AAAA 2001:db8::1"),
    ];
    for (epoch, (records, line)) in (1..).zip(steps) {
        let wanted = wanted(epoch, "fsn", records);
        assert!(publish(&client, &wanted).await.unwrap().changed);
        assert_eq!(lab.stands(), [line]);
        assert_eq!(client.read(NAME).await.unwrap().records, wanted.records);
    }
    let computed = Records { lua: ["A \"x\"".into()].into(), ..Records::default() };
    let computed = publish(&client, &wanted(9, "fsn", computed)).await;
    assert!(matches!(computed, Err(NameError::Misconfigured(_))), "{computed:?}");
    assert!(publish(&client, &wanted(10, "fsn", Records::default())).await.unwrap().changed);
    assert_eq!(client.read(NAME).await.unwrap().records, Records::default());
}

#[tokio::test]
async fn kinds_of_failure_are_told_apart() {
    let lab = Lab::new().await;
    std::fs::write(lab.token_file("other"), "s3cr3t\n").unwrap();
    let denied = lab.client("other").read(NAME).await.unwrap_err();
    assert!(matches!(denied, ProviderError::Unauthorised(_)), "{denied:?}");
    assert!(!denied.to_string().contains("s3cr3t"), "{denied}");
    let reader = publish(&lab.client(TOKENS[2]), &first(1)).await;
    assert!(matches!(reader, Err(NameError::Unauthorised(_))), "{reader:?}");
    let keyless = lab.client("missing").read(NAME).await;
    assert!(matches!(keyless, Err(ProviderError::Misconfigured(_))), "{keyless:?}");
    let zoneless = Pdm::new(PdmAt { zone: "x.example".into(), ..lab.at(TOKENS[0]) }).unwrap();
    let zoneless = zoneless.read("app.x.example.").await.unwrap_err();
    assert!(zoneless.to_string().contains("does it keep zone x.example."), "{zoneless}");
    let outside = lab.client(TOKENS[0]).read("app.other.example.").await;
    assert!(matches!(outside, Err(ProviderError::Misconfigured(_))), "{outside:?}");

    let client = lab.client(TOKENS[0]);
    lab.server.zone().calls.fail("read", &[Fault::Throttled, Fault::Throttled]);
    lab.server.zone().calls.fail("commit", &[Fault::Throttled]);
    assert!(publish(&client, &first(1)).await.unwrap().changed, "throttling is borne");
    for (fault, text) in
        [(Fault::Internal, "failed: sorry"), (Fault::Garbled, "not of its contract")]
    {
        lab.server.zone().calls.fail("read", &[fault]);
        let failed = client.read(NAME).await.unwrap_err();
        assert!(matches!(failed, ProviderError::Failed(_)), "{failed:?}");
        assert!(failed.to_string().contains(text), "{failed}");
    }
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let down = Pdm::new(PdmAt { api, ..lab.at(TOKENS[0]) }).unwrap().read(NAME).await;
    assert!(matches!(down, Err(ProviderError::Unreachable(_))), "{down:?}");
}

/// The document says what the reference does: its paths, fields and codes.
#[tokio::test]
async fn the_document_and_the_reference_say_the_same() {
    let document: Value =
        serde_yaml_ng::from_str(include_str!("../../../docs/pdm-openapi.yaml")).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let name = Name {
        version: 1,
        ttl: 5,
        records: vec![Record { kind: "A".into(), content: "192.0.2.1".into() }],
        commit: Some(Committed {
            pair: "app".into(),
            epoch: 1,
            revision: 0,
            holder: "fsn".into(),
            sum: "00".into(),
        }),
    };
    let refusal = Refusal { code: "invalid".into(), message: "why".into() };
    let record = serde_json::to_value(&name.records[0]).unwrap();
    let committed = serde_json::to_value(name.commit.as_ref().unwrap()).unwrap();
    for (schema, value) in [
        ("Commit", serde_json::to_value(commit(1, 0, "fsn", 0)).unwrap()),
        ("Name", serde_json::to_value(&name).unwrap()),
        ("Committed", committed),
        ("Record", record),
        ("Refusal", serde_json::to_value(refusal).unwrap()),
    ] {
        let described = &document["components"]["schemas"][schema];
        let keys = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&described["properties"]), keys(&value), "{schema}");
        let required = described["required"].as_array().unwrap().iter();
        let required: BTreeSet<String> =
            required.map(|field| field.as_str().unwrap().to_owned()).collect();
        assert!(required.is_subset(&keys(&value)) && !required.is_empty(), "{schema}");
    }
    let listed = &document["components"]["schemas"]["Refusal"]["properties"]["code"]["enum"];
    let listed: BTreeSet<&str> =
        listed.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(listed, CODES.map(|(code, _)| code).into());
    let described = &document["paths"]["/v1/commit"]["post"]["responses"];
    let described = described.as_object().unwrap();
    for (code, status) in CODES {
        assert!(described.contains_key(status.as_str()), "{code}: {status}");
    }
    assert!(document["paths"]["/v1/zones/{zone}/names/{name}"]["get"].is_object());
}
