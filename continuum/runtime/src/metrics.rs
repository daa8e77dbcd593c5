//! What a process tells Prometheus, as OpenMetrics: gathered anew at each scrape.
//!
//! What is not known is absent, never 0 (I7).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Media type of the answer.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names with values, as one label set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Labels(Vec<(&'static str, String)>);

impl<const N: usize> From<[(&'static str, &str); N]> for Labels {
    fn from(labels: [(&'static str, &str); N]) -> Self {
        Self(labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect())
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::{EncodeLabelKey, EncodeLabelValue};
        for (name, value) in &self.0 {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            EncodeLabelKey::encode(name, &mut key)?;
            let mut text = key.encode_label_value()?;
            EncodeLabelValue::encode(value, &mut text)?;
            text.finish()?;
        }
        Ok(())
    }
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "bytes and epochs stay below it")]
pub fn number(value: u64) -> f64 {
    value as f64
}

type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// Values of one name, gathered at one scrape.
pub struct Gathered<'a> {
    /// Where they are put.
    pub registry: &'a mut Registry,
}

impl Gathered<'_> {
    /// A family of gauges; one without a value is left out.
    pub fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let family = Gauges::default();
        let mut any = false;
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
            any = true;
        }
        if any {
            self.registry.register(name, help, family);
        }
    }

    /// The same for durations, of which each is counted by its length.
    pub fn histograms(
        &mut self,
        (name, help): (&str, &str),
        bounds: &'static [f64],
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let histogram = || Histogram::new(bounds.iter().copied());
        let family = Family::<Labels, Histogram, _>::new_with_constructor(histogram);
        let mut any = false;
        for (labels, value) in values {
            family.get_or_create(&labels).observe(value);
            any = true;
        }
        if any {
            self.registry.register(name, help, family);
        }
    }

    /// The same for what only ever rises while a leader stays.
    pub fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        let mut any = false;
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
            any = true;
        }
        if any {
            self.registry.register(name, help, family);
        }
    }
}

/// What became of a process's spans; absent where none are sent.
pub fn spans(counts: Option<(u64, u64)>, out: &mut Gathered<'_>) {
    let Some((exported, dropped)) = counts else { return };
    let none: [(&'static str, &str); 0] = [];
    let one = |value: u64| [(Labels::from(none), value)];
    out.counters(
        "continuum_trace_spans_exported",
        "Spans that the collector took from this process",
        one(exported),
    );
    out.counters(
        "continuum_trace_spans_dropped",
        "Spans of this process that no collector has: it was away, slow, or refused them",
        one(dropped),
    );
}
