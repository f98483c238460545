//! The suite `lookup`: what one lookup costs inside of a BPF program, by structure and number of prefixes, and what it
//! costs to write the structures.

mod batch;
mod mix;
mod naive;
mod report;
mod structure;
mod tables;
mod update;
mod workload;

use std::{collections::BTreeMap, thread};

use anyhow::Result;

use self::{
    mix::Mix,
    structure::Structure,
    update::Costs,
    workload::{Lookup, Workload},
};
use super::{Options, Progress, Suite, prefixes::Pattern, report::SuiteReport};

/// The suite.
pub const SUITE: Suite =
    Suite { name: "lookup", about: "The longest prefix, looked up in a BPF program", run };

/// How much is measured.
struct Plan {
    rounds: usize,
    sizes: &'static [usize],
    /// Groups of destinations of each pattern.
    groups: u32,
    /// Nanoseconds that one measurement takes, about.
    time: f64,
    /// How often the structures are filled.
    fills: usize,
}

const FULL: Plan =
    Plan { rounds: 21, sizes: &[16, 256, 5_000, 100_000, 1_000_000], groups: 4_096, time: 8e6, fills: 7 };
const QUICK: Plan = Plan { rounds: 7, sizes: &[16, 5_000, 100_000], groups: 256, time: 1e6, fills: 2 };

/// The addresses that are looked up, and whether each lookup waits for the one before.
const LOOKUPS: [(Pattern, bool); 4] =
    [(Pattern::Uniform, false), (Pattern::Uniform, true), (Pattern::Skewed, false), (Pattern::Misses, false)];

/// From this number of prefixes on, they are filled less often.
const MANY: usize = 500_000;
const FILLS_OF_MANY: usize = 3;

/// One thing that is measured each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    mix: Mix,
    prefixes: usize,
    lookup: Lookup,
}

/// What was found out.
#[derive(Default)]
struct Found {
    /// Nanoseconds of a lookup with the loop around it, one a round.
    samples: BTreeMap<Point, Vec<f64>>,
    /// What writing costs, by kind and number of prefixes.
    costs: Vec<(Mix, usize, Costs)>,
    /// Bytes of the lookup table that are in use, likewise, and addresses' cells that are left to the trie.
    usage: BTreeMap<(Mix, usize), node_ebpf_common::LookupUsage>,
}

fn run(options: Options, progress: &Progress) -> Result<SuiteReport> {
    let plan = if options.quick { QUICK } else { FULL };
    let workloads = Mix::ALL.len() * plan.sizes.len();
    progress.add_steps(2 * workloads + plan.rounds);
    let mut found = Found::default();
    // A thread of its own, so that only its processor time counts.
    thread::scope(|scope| {
        let measured = scope.spawn(|| {
            write(&plan, progress, &mut found)?;
            look_up(&plan, progress, &mut found)
        });
        measured.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(report::report(&found, plan.sizes))
}

/// Measures the writing.
fn write(plan: &Plan, progress: &Progress, found: &mut Found) -> Result<()> {
    for mix in Mix::ALL {
        for &prefixes in plan.sizes {
            progress.doing(format!("writing {prefixes} prefixes ({})", mix.label()));
            let mut costs = Costs::default();
            let rounds = if prefixes < MANY { plan.fills } else { FILLS_OF_MANY };
            for _ in 0..rounds {
                update::measure(mix, prefixes, &mut costs)?;
            }
            found.costs.push((mix, prefixes, costs));
            progress.step();
        }
    }
    Ok(())
}

/// Measures the lookups: all sizes and structures in each round.
fn look_up(plan: &Plan, progress: &Progress, found: &mut Found) -> Result<()> {
    let mut workloads = Vec::new();
    for mix in Mix::ALL {
        for &prefixes in plan.sizes {
            progress.doing(format!("filling tables with {prefixes} prefixes ({})", mix.label()));
            let mut workload = Workload::new(mix, prefixes, plan.groups)?;
            let points = points(&mut workload, plan)?;
            found.usage.extend(workload.usage.map(|usage| ((mix, prefixes), usage)));
            workloads.push((workload, points));
            progress.step();
        }
    }
    progress.doing("looking up");
    for _ in 0..plan.rounds {
        for (workload, points) in &mut workloads {
            for (point, groups) in points {
                let taken = workload.measure(point.lookup, *groups)?;
                found.samples.entry(*point).or_default().push(taken);
            }
        }
        progress.step();
    }
    Ok(())
}

/// What is measured with a workload, and with how many groups of addresses, so that it takes about as long as it should.
fn points(workload: &mut Workload, plan: &Plan) -> Result<Vec<(Point, u32)>> {
    let (mix, prefixes) = (workload.mix, workload.prefixes);
    let mut structures = Structure::of(mix.family(), mix != Mix::Mixed);
    structures.retain(|structure| *structure != Structure::Table || workload.table_suffices());
    structures.insert(0, Structure::Loop);
    let mut points = Vec::new();
    for (pattern, dependent) in LOOKUPS {
        for &structure in &structures {
            let lookup = Lookup { pattern, dependent, structure };
            let taken = workload.measure(lookup, 8)?;
            points.push((Point { mix, prefixes, lookup }, workload.groups_in(plan.time, taken)));
        }
    }
    Ok(points)
}
