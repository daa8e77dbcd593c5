//! The data plane as an agent holds it.

use std::sync::Arc;

use async_trait::async_trait;
use continuum_cnpg_pair::plane::{
    CanaryLook, DataPlane, PlaneError, Promoted, StopMode, TailArtefact, Taken, Upstream,
};
use continuum_domain::observation::{ActuatorStatus, ControlData, Lineage, Observation};
use continuum_domain::{DataDirectoryId, Epoch, Lsn, RegionId, SyncNames, Tick, TimelineId};

use super::cluster::Cluster;

/// One agent's handle on one member.
pub struct ModelPlane {
    cluster: Arc<Cluster>,
    member: usize,
}

impl ModelPlane {
    pub(super) fn new(cluster: Arc<Cluster>, member: usize) -> Self {
        Self { cluster, member }
    }

    fn absent<T>(&self) -> Result<T, PlaneError> {
        let _ = (&self.cluster, self.member);
        Err(PlaneError::GuardLost("not there yet".into()))
    }
}

#[async_trait]
impl DataPlane for ModelPlane {
    async fn take(&self) -> Result<Taken, PlaneError> {
        self.absent()
    }
    async fn status(&self) -> Result<ActuatorStatus, PlaneError> {
        self.absent()
    }
    async fn changed(&self, _: &ActuatorStatus) -> Result<ActuatorStatus, PlaneError> {
        self.absent()
    }
    async fn arm(&self, _: Epoch, _: Tick) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn start(
        &self,
        _: Epoch,
        _: &SyncNames,
        _: Option<&Upstream>,
    ) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn promote(&self, _: Epoch, _: &SyncNames) -> Result<Promoted, PlaneError> {
        self.absent()
    }
    async fn set_names(&self, _: Epoch, _: &SyncNames) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn follow(&self, _: Epoch, _: Option<&Upstream>) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn stop(&self, _: Epoch, _: StopMode) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn set_fence(&self, _: Option<&str>) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn control_data(&self) -> Result<ControlData, PlaneError> {
        self.absent()
    }
    async fn observe(&self) -> Observation {
        Observation::default()
    }
    async fn checkpoint(&self) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn ensure_replication(&self, _: &[RegionId]) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn start_canary(&self) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn look_canary(&self) -> Result<CanaryLook, PlaneError> {
        self.absent()
    }
    async fn wake(&self) -> Result<Lsn, PlaneError> {
        self.absent()
    }
    async fn commit_probe(&self) -> Result<(), PlaneError> {
        self.absent()
    }
    async fn end_sessions(&self) -> Result<u32, PlaneError> {
        self.absent()
    }
    async fn initialise(&self) -> Result<DataDirectoryId, PlaneError> {
        self.absent()
    }
    async fn lineage(&self, _: &Upstream) -> Result<Lineage, PlaneError> {
        self.absent()
    }
    async fn save_tail(&self, _: Lsn, _: TimelineId) -> Result<TailArtefact, PlaneError> {
        self.absent()
    }
    async fn rewind(&self, _: Epoch, _: &Upstream) -> Result<DataDirectoryId, PlaneError> {
        self.absent()
    }
    async fn reclone(&self, _: Epoch, _: &Upstream) -> Result<DataDirectoryId, PlaneError> {
        self.absent()
    }
}
