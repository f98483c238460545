//! What each outcome costs: printed, not asserted, since absolute times are noise. The ratio is to a program that
//! returns at once, measured in the same way.

use aya::{TestRun as _, TestRunOptions};
use node_ebpf_common::{Hook, Uplink};

use crate::{
    empty::Empty,
    nanoseconds_cases::{Case, cases},
    rig::{LOOPBACK, Rig},
};

/// Single runs, of which the median is taken: what is rewritten would be seen by the next repeat.
const RUNS: usize = 4_001;
/// Repeats of one run, of which the best of five is taken: for what stays as it is.
const REPEATS: u32 = 200_000;

fn median(run: impl FnMut() -> u128) -> u128 {
    let mut runs: Vec<u128> = std::iter::repeat_with(run).take(RUNS).collect();
    runs.sort_unstable();
    runs[RUNS / 2]
}

fn best(run: impl FnMut() -> u128) -> u128 {
    std::iter::repeat_with(run).take(5).min().expect("five runs")
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds")]
fn ratio(nanoseconds: u128, of: u128) -> f64 {
    nanoseconds as f64 / of.max(1) as f64
}

/// Nanoseconds per packet of each outcome, shortest packets, two dozen prefixes.
#[test]
fn print_nanoseconds_per_packet() {
    let (mut rig, empty) = (Rig::new(), Empty::load());
    let packet = cases().remove(0).frame;
    let (single, repeated) =
        (median(|| empty.nanoseconds(&packet, 1)), best(|| empty.nanoseconds(&packet, REPEATS)));
    println!("a program that returns at once: {single} ns single, {repeated} ns repeated");
    for case in cases() {
        let run = rig.run(case.hook, &case.frame);
        assert_eq!(run.outcome, case.outcome, "{} {}", case.hook.label(), case.families);
        assert_eq!(run.data == case.frame, case.unchanged, "{}", case.outcome.label());
        let once = median(|| nanoseconds(&mut rig, &case, 1));
        let mut line = format!(
            "{:12} {:28} {:4} {once:4} ns single, {:4} above, ratio {:.1}",
            case.hook.label(),
            case.outcome.label(),
            case.families,
            once.saturating_sub(single),
            ratio(once, single)
        );
        if case.unchanged {
            let often = best(|| nanoseconds(&mut rig, &case, REPEATS));
            line += &format!("; {often:4} ns repeated, ratio {:.1}", ratio(often, repeated));
        }
        println!("{line}");
    }
}

/// The same of what comes in, at the driver, with `xdp: decap`.
#[test]
fn print_nanoseconds_per_packet_of_xdp() {
    let (mut rig, empty) = (Rig::load_with(0, false, true), Empty::load());
    rig.set_uplink(LOOPBACK, Uplink::default());
    let come_in: Vec<Case> = cases().into_iter().filter(|case| case.hook == Hook::FromUplink).collect();
    let single = median(|| empty.nanoseconds(&come_in[0].frame, 1));
    println!("a tc program that returns at once: {single} ns single");
    for case in come_in {
        let outcome = rig.run_xdp(&case.frame).outcome;
        let once = median(|| {
            let options = TestRunOptions { data_in: Some(&case.frame), ..TestRunOptions::default() };
            rig.xdp().test_run(options).expect("test run").duration.as_nanos()
        });
        println!(
            "xdp          {:28} {:4} {once:4} ns single, ratio {:.1} ({} at from-uplink)",
            outcome.label(),
            case.families,
            ratio(once, single),
            case.outcome.label()
        );
        assert!(once > 0);
    }
}

fn nanoseconds(rig: &mut Rig, case: &Case, repeat: u32) -> u128 {
    let options = TestRunOptions { data_in: Some(&case.frame), repeat, ..TestRunOptions::default() };
    rig.program(case.hook).test_run(options).expect("test run").duration.as_nanos()
}
