//! A request for a backup: taken up once, by the region that it is for.

use std::time::Duration;

use continuum_cnpg_pair::kubernetes::backups;
use continuum_cnpg_pair::kubernetes::cnpg::{self, Backup};
use continuum_cnpg_pair::kubernetes::crd::{
    BackupRequest, BackupTarget, CnpgPairSpec, CnpgPairStatus, OnDemandBackup,
};
use continuum_domain::{RegionId, Tick};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};

use super::{BackupDesk, Home, follow};
use crate::kubernetes::Cluster;
use crate::kubernetes::client::{Failure, MANAGER, bounded};

/// How many requests are remembered.
const HANDLED_MAX: usize = 32;
/// Pause before a request that could not be brought is brought again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is known of how the pair stands, for a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    /// Who holds the lease; `None` where that is not known, or nobody does.
    pub holder: Option<RegionId>,
    /// Whether the pair is paused, as far as that is known.
    pub paused: bool,
}

/// A `Backup` that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub request: String,
    pub pair: String,
}

/// What became of a wish.
#[derive(Debug)]
pub(crate) enum Done {
    /// The `Backup` is there.
    Made,
    /// None is made for this request.
    Refused(String),
    /// Not now.
    Waits(String),
}

/// The requests of one `CnpgPair`.
#[derive(Default)]
pub(crate) struct Asks {
    known: bool,
    handled: Vec<String>,
    last: Option<BackupRequest>,
    asking: bool,
    next: Option<Tick>,
}

impl Asks {
    pub fn handled(&self) -> &[String] {
        &self.handled
    }

    /// What its status says of the past counts when it is first seen, and never again, because others may
    /// write there.
    pub fn remember(&mut self, region: &RegionId, status: Option<&CnpgPairStatus>) {
        if std::mem::replace(&mut self.known, true) {
            return;
        }
        let own = status
            .and_then(|status| status.backups.iter().find(|one| one.region == region.as_str()));
        if let Some(own) = own {
            self.handled = own.handled_requests.clone();
            self.last = own.last_request.clone();
        }
    }

    /// The last request, with how far the `Backup` is that it became.
    pub fn told(&self, find: impl Fn(&str) -> Option<Backup>) -> Option<BackupRequest> {
        let last = self.last.clone()?;
        if last.backup.is_none() {
            return Some(last);
        }
        let Some(found) = find(&last.id) else { return Some(last) };
        let record = backups::record(&found);
        Some(BackupRequest { phase: record.phase, refused: record.error, ..last })
    }

    /// What is to be made now, if anything is.
    pub fn next(
        &mut self,
        desk: &BackupDesk,
        (spec, name): (&CnpgPairSpec, &str),
        around: &Around,
        now: Tick,
    ) -> Option<Wish> {
        let wanted = spec.backups.as_ref()?.on_demand.as_ref()?;
        let id = &wanted.request_id;
        if self.asking || self.handled.contains(id) {
            return None;
        }
        let home = desk.home(spec)?;
        // One that was made before this agent forgot it, or before it could say so.
        match desk.of_request(&home.cluster, id) {
            None => {
                self.wait(id, "the Backup objects are not seen yet");
                return None;
            }
            Some(Some(_)) => {
                self.made(&home.cluster, id);
                return None;
            }
            Some(None) => {}
        }
        if around.paused {
            let text = "the pair is paused: its PostgreSQL does not run. Nothing was asked for; resume it, \
                 and ask under a new requestId";
            self.settle(id, BackupRequest { refused: Some(text.into()), ..Default::default() });
            return None;
        }
        let own = &desk.0.region;
        let Some(at) = concerned(wanted, spec, around.holder.as_ref()) else {
            self.wait(id, "who holds the lease is not known: which Cluster is meant is not either");
            return None;
        };
        if at != own.as_str() {
            let last = BackupRequest { elsewhere: Some(at), ..BackupRequest::default() };
            self.settle(id, last);
            return None;
        }
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.asking = true;
        Some(Wish { request: id.clone(), pair: name.to_owned() })
    }

    /// A wish came to its end.
    pub fn answered(
        &mut self,
        desk: &BackupDesk,
        spec: &CnpgPairSpec,
        wish: &Wish,
        done: Done,
        now: Tick,
    ) {
        self.asking = false;
        match done {
            Done::Made => {
                if let Some(home) = desk.home(spec) {
                    self.made(&home.cluster, &wish.request);
                }
            }
            Done::Refused(why) => {
                let text = format!("{why}. Nothing was asked for; ask under a new requestId");
                self.settle(
                    &wish.request,
                    BackupRequest { refused: Some(text), ..Default::default() },
                );
            }
            Done::Waits(why) => {
                self.next = Some(now + AGAIN);
                self.wait(&wish.request, &why);
            }
        }
    }

    fn made(&mut self, cluster: &str, id: &str) {
        let backup = Some(backups::name_of(cluster, id));
        self.settle(id, BackupRequest { backup, ..BackupRequest::default() });
    }

    fn wait(&mut self, id: &str, why: &str) {
        let waits = Some(why.to_owned());
        self.last = Some(BackupRequest { id: id.to_owned(), waits, ..BackupRequest::default() });
    }

    fn settle(&mut self, id: &str, last: BackupRequest) {
        self.last = Some(BackupRequest { id: id.to_owned(), ..last });
        self.handled.push(id.to_owned());
        let over = self.handled.len().saturating_sub(HANDLED_MAX);
        self.handled.drain(..over);
    }
}

/// The region whose Cluster is meant.
fn concerned(
    wanted: &OnDemandBackup,
    spec: &CnpgPairSpec,
    holder: Option<&RegionId>,
) -> Option<String> {
    let holder = holder?.as_str();
    let both = [&spec.primary_region, &spec.replica_region];
    let found = both.into_iter().find(|region| match wanted.target {
        BackupTarget::Primary => region.as_str() == holder,
        BackupTarget::Standby => region.as_str() != holder,
    });
    found.cloned()
}

impl BackupDesk {
    /// Asks the operator for a backup, if the Cluster may be asked now.
    pub async fn ask(&self, spec: &CnpgPairSpec, agents: &Cluster, wish: &Wish) -> Done {
        let Some(home) = self.home(spec) else {
            return Done::Refused("this agent runs no member of the pair".into());
        };
        match make(home, agents, wish).await {
            Ok(done) => done,
            // It may have been made: the next look finds it by its name.
            Err(failure) => Done::Waits(format!("{failure}; it is tried again")),
        }
    }
}

async fn make(home: &Home, agents: &Cluster, wish: &Wish) -> Result<Done, Failure> {
    let client = follow::client(home, agents).await;
    let client = client.map_err(|error| Failure::Unanswered(error.to_string()))?;
    let clusters: Api<cnpg::Cluster> = Api::namespaced(client.clone(), &home.namespace);
    let cluster = match bounded(clusters.get(&home.cluster)).await {
        Err(failure) if failure.code() == Some(404) => {
            return Ok(Done::Refused(format!("there is no Cluster {}", home.cluster)));
        }
        cluster => cluster?,
    };
    if let Some(why) = backups::refusal(&cluster) {
        return Ok(Done::Refused(why.into()));
    }
    let api: Api<Backup> = Api::namespaced(client.clone(), &home.namespace);
    // As it is: the typed object would say null for what it leaves out, which the schema refuses.
    let kind = ApiResource::erase::<Backup>(&());
    let raw: Api<DynamicObject> = Api::namespaced_with(client, &home.namespace, &kind);
    let wanted = backups::manifest(&wish.pair, &home.cluster, &wish.request);
    let wanted: DynamicObject = serde_json::from_value(wanted)
        .map_err(|error| Failure::Unanswered(format!("the Backup is not understood: {error}")))?;
    let options = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    match bounded(raw.create(&options, &wanted)).await {
        Ok(_) => Ok(Done::Made),
        Err(failure) => match failure.code() {
            Some(409) => {
                let name = backups::name_of(&home.cluster, &wish.request);
                let found = bounded(api.get(&name)).await?;
                Ok(match backups::is_of(&found, &home.cluster, &wish.request) {
                    true => Done::Made,
                    false => Done::Refused(format!("a Backup {name} of somebody else is there")),
                })
            }
            Some(400 | 422) => Ok(Done::Refused(failure.to_string())),
            _ => Err(failure),
        },
    }
}
