//! PowerDNS with a SQLite database.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Key, Make, NEGATIVE_TTL, missing, program};
use crate::layout::{Layout, ZONE};
use crate::wan::NETWORKS;

const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// The programs that it needs.
#[derive(Clone, Debug)]
pub struct Programs {
    server: PathBuf,
    sqlite: PathBuf,
}

pub(super) fn find() -> Result<Programs, String> {
    if !Path::new(SCHEMA).is_file() {
        return Err(missing(SCHEMA));
    }
    Ok(Programs { server: program("pdns_server")?, sqlite: program("sqlite3")? })
}

pub(super) fn command(programs: &Programs, directory: &Path) -> Vec<String> {
    let config = format!("--config-dir={}", directory.display());
    vec![programs.server.display().to_string(), config]
}

pub(super) async fn prepare(
    layout: &Layout,
    directory: &Path,
    programs: &Programs,
    keys: &[Key],
    api_key: &str,
) -> io::Result<()> {
    let database = directory.join("pdns.sqlite3");
    let mut networks = vec!["127.0.0.0/8"];
    networks.extend(NETWORKS);
    let server = layout.authority(Make::PowerDns);
    let server = server.ok_or_else(|| io::Error::other("no port for it"))?;
    let mut settings = format!(
        "launch=gsqlite3\ngsqlite3-database={}\ngsqlite3-pragma-synchronous=0\n\
         local-address={}\nlocal-port={}\nsocket-dir={}\ndaemon=no\nguardian=no\n\
         disable-syslog=yes\nsecurity-poll-suffix=\ndnsupdate=yes\nallow-dnsupdate-from={}\n",
        database.display(),
        server.ip(),
        server.port(),
        directory.display(),
        networks.join(","),
    );
    if let Some(port) = layout.powerdns_api {
        settings.push_str(&format!(
            "enable-lua-records=shared\nlua-health-checks-interval=1\napi=yes\napi-key={api_key}\n\
             webserver=yes\nwebserver-address={}\nwebserver-port={}\nwebserver-allow-from={}\n",
            server.ip(),
            port,
            networks.join(","),
        ));
    }
    std::fs::write(directory.join("pdns.conf"), settings)?;
    let sql = std::fs::read_to_string(SCHEMA)? + &zone(keys);
    let mut sqlite = Command::new(&programs.sqlite);
    sqlite.arg("-bail").arg(&database).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut running = sqlite.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    // Closed when it is dropped, which ends the program.
    let mut input = running.stdin.take().ok_or_else(|| io::Error::other("no pipe to sqlite3"))?;
    input.write_all(sql.as_bytes()).await?;
    drop(input);
    let done = running.wait_with_output().await?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(io::Error::other(format!("sqlite3: {said}")))
}

/// The zone and who may update it. Through standard input, so that no secret is an argument.
fn zone(keys: &[Key]) -> String {
    let record = |name: &str, kind: &str, content: &str| {
        format!(
            "INSERT INTO records (domain_id, name, type, content, ttl, prio, auth) VALUES \
             (1, '{name}', '{kind}', '{content}', 60, 0, 1);\n"
        )
    };
    let meta = |kind: &str, content: &str| {
        format!(
            "INSERT INTO domainmetadata (domain_id, kind, content) VALUES \
             (1, '{kind}', '{content}');\n"
        )
    };
    let server = format!("ns1.{ZONE}");
    let soa = format!("{server} hostmaster.{ZONE} 1 60 10 3600 {NEGATIVE_TTL}");
    let mut sql = format!("INSERT INTO domains (id, name, type) VALUES (1, '{ZONE}', 'NATIVE');\n");
    sql.push_str(&record(ZONE, "SOA", &soa));
    sql.push_str(&record(ZONE, "NS", &server));
    sql.push_str(&record(&server, "A", "127.0.0.1"));
    sql.push_str(&meta("SOA-EDIT-DNSUPDATE", "INCREASE"));
    // Every write through the API shows in the serial too.
    sql.push_str(&meta("SOA-EDIT-API", "INCREASE"));
    for Key { name, secret, .. } in keys {
        sql.push_str(&format!(
            "INSERT INTO tsigkeys (name, algorithm, secret) VALUES \
             ('{name}', 'hmac-sha256', '{secret}');\n"
        ));
        sql.push_str(&meta("TSIG-ALLOW-DNSUPDATE", name));
    }
    sql
}
