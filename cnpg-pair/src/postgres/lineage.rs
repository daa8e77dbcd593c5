//! How a stopped member's history relates to its primary's.
//!
//! Timeline numbers alone prove nothing: two members promoted apart can both reach number 4. So
//! the chains of switch points are compared, and a member that seems to fit must also have the
//! same bytes of WAL as the primary just before its end.

use std::time::Duration;

use continuum_domain::observation::Lineage;
use continuum_domain::{Lsn, TimelineId};
use serde::Deserialize;

use super::sql::{Session, failed, literal};
use super::{PostgresPlane, unexpected};
use crate::plane::{PlaneError, Upstream};
use crate::wal::{Ancestor, Relation, history_name, parse_history, relate, segment_name};
use crate::wire::{Answer, Command, LocalHistory};

/// Longest time for one question to the primary.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for the guard to read this member's own history: it reads all WAL since the last
/// checkpoint.
const HISTORY_LIMIT: Duration = Duration::from_secs(300);

const PRIMARY: &str = "\
select json_build_object(
  'system', (select system_identifier::text from pg_control_system()),
  'in_recovery', r.yes,
  'timeline', case when r.yes then 0
    else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end,
  'flushed', case when r.yes then '0/0' else pg_current_wal_flush_lsn() end
)::text from (select pg_is_in_recovery() as yes offset 0) r";

#[derive(Deserialize)]
struct PrimaryNow {
    system: String,
    in_recovery: bool,
    timeline: u64,
    flushed: Lsn,
}

/// A primary's history.
struct PrimaryHistory {
    timeline: TimelineId,
    ancestors: Vec<Ancestor>,
    flushed: Lsn,
}

impl PostgresPlane {
    pub(super) async fn compare_with(&self, primary: &Upstream) -> Result<Lineage, PlaneError> {
        let what = "reading this member's history";
        let local = match self.ask(&self.bulk, what, None, Command::History, HISTORY_LIMIT).await? {
            Answer::History(history) => history,
            Answer::NoHistory { reason } => return Ok(Lineage::Foreign { reason }),
            other => return Err(unexpected(what, &other)),
        };
        let session = Session::remote(&self.config, primary, ASK_LIMIT).await?;
        let now: PrimaryNow = session.json("asking the primary", PRIMARY).await?;
        if now.system != local.control.system_identifier.to_string() {
            let mine = local.control.system_identifier;
            let reason = format!("this is database system {mine}, the primary's is {}", now.system);
            return Ok(Lineage::Foreign { reason });
        }
        if now.in_recovery {
            return Err(failed("asking the primary", &"it is a standby; ask the new holder"));
        }
        let history = primary_history(&session, &now).await?;
        let ancestors = own_ancestors(&local, &history);
        let relation = relate(
            (&ancestors, local.timeline, local.end),
            (&history.ancestors, history.timeline, history.flushed),
        );
        let (end, timeline) = (local.end, local.timeline);
        match relation {
            Relation::Diverged { fork } => Ok(Lineage::Diverged { fork, end, timeline }),
            Relation::Within => match compare_bytes(&session, &local, &history).await? {
                Bytes::Same => Ok(Lineage::Follows),
                Bytes::Different => {
                    let fork = ancestors.last().map_or(local.sample.start, |last| last.switch);
                    Ok(Lineage::Diverged { fork, end, timeline })
                }
                Bytes::Gone => Ok(Lineage::Unprovable {
                    reason: format!("the primary no longer holds the WAL at {end}"),
                }),
            },
        }
    }
}

/// The member's own ancestors. Without a history file of its own (a clone just made has none) the
/// primary's up to that number stand in; the bytes are compared in any case.
fn own_ancestors(local: &LocalHistory, primary: &PrimaryHistory) -> Vec<Ancestor> {
    local.ancestors.clone().unwrap_or_else(|| {
        let before = primary.ancestors.iter().take_while(|a| a.timeline < local.timeline);
        before.copied().collect()
    })
}

async fn primary_history(
    session: &Session,
    now: &PrimaryNow,
) -> Result<PrimaryHistory, PlaneError> {
    let what = "reading the primary's timeline history";
    let timeline = TimelineId(now.timeline);
    let ancestors = if now.timeline <= 1 {
        Vec::new()
    } else {
        let file = literal(&format!("pg_wal/{}", history_name(timeline)));
        let query = format!("select convert_from(pg_read_binary_file({file}), 'UTF8')");
        let text = session.value(what, &query).await?;
        parse_history(&text).map_err(|reason| failed(what, &reason))?
    };
    Ok(PrimaryHistory { timeline, ancestors, flushed: now.flushed })
}

enum Bytes {
    Same,
    Different,
    Gone,
}

/// Compares the member's last WAL with the same positions of the primary's, which holds them in a
/// segment of the member's timeline or, copied at the switch, of a later one.
async fn compare_bytes(
    session: &Session,
    local: &LocalHistory,
    primary: &PrimaryHistory,
) -> Result<Bytes, PlaneError> {
    let length = local.sample.hex.len() / 2;
    if length == 0 {
        return Ok(Bytes::Same);
    }
    let offset = local.sample.start.0 % local.segment_bytes;
    let later = primary.ancestors.iter().map(|ancestor| ancestor.timeline);
    let mut found = Bytes::Gone;
    for timeline in later.chain([primary.timeline]).filter(|t| *t >= local.timeline) {
        let file = segment_name(timeline, local.sample.start, local.segment_bytes);
        let file = literal(&format!("pg_wal/{file}"));
        let query =
            format!("select encode(pg_read_binary_file({file}, {offset}, {length}, true), 'hex')");
        match session.text("reading the primary's WAL", &query).await? {
            Some(hex) if hex == local.sample.hex => return Ok(Bytes::Same),
            Some(_) => found = Bytes::Different,
            None => {}
        }
    }
    Ok(found)
}
