//! Finding and running PostgreSQL's programs, as its user, killed with the guard.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::config::GuardConfig;
use super::{Failure, GuardError};

/// The user PostgreSQL runs as when the guard is root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub uid: u32,
    pub gid: u32,
}

/// PostgreSQL's programs and how to run them.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    bin: PathBuf,
    setpriv: PathBuf,
    pub run_as: Option<RunAs>,
}

/// Oldest minor of each major with the fix of the race that let commits skip the wait at startup
/// (R12 needs it); later majors have it from their first release.
const FIRST_SOUND_MINOR: &[(u32, u32)] = &[(15, 13), (16, 9), (17, 5)];

/// Lines of a tool's output kept for an error.
const ERROR_LINES_MAX: usize = 12;

/// Finds the directory with `postgres`: the given one, `CONTINUUM_PG_BIN`, the newest
/// `/usr/lib/postgresql/*/bin`, then `PATH`.
pub fn locate_binaries(explicit: Option<&Path>) -> Result<PathBuf, GuardError> {
    let from_environment = std::env::var_os("CONTINUUM_PG_BIN").map(PathBuf::from);
    if let Some(directory) = explicit.map(Path::to_path_buf).or(from_environment) {
        if directory.join("postgres").is_file() {
            return Ok(directory);
        }
        return Err(missing(format!("{} holds no program 'postgres'", directory.display())));
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, directory)| directory.join("postgres").is_file())
        .collect();
    versions.sort();
    if let Some((_, directory)) = versions.pop() {
        return Ok(directory);
    }
    find_in_path("postgres")
        .and_then(|program| program.parent().map(Path::to_path_buf))
        .ok_or_else(|| missing("no program 'postgres' was found".into()))
}

fn missing(reason: String) -> GuardError {
    GuardError::Environment {
        what: "PostgreSQL is not installed where it was looked for".into(),
        reason,
        remedy: "install it, or set bin_directory or CONTINUUM_PG_BIN".into(),
    }
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|p| p.is_file())
}

impl Tools {
    /// Finds everything that is needed and refuses a PostgreSQL that does not keep R12.
    pub async fn find(config: &GuardConfig) -> Result<Self, GuardError> {
        let bin = locate_binaries(config.bin_directory.as_deref())?;
        let usual = Path::new("/usr/bin/setpriv").to_path_buf();
        let setpriv = find_in_path("setpriv").or(Some(usual).filter(|p| p.is_file()));
        let setpriv = setpriv.ok_or_else(|| GuardError::Environment {
            what: "the program 'setpriv' was not found".into(),
            reason: "without it PostgreSQL could outlive its guard (R5)".into(),
            remedy: "install util-linux".into(),
        })?;
        let root = rustix::process::geteuid().is_root();
        let run_as = if root { Some(look_up_user(&config.os_user).await?) } else { None };
        let tools = Self { bin, setpriv, run_as };
        tools.check_version().await?;
        Ok(tools)
    }

    /// A command that runs `program` of PostgreSQL as its user and dies with this thread.
    ///
    /// `setpriv` execs, so the child's pid is the program's own. The kernel sends the signal when
    /// the *thread* that spawned ends: spawn only from the guard's main thread (R5).
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.setpriv);
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = self.run_as {
            command.arg(format!("--reuid={}", user.uid));
            command.arg(format!("--regid={}", user.gid));
            command.arg("--init-groups");
        }
        command.arg("--").arg(self.bin.join(program));
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        command
    }

    /// Runs a command to its end; both outputs are returned, and are in the error if it fails.
    pub async fn run(&self, what: &str, mut command: Command) -> Result<ToolOutput, Failure> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = command.output().await.map_err(|error| Failure::failed(what, error))?;
        let output = ToolOutput {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        tracing::debug!(what, success = output.success, "tool ended");
        Ok(output)
    }

    async fn check_version(&self) -> Result<(), GuardError> {
        let output = self.run("postgres --version", {
            let mut command = self.command("postgres");
            command.arg("--version");
            command
        });
        let output = output.await.map_err(|failure| missing(failure.to_string()))?;
        let unusable = |reason: String| GuardError::Environment {
            what: format!("PostgreSQL in {} cannot be used", self.bin.display()),
            reason,
            remedy: "install PostgreSQL 15.13, 16.9, 17.5 or newer".into(),
        };
        let (major, minor) = parse_version(&output.stdout)
            .ok_or_else(|| unusable(format!("{} {}", output.stdout, output.stderr)))?;
        let sound = match FIRST_SOUND_MINOR.iter().find(|(known, _)| *known == major) {
            Some((_, first)) => minor >= *first,
            None => major > 17,
        };
        if sound { Ok(()) } else { Err(unusable(format!("it is version {major}.{minor}"))) }
    }
}

/// What a tool printed.
#[derive(Clone, Debug)]
pub(crate) struct ToolOutput {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl ToolOutput {
    /// The output if the tool succeeded, else an error with its last lines.
    pub fn ok(self, what: &str) -> Result<Self, Failure> {
        if self.success { Ok(self) } else { Err(Failure::failed(what, self.last_lines())) }
    }

    fn last_lines(&self) -> String {
        last_lines(&format!("{}\n{}", self.stdout, self.stderr))
    }
}

/// The last lines of a text, for an error message.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(ERROR_LINES_MAX)..].join("; ")
}

/// `postgres (PostgreSQL) 15.18 (Debian ...)`; a development version has no minor.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_whitespace().nth(2)?;
    let digits: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let mut parts = digits.split('.');
    let major = parts.next()?.parse().ok()?;
    Some((major, parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

async fn look_up_user(name: &str) -> Result<RunAs, GuardError> {
    let unknown = |reason: String| GuardError::Environment {
        what: format!("the user {name:?} that PostgreSQL should run as is not known"),
        reason,
        remedy: "create it, or set os_user".into(),
    };
    let id = |flag: &'static str| async move {
        let output = Command::new("id").args([flag, "--", name]).output().await;
        let output = output.map_err(|error| unknown(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.trim().parse::<u32>();
        number.map_err(|_| unknown(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    };
    let (uid, gid) = (id("-u").await?, id("-g").await?);
    if uid == 0 {
        return Err(unknown("it is root, which PostgreSQL refuses".into()));
    }
    Ok(RunAs { uid, gid })
}

/// Whether PostgreSQL's user can pass every directory on the way to `path`; the first it cannot.
pub(crate) fn first_closed_directory(path: &Path, user: RunAs) -> Option<PathBuf> {
    path.ancestors().filter(|directory| directory.is_dir()).find_map(|directory| {
        let metadata = fs::metadata(directory).ok()?;
        let bit = match (metadata.uid() == user.uid, metadata.gid() == user.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        (metadata.mode() & bit == 0).then(|| directory.to_path_buf())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0)"), Some((15, 18)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19devel"), Some((19, 0)));
        assert_eq!(parse_version("psql"), None);
    }
}
