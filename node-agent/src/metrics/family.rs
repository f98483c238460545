use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{metrics::MetricType, registry::Unit};

use super::{Histogram, Snapshot};

/// A metric, and how it is taken from a snapshot.
pub(super) struct Family {
    pub(super) kind: MetricType,
    /// Without unit and suffix.
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    pub(super) samples: Samples,
}

/// Takes all samples of a family.
pub(super) type Samples = for<'s> fn(&'s Snapshot) -> Vec<Sample<'s>>;

/// One value, with a value for each label of its family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample<'s> {
    pub(super) labels: Vec<Cow<'s, str>>,
    pub(super) value: Value<'s>,
}

/// What a sample says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'s> {
    /// A number of something.
    Whole(u64),
    /// A number in the unit of the family.
    Real(f64),
    /// How often what was in which range.
    Histogram(&'s Histogram),
}

impl Family {
    /// The name as its type line has it.
    #[cfg(test)]
    pub(super) fn full_name(&self) -> String {
        let unit = self.unit.as_ref().map_or(String::new(), |unit| format!("_{}", unit.as_str()));
        format!("{}{unit}", self.name)
    }

    /// The names by which queries ask for it; a histogram has one for each of its parts.
    #[cfg(test)]
    pub(super) fn series(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            MetricType::Counter => &["_total"],
            MetricType::Info => &["_info"],
            MetricType::Histogram => &["_bucket", "_sum", "_count"],
            MetricType::Gauge | MetricType::Unknown => &[""],
        };
        suffixes.iter().map(|suffix| self.full_name() + suffix).collect()
    }
}

/// The only sample of a family without labels.
pub(super) fn one(value: Value<'_>) -> Vec<Sample<'_>> {
    vec![Sample { labels: Vec::new(), value }]
}

/// The only sample of a family that counts.
pub(super) fn number<'s>(value: usize) -> Vec<Sample<'s>> {
    one(Value::Whole(value as u64))
}

/// Samples of a family with one label.
pub(super) fn by<'s, L: Into<Cow<'s, str>>>(
    rows: impl IntoIterator<Item = (L, Value<'s>)>,
) -> Vec<Sample<'s>> {
    rows.into_iter().map(|(label, value)| Sample { labels: vec![label.into()], value }).collect()
}

/// Samples of a family that has one for each kind of something, those that there are none of included.
pub(super) fn by_kind<'s, K: Ord + Copy, N: Copy + Default + TryInto<u64>>(
    kinds: impl IntoIterator<Item = K>,
    label: fn(K) -> &'static str,
    counts: &BTreeMap<K, N>,
) -> Vec<Sample<'s>> {
    let count = |kind: K| counts.get(&kind).copied().unwrap_or_default().try_into().unwrap_or(u64::MAX);
    by(kinds.into_iter().map(|kind| (label(kind), Value::Whole(count(kind)))))
}

/// Seconds since 1970.
pub(super) fn timestamp<'s>(time: SystemTime) -> Value<'s> {
    Value::Real(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

pub(super) fn flag<'s>(is_so: bool) -> Value<'s> {
    Value::Whole(u64::from(is_so))
}
