//! The task that brings what was applied into the archive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use continuum_control_api::rest::AuditRecord;
use tokio::time::Instant;

use super::writer::Writer;
use crate::core::Core;

/// Records written, and made durable, at once.
const BATCH: usize = 500;
/// For so long records are gathered, so that one wait for the disk makes many of them durable. It is a
/// pause and not a wake-up: that would draw from the runtime's randomness, and a simulated run would be
/// another one with an archive than without.
const GATHER: Duration = Duration::from_millis(200);
/// How long after an error it is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often it is looked for records whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);

/// Runs until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let archive = &core.archive;
    while let Err(error) = archive.open().await {
        archive.trouble(Some(error.to_string()));
        tokio::time::sleep(RETRY).await;
    }
    archive.trouble(None);
    let mut writer = Writer::new(archive);
    let mut expire_at = Instant::now();
    loop {
        let records = next(&core);
        if !records.is_empty() {
            let written = writer.append(&records).await;
            if !settled(&core, written).await {
                continue;
            }
            if records.len() == BATCH {
                continue;
            }
        }
        if Instant::now() >= expire_at {
            expire_at = Instant::now() + EXPIRE_EVERY;
            let expired = archive.expire(core.now_ms(), core.config.audit.keep_for).await;
            settled(&core, expired).await;
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// The records after the newest one in the archive, or the oldest that are kept where those are gone.
fn next(core: &Core) -> Vec<AuditRecord> {
    let newest = core.archive.newest();
    core.node.read(|state| {
        let after = match state.audit_after(newest) {
            Ok(records) => return records.take(BATCH).cloned().collect(),
            Err(first) => first - 1,
        };
        state.audit_after(after).into_iter().flatten().take(BATCH).cloned().collect()
    })
}

/// Notes how it went, and waits before the next attempt where it failed.
async fn settled(core: &Core, result: io::Result<()>) -> bool {
    let trouble = result.err().map(|error| error.to_string());
    let is_fine = trouble.is_none();
    core.archive.trouble(trouble);
    if !is_fine {
        tokio::time::sleep(RETRY).await;
    }
    is_fine
}
