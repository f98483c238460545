use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{
    Snapshot,
    families::FAMILIES,
    family::{Family, Sample, Value},
};

/// The snapshot in OpenMetrics' text format.
pub(super) fn render(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(snapshot)));
    let mut text = String::with_capacity(32 * 1024);
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Collected(Snapshot);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &FAMILIES {
            let Family { kind, name, unit, help, .. } = family;
            let mut encoder = encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?;
            for sample in (family.samples)(&self.0) {
                encode(&mut encoder, family, &sample)?;
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, family: &Family, sample: &Sample<'_>) -> Result<(), fmt::Error> {
    let values = sample.labels.iter().map(AsRef::as_ref);
    let labels: Vec<(&str, &str)> = family.labels.iter().copied().zip(values).collect();
    match family.kind {
        MetricType::Info => encoder.encode_info(&labels),
        kind if labels.is_empty() => encode_value(encoder, kind, sample.value),
        kind => encode_value(&mut encoder.encode_family(&labels)?, kind, sample.value),
    }
}

fn encode_value(
    encoder: &mut MetricEncoder<'_>,
    kind: MetricType,
    value: Value<'_>,
) -> Result<(), fmt::Error> {
    let is_counter = matches!(kind, MetricType::Counter);
    match value {
        Value::Whole(value) if is_counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Value::Real(value) if is_counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Value::Whole(value) => encoder.encode_gauge(&value),
        Value::Real(value) => encoder.encode_gauge(&value),
        Value::Histogram(histogram) => {
            let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
            encoder.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &buckets, None)
        }
    }
}
