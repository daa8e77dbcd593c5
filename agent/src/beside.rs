//! What goes on beside a member that somebody else looks after, put into its report.

use continuum_control_api::link::{MemberReport, MemberRole};
use continuum_domain::PairId;

use crate::kubernetes::backups::BackupDesk;
use crate::kubernetes::roles::RoleDesk;
use crate::report::hindrance;

/// Who knows of it.
#[derive(Clone)]
pub(crate) struct Beside {
    pub backups: BackupDesk,
    pub roles: RoleDesk,
}

impl Beside {
    /// Adds it; nothing, where nobody else looks after the member.
    pub fn complete(&self, pair: &PairId, report: &mut MemberReport) {
        report.backups = self.backups.report(pair);
        report.role_writes = self.roles.report(pair);
        if report.role == MemberRole::Primary
            && let Some(bars) = self.backups.bars_leaving(pair)
        {
            report.against_leaving.push(hindrance(&bars));
        }
    }
}
