use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};

use node_ebpf_common::{Counter, Hook, Outcome};
use prometheus_client::metrics::MetricType;

use super::{families::FAMILIES, family::Family, render::render, *};
use crate::{
    api::{CounterRow, LookupTableStatus, MapRow, ObjectCounts, PassStatus, RouteCounts},
    events::EventKind,
    model::{ChangeObject, SourceId},
    rib::{ConflictKind, ProblemKind},
};

mod deploy;

const PAGE: &str = include_str!("../../../docs/metrics.md");
const DATAPATH_PAGE: &str = include_str!("../../../docs/datapath.md");

/// An agent in which there is something of everything.
pub(super) fn snapshot() -> Snapshot {
    let mut passes = PassCounts::default();
    let pass =
        PassStatus { source_to_datapath_us: Some(1_500), total_us: 2_000_000, ..PassStatus::default() };
    passes.add(&PassStatus { maps_us: 250_000, datapath_changes: 3, ..pass });
    Snapshot {
        build: Build { version: "1.2.3", layout_version: 3 },
        started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
        health: Health { settled: true, ..Health::default() },
        sources: vec![SourceSample {
            source: SourceId::FILE,
            synced: true,
            failed: false,
            last_sync: Some(UNIX_EPOCH + Duration::from_secs(1_700_000_001)),
            objects: ObjectCounts { nodes: 3, pods: 6, routes: 1 },
        }],
        nodes: 2,
        routes: RouteState::ALL.into_iter().map(|state| ((SourceId::FILE, state), 7)).collect(),
        routes_in_use: RouteCounts { local: 2, direct: 3, ipip: 4, host: 1, unassigned: 1 },
        routes_held: 5,
        problems: BTreeMap::from([(ProblemKind::NoIpv6, 1)]),
        other_problems: BTreeMap::from([("brake", 1)]),
        conflicts: BTreeMap::from([(ConflictKind::DuplicateAddress, 2)]),
        events: BTreeMap::from([(EventKind::AgentStarted, 1)]),
        passes,
        errors: BTreeMap::from([(ChangeObject::Route, 12)]),
        pending: BTreeMap::from([(ChangeObject::Route, 2)]),
        counters: CounterRow::all(|hook, outcome| match (hook, outcome) {
            (Hook::FromPod, Outcome::Direct) => Counter { packets: 12, bytes: 1176 },
            _ => Counter::default(),
        }),
        maps: vec![MapRow { name: "ROUTES_V4".to_owned(), entries: 10, max_entries: 1_000 }],
        lookup_table: LookupTableStatus { chunks: 258, max_chunks: 1_000, left_to_trie: 9 },
        attachments: BTreeMap::from([(Hook::FromPod, 2)]),
        trace_clients: 1,
    }
}

fn lines(text: &str, name: &str) -> Vec<String> {
    let ours = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    text.lines().filter(ours).map(ToOwned::to_owned).collect()
}

fn type_name(family: &Family) -> &'static str {
    match family.kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Info => "info",
        MetricType::Unknown => "unknown",
    }
}

#[test]
fn the_text_is_what_prometheus_reads() {
    let text = render(snapshot()).unwrap();
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(
        lines(&text, "podroute_build_info"),
        ["podroute_build_info{version=\"1.2.3\",layout=\"3\"} 1"]
    );
    assert_eq!(
        lines(&text, "podroute_start_timestamp_seconds"),
        ["podroute_start_timestamp_seconds 1700000000.25"]
    );
    assert_eq!(lines(&text, "podroute_ready"), ["podroute_ready 1"]);
    assert_eq!(
        lines(&text, "podroute_source_objects"),
        [
            "podroute_source_objects{source=\"file\",object=\"node\"} 3",
            "podroute_source_objects{source=\"file\",object=\"pod\"} 6",
            "podroute_source_objects{source=\"file\",object=\"route\"} 1",
        ]
    );
    let packets = lines(&text, "podroute_datapath_packets_total");
    assert_eq!(packets.len(), Hook::ALL.len() * Outcome::ALL.len(), "also those that are zero");
    let direct =
        "podroute_datapath_packets_total{hook=\"from-pod\",outcome=\"direct\",ending=\"forwarded\"} 12";
    assert!(packets.iter().any(|line| line == direct), "{packets:#?}");
    let errors = lines(&text, "podroute_reconcile_errors_total");
    assert_eq!(errors.len(), ChangeObject::ALL.len());
    assert!(errors.contains(&"podroute_reconcile_errors_total{object=\"route\"} 12".to_owned()));
    let steps = lines(&text, "podroute_pass_step_seconds_total");
    assert!(steps.contains(&"podroute_pass_step_seconds_total{step=\"maps\"} 0.25".to_owned()), "{steps:?}");
    assert!(text.contains("# UNIT podroute_datapath_bytes bytes\n"));
}

#[test]
fn buckets_of_a_histogram_add_up() {
    let text = render(snapshot()).unwrap();
    let buckets = lines(&text, "podroute_apply_latency_seconds_bucket");
    assert_eq!(buckets.len(), Histogram::BOUNDS.len() + 1);
    assert_eq!(buckets[1], "podroute_apply_latency_seconds_bucket{le=\"0.001\"} 0");
    assert_eq!(buckets[2], "podroute_apply_latency_seconds_bucket{le=\"0.0025\"} 1");
    assert_eq!(buckets[14], "podroute_apply_latency_seconds_bucket{le=\"+Inf\"} 1");
    assert_eq!(
        lines(&text, "podroute_pass_duration_seconds_sum"),
        ["podroute_pass_duration_seconds_sum 2.0"]
    );
    assert_eq!(
        lines(&text, "podroute_pass_duration_seconds_count"),
        ["podroute_pass_duration_seconds_count 1"]
    );
}

#[test]
fn every_metric_has_samples_with_its_labels() {
    let snapshot = snapshot();
    for family in &FAMILIES {
        let samples = (family.samples)(&snapshot);
        assert!(!samples.is_empty(), "{}", family.full_name());
        assert!(samples.iter().all(|sample| sample.labels.len() == family.labels.len()));
        let labels: BTreeSet<_> = samples.iter().map(|sample| &sample.labels).collect();
        assert_eq!(labels.len(), samples.len(), "{} has a sample twice", family.full_name());
    }
}

#[test]
fn names_are_by_the_conventions() {
    let mut seen = BTreeSet::new();
    for family in &FAMILIES {
        let name = family.full_name();
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(name.starts_with("podroute_") && plain(&name), "{name}");
        assert!(family.labels.iter().all(|label| plain(label) && *label != "le"), "{name}");
        // The suffixes come by themselves.
        assert!(
            !["_total", "_info", "_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
        );
        assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}: {}", family.help);
        assert!(family.series().into_iter().all(|series| seen.insert(series)), "{name} stands twice");
    }
}

/// The list for people is the list in the code, in its order.
#[test]
fn the_documentation_lists_every_metric() {
    let table = PAGE.split_once("| metric | type | labels | meaning |\n").expect("a table of metrics").1;
    let mut rows = table.lines().skip(1);
    for family in &FAMILIES {
        let name = match family.series().as_slice() {
            [one] => one.clone(),
            _ => family.full_name(),
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{name}` | {} | {} | {} |", type_name(family), labels.join(", "), family.help);
        assert_eq!(rows.next(), Some(row.replace("|  |", "| |").as_str()), "docs/metrics.md");
    }
    assert_eq!(rows.next(), Some(""), "docs/metrics.md lists a metric that does not exist");
}

#[test]
fn the_documentation_lists_every_value_of_a_label() {
    let snapshot = snapshot();
    for family in FAMILIES.iter().filter(|family| !matches!(family.kind, MetricType::Info)) {
        let samples = (family.samples)(&snapshot);
        for (label, value) in samples.iter().flat_map(|sample| family.labels.iter().zip(&sample.labels)) {
            let known = |page: &str| page.contains(&format!("`{value}`"));
            assert!(
                known(PAGE) || known(DATAPATH_PAGE),
                "docs/metrics.md says nothing of {label}=\"{value}\""
            );
        }
    }
}

/// Whatever the cluster: what may grow without limit is in no label.
#[test]
fn the_number_of_series_does_not_depend_on_the_cluster() {
    let series = |snapshot| render(snapshot).unwrap().lines().filter(|line| !line.starts_with('#')).count();
    let mut large = snapshot();
    large.sources[0].objects = ObjectCounts { nodes: 5_000, pods: 100_000, routes: 1_000 };
    large.nodes = 4_999;
    large.routes.values_mut().for_each(|count| *count = 10_000);
    large.counters.iter_mut().for_each(|row| row.packets = u64::MAX);
    let failed = ChangeObject::ALL.map(|object| (object, 1_000));
    large.pending = failed.into();
    large.problems = ProblemKind::ALL.map(|kind| (kind, 1_000)).into();
    assert_eq!(series(large), series(snapshot()));
    let about_450 = 400..500;
    assert!(
        about_450.contains(&series(snapshot())),
        "{}: docs/metrics.md has another number",
        series(snapshot())
    );
}
