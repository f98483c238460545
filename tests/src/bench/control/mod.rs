//! The control plane: how long a cluster-state file of so many prefixes takes until it is in force, how long a change
//! does, and how much memory the agent has. A real agent on one node of a lab; the other nodes exist in the file only.

mod cluster;
mod findings;
mod round;

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Options, Progress, Suite, report::SuiteReport};
use round::Round;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "control",
    about: "Time and memory to bring prefixes from a file into maps and kernel, and to change one of them",
    run,
};

/// Sizes in prefixes, and how many rounds of each.
const THOROUGH: &[(usize, usize)] = &[(1_000, 6), (5_000, 6), (10_000, 6), (100_000, 6), (1_000_000, 1)];
const QUICK: &[(usize, usize)] = &[(1_000, 1), (10_000, 1)];

fn run(options: Options, progress: &Progress) -> Result<SuiteReport> {
    let sizes = if options.quick { QUICK } else { THOROUGH };
    progress.add_steps(sizes.iter().map(|(_, rounds)| rounds).sum());
    let mut rounds: BTreeMap<usize, Vec<Round>> = BTreeMap::new();
    let most = sizes.iter().map(|(_, rounds)| *rounds).max().unwrap_or_default();
    // One of each size after the other, so that a slow spell of the machine does not meet one size alone.
    for number in 0..most {
        for (prefixes, _) in sizes.iter().filter(|(_, rounds)| number < *rounds) {
            progress.doing(format!("{prefixes} prefixes, round {}", number + 1));
            rounds.entry(*prefixes).or_default().push(round::measure(*prefixes)?);
            progress.step();
        }
    }
    Ok(findings::report(&rounds))
}
