//! What is shown of what sockets got.

use super::{
    TalkSamples,
    talk::{Latencies, PAYLOAD, Talk, WAYS},
    way::Way,
};
use crate::bench::{
    latency,
    report::{Axis, Comparison, Plot, Series, SuiteReport, Table, Target},
    stats::{Estimate, percentile},
};

/// Figures of each way, ratios against targets, and the distribution of latencies.
pub fn talks(samples: &TalkSamples, latencies: &Latencies, report: &mut SuiteReport) {
    report.notes.push(format!(
        "Sockets are held by one thread at both ends, on the same one CPU; requests and answers have {PAYLOAD} bytes; what \
         two processes on two CPUs would see is not measured"
    ));
    report.tables.push(Table {
        title: "Between sockets in the pods, ns for each KiB of one TCP flow and of eight, and for each exchange (95 % interval of the median)"
            .to_owned(),
        columns: ["way", "TCP, 1 flow", "TCP, 8 flows", "UDP exchange", "TCP exchange"].map(str::to_owned).into(),
        rows: WAYS.into_iter().map(|way| row(samples, way)).collect(),
    });
    report.tables.push(Table {
        title: "Latency of an exchange in ns, over all rounds".to_owned(),
        columns: [
            "way",
            "UDP: median",
            "UDP: 99 %",
            "UDP: 99.9 %",
            "TCP: median",
            "TCP: 99 %",
            "TCP: 99.9 %",
        ]
        .map(str::to_owned)
        .into(),
        rows: WAYS.into_iter().map(|way| latency_row(latencies, way)).collect(),
    });
    report.comparisons.extend(comparisons(samples));
    report.plots.push(distribution(latencies, Talk::Udp, "veth-udp-latency"));
    report.plots.push(distribution(latencies, Talk::Tcp, "veth-tcp-latency"));
}

fn row(samples: &TalkSamples, way: Way) -> Vec<String> {
    let cell = |talk: Talk| {
        let scale = if matches!(talk, Talk::Stream | Talk::Streams) { 1024.0 } else { 1.0 };
        samples.estimate((way, talk)).map_or_else(String::new, |Estimate { median, low, high, .. }| {
            format!("{:.0} ({:.0}–{:.0})", median * scale, low * scale, high * scale)
        })
    };
    [way.name().to_owned()].into_iter().chain(Talk::ALL.map(cell)).collect()
}

fn latency_row(latencies: &Latencies, way: Way) -> Vec<String> {
    let cells = [Talk::Udp, Talk::Tcp].into_iter().flat_map(|talk| {
        let all = latencies.get(&(way, talk)).and_then(|rounds| latency::Latencies::of(rounds));
        let shown = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.0}"));
        [all.map(|all| all.median), all.and_then(|all| all.p99), all.and_then(|all| all.p999)].map(shown)
    });
    [way.name().to_owned()].into_iter().chain(cells).collect()
}

/// Rivals' time ÷ ours; of IPIP, that of the way without it.
fn comparisons(samples: &TalkSamples) -> Vec<Comparison> {
    let ratio = |talk: Talk, of: Way, to: Way, target: Option<f64>| {
        let what = format!("{}: {} ÷ {}", talk.name(), of.name(), to.name());
        let comparison = Comparison::new(what, samples.ratio((of, talk), (to, talk)));
        match target {
            Some(least) => comparison.target(Target::AtLeast(least)),
            None => comparison,
        }
    };
    vec![
        ratio(Talk::Stream, Way::Routing, Way::Direct, Some(1.0)),
        ratio(Talk::Stream, Way::Conntrack, Way::Direct, None),
        ratio(Talk::Stream, Way::HostGw, Way::Direct, None),
        ratio(Talk::Stream, Way::Vxlan, Way::Direct, None),
        ratio(Talk::Stream, Way::Direct, Way::Ipip, Some(0.95)),
        ratio(Talk::Stream, Way::Vxlan, Way::Ipip, None),
        ratio(Talk::Stream, Way::Ipip, Way::Xdp, None),
        ratio(Talk::Streams, Way::Routing, Way::Direct, Some(1.0)),
        ratio(Talk::Streams, Way::Conntrack, Way::Direct, None),
        ratio(Talk::Streams, Way::HostGw, Way::Direct, None),
        ratio(Talk::Streams, Way::Vxlan, Way::Direct, None),
        ratio(Talk::Streams, Way::Direct, Way::Ipip, Some(0.95)),
        ratio(Talk::Udp, Way::Routing, Way::Direct, Some(1.08)),
        ratio(Talk::Udp, Way::Conntrack, Way::Direct, None),
        ratio(Talk::Udp, Way::HostGw, Way::Direct, None),
        ratio(Talk::Udp, Way::Vxlan, Way::Direct, Some(1.6)),
        ratio(Talk::Udp, Way::Vxlan, Way::Ipip, None),
        ratio(Talk::Tcp, Way::Routing, Way::Direct, None),
        ratio(Talk::Tcp, Way::Vxlan, Way::Direct, None),
    ]
}

/// Percentiles that are drawn.
const PERCENTILES: [f64; 10] = [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

fn distribution(latencies: &Latencies, talk: Talk, name: &str) -> Plot {
    let axis = |label: &str, logarithmic| Axis { label: label.to_owned(), logarithmic };
    let series = |way: Way| {
        let sorted = latency::merged(latencies.get(&(way, talk))?);
        let point = |percent: f64| Some((percent, percentile(&sorted, percent / 100.0)? / 1000.0));
        let points: Vec<_> = PERCENTILES.into_iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Series { name: way.name().to_owned(), points })
    };
    Plot {
        name: name.to_owned(),
        title: format!("{}: how long an exchange takes, over two nodes on one CPU", talk.name()),
        axes: [axis("percentile", false), axis("µs", true)],
        series: WAYS.into_iter().filter(|way| *way != Way::Twin).filter_map(series).collect(),
    }
}
