//! What the suite found out, as tables, ratios and plots.

use node_ebpf_common::LookupChunk;

use super::{Found, LOOKUPS, Point, SUITE, mix::Mix, structure::Structure, workload::Lookup};
use crate::bench::{
    prefixes::Pattern,
    report::{Axis, Comparison, Plot, Series, SuiteReport, Table, Target},
    stats::{Estimate, as_f64},
};

/// The size that targets are about, and what it is compared with.
const LARGE: usize = 5_000;
const SMALL: usize = 16;

/// The report.
#[must_use]
pub fn report(found: &Found, sizes: &[usize]) -> SuiteReport {
    let mut tables: Vec<Table> = Mix::ALL.iter().map(|mix| lookups(found, *mix, sizes)).collect();
    tables.extend(Mix::ALL.iter().map(|mix| writing(found, *mix)));
    SuiteReport {
        name: SUITE.name.to_owned(),
        about: SUITE.about.to_owned(),
        notes: notes(),
        tables,
        comparisons: comparisons(found, sizes),
        plots: plots(found, sizes),
    }
}

fn notes() -> Vec<String> {
    [
        "Processor time of loops of 256 lookups in a BPF program, over up to a million different addresses; the same \
         loop without a lookup is subtracted. Every measurement's results are compared, by a checksum over values and \
         order, with a plain search for the longest prefix in user space.",
        "Lookups overlap in the processor, except dependent ones: each of these waits for the one before.",
        "Ranges are drawn at random from twice as many that follow each other (of the mixed set from 1.2 times as \
         many); misses are in those that were not drawn. Skewed: the nth range gets 1/n of what the first one gets.",
        "The hash answers only where all prefixes have one length. The table alone is left out where some cells have to \
         ask the trie, because the table is full.",
        "Writing: processor time of the process and of the kernel on its behalf; a change is one prefix more or less.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Nanoseconds of a lookup without the loop around it, by round.
fn net(found: &Found, point: Point) -> Option<Vec<f64>> {
    let whole = found.samples.get(&point)?;
    let lookup = Lookup { structure: Structure::Loop, ..point.lookup };
    let around = found.samples.get(&Point { lookup, ..point })?;
    Some(whole.iter().zip(around).map(|(whole, around)| whole - around).collect())
}

fn median(found: &Found, point: Point) -> Option<f64> {
    Estimate::of(&net(found, point)?).map(|estimate| estimate.median)
}

/// Few digits, as many as say something.
fn shown(nanoseconds: f64) -> String {
    if nanoseconds < 10.0 { format!("{nanoseconds:.1}") } else { format!("{nanoseconds:.0}") }
}

fn lookups(found: &Found, mix: Mix, sizes: &[usize]) -> Table {
    let mut rows = Vec::new();
    for (pattern, dependent) in LOOKUPS {
        for structure in Structure::of(mix.family(), mix != Mix::Mixed) {
            let lookup = Lookup { pattern, dependent, structure };
            let cells = sizes.iter().map(|&prefixes| {
                median(found, Point { mix, prefixes, lookup }).map_or("–".to_owned(), shown)
            });
            let how = if dependent { ", dependent" } else { "" };
            let name = format!("{}{how}: {}", pattern.label(), structure.label());
            rows.push([name].into_iter().chain(cells).collect());
        }
    }
    Table {
        title: format!("ns per lookup: {}", mix.label()),
        columns: header("addresses: structure", sizes.iter().copied()),
        rows,
    }
}

fn header(first: &str, sizes: impl Iterator<Item = usize>) -> Vec<String> {
    [first.to_owned()].into_iter().chain(sizes.map(|size| format!("{size} prefixes"))).collect()
}

fn writing(found: &Found, mix: Mix) -> Table {
    let of_mix: Vec<_> = found.costs.iter().filter(|(known, ..)| *known == mix).collect();
    let row = |name: &str, cell: &dyn Fn(usize, &super::Costs) -> Option<String>| {
        let cells = of_mix.iter().map(|(_, size, costs)| cell(*size, costs).unwrap_or("–".to_owned()));
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let middle = |samples: &[f64]| Estimate::of(samples).map(|estimate| estimate.median);
    let each = |samples: &[f64]| middle(samples).map(shown);
    let all = |size: usize, samples: &[f64]| {
        middle(samples).map(|each| format!("{:.3}", each * as_f64(size) / 1e6))
    };
    let table = |size| found.usage.get(&(mix, size));
    let rows = vec![
        row("trie, a system call each: ns per prefix", &|_, costs| each(&costs.trie)),
        row("trie, one system call: ns per prefix", &|_, costs| each(&costs.trie_batch)),
        row("table, at once: ns per prefix", &|_, costs| each(&costs.table)),
        row("table, one after the other: ns per prefix", &|_, costs| each(&costs.table_each)),
        row("trie, one system call: ms for all", &|size, costs| all(size, &costs.trie_batch)),
        row("table, at once: ms for all", &|size, costs| all(size, &costs.table)),
        row("trie: ns per change when full", &|_, costs| each(&costs.trie_change)),
        row("table: ns per change when full", &|_, costs| each(&costs.table_change)),
        row("table: KiB in use", &|size, _| {
            table(size).map(|usage| (usage.chunks as usize * size_of::<LookupChunk>() / 1024).to_string())
        }),
        row("table: cells left to the trie", &|size, _| {
            table(size).map(|usage| usage.left_to_trie.to_string())
        }),
    ];
    Table {
        title: format!("Writing: {}", mix.label()),
        columns: header("", of_mix.iter().map(|(_, size, _)| *size)),
        // Those of the table are empty for IPv6.
        rows: rows.into_iter().filter(|row| row[1..].iter().any(|cell| cell != "–")).collect(),
    }
}

fn comparisons(found: &Found, sizes: &[usize]) -> Vec<Comparison> {
    let ratio = |(of, of_size), (to, to_size), dependent| {
        let cost = |structure, prefixes| {
            let lookup = Lookup { pattern: Pattern::Uniform, dependent, structure };
            net(found, Point { mix: Mix::V4, prefixes, lookup })
        };
        Estimate::of_ratio(&cost(of, of_size)?, &cost(to, to_size)?)
    };
    let mut comparisons = Vec::new();
    for (dependent, how) in [(false, "independent"), (true, "dependent")] {
        let growth = ratio((Structure::Both, LARGE), (Structure::Both, SMALL), dependent);
        let what = format!("table then trie, {how}: {LARGE} prefixes ÷ {SMALL}");
        comparisons.push(Comparison::new(what, growth).target(Target::AtMost(1.2)));
        let trie = ratio((Structure::Trie, LARGE), (Structure::Both, LARGE), dependent);
        let what = format!("{LARGE} prefixes, {how}: LPM trie ÷ table then trie");
        comparisons.push(Comparison::new(what, trie).target(Target::AtLeast(5.0)));
    }
    for structure in [Structure::Trie, Structure::Hash] {
        for &size in sizes.iter().filter(|size| structure != Structure::Trie || **size != LARGE) {
            let what = format!("{size} prefixes, independent: {} ÷ table then trie", structure.label());
            comparisons.push(Comparison::new(what, ratio((structure, size), (Structure::Both, size), false)));
        }
    }
    comparisons
}

fn plots(found: &Found, sizes: &[usize]) -> Vec<Plot> {
    let axis = |label: &str| Axis { label: label.to_owned(), logarithmic: true };
    let mut plots = Vec::new();
    for mix in Mix::ALL {
        for (pattern, name) in
            [(Pattern::Uniform, "hits"), (Pattern::Skewed, "skewed"), (Pattern::Misses, "misses")]
        {
            let series = Structure::of(mix.family(), mix != Mix::Mixed).into_iter().map(|structure| {
                let cost = |&prefixes: &usize| {
                    let lookup = Lookup { pattern, dependent: false, structure };
                    let point = Point { mix, prefixes, lookup };
                    median(found, point).map(|cost| (as_f64(prefixes), cost))
                };
                let points = sizes.iter().filter_map(cost).filter(|(_, cost)| *cost > 0.0).collect();
                Series { name: structure.label().to_owned(), points }
            });
            let family = match mix {
                Mix::V4 => "v4",
                Mix::Mixed => "v4-mixed",
                Mix::V6 => "v6",
            };
            plots.push(Plot {
                name: format!("lookup-{family}-{name}"),
                title: format!("One lookup: {}, {}", mix.label(), pattern.label()),
                axes: [axis("prefixes"), axis("ns per lookup")],
                series: series.collect(),
            });
        }
    }
    plots
}
