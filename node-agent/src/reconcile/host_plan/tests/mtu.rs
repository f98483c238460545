//! The MTU of pods' veths.

use super::*;

/// The pod's veth with these MTUs at the host's and at the pod's end.
fn with_mtus(outside: u32, inside: Option<u32>) -> HostView {
    let mut view = host();
    view.links[2].mtu = outside;
    view.links[2].peer = Some(VethPeer { netns: Some(0), index: 2, mtu: inside });
    view
}

fn wanting(mtu: u32) -> WantedHost {
    WantedHost { pod_mtus: BTreeMap::from([(POD, mtu)]), ..WantedHost::default() }
}

#[test]
fn the_end_that_lets_less_through_is_never_left_behind() {
    let cases: [(u32, Option<u32>, &[&str]); 8] = [
        (1480, Some(1480), &[]),
        (1500, Some(1500), &["set the MTU of veth-web-0 to 1480 (the pod's end, then the host's end)"]),
        (1400, Some(1400), &["set the MTU of veth-web-0 to 1480 (the host's end, then the pod's end)"]),
        (1480, Some(1500), &["set the MTU of veth-web-0 to 1480 (the pod's end)"]),
        (1480, Some(1400), &["set the MTU of veth-web-0 to 1480 (the pod's end)"]),
        (1400, Some(1480), &["set the MTU of veth-web-0 to 1480 (the host's end)"]),
        (1400, Some(1500), &["set the MTU of veth-web-0 to 1480 (the pod's end, then the host's end)"]),
        (1480, None, &["set the MTU of veth-web-0 to 1480 (the pod's end)"]),
    ];
    for (outside, inside, expected) in cases {
        let plan = plan(&wanting(1480), &with_mtus(outside, inside));
        assert_eq!(texts(&plan), expected, "{outside} outside, {inside:?} inside");
        assert!(plan.changes.iter().all(|change| !change.is_removal()));
    }
}

#[test]
fn what_is_no_veth_is_left_alone() {
    assert_eq!(plan(&wanting(1480), &host()).changes, [], "no other end is known");
    let mut gone = wanting(1480);
    gone.pod_mtus = BTreeMap::from([(99, 1480)]);
    assert_eq!(plan(&gone, &with_mtus(1500, Some(1500))).changes, []);
    assert_eq!(plan(&WantedHost::default(), &with_mtus(1500, Some(1500))).changes, [], "cleanup");
}
