//! Carries packets between the sites of a lab, and spoils them on purpose.
//!
//! One task per port reads packets and decides their fate; one task per direction of a line keeps
//! them for as long as the line delays, in order. What is lost is lost as on a wire: nobody is told.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use continuum_runtime::seed;
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tun_rs::AsyncDevice;

/// A packet is never longer: the devices' MTU is 1500.
const PACKET_BYTES_MAX: usize = 2_048;
/// Packets that one direction of a line keeps; more are lost, as in a router.
const QUEUE_MAX: usize = 8_192;
const VERSION_4: u8 = 4;
const SOURCE_AT: usize = 12;
const DESTINATION_AT: usize = 16;

/// One direction of a line between two sites.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// Nothing comes through.
    pub cut: bool,
    /// How long every packet is on its way.
    pub delay: Duration,
    /// Share of the packets that are lost, 0 to 1.
    pub loss: f64,
}

/// From one site to another, by their numbers.
pub type Direction = (usize, usize);

type Lines = Arc<Mutex<BTreeMap<Direction, Line>>>;

/// Which site has an address, and whether its packets are the clients', which nothing disturbs.
pub type Route = fn(Ipv4Addr) -> Option<(usize, bool)>;

/// The switch; dropping it stops all traffic.
#[derive(Debug)]
pub struct Switch {
    lines: Lines,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Switch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Switch {
    /// Connects `ports`, one per site, by lines that do nothing to a packet.
    pub fn start(ports: Vec<AsyncDevice>, route: Route) -> Self {
        let lines = Lines::default();
        let ports: Vec<Arc<AsyncDevice>> = ports.into_iter().map(Arc::new).collect();
        let mut tasks = Vec::new();
        for (from, port) in ports.iter().enumerate() {
            let mut queues = BTreeMap::new();
            for (to, other) in ports.iter().enumerate().filter(|(to, _)| *to != from) {
                let (queue, held) = mpsc::channel(QUEUE_MAX);
                queues.insert(to, queue);
                tasks.push(seed::spawn(deliver(held, other.clone())));
            }
            let reader = Reader { from, queues, lines: lines.clone(), route };
            tasks.push(seed::spawn(reader.run(port.clone())));
        }
        Self { lines, tasks }
    }

    /// Sets one direction of a line.
    pub fn set(&self, direction: Direction, line: Line) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.insert(direction, line);
    }

    /// Makes all lines whole.
    pub fn heal(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

type Held = (Instant, Vec<u8>);

/// Sends what a line holds, each packet when it is due.
async fn deliver(mut held: mpsc::Receiver<Held>, port: Arc<AsyncDevice>) {
    while let Some((due, packet)) = held.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        if let Err(error) = port.send(&packet).await {
            tracing::debug!(%error, "a packet was not delivered");
        }
    }
}

struct Reader {
    from: usize,
    queues: BTreeMap<usize, mpsc::Sender<Held>>,
    lines: Lines,
    route: Route,
}

impl Reader {
    async fn run(self, port: Arc<AsyncDevice>) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            match port.recv(&mut buffer).await {
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(%error, site = self.from, "a site's port failed");
                    return;
                }
            }
        }
    }

    fn take(&self, packet: &[u8]) {
        let Some((to, of_client)) = self.way(packet) else { return };
        let Some(queue) = self.queues.get(&to) else { return };
        let line = if of_client { Line::default() } else { self.line(to) };
        if line.cut || line.loss > 0.0 && seed::rng().random_bool(line.loss.min(1.0)) {
            return;
        }
        // A full queue loses the packet.
        let _lost = queue.try_send((Instant::now() + line.delay, packet.to_vec()));
    }

    fn line(&self, to: usize) -> Line {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(&(self.from, to)).copied().unwrap_or_default()
    }

    /// Where a packet goes, and whether it is between clients and PostgreSQL.
    fn way(&self, packet: &[u8]) -> Option<(usize, bool)> {
        let source = address_in(packet, SOURCE_AT)?;
        let destination = address_in(packet, DESTINATION_AT)?;
        let (to, client_side) = (self.route)(destination)?;
        Some((to, client_side && (self.route)(source)?.1))
    }
}

fn address_in(packet: &[u8], at: usize) -> Option<Ipv4Addr> {
    if packet.first()? >> 4 != VERSION_4 {
        return None;
    }
    let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[SOURCE_AT..SOURCE_AT + 4].copy_from_slice(&source);
        packet[DESTINATION_AT..].copy_from_slice(&destination);
        packet
    }

    fn reader(lines: Lines) -> (Reader, mpsc::Receiver<Held>) {
        let (queue, held) = mpsc::channel(1);
        let route: Route = crate::wan::site_of;
        (Reader { from: 1, queues: BTreeMap::from([(2, queue)]), lines, route }, held)
    }

    #[test]
    fn a_cut_line_loses_what_its_sites_say_and_nothing_of_clients() {
        let lines = Lines::default();
        let (reader, mut held) = reader(lines.clone());
        let between_sites = packet([10, 77, 0, 2], [10, 77, 0, 3]);
        let of_client = packet([10, 78, 0, 2], [10, 78, 0, 3]);
        reader.take(&between_sites);
        assert_eq!(held.try_recv().unwrap().1, between_sites);
        lines.lock().unwrap().insert((1, 2), Line { cut: true, ..Line::default() });
        reader.take(&between_sites);
        assert!(held.try_recv().is_err());
        reader.take(&of_client);
        assert_eq!(held.try_recv().unwrap().1, of_client);
        lines.lock().unwrap().insert((1, 2), Line { loss: 1.0, ..Line::default() });
        reader.take(&between_sites);
        assert!(held.try_recv().is_err());
        let delay = Duration::from_secs(3);
        lines.lock().unwrap().insert((1, 2), Line { delay, ..Line::default() });
        let before = Instant::now();
        reader.take(&between_sites);
        assert!(held.try_recv().unwrap().0 >= before + delay);
    }

    #[test]
    fn what_leads_nowhere_is_dropped() {
        let (reader, mut held) = reader(Lines::default());
        reader.take(&packet([10, 77, 0, 2], [10, 77, 0, 9]));
        reader.take(&packet([10, 77, 0, 2], [192, 0, 2, 1]));
        reader.take(&[0x60; 40]);
        reader.take(&[]);
        assert!(held.try_recv().is_err());
    }
}
