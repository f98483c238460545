//! The suite `program`: what each program costs with a packet, by test runs, and how large it is.

mod repeat;
mod report;
mod scene;
mod start;
mod subject;

use anyhow::Result;

use self::scene::Scene;
use super::{Options, Progress, Suite, report::SuiteReport};
use crate::program::uplink::beside_an_uplink;

/// The suite.
pub const SUITE: Suite = Suite { name: "program", about: "The programs by themselves, by test runs", run };

/// How much is measured.
struct Plan {
    rounds: usize,
    repeat: u32,
    /// Prefixes beside those of the small cluster.
    sizes: &'static [usize],
}

const FULL: Plan = Plan { rounds: 21, repeat: 20_000, sizes: &[16, 256, 5_000, 100_000] };
const QUICK: Plan = Plan { rounds: 7, repeat: 4_000, sizes: &[16, 5_000] };

fn run(options: Options, progress: &Progress) -> Result<SuiteReport> {
    let plan = if options.quick { QUICK } else { FULL };
    // A namespace of its own, where the kernel knows the neighbours, and a thread that ends with it.
    beside_an_uplink(|interface| {
        progress.add_steps(plan.rounds + 1);
        let mut scene = Scene::new(interface, plan.sizes, |what| progress.doing(what))?;
        progress.step();
        progress.doing("measuring");
        for _ in 0..plan.rounds {
            scene.round(plan.repeat)?;
            progress.step();
        }
        report::report(&mut scene, plan.sizes)
    })
}
