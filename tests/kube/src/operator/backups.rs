//! Backups as the operator makes them: on demand and by schedules, each a real copy of the real
//! PostgreSQL, one phase a look.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use continuum_runtime::{BootClock, Clock};
use hyper::Method;
use serde_json::{Value, json};

use crate::operator::reconcile::{CLUSTERS, Done, Member, Reconciler, is_missing, now, text};
use crate::operator::{schedule, spec};
use crate::store::Key;

/// Looks that are left out where backups are no kind here.
const LOOKS_WITHOUT: u32 = 20;
/// The size of a WAL file.
const SEGMENT: u64 = 16 << 20;

impl Reconciler {
    /// Looks at every schedule and every backup once.
    pub(super) async fn look_at_backups(&mut self) -> Done {
        if self.without_backups > 0 {
            self.without_backups -= 1;
            return Ok(());
        }
        let schedules =
            self.ask(Method::GET, &format!("{CLUSTERS}/scheduledbackups"), Value::Null).await;
        let schedules = match schedules {
            Err(error) if error.contains("404") || is_missing(error.clone()) => Value::Null,
            schedules => schedules?,
        };
        for schedule in schedules["items"].as_array().into_iter().flatten() {
            self.keep_schedule(schedule).await?;
        }
        let backups = self.ask(Method::GET, &format!("{CLUSTERS}/backups"), Value::Null).await;
        let backups = match backups {
            Err(error) if error.contains("404") || is_missing(error.clone()) => {
                self.without_backups = LOOKS_WITHOUT;
                return Ok(());
            }
            backups => backups?,
        };
        for backup in backups["items"].as_array().into_iter().flatten() {
            self.keep_backup(backup).await?;
        }
        Ok(())
    }

    /// Makes what is due, and says when the next one is.
    async fn keep_schedule(&mut self, object: &Value) -> Done {
        let (spec, status) = (&object["spec"], &object["status"]);
        if spec["suspend"] == true {
            return Ok(());
        }
        let name = text(&object["metadata"]["name"]);
        let namespace = text(&object["metadata"]["namespace"]);
        let path = format!("{CLUSTERS}/namespaces/{namespace}/scheduledbackups/{name}/status");
        let at = BootClock.wall_ms() / 1000;
        let Some(next) = schedule::next(spec["schedule"].as_str().unwrap_or_default(), at) else {
            let status = json!({ "status": { "error": "the schedule is not understood" } });
            return self.ask(Method::PATCH, &path, status).await.map(drop);
        };
        let due = status["nextScheduleTime"].as_str().and_then(seconds);
        // What the schedule leaves out, its backups leave out.
        let fields = ["cluster", "method", "target", "pluginConfiguration"].into_iter();
        let fields = fields.filter(|field| !spec[*field].is_null());
        let wanted: BTreeMap<_, _> = fields.map(|field| (field, &spec[field])).collect();
        let first = due.is_none() && spec["immediate"] == true;
        if due.is_some_and(|due| due > at) {
            return Ok(());
        }
        let mut said = json!({ "lastCheckTime": now(), "nextScheduleTime": stamp(next) });
        if due.is_some() || first {
            let made = json!({
                "metadata": {
                    "name": format!("{name}-{at}"),
                    "labels": { "cnpg.io/scheduled-backup": name },
                },
                "spec": wanted,
            });
            let backups = format!("{CLUSTERS}/namespaces/{namespace}/backups");
            self.ask(Method::POST, &backups, made).await?;
            said["lastScheduleTime"] = json!(stamp(at));
        }
        self.ask(Method::PATCH, &path, json!({ "status": said })).await.map(drop)
    }

    /// Brings one backup one phase further.
    async fn keep_backup(&mut self, object: &Value) -> Done {
        let how = self.common.misbehaviour();
        let namespace = text(&object["metadata"]["namespace"]);
        let name = text(&object["metadata"]["name"]);
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        let key: Key = (namespace.clone(), text(&object["spec"]["cluster"]["name"]));
        let said = match phase {
            "completed" | "failed" => return Ok(()),
            _ if how.backup_plugin_missing => {
                let plugin = text(&object["spec"]["pluginConfiguration"]["name"]);
                let error = format!("requested plugin is not available: {plugin}");
                json!({ "phase": "failed", "error": error, "stoppedAt": now() })
            }
            _ if how.backup_archive_failing => json!({ "phase": "walArchivingFailing" }),
            "running" if how.backup_held => return Ok(()),
            "running" => match self.copy_of(&key, &name).await {
                Ok(made) => made,
                Err(error) => json!({ "phase": "failed", "error": error, "stoppedAt": now() }),
            },
            "finalizing" => json!({ "phase": "completed", "stoppedAt": now() }),
            _ if !self.members.get_mut(&key).is_some_and(|member| member.instance.runs()) => {
                json!({ "phase": "pending" })
            }
            "started" => json!({ "phase": "running" }),
            _ => json!({
                "phase": "started", "startedAt": now(), "method": object["spec"]["method"],
                "instanceID": { "podName": format!("{}-1", key.1) },
            }),
        };
        if said["phase"] == phase {
            return Ok(());
        }
        let path = format!("{CLUSTERS}/namespaces/{namespace}/backups/{name}/status");
        self.ask(Method::PATCH, &path, json!({ "status": said })).await.map(drop)
    }

    /// Copies the data directory, and says what the copy says of itself.
    async fn copy_of(&self, key: &Key, name: &str) -> Result<Value, String> {
        let member: &Member = self.members.get(key).ok_or("there is no instance")?;
        let place = self.site.directory.join(&key.0).join(&key.1).join(format!("backup-{name}"));
        // What an operator that ended in the middle has left.
        let _none = fs::remove_dir_all(&place);
        let directory = place.display().to_string();
        let flags = ["-D", &directory, "-X", "none", "-c", "fast", "--no-sync"];
        member.instance.tool("pg_basebackup", &flags).await?;
        let (timeline, begin, end) = range(&place)?;
        Ok(json!({
            "phase": "finalizing",
            "backupId": (BootClock.wall_ms() / 1000).to_string(),
            "backupName": format!("backup-{name}"),
            "beginLSN": position(begin), "endLSN": position(end),
            "beginWal": wal_file(timeline, begin), "endWal": wal_file(timeline, end),
        }))
    }
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn stamp(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap_or_default().to_string()
}

/// From where to where a copy needs WAL, by its manifest.
fn range(place: &Path) -> Result<(u64, u64, u64), String> {
    let path: PathBuf = place.join("backup_manifest");
    let manifest = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let manifest: Value = serde_json::from_str(&manifest).map_err(|error| error.to_string())?;
    let range = &manifest["WAL-Ranges"][0];
    let lsn = |field: &str| spec::location(range[field].as_str().unwrap_or_default());
    let found = || Some((range["Timeline"].as_u64()?, lsn("Start-LSN")?, lsn("End-LSN")?));
    found().ok_or_else(|| "the copy does not say which WAL it needs".to_owned())
}

fn position(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

fn wal_file(timeline: u64, lsn: u64) -> String {
    let (high, low) = (lsn >> 32, (lsn & 0xffff_ffff) / SEGMENT);
    format!("{timeline:08X}{high:08X}{low:08X}")
}
