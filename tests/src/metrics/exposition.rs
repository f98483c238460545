//! OpenMetrics' text format, read strictly: what breaks a rule of the format or a convention of names is an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// Units that names must not have: base units only.
const OTHER_UNITS: [&str; 11] = [
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "ms",
    "us",
    "ns",
    "minutes",
    "hours",
    "kilobytes",
    "bits",
    "percent",
];

/// All that a scrape has found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exposition {
    families: BTreeMap<String, Family>,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Family {
    kind: Option<String>,
    help: bool,
    unit: Option<String>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name by which queries ask for it.
    pub name: String,
    /// Labels in their order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Exposition {
    /// Reads a text.
    ///
    /// # Errors
    /// It breaks a rule; the error names the line.
    pub fn parse(text: &str) -> Result<Self> {
        let body = text.strip_suffix("# EOF\n").context("it does not end with `# EOF`")?;
        let mut read = Self::default();
        let mut current = String::new();
        for line in body.lines() {
            read.line(line, &mut current).with_context(|| format!("line {line:?}"))?;
        }
        read.check()?;
        Ok(read)
    }

    fn line(&mut self, line: &str, current: &mut String) -> Result<()> {
        let Some(comment) = line.strip_prefix("# ") else {
            let sample = sample(line)?;
            ensure!(
                self.belongs(&sample, current),
                "it does not belong to {current}, which stands before it"
            );
            self.samples.push(sample);
            return Ok(());
        };
        let mut words = comment.splitn(3, ' ');
        let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
            bail!("a comment that is none of HELP, TYPE and UNIT");
        };
        if name != current {
            ensure!(!self.families.contains_key(name), "{name} stands twice");
            name.clone_into(current);
        }
        let family = self.families.entry(name.to_owned()).or_default();
        match what {
            "HELP" => ensure!(!std::mem::replace(&mut family.help, true) && !rest.is_empty(), "HELP"),
            "TYPE" => ensure!(family.kind.replace(rest.to_owned()).is_none(), "TYPE stands twice"),
            "UNIT" => ensure!(family.unit.replace(rest.to_owned()).is_none(), "UNIT stands twice"),
            _ => bail!("a comment that is none of HELP, TYPE and UNIT"),
        }
        Ok(())
    }

    fn belongs(&self, sample: &Sample, current: &str) -> bool {
        let Some(suffix) = sample.name.strip_prefix(current) else { return false };
        match self.families.get(current).and_then(|family| family.kind.as_deref()) {
            Some("counter") => suffix == "_total",
            Some("gauge") => suffix.is_empty(),
            Some("info") => suffix == "_info",
            Some("histogram") => ["_bucket", "_sum", "_count"].contains(&suffix),
            _ => false,
        }
    }

    /// What only the whole shows.
    fn check(&self) -> Result<()> {
        for (name, family) in &self.families {
            ensure!(family.help && family.kind.is_some(), "{name} has no HELP or no TYPE");
            let last = name.rsplit('_').next().unwrap_or_default();
            ensure!(!OTHER_UNITS.contains(&last), "{name} is in no base unit");
            let has_unit = ["seconds", "bytes"].contains(&last);
            ensure!(
                family.unit.as_deref() == has_unit.then_some(last),
                "the UNIT of {name} is {:?}",
                family.unit
            );
        }
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            ensure!(seen.insert((&sample.name, &sample.labels)), "{sample:?} stands twice");
            let must_not_fall = ["_total", "_bucket", "_count"].iter().any(|end| sample.name.ends_with(end));
            ensure!(sample.value.is_finite() && (sample.value >= 0.0 || !must_not_fall), "{sample:?}");
        }
        let histograms =
            self.families.iter().filter(|(_, family)| family.kind.as_deref() == Some("histogram"));
        histograms.map(|(name, _)| name).try_for_each(|name| self.check_histogram(name))
    }

    fn check_histogram(&self, name: &str) -> Result<()> {
        let buckets = self.all(&format!("{name}_bucket"));
        let bound = |sample: &&Sample| sample.label("le").and_then(|le| le.parse::<f64>().ok());
        let bounds: Vec<f64> = buckets.iter().filter_map(bound).collect();
        ensure!(bounds.len() == buckets.len() && bounds.is_sorted(), "the bounds of {name} are {bounds:?}");
        ensure!(bounds.last() == Some(&f64::INFINITY), "{name} has no bucket without bound");
        ensure!(buckets.is_sorted_by_key(|sample| sample.value), "the buckets of {name} do not add up");
        let count = self.value(&format!("{name}_count"), &[])?;
        ensure!(buckets.last().map(|sample| sample.value) == Some(count), "{name} has another count");
        self.value(&format!("{name}_sum"), &[]).map(drop)
    }

    /// All samples of this name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name).collect()
    }

    /// The value of the only sample with this name and these labels among its own.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let has = |sample: &&&Sample| labels.iter().all(|(label, value)| sample.label(label) == Some(*value));
        let all = self.all(name);
        let found: Vec<&&Sample> = all.iter().filter(has).collect();
        match found.as_slice() {
            [one] => Ok(one.value),
            _ => bail!("{name} with {labels:?} is there {} times", found.len()),
        }
    }

    /// What tells series apart: names and labels, without values.
    #[must_use]
    pub fn series(&self) -> BTreeSet<String> {
        self.samples.iter().map(|sample| format!("{}{:?}", sample.name, sample.labels)).collect()
    }

    /// Names and types of the families.
    pub fn families(&self) -> impl Iterator<Item = (&str, &str)> {
        self.families.iter().map(|(name, family)| (name.as_str(), family.kind.as_deref().unwrap_or_default()))
    }
}

impl Sample {
    /// The value of a label, if it has it.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

fn sample(line: &str) -> Result<Sample> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let value = value.parse().context("the value is no number")?;
    let (name, labels) = match series.split_once('{') {
        None => (series, Vec::new()),
        Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}').context("no end of the labels")?)?),
    };
    ensure!(is_name(name), "{name:?} is no name");
    let names: BTreeSet<_> = labels.iter().map(|(label, _)| label).collect();
    ensure!(names.len() == labels.len(), "a label stands twice");
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn parse_labels(text: &str) -> Result<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").context("a label without a value")?;
        ensure!(is_name(name), "{name:?} is no label");
        let (value, after) = value.split_once('"').context("a value without an end")?;
        // Agents have no values that need it.
        ensure!(!value.contains('\\') && !value.is_empty(), "{name} has the value {value:?}");
        labels.push((name.to_owned(), value.to_owned()));
        rest = after.strip_prefix(',').unwrap_or(after);
        ensure!(rest.is_empty() == after.is_empty(), "a comma too many");
    }
    Ok(labels)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_seconds How long\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
        a_seconds_sum 0.5\na_seconds_count 2\na_seconds_bucket{le=\"0.1\"} 1\na_seconds_bucket{le=\"+Inf\"} 2\n\
        # HELP b What\n# TYPE b counter\nb_total{x=\"y\",z=\"w\"} 3\nb_total{x=\"y\",z=\"v\"} 4\n# EOF\n";

    #[test]
    fn a_text_is_read() {
        let read = Exposition::parse(GOOD).unwrap();
        assert_eq!(read.value("b_total", &[("z", "v")]).unwrap(), 4.0);
        assert!(read.value("b_total", &[("x", "y")]).is_err(), "two of them");
        assert_eq!(read.series().len(), 6);
        assert_eq!(read.families().collect::<Vec<_>>(), [("a_seconds", "histogram"), ("b", "counter")]);
    }

    #[test]
    fn what_breaks_a_rule_is_an_error() {
        let breaks = [
            ("# EOF\n", ""),
            ("# HELP b What\n", ""),
            ("# TYPE b counter\n", ""),
            ("# UNIT a_seconds seconds\n", ""),
            ("b_total{x=\"y\",z=\"w\"}", "b{x=\"y\",z=\"w\"}"),
            ("z=\"w\"", "z=\"v\""),
            ("z=\"w\"", "x=\"w\""),
            ("z=\"w\"", "z=\"w\","),
            ("z=\"w\"", "z=w"),
            ("} 3", "} -3"),
            ("} 3", "} three"),
            ("_bucket{le=\"0.1\"} 1", "_bucket{le=\"0.1\"} 3"),
            ("_bucket{le=\"+Inf\"} 2", "_bucket{le=\"1\"} 2"),
            ("_count 2", "_count 3"),
            ("a_seconds_sum 0.5\n", ""),
            ("# HELP b What", "# HELP a_seconds What"),
            ("# HELP b What", "# what is this"),
        ];
        for (part, instead) in breaks {
            assert!(GOOD.contains(part), "{part}");
            assert!(Exposition::parse(&GOOD.replacen(part, instead, 1)).is_err(), "{part:?} -> {instead:?}");
        }
        assert!(Exposition::parse(&GOOD.replace("a_seconds", "a_ms")).is_err());
    }
}
