//! Removing records whose time is over: whole segments, the oldest first.

use std::io;
use std::time::Duration;

use continuum_control_api::rest::AuditHead;

use super::{Archive, line, name_of};

impl Archive {
    /// Removes segments whose newest record is older than `keep_for`. The hash of the newest removed
    /// record stays, so that what follows can be verified. The last segment always stays.
    pub(super) async fn expire(&self, now_ms: i64, keep_for: Duration) -> io::Result<()> {
        let keep_ms = i64::try_from(keep_for.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = now_ms.saturating_sub(keep_ms);
        loop {
            let plan = self.plan();
            let Some((first, last)) = plan.ranges().into_iter().next() else { return Ok(()) };
            if plan.segments.len() < 2 {
                return Ok(());
            }
            let name = name_of(first);
            let content = self.disk.read(&name).await?.unwrap_or_default();
            let line = content.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
            // A damaged segment is evidence: it stays, and is told of by who verifies.
            let Some(record) = line.and_then(|line| line::read(line).ok()) else { return Ok(()) };
            if record.index != last || record.at_ms >= oldest_ms {
                return Ok(());
            }
            let mut manifest = plan.manifest;
            manifest.expired = Some(AuditHead { index: last, hash: record.hash });
            manifest.missing.retain(|gap| gap.to > last);
            self.write_manifest(&manifest).await?;
            self.disk.remove(&name).await?;
            let mut index = self.index();
            index.manifest = manifest;
            index.segments.retain(|segment| *segment != first);
            tracing::info!(first, last, "audit records whose time is over were removed");
        }
    }
}
