//! Health names at real PowerDNS, and at a resolver that does whatever a test wants.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use continuum_dns::{HealthNames, ResolverClient};
use continuum_domain::corroborate::{NameState, Resolver, ResolverAnswer};
use continuum_runtime::seed;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const NAME: &str = "health.fsn.example.net";
/// For answers that come.
const PATIENT: Duration = Duration::from_secs(5);
/// For answers that do not.
const BRIEF: Duration = Duration::from_millis(300);

// ---- a resolver of the tests' own ------------------------------------------------------------

/// What a question looked like.
#[derive(Clone, Debug)]
struct Seen {
    message: Message,
    from: SocketAddr,
    tcp: bool,
}

/// Datagrams that answer the `nth` question of its type (from 0); by TCP, the first one.
type Script = fn(&Seen, usize) -> Vec<Vec<u8>>;

struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// The same port by UDP and by TCP.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

impl Stub {
    async fn start(script: Script) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let note = |seen: &Mutex<Vec<Seen>>, one: &Seen| {
            let mut seen = seen.lock().unwrap();
            let kind = |it: &Seen| (it.tcp, it.message.queries[0].query_type());
            let nth = seen.iter().filter(|it| kind(it) == kind(one)).count();
            seen.push(one.clone());
            nth
        };
        let (by_udp, by_tcp) = (seen.clone(), seen.clone());
        let answer_udp = seed::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let message = Message::from_vec(&buffer[..length]).unwrap();
                let one = Seen { message, from, tcp: false };
                for datagram in script(&one, note(&by_udp, &one)) {
                    udp.send_to(&datagram, from).await.unwrap();
                }
            }
        });
        let answer_tcp = seed::spawn(async move {
            while let Ok((mut stream, from)) = tcp.accept().await {
                let length = stream.read_u16().await.unwrap();
                let mut bytes = vec![0; usize::from(length)];
                stream.read_exact(&mut bytes).await.unwrap();
                let one = Seen { message: Message::from_vec(&bytes).unwrap(), from, tcp: true };
                if let Some(answer) = script(&one, note(&by_tcp, &one)).first() {
                    let length = u16::try_from(answer.len()).unwrap();
                    let framed = [&length.to_be_bytes()[..], answer].concat();
                    stream.write_all(&framed).await.unwrap();
                }
            }
        });
        Self { address, seen, tasks: vec![answer_udp, answer_tcp] }
    }

    async fn asked(&self, deadline: Duration) -> ResolverAnswer {
        ResolverClient.ask(Resolver(self.address), NAME, deadline).await
    }
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn answer(seen: &Seen, code: ResponseCode) -> Message {
    let mut message = Message::new(seen.message.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.response_code = code;
    message.metadata.recursion_available = true;
    message.add_queries(seen.message.queries.clone());
    message
}

fn bytes(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().unwrap()]
}

fn is(seen: &Seen, record_type: RecordType) -> bool {
    seen.message.queries[0].query_type() == record_type
}

fn address() -> Record {
    let address = RData::A(A(Ipv4Addr::new(192, 0, 2, 7)));
    Record::from_rdata(name("health.fsn.example.net."), 5, address)
}

fn soa(zone: &str) -> Record {
    let soa = SOA::new(name("ns1.example.net."), name("x.example.net."), 1, 60, 60, 60, 5);
    Record::from_rdata(name(zone), 5, RData::SOA(soa))
}

fn up(seen: &Seen) -> Message {
    let mut message = answer(seen, ResponseCode::NoError);
    if is(seen, RecordType::A) {
        message.add_answer(address());
    } else {
        message.add_authority(soa("example.net."));
    }
    message
}

fn denied(seen: &Seen, code: ResponseCode, zone: &str) -> Message {
    let mut message = answer(seen, code);
    message.add_authority(soa(zone));
    message
}

async fn expect(deadline: Duration, state: NameState, says: &str, script: Script) {
    let found = Stub::start(script).await.asked(deadline).await;
    assert_eq!(found.state, state, "{says}: {found:?}");
    assert!(found.detail.contains(says), "{says}: {found:?}");
}

#[tokio::test]
async fn an_address_of_either_kind_is_up() {
    expect(PATIENT, NameState::Up, "192.0.2.7", |seen, _| bytes(&up(seen))).await;
    expect(PATIENT, NameState::Up, "2001:db8::7", |seen, _| {
        if is(seen, RecordType::A) {
            return bytes(&denied(seen, ResponseCode::NoError, "example.net."));
        }
        let mut message = answer(seen, ResponseCode::NoError);
        let address = AAAA("2001:db8::7".parse().unwrap());
        message.add_answer(Record::from_rdata(
            name("health.fsn.example.net."),
            5,
            RData::AAAA(address),
        ));
        bytes(&message)
    })
    .await;
    // The other kind is not waited for.
    expect(PATIENT, NameState::Up, "192.0.2.7", |seen, _| {
        if is(seen, RecordType::A) { bytes(&up(seen)) } else { Vec::new() }
    })
    .await;
}

#[tokio::test]
async fn only_the_zones_own_word_is_down() {
    expect(PATIENT, NameState::Down, "no such name", |seen, _| {
        bytes(&denied(seen, ResponseCode::NXDomain, "example.net."))
    })
    .await;
    expect(PATIENT, NameState::Down, "no address", |seen, _| {
        bytes(&denied(seen, ResponseCode::NoError, "fsn.example.net."))
    })
    .await;
    expect(PATIENT, NameState::Down, "no address", |seen, _| {
        let mut message = denied(seen, ResponseCode::NoError, "example.org.");
        let alias = RData::CNAME(CNAME(name("probe.example.org.")));
        message.add_answer(Record::from_rdata(name("health.fsn.example.net."), 5, alias));
        bytes(&message)
    })
    .await;
    let without = "without the zone's word";
    expect(PATIENT, NameState::Unknown, without, |seen, _| {
        bytes(&answer(seen, ResponseCode::NXDomain))
    })
    .await;
    expect(PATIENT, NameState::Unknown, without, |seen, _| {
        bytes(&denied(seen, ResponseCode::NXDomain, "elsewhere.test."))
    })
    .await;
    // A lame server: it knows nothing of the zone and names others.
    expect(PATIENT, NameState::Unknown, without, |seen, _| {
        let mut message = answer(seen, ResponseCode::NoError);
        let others = RData::NS(NS(name("a.gtld.test.")));
        message.add_authority(Record::from_rdata(name("net."), 5, others));
        bytes(&message)
    })
    .await;
    // One kind is denied, of the other nothing is known.
    expect(BRIEF, NameState::Unknown, "no answer", |seen, _| {
        if is(seen, RecordType::AAAA) {
            return Vec::new();
        }
        bytes(&denied(seen, ResponseCode::NoError, "example.net."))
    })
    .await;
}

#[tokio::test]
async fn what_proves_nothing_is_unknown() {
    expect(PATIENT, NameState::Unknown, "it answers Server Failure", |seen, _| {
        bytes(&answer(seen, ResponseCode::ServFail))
    })
    .await;
    expect(PATIENT, NameState::Unknown, "it answers Query Refused", |seen, _| {
        bytes(&answer(seen, ResponseCode::Refused))
    })
    .await;
    // An address in a failure is no address.
    expect(PATIENT, NameState::Unknown, "it answers Server Failure", |seen, _| {
        let mut message = up(seen);
        message.metadata.response_code = ResponseCode::ServFail;
        bytes(&message)
    })
    .await;
    expect(BRIEF, NameState::Unknown, "no answer in 300ms", |_, _| Vec::new()).await;
    expect(BRIEF, NameState::Unknown, "no answer in 300ms", |_, _| vec![vec![0xFF; 7]]).await;
    // Answers to other questions: another number, another name, a question itself.
    expect(BRIEF, NameState::Unknown, "no answer in 300ms", |seen, _| {
        let mut number = up(seen);
        number.metadata.id = number.metadata.id.wrapping_add(1);
        let mut other = up(seen);
        other.queries[0].set_name(name("health.hel.example.net."));
        let mut question = up(seen);
        question.metadata.message_type = MessageType::Query;
        [number, other, question].iter().flat_map(bytes).collect()
    })
    .await;
    let nobody = sockets().await.0.local_addr().unwrap();
    let found = ResolverClient.ask(Resolver(nobody), NAME, BRIEF).await;
    assert_eq!(found.state, NameState::Unknown, "{found:?}");
}

#[tokio::test]
async fn a_forged_answer_does_not_hide_the_right_one() {
    expect(PATIENT, NameState::Down, "no such name", |seen, _| {
        let mut forged = up(seen);
        forged.metadata.id = forged.metadata.id.wrapping_add(1);
        let right = denied(seen, ResponseCode::NXDomain, "example.net.");
        [forged, right].iter().flat_map(bytes).collect()
    })
    .await;
}

#[tokio::test]
async fn a_lost_question_is_sent_again_and_each_has_a_number_and_a_port_of_its_own() {
    let stub = Stub::start(|seen, nth| if nth == 0 { Vec::new() } else { bytes(&up(seen)) }).await;
    let found = stub.asked(PATIENT).await;
    assert_eq!(found.state, NameState::Up, "{found:?}");
    let seen = stub.seen.lock().unwrap().clone();
    let of = |kind| seen.iter().filter(|it| is(it, kind)).cloned().collect::<Vec<_>>();
    let (ipv4, ipv6) = (of(RecordType::A), of(RecordType::AAAA));
    assert!(ipv4.len() >= 2 && !ipv6.is_empty(), "{seen:?}");
    // Said again it is the same question; two questions share neither port nor, but by chance, number.
    assert_eq!(ipv4[0].from, ipv4[1].from);
    assert_eq!(ipv4[0].message.metadata.id, ipv4[1].message.metadata.id);
    assert_ne!(ipv4[0].from, ipv6[0].from);
    for one in &seen {
        assert!(one.message.metadata.recursion_desired, "{one:?}");
        assert_eq!(one.message.edns.as_ref().map(|edns| edns.max_payload()), Some(1232));
    }
    let numbers = async || {
        stub.asked(PATIENT).await;
        stub.seen.lock().unwrap().last().unwrap().message.metadata.id
    };
    let (a, b, c) = (numbers().await, numbers().await, numbers().await);
    assert!(!(a == b && b == c), "questions bear the same number again and again");
}

#[tokio::test]
async fn what_does_not_fit_is_asked_for_by_tcp() {
    fn cut(seen: &Seen) -> Vec<Vec<u8>> {
        let mut message = answer(seen, ResponseCode::NoError);
        message.metadata.truncation = true;
        bytes(&message)
    }
    expect(PATIENT, NameState::Up, "192.0.2.7", |seen, _| {
        if seen.tcp { bytes(&up(seen)) } else { cut(seen) }
    })
    .await;
    // By TCP nothing comes back: the part that did is no answer.
    expect(PATIENT, NameState::Unknown, "not reached", |seen, _| {
        if seen.tcp { Vec::new() } else { cut(seen) }
    })
    .await;
}

// ---- PowerDNS ----------------------------------------------------------------------------------

/// PowerDNS with one zone; it ends with the test.
struct PowerDns {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for PowerDns {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended {
            eprintln!("PowerDNS was not ended: {error}");
        }
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut programs = places.map(|place| place.join("pdns_server"));
    programs.find(|program| program.exists()).expect("pdns_server; `make powerdns` installs it")
}

/// A health name as PowerDNS of any version from 4.2 on can tell it: of two addresses, one of which
/// never answers, either the other one is up, or both are returned and there is none.
fn zone(probed: u16) -> String {
    format!(
        r#"$ORIGIN example.net.
$TTL 5
@ IN SOA ns1.example.net. x.example.net. 1 60 60 60 5
@ IN NS ns1.example.net.
ns1 IN A 127.0.0.1
up IN A 192.0.2.1
text IN TXT "no address"
probed IN LUA A ";local up=ifportup({probed}, {{'127.0.0.1','127.9.9.9'}}, {{selector='all',backupSelector='all',timeout=1}}) if #up==1 then return up else return {{}} end"
broken IN LUA A ";this is no lua"
"#
    )
}

fn configure(directory: &Path, port: u16, probed: u16) {
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let here = directory.display();
    write("zone", zone(probed));
    write(
        "named.conf",
        format!("zone \"example.net\" {{ type master; file \"{here}/zone\"; }};\n"),
    );
    write(
        "pdns.conf",
        format!(
            "launch=bind\nbind-config={here}/named.conf\nlocal-address=127.0.0.1\n\
             local-port={port}\nsocket-dir={here}\ndaemon=no\nguardian=no\ndisable-syslog=yes\n\
             security-poll-suffix=\nenable-lua-records=yes\nlua-health-checks-interval=1\n\
             cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n"
        ),
    );
}

impl PowerDns {
    /// Starts it, and waits until it answers.
    async fn start(probed: u16) -> Self {
        for _ in 0..10 {
            let address = sockets().await.0.local_addr().unwrap();
            let directory = tempfile::tempdir().unwrap();
            configure(directory.path(), address.port(), probed);
            let process = Command::new(program())
                .arg(format!("--config-dir={}", directory.path().display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut server = Self { process, address, _directory: directory };
            // Somebody else may have taken the port meanwhile.
            while server.process.try_wait().unwrap().is_none() {
                if server.says("up", BRIEF).await.state == NameState::Up {
                    return server;
                }
            }
        }
        panic!(
            "pdns_server ends by itself; is its backend for zone files there (pdns-backend-bind)?"
        );
    }

    async fn says(&self, label: &str, deadline: Duration) -> ResolverAnswer {
        let name = format!("{label}.example.net");
        ResolverClient.ask(Resolver(self.address), &name, deadline).await
    }

    /// Asks until it says so.
    async fn until(&self, label: &str, state: NameState) {
        let asking = async {
            while self.says(label, PATIENT).await.state != state {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| panic!("never {state:?}"));
    }
}

#[tokio::test]
async fn powerdns_is_understood() {
    let probed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = PowerDns::start(probed.local_addr().unwrap().port()).await;
    for (label, state, says) in [
        ("up", NameState::Up, "192.0.2.1"),
        ("none", NameState::Down, "no such name"),
        ("text", NameState::Down, "no address"),
        ("broken", NameState::Unknown, "it answers Server Failure"),
    ] {
        let found = server.says(label, PATIENT).await;
        assert_eq!(found.state, state, "{label}: {found:?}");
        assert!(found.detail.contains(says), "{label}: {found:?}");
    }
    let elsewhere = ResolverClient.ask(Resolver(server.address), "a.example.org", PATIENT).await;
    assert_eq!(elsewhere.state, NameState::Unknown, "{elsewhere:?}");
    // A record that follows a probe: up while somebody listens, down when nobody does, and up again.
    let listens = probed.local_addr().unwrap();
    server.until("probed", NameState::Up).await;
    drop(probed);
    server.until("probed", NameState::Down).await;
    let _again = std::net::TcpListener::bind(listens).unwrap();
    server.until("probed", NameState::Up).await;
    let found = server.says("probed", PATIENT).await;
    assert_eq!(found.detail, IpAddr::V4(Ipv4Addr::LOCALHOST).to_string());
}
