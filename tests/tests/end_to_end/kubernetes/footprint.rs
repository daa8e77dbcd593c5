//! What a whole agent costs that drives a hundred Clusters: one with PostgreSQL, and more that are there
//! and have none yet. Figures are printed; of the machine they are measured on nothing is asserted but that
//! they do not grow without bounds.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use continuum_chaos::{LabOptions, NAMESPACE};
use continuum_control_api::rest::PairsQuery;
use continuum_domain::RegionId;
use continuum_domain::access::Tier;
use continuum_test_kube::Misbehaviour;
use continuum_tests::*;
use serde_json::{Value, json};

use super::field::Field;

/// Pairs beside the one that has PostgreSQL.
const MORE: u16 = 99;
const ALL_LIMIT: Duration = Duration::from_secs(180);
const WINDOW: Duration = Duration::from_secs(60);
/// Longer than its client keeps a connection that nobody uses: what it needed to start is no footprint.
const IDLE_CONNECTIONS: Duration = Duration::from_secs(60);
/// How long is looked whether it has come to rest, and what it lists a minute then.
const GLANCE: Duration = Duration::from_secs(5);
const AT_REST: f64 = 1_200.0;
const OUTAGE: Duration = Duration::from_secs(20);
/// What Linux counts in for every process, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where no PostgreSQL answers.
const FIRST_PORT: u16 = 21_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes five minutes: make footprint-kube"]
async fn the_footprint_of_an_agent_with_a_hundred_clusters() -> Outcome {
    let mut field = Field::writing(LabOptions { ttl: Duration::from_secs(10), ..quick() }).await?;
    let agent = format!("{}-agent", hel());
    let alone = Usage::of(&field, &agent);
    println!("one pair: {} KiB resident, {} of it its own", alone.resident_kib, alone.own_kib);
    give_more(&field).await?;
    field.lab.restart(&agent).await?;
    field
        .lab
        .until("all pairs to be reported", ALL_LIMIT, async || {
            let query = PairsQuery { limit: Some(1_000), ..Default::default() };
            let pairs = field.lab.api().pairs(&query).await.map_err(|error| error.to_string())?;
            let told = |view: &&continuum_control_api::rest::PairView| {
                view.members.get(&hel()).is_some_and(Option::is_some)
            };
            match pairs.iter().filter(told).count() {
                told if told > usize::from(MORE) => Ok(()),
                told => Err(format!("{told} of {} pairs", pairs.len())),
            }
        })
        .await?;
    field.lab.wait_healthy(ALL_LIMIT).await.inspect_err(|_| field.tell())?;

    let control = field.region(&hel()).server.control();
    // One that has just gone silent is looked at more often.
    field
        .lab
        .until("the agent to have come to rest", ALL_LIMIT, async || {
            control.forget_requests();
            tokio::time::sleep(GLANCE).await;
            let rates = control.per_minute().into_iter();
            let listed: f64 =
                rates.filter(|((verb, ..), _)| verb == "list").map(|(_, rate)| rate).sum();
            if listed < AT_REST { Ok(()) } else { Err(format!("{listed} lists a minute")) }
        })
        .await?;
    let started = Usage::of(&field, &agent);
    println!("begun: {} KiB resident, {} of it its own", started.resident_kib, started.own_kib);
    tokio::time::sleep(IDLE_CONNECTIONS).await;
    control.forget_requests();
    let before = Usage::of(&field, &agent);
    tokio::time::sleep(WINDOW).await;
    let after = Usage::of(&field, &agent);
    let cores = (after.processor - before.processor) / WINDOW.as_secs_f64();
    println!(
        "{} pairs: {} KiB resident, {} of it its own, {cores:.3} of a core",
        MORE + 1,
        after.resident_kib,
        after.own_kib
    );
    for ((verb, kind, _), rate) in control.per_minute() {
        println!("  {verb} {kind}: {rate:.1} a minute");
    }

    field.region_mut(&hel()).server.down().await;
    tokio::time::sleep(OUTAGE).await;
    field.region_mut(&hel()).server.up().await.unwrap();
    let up = field.lab.clock.now();
    field.region(&hel()).want("late", wanted(&field, MORE)).await;
    field
        .lab
        .until("an object made after the outage to be seen", ALL_LIMIT, async || {
            let says = field.region(&hel()).says("late", "Admitted").await;
            says.map(drop).ok_or_else(|| "nothing is said of it".to_owned())
        })
        .await?;
    println!("seen {:?} after an outage of {OUTAGE:?}", field.lab.clock.now().since(up));
    field.region(&hel()).misbehave(Misbehaviour::default());
    assert!(after.resident_kib < 200 * 1024, "{} KiB", after.resident_kib);
    assert!(cores < 1.0, "{cores} of a core");
    field.lab.stop().await
}

/// Memory and processor time so far of a part.
struct Usage {
    resident_kib: u64,
    /// Without what is mapped from files, the program itself above all.
    own_kib: u64,
    processor: f64,
}

impl Usage {
    fn of(field: &Field, part: &str) -> Self {
        let parts = &field.lab.manifest().parts;
        let pid = parts.iter().find(|one| one.name == part).and_then(|part| part.pid);
        let process = format!("/proc/{}", pid.expect("the part runs"));
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let kib = |what: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(what)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|one| one.parse::<f64>().unwrap()).sum();
        Self {
            resident_kib: kib("VmRSS:"),
            own_kib: kib("RssAnon:"),
            processor: ticks / TICKS_PER_SECOND,
        }
    }
}

fn wanted(field: &Field, number: u16) -> Value {
    let member = |region: &RegionId| {
        let host = field.lab.address(region).unwrap().to_string();
        json!({ "name": region, "host": host, "port": FIRST_PORT + number })
    };
    json!({
        "primaryRegion": fsn(),
        "hotStandbyRegions": [hel()],
        "regions": [member(&fsn()), member(&hel())],
    })
}

/// Makes the other Clusters and their pairs, and writes them into the agent's file. The operator does nothing
/// any more: they never get a PostgreSQL.
async fn give_more(field: &Field) -> Outcome {
    let region = field.region(&hel());
    region.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    field.grant(&hel(), Tier::Admin).await;
    let mut file = OpenOptions::new()
        .append(true)
        .open(field.lab.layout.config_file(&format!("{}-agent", hel())))
        .unwrap();
    for number in 0..MORE {
        let pair = format!("more-{number}");
        region.make(&format!("{pair}-hel"), &format!("{pair}-fsn")).await;
        region.want(&pair, wanted(field, number)).await;
        let member = format!(
            "\n[[clusters]]\nid = \"{pair}\"\nnamespace = \"{NAMESPACE}\"\nhost = \"{}\"\nport = {}\nuser = \
             \"postgres\"\ntls = false\nreplication_role = \"postgres\"\nkubeconfig = {:?}\n[clusters.clusters]\n\
             fsn = \"{pair}-fsn\"\nhel = \"{pair}-hel\"\n",
            field.lab.address(&hel())?,
            FIRST_PORT + number,
            field.lab.options.clusters[&hel()],
        );
        file.write_all(member.as_bytes()).unwrap();
    }
    Ok(())
}
