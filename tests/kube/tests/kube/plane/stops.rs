//! R4: what was admitted before a stop lets nothing go after it, and promotes nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use continuum_cnpg_pair::plane::{Promoted, StopMode};
use continuum_runtime::seed::spawn;
use continuum_test_kube::{Call, Misbehaviour};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;

/// Calls of the agent that are refused until they are let through again, and how many there were.
struct Barred {
    met: Arc<AtomicUsize>,
    id: u64,
}

fn bar(region: &Region, fits: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Barred {
    let met = Arc::new(AtomicUsize::new(0));
    let counted = met.clone();
    let fits = move |call: &Call| {
        let met = call.user == "agent" && fits(call);
        counted.fetch_add(usize::from(met), Ordering::SeqCst);
        met
    };
    Barred { met, id: region.server.control().forbid(fits) }
}

impl Barred {
    async fn is_met(&self) {
        let met = async || (self.met.load(Ordering::SeqCst) > 0).then_some(());
        until("the call that is barred", met).await;
    }

    fn lift(self, region: &Region) {
        region.server.control().relent(self.id);
    }
}

/// A command in the pod.
fn verb(word: &'static str) -> impl Fn(&Call) -> bool + Send + Sync {
    move |call| call.subresource == "exec" && call.command.contains(&format!(" {word} "))
}

fn begin_start(plane: &Arc<dyn DataPlane>, epoch: u64) -> JoinHandle<Result<(), PlaneError>> {
    let plane = plane.clone();
    spawn(async move { plane.start(Epoch(epoch), &SyncNames::default(), None).await })
}

fn begin_promote(
    plane: &Arc<dyn DataPlane>,
    epoch: u64,
) -> JoinHandle<Result<Promoted, PlaneError>> {
    let plane = plane.clone();
    let names = SyncNames { members: [region("fsn")].into(), ..SyncNames::default() };
    spawn(async move { plane.promote(Epoch(epoch), &names).await })
}

fn begin_stop(
    plane: &Arc<dyn DataPlane>,
    epoch: u64,
    mode: StopMode,
) -> JoinHandle<Result<(), PlaneError>> {
    let plane = plane.clone();
    spawn(async move { plane.stop(Epoch(epoch), mode).await })
}

fn fence(cluster: &Value) -> &Value {
    &cluster["metadata"]["annotations"]["cnpg.io/fencedInstances"]
}

/// The fence stands, and nobody gets PostgreSQL up.
async fn stays_stopped(region: &Region, plane: &Arc<dyn DataPlane>) {
    until("it is stopped, and marked as such", async || {
        let stopped = status(plane).await.process == ProcessState::Stopped;
        (stopped && fence(&region.cluster().await) == r#"["*"]"#).then_some(())
    })
    .await;
    region.operator.looks(4).await;
    assert_eq!(fence(&region.cluster().await), r#"["*"]"#);
    assert!(region.try_connect().await.is_err(), "it is down");
    assert_eq!(status(plane).await.process, ProcessState::Stopped);
}

/// The stop comes while PostgreSQL is made a standby, on the way to being let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_a_stop_overtakes_lets_nothing_go() {
    let Some(pair) = Pair::new().await else { return };
    let b = &pair.world.b;
    pair.b.stop(Epoch(1), StopMode::Fast).await.unwrap();
    let held = bar(b, verb("hold"));
    let starting = begin_start(&pair.b, 1);
    held.is_met().await;
    pair.b.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    held.lift(b);
    refused(starting.await.unwrap());
    stays_stopped(b, &pair.b).await;
    // One that comes after it does.
    pair.b.start(Epoch(1), &SyncNames::default(), None).await.unwrap();

    // A person fences the member by a mark alone, which bars what was admitted before it too.
    pair.b.stop(Epoch(1), StopMode::Fast).await.unwrap();
    let held = bar(b, verb("hold"));
    let starting = begin_start(&pair.b, 1);
    held.is_met().await;
    let reason = json!({ "dr.openova.io/fence-reason": "drill" });
    b.patch(json!({ "metadata": { "annotations": reason } })).await.unwrap();
    held.lift(b);
    starting.await.unwrap().unwrap_err();
    stays_stopped(b, &pair.b).await;
}

/// The stop comes while the operator is waited for to end a demotion that was cut short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_demotion_that_a_stop_overtakes_lets_nothing_go() {
    let Some(pair) = Pair::new().await else { return };
    let a = &pair.world.a;
    a.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let stopping = begin_stop(&pair.a, 1, StopMode::Fast);
    until("it is to be a replica", async || {
        (a.cluster().await["spec"]["replica"]["primary"] == "db-b").then_some(())
    })
    .await;
    pair.a.stop(Epoch(1), StopMode::Immediate).await.unwrap();
    stopping.await.unwrap().unwrap_err();
    a.misbehave(Misbehaviour { token_withheld: true, ..Misbehaviour::default() });
    let under_way = |status: &Value| status["switchReplicaClusterStatus"]["inProgress"] == true;
    a.until("the demotion is under way", under_way).await;
    let starting = begin_start(&pair.a, 2);
    until("it recovers as a standby", async || a.try_connect().await.ok().map(drop)).await;
    until("it is shut down for the demotion's end", async || {
        let fenced = fence(&a.cluster().await) == r#"["*"]"#;
        (fenced && a.try_connect().await.is_err()).then_some(())
    })
    .await;
    pair.a.stop(Epoch(2), StopMode::Immediate).await.unwrap();
    assert!(!starting.is_finished(), "the operator is waited for");
    a.misbehave(Misbehaviour::default());
    refused(starting.await.unwrap());
    stays_stopped(a, &pair.a).await;
}

/// The stop is ordered, and not through yet, when everything that a promotion needs is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_that_a_stop_overtakes_writes_no_role() {
    let Some(pair) = Pair::new().await else { return };
    let b = &pair.world.b;
    arm(&pair.b, Epoch(2), now() + FAR).await;
    // The names are written and not taken up.
    b.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let promoting = begin_promote(&pair.b, 2);
    until("the names are written", async || {
        let synchronous = b.cluster().await["spec"]["postgresql"]["synchronous"].clone();
        synchronous.to_string().contains("db-a").then_some(())
    })
    .await;
    let quit = bar(b, verb("quit"));
    let patches = bar(b, |call| call.verb == "patch" && call.resource == "clusters");
    let stopping = begin_stop(&pair.b, 2, StopMode::Immediate);
    patches.is_met().await;
    quit.is_met().await;
    patches.lift(b);
    assert!(!promoting.is_finished(), "the names are waited for");
    b.misbehave(Misbehaviour::default());
    refused(promoting.await.unwrap());
    assert_eq!(b.cluster().await["spec"]["replica"]["primary"], "db-a");
    quit.lift(b);
    stopping.await.unwrap().unwrap();
    stays_stopped(b, &pair.b).await;
    assert_eq!(b.cluster().await["spec"]["replica"]["primary"], "db-a");
}
