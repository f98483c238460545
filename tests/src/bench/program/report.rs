//! What the suite found out, as tables and ratios.

use anyhow::{Context, Result};
use node_ebpf_common::{Hook, Outcome};

use super::{
    SUITE,
    scene::{Entry, Part, Scale, Scene},
};
use crate::{
    bench::{
        report::{Axis, Comparison, Plot, Series, SuiteReport, Table, Target},
        stats::{Estimate, as_f64},
    },
    family::Family,
};

/// Nanoseconds that forwarding may take.
const FORWARD: Target = Target::AtMost(20.0);
/// The size that targets are about, and what it is compared with.
const LARGE: usize = 5_000;
const SMALL: usize = 16;

/// The report.
///
/// # Errors
/// The kernel does not say how large a program is.
pub fn report(scene: &mut Scene, sizes: &[usize]) -> Result<SuiteReport> {
    Ok(SuiteReport {
        name: SUITE.name.to_owned(),
        about: SUITE.about.to_owned(),
        notes: notes(scene),
        tables: vec![outcomes(scene), scale(scene, sizes), program_sizes(scene)?],
        comparisons: comparisons(scene),
        plots: vec![plot(scene, sizes)],
    })
}

fn notes(scene: &Scene) -> Vec<String> {
    let bare = scene.bare.each_ref().map(|samples| median(samples));
    vec![
        format!(
            "A program that returns at once takes {:.1} ns (tc) and {:.1} ns (XDP): what the kernel needs for a test run.",
            bare[0], bare[1]
        ),
        "Before each repetition a program puts the packet back as it was (length, headers, mark, hash) and goes over \
         to the program that is measured by a tail call. The same with a program that returns at once is subtracted. \
         Verdict, counter and the last packet's bytes are checked."
            .to_owned(),
        "Processor time of the thread, caches warm, one packet in flight: redirects are only noted, nothing is sent. \
         Making room needs no larger buffer here, as it mostly does on the way from a pod."
            .to_owned(),
        "The kernel takes the note of a tunnel only once for a packet, so from the second repetition on it refuses the \
         first call of an encapsulation and the program makes a second one; what only makes room does the same."
            .to_owned(),
        "Forwarding to random destinations: 4,096 of them in turn, prefixes beside the small cluster's two dozen. \
         XDP asks the kernel for the neighbour of each packet. Without the table, its cells say \"ask the trie\"."
            .to_owned(),
    ]
}

fn median(samples: &[f64]) -> f64 {
    Estimate::of(samples).map_or(f64::NAN, |estimate| estimate.median)
}

/// Nanoseconds above a program that returns at once, by round.
fn above(entry: &Entry) -> Vec<f64> {
    entry.samples.iter().map(|sample| sample.program).collect()
}

/// The same above the change of room.
fn above_room(entry: &Entry) -> Option<Vec<f64>> {
    entry.samples.iter().map(|sample| sample.room.map(|room| sample.program - room)).collect()
}

fn shown(samples: &[f64]) -> String {
    Estimate::of(samples).map_or("–".to_owned(), |estimate| {
        format!("{:.1} ({:.1}–{:.1})", estimate.median, estimate.low, estimate.high)
    })
}

fn outcomes(scene: &Scene) -> Table {
    let columns =
        ["program, outcome, families", "ns", "above returning at once", "÷ that", "above making room"];
    let rows = scene.entries.iter().filter(|entry| entry.part == Part::Outcome).map(|entry| {
        let (above, bare) = (above(entry), &scene.bare[entry.subject.kind() as usize]);
        let whole: Vec<f64> = above.iter().zip(bare).map(|(above, bare)| above + bare).collect();
        let ratio = Estimate::of_ratio(&whole, bare).map_or(f64::NAN, |ratio| ratio.median);
        vec![
            entry.subject.name.clone(),
            format!("{:.0}", median(&whole)),
            shown(&above),
            format!("{ratio:.1}"),
            above_room(entry).map_or(String::new(), |samples| shown(&samples)),
        ]
    });
    Table {
        title: "ns per packet of each outcome, shortest packets, median (95 % interval)".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// The ways to forward that are measured with tables of different sizes.
fn ways() -> Vec<(String, Scale)> {
    let mut ways = Vec::new();
    for (hook, name) in [(Hook::FromPod, "from-pod direct"), (Hook::Xdp, "xdp transit")] {
        for (family, table, by) in [
            (Family::V4, true, "v4, table"),
            (Family::V4, false, "v4, trie alone"),
            (Family::V6, true, "v6, trie"),
        ] {
            ways.push((format!("{name} {by}"), Scale { hook, family, prefixes: 0, table }));
        }
    }
    ways
}

/// What a way costs with so many prefixes, by round.
fn cost(scene: &Scene, way: Scale, prefixes: usize) -> Option<Vec<f64>> {
    let part = Part::Scale(Scale { prefixes, ..way });
    scene.entries.iter().find(|entry| entry.part == part).map(above)
}

fn scale(scene: &Scene, sizes: &[usize]) -> Table {
    let columns = sizes.iter().map(|size| format!("{size} prefixes"));
    let rows = ways().into_iter().map(|(name, way)| {
        let cells =
            sizes.iter().map(|&size| cost(scene, way, size).map_or(String::new(), |cost| shown(&cost)));
        [name].into_iter().chain(cells).collect()
    });
    Table {
        title: "Forwarding to random destinations, ns above returning at once".to_owned(),
        columns: ["way".to_owned()].into_iter().chain(columns).collect(),
        rows: rows.collect(),
    }
}

fn plot(scene: &Scene, sizes: &[usize]) -> Plot {
    let series = ways().into_iter().map(|(name, way)| {
        let points = sizes.iter().filter_map(|&size| Some((as_f64(size), median(&cost(scene, way, size)?))));
        Series { name, points: points.filter(|(_, cost)| *cost > 0.0).collect() }
    });
    let axis = |label: &str| Axis { label: label.to_owned(), logarithmic: true };
    Plot {
        name: "program-forward".to_owned(),
        title: "Forwarding a packet to a random destination".to_owned(),
        axes: [axis("prefixes"), axis("ns above a program that returns at once")],
        series: series.collect(),
    }
}

fn program_sizes(scene: &mut Scene) -> Result<Table> {
    let rig = scene.small_cluster();
    let mut rows = Vec::new();
    for hook in Hook::ALL {
        let info = if hook == Hook::Xdp { rig.xdp().info() } else { rig.program(hook).info() };
        let info = info.with_context(|| format!("how large the program {} is", hook.label()))?;
        let number = |number: Option<u32>| number.map_or("–".to_owned(), |number| number.to_string());
        rows.push(vec![
            hook.label().to_owned(),
            number(info.size_translated().map(|bytes| bytes / 8)),
            info.size_jitted().to_string(),
            number(info.verified_instruction_count()),
        ]);
    }
    let columns = ["program", "BPF instructions", "machine code, bytes", "instructions verified"];
    Ok(Table {
        title: "Size of the programs, without log messages and tracing".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    })
}

fn comparisons(scene: &Scene) -> Vec<Comparison> {
    let figure = |what: &str, samples: Option<Vec<f64>>| {
        Comparison::new(what, samples.and_then(|samples| Estimate::of(&samples))).unit("ns").target(FORWARD)
    };
    let outcome = |hook: Hook, outcome: Outcome, families: &str| {
        let name = format!("{} {} {families}", hook.label(), outcome.label());
        let entry =
            scene.entries.iter().find(|entry| entry.part == Part::Outcome && entry.subject.name == name);
        entry.and_then(above_room)
    };
    let ratio = |of: Option<Vec<f64>>, to: Option<Vec<f64>>| {
        of.zip(to).and_then(|(of, to)| Estimate::of_ratio(&of, &to))
    };
    let mut comparisons = Vec::new();
    for (name, way) in ways().into_iter().filter(|(_, way)| way.table) {
        let what = format!("{name}, {LARGE} prefixes, above returning at once");
        comparisons.push(figure(&what, cost(scene, way, LARGE)));
    }
    for (what, samples) in [
        ("from-pod ipip 4in4 above making room", outcome(Hook::FromPod, Outcome::Ipip, "4in4")),
        (
            "from-uplink decap-local 4in4 above making room",
            outcome(Hook::FromUplink, Outcome::DecapLocal, "4in4"),
        ),
        (
            "xdp decap-pass 4in4 above adjust_head",
            outcome(Hook::Xdp, Outcome::DecapPass, "4in4 (decap-local at from-uplink)"),
        ),
    ] {
        comparisons.push(figure(what, samples));
    }
    for (name, way) in ways().into_iter().filter(|(_, way)| way.table) {
        let what = format!("{name}: {LARGE} prefixes ÷ {SMALL}");
        let ratio = ratio(cost(scene, way, LARGE), cost(scene, way, SMALL));
        comparisons.push(Comparison::new(what, ratio).target(Target::AtMost(1.2)));
    }
    for (name, way) in ways().into_iter().filter(|(_, way)| way.table && way.family == Family::V4) {
        let trie = cost(scene, Scale { table: false, ..way }, LARGE);
        let ratio = ratio(trie, cost(scene, way, LARGE));
        let what = format!("{name}, {LARGE} prefixes: the same program with the trie alone ÷ this");
        comparisons.push(Comparison::new(what, ratio).target(Target::AtLeast(5.0)));
    }
    comparisons
}
