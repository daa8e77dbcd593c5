//! One pair with a name at each kind of name server at once: a secondary of the embedded server, BIND by
//! dynamic update, PowerDNS by its API, a pool-domain-manager and Route 53. All follow a planned move and
//! a kill; one that is down or refuses follows later, is told of meanwhile, and nothing waits for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use continuum_chaos::lab::Error;
use continuum_chaos::{Lab, LabNames, LabOptions, Make, NameElsewhere};
use continuum_control_api::link::NameStanding;
use continuum_control_api::rest::PairView;
use continuum_dns::lookup::{RecordType, query_a, query_tcp, text};
use continuum_dns::records::{Stamp, companion_name};
use continuum_domain::operation::{Method, OperationState, StepRecord};
use continuum_domain::{Epoch, OperationId, RegionId};
use continuum_tests::*;
use serde_json::{Value, json};

#[allow(dead_code, clippy::unwrap_used, reason = "shared with the contract suites of names")]
mod stand_ins;

use crate::names_elsewhere::continuum;
use stand_ins::calls::Fault;
use stand_ins::pdm::{self, Pdm};
use stand_ins::route53::{self, Route53};

/// The zone of the stand-ins.
const ZONE: &str = "db.example";
const AT_PDM: &str = "pool.db.example";
const AT_ROUTE53: &str = "cloud.db.example";
const AT_BIND: &str = "bind.lab.continuum.test";
const AT_POWERDNS: &str = "powerdns.lab.continuum.test";
/// Names of the spec.
const NAMES: usize = 5;
/// Longest time of one question.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long all names may take to lead to another holder.
const FOLLOW_LIMIT: Duration = Duration::from_secs(30);

/// What a name says to whoever asks: all of its addresses, and its companion.
type Said = Result<(Vec<IpAddr>, Epoch, Option<RegionId>), String>;

/// The services that the test runs itself, and where their keys are.
struct Services {
    pdm: Pdm,
    route53: Route53,
    keys: tempfile::TempDir,
}

impl Services {
    async fn start() -> Self {
        let keys = tempfile::tempdir().expect("a directory");
        Self { pdm: Pdm::start().await, route53: Route53::start().await, keys }
    }

    /// The names at them, with a key of its own for each region.
    fn names(&self) -> Vec<NameElsewhere> {
        let regions = [fsn(), hel()];
        let sections = |section: &dyn Fn(usize, &Path) -> (String, Value)| {
            let of = |(index, region): (usize, &RegionId)| {
                let file = self.keys.path().join(format!("{index}-{region}"));
                let (key, value) = section(index, &file);
                let file = value["key_file"].as_str().expect("it names its key's file");
                std::fs::write(file, key).expect("a key");
                (region.clone(), value)
            };
            regions.iter().enumerate().map(of).collect::<BTreeMap<_, _>>()
        };
        let pool = sections(&|index, file| {
            let file = file.with_extension("token");
            let section =
                json!({ "name": "pool", "kind": "pdm", "api": self.pdm.url(), "key_file": file });
            (pdm::TOKENS[index].to_owned(), section)
        });
        let cloud = sections(&|index, file| {
            let id = route53::KEY_IDS[index];
            let keys = format!("aws_access_key_id = {id}\naws_secret_access_key = secret\n");
            let section = json!({
                "name": "cloud", "kind": "route53", "endpoint": self.route53.url(),
                "zones": { ZONE: route53::ZONE_ID }, "key_file": file.with_extension("aws"),
                "look_again": "1s",
            });
            (keys, section)
        });
        let named = |name: &str, provider: &str, sections| NameElsewhere {
            name: name.into(),
            zone: ZONE.into(),
            provider: provider.into(),
            sections,
        };
        vec![named(AT_PDM, "pool", pool), named(AT_ROUTE53, "cloud", cloud)]
    }

    fn at_pdm(&self) -> Said {
        let stands = self.pdm.zone().at(&format!("{AT_PDM}."));
        let committed = stands.commit.ok_or("no commit stands")?;
        let address = |record: &_| address_of(record);
        let addresses: Result<_, String> = stands.records.iter().map(address).collect();
        let holder = RegionId::new(&committed.holder).map_err(|error| error.to_string())?;
        Ok((addresses?, Epoch(committed.epoch), Some(holder)))
    }

    fn at_route53(&self) -> Said {
        let values = |name: String, kind: &str| {
            let sets = self.route53.zone().at(&name);
            let fits = sets.into_iter().filter(|set| set.kind == kind);
            fits.flat_map(|set| set.values).collect::<Vec<_>>()
        };
        let name = format!("{AT_ROUTE53}.");
        let parsed = |value: &String| value.parse().map_err(|error| format!("{value}: {error}"));
        let addresses: Result<_, String> = values(name.clone(), "A").iter().map(parsed).collect();
        let companion = values(companion_name(&name), "TXT");
        let companion = companion.first().ok_or("no companion stands")?;
        let (epoch, holder) = stamp(companion.trim_matches('"'))?;
        Ok((addresses?, epoch, holder))
    }
}

fn address_of(record: &continuum_dns::provider::pdm::Record) -> Result<IpAddr, String> {
    record.content.parse().map_err(|error| format!("{record:?}: {error}"))
}

fn stamp(companion: &str) -> Result<(Epoch, Option<RegionId>), String> {
    let stamp = Stamp::parse(companion).ok_or_else(|| format!("no companion: {companion}"))?;
    Ok((stamp.epoch, stamp.holder))
}

/// What a name server says.
async fn asked(server: SocketAddr, name: &str) -> Said {
    let answer = query_a(server, name, DEADLINE).await.map_err(|error| error.to_string())?;
    let companion = query_tcp(server, &companion_name(name), RecordType::TXT, DEADLINE).await;
    let companion = text(&companion.map_err(|error| error.to_string())?);
    let (epoch, holder) = stamp(&companion.ok_or("no companion")?)?;
    Ok((answer.addresses, epoch, holder))
}

/// What every name says, each at the server that its clients ask.
async fn said(lab: &Lab, services: &Services) -> BTreeMap<String, Said> {
    let clients = clients(lab).await;
    let server = |make| lab.layout.authority(make).expect("it is a part of the lab");
    BTreeMap::from([
        (clients.clone(), asked(lab.layout.name_server(), &clients).await),
        (AT_BIND.into(), asked(server(Make::Bind), AT_BIND).await),
        (AT_POWERDNS.into(), asked(server(Make::PowerDns), AT_POWERDNS).await),
        (AT_PDM.into(), services.at_pdm()),
        (AT_ROUTE53.into(), services.at_route53()),
    ])
}

/// Waits until every name but `but` says the holder alone, under the pair's epoch, and the holder's agent
/// says so of each: confirmed where it is written, and when all authorities served it.
async fn until_followed(
    lab: &Lab,
    services: &Services,
    holder: &RegionId,
    but: Option<&str>,
) -> Result<PairView, Error> {
    let address = lab.address(holder)?;
    lab.until(&format!("the names to lead to {holder}"), FOLLOW_LIMIT, async || {
        let view = lab.pair().await.map_err(|error| error.to_string())?;
        let due = Ok((vec![address], view.epoch.ok_or("no epoch")?, Some(holder.clone())));
        let said = said(lab, services).await;
        assert_eq!(said.len(), NAMES);
        let wrong = |(name, said): &(&String, &Said)| Some(name.as_str()) != but && **said != due;
        if let Some(wrong) = said.iter().find(wrong) {
            return Err(format!("{wrong:?}, due {due:?}"));
        }
        told(&view, holder, but).map(|()| view)
    })
    .await
}

/// What the holder's agent tells of the names.
fn told(view: &PairView, holder: &RegionId, but: Option<&str>) -> Result<(), String> {
    let aged = view.members.get(holder).and_then(Option::as_ref).ok_or("no report")?;
    let reports = aged.report.names.as_ref().ok_or("nothing of names")?;
    assert_eq!(reports.len(), NAMES, "{reports:?}");
    for (name, report) in reports.iter().filter(|(name, _)| Some(name.as_str()) != but) {
        let converged = report.converged.map(|(epoch, _)| epoch);
        // Nobody can be asked what a stand-in serves.
        let served = report.authorities.is_empty() || converged == view.epoch;
        let standing = match report.places.is_empty() {
            true => report.standing_as_served(view.epoch, aged.age_ms),
            false => report.standing(view.epoch, aged.age_ms),
        };
        if standing != NameStanding::Published || !served {
            return Err(format!("{name}: {report:?}"));
        }
    }
    Ok(())
}

/// The name that the lab's clients use.
async fn clients(lab: &Lab) -> String {
    let own = lab.pair().await.expect("the core answers").spec.names;
    own.first().expect("the lab's pair has names").name.clone()
}

/// Waits until the operation says of these names, and of no other, how long they took to be served by
/// all their authorities.
async fn until_measured(lab: &Lab, id: &OperationId, names: &[&str]) -> Result<(), Error> {
    lab.until("the operation to tell how long names took", FOLLOW_LIMIT, async || {
        let operation = lab.api().operation(id).await.map_err(|error| error.to_string())?;
        let served =
            operation.steps.iter().filter(|line| line.detail.contains(" is served by all of "));
        let served: Vec<_> = served.collect();
        let of = |name: &&str| {
            let mine = |line: &&StepRecord| line.detail.starts_with(&format!("{name} is"));
            let mine: Vec<_> = served.iter().copied().filter(mine).collect();
            mine.len() == 1 && mine.iter().all(|line| line.took_us > Some(0))
        };
        match served.len() == names.len() && names.iter().all(of) {
            true => Ok(()),
            false => Err(format!("{:#?}", operation.steps)),
        }
    })
    .await
}

/// BIND is down while the pair is moved on purpose: the move does not wait for it, all other names
/// follow, its own is told of and follows when it is back.
async fn a_planned_move_without_bind(lab: &mut Lab, services: &Services) -> Outcome {
    lab.kill(Make::Bind.name()).await?;
    let accepted = lab.switchover(&hel(), Some(Method::Clean), "names everywhere").await?;
    let operation = lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
    assert_eq!(operation.state, OperationState::Done, "{operation:#?}");
    until_followed(lab, services, &hel(), Some(AT_BIND)).await?;
    let shown = lab.until("the name at BIND to be told of", FOLLOW_LIMIT, async || {
        let (_, said) = continuum(lab, &["operation", "show", operation.id.as_str()]).await;
        if said.contains(&format!("{AT_BIND} is not published")) { Ok(said) } else { Err(said) }
    });
    let shown = shown.await?;
    assert_eq!(shown.matches("is not published").count(), 1, "{shown}");
    until_measured(lab, &operation.id, &[AT_POWERDNS, &clients(lab).await]).await?;
    lab.restart(Make::Bind.name()).await?;
    until_followed(lab, services, &hel(), None).await?;
    // The move had ended long before.
    until_measured(lab, &operation.id, &[AT_POWERDNS, &clients(lab).await, AT_BIND]).await?;
    let (_, shown) = continuum(lab, &["pair", "show", "app"]).await;
    assert_eq!(shown.matches("every authority served epoch").count(), 3, "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_at_every_kind_of_server_follow_a_planned_move_and_a_kill() -> Outcome {
    let services = Services::start().await;
    let names_elsewhere = services.names();
    let options = LabOptions { names: LabNames::Everywhere, names_elsewhere, ..quick() };
    let mut lab = writing(options).await?;
    until_followed(&lab, &services, &fsn(), None).await?;

    let began = lab.clock.now();
    a_planned_move_without_bind(&mut lab, &services).await?;
    let away = moved(&lab, began, &fsn(), &hel())?;
    let before = epoch(&lab.wait_healthy(WHOLE_LIMIT).await?);

    // Of both services the next answers are of no use, or never come.
    services.pdm.zone().calls.fail("commit", &[Fault::Internal, Fault::ReplyLost]);
    services.route53.zone().calls.fail("change", &[Fault::Throttled, Fault::ReplyLost]);
    let asked = (services.pdm.made("commit"), services.route53.made("change"));
    let began = lab.clock.now();
    lab.kill_region(&hel()).await?;
    lab.wait_acknowledged(Some(lab.address(&fsn())?), lab.options.ttl * 4).await?;
    let view = until_followed(&lab, &services, &fsn(), None).await?;
    assert!(epoch(&view) > before);
    let now = (services.pdm.made("commit"), services.route53.made("change"));
    assert!(now.0 >= asked.0 + 2 && now.1 >= asked.1 + 2, "not disturbed: {asked:?}, {now:?}");

    lab.start_region(&hel()).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    let back = moved(&lab, began, &hel(), &fsn())?;
    judge(&mut lab, "names everywhere", &[away, back], None).await?;
    lab.stop().await
}
