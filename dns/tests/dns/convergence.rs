//! Measured: how long after a move until every resolver answers with the new primary. The resolvers are
//! real, keep answers for their ttl as their makers set them, and are asked all the time, as many clients do.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::authority::bind::Bind;
use crate::authority::gate::Gate;
use crate::authority::knot::Knot;
use crate::authority::powerdns::{KEY, PowerDns, ZONE};
use crate::authority::unbound::Unbound;
use crate::authority::{KEYS, TIMEOUT, free_address};
use crate::common::{Lab, WRITER, elect};
use crate::hidden_primary::{Primary, config};
use continuum_dns::lookup::{RecordType, query_tcp, resolve};
use continuum_dns::lua::Features;
use continuum_dns::lua::policy::follow;
use continuum_dns::provider::powerdns::{PowerDns as Api, PowerDnsAt};
use continuum_dns::provider::publish::publish;
use continuum_dns::provider::rfc2136::{Rfc2136, TsigKey};
use continuum_dns::records::{Records, Wanted};
use continuum_domain::{Epoch, PairId, RegionId};
use continuum_runtime::{BootClock, Clock, seed};
use continuum_witness::memory::MemoryStore;
use tokio::task::JoinSet;

/// The members' addresses: their health URLs are there too.
const MEMBERS: [(&str, &str); 2] = [("fsn", "127.0.0.1"), ("hel", "127.0.0.2")];
/// Resolvers in front of each authority.
const RESOLVERS: usize = 2;
/// How often a resolver is asked, and an authority.
const RESOLVER_LOOK: Duration = Duration::from_millis(50);
const AUTHORITY_LOOK: Duration = Duration::from_millis(5);
/// Nothing takes longer than this.
const LIMIT: Duration = Duration::from_secs(120);

/// How the holder is moved.
enum Mover {
    /// By dynamic update of one record.
    Update(Rfc2136),
    /// By the pair's register, which the hidden primary reads.
    Register(Arc<MemoryStore>),
    /// By the health URLs alone.
    Gates([Gate; 2]),
}

struct Case {
    name: &'static str,
    asked: String,
    authorities: Vec<SocketAddr>,
    mover: Mover,
    /// Servers that live as long as the case.
    kept: Box<dyn Any + Send>,
    primary: Option<Primary>,
}

fn wanted(epoch: u64, member: usize, records: Records) -> Wanted {
    Wanted {
        name: WRITER.to_owned() + ".",
        pair: PairId::new("app").unwrap(),
        epoch: Epoch(epoch),
        holder: RegionId::new(MEMBERS[member].0).unwrap(),
        records,
    }
}

fn address(member: usize) -> IpAddr {
    MEMBERS[member].1.parse().unwrap()
}

impl Mover {
    fn update(server: SocketAddr) -> Self {
        let key = TsigKey::new(KEYS[0].0, "hmac-sha256", KEYS[0].1).unwrap();
        let clock = Arc::new(BootClock);
        Self::Update(Rfc2136::new(server, "db.example", Some(key), clock, TIMEOUT).unwrap())
    }

    async fn to(&self, epoch: u64, member: usize, ttl: u32) {
        match self {
            Self::Update(provider) => {
                let records = Records::plain(ttl, [address(member)].into());
                publish(provider, &wanted(epoch, member, records)).await.unwrap();
            }
            Self::Register(store) => elect(&**store, epoch, Some(MEMBERS[member].0)).await,
            Self::Gates(gates) => {
                gates[1 - member].open.send(false).unwrap();
                gates[member].open.send(true).unwrap();
            }
        }
    }
}

fn updated(name: &'static str, server: SocketAddr, kept: Box<dyn Any + Send>) -> Case {
    let (asked, authorities) = (WRITER.to_owned() + ".", vec![server]);
    Case { name, asked, authorities, mover: Mover::update(server), kept, primary: None }
}

async fn transferred(ttl: u32) -> Case {
    let (lab, store) = (Lab::new(), Arc::new(MemoryStore::new()));
    let (dns, bind, knot) = (free_address(), free_address(), free_address());
    let mut config = config(&lab, dns, &[bind, knot]);
    config.poll = Duration::from_millis(100);
    config.names[0].ttl = Duration::from_secs(ttl.into());
    let listed = |(name, address): (&str, &str)| {
        (RegionId::new(name).unwrap(), vec![address.parse().unwrap()])
    };
    config.names[0].addresses = MEMBERS.map(listed).into();
    let primary = Primary::start(&lab, config, store.clone()).await;
    let secondaries = (Bind::secondary(bind, &[dns], KEYS[0]), Knot::secondary(knot, &[dns]));
    Case {
        name: "hidden primary, BIND and Knot as secondaries",
        asked: WRITER.to_owned() + ".",
        authorities: vec![bind, knot],
        mover: Mover::Register(store),
        kept: Box::new((lab, secondaries)),
        primary: Some(primary),
    }
}

async fn followed(name: &'static str, interval: u32, ttl: u32) -> Case {
    let server = PowerDns::probing(interval).await;
    let one = Gate::start(&format!("{}:0", MEMBERS[0].1), true).await;
    let other = Gate::start(&format!("{}:{}", MEMBERS[1].1, one.address.port()), false).await;
    let members: BTreeMap<RegionId, BTreeSet<IpAddr>> = MEMBERS
        .map(|(name, address)| {
            (RegionId::new(name).unwrap(), BTreeSet::from([address.parse().unwrap()]))
        })
        .into();
    let url = format!("http://app.db.example:{}/pairs/app/primary", one.address.port());
    let lua = follow(&members, &url, Features::default()).unwrap();
    let at = PowerDnsAt {
        api: server.api_url(),
        key: KEY.into(),
        dns: server.dns,
        zone: ZONE.into(),
        deadline: TIMEOUT,
    };
    let records = Records::lua(ttl, &lua);
    publish(&Api::new(at).unwrap(), &wanted(1, 0, records)).await.unwrap();
    Case {
        name,
        asked: WRITER.to_owned() + ".",
        authorities: vec![server.dns],
        mover: Mover::Gates([one, other]),
        kept: Box::new(server),
        primary: None,
    }
}

/// Time from the move until each of some servers answers the new address alone, and answers on the way
/// that were neither the old address nor the new one alone.
struct Looked {
    took: Duration,
    odd: u32,
}

async fn look(server: SocketAddr, name: String, member: usize, pause: Duration, rd: bool) -> u32 {
    let (due, old) = (BTreeSet::from([address(member)]), BTreeSet::from([address(1 - member)]));
    let mut odd = 0;
    loop {
        let answer = if rd {
            resolve(server, &name, RecordType::A, TIMEOUT).await
        } else {
            query_tcp(server, &name, RecordType::A, TIMEOUT).await
        };
        let seen: Option<BTreeSet<IpAddr>> = answer.ok().map(|answer| {
            answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
        });
        match seen {
            Some(seen) if seen == due => return odd,
            Some(seen) if seen == old => {}
            _ => odd += 1,
        }
        tokio::time::sleep(pause).await;
    }
}

async fn until_all(servers: &[SocketAddr], name: &str, member: usize, rd: bool) -> Looked {
    let began = BootClock.now();
    let pause = if rd { RESOLVER_LOOK } else { AUTHORITY_LOOK };
    let mut looking = JoinSet::new();
    for server in servers {
        looking.spawn(look(*server, name.to_owned(), member, pause, rd));
    }
    let odd = tokio::time::timeout(LIMIT, looking.join_all()).await.expect("it never converged");
    Looked { took: BootClock.now().since(began), odd: odd.into_iter().sum() }
}

fn spread(mut all: Vec<Duration>) -> String {
    all.sort();
    let seconds = |at: usize| format!("{:.2}", all[at].as_secs_f64());
    format!("{} / {} / {}", seconds(0), seconds(all.len() / 2), seconds(all.len() - 1))
}

/// Moves the holder again and again, each time at another point of the life of the answers in the caches;
/// a row of the table.
async fn measure(case: Case, ttl: u32, rounds: u32) -> String {
    let mut resolvers = Vec::new();
    for _ in 0..RESOLVERS {
        resolvers.push(Unbound::caching(&case.authorities).await);
    }
    let servers: Vec<SocketAddr> = resolvers.iter().map(|resolver| resolver.dns).collect();
    case.mover.to(1, 0, ttl).await;
    until_all(&case.authorities, &case.asked, 0, false).await;
    until_all(&servers, &case.asked, 0, true).await;
    let (mut by_authorities, mut by_resolvers, mut odd) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let life = Duration::from_secs(ttl.into()) * (2 * round + 1) / (2 * rounds);
        let (epoch, member) = (u64::from(round) + 2, usize::try_from((round + 1) % 2).unwrap());
        // Clients go on asking meanwhile for what is not there yet, so that the old answer is in each cache.
        let meanwhile = until_all(&servers, &case.asked, member, true);
        let early = tokio::time::timeout(life, meanwhile).await;
        assert!(early.is_err(), "{}: it moved by itself", case.name);
        let moving = case.mover.to(epoch, member, ttl);
        let ((), authorities, resolvers) = tokio::join!(
            moving,
            until_all(&case.authorities, &case.asked, member, false),
            until_all(&servers, &case.asked, member, true),
        );
        by_authorities.push(authorities.took);
        by_resolvers.push(resolvers.took);
        odd += authorities.odd + resolvers.odd;
    }
    let row = format!(
        "| {} | {ttl} s | {rounds} | {} | {} | {odd} |",
        case.name,
        spread(by_authorities),
        spread(by_resolvers)
    );
    if let Some(primary) = case.primary {
        primary.stop().await;
    }
    drop(case.kept);
    row
}

/// Every way of keeping a name, side by side; the rows of the table.
async fn table(ttl: u32, rounds: u32) -> Vec<String> {
    let (powerdns, bind) = (PowerDns::start().await, Bind::start().await);
    let knot = Knot::start().await;
    let cases = [
        updated("PowerDNS, `flip` by `rfc2136`", powerdns.dns, Box::new(powerdns)),
        updated("BIND, `flip` by `rfc2136`", bind.dns, Box::new(bind)),
        updated("Knot, `flip` by `rfc2136`", knot.dns, Box::new(knot)),
        transferred(ttl).await,
        followed("PowerDNS, `follow`, probes each 1 s", 1, ttl).await,
        followed("PowerDNS, `follow`, probes each 5 s", 5, ttl).await,
    ];
    let running = cases.map(|case| seed::spawn(measure(case, ttl, rounds)));
    let mut rows = Vec::new();
    for row in running {
        rows.push(row.await.unwrap());
    }
    rows
}

/// The same in short: every resolver comes to the new primary, by every way, and never by itself.
#[tokio::test(flavor = "multi_thread")]
async fn every_resolver_comes_to_the_new_primary() {
    assert_eq!(table(2, 1).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for ten minutes: make study-names"]
async fn how_long_until_every_resolver_answers_with_the_new_primary() {
    println!(
        "| authority | ttl | rounds | every authority, s: min / median / max | every resolver, s | odd answers |"
    );
    println!("|---|---|---|---|---|---|");
    for (ttl, rounds) in [(5, 20), (30, 10)] {
        table(ttl, rounds).await.iter().for_each(|row| println!("{row}"));
    }
}
