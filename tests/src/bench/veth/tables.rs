//! What is shown of the samples.

use super::{PathSamples, TransitSamples, frames::Flows, rounds::Samples, transit::Passage, way::Way};
use crate::bench::{
    report::{Axis, Comparison, Plot, Series, SuiteReport, Table, Target},
    stats::{Estimate, as_f64},
};

/// Pod to pod: figures of each way, ratios against targets, and a plot.
pub fn paths(samples: &PathSamples, report: &mut SuiteReport) {
    report.notes.extend(NOTES.map(str::to_owned));
    report.tables.push(table(samples));
    report.comparisons.extend(Flows::ALL.into_iter().flat_map(|flows| comparisons(samples, flows)));
    report.plots.push(plot(samples));
}

const NOTES: [&str; 5] = [
    "UDP packets of 64 bytes, Ethernet header included, from a packet socket in a pod; at the receiving pod a tc program counts and drops them",
    "Nanoseconds are those of the one CPU that generator, both nodes and sink share; net is without what the generator alone takes in the same round",
    "Every way has nodes and pods of its own, joined by a veth pair; all stay up, and each is measured once in each round",
    "Flannel's rules are those that flanneld writes, with br_netfilter on as Kubernetes demands; its VXLAN has checksums as flanneld leaves them",
    "XDP on veth is shown because it loses: the kernel copies each packet for it. On network cards it is made for, nothing was measured",
];

fn table(samples: &PathSamples) -> Table {
    Table {
        title: "Pod to pod, thousand packets a second on one CPU, and ns of CPU for each (95 % interval of the median)"
            .to_owned(),
        columns: columns(),
        rows: Way::ALL.into_iter().map(|way| row(samples, way, Way::Generator, way.name())).collect(),
    }
}

/// Figures of one way, net of what the generator alone takes.
fn row<K: Ord + Copy>(samples: &Samples<(K, Flows)>, of: K, generator: K, name: &str) -> Vec<String> {
    let cells = Flows::ALL.into_iter().flat_map(|flows| {
        let gross = samples.estimate((of, flows));
        let net = Estimate::of(&samples.net((of, flows), (generator, flows)));
        [per_second(gross), shown(gross), if of == generator { String::new() } else { shown(net) }]
    });
    [name.to_owned()].into_iter().chain(cells).collect()
}

fn columns() -> Vec<String> {
    let of = |flows: Flows| ["kpps", "ns", "ns net"].map(|unit| format!("{}: {unit}", flows.name()));
    ["way".to_owned()].into_iter().chain(Flows::ALL.into_iter().flat_map(of)).collect()
}

/// Thousand packets a second.
fn per_second(nanoseconds: Option<Estimate>) -> String {
    nanoseconds.map_or_else(String::new, |gross| format!("{:.0}", 1e6 / gross.median))
}

/// The receiving node alone: figures, and ratios without targets.
pub fn receiving(samples: &PathSamples, report: &mut SuiteReport) {
    report.notes.push(
        "The receiving node alone gets the frames that the sending node puts on the wire, as XDP frames from a veth \
         whose other end takes them by NAPI with GRO, as a network card does; the generator alone has them dropped \
         there by XDP"
            .to_owned(),
    );
    report.tables.push(Table {
        title: "The receiving node alone, likewise".to_owned(),
        columns: columns(),
        rows: Way::ALL.into_iter().map(|way| row(samples, way, Way::Generator, way.name())).collect(),
    });
    let of = |way: Way| (way, Flows::Many);
    for (rival, ours) in [
        (Way::Routing, Way::Direct),
        (Way::Conntrack, Way::Direct),
        (Way::HostGw, Way::Direct),
        (Way::Vxlan, Way::Ipip),
        (Way::Ipip, Way::Xdp),
    ] {
        let what = format!("receiving node, {}, net: {} ÷ {}", Flows::Many.name(), rival.name(), ours.name());
        let ratio = samples.net_ratio(of(rival), of(ours), of(Way::Generator));
        report.comparisons.push(Comparison::new(what, ratio));
    }
}

/// Through a gateway: figures of each way, and the ratio against its target.
pub fn transit(samples: &TransitSamples, report: &mut SuiteReport) {
    report.notes.push(
        "Through the gateway go XDP frames, as a network card hands them over; the sink takes what comes as it comes: \
         XDP's frames are counted and dropped by XDP, the kernel's packets by tc"
            .to_owned(),
    );
    report.tables.push(Table {
        title: "Through a gateway, likewise".to_owned(),
        columns: columns(),
        rows: Passage::ALL
            .into_iter()
            .map(|passage| row(samples, passage, Passage::Generator, passage.name()))
            .collect(),
    });
    for flows in Flows::ALL {
        let [kernel, ours, alone] =
            [Passage::Kernel, Passage::Xdp, Passage::Generator].map(|passage| (passage, flows));
        let what =
            |how: &str| format!("transit, {}, {how}: {} ÷ {}", flows.name(), kernel.0.name(), ours.0.name());
        let net = Comparison::new(what("net"), samples.net_ratio(kernel, ours, alone));
        report.comparisons.push(net.target(Target::AtLeast(4.0)));
        report.comparisons.push(Comparison::new(what("gross"), samples.ratio(kernel, ours)));
    }
}

/// A number of nanoseconds with its interval.
fn shown(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(String::new, |Estimate { median, low, high, .. }| {
        format!("{median:.0} ({low:.0}–{high:.0})")
    })
}

/// Rivals' time ÷ ours, without the generator's, and ours ÷ the floor's with it.
fn comparisons(samples: &PathSamples, flows: Flows) -> Vec<Comparison> {
    let of = |way: Way| (way, flows);
    let net = |rival: Way, ours: Way, target: Option<f64>| {
        let what = format!("pod → pod, {}, net: {} ÷ {}", flows.name(), rival.name(), ours.name());
        let comparison = Comparison::new(what, samples.net_ratio(of(rival), of(ours), of(Way::Generator)));
        target.map_or_else(|| comparison.clone(), |least| comparison.clone().target(Target::AtLeast(least)))
    };
    let floor = format!("pod → pod, {}, gross: {} ÷ {}", flows.name(), Way::Direct.name(), Way::Floor.name());
    vec![
        net(Way::Routing, Way::Direct, Some(2.3)),
        net(Way::Conntrack, Way::Direct, Some(4.0)),
        net(Way::HostGw, Way::Direct, Some(4.0)),
        net(Way::Vxlan, Way::Direct, Some(8.0)),
        net(Way::Vxlan, Way::Ipip, Some(5.5)),
        net(Way::Routing, Way::Ipip, Some(1.6)),
        net(Way::Xdp, Way::Ipip, None),
        Comparison::new(floor, samples.ratio(of(Way::Direct), of(Way::Floor))).target(Target::AtMost(1.3)),
    ]
}

fn plot(samples: &PathSamples) -> Plot {
    let axis = |label: &str, logarithmic| Axis { label: label.to_owned(), logarithmic };
    let series = |way: Way| {
        let point = |flows: Flows| {
            let median = samples.estimate((way, flows))?.median;
            Some((as_f64(usize::from(flows.count())), 1e9 / median))
        };
        Series { name: way.name().to_owned(), points: Flows::ALL.into_iter().filter_map(point).collect() }
    };
    Plot {
        name: "veth-pod-to-pod".to_owned(),
        title: "Pod to pod over two nodes, packets of 64 bytes, one CPU for everything".to_owned(),
        axes: [axis("flows", true), axis("packets a second", false)],
        series: Way::ALL.into_iter().filter(|way| *way != Way::Twin).map(series).collect(),
    }
}
