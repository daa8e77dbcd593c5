//! Watching `Backup` and `ScheduledBackup` objects of one namespace.

use std::fmt::Debug;

use continuum_cnpg_pair::kubernetes::cnpg::{Backup, ScheduledBackup};
use continuum_runtime::seed;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{BackupDesk, Home, Kind, Seen};
use crate::kubernetes::Cluster;
use crate::kubernetes::watch;

/// Watches for as long as the process lives: a pair that wants no backups any more has them still.
pub(super) fn begin(desk: &BackupDesk, home: Home, agents: Cluster) {
    let desk = desk.clone();
    seed::spawn(async move {
        let client = match client(&home, &agents).await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, cluster = home.cluster, "its backups are not watched");
                return;
            }
        };
        let backups = Api::<Backup>::namespaced(client.clone(), &home.namespace);
        let schedules = Api::<ScheduledBackup>::namespaced(client, &home.namespace);
        let (first, second) = (desk.clone(), desk);
        tokio::join!(
            keep(first, &home.cluster, backups, |seen| &mut seen.backups),
            keep(second, &home.cluster, schedules, |seen| &mut seen.schedules),
        );
    });
}

/// The API server of a member: its own file first, then that of the agent's cluster.
pub(super) async fn client(home: &Home, agents: &Cluster) -> std::io::Result<Client> {
    match &home.kubeconfig {
        Some(file) => Cluster::connect(Some(file)).await,
        None => Ok(agents.client.clone()),
    }
}

async fn keep<K>(
    desk: BackupDesk,
    cluster: &str,
    api: Api<K>,
    slot: impl Fn(&mut Seen) -> &mut Kind<K>,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (sender, mut receiver) = mpsc::channel(64);
    seed::spawn(watch::run(api, sender));
    while let Some(event) = receiver.recv().await {
        let now = desk.0.clock.now();
        desk.learn(cluster, |seen| take(slot(seen), event, now));
    }
}

fn take<K: Resource>(kind: &mut Kind<K>, event: watch::Seen<K>, now: continuum_domain::Tick) {
    match event {
        watch::Seen::All(all) => {
            kind.all = Some(all.into_iter().map(|one| (one.name_any(), one)).collect());
        }
        watch::Seen::Applied(one) => {
            kind.all.get_or_insert_default().insert(one.name_any(), one);
        }
        watch::Seen::Deleted(one) => {
            kind.all.get_or_insert_default().remove(&one.name_any());
        }
        watch::Seen::Heard => {}
        watch::Seen::Lost(why) => {
            tracing::debug!(why, "backups are not watched");
            return;
        }
    }
    kind.heard = Some(now);
}
