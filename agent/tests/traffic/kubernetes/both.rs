//! The Poolers of both regions, each on its own API server, told the same and looked at as one.

use std::sync::Arc;

use async_trait::async_trait;
use continuum_agent::traffic::contract::Stand;
use continuum_agent::traffic::{Pointing, Seen, SwitchError, TrafficSwitch};
use serde_json::json;

use super::everywhere::{furnished, pooler_config};
use super::server::{Server, to};

const DB: &str = "/apis/postgresql.cnpg.io/v1/namespaces/shop/poolers/db";
const REGIONS: [&str; 2] = ["fsn", "hel"];

/// The stand.
pub struct Both {
    servers: Arc<[Server; 2]>,
    one: Pair,
    other: Pair,
}

impl Both {
    pub async fn start() -> Self {
        let servers = Arc::new([furnished().await, furnished().await]);
        let open = |agent: &str| {
            let switch = |at: usize| {
                let mut config = pooler_config();
                config["region"] = json!(REGIONS[at]);
                servers[at].open(&config, agent)
            };
            Pair { servers: servers.clone(), switches: [switch(0), switch(1)] }
        };
        let (one, other) = (open("one"), open("other"));
        Self { servers, one, other }
    }
}

struct Pair {
    servers: Arc<[Server; 2]>,
    switches: [Arc<dyn TrafficSwitch>; 2],
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

async fn is_paused(server: &Server) -> bool {
    server.get(DB).await["spec"]["pgbouncer"]["paused"] == true
}

#[async_trait]
impl TrafficSwitch for Pair {
    fn can_hold(&self) -> bool {
        true
    }

    fn sees_sessions(&self) -> bool {
        false
    }

    async fn look(&self) -> Result<Seen, SwitchError> {
        // The operators do as they were told.
        for server in self.servers.iter() {
            let phase = if is_paused(server).await { "paused" } else { "active" };
            server.patch(&format!("{DB}/status"), json!({ "status": { "phase": phase } })).await;
        }
        let (fsn, hel) = (self.switches[0].look().await?, self.switches[1].look().await?);
        assert_eq!((&fsn.target, &fsn.held), (&hel.target, &hel.held));
        Ok(Seen { in_force: fsn.in_force && hel.in_force, ..fsn })
    }

    async fn point(&self, to: &Pointing) -> Result<(), SwitchError> {
        self.switches[0].point(to).await?;
        self.switches[1].point(to).await
    }

    async fn hold(&self, why: &str) -> Result<(), SwitchError> {
        self.switches[0].hold(why).await?;
        self.switches[1].hold(why).await
    }

    async fn let_through(&self) -> Result<(), SwitchError> {
        self.switches[0].let_through().await?;
        self.switches[1].let_through().await
    }

    async fn end_stale(&self) -> Result<(), SwitchError> {
        Ok(())
    }
}

#[async_trait]
impl Stand for Both {
    fn switch(&self) -> &dyn TrafficSwitch {
        &self.one
    }

    fn another(&self) -> &dyn TrafficSwitch {
        &self.other
    }

    fn to(&self, epoch: u64, holder: &str) -> Pointing {
        to(epoch, holder)
    }

    /// Clients try both regions: whoever lets them through has them.
    async fn begin(&mut self) -> Option<String> {
        let mut open = Vec::new();
        for (server, region) in self.servers.iter().zip(REGIONS) {
            if !is_paused(server).await {
                open.push(region.to_owned());
            }
        }
        assert!(open.len() <= 1, "two regions let clients through: {open:?}");
        open.pop()
    }

    async fn end(&mut self) {}

    async fn hold_by_hand(&mut self, _held: bool) {}
}
