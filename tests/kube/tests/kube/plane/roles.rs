//! Others who write the role of a Cluster: what is done about it is the pair's policy, but never into two
//! primaries.

use std::sync::Mutex;

use continuum_cnpg_pair::kubernetes::foreign::{ForeignPolicy, Holding, Response};
use continuum_cnpg_pair::kubernetes::plane::{Guidance, Incident, RoleBoard, RoleLook};
use continuum_test_kube::Misbehaviour;
use serde_json::Value;

use super::*;
use crate::subject::MERGE;

/// A plane's board, and what its agent says when it is asked.
struct Desk {
    board: Arc<RoleBoard>,
    says: Arc<Mutex<Guidance>>,
}

impl Desk {
    fn of(plane: &Arc<dyn DataPlane>, holding: Holding) -> Self {
        let epoch = (holding == Holding::Holder).then_some(Epoch(1));
        let says = Guidance { policy: ForeignPolicy::Report, holding, epoch };
        let says = Arc::new(Mutex::new(says));
        let board = plane.role_board().unwrap();
        let asked = says.clone();
        board.guided_by(Box::new(move || *asked.lock().unwrap()));
        Self { board, says }
    }

    fn say(&self, change: impl FnOnce(&mut Guidance)) {
        change(&mut self.says.lock().unwrap());
    }

    fn policy(&self, policy: ForeignPolicy) {
        self.say(|says| says.policy = policy);
    }

    async fn until(&self, what: &str, so: impl Fn(&RoleLook) -> bool) -> RoleLook {
        until(what, async || Some(self.board.look()).filter(|look| so(look))).await
    }

    /// Once a write is seen that is answered so.
    async fn answers(&self, response: Response) -> Incident {
        let seen = |look: &RoleLook| {
            look.stands.as_ref().is_some_and(|stands| stands.response == response)
        };
        self.until(&format!("{response:?}"), seen).await.stands.unwrap()
    }

    async fn settled(&self) {
        self.until("as it was written", |look| look.compared && look.stands.is_none()).await;
    }
}

async fn role(region: &Region) -> Value {
    region.cluster().await["spec"]["replica"].clone()
}

/// The role as `primary` and `source` stand there, after some looks of the operator.
async fn stays(region: &Region, primary: &str, source: &str) {
    region.operator.looks(4).await;
    let found = role(region).await;
    assert_eq!((&found["primary"], &found["source"]), (&json!(primary), &json!(source)));
}

async fn until_role(region: &Region, primary: &str, source: &str) {
    until("the role is put back", async || {
        let found = role(region).await;
        (found["primary"] == primary && found["source"] == source).then_some(())
    })
    .await;
}

const POLICIES: [ForeignPolicy; 3] =
    [ForeignPolicy::Report, ForeignPolicy::Restore, ForeignPolicy::Follow];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_others_write_is_told_put_back_or_ended_by_policy() {
    let Some(pair) = Pair::new().await else { return };
    let (desk, b) = (Desk::of(&pair.b, Holding::Other), &pair.world.b);
    desk.settled().await;

    // Told and left alone, also by the policy that follows: there is nowhere to move to.
    for policy in [ForeignPolicy::Report, ForeignPolicy::Follow] {
        desk.policy(policy);
        b.replica(json!({ "source": "db-b" })).await.unwrap();
        let stands = desk.answers(Response::Report).await;
        assert_eq!(stands.write.changes[0].path, "spec.replica.source");
        stays(b, "db-a", "db-b").await;
        assert_eq!(desk.board.look().wish, None);
        b.replica(json!({ "source": "db-a" })).await.unwrap();
        desk.settled().await;
    }
    desk.policy(ForeignPolicy::Restore);
    b.replica(json!({ "source": "db-b" })).await.unwrap();
    until_role(b, "db-a", "db-a").await;
    desk.settled().await;
    assert_eq!(desk.board.look().count, 3);

    // Whatever the policy, it becomes no primary. The operator sees it only when that is over.
    for policy in POLICIES {
        desk.policy(policy);
        b.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
        b.replica(json!({ "primary": "db-b" })).await.unwrap();
        desk.answers(Response::Fence).await;
        until("it is ended", async || {
            let stopped = status(&pair.b).await.process == ProcessState::Stopped;
            stopped.then_some(())
        })
        .await;
        until_role(b, "db-a", "db-a").await;
        let marks = b.cluster().await["metadata"]["annotations"].clone();
        assert_eq!(marks["cnpg.io/fencedInstances"], r#"["*"]"#);
        b.misbehave(Misbehaviour::default());
        let upstream = pair.upstream("fsn");
        pair.b.start(Epoch(1), &SyncNames::default(), Some(&upstream)).await.unwrap();
        assert_eq!(b.sql("select pg_is_in_recovery()").await, "t");
        desk.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_others_write_is_told_kept_or_moved_by_policy() {
    let Some(pair) = Pair::new().await else { return };
    let (desk, a) = (Desk::of(&pair.a, Holding::Holder), &pair.world.a);
    desk.settled().await;
    let began = a.sql("select pg_postmaster_start_time()").await;
    // The operator sees nothing of it until it is put back: who is quicker is no question here.
    let down = || a.misbehave(Misbehaviour { down: true, ..Misbehaviour::default() });
    let demoted = json!({ "primary": "db-b", "source": "db-b" });
    let right = json!({ "primary": "db-a", "source": "db-b" });

    // Without the lease's own word nothing is written, whatever the policy.
    let hindrances: [fn(&mut Guidance); 4] = [
        |says| says.policy = ForeignPolicy::Report,
        |says| says.holding = Holding::HolderAlone,
        |says| says.holding = Holding::Unknown,
        |says| says.epoch = Some(Epoch(2)),
    ];
    for hinder in hindrances {
        down();
        desk.say(|says| {
            says.policy = ForeignPolicy::Restore;
            hinder(says);
        });
        a.replica(demoted.clone()).await.unwrap();
        let seen = |look: &RoleLook| {
            look.stands.as_ref().is_some_and(|stands| {
                stands.response == Response::Report || stands.hindered.is_some()
            })
        };
        desk.until("it is told", seen).await;
        assert_eq!(role(a).await["primary"], "db-b", "{:?}", desk.board.look());
        a.replica(right.clone()).await.unwrap();
        desk.settled().await;
        desk.say(|says| (says.holding, says.epoch) = (Holding::Holder, Some(Epoch(1))));
    }

    // Nor onto one that the operator has begun to demote.
    down();
    desk.policy(ForeignPolicy::Restore);
    for begun in [true, false] {
        let status = json!({ "switchReplicaClusterStatus": { "inProgress": begun } });
        let path = "/apis/postgresql.cnpg.io/v1/namespaces/db/clusters/db-a/status";
        a.s.patch(MERGE, path, json!({ "status": status })).await.unwrap();
        if begun {
            a.replica(demoted.clone()).await.unwrap();
            let hindered = |look: &RoleLook| {
                look.stands.as_ref().is_some_and(|stands| stands.hindered.is_some())
            };
            desk.until("it is told", hindered).await;
            assert_eq!(role(a).await["primary"], "db-b");
        }
    }
    until_role(a, "db-a", "db-b").await;
    desk.settled().await;

    a.replica(demoted.clone()).await.unwrap();
    until_role(a, "db-a", "db-b").await;
    desk.settled().await;
    assert_eq!(desk.board.look().wish, None);

    desk.policy(ForeignPolicy::Follow);
    a.replica(demoted).await.unwrap();
    until_role(a, "db-a", "db-b").await;
    let wish = desk.until("a wish", |look| look.wish.is_some()).await.wish.unwrap();
    assert_eq!(wish.to, region("hel"), "through the gates of the core, not by this write");
    desk.board.brought(&wish);
    assert_eq!(desk.board.look().wish, None);
    desk.settled().await;

    a.misbehave(Misbehaviour::default());
    a.operator.looks(4).await;
    assert_eq!(a.sql("select pg_postmaster_start_time()").await, began, "it was never stopped");
    assert_eq!(a.sql("select pg_is_in_recovery()").await, "f");
}
