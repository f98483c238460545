//! What the rounds come to: tables, and figures against their targets.

use std::{collections::BTreeMap, time::Duration};

use super::round::{Deed, Round};
use crate::bench::{
    report::{Axis, Comparison, Plot, Series, SuiteReport, Table, Target},
    stats::{Estimate, as_f64},
};

/// Rounds by their number of prefixes.
type Rounds = BTreeMap<usize, Vec<Round>>;

/// A figure of a round.
type Figure = fn(&Round) -> f64;

/// What has a target: its name, the size, the figure, its unit, the most it should be.
const TARGETS: &[(&str, usize, Figure, &str, f64)] = &[
    ("write the maps, 5,000 prefixes", 5_000, |round| ms(round.load.pass.maps_us), "ms", 5.0),
    ("write the maps, 100,000 prefixes", 100_000, |round| ms(round.load.pass.maps_us), "ms", 250.0),
    ("file → maps and kernel, 100,000 prefixes", 100_000, |round| in_force(&round.load), "ms", 1_200.0),
    ("add one prefix at 100,000: source → map", 100_000, |round| to_map(&round.add), "ms", 1.0),
    ("remove one prefix at 100,000: source → map", 100_000, |round| to_map(&round.remove), "ms", 1.0),
    ("resident memory, 10,000 prefixes", 10_000, |round| round.resident, "MiB", 60.0),
    ("resident memory, 1,000,000 prefixes", 1_000_000, |round| round.resident, "MiB", 400.0),
    (
        "map writes when the next hop of 10,000 prefixes changes",
        100_000,
        |round| ms(round.next_hop.pass.datapath_changes * 1000),
        "",
        1.0,
    ),
];

pub(super) fn report(rounds: &Rounds) -> SuiteReport {
    let measured = TARGETS.iter().filter(|(_, size, ..)| rounds.contains_key(size));
    SuiteReport {
        name: "control".to_owned(),
        about: super::SUITE.about.to_owned(),
        notes: NOTES.map(str::to_owned).into(),
        tables: vec![loading(rounds), changing(rounds), memory(rounds)],
        comparisons: measured.map(|target| comparison(rounds, target)).collect(),
        plots: vec![plot(rounds)],
    }
}

const NOTES: [&str; 5] = [
    "A real agent on one node; the other nodes, 5,000 at most, are in its file only, and adjacent. Half of the \
     prefixes, 10,000 at most, are behind one of them.",
    "Phases are the agent's own times, as `node-agent status --output json` tells them: read (parse and check the \
     file), observe (the host's links and routes), select, resolve, plan, maps, kernel routes.",
    "Of a change, 'source → map' begins when the agent's loop takes the change from its source and ends when the map \
     is written; 'seen' begins before the file is written and ends when `node-agent status` tells of it, which \
     includes 50 ms in which the file must have been quiet, reading it anew, and asking.",
    "The next hop of a node changes because the host gets another route to it; the prefixes behind it are not touched \
     in the maps.",
    "Medians over the rounds; memory of the maps and of the kernel's routes is the kernel's, and not counted.",
];

fn comparison(
    rounds: &Rounds,
    (what, size, figure, unit, most): &(&str, usize, Figure, &str, f64),
) -> Comparison {
    let samples: Vec<f64> = rounds.get(size).into_iter().flatten().map(figure).collect();
    Comparison::new(*what, Estimate::of(&samples)).unit(*unit).target(Target::AtMost(*most))
}

fn loading(rounds: &Rounds) -> Table {
    const FIGURES: [Figure; 9] = [
        |round| ms(round.load.read_us),
        |round| ms(round.load.pass.select_us),
        |round| ms(round.load.pass.resolve_us),
        |round| ms(round.load.pass.plan_us),
        |round| ms(round.load.pass.maps_us),
        |round| ms(round.load.pass.host_us),
        |round| in_force(&round.load),
        |round| milliseconds(round.load.outside),
        |round| ms(round.restart.read_us + round.restart.pass.total_us),
    ];
    let names = [
        "read",
        "select",
        "resolve",
        "plan",
        "maps",
        "kernel",
        "file → in place",
        "process start → seen",
        "again",
    ];
    table(
        "from the file into maps and kernel, ms; 'again' is a restart with everything in place",
        &names,
        rounds,
        &FIGURES,
    )
}

fn changing(rounds: &Rounds) -> Table {
    const FIGURES: [Figure; 9] = [
        |round| to_map(&round.add),
        |round| milliseconds(round.add.outside),
        |round| to_map(&round.remove),
        |round| milliseconds(round.remove.outside),
        |round| if round.add.pass.shortcut && round.remove.pass.shortcut { 1.0 } else { 0.0 },
        |round| ms(round.add.read_us),
        |round| ms(round.next_hop.pass.observe_us),
        |round| ms(round.next_hop.pass.total_us),
        |round| ms(round.next_hop.pass.datapath_changes * 1000),
    ];
    let names = [
        "add: source → map",
        "add: seen",
        "remove: source → map",
        "remove: seen",
        "by shortcut",
        "read",
        "next hop: observe",
        "next hop: whole pass",
        "next hop: map writes",
    ];
    table("one change, ms", &names, rounds, &FIGURES)
}

fn memory(rounds: &Rounds) -> Table {
    const FIGURES: [Figure; 4] = [
        |round| round.resident,
        |round| round.peak,
        |round| ms(round.load.pass.datapath_changes * 1000),
        |round| ms(round.load.pass.host_changes * 1000),
    ];
    let names = ["resident, MiB", "most, MiB", "changes to maps and hooks", "changes to the kernel's tables"];
    table("memory of the agent, and what the first pass did", &names, rounds, &FIGURES)
}

/// Medians, a row for each size.
fn table(title: &str, names: &[&str], rounds: &Rounds, figures: &[Figure]) -> Table {
    let row = |(size, rounds): (&usize, &Vec<Round>)| {
        let median = |figure: &Figure| {
            let samples: Vec<f64> = rounds.iter().map(figure).collect();
            Estimate::of(&samples).map_or_else(String::new, |estimate| number(estimate.median))
        };
        let mut cells = vec![size.to_string(), rounds.len().to_string()];
        cells.extend(figures.iter().map(median));
        cells
    };
    let columns = ["prefixes", "rounds"].iter().chain(names).map(|name| (*name).to_owned()).collect();
    Table { title: title.to_owned(), columns, rows: rounds.iter().map(row).collect() }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn plot(rounds: &Rounds) -> Plot {
    let series = |name: &str, figure: Figure| {
        let point = |(size, rounds): (&usize, &Vec<Round>)| {
            let samples: Vec<f64> = rounds.iter().map(figure).collect();
            Some((as_f64(*size), Estimate::of(&samples)?.median.max(0.001)))
        };
        Series { name: name.to_owned(), points: rounds.iter().filter_map(point).collect() }
    };
    Plot {
        name: "control".to_owned(),
        title: "From the cluster-state file to forwarding".to_owned(),
        axes: ["prefixes", "ms"].map(|label| Axis { label: label.to_owned(), logarithmic: true }),
        series: vec![
            series("file → maps and kernel", |round| in_force(&round.load)),
            series("maps alone", |round| ms(round.load.pass.maps_us)),
            series("one prefix more: source → map", |round| to_map(&round.add)),
        ],
    }
}

/// From reading the file until maps and kernel hold what is in it, in milliseconds.
fn in_force(deed: &Deed) -> f64 {
    ms(deed.read_us + deed.pass.total_us)
}

fn to_map(deed: &Deed) -> f64 {
    ms(deed.pass.source_to_datapath_us.unwrap_or_default())
}

fn ms(microseconds: u64) -> f64 {
    milliseconds(Duration::from_micros(microseconds))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
