//! Replication roles and slots on a primary, and the agent's own sessions.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use continuum_domain::RegionId;

use super::sql::{Session, failed, literal};
use super::{PostgresPlane, SESSION_NAME};
use crate::guard::{read_password, replication_role, slot_name};
use crate::plane::PlaneError;

/// Longest time for one statement here.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// How often ended sessions are looked for.
const GONE_POLL: Duration = Duration::from_millis(5);
/// Longest time until ended sessions must be gone.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// What `pg_rewind` and the comparison of histories call on a primary.
const GRANTS: &str = "\
grant execute on function pg_catalog.pg_ls_dir(text, boolean, boolean), \
pg_catalog.pg_stat_file(text, boolean), pg_catalog.pg_read_binary_file(text), \
pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean), pg_catalog.pg_control_system() to ";

impl PostgresPlane {
    /// One role and one slot for each standby. Slots of members that are none any more are dropped,
    /// because they hold back WAL; lost ones too, because they hold none.
    pub(super) async fn make_replication(&self, standbys: &[RegionId]) -> Result<(), PlaneError> {
        let session = self.local_session(STEP_LIMIT).await?;
        let lost = "select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots \
             where slot_type = 'physical' and not active and slot_name like 'continuum\\_%' \
             and wal_status = 'lost'";
        session.text("dropping lost replication slots", lost).await?;
        for standby in standbys {
            self.make_role(&session, standby).await?;
            let slot = literal(&slot_name(standby));
            let statement = format!(
                "select pg_create_physical_replication_slot({slot}, true) where not exists \
                 (select from pg_replication_slots where slot_name = {slot})"
            );
            session.text("making a replication slot", &statement).await?;
        }
        let wanted: Vec<String> = standbys.iter().map(|s| literal(&slot_name(s))).collect();
        let wanted = if wanted.is_empty() { "''".to_owned() } else { wanted.join(", ") };
        let statement = format!(
            "select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots \
             where slot_type = 'physical' and not active and slot_name like 'continuum\\_%' \
             and slot_name not in ({wanted})"
        );
        session.text("dropping replication slots", &statement).await?;
        Ok(())
    }

    async fn make_role(&self, session: &Session, standby: &RegionId) -> Result<(), PlaneError> {
        let what = "making a replication role";
        let role = replication_role(standby);
        let path = self.config.replication_password_file.clone();
        let password = continuum_runtime::seed::blocking(move || read_password(&path)).await;
        let password = password
            .map_err(|error| failed(what, &error))?
            .map_err(|error| failed(what, &error))?;
        let exists = session
            .text(what, &format!("select 1 from pg_roles where rolname = {}", literal(&role)))
            .await?
            .is_some();
        // Set once in the life of this agent, so that a password that was changed is taken up.
        let known = (standby.clone(), password.clone());
        if exists && self.roles().contains(&known) {
            return Ok(());
        }
        // Only the verifier travels, so that no log of statements can hold the password.
        let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
        let verb = if exists { "alter" } else { "create" };
        let statement = format!(
            "begin; {verb} role {role} login replication password {}; {GRANTS} {role}; \
             grant pg_checkpoint to {role}; commit",
            literal(&verifier)
        );
        session.text(what, &statement).await?;
        self.roles().insert(known);
        Ok(())
    }

    fn roles(&self) -> MutexGuard<'_, BTreeSet<(RegionId, String)>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends sessions of agents before this one and sees them gone (R4).
    pub(super) async fn end_older_agents(&self) -> Result<(), PlaneError> {
        let session = self.local_session(GONE_LIMIT).await?;
        end_older_agents(&session, &self.session_name()).await
    }

    /// Ends client sessions.
    pub(super) async fn end_client_sessions(&self) -> Result<u32, PlaneError> {
        end_client_sessions(&self.local_session(STEP_LIMIT).await?).await
    }
}

/// Ends sessions of agents other than the one with this name, and sees them gone (R4).
pub(crate) async fn end_older_agents(session: &Session, own: &str) -> Result<(), PlaneError> {
    let what = "ending the old agent's sessions";
    let older = format!(
        "from pg_stat_activity where application_name like '{}\\_%' and application_name <> {} \
         and pid <> pg_backend_pid()",
        SESSION_NAME.replace('_', "\\_"),
        literal(own),
    );
    let end = format!("select count(pg_terminate_backend(pid)) {older}");
    let gone = async {
        // An old agent that lives comes back, and is ended again.
        while session.value(what, &end).await? != "0" {
            tokio::time::sleep(GONE_POLL).await;
        }
        Ok(())
    };
    match tokio::time::timeout(GONE_LIMIT, gone).await {
        Ok(result) => result,
        Err(_) => Err(super::sql::timeout(what, GONE_LIMIT)),
    }
}

/// Ends client sessions. One that waits for its standbys is left alone: nothing but the ledger lets go
/// of a waiting commit (R11).
pub(crate) async fn end_client_sessions(session: &Session) -> Result<u32, PlaneError> {
    let what = "ending client sessions";
    let statement = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
         where backend_type = 'client backend' and wait_event is distinct from 'SyncRep' \
         and application_name not like 'continuum\\_agent%'";
    let count = session.value(what, statement).await?;
    count.parse().map_err(|error: std::num::ParseIntError| failed(what, &error))
}
