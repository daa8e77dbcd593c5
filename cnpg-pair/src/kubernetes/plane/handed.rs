//! The demotion token on its way: from the stopped primary, through the question whether the standby has
//! replayed, onto the standby's Cluster, into its promotion.

use std::time::Duration;

use continuum_domain::{Epoch, Lsn, TimelineId};
use serde::Deserialize;

use super::clusters::failed;
use super::{Inner, lock, marks};
use crate::kubernetes::token::{DemotionToken, Fit, Position};
use crate::plane::PlaneError;
use crate::postgres::sql::Session;

const CHECKPOINT_LIMIT: Duration = Duration::from_secs(600);

/// The timeline is that of the last restart point: with its primary stopped nothing is received any more,
/// and a standby shows no other.
const POSITION: &str = "\
select json_build_object(
  'system', (select system_identifier::text from pg_control_system()),
  'timeline', (select timeline_id from pg_control_checkpoint()),
  'replayed', pg_last_wal_replay_lsn(), 'received', pg_last_wal_receive_lsn(),
  'redo', (select redo_lsn from pg_control_checkpoint()),
  'segment', (select setting::bigint from pg_settings where name = 'wal_segment_size')
)::text";

#[derive(Deserialize)]
struct Stands {
    system: String,
    timeline: u64,
    replayed: Option<Lsn>,
    received: Option<Lsn>,
    redo: Option<Lsn>,
    segment: u64,
}

impl Inner {
    /// The token for this epoch, if one was handed over and this member stands exactly there.
    pub(super) async fn fitting_token(
        &self,
        session: &Session,
        epoch: Epoch,
    ) -> Result<Option<String>, PlaneError> {
        let handed: Option<marks::Handed> = {
            let known = self.known();
            let cluster = known.seen.as_ref().map(|seen| &seen.cluster);
            cluster.map_or(Ok(None), |cluster| marks::read(cluster, marks::HANDED))?
        };
        let Some(handed) = handed.filter(|handed| handed.epoch.next() == epoch) else {
            return Ok(None);
        };
        let fit = self.fit(session, &handed.token).await?;
        if fit != Fit::Exact {
            tracing::warn!(?fit, cluster = self.name, "the token does not fit any more");
        }
        Ok((fit == Fit::Exact).then_some(handed.token))
    }

    async fn fit(&self, session: &Session, token: &str) -> Result<Fit, PlaneError> {
        let what = "comparing with the token";
        let stands: Stands = session.json(what, POSITION).await?;
        let token =
            DemotionToken::decode(token, stands.segment).map_err(|error| failed(what, &error))?;
        let unknown = || failed(what, &"where this member stands is not known");
        let position = Position {
            system_id: stands.system.parse().map_err(|_| unknown())?,
            timeline: TimelineId(stands.timeline),
            replayed: stands.replayed.ok_or_else(unknown)?,
            received: stands.received,
            checkpoint_redo: stands.redo,
        };
        Ok(token.fits(&position))
    }

    /// What the stopped primary hands to whom it hands the lease: its token.
    pub(super) fn evidence(&self) -> Option<String> {
        let token = lock(&self.token).clone().filter(|_| self.known().held);
        token.map(|(text, _)| text)
    }

    /// Takes the token of the holder that stopped: this member must stand exactly there. It is written
    /// to the Cluster before anything is built on it.
    pub(super) async fn take_evidence(&self, epoch: Epoch, token: &str) -> Result<(), PlaneError> {
        let what = "taking the token";
        let session = self.session(CHECKPOINT_LIMIT).await?;
        // Once the shutdown checkpoint is replayed, this makes it the last restart point: by that this member
        // is judged here, and by the operator. One that is there already costs nothing.
        session.text(what, "checkpoint").await?;
        let fit = self.fit(&session, token).await?;
        if fit != Fit::Exact {
            return Err(failed(what, &format!("this member does not stand there: {fit:?}")));
        }
        let handed = marks::Handed { epoch, token: token.to_owned() };
        self.change(what, |seen| marks::write(&seen.cluster, marks::HANDED, &handed)).await
    }
}
