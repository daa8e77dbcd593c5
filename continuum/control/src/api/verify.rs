//! `GET /audit/verify`: the replicated chain, and this node's archive of it.

use continuum_control_api::rest::{AuditVerdict, VerifyQuery};
use continuum_control_api::routes::ApiError;

use crate::archive::verify::{Found, known};
use crate::core::Core;

/// Verifies both. A core without a leader is no reason not to look at what this node has.
pub(super) async fn run(core: &Core, query: VerifyQuery) -> Result<AuditVerdict, ApiError> {
    if let Err(error) = core.fresh().await {
        tracing::debug!(%error, "the audit chain is verified as this node has applied it");
    }
    let (mut verdict, known) =
        core.node.read(|state| (state.verify_audit(), known(state.audit_hashes())));
    verdict.node = Some(core.config.name.clone());
    match core.archive.verify(query.after, known).await {
        Ok(Found { verdict: archive, fault }) => {
            verdict.archive = Some(archive);
            if let Some(fault) = fault.filter(|_| verdict.intact) {
                verdict.intact = false;
                verdict.wrong = Some(fault.wrong);
                verdict.problem = Some(format!("in this node's archive: {}", fault.problem));
            }
        }
        // Not known is not intact.
        Err(error) => {
            verdict.intact = false;
            verdict.problem = Some(format!("this node's archive cannot be read: {error}"));
        }
    }
    Ok(verdict)
}
