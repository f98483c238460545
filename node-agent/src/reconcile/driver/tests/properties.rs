//! Whatever the kernel refuses, and for how long.

use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::{
    model::WantedDatapath,
    reconcile::datapath_plan::tests::properties::{assert_holds, leads_to, some_wanted},
};

/// Parts of the texts of changes.
const REFUSED: [&str; 14] = [
    "settings",
    "write next hop 1",
    "write next hop 2",
    "write next-hop group",
    "write endpoint",
    "write route 10.1",
    "write route fd00",
    "attach from-pod",
    "attach from-uplink",
    "detach",
    "delete endpoint",
    "delete route 10.",
    "free next hop",
    "free next-hop group",
];

/// What is wanted in a pass, what is refused in it, and whether it reads everything back.
fn some_passes() -> impl Strategy<Value = Vec<(WantedDatapath, Vec<&'static str>, bool)>> {
    let refused = subsequence(&REFUSED[..], 0..5);
    prop::collection::vec((some_wanted(), refused, any::<bool>()), 1..6)
}

/// Asserts that packets are forwarded by nothing that is not there.
fn assert_forwards(reconciler: &Reconciler<MemoryDatapath>) {
    let state = &reconciler.datapath.state;
    for prefix in state.routes.keys() {
        leads_to(state, prefix);
    }
    for at in state.attachments.keys().filter(|at| at.hook == Hook::FromPod) {
        assert!(state.endpoints.contains_key(&at.link), "{at:?} without an endpoint");
    }
}

proptest! {
    /// Invariants 1 and 4: while changes are refused nothing names what is not there, what failed is not forgotten, and
    /// once nothing is refused any more all is as wanted.
    #[test]
    fn invariant_4_whatever_is_refused_the_rest_forwards_and_all_converges(passes in some_passes()) {
        let mut reconciler = reconciler();
        let mut wanted = Wanted::default();
        for (datapath, refused, audit) in passes {
            wanted.datapath = datapath;
            reconciler.datapath.refuse = refused.into_iter().map(str::to_owned).collect();
            reconciler.try_all_again();
            pass(&mut reconciler, &wanted, Pass { audit, ..ALL });
            assert_forwards(&reconciler);
            let before: Vec<String> =
                reconciler.report().pending.iter().map(|(object, _)| object.to_owned()).collect();
            reconciler.try_all_again();
            reconciler.datapath.applied.clear();
            pass(&mut reconciler, &wanted, ALL);
            assert_forwards(&reconciler);
            for object in before {
                let kept = reconciler.report().pending.iter().any(|(found, _)| found == object);
                let made = reconciler.datapath.applied.iter().any(|change| change.object() == object);
                prop_assert!(kept || made, "{object} is forgotten");
            }
        }
        reconciler.datapath.refuse.clear();
        // Three: what waits for what waits for another.
        for _ in 0..3 {
            reconciler.try_all_again();
            pass(&mut reconciler, &wanted, ALL);
        }
        assert_holds(&reconciler.datapath.state, &wanted.datapath);
        prop_assert!(reconciler.report().pending.is_empty());
        prop_assert!(!reconciler.audit());
    }
}
