//! How a stopped member's history relates to its primary's.
//!
//! Timeline numbers alone prove nothing: two members promoted apart can both reach number 4. So
//! the chains of switch points are compared, and then the bytes of WAL: just before its end where a
//! member seems to fit, just before the fork where it does not.

use std::time::Duration;

use continuum_domain::observation::Lineage;
use continuum_domain::{Lsn, TimelineId};
use serde::Deserialize;

use super::sql::{Session, failed, literal};
use super::{PostgresPlane, unexpected};
use crate::plane::{PlaneError, Upstream};
use crate::wal::{Ancestor, Relation, history_name, parse_history, relate, segment_name};
use crate::wire::{Answer, Command, LocalHistory, WalSample};

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

/// A primary at one moment.
#[derive(Deserialize)]
pub(crate) struct PrimaryNow {
    /// Its database system.
    pub system: String,
    in_recovery: bool,
    /// Its timeline.
    pub timeline: u64,
    /// How far its WAL is flushed.
    pub flushed: Lsn,
}

/// A primary's history.
#[derive(Clone, Debug)]
pub(crate) struct PrimaryHistory {
    /// The timeline it is on.
    pub timeline: TimelineId,
    /// Those it has left, and where.
    pub ancestors: Vec<Ancestor>,
    /// How far its WAL is flushed.
    pub flushed: Lsn,
}

impl PostgresPlane {
    pub(super) async fn compare_with(&self, primary: &Upstream) -> Result<Lineage, PlaneError> {
        let session = Session::remote(&self.config, primary, ASK_LIMIT).await?;
        // Before anything is read here: while the new primary is still being promoted nothing can be
        // compared, and reading would only take disk and processor from what shares them with it.
        primary_now(&session).await?;
        let what = "reading this member's history";
        let local = match self.ask(&self.bulk, what, None, Command::History, HISTORY_LIMIT).await? {
            Answer::History(history) => history,
            Answer::NoHistory { reason } => return Ok(Lineage::Foreign { reason }),
            other => return Err(unexpected(what, &other)),
        };
        // After what this member has: a standby that streams meanwhile must not seem to be ahead.
        let now = primary_now(&session).await?;
        if now.system != local.control.system_identifier.to_string() {
            let mine = local.control.system_identifier;
            let reason = format!("this is database system {mine}, the primary's is {}", now.system);
            return Ok(Lineage::Foreign { reason });
        }
        let history = primary_history(&session, &now).await?;
        let asked = Asked { plane: self, session, local, history };
        asked.lineage().await
    }
}

/// What a primary says of itself; a standby is refused.
pub(crate) async fn primary_now(session: &Session) -> Result<PrimaryNow, PlaneError> {
    let what = "asking the primary";
    let now: PrimaryNow = session.json(what, PRIMARY).await?;
    match now.in_recovery {
        true => Err(failed(what, &"it is a standby; ask the new holder")),
        false => Ok(now),
    }
}

/// Both histories, and whom to ask for more.
struct Asked<'a> {
    plane: &'a PostgresPlane,
    session: Session,
    local: Box<LocalHistory>,
    history: PrimaryHistory,
}

impl Asked<'_> {
    async fn lineage(&self) -> Result<Lineage, PlaneError> {
        let Self { local, history, .. } = self;
        let ancestors = own_ancestors(local, history);
        let relation = relate(
            (&ancestors, local.timeline, local.end),
            (&history.ancestors, history.timeline, history.flushed),
        );
        let (end, timeline) = (local.end, local.timeline);
        let diverged = match relation {
            Relation::Within => match self.compare(&local.sample, timeline).await? {
                Bytes::Same => return Ok(Lineage::Follows),
                // What a standby holds came from a primary; a former primary's may be its own only.
                Bytes::Gone if local.control.in_recovery => {
                    let reason = format!("the primary no longer holds the WAL at {end}");
                    return Ok(Lineage::Unprovable { reason });
                }
                Bytes::Gone | Bytes::Different => None,
            },
            Relation::Diverged { fork } => match self.just_before(&ancestors, fork).await? {
                Bytes::Same => Some(fork),
                // Not proven to be the same up to there, and then pages of this member's own could
                // be taken for the primary's.
                Bytes::Different | Bytes::Gone => None,
            },
        };
        if let Some(fork) = diverged {
            return Ok(Lineage::Diverged { fork, end, timeline });
        }
        let fork = self.last_shared_switch(&ancestors).await?;
        Ok(Lineage::Apart { fork, end, timeline })
    }

    /// The last of this member's own switches up to which both hold the same WAL.
    async fn last_shared_switch(&self, ancestors: &[Ancestor]) -> Result<Lsn, PlaneError> {
        for ancestor in ancestors.iter().rev() {
            if matches!(self.just_before(ancestors, ancestor.switch).await?, Bytes::Same) {
                return Ok(ancestor.switch);
            }
        }
        Ok(Lsn(0))
    }

    /// Compares the WAL just before a position of this member's chain.
    async fn just_before(
        &self,
        ancestors: &[Ancestor],
        position: Lsn,
    ) -> Result<Bytes, PlaneError> {
        let owner = ancestors.iter().find(|ancestor| position <= ancestor.switch);
        let timeline = owner.map_or(self.local.timeline, |ancestor| ancestor.timeline);
        let what = "reading this member's WAL";
        let command = Command::Sample { timeline, end: position };
        match self.plane.ask(&self.plane.bulk, what, None, command, ASK_LIMIT).await? {
            Answer::Sample(Some(sample)) => self.compare(&sample, timeline).await,
            Answer::Sample(None) => Ok(Bytes::Gone),
            other => Err(unexpected(what, &other)),
        }
    }

    /// Compares WAL of this member with the same positions of the primary's, which holds them in a
    /// segment of the member's timeline or, copied at the switch, of a later one.
    async fn compare(&self, sample: &WalSample, timeline: TimelineId) -> Result<Bytes, PlaneError> {
        let length = sample.hex.len() / 2;
        if length == 0 {
            return Ok(Bytes::Same);
        }
        let segment_bytes = self.local.segment_bytes;
        let offset = sample.start.0 % segment_bytes;
        let later = self.history.ancestors.iter().map(|ancestor| ancestor.timeline);
        let mut found = Bytes::Gone;
        for timeline in later.chain([self.history.timeline]).filter(|t| *t >= timeline) {
            let file =
                literal(&format!("pg_wal/{}", segment_name(timeline, sample.start, segment_bytes)));
            let query = format!(
                "select encode(pg_read_binary_file({file}, {offset}, {length}, true), 'hex')"
            );
            match self.session.text("reading the primary's WAL", &query).await? {
                Some(hex) if hex == sample.hex => return Ok(Bytes::Same),
                Some(_) => found = Bytes::Different,
                None => {}
            }
        }
        Ok(found)
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

/// The history of a primary that was just asked.
pub(crate) async fn primary_history(
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
