//! Every metric: type, name, unit, labels, meaning, and where its samples are in a snapshot. The text has them in this
//! order, and so has the list in the documentation.

use std::borrow::Cow;

use node_ebpf_common::Hook;
use prometheus_client::{metrics::MetricType, registry::Unit};

use super::{
    PassCounts, Snapshot, SourceSample,
    family::{Family, Sample, Samples, Value, by, by_kind, flag, number, one, timestamp},
};
use crate::{
    api::{CounterRow, MapRow, RouteCounts},
    events::EventKind,
    model::ChangeObject,
    rib::{ConflictKind, ProblemKind},
};

/// Every metric.
pub(super) static FAMILIES: [Family; 29] = [
    info("podroute_build", &["version", "layout"], "What runs", |snapshot| {
        let labels = vec![snapshot.build.version.into(), snapshot.build.layout_version.to_string().into()];
        vec![Sample { labels, value: Value::Whole(1) }]
    }),
    gauge_of(
        Unit::Seconds,
        "podroute_start_timestamp",
        &[],
        "When the agent started, since 1970",
        |snapshot| one(timestamp(snapshot.started)),
    ),
    gauge(
        "podroute_ready",
        &[],
        "Whether /readyz says that the agent is in step (1) or not (0)",
        |snapshot| one(flag(snapshot.health.reasons().is_empty())),
    ),
    gauge(
        "podroute_source_synced",
        &["source"],
        "Whether the source has told all it had at its start (1) or not (0)",
        |snapshot| of_sources(snapshot, |source| Some(flag(source.synced))),
    ),
    gauge(
        "podroute_source_failed",
        &["source"],
        "Whether the source cannot be read now (1) or can (0); what it told before stays in force",
        |snapshot| of_sources(snapshot, |source| Some(flag(source.failed))),
    ),
    gauge_of(
        Unit::Seconds,
        "podroute_source_last_sync_timestamp",
        &["source"],
        "When the source last said that it has told all, since 1970; absent before the first time",
        |snapshot| of_sources(snapshot, |source| source.last_sync.map(timestamp)),
    ),
    gauge("podroute_source_objects", &["source", "object"], "Objects that the source states", source_objects),
    gauge("podroute_nodes", &[], "Other nodes that are used", |snapshot| number(snapshot.nodes)),
    gauge(
        "podroute_routes",
        &["source", "state"],
        "Prefixes that the source states, by what became of them on this node",
        routes,
    ),
    gauge("podroute_routes_in_use", &["kind"], "Routes in use, by what they do with packets", routes_in_use),
    gauge(
        "podroute_routes_held",
        &[],
        "Routes that the brake holds although they were withdrawn",
        |snapshot| number(snapshot.routes_held),
    ),
    gauge("podroute_problems", &["kind"], "What an operator should look at, conflicts included", problems),
    gauge(
        "podroute_conflicts",
        &["kind"],
        "Addresses and prefixes that several claim, all losers of one winner together",
        |snapshot| by_kind(ConflictKind::ALL, ConflictKind::label, &snapshot.conflicts),
    ),
    counter("podroute_events", &["kind"], "What has happened, as `node-agent events` lists it", |snapshot| {
        by_kind(EventKind::ALL, EventKind::label, &snapshot.events)
    }),
    counter(
        "podroute_passes",
        &["extent"],
        "Comparisons of what is in place with what is wanted, by what they looked at",
        |snapshot| {
            let PassCounts { full, shortcut, .. } = snapshot.passes;
            by([("full", Value::Whole(full)), ("shortcut", Value::Whole(shortcut))])
        },
    ),
    counter(
        "podroute_changes",
        &["plane"],
        "Changes that were made, by where: the datapath or the host's own tables",
        |snapshot| {
            let PassCounts { datapath_changes, host_changes, .. } = snapshot.passes;
            by([("datapath", Value::Whole(datapath_changes)), ("host", Value::Whole(host_changes))])
        },
    ),
    histogram(
        "podroute_apply_latency",
        "From the first word of a source until the maps held what follows of it",
        |snapshot| one(Value::Histogram(&snapshot.passes.apply_latency)),
    ),
    histogram("podroute_pass_duration", "From the beginning of a pass to its end", |snapshot| {
        one(Value::Histogram(&snapshot.passes.duration))
    }),
    counter_of(
        Unit::Seconds,
        "podroute_pass_step",
        &["step"],
        "How long the steps of all passes took together",
        |snapshot| {
            let took = snapshot.passes.steps.map(|step| Value::Real(step.as_secs_f64()));
            by(PassCounts::STEPS.into_iter().zip(took))
        },
    ),
    counter(
        "podroute_reconcile_errors",
        &["object"],
        "Attempts to make a change that failed, by the sort of object it is about",
        |snapshot| by_kind(ChangeObject::ALL, ChangeObject::label, &snapshot.errors),
    ),
    gauge(
        "podroute_changes_pending",
        &["object"],
        "Changes that failed and are tried again, by the sort of object they are about",
        |snapshot| by_kind(ChangeObject::ALL, ChangeObject::label, &snapshot.pending),
    ),
    counter(
        "podroute_datapath_packets",
        &["hook", "outcome", "ending"],
        "Packets that programs have ended with, a GSO super-packet being one",
        |snapshot| of_counters(snapshot, |row| row.packets),
    ),
    counter_of(
        Unit::Bytes,
        "podroute_datapath",
        &["hook", "outcome", "ending"],
        "The same in bytes, link-layer headers included",
        |snapshot| of_counters(snapshot, |row| row.bytes),
    ),
    gauge("podroute_map_entries", &["map"], "Entries of the map that are in use", |snapshot| {
        of_maps(snapshot, |map| map.entries)
    }),
    gauge("podroute_map_max_entries", &["map"], "Entries that the map has room for", |snapshot| {
        of_maps(snapshot, |map| map.max_entries)
    }),
    gauge("podroute_lookup_chunks", &["state"], "Chunks of the IPv4 lookup table", |snapshot| {
        let table = snapshot.lookup_table;
        let free = table.max_chunks.saturating_sub(table.chunks);
        by([("used", Value::Whole(table.chunks.into())), ("free", Value::Whole(free.into()))])
    }),
    gauge(
        "podroute_lookup_cells_left_to_trie",
        &[],
        "Cells of the IPv4 lookup table that have no chunk, so that the trie is asked",
        |snapshot| number(snapshot.lookup_table.left_to_trie),
    ),
    gauge("podroute_attachments", &["hook"], "Programs in place at interfaces", |snapshot| {
        by_kind(Hook::ALL, Hook::label, &snapshot.attachments)
    }),
    gauge("podroute_trace_clients", &[], "Clients that trace packets", |snapshot| {
        number(snapshot.trace_clients)
    }),
];

type Labels = &'static [&'static str];

const fn family(
    kind: MetricType,
    unit: Option<Unit>,
    name: &'static str,
    labels: Labels,
    help: &'static str,
    samples: Samples,
) -> Family {
    Family { kind, name, unit, labels, help, samples }
}

const fn info(name: &'static str, labels: Labels, help: &'static str, samples: Samples) -> Family {
    family(MetricType::Info, None, name, labels, help, samples)
}

const fn gauge(name: &'static str, labels: Labels, help: &'static str, samples: Samples) -> Family {
    family(MetricType::Gauge, None, name, labels, help, samples)
}

const fn gauge_of(
    unit: Unit,
    name: &'static str,
    labels: Labels,
    help: &'static str,
    samples: Samples,
) -> Family {
    family(MetricType::Gauge, Some(unit), name, labels, help, samples)
}

const fn counter(name: &'static str, labels: Labels, help: &'static str, samples: Samples) -> Family {
    family(MetricType::Counter, None, name, labels, help, samples)
}

const fn counter_of(
    unit: Unit,
    name: &'static str,
    labels: Labels,
    help: &'static str,
    samples: Samples,
) -> Family {
    family(MetricType::Counter, Some(unit), name, labels, help, samples)
}

const fn histogram(name: &'static str, help: &'static str, samples: Samples) -> Family {
    family(MetricType::Histogram, Some(Unit::Seconds), name, &[], help, samples)
}

fn of_sources<'s>(
    snapshot: &'s Snapshot,
    value: impl Fn(&'s SourceSample) -> Option<Value<'s>>,
) -> Vec<Sample<'s>> {
    by(snapshot.sources.iter().filter_map(|source| Some((source.source.to_string(), value(source)?))))
}

fn source_objects(snapshot: &Snapshot) -> Vec<Sample<'_>> {
    let of_source = |source: &SourceSample| {
        let objects = source.objects;
        let name: Cow<'_, str> = source.source.to_string().into();
        [("node", objects.nodes), ("pod", objects.pods), ("route", objects.routes)].map(|(object, count)| {
            Sample { labels: vec![name.clone(), object.into()], value: Value::Whole(count as u64) }
        })
    };
    snapshot.sources.iter().flat_map(of_source).collect()
}

fn routes(snapshot: &Snapshot) -> Vec<Sample<'_>> {
    let rows = snapshot.routes.iter();
    rows.map(|((source, state), count)| Sample {
        labels: vec![source.to_string().into(), state.label().into()],
        value: Value::Whole(*count as u64),
    })
    .collect()
}

fn routes_in_use(snapshot: &Snapshot) -> Vec<Sample<'_>> {
    let RouteCounts { local, direct, ipip, host, unassigned } = snapshot.routes_in_use;
    let kinds =
        [("local", local), ("direct", direct), ("ipip", ipip), ("host", host), ("unassigned", unassigned)];
    by(kinds.map(|(kind, count)| (kind, Value::Whole(count as u64))))
}

fn problems(snapshot: &Snapshot) -> Vec<Sample<'_>> {
    let mut samples = by_kind(ProblemKind::ALL, ProblemKind::label, &snapshot.problems);
    samples.extend(by_kind(Snapshot::OTHER_PROBLEMS, |kind| kind, &snapshot.other_problems));
    samples
}

fn of_counters<'s>(snapshot: &'s Snapshot, value: impl Fn(&CounterRow) -> u64) -> Vec<Sample<'s>> {
    let sample = |row: &'s CounterRow| {
        let CounterRow { hook, outcome, ending, .. } = row;
        let labels = [hook, outcome, ending].map(|label| Cow::Borrowed(label.as_str()));
        Sample { labels: labels.into(), value: Value::Whole(value(row)) }
    };
    snapshot.counters.iter().map(sample).collect()
}

fn of_maps(snapshot: &Snapshot, value: impl Fn(&MapRow) -> u32) -> Vec<Sample<'_>> {
    by(snapshot.maps.iter().map(|map| (map.name.as_str(), Value::Whole(value(map).into()))))
}
