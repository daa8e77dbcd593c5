//! Which agents are connected, and what each said last. Kept in memory by the leader only: a new
//! leader knows nothing until the agents have reported to it, and says so (I7).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use continuum_control_api::link::{
    AcceptorReport, Blocked, Dialect, MemberReport, SwitchReport, ToAgent,
};
use continuum_control_api::pb::LinkFrame;
use continuum_domain::objective::WriteGap;
use continuum_domain::{Epoch, PairId, RegionId, Tick};
use tokio::sync::{mpsc, watch};
use tonic::Status;

/// Messages that may wait for one agent; an agent that does not take them is cut off.
pub const OUTBOUND_MAX: usize = 64;

/// The sending half of an agent's stream.
pub type Outbound = mpsc::Sender<Result<LinkFrame, Status>>;

#[derive(Default)]
struct Region {
    connection: Option<(u64, Outbound)>,
    members: BTreeMap<PairId, (Tick, Arc<MemberReport>)>,
    not_understood: BTreeMap<PairId, Blocked>,
    acceptors: Option<(Tick, BTreeMap<String, AcceptorReport>)>,
    traffic: Option<(Tick, BTreeMap<String, SwitchReport>)>,
    heard: Option<Tick>,
    certificate_ends_ms: Option<i64>,
}

#[derive(Default)]
struct Inner {
    regions: BTreeMap<RegionId, Region>,
    connections: u64,
    gaps: BTreeMap<PairId, WriteGap>,
}

/// The agents' links.
pub struct Links {
    dialect: Dialect,
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

impl Default for Links {
    fn default() -> Self {
        Self::speaking(Dialect::default())
    }
}

impl Links {
    /// No link yet; what is said on them will be said in this way.
    pub fn speaking(dialect: Dialect) -> Self {
        Self { dialect, inner: Mutex::default(), changed: watch::channel(0).0 }
    }

    /// How agents are spoken to.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rises with each report, connection and disconnection.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes a region's new stream; an older one gets no more messages.
    pub fn attach(&self, region: &RegionId, outbound: Outbound) -> u64 {
        let number = {
            let mut inner = self.lock();
            inner.connections += 1;
            let number = inner.connections;
            inner.regions.entry(region.clone()).or_default().connection = Some((number, outbound));
            number
        };
        self.touch();
        number
    }

    /// Takes when the certificate ends that a region's agent came with.
    pub fn certificate_ends(&self, region: &RegionId, ends_ms: Option<i64>) {
        self.lock().regions.entry(region.clone()).or_default().certificate_ends_ms = ends_ms;
    }

    /// When the certificates of the agents end, milliseconds since 1970, where that is known.
    pub fn certificates(&self) -> Vec<(RegionId, i64)> {
        let inner = self.lock();
        let known = |(region, known): (&RegionId, &Region)| {
            Some((region.clone(), known.certificate_ends_ms?))
        };
        inner.regions.iter().filter_map(known).collect()
    }

    /// Forgets a stream, unless a newer one took its place. What was reported stays, and ages.
    pub fn detach(&self, region: &RegionId, number: u64) {
        if let Some(known) = self.lock().regions.get_mut(region) {
            known.connection.take_if(|(current, _)| *current == number);
        }
        self.touch();
    }

    /// Whether a stream is the one that its region is spoken to on. It is not after a newer one came,
    /// nor after leadership was lost, also if that came back before anybody looked.
    pub fn holds(&self, region: &RegionId, number: u64) -> bool {
        let inner = self.lock();
        let connection = inner.regions.get(region).and_then(|known| known.connection.as_ref());
        connection.is_some_and(|(current, _)| *current == number)
    }

    /// Takes a report.
    pub fn report(
        &self,
        region: &RegionId,
        members: BTreeMap<PairId, MemberReport>,
        not_understood: BTreeMap<PairId, Blocked>,
        now: Tick,
    ) {
        let shared = |(pair, report)| (pair, (now, Arc::new(report)));
        let members = members.into_iter().map(shared).collect();
        let mut inner = self.lock();
        let known = inner.regions.entry(region.clone()).or_default();
        (known.members, known.not_understood) = (members, not_understood);
        known.heard = Some(now);
        drop(inner);
        self.touch();
    }

    /// A write of the holder of `epoch` reached its disk at `at`; see [`WriteGap::written`].
    pub fn written(&self, pair: &PairId, epoch: Epoch, at: Tick) -> Option<Duration> {
        self.lock().gaps.entry(pair.clone()).or_default().written(epoch, at)
    }

    /// Takes what a region's agent says of the acceptors; `None` when it does not say.
    pub fn acceptors_seen(
        &self,
        region: &RegionId,
        acceptors: Option<BTreeMap<String, AcceptorReport>>,
        now: Tick,
    ) {
        let told = acceptors.map(|acceptors| (now, acceptors));
        self.lock().regions.entry(region.clone()).or_default().acceptors = told;
    }

    /// What a region's agent said last of the acceptors, and how long ago it came in.
    pub fn acceptors(
        &self,
        region: &RegionId,
        now: Tick,
    ) -> Option<(Duration, BTreeMap<String, AcceptorReport>)> {
        let inner = self.lock();
        let (at, acceptors) = inner.regions.get(region)?.acceptors.as_ref()?;
        Some((now.since(*at), acceptors.clone()))
    }

    /// Takes what a region's agent says of the traffic switches it drives; `None` when it drives none.
    pub fn traffic_seen(
        &self,
        region: &RegionId,
        switches: Option<BTreeMap<String, SwitchReport>>,
        now: Tick,
    ) {
        let told = switches.map(|switches| (now, switches));
        self.lock().regions.entry(region.clone()).or_default().traffic = told;
    }

    /// What a region's agent said last of the traffic switches of a pair that it drives, and how long
    /// ago it came in.
    pub fn traffic(
        &self,
        region: &RegionId,
        pair: &PairId,
        now: Tick,
    ) -> Option<(Duration, BTreeMap<String, SwitchReport>)> {
        let inner = self.lock();
        let (at, switches) = inner.regions.get(region)?.traffic.as_ref()?;
        let of_pair = switches.iter().filter(|(_, switch)| switch.pair == *pair);
        let of_pair = of_pair.map(|(name, switch)| (name.clone(), switch.clone())).collect();
        Some((now.since(*at), of_pair))
    }

    /// Since a region's agent last reported.
    pub fn heard(&self, region: &RegionId, now: Tick) -> Option<Duration> {
        Some(now.since(self.lock().regions.get(region)?.heard?))
    }

    /// What a region's agent said last about a spec of the pair that it does not understand.
    pub fn not_understood(&self, region: &RegionId, pair: &PairId) -> Option<Blocked> {
        self.lock().regions.get(region)?.not_understood.get(pair).cloned()
    }

    /// Forgets all streams and reports; done when leadership is lost, because they age unseen
    /// from then on.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.regions.clear();
        // Writes that were not told here would count as an outage.
        inner.gaps.clear();
        drop(inner);
        self.touch();
    }

    /// Whether a region's agent is connected.
    pub fn connected(&self, region: &RegionId) -> bool {
        self.lock().regions.get(region).is_some_and(|known| known.connection.is_some())
    }

    /// Sends a message to a region's agent; `false` when it is not connected or does not keep up.
    pub fn send(&self, region: &RegionId, message: &ToAgent) -> bool {
        let outbound = self
            .lock()
            .regions
            .get(region)
            .and_then(|known| known.connection.as_ref().map(|(_, outbound)| outbound.clone()));
        let Some(outbound) = outbound else { return false };
        let mut frames = self.dialect.frames(message).into_iter();
        frames.all(|frame| outbound.try_send(Ok(frame)).is_ok())
    }

    /// What a region's agent said last about a pair, and how long ago it came in.
    pub fn last(
        &self,
        region: &RegionId,
        pair: &PairId,
        now: Tick,
    ) -> Option<(Duration, Arc<MemberReport>)> {
        let inner = self.lock();
        let (at, report) = inner.regions.get(region)?.members.get(pair)?;
        Some((now.since(*at), report.clone()))
    }
}

/// A duration in whole milliseconds.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_was_forgotten_or_replaced_is_not_held_although_it_reports() {
        let (links, hel) = (Links::default(), RegionId::new("hel").unwrap());
        let stream = || mpsc::channel(1).0;
        let first = links.attach(&hel, stream());
        assert!(links.holds(&hel, first));
        // Leadership was lost and came back; the agent goes on reporting on its stream.
        links.clear();
        links.report(&hel, BTreeMap::new(), BTreeMap::new(), Tick(1));
        assert!(!links.connected(&hel) && !links.holds(&hel, first));
        let second = links.attach(&hel, stream());
        let third = links.attach(&hel, stream());
        assert!(!links.holds(&hel, second) && links.holds(&hel, third));
        links.detach(&hel, second);
        assert!(links.holds(&hel, third));
    }
}
