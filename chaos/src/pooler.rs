//! A PgBouncer in each region, which that region's agent drives; clients write through them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::layout::{Layout, PAIR, Region, postgres_owner};
use crate::manifest::Part;
use crate::workload::{CLIENT_ROLE, OWNER_ROLE};

/// The part's role, and what its name ends in.
pub const ROLE: &str = "pooler";
/// Where Debian, others, and who builds it put it.
const PROGRAMS: [&str; 3] =
    ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];

/// Finds the program; the error says how to install it.
pub fn find() -> Result<PathBuf, String> {
    let program = PROGRAMS.map(PathBuf::from).into_iter().find(|program| program.is_file());
    program.ok_or_else(|| {
        "--pooler: PgBouncer is not installed: run `make pgbouncer` in the project, or install the \
         package pgbouncer"
            .into()
    })
}

/// Where a region's pooler answers, if the lab has poolers.
pub fn address(region: &Region) -> Option<SocketAddr> {
    Some(SocketAddr::from((region.address, region.pooler_port?)))
}

fn directory(layout: &Layout, region: &Region) -> PathBuf {
    layout.region_directory(&region.id).join(ROLE)
}

fn databases_file(layout: &Layout, region: &Region) -> PathBuf {
    directory(layout, region).join("databases.ini")
}

/// Writes a region's pooler's files; its process, which does not run yet.
pub fn write(layout: &Layout, region: &Region, program: &Path, port: u16) -> io::Result<Part> {
    let directory = directory(layout, region);
    fs::create_dir_all(&directory)?;
    // The agent writes there as root, and PgBouncer, which refuses to be root, reads by its group.
    if let Some((_, gid)) = postgres_owner() {
        std::os::unix::fs::chown(&directory, None, Some(gid))?;
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2755))?;
    fs::write(databases_file(layout, region), "")?;
    let users = directory.join("users.txt");
    fs::write(&users, format!("\"{OWNER_ROLE}\" \"\"\n\"{CLIENT_ROLE}\" \"\"\n"))?;
    let user = postgres_owner().map_or("", |_| "user = postgres\n");
    let ini = format!(
        "[databases]\n[pgbouncer]\n{user}listen_addr = {}\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = trust\nauth_file = {}\nadmin_users = {OWNER_ROLE}\npool_mode = transaction\n\
         default_pool_size = 20\nmax_client_conn = 500\nserver_login_retry = 0.2\n\
         server_connect_timeout = 2\nserver_check_delay = 0\nserver_fast_close = 1\n\
         query_wait_timeout = 60\n%include {}\n",
        region.address,
        users.display(),
        databases_file(layout, region).display(),
    );
    let file = directory.join("pgbouncer.ini");
    fs::write(&file, ini)?;
    let name = format!("{}-{ROLE}", region.id);
    Ok(Part {
        region: Some(region.id.to_string()),
        role: ROLE.into(),
        pid: None,
        started: None,
        argv: [program, &file].map(|path| path.display().to_string()).into(),
        ports: [("postgresql".to_owned(), port)].into(),
        data_directory: directory,
        log: layout.log_file(&name),
        name,
    })
}

/// The agent's `[[traffic]]`.
pub fn section(layout: &Layout, region: &Region) -> Vec<Value> {
    let section = |at: SocketAddr| {
        json!({
            "kind": "pgbouncer",
            "name": format!("{}-{ROLE}", region.id),
            "pair": PAIR,
            "admin": at.to_string(),
            "admin_user": OWNER_ROLE,
            "databases_file": databases_file(layout, region),
            "databases": { "postgres": "dbname=postgres" },
        })
    };
    address(region).map(section).into_iter().collect()
}
