use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use continuum_control_api::link::NameReport;
use continuum_dns::provider::memory::MemoryRecords;
use continuum_dns::provider::places::{Place, Takes};
use continuum_dns::provider::{ProviderError, RecordProvider};
use continuum_dns::records::plan::Change;
use continuum_dns::records::{Companion, Seen};
use continuum_dns::verify::Verdict;
use continuum_domain::Timing;
use continuum_domain::name_spec::WhilePaused;
use continuum_domain::observation::StandbyView;
use continuum_domain::pair::PairMachine;
use continuum_domain::spec::MemberSpec;
use continuum_domain::{Lsn, PairRecord, TimelineId, Version};
use continuum_runtime::disk::FsDisk;
use continuum_runtime::{BootClock, Clock};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;

const NAME: &str = "app.db.example";
/// How long a condition may take to come about before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// A server that answers as often as it is let, and notices who does not wait for an answer.
#[derive(Debug)]
struct Server {
    records: MemoryRecords,
    turns: Semaphore,
    inside: AtomicU32,
    most_inside: AtomicU32,
    reads: AtomicU32,
    /// How long it need not be looked at again, in ms.
    look_again: AtomicU64,
    /// What it says of the last change, and how often it was asked.
    everywhere: Mutex<Option<bool>>,
    asked: AtomicU32,
}

impl Server {
    fn new(turns: usize) -> Arc<Self> {
        Arc::new(Self {
            records: MemoryRecords::default(),
            turns: Semaphore::new(turns),
            inside: AtomicU32::new(0),
            most_inside: AtomicU32::new(0),
            reads: AtomicU32::new(0),
            look_again: AtomicU64::new(0),
            everywhere: Mutex::new(None),
            asked: AtomicU32::new(0),
        })
    }

    fn says(&self, everywhere: Option<bool>) {
        *self.everywhere.lock().unwrap() = everywhere;
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    fn reads(&self) -> u32 {
        self.reads.load(Ordering::SeqCst)
    }

    async fn stands(&self) -> Seen {
        self.records.read(&absolute(NAME)).await.unwrap()
    }

    async fn epoch(&self) -> Option<Epoch> {
        self.stands().await.companion.stamp().map(|stamp| stamp.epoch)
    }
}

#[async_trait]
impl RecordProvider for Server {
    async fn read(&self, name: &str) -> Result<Seen, ProviderError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        self.turns.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.records.read(name).await
    }

    async fn change(&self, change: &Change) -> Result<(), ProviderError> {
        self.records.change(change).await
    }

    fn is_fence(&self) -> bool {
        true
    }

    async fn settled(&self, _name: &str) -> Result<Option<bool>, ProviderError> {
        let said = *self.everywhere.lock().unwrap();
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(said)
    }

    fn look_again(&self) -> Duration {
        Duration::from_millis(self.look_again.load(Ordering::SeqCst))
    }
}

/// A provider with these servers.
struct Provider(Vec<Arc<Server>>);

impl Places for Provider {
    fn in_zone(&self, _zone: &str) -> Result<Vec<Place>, ProviderError> {
        let place = |(index, server): (usize, &Arc<Server>)| {
            let records: Arc<dyn RecordProvider> = server.clone();
            Place { label: format!("server {index}"), records }
        };
        Ok(self.0.iter().enumerate().map(place).collect())
    }
    fn takes(&self) -> Takes {
        Takes::default()
    }
    fn authorities(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

fn spec(name: NameSpec) -> PairSpec {
    let member = MemberSpec { priority: 100, host: "h".into(), port: 5432, health_name: None };
    let members = [(region("fsn"), member.clone()), (region("hel"), member)].into();
    let mut spec = PairSpec::new(PairId::new("app").unwrap(), members, region("fsn"));
    spec.names = vec![name];
    assert_eq!(spec.check(), Ok(()));
    spec
}

fn name(fsn: u8) -> NameSpec {
    let addresses = [(region("fsn"), [address(fsn)].into()), (region("hel"), [address(2)].into())];
    let at = ("pdns", "db.example");
    NameSpec::at_provider(NAME, Duration::from_secs(5), at, addresses.into())
}

fn status(spec: &PairSpec) -> PairStatus {
    let now = Tick(0);
    let machine = PairMachine::new(region("fsn"), Timing::default(), spec.clone(), 1, now, None);
    machine.status(now)
}

async fn desk(spec: &PairSpec, servers: &[Arc<Server>]) -> (NameDesk, TempDir) {
    desk_by(Arc::new(BootClock), spec, servers).await
}

/// A desk, and where its journal is.
async fn desk_by(
    clock: SharedClock,
    spec: &PairSpec,
    servers: &[Arc<Server>],
) -> (NameDesk, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(FsDisk::open(directory.path()).unwrap());
    let journal = Journal::open(disk, clock.clone()).await.unwrap();
    let provider: Arc<dyn Places> = Arc::new(Provider(servers.to_vec()));
    let providers = [("pdns".to_owned(), provider)].into();
    let desk = NameDesk::new((region("fsn"), clock), Vec::new(), providers, journal, spec);
    (desk, directory)
}

fn report(desk: &NameDesk) -> NameReport {
    desk.seen().report(BootClock.now()).unwrap().remove(NAME).unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not seen"));
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_nobody_and_gets_the_newest_when_it_answers() {
    let (hanging, well) = (Server::new(0), Server::new(1_000));
    let spec = spec(name(1));
    let (mut desk, _directory) = desk(&spec, &[hanging.clone(), well.clone()]).await;
    let status = status(&spec);
    desk.publish(Epoch(1), &status);
    until("the first publish to hang", async || hanging.reads.load(Ordering::SeqCst) == 1).await;
    for epoch in 2..=9 {
        desk.publish(Epoch(epoch), &status);
    }
    until("the other server to have it", async || well.epoch().await == Some(Epoch(9))).await;
    assert_eq!(hanging.epoch().await, None);
    let waiting = report(&desk);
    assert_eq!(waiting.places["server 0"].published_age_ms, None, "nothing came of it yet");
    assert_eq!(waiting.places["server 1"].epoch, Some(Epoch(9)));

    // One turn for the publish in flight, one for the newest; what lay between is never sent.
    hanging.turns.add_permits(2);
    until("the newest to be written", async || hanging.epoch().await == Some(Epoch(9))).await;
    assert_eq!(hanging.most_inside.load(Ordering::SeqCst), 1, "one in flight");
    assert_eq!(hanging.reads.load(Ordering::SeqCst), 2, "the newest wins");
}

/// Shows what it is told to.
#[derive(Debug, Default)]
struct Set(AtomicU64);

impl Clock for Set {
    fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::SeqCst))
    }

    fn wall_ms(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn what_was_wanted_long_ago_is_not_written_when_a_server_wakes_up() {
    let (server, clock) = (Server::new(0), Arc::new(Set::default()));
    let spec = spec(name(1));
    let (mut desk, _directory) = desk_by(clock.clone(), &spec, std::slice::from_ref(&server)).await;
    let status = status(&spec);
    desk.publish(Epoch(1), &status);
    until("the first publish to hang", async || server.reads.load(Ordering::SeqCst) == 1).await;
    desk.publish(Epoch(2), &status);
    // The lease was lost meanwhile: nobody wants epoch 2 any more.
    clock.0.store(5_000_000_000, Ordering::SeqCst);
    server.turns.add_permits(3);
    until("the one in flight to end", async || server.epoch().await == Some(Epoch(1))).await;
    until("it to be told", async || report(&desk).places["server 0"].epoch == Some(Epoch(1))).await;
    desk.publish(Epoch(3), &status);
    until("the newest to be written", async || server.epoch().await == Some(Epoch(3))).await;
    assert_eq!(server.reads.load(Ordering::SeqCst), 2, "epoch 2 was written although too old");
}

/// A place that bears few questions is asked few, and what is on its way is shown until it is there.
#[tokio::test]
async fn a_place_is_looked_at_as_often_as_it_bears_and_a_change_is_followed_until_it_is_everywhere()
{
    let (server, clock) = (Server::new(1_000), Arc::new(Set::default()));
    server.look_again.store(5_000, Ordering::SeqCst);
    server.says(Some(false));
    let spec = spec(name(1));
    let (mut desk, _directory) = desk_by(clock.clone(), &spec, std::slice::from_ref(&server)).await;
    let status = status(&spec);
    let place = |desk: &NameDesk| {
        let names = desk.seen().report(clock.now()).unwrap();
        names[NAME].places["server 0"].clone()
    };
    let at = |ms: u64| clock.0.store(ms * 1_000_000, Ordering::SeqCst);
    desk.publish(Epoch(3), &status);
    until("the change to spread", async || place(&desk).spreading_ms == Some(0)).await;
    assert_eq!((server.reads(), server.asked()), (1, 1));
    at(2_000);
    desk.publish(Epoch(3), &status);
    until("another question", async || server.asked() == 2).await;
    assert_eq!(server.reads(), 1, "looked at too soon");
    let shown = place(&desk);
    assert_eq!((shown.spreading_ms, shown.published_age_ms), (Some(2_000), Some(2_000)));
    server.says(Some(true));
    at(4_000);
    desk.publish(Epoch(3), &status);
    until("it to be everywhere", async || place(&desk).spreading_ms.is_none()).await;
    assert_eq!((server.reads(), server.asked()), (1, 3));
    at(5_000);
    desk.publish(Epoch(3), &status);
    until("another look", async || server.reads() == 2).await;
    // Another epoch does not wait.
    server.says(Some(false));
    desk.publish(Epoch(4), &status);
    until("the next change", async || place(&desk).spreading_ms == Some(0)).await;
    assert_eq!((server.epoch().await, server.reads()), (Some(Epoch(4)), 3));
}

#[tokio::test]
async fn what_others_wrote_is_undone_counted_and_told() {
    let server = Server::new(1_000);
    let spec = spec(name(1));
    let (mut desk, _directory) = desk(&spec, std::slice::from_ref(&server)).await;
    let status = status(&spec);
    desk.publish(Epoch(3), &status);
    until("the name", async || server.epoch().await == Some(Epoch(3))).await;
    let mut edited = server.stands().await;
    edited.records = Records::plain(5, [address(66)].into());
    server.records.put(&absolute(NAME), edited);
    desk.publish(Epoch(3), &status);
    let right = Records::plain(5, [address(1)].into());
    until("its repair", async || server.stands().await.records == right).await;
    until("the count", async || report(&desk).places["server 0"].foreign_writes == 1).await;
    let (_, what) = report(&desk).places["server 0"].last_foreign.clone().unwrap();
    assert!(what.contains("10.0.0.66"), "{what}");

    // Somebody holds a later epoch: nothing is written, and it is said.
    let later = Companion::of(&continuum_dns::records::Stamp {
        pair: spec.id.clone(),
        epoch: Epoch(9),
        holder: Some(region("hel")),
        sum: None,
    });
    server.records.put(&absolute(NAME), Seen { companion: later.clone(), records: right });
    desk.publish(Epoch(3), &status);
    until("the refusal", async || report(&desk).places["server 0"].failures == 1).await;
    let (_, code, text) = report(&desk).places["server 0"].last_error.clone().unwrap();
    assert_eq!(code, "newer-epoch");
    assert!(text.contains("epoch 9"), "{text}");
    assert_eq!(server.stands().await.companion, later);
}

#[tokio::test]
async fn names_of_the_embedded_servers_are_not_reported() {
    let embedded = spec(NameSpec::new(NAME, Duration::from_secs(1)));
    let (mut desk, _directory) = desk(&embedded, &[]).await;
    desk.publish(Epoch(1), &status(&embedded));
    assert_eq!(desk.seen().report(BootClock.now()), None);
}

#[tokio::test]
async fn a_changed_spec_reaches_the_name_and_what_cannot_follow_is_told() {
    let server = Server::new(1_000);
    let before = spec(name(1));
    let (mut desk, _directory) = desk(&before, std::slice::from_ref(&server)).await;
    let status = status(&before);
    desk.publish(Epoch(3), &status);
    let stands =
        async |last| server.stands().await.records == Records::plain(5, [address(last)].into());
    until("the first address", async || stands(1).await).await;
    desk.spec_changed(&spec(name(11)));
    desk.publish(Epoch(3), &status);
    until("the new address", async || stands(11).await).await;
    assert_eq!(report(&desk).places["server 0"].foreign_writes, 0, "our own change is none");

    let lacking = NameSpec { provider: Some("bind".into()), ..name(1) };
    desk.spec_changed(&spec(lacking));
    let problem = report(&desk).problem.unwrap();
    assert_eq!(problem, "the agent's file has no name_provider \"bind\"");
    let health_port = std::num::NonZeroU16::new(7442);
    let probed = NameSpec { policy: NamePolicy::Follow, health_port, ..name(1) };
    desk.spec_changed(&spec(probed));
    assert!(report(&desk).problem.unwrap().contains("LUA records, which provider pdns"));
    let health_checks = ["fsn", "hel"].map(|name| (region(name), "check".to_owned())).into();
    let routed = NameSpec { routing: Routing::Failover, health_checks, ..name(1) };
    desk.spec_changed(&spec(routed));
    assert!(report(&desk).problem.unwrap().contains("health checks of the provider, which pdns"));
    desk.spec_changed(&spec(name(12)));
    assert_eq!(report(&desk).problem, None);
    desk.publish(Epoch(3), &status);
    until("the name again", async || stands(12).await).await;
}

#[tokio::test]
async fn the_authorities_of_an_embedded_name_are_asked_and_nothing_is_written() {
    // Nobody answers there: what it serves is not known, and that is said.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::new(1_000);
    let authorities = vec![nobody.to_string().parse().unwrap()];
    let watched = spec(NameSpec { provider: None, authorities, ..name(1) });
    let (mut desk, _directory) = desk(&watched, std::slice::from_ref(&server)).await;
    desk.publish(Epoch(3), &status(&watched));
    until("the authority to be asked", async || !report(&desk).authorities.is_empty()).await;
    let told = report(&desk);
    assert_eq!((told.problem, told.epoch, told.converged), (None, Some(Epoch(3)), None));
    assert_eq!(told.authorities[&nobody.to_string()].serves, None);
    assert!(told.places.is_empty());
    assert_eq!(server.reads.load(Ordering::SeqCst), 0);
    // Without authorities there is nobody to ask.
    desk.spec_changed(&spec(NameSpec::new(NAME, Duration::from_secs(5))));
    assert_eq!(desk.seen().report(BootClock.now()), None);
}

#[test]
fn the_time_until_all_authorities_serve_is_told_once_for_each_epoch() {
    let seen = NamesSeen::default();
    seen.follow([(NAME.to_owned(), Ok(BTreeSet::new()))].into());
    let servers: [SocketAddr; 2] = [([10, 0, 0, 1], 53).into(), ([10, 0, 0, 2], 53).into()];
    let all = |verdict: Verdict| servers.map(|server| (server, verdict.clone())).into();
    let some = [(servers[0], Verdict::Serves), (servers[1], Verdict::NoData)].into();
    let at = |ms: u64| Tick(ms * 1_000_000);
    let of = |epoch| (Epoch(epoch), at(1_000));
    let took = |ms| Some(Duration::from_millis(ms));
    assert_eq!(seen.served(NAME, of(3), some, at(1_050)), None, "one refuses");
    assert_eq!(seen.served(NAME, of(3), BTreeMap::new(), at(1_060)), None, "nobody was asked");
    assert_eq!(seen.served(NAME, of(3), all(Verdict::Serves), at(1_070)), took(70));
    assert_eq!(seen.served(NAME, of(3), all(Verdict::Serves), at(1_080)), None, "told before");
    assert_eq!(seen.served(NAME, of(3), all(Verdict::NoData), at(1_090)), None);
    assert_eq!(seen.served(NAME, of(3), all(Verdict::Serves), at(1_100)), None, "told before");
    assert_eq!(seen.served(NAME, of(4), all(Verdict::Serves), at(1_200)), took(200));
    assert_eq!(seen.served("other", of(4), all(Verdict::Serves), at(1_200)), None);
}

fn primary_view(standby: StandbyView) -> SqlView {
    SqlView {
        in_recovery: false,
        timeline: TimelineId(1),
        wal: Some(Lsn(1_000)),
        replay: None,
        receiver_streaming: false,
        upstream_end: None,
        upstream_age_ms: None,
        sync_names: String::new(),
        standbys: [(region("hel"), standby)].into(),
        waiting_commits: 0,
        lowered_commit: None,
    }
}

#[tokio::test]
async fn a_read_only_name_lists_standbys_that_are_known_to_be_near() {
    let server = Server::new(1_000);
    let lag_max = Some(Duration::from_secs(1));
    let spec = spec(NameSpec { role: NameRole::Standby, lag_max, ..name(1) });
    let (mut desk, _directory) = desk(&spec, std::slice::from_ref(&server)).await;
    let mut status = status(&spec);
    let caught_up = StandbyView {
        streaming: true,
        sync: true,
        flush: Some(Lsn(1_000)),
        replay: Some(Lsn(1_000)),
        lag_ms: None,
    };
    let behind = |lag_ms| StandbyView { replay: Some(Lsn(900)), lag_ms, ..caught_up.clone() };
    let away = StandbyView { streaming: false, ..caught_up.clone() };
    let some = Records::plain(5, [address(2)].into());
    let steps = [
        (caught_up.clone(), &some, "nothing left to replay"),
        (behind(Some(1_001)), &Records::default(), "too far behind"),
        (behind(Some(400)), &some, "near again"),
        (behind(None), &Records::default(), "not known"),
        (caught_up.clone(), &some, "known again"),
        (away, &Records::default(), "it does not stream"),
    ];
    for (standby, due, what) in steps {
        status.observation.sql = Some((BootClock.now(), primary_view(standby)));
        desk.publish(Epoch(1), &status);
        until(what, async || {
            server.epoch().await.is_some() && server.stands().await.records == *due
        })
        .await;
    }
    status.observation.sql = Some((Tick(0), primary_view(caught_up)));
    desk.publish(Epoch(2), &status);
    until("an old look", async || server.epoch().await == Some(Epoch(2))).await;
    assert_eq!(server.stands().await.records, Records::default());
    let told = report(&desk);
    assert_eq!((told.epoch, told.records), (Some(Epoch(2)), Vec::<String>::new()));
}

#[tokio::test]
async fn names_of_a_pair_at_rest_say_what_their_spec_says() {
    let server = Server::new(1_000);
    let told = NameSpec {
        while_paused: WhilePaused::Answer,
        paused_addresses: [address(77)].into(),
        ..name(1)
    };
    let answering = spec(told);
    let (mut desk, _directory) = desk(&answering, std::slice::from_ref(&server)).await;
    let held = status(&answering);
    let stands =
        async |last| server.stands().await.records == Records::plain(5, [address(last)].into());
    desk.publish(Epoch(3), &held);
    until("the holder's address", async || stands(1).await).await;

    let record = PairRecord {
        epoch: Epoch(4),
        holder: None,
        in_sync: BTreeMap::new(),
        handover_to: None,
        paused: true,
        waits_for_all: false,
        rested_by: Some(region("fsn")),
    };
    let rests = PairStatus { record: Some((Version(9), record, Tick(0))), ..held.clone() };
    desk.publish(Epoch(4), &rests);
    until("the address that says so", async || stands(77).await).await;
    assert_eq!(server.epoch().await, Some(Epoch(4)));

    desk.spec_changed(&spec(NameSpec { while_paused: WhilePaused::Nodata, ..name(1) }));
    desk.publish(Epoch(4), &rests);
    until("no record", async || server.stands().await.records.is_empty()).await;

    desk.spec_changed(&spec(name(1)));
    desk.publish(Epoch(5), &held);
    until("the address of who resumed it", async || stands(1).await).await;
}
