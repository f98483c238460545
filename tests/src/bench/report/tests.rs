use super::*;
use crate::bench::stats::Estimate;

fn estimate(median: f64, width: f64) -> Estimate {
    Estimate { median, low: median * (1.0 - width / 2.0), high: median * (1.0 + width / 2.0), rounds: 21 }
}

fn report() -> Report {
    let machine = Machine {
        processor: "Some Processor".to_owned(),
        cpus: 2,
        kernel: "6.18.0".to_owned(),
        memory: 24_000,
        commit: "0123456789".to_owned(),
        date: "2026-11-25".to_owned(),
    };
    let comparisons = vec![
        Comparison::new("kernel ÷ direct", Some(estimate(2.5, 0.02))).target(Target::AtLeast(2.3)),
        Comparison::new("a | b", Some(estimate(1.4, 0.02))).target(Target::AtMost(1.3)),
        Comparison::new("wide", Some(estimate(4.56, 0.4))).target(Target::AtLeast(1.0)),
        Comparison::new("for information", Some(estimate(7.0, 0.01))),
        Comparison::new("load", Some(estimate(4.0, 0.1))).unit("ms").target(Target::AtMost(5.0)),
    ];
    let suite = SuiteReport {
        name: "veth".to_owned(),
        about: "From pod to pod".to_owned(),
        notes: vec!["One CPU.".to_owned()],
        tables: vec![Table {
            title: "ns per packet".to_owned(),
            columns: vec!["way".to_owned(), "median".to_owned()],
            rows: vec![vec!["direct".to_owned(), "1660".to_owned()]],
        }],
        comparisons,
        plots: vec![Plot {
            name: "veth-packets".to_owned(),
            title: "Packets".to_owned(),
            axes: ["flows", "packets"].map(|label| Axis { label: label.to_owned(), logarithmic: false }),
            series: vec![Series { name: "direct".to_owned(), points: vec![(1.0, 2.0)] }],
        }],
    };
    Report { command: "cargo xtask bench veth".to_owned(), machine, quick: false, suites: vec![suite] }
}

#[test]
fn verdicts_follow_target_and_certainty() {
    let verdicts: Vec<Verdict> = report().suites[0].comparisons.iter().map(Comparison::verdict).collect();
    assert_eq!(verdicts, [Verdict::Met, Verdict::Missed, Verdict::Uncertain, Verdict::None, Verdict::Met]);
    assert_eq!(Comparison::new("none", None).verdict(), Verdict::Uncertain);
}

/// The harness refuses to print a ratio whose interval is too wide, and says so.
#[test]
fn a_ratio_that_is_too_uncertain_is_not_told() {
    for text in [terminal(&report().suites[0]), markdown(&report())] {
        assert!(
            text.contains("2.50 (2.48–2.52)") && text.contains("≥ 2.3") && text.contains("met"),
            "{text}"
        );
        assert!(
            text.contains("missed") && text.contains("4.00 ms (3.80–4.20)") && text.contains("≤ 5 ms"),
            "{text}"
        );
        assert!(text.contains("not told: the interval 3.65–5.47 is 40 % wide"), "{text}");
        assert!(!text.contains("4.56"), "{text}");
    }
    let few = Estimate { rounds: 5, ..estimate(3.21, 0.01) };
    let shown = Comparison::new("few", Some(few)).shown();
    assert_eq!(shown, "not told: only 5 rounds");
}

#[test]
fn the_document_says_how_it_was_made() {
    let text = markdown(&report());
    for part in [
        "cargo xtask bench veth",
        "2026-11-25",
        "0123456789",
        "6.18.0",
        "Some Processor",
        "One CPU.",
        "a \\| b",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.contains("| direct | 1660 |") && text.contains("(performance/veth-packets.svg)"), "{text}");
    assert!(!text.contains("smoke run"));
    assert!(markdown(&Report { quick: true, ..report() }).contains("smoke run"));
}

#[test]
fn a_report_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    write_json(&report(), &path).unwrap();
    assert_eq!(read_json(&path).unwrap(), report());
    std::fs::write(&path, "{}").unwrap();
    assert!(read_json(&path).unwrap_err().to_string().contains("is no report"));
}
