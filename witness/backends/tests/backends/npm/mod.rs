//! Real services from npm, each on a free port of loopback with a directory of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Once};
use std::time::Duration;

use continuum_witness::CellStore;
use continuum_witness::cell_contract::CellSubject;

pub mod azurite;

/// Longest start of a service on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// One provider for every TLS connection of the process, as in the binary.
pub fn install_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

pub fn subject(
    rounds: u64,
    open: impl Fn() -> Arc<dyn CellStore> + Send + Sync + 'static,
) -> CellSubject {
    CellSubject { open: Arc::new(open), space: "probe/".into(), rounds }
}

/// A file that `make npm-parts` installs. Its absence is a failure: a contract that was not run is
/// not kept.
pub fn npm_part(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("target/npm/node_modules").join(file);
    assert!(path.exists(), "{file} from npm is missing: run `make npm-parts` (needs the network)");
    path
}

pub fn node() -> Command {
    Command::new("node")
}

/// A running service; stopped, by its process id, when this goes out of scope.
pub struct Service {
    child: Child,
    pub port: u16,
}

impl Service {
    /// Starts `command` and waits for the line of its output in which `port` finds a port.
    pub fn start(
        mut command: Command,
        port: impl Fn(&str) -> Option<u16> + Send + 'static,
    ) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (found, ports) = mpsc::channel();
        // Reads on to the end, so that the service never waits for a reader.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(port) = port(&line) {
                    let _ = found.send(port);
                }
            }
        });
        let mut service = Self { child, port: 0 };
        match ports.recv_timeout(START) {
            Ok(port) => service.port = port,
            Err(error) => panic!("{command:?} did not say its port: {error}"),
        }
        service
    }

    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about either error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number at the end of `text`, after `before`.
pub fn port_after(text: &str, before: &str) -> Option<u16> {
    text.trim_end().rsplit_once(before)?.1.parse().ok()
}

/// An HTTP server that answers every request with `answer`, byte for byte, and then hangs up.
pub fn answering(answer: &str) -> String {
    answering_in_turn(&[answer])
}

/// The same with several answers, in turn and then from the first again.
pub fn answering_in_turn(answers: &[&str]) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    std::thread::spawn(move || {
        for (stream, answer) in listener.incoming().zip(answers.iter().cycle()) {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 16 * 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

/// An answer that leaves out nothing a client needs.
pub fn status_answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
