//! An agent that dies between any two of its calls: the API server carries out so many of them, the last one
//! with or without effect, and nothing more of that agent. A new one takes over and goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use continuum_cnpg_pair::DataPlane;
use continuum_cnpg_pair::plane::{PlaneError, StopMode, Upstream};
use continuum_domain::observation::{Lineage, ProcessState};
use continuum_domain::{Epoch, SyncNames};
use continuum_runtime::seed::spawn;
use continuum_test_kube::{Call, Cut, Side};
use tokio::task::JoinHandle;

use super::{FAR, Pair, arm, at, look, now, plane, region, status, until, until_streams};
use crate::operator::World;

/// Longest wait for one write; it may wait for a standby.
const WRITE_LIMIT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// What changes anything: looks of an agent at the API server and into a pod do not.
fn changes(call: &Call) -> bool {
    let looks = ["tell", "control", "wal"];
    let look = |command: &str| looks.iter().any(|verb| command.ends_with(&format!(" {verb}")));
    match call.subresource.as_str() {
        "exec" => !look(&call.command),
        _ => call.verb == "patch",
    }
}

/// Whose agent dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Old,
    New,
}

/// One member's agent, and what kills it.
struct Agent {
    name: &'static str,
    plane: Arc<dyn DataPlane>,
    cut: Option<Cut>,
    died: bool,
}

impl Agent {
    /// Does something that an agent does until it is done. Who dies over it is followed by a new one, which
    /// does it again.
    async fn does<T>(
        &mut self,
        world: &World,
        act: impl AsyncFn(&Arc<dyn DataPlane>, bool) -> Result<T, PlaneError>,
    ) -> T {
        loop {
            let acting = act(&self.plane, self.died);
            let done = match &mut self.cut {
                Some(cut) => tokio::select! {
                    biased;
                    () = cut.reached() => None,
                    done = acting => Some(done),
                },
                None => Some(acting.await),
            };
            match (done, self.cut.take()) {
                (Some(Ok(done)), cut) => {
                    self.cut = cut;
                    return done;
                }
                // The end of its connection may be felt before the test hears of it.
                (None, Some(cut)) => self.dies(world, &cut).await,
                (Some(Err(_)), Some(cut)) if cut.is_reached() => self.dies(world, &cut).await,
                (Some(Err(error)), _) => panic!("{}: {error}", self.name),
                (None, None) => unreachable!("nothing kills it"),
            }
        }
    }

    async fn dies(&mut self, world: &World, cut: &Cut) {
        let next = plane(world, self.name);
        // What it still does beside its commands ends with it.
        drop(std::mem::replace(&mut self.plane, next));
        at(world, self.name).server.control().mend(cut);
        until("a new agent takes over", async || self.plane.take().await.ok()).await;
        self.died = true;
    }
}

/// One move from the member of `old` to that of `new`, under an epoch and to the next; whichever agent dies.
/// Returns the epoch that it ends with.
async fn moves(world: &World, old: &mut Agent, new: &mut Agent, epoch: u64, quick: bool) -> u64 {
    let none = SyncNames::default();
    old.does(world, async |plane, died| {
        // A new agent may find its lease gone, or still there.
        let mode = if died && quick { StopMode::Immediate } else { StopMode::Fast };
        plane.stop(Epoch(epoch), mode).await
    })
    .await;
    assert_eq!(status(&old.plane).await.process, ProcessState::Stopped);
    assert!(!writes(world, old.name).await, "what counts as stopped does not write");
    let token = old.plane.handover_evidence().await;
    if let Some(token) = &token {
        let control = old.plane.control_data().await.unwrap();
        until("the standby has replayed the shutdown", async || {
            look(&new.plane).await.replay.filter(|replay| *replay > control.checkpoint)
        })
        .await;
        new.does(world, async |plane, _| plane.take_evidence(Epoch(epoch), token).await).await;
    }
    let promoted = new
        .does(world, async |plane, died| {
            let next = Epoch(epoch + 1 + u64::from(died && quick));
            arm(plane, next, now() + FAR).await;
            plane.promote(next, &none).await.map(|_| next)
        })
        .await;
    new.does(world, async |_, _| {
        until("the token is forgotten", async || {
            let cluster = at(world, new.name).cluster().await;
            cluster["spec"]["replica"]["promotionToken"].is_null().then_some(())
        })
        .await;
        Ok(())
    })
    .await;
    let upstream = Upstream {
        region: region(new.name),
        host: "127.0.0.1".into(),
        port: at(world, new.name).port(),
    };
    old.does(world, async |plane, _| {
        let seen = plane.status().await?;
        if seen.process == ProcessState::Running && !seen.promoted {
            return plane.follow(promoted, Some(&upstream)).await;
        }
        if plane.lineage(&upstream).await? != Lineage::Follows {
            plane.reclone(promoted, &upstream).await?;
        }
        plane.start(promoted, &none, Some(&upstream)).await
    })
    .await;
    until_streams(&new.plane, old.name).await;
    let names = waiting_for(old.name);
    new.does(world, async |plane, _| plane.set_names(promoted, &names).await).await;
    promoted.0
}

fn waiting_for(name: &str) -> SyncNames {
    SyncNames { members: [region(name)].into(), ..SyncNames::default() }
}

/// Whether a member accepts a write.
async fn writes(world: &World, name: &str) -> bool {
    accepts(at(world, name).port()).await
}

async fn accepts(port: u16) -> bool {
    // It waits for no standby.
    let trial = "SET synchronous_commit = local; BEGIN; INSERT INTO kept VALUES (-1); ROLLBACK";
    ask(port, trial).await
}

async fn ask(port: u16, text: &str) -> bool {
    let settings = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let asked = async {
        let (client, connection) =
            tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.ok()?;
        let connection = spawn(async move {
            let _ended = connection.await;
        });
        let done = client.batch_execute(text).await.ok();
        drop(client);
        let _ended = connection.await;
        done
    };
    matches!(tokio::time::timeout(WRITE_LIMIT, asked).await, Ok(Some(())))
}

/// Who writes, and who looks whether two could.
struct Watch {
    acknowledged: Arc<Mutex<Vec<u64>>>,
    both: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watch {
    fn begin(world: &World) -> Self {
        let ports = [world.a.port(), world.b.port()];
        let (acknowledged, both) = (Arc::default(), Arc::default());
        let (kept, seen) = (Arc::clone(&acknowledged), Arc::clone(&both));
        let writer = spawn(async move {
            for number in 0_u64.. {
                let insert = format!("INSERT INTO kept VALUES ({number})");
                let port = ports[usize::try_from(number % 2).unwrap()];
                if ask(port, &insert).await {
                    let kept: &Mutex<Vec<u64>> = &kept;
                    kept.lock().unwrap().push(number);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        let looker = spawn(async move {
            loop {
                // A move between two looks is none at the same time: the first is asked again.
                for [one, other] in [ports, [ports[1], ports[0]]] {
                    if accepts(one).await && accepts(other).await && accepts(one).await {
                        let seen: &Mutex<Vec<String>> = &seen;
                        seen.lock().unwrap().push(format!("{one} and {other}"));
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { acknowledged, both, tasks: vec![writer, looker] }
    }

    /// What was acknowledged, after the last write.
    fn end(mut self) -> Vec<u64> {
        self.tasks.drain(..).for_each(|task| task.abort());
        assert_eq!(*self.both.lock().unwrap(), Vec::<String>::new(), "never two at once");
        self.acknowledged.lock().unwrap().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

/// Every point at which one of the two agents can die over a planned move. Nothing that was acknowledged is
/// lost, never do both accept a write, and both are where the move ends afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_dies_between_any_two_calls_of_a_move() {
    every_death(&[Side::After]).await;
}

/// The same, with the last call cut off on its way as well.
#[ignore = "more than a minute: `make test-long`"]
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_dies_on_either_side_of_any_call_of_a_move() {
    every_death(&[Side::Before, Side::After]).await;
}

async fn every_death(sides: &[Side]) {
    let Some(Pair { world, a, b }) = Pair::new().await else { return };
    world.a.sql("CREATE TABLE kept (x bigint)").await;
    until_streams(&a, "hel").await;
    a.set_names(Epoch(1), &waiting_for("hel")).await.unwrap();
    let agent = |name, plane| Agent { name, plane, cut: None, died: false };
    let (mut old, mut new) = (agent("fsn", a), agent("hel", b));
    let watch = Watch::begin(&world);
    let mut epoch = 1;
    let mut deaths = Vec::new();
    for whose in [Whose::Old, Whose::New] {
        for nth in 1.. {
            let mut died = true;
            for side in sides.iter().copied() {
                let quick = (side == Side::After) == (nth % 2 == 1);
                let dying = if whose == Whose::Old { &mut old } else { &mut new };
                let control = at(&world, dying.name).server.control();
                dying.cut = Some(control.cut("agent", (nth, side), changes));
                println!("{whose:?} {nth} {side:?}, quick: {quick}");
                epoch = moves(&world, &mut old, &mut new, epoch, quick).await;
                died &= old.died || new.died;
                for agent in [&mut old, &mut new] {
                    agent.died = false;
                    if let Some(cut) = agent.cut.take() {
                        at(&world, agent.name).server.control().mend(&cut);
                    }
                }
                std::mem::swap(&mut old, &mut new);
            }
            if !died {
                break;
            }
            deaths.push((whose, nth));
        }
    }
    assert!(deaths.contains(&(Whose::Old, 4)) && deaths.contains(&(Whose::New, 3)), "{deaths:?}");
    let acknowledged = watch.end();
    println!("{} writes, deaths: {deaths:?}", acknowledged.len());
    for name in ["fsn", "hel"] {
        until("all of it is there", async || {
            let all = "SELECT string_agg(x::text, ' ') FROM kept";
            let text = at(&world, name).sql(all).await;
            let found: BTreeSet<u64> =
                text.split(' ').filter_map(|number| number.parse().ok()).collect();
            acknowledged.iter().all(|number| found.contains(number)).then_some(())
        })
        .await;
    }
    assert!(acknowledged.len() > deaths.len(), "it was written to");
}
