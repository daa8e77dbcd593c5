//! Observation by SQL: one bounded look, and the write probe beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_domain::observation::{Observation, SqlView, StandbyView};
use continuum_domain::{Lsn, RegionId, Tick, TimelineId};
use continuum_runtime::{SharedClock, seed};
use serde::Deserialize;

use super::access::Access;
use super::heard::SenderClock;
use super::sql::{Session, SessionOptions};
use crate::plane::PlaneError;

/// Longest time of one look.
const LOOK_LIMIT: Duration = Duration::from_millis(500);
/// Interval of the write probe.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// After this long a write probe is given up; its last success has long been old by then.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// Everything in one statement: one round trip, one snapshot. Functions that a standby refuses
/// stand in branches that it does not take.
const LOOK: &str = "\
select json_build_object(
  'in_recovery', r.yes,
  'timeline', case when r.yes then coalesce(
      (select received_tli from pg_stat_wal_receiver),
      (select greatest(c.timeline_id, m.min_recovery_end_timeline)
         from pg_control_checkpoint() c, pg_control_recovery() m))
    else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end,
  'wal', case when r.yes then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_flush_lsn() end,
  'replay', case when r.yes then pg_last_wal_replay_lsn() end,
  'receiver', exists (select from pg_stat_wal_receiver where status = 'streaming'),
  'upstream', (select json_build_object('end', latest_end_lsn, 'receiver', pid,
      'sent_us', case when last_msg_send_time <> last_msg_receipt_time
        then (extract(epoch from last_msg_send_time) * 1000000)::bigint end)
    from pg_stat_wal_receiver),
  'started', pg_postmaster_start_time()::text,
  'sync_names', current_setting('synchronous_standby_names'),
  'waiting', (select count(*) from pg_stat_activity where wait_event = 'SyncRep'
    and application_name not like 'continuum\\_agent%'),
  'standbys', (select coalesce(json_agg(json_build_object(
      'name', application_name, 'role', usename, 'streaming', state = 'streaming',
      'sync', sync_state = 'sync', 'flush', flush_lsn, 'replay', replay_lsn,
      'lag_ms', (extract(epoch from replay_lag) * 1000)::bigint)), '[]'::json)
    from pg_stat_replication)
)::text from (select pg_is_in_recovery() as yes offset 0) r";

/// Every place where commits are told not to wait for a standby's flush. A session is judged by its
/// last statement: what it set inside a function or by its connection's options is not seen.
const LOWERED: &str = r"
select coalesce(json_agg(place), '[]'::json)::text from (
  select format('the configuration sets synchronous_commit to %s', setting) as place
    from (select setting from pg_file_settings where name = 'synchronous_commit'
      order by seqno desc limit 1) f
    where setting not in ('on', 'remote_apply', 'true', 'yes', '1')
  union all
  select format('%s sets synchronous_commit to %s',
      concat_ws(' in ', 'role ' || r.rolname, 'database ' || d.datname), split_part(c, '=', 2))
    from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole
      left join pg_database d on d.oid = s.setdatabase, unnest(s.setconfig) c
    where c like 'synchronous\_commit=%'
      and lower(split_part(c, '=', 2)) not in ('on', 'remote_apply', 'true', 'yes', '1')
  union all
  select format('session %s of %s sets synchronous_commit lower', pid, usename)
    from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
      and (query ~* '(^|;)\s*set\s+((local|session)\s+)?synchronous_commit\s*(=|\yto\y)\s*''?(off|local|remote_write|false|no|0)\y'
        or query ~* 'set_config\(\s*''synchronous_commit''\s*,\s*''(off|local|remote_write|false|no|0)''')
  ) places";

/// How old that may be before it is looked at again.
const LOWERED_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Look {
    in_recovery: bool,
    timeline: u64,
    wal: Option<Lsn>,
    replay: Option<Lsn>,
    receiver: bool,
    upstream: Option<Upstream>,
    started: String,
    sync_names: String,
    waiting: u32,
    standbys: Vec<Receiver>,
}

/// What a standby's receiver heard last.
#[derive(Deserialize)]
struct Upstream {
    end: Option<Lsn>,
    receiver: i64,
    /// The sender's wall clock, microseconds since 1970. A receiver that has heard nothing yet
    /// shows the instant of its own start in both columns, and the last receiver's end.
    sent_us: Option<i64>,
}

#[derive(Deserialize)]
struct Receiver {
    name: Option<String>,
    role: Option<String>,
    streaming: Option<bool>,
    sync: Option<bool>,
    flush: Option<Lsn>,
    replay: Option<Lsn>,
    lag_ms: Option<u64>,
}

/// What is known, and the sessions it is learnt by.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// The cached session; a look that fails leaves none behind.
    session: tokio::sync::Mutex<Option<Session>>,
    known: Mutex<Known>,
    probe_session: tokio::sync::Mutex<Option<Session>>,
}

#[derive(Debug, Default)]
struct Known {
    observation: Observation,
    probe_started: Option<Tick>,
    probe_running: bool,
    /// Newest timeline seen in this life of PostgreSQL, by its start time.
    newest_timeline: Option<(String, u64)>,
    sender_clock: SenderClock,
    /// What lowers `synchronous_commit`, and when that was looked at.
    lowered: Option<(Tick, Vec<String>)>,
}

impl Observer {
    /// One look. Failures are part of what is returned; what was known before stays, with its age.
    pub async fn look(
        self: &Arc<Self>,
        access: &Arc<Access>,
        name: &str,
        clock: &SharedClock,
    ) -> Observation {
        let asked = clock.now();
        let result = match tokio::time::timeout(LOOK_LIMIT, self.ask(access, name, clock)).await {
            Ok(result) => result,
            Err(_) => Err(super::sql::timeout("observing PostgreSQL", LOOK_LIMIT)),
        };
        let primary = result.as_ref().is_ok_and(|view| !view.in_recovery);
        {
            let mut known = self.known();
            match result {
                // The instant it was asked, not answered: what is shown is at least that old.
                Ok(view) => known.observation.sql = Some((asked, view)),
                Err(error) => known.observation.failed = Some((asked, error.to_string())),
            }
            if !primary {
                known.observation.write_probe = known.observation.write_probe.filter(|_| {
                    known.observation.sql.as_ref().is_some_and(|(_, view)| !view.in_recovery)
                });
            }
        }
        if primary {
            self.start_probe(access, name, clock);
        }
        self.known().observation.clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        &self,
        access: &Arc<Access>,
        name: &str,
        clock: &SharedClock,
    ) -> Result<SqlView, PlaneError> {
        let mut slot = self.session.lock().await;
        // Taken out for the time of the statement: cut short by the limit, it is closed.
        let session = match slot.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                let options = SessionOptions { local_commit: true, limit: LOOK_LIMIT };
                Session::local(access, name, options).await?
            }
        };
        let mut look: Look = session.json("observing PostgreSQL", LOOK).await?;
        self.keep_newest_timeline(&mut look);
        let lowered_commit = if look.in_recovery {
            None
        } else {
            let strangers = strangers(&look.standbys, access);
            let lowered = self.lowered(&session, clock).await?;
            lowered.map(|places| places.into_iter().chain(strangers).collect())
        };
        *slot = Some(session);
        let upstream_age_ms = self.upstream_age(&look, clock.now());
        Ok(SqlView { upstream_age_ms, lowered_commit, ..view(look, access) })
    }

    /// What lowers `synchronous_commit`, looked at now and then.
    async fn lowered(
        &self,
        session: &Session,
        clock: &SharedClock,
    ) -> Result<Option<Vec<String>>, PlaneError> {
        let now = clock.now();
        let known = self.known().lowered.clone();
        if let Some((_, places)) = known.filter(|(at, _)| now.since(*at) < LOWERED_INTERVAL) {
            return Ok(Some(places));
        }
        let places: Vec<String> =
            session.json("looking for a lowered synchronous_commit", LOWERED).await?;
        self.known().lowered = Some((now, places.clone()));
        Ok(Some(places))
    }

    fn upstream_age(&self, look: &Look, now: Tick) -> Option<u64> {
        let heard = look.upstream.as_ref()?;
        let receiver = format!("{} of {}", heard.receiver, look.started);
        let age = self.known().sender_clock.age(now, &receiver, heard.sent_us?)?;
        Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Once its primary is gone a standby shows its timeline only in `pg_control`, which names the
    /// last restartpoint's. Within one life of PostgreSQL timelines only rise, so that the newest
    /// one seen is the one it is on.
    fn keep_newest_timeline(&self, look: &mut Look) {
        let mut known = self.known();
        if let Some((started, timeline)) = &known.newest_timeline
            && *started == look.started
        {
            look.timeline = look.timeline.max(*timeline);
        }
        known.newest_timeline = Some((look.started.clone(), look.timeline));
    }

    /// Closes the cached sessions, which carry an older generation's name.
    pub async fn forget_sessions(&self) {
        self.session.lock().await.take();
        if let Ok(mut probe) = self.probe_session.try_lock() {
            probe.take();
        }
    }

    /// The write probe: does a commit still reach the disk? In a session and a task of its own, so
    /// that a disk that hangs shows as an old success, not as a look that hangs.
    fn start_probe(self: &Arc<Self>, access: &Arc<Access>, name: &str, clock: &SharedClock) {
        let now = clock.now();
        {
            let mut known = self.known();
            let recent = known.probe_started.is_some_and(|at| now.since(at) < PROBE_INTERVAL);
            if known.probe_running || recent {
                return;
            }
            known.probe_running = true;
            known.probe_started = Some(now);
        }
        let (observer, access) = (self.clone(), access.clone());
        let (name, clock) = (name.to_owned(), clock.clone());
        drop(seed::spawn(async move {
            let result = observer.probe(&access, &name).await;
            let mut known = observer.known();
            known.probe_running = false;
            match result {
                Ok(()) => known.observation.write_probe = Some(clock.now()),
                Err(error) => tracing::warn!(%error, "the write probe failed"),
            }
        }));
    }

    async fn probe(&self, access: &Arc<Access>, name: &str) -> Result<(), PlaneError> {
        let mut slot = self.probe_session.lock().await;
        let session = match slot.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                let options = SessionOptions { local_commit: true, limit: PROBE_LIMIT };
                Session::local(access, name, options).await?
            }
        };
        session.text("the write probe", super::WRITE_RECORD).await?;
        *slot = Some(session);
        Ok(())
    }
}

/// Receivers that bear a member's name under another role. PostgreSQL looks at the name alone, so that
/// a commit may be acknowledged on such a receiver's word (R18).
fn strangers(receivers: &[Receiver], access: &Access) -> Vec<String> {
    let strange = |receiver: &Receiver| {
        let name = receiver.name.as_deref()?;
        let region = access.member(name)?;
        let role = receiver.role.as_deref();
        (!access.is_role_of(name, role)).then(|| {
            let role = role.unwrap_or("no role");
            format!("a receiver of {role} bears the name of {region}; commits take its word")
        })
    };
    receivers.iter().filter_map(strange).collect()
}

fn view(look: Look, access: &Access) -> SqlView {
    let mut standbys: BTreeMap<RegionId, StandbyView> = BTreeMap::new();
    for receiver in look.standbys {
        let Some(name) = receiver.name.as_deref() else { continue };
        let Some(region) = access.member(name).cloned() else { continue };
        // R18: a receiver that bears a member's name counts only under that member's credential.
        if !access.is_role_of(name, receiver.role.as_deref()) {
            tracing::warn!(%region, "a receiver bears a member's name under another role");
            continue;
        }
        let found = StandbyView {
            streaming: receiver.streaming.unwrap_or(false),
            sync: receiver.sync.unwrap_or(false),
            flush: receiver.flush,
            replay: receiver.replay,
            lag_ms: receiver.lag_ms,
        };
        // A connection that died stays listed until its timeout: of two, the one that streams
        // counts, and of two such the one that is behind.
        let better = standbys.get(&region).is_none_or(|known| {
            (found.streaming, std::cmp::Reverse(found.flush))
                > (known.streaming, std::cmp::Reverse(known.flush))
        });
        if better {
            standbys.insert(region, found);
        }
    }
    SqlView {
        in_recovery: look.in_recovery,
        timeline: TimelineId(look.timeline),
        wal: look.wal,
        replay: look.replay,
        receiver_streaming: look.receiver,
        upstream_end: look.upstream.and_then(|heard| heard.end),
        upstream_age_ms: None,
        sync_names: access.in_regions(&look.sync_names),
        standbys,
        waiting_commits: look.waiting,
        lowered_commit: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::postgres::PlaneConfig;

    #[test]
    fn a_receiver_under_another_role_speaks_against_the_premise() {
        let region = |name: &str| RegionId::new(name).unwrap();
        let config = PlaneConfig {
            region: region("fsn"),
            members: BTreeSet::from([region("fsn"), region("hel")]),
            guard_socket: "guard".into(),
            socket_directory: "socket".into(),
            port: 5432,
            replication_password_file: "password".into(),
        };
        let access = Access::local(&config);
        let receiver = |name: &str, role: &str| -> Receiver {
            serde_json::from_value(serde_json::json!({ "name": name, "role": role })).unwrap()
        };
        let own = receiver("hel", "continuum_repl_hel");
        let elsewhere = receiver("backup", "continuum_repl_hel");
        assert!(strangers(&[own, elsewhere], &access).is_empty());
        let other = receiver("hel", "continuum_repl_fsn");
        let told = strangers(&[other], &access);
        assert_eq!(
            told,
            ["a receiver of continuum_repl_fsn bears the name of hel; commits take its word"]
        );
    }
}
