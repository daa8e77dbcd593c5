//! A second opinion from DNS: the primary's region is killed while its health name still has an address
//! at most resolvers. Nobody takes over by himself until the name is gone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use continuum_control_api::rest::ApplyPair;
use continuum_domain::corroborate::{Corroborate, CorroborationEffect, Resolver};
use continuum_domain::operation::Step;
use continuum_runtime::seed;
use continuum_tests::*;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

const ZONE: &str = "health.lab.continuum.test.";
/// In this state a standby waits for the name.
const VETOED: &str = "health-name-answers";

/// A resolver with names that all have an address, or all have none.
struct Zone {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Zone {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Zone {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let (up, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (state, count) = (up.clone(), asked.clone());
        let task = seed::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).expect("a question");
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answer(&question, state.load(Ordering::Relaxed));
                let bytes = answer.to_vec().expect("a short message");
                socket.send_to(&bytes, from).await.expect("loopback");
            }
        });
        Self { address, up, asked, task }
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn answer(question: &Message, up: bool) -> Message {
    let asked = &question.queries[0];
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(asked.clone());
    if up && asked.query_type() == RecordType::A {
        let address = RData::A(A(Ipv4Addr::new(192, 0, 2, 7)));
        answer.add_answer(Record::from_rdata(asked.name().clone(), 1, address));
        return answer;
    }
    if !up {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let soa = SOA::new(name("ns.continuum.test."), name("x.continuum.test."), 1, 60, 60, 60, 1);
    answer.add_authority(Record::from_rdata(name(ZONE), 1, RData::SOA(soa)));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_name_that_answers_holds_a_failover_back_until_it_is_gone() -> Outcome {
    let zones = [Zone::start().await, Zone::start().await, Zone::start().await];
    let mut lab = writing(quick()).await?;
    let (before, mut spec) = (epoch(&lab.pair().await?), lab.pair().await?.spec);
    for (region, member) in &mut spec.members {
        member.health_name = Some(format!("{region}.{ZONE}"));
    }
    spec.corroborate = Some(Corroborate {
        effect: CorroborationEffect::Veto,
        resolvers: zones.iter().map(|zone| Resolver(zone.address)).collect(),
        ..Corroborate::default()
    });
    let body = ApplyPair { spec, reason: "a second opinion".into() };
    lab.api().apply_pair(&body).await.expect("the spec is taken");
    lab.wait_healthy(WHOLE_LIMIT).await?;
    let asked = |zones: &[Zone]| zones.iter().map(|zone| zone.asked.load(Ordering::Relaxed)).sum();
    let unasked: u64 = asked(&zones);
    assert_eq!(unasked, 0, "nobody is silent, and the resolvers are asked");

    // One resolver of three says that the name is gone: two of them are the majority.
    zones[0].up.store(false, Ordering::Relaxed);
    let at = lab.clock.now();
    lab.kill_region(&fsn()).await?;
    lab.until("the standby to wait for the name", WHOLE_LIMIT, async || {
        let view = lab.pair().await.map_err(|error| error.to_string())?;
        let report = view.members.get(&hel()).and_then(Option::as_ref);
        let blocked = report.and_then(|report| report.report.blocked.clone());
        match blocked {
            Some(state) if state.code == VETOED => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    // Longer than any failover takes here.
    tokio::time::sleep(lab.options.ttl * 2 + Duration::from_secs(2)).await;
    let held_back = lab.clock.now();
    let new = lab.address(&hel())?;
    let moved_to = lab.workload()?.recorder().first_acknowledged(at, Some(new));
    assert_eq!(moved_to, None, "it took over although the health name answers");

    zones[1].up.store(false, Ordering::Relaxed);
    lab.wait_acknowledged(Some(new), WHOLE_LIMIT).await?;
    println!("taken over {:?} after the name was gone", lab.clock.now().since(held_back));
    let operation = lab.failover_after(before, WHOLE_LIMIT).await?;
    let noted = operation.steps.iter().find(|line| line.step == Step::Corroborate);
    let noted = noted.map_or("", |line| line.detail.as_str());
    assert!(noted.contains(&zones[1].address.to_string()), "who said what: {operation:#?}");
    lab.start_region(&fsn()).await?;
    lab.wait_healthy(WHOLE_LIMIT).await?;
    undisturbed().await;
    let step = moved(&lab, at, &fsn(), &hel())?;
    judge(&mut lab, "health name answered for a while", &[step], None).await?;
    lab.stop().await
}
