//! The packets that the benchmark harness measures end as they are meant to.

use tests::program::cases::cases;

use crate::rig::Rig;

#[test]
fn every_measured_packet_ends_as_it_says() {
    let mut rig = Rig::new();
    for case in cases() {
        let run = rig.run(case.hook, &case.frame);
        assert_eq!(run.outcome, case.outcome, "{} {}", case.hook.label(), case.families);
        assert_eq!(run.data == case.frame, case.unchanged, "{}", case.outcome.label());
    }
}
