//! The clients' name is a record at a PowerDNS or a BIND: it follows the lease, whoever dies, and what goes
//! wrong with it is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use continuum_chaos::{Lab, LabNames, LabOptions, process};
use continuum_control_api::link::{NameReport, NameStanding};
use continuum_control_api::rest::PairView;
use continuum_dns::NameError;
use continuum_dns::lookup::{RecordType, query_a, query_tcp};
use continuum_dns::provider::publish::publish;
use continuum_dns::provider::rfc2136::Rfc2136;
use continuum_dns::provider::{ProviderError, RecordProvider, key_file};
use continuum_dns::records::plan::{Change, Plan, plan};
use continuum_dns::records::{Records, Seen, Wanted};
use continuum_domain::operation::{Method, OperationState};
use continuum_domain::spec::NameSpec;
use continuum_domain::{Epoch, RegionId};
use continuum_runtime::BootClock;
use continuum_tests::*;
use rustix::process::Signal;

/// Longest time of one message to it.
const DEADLINE: Duration = Duration::from_secs(5);
/// An address of nobody.
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 99));

fn at(names: LabNames) -> LabOptions {
    LabOptions { names, ..quick() }
}

/// The name server's part.
fn server(lab: &Lab) -> &'static str {
    lab.options.names.makes().first().expect("a name server of others").name()
}

/// The only name of the lab's pair.
fn name(view: &PairView) -> &NameSpec {
    view.spec.names.first().expect("the lab's pair has a name")
}

/// The server as the agent of `region` writes to it, with that region's key.
pub(crate) fn writer(lab: &Lab, view: &PairView, region: &RegionId) -> Rfc2136 {
    let key = key_file::tsig(&lab.layout.tsig_key_file(region)).expect("the region's key");
    let zone = name(view).zone.as_deref().expect("a zone");
    Rfc2136::new(lab.layout.name_server(), zone, Some(key), Arc::new(BootClock), DEADLINE)
        .expect("a zone at a server")
}

fn wanted(view: &PairView, epoch: Epoch, holder: &RegionId) -> Wanted {
    let addresses = name(view).addresses.get(holder).cloned().unwrap_or_default();
    let ttl = u32::try_from(name(view).ttl.as_secs()).expect("a short ttl");
    Wanted {
        name: format!("{}.", name(view).name),
        pair: view.spec.id.clone(),
        epoch,
        holder: holder.clone(),
        records: Records::plain(ttl, addresses),
    }
}

/// What the holder's agent says of the name, and how old that is.
fn by_holder(view: &PairView) -> Option<(&NameReport, u64)> {
    let aged = view.members.get(view.holder.as_ref()?)?.as_ref()?;
    Some((aged.report.names.as_ref()?.values().next()?, aged.age_ms))
}

/// Waits until what the holder's agent says of the name is as it should be.
async fn until_told(
    lab: &Lab,
    what: &str,
    fits: impl Fn(&PairView, &NameReport, u64) -> bool,
) -> Result<PairView, continuum_chaos::lab::Error> {
    lab.until(what, WHOLE_LIMIT, async || {
        let view = lab.pair().await.map_err(|error| error.to_string())?;
        let told = by_holder(&view).is_some_and(|(report, age_ms)| fits(&view, report, age_ms));
        if told { Ok(view) } else { Err(format!("{:?}", by_holder(&view))) }
    })
    .await
}

fn is_published(view: &PairView, report: &NameReport, age_ms: u64) -> bool {
    report.standing(view.epoch, age_ms) == NameStanding::Published
        && report.converged.is_some_and(|(epoch, _)| Some(epoch) == view.epoch)
}

/// `continuum` as an operator types it; its exit code and what it printed.
pub(crate) async fn continuum(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(continuum_chaos::lab::binary().expect("built"));
    command.args(arguments).arg("--config").arg(&lab.manifest().operator_config);
    let done = command.kill_on_drop(true).output().await.expect("it runs");
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A region is killed; the record changes by one conditional update and clients write again. Whoever
/// wakes up with the epoch before is refused, also where it had read before the move.
async fn a_region_is_killed(names: LabNames) -> Outcome {
    let mut lab = writing(at(names)).await?;
    let view = until_told(&lab, "the name to be published", is_published).await?;
    let before = epoch(&view);
    let address = lab.layout.name_server().to_string();
    let (code, said) = continuum(&lab, &["dns", "verify", "app", "--resolver", &address]).await;
    assert_eq!(code, Some(0), "{said}");

    // A writer of fsn that stalls between reading and writing.
    let stalled = writer(&lab, &view, &fsn());
    let read = stalled.read(&wanted(&view, before, &fsn()).name).await.expect("it answers");
    let elsewhere = Records::plain(1, BTreeSet::from([ELSEWHERE]));
    let late = Wanted { records: elsewhere, ..wanted(&view, before, &fsn()) };
    let Plan::Change { change, .. } = plan(&read, &late) else { panic!("nothing to change") };

    let began = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), lab.options.ttl * 4).await?;
    let view = until_told(&lab, "the name to follow", is_published).await?;
    assert_eq!(view.holder, Some(hel()));
    let (report, _) = by_holder(&view).expect("just told");
    let (_, took) = report.converged.expect("just told");
    println!("every authority served epoch {} {took} ms after it was won", epoch(&view));

    let refused = stalled.change(&change).await;
    assert!(matches!(refused, Err(ProviderError::Conflict(_))), "{refused:?}");
    let refused = publish(&stalled, &wanted(&view, before, &fsn())).await;
    assert_eq!(refused, Err(NameError::Refused { newest: epoch(&view) }));
    let (code, said) = continuum(&lab, &["dns", "verify", "app"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = continuum(&lab, &["dns", "render", "app"]).await;
    assert!(code == Some(0) && said.contains(": no difference"), "{said}");
    assert!(said.contains("holder=hel sum="), "{said}");

    lab.start_region(&fsn()).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, began, &fsn(), &hel())?;
    let judged = judge(&mut lab, "region killed", &[step], None).await?;
    let outage = gap(&judged, began, None);
    let promised = lab.options.ttl + lab.options.name_ttl + Duration::from_secs(1);
    assert!(outage <= bound(promised), "writes stood still for {outage:?}");
    lab.stop().await
}

/// The name server is away while the lease moves: the move does not wait for it, the name is shown as
/// not published, and it converges by itself. A record that somebody edits is put right and told of.
async fn the_name_server_is_away(names: LabNames) -> Outcome {
    let mut lab = writing(at(names)).await?;
    until_told(&lab, "the name to be published", is_published).await?;
    lab.kill(server(&lab)).await?;
    let began = lab.clock.now();
    let accepted = lab.switchover(&hel(), Some(Method::Clean), "names are away").await?;
    let operation = lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
    assert_eq!(operation.state, OperationState::Done, "{operation:#?}");
    let took = lab.clock.now().since(began);
    println!("switchover without the name server: done in {took:?}");
    assert!(took < Duration::from_secs(15), "it waited for the name server: {took:?}");
    let view = until_told(&lab, "the name to be shown as not published", |view, report, age_ms| {
        report.standing(view.epoch, age_ms) == NameStanding::NotPublished
            && report.places.values().all(|place| place.last_error.is_some())
    })
    .await?;
    assert_eq!(view.holder, Some(hel()));
    for asked in [&["status"][..], &["operation", "show", operation.id.as_str()]] {
        let (code, said) = continuum(&lab, asked).await;
        assert!(code == Some(0) && said.contains("is not published"), "{asked:?}: {said}");
    }
    let address = lab.layout.name_server().to_string();
    let (code, said) = continuum(&lab, &["dns", "verify", "app", "--authority", &address]).await;
    assert!(code == Some(1) && said.contains("unanswered"), "{said}");

    lab.restart(server(&lab)).await?;
    let view = until_told(&lab, "the name to be published again", is_published).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), WHOLE_LIMIT).await?;

    edit(&lab, &view).await;
    let view = until_told(&lab, "the edit to be told of", |_, report, _| {
        let told = |text: &str| text.contains(&ELSEWHERE.to_string());
        report.places.values().any(|place| {
            place.foreign_writes == 1
                && place.last_foreign.as_ref().is_some_and(|(_, what)| told(what))
        })
    })
    .await?;
    let stands = seen(&lab, &view).await;
    assert_eq!(stands.records, wanted(&view, epoch(&view), &hel()).records, "not repaired");
    let (_, said) = continuum(&lab, &["operation", "show", operation.id.as_str()]).await;
    assert!(!said.contains("is not published"), "{said}");
    let (_, said) = continuum(&lab, &["status"]).await;
    assert!(said.contains("somebody else wrote to"), "{said}");
    let (_, said) = continuum(&lab, &["pair", "show", "app"]).await;
    assert!(said.contains("every authority served epoch"), "{said}");

    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, began, &fsn(), &hel())?;
    judge(&mut lab, "name server away, switchover", &[step], None).await?;
    lab.stop().await
}

/// A server that takes connections and answers nothing is worse than one that is gone: every message to
/// it waits. PostgreSQL moves all the same. Names cannot follow meanwhile, which is why this writer knows
/// the members by address and the judge is asked for everything but names.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_server_hangs_while_a_region_dies_and_the_move_waits_for_nothing() -> Outcome {
    let mut lab = writing(at(LabNames::PowerDns)).await?;
    until_told(&lab, "the name to be published", is_published).await?;
    let members = vec![lab.address(&fsn())?, lab.address(&hel())?];
    lab.workload()?.direct(members);
    undisturbed().await;
    let hanging = lab.process(server(&lab)).expect("it runs");
    process::signal_all(std::slice::from_ref(&hanging), Signal::STOP);
    let began = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), lab.options.ttl * 4).await?;
    let view = lab.wait_moved(Epoch(1), lab.options.ttl * 4).await?;
    assert_eq!(view.holder, Some(hel()));
    undisturbed().await;
    let view = lab.pair().await?;
    let standing = by_holder(&view).map(|(report, age_ms)| report.standing(view.epoch, age_ms));
    assert_ne!(standing, Some(NameStanding::Published), "{:?}", by_holder(&view));

    process::signal_all(std::slice::from_ref(&hanging), Signal::CONT);
    until_told(&lab, "the name to follow", is_published).await?;
    lab.start_region(&fsn()).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, began, &fsn(), &hel())?;
    let judged = lab.judge(&[step], None).await?;
    let broken = judged.verdict.violations();
    assert!(broken.iter().all(|text| text.starts_with("I3: ")), "{broken:?}");
    let outage = gap(&judged, began, None);
    println!("region killed while the name server hangs: writes stood still for {outage:?}");
    assert!(outage <= bound(lab.options.ttl + Duration::from_secs(1)), "{outage:?}");
    lab.stop().await
}

/// Every member is in the record, and the server probes each one's lease-gated URL: the name follows though
/// the region that takes over cannot write to the server at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_killed_and_a_probed_name_follows_without_a_write() -> Outcome {
    let mut lab = writing(at(LabNames::PowerDnsFollow)).await?;
    until_told(&lab, "the name to be published", is_published).await?;
    lab.kill("hel-agent").await?;
    std::fs::write(lab.layout.api_key_file(&hel()), "wrong").expect("its file");
    lab.restart("hel-agent").await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;

    let before = serial(&lab).await;
    let began = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.wait_acknowledged(Some(lab.address(&hel())?), lab.options.ttl * 4).await?;
    let view = until_told(&lab, "the companion to be refused", |view, report, age_ms| {
        view.holder == Some(hel())
            && report.standing(view.epoch, age_ms) == NameStanding::NotPublished
            && report.places.values().all(|place| place.last_error.is_some())
    })
    .await?;
    // Between two probes that find nobody it answers every address.
    let (at, survivor) = (lab.layout.name_server(), lab.address(&hel())?);
    lab.until("the probed name to follow", WHOLE_LIMIT, async || {
        let answer = query_a(at, &name(&view).name, DEADLINE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.addresses == [survivor] { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await?;
    assert_eq!(serial(&lab).await, before, "somebody wrote");

    lab.start_region(&fsn()).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, began, &fsn(), &hel())?;
    let judged = judge(&mut lab, "region killed, a probed name", &[step], None).await?;
    let outage = gap(&judged, began, None);
    println!(
        "region killed, a probed name: writes stood still for {outage:?}, 0 writes to the server"
    );
    // The server's interval, and the longest time of a probe.
    let probes = Duration::from_secs(2);
    let promised = lab.options.ttl + lab.options.name_ttl + probes + Duration::from_secs(1);
    assert!(outage <= bound(promised), "writes stood still for {outage:?}");
    // Whoever may write does it at the next move.
    let accepted = lab.switchover(&fsn(), Some(Method::Clean), "back").await?;
    let operation = lab.wait_ended(&accepted.id, OPERATION_LIMIT).await?;
    assert_eq!(operation.state, OperationState::Done, "{operation:#?}");
    until_told(&lab, "the name to be published again", is_published).await?;
    assert_ne!(serial(&lab).await, before);
    lab.stop().await
}

/// The zone's serial, which each write through the API raises.
async fn serial(lab: &Lab) -> u32 {
    let view = lab.pair().await.expect("the core answers");
    let zone = name(&view).zone.as_deref().expect("a zone");
    let soa = query_tcp(lab.layout.name_server(), zone, RecordType::SOA, DEADLINE).await;
    let soa = soa.expect("it answers");
    let fields = soa.answers.first().expect("a zone").data.to_string();
    fields.split(' ').nth(2).and_then(|serial| serial.parse().ok()).expect("a serial")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_killed_and_the_record_at_powerdns_follows() -> Outcome {
    a_region_is_killed(LabNames::PowerDns).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_killed_and_the_record_at_bind_follows() -> Outcome {
    a_region_is_killed(LabNames::Bind).await
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_is_away_during_a_switchover_and_an_edit_is_repaired() -> Outcome {
    the_name_server_is_away(LabNames::PowerDns).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the same with BIND"]
async fn bind_is_away_during_a_switchover_and_an_edit_is_repaired() -> Outcome {
    the_name_server_is_away(LabNames::Bind).await
}

async fn seen(lab: &Lab, view: &PairView) -> Seen {
    let name = wanted(view, epoch(view), &hel()).name;
    writer(lab, view, &hel()).read(&name).await.expect("it answers")
}

/// As a hand with a key would: the records change, the companion does not.
async fn edit(lab: &Lab, view: &PairView) {
    let stands = seen(lab, view).await;
    let change = Change {
        name: wanted(view, epoch(view), &hel()).name,
        stamp: stands.companion.stamp().expect("one stamp"),
        expected: stands.companion,
        records: Records::plain(1, BTreeSet::from([ELSEWHERE])),
    };
    writer(lab, view, &hel()).change(&change).await.expect("the edit");
}
