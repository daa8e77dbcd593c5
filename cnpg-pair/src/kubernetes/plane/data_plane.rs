//! The trait, put together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use continuum_domain::observation::{ActuatorStatus, ControlData, Lineage, Observation};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, RegionId, SyncNames, Tick, TimelineId};

use super::clusters::{Seen, failed};
use super::{CnpgPlane, Inner, RoleBoard, lock, marks, tend};
use crate::kubernetes::cnpg::keys;
use crate::kubernetes::patches::{PatchError, annotate};
use crate::plane::{
    CanaryLook, DataPlane, OperatorWait, PlaneError, Promoted, StopMode, TailArtefact, Taken,
    Upstream,
};
use crate::postgres::WRITE_RECORD;
use crate::postgres::canary::{self, Canary};
use crate::postgres::replication::{end_client_sessions, end_older_agents};
use crate::postgres::sql::{Session, SessionOptions};

const QUICK_LIMIT: Duration = Duration::from_secs(2);
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(600);
const COMMIT_LIMIT: Duration = Duration::from_secs(30);
/// How often the state is looked at by itself: some of it changes with time alone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest time for a command in the container.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

impl Inner {
    /// Hands the containers to this agent: commands of older agents that land late are refused there (R4).
    /// The leading instance's must be; a container that is not ready does not take a late command either.
    /// They say under which epoch the member was acted on: a deadline is renewed past the API server.
    async fn take_containers(&self) -> Result<(), PlaneError> {
        let generation = self.generation().to_string();
        let leading = self.pod().ok();
        for pod in self.hands.pods(&self.name).await? {
            match self.hands.run(&pod, &["take", &generation], COMMAND_LIMIT).await {
                Err(error) if Some(&pod) == leading.as_ref() => return Err(error),
                Err(error) => tracing::warn!(%error, pod, "an instance is not taken"),
                Ok(said) => self.learn(|known| {
                    known.epoch = known.epoch.max(Epoch(said.number("epoch").unwrap_or(0)));
                }),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl DataPlane for CnpgPlane {
    async fn take(&self) -> Result<Taken, PlaneError> {
        let inner = &self.0;
        let (generation, seen) = inner.clusters.take().await?;
        inner.generation.store(generation.0, Ordering::Release);
        inner.sentinel.lock().await.take();
        inner.arming.lock().await.take();
        inner.asking.lock().await.take();
        inner.observer.forget_sessions().await;
        lock(&inner.canary).take();
        lock(&inner.guarded).take();
        inner.learn(|known| {
            for key in [keys::EPOCH, keys::FENCE_EPOCH] {
                let newest = seen.cluster.annotation(key).and_then(|text| text.parse().ok());
                known.epoch = newest.map_or(known.epoch, |newest| known.epoch.max(Epoch(newest)));
            }
            known.seen = Some(Arc::new(seen));
        });
        inner.take_containers().await?;
        inner.feel(0).await;
        if inner.known().up.is_some() {
            let session = inner.session(QUICK_LIMIT).await?;
            end_older_agents(&session, &inner.session_name()).await?;
        } else {
            inner.prove_gone().await;
        }
        tend::begin(inner, generation);
        Ok(Taken { generation, status: self.status().await? })
    }

    async fn status(&self) -> Result<ActuatorStatus, PlaneError> {
        let inner = &self.0;
        let own = &inner.config.region;
        let others = inner.config.clusters.iter().filter(|(region, _)| *region != own);
        let others: Vec<&str> = others.map(|(_, name)| name.as_str()).collect();
        Ok(inner.known().status_for_moves(inner.clock.now(), &others))
    }

    async fn changed(&self, seen: &ActuatorStatus) -> Result<ActuatorStatus, PlaneError> {
        let mut changes = self.0.changed.subscribe();
        loop {
            let status = self.status().await?;
            if status.differs(seen) {
                return Ok(status);
            }
            // A timeout only ends the wait; the state is read again above.
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
        }
    }

    async fn arm(&self, epoch: Epoch, deadline: Tick) -> Result<(), PlaneError> {
        self.0.arm(epoch, deadline).await
    }

    async fn start(
        &self,
        epoch: Epoch,
        names: &SyncNames,
        upstream: Option<&Upstream>,
    ) -> Result<(), PlaneError> {
        let cluster = match upstream {
            Some(upstream) => self.0.cluster_of(&upstream.region)?,
            None => self.0.other()?,
        };
        self.0.start(epoch, names, cluster).await
    }

    async fn promote(&self, epoch: Epoch, names: &SyncNames) -> Result<Promoted, PlaneError> {
        self.0.promote(epoch, names).await
    }

    async fn set_names(&self, epoch: Epoch, names: &SyncNames) -> Result<(), PlaneError> {
        self.0.set_names(epoch, names).await
    }

    /// A replica Cluster has an upstream always: pointed at nobody it stays with the one it has, which
    /// is no primary then.
    async fn follow(&self, epoch: Epoch, upstream: Option<&Upstream>) -> Result<(), PlaneError> {
        match upstream {
            Some(upstream) => self.0.follow(epoch, self.0.cluster_of(&upstream.region)?).await,
            None => self.0.raise(epoch),
        }
    }

    /// The operator writes the upstream, and writes it again: that this member receives nothing more
    /// cannot be promised (R18). Ledger takeover and hot switchover need another member.
    async fn stop_receiving(&self, _epoch: Epoch) -> Result<Lsn, PlaneError> {
        Err(failed("stopping the WAL receiver", &"a CloudNativePG Cluster cannot be told to"))
    }

    async fn stop(&self, epoch: Epoch, mode: StopMode) -> Result<(), PlaneError> {
        self.0.stop(epoch, mode).await
    }

    async fn set_fence(&self, reason: Option<&str>) -> Result<(), PlaneError> {
        let epoch = self.0.known().epoch;
        let make = |seen: &Seen| {
            if seen.cluster.annotation(marks::BROKEN_GLASS) == reason {
                return Err(PatchError::Already);
            }
            annotate(&seen.cluster, &[(marks::BROKEN_GLASS, reason)])
        };
        let stop = async {
            match reason {
                Some(_) => self.0.stop_now(epoch).await,
                None => Ok(()),
            }
        };
        let (marked, stopped) = tokio::join!(self.0.change("setting the fence", make), stop);
        marked?;
        stopped
    }

    async fn control_data(&self) -> Result<ControlData, PlaneError> {
        self.0.control_data().await
    }

    async fn observe(&self) -> Observation {
        let (access, name) = (&self.0.access, self.0.session_name());
        self.0.observer.look(access, &name, &self.0.clock).await
    }

    async fn checkpoint(&self) -> Result<(), PlaneError> {
        let session = self.0.session(CHECKPOINT_LIMIT).await?;
        session.text("writing a checkpoint", "checkpoint").await.map(drop)
    }

    /// The operator keeps the role that replicas stream as. There is no slot between Clusters:
    /// `wal_keep_size` and the archive hold what a standby needs.
    async fn ensure_replication(&self, _standbys: &[RegionId]) -> Result<(), PlaneError> {
        Ok(())
    }

    async fn start_canary(&self) -> Result<(), PlaneError> {
        let canary = Canary::start(&self.0.access, &self.0.session_name()).await?;
        *lock(&self.0.canary) = Some(canary);
        Ok(())
    }

    async fn look_canary(&self) -> Result<CanaryLook, PlaneError> {
        let session = self.0.session(QUICK_LIMIT).await?;
        canary::look(&self.0.canary, &session).await
    }

    async fn wake(&self) -> Result<Lsn, PlaneError> {
        let what = "waking waiting commits";
        let session = self.0.session(CHANGE_LIMIT).await?;
        session.text(what, WRITE_RECORD).await?;
        let position = session.value(what, "select pg_current_wal_flush_lsn()").await?;
        position.parse().map_err(|error| failed(what, &error))
    }

    async fn commit_probe(&self) -> Result<(), PlaneError> {
        let what = "committing a probe";
        let options = SessionOptions { local_commit: false, limit: COMMIT_LIMIT };
        let session = Session::local(&self.0.access, "continuum_probe_commit", options).await?;
        session.text(what, WRITE_RECORD).await?;
        if session.wait_was_cancelled() {
            let why = "its wait for the standbys was cancelled; it counts for nothing (R11)";
            return Err(failed(what, &why));
        }
        Ok(())
    }

    async fn end_sessions(&self) -> Result<u32, PlaneError> {
        end_client_sessions(&self.0.session(CHANGE_LIMIT).await?).await
    }

    /// The operator makes the data directory. What is done here is to wait for none: until it is there,
    /// and has its identity, this says so.
    async fn initialise(&self) -> Result<DataDirectoryId, PlaneError> {
        let directory = self.status().await?.data_directory;
        let missing = || {
            let why =
                "the Cluster has no database yet; apply its manifest and wait for the operator";
            failed("taking over the Cluster's database", &why)
        };
        directory.ok_or_else(missing)
    }

    async fn lineage(&self, primary: &Upstream) -> Result<Lineage, PlaneError> {
        self.0.compare_with(primary).await
    }

    async fn save_tail(&self, fork: Lsn, timeline: TimelineId) -> Result<TailArtefact, PlaneError> {
        self.0.save_tail(fork, timeline).await
    }

    async fn rewind(
        &self,
        _epoch: Epoch,
        _primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError> {
        Err(failed("rewinding", &"a CloudNativePG Cluster is copied anew instead"))
    }

    async fn reclone(
        &self,
        epoch: Epoch,
        primary: &Upstream,
    ) -> Result<DataDirectoryId, PlaneError> {
        self.0.reclone(epoch, primary).await
    }

    fn operator_waits(&self) -> Vec<OperatorWait> {
        self.0.waits.all()
    }

    fn role_board(&self) -> Option<Arc<RoleBoard>> {
        Some(self.0.role.clone())
    }

    async fn handover_evidence(&self) -> Option<String> {
        self.0.evidence()
    }

    async fn take_evidence(&self, epoch: Epoch, evidence: &str) -> Result<(), PlaneError> {
        self.0.take_evidence(epoch, evidence).await
    }
}
