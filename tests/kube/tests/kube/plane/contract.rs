//! The data plane's contract suite on Clusters, as far as it can be meant of one.
//!
//! Left out, as the operator makes and keeps PostgreSQL and its data directory:
//!
//! | case | why |
//! |---|---|
//! | `promotion_needs_an_armed_deadline` | a Cluster's first primary is not initialised, started and promoted: it runs when its agent comes. The rest is in `a_standby_is_promoted_under_a_deadline_alone` |
//! | `a_diverged_primary_is_rewound` | a Cluster is copied anew: `a_diverged_primary_is_copied` |
//! | `a_standby_stops_receiving` | it always receives, and says so: `a_cloned_standby_streams` |
//! | `a_primary_that_was_just_promoted_is_rewound` | both |
//! | `equal_timeline_numbers_are_told_apart`, `a_fork_under_an_equal_number_is_found` | both members are promoted from one position, which takes a standby that stops receiving |
//! | `a_directory_moved_away_is_heard_of` | the directory is the operator's: `dr.openova.io/data-directory` goes by the instance |

use async_trait::async_trait;
use continuum_cnpg_pair::contract::{self, Bench};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Two regions, with the Clusters that there are so far.
struct Clusters {
    world: World,
    made: Vec<RegionId>,
}

#[async_trait(?Send)]
impl Bench for Clusters {
    /// The first Cluster leads; the other one is its copy.
    async fn agent(&mut self, region: &RegionId) -> Arc<dyn DataPlane> {
        if !self.made.contains(region) {
            self.world.make(at(&self.world, region.as_str()), "db-a", json!({})).await;
            self.made.push(region.clone());
        }
        plane(&self.world, region.as_str())
    }

    fn upstream(&self, region: &RegionId) -> Upstream {
        upstream(&self.world, region.as_str())
    }

    async fn restart_actuator(&mut self, region: &RegionId) {
        kill_process(guard(at(&self.world, region.as_str())).await, Signal::KILL).unwrap();
    }

    async fn stick_receiver(&mut self, region: &RegionId, stuck: bool) {
        let signal = if stuck { Signal::STOP } else { Signal::CONT };
        let receiver = "SELECT pid FROM pg_stat_wal_receiver";
        let pid: i32 = at(&self.world, region.as_str()).sql(receiver).await.parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    async fn move_away(&mut self, region: &RegionId) {
        unreachable!("the directory in {region} is the operator's");
    }

    fn now(&self) -> Tick {
        now()
    }

    async fn pause(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    async fn lead(&self, plane: &dyn DataPlane) {
        until("the directory has an identity", async || plane.initialise().await.ok()).await;
        self.arm(plane, Epoch(1), now() + FAR).await;
        plane.set_names(Epoch(1), &SyncNames::default()).await.unwrap();
    }

    async fn copy(&self, plane: &dyn DataPlane, upstream: &Upstream) {
        until("the directory has an identity", async || plane.initialise().await.ok()).await;
        plane.follow(Epoch(1), Some(upstream)).await.unwrap();
    }

    async fn arm(&self, plane: &dyn DataPlane, epoch: Epoch, deadline: Tick) {
        until("the guard has the deadline", async || plane.arm(epoch, deadline).await.ok()).await;
    }
}

macro_rules! contract_test {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(world) = World::new().await else { return };
                contract::$name(&mut Clusters { world, made: Vec::new() }).await;
            }
        )*
    };
}

contract_test!(
    a_standby_is_promoted_under_a_deadline_alone,
    the_deadline_stops_a_primary,
    older_agents_and_epochs_are_refused,
    a_cloned_standby_streams,
    words_of_a_primary_get_older,
    names_make_commits_wait,
    start_and_promote_only_add_names,
    a_clean_switchover_needs_no_rewind,
    a_diverged_primary_is_copied,
    the_fence_is_durable,
);
