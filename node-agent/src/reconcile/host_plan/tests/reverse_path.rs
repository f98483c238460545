//! The check of the source of what comes in at uplinks.

use super::*;

/// The uplink's second one, and the checks: for all interfaces, at each of the two.
fn checked(all: u8, first: u8, second: u8) -> HostView {
    let mut view = host();
    view.links.push(Link { reverse_path: second, ..link(9, "eth1") });
    view.links[1].reverse_path = first;
    view.reverse_path_all = all;
    view
}

fn wanting(uplinks: &[&str]) -> WantedHost {
    WantedHost { uplinks: uplinks.iter().map(|name| (*name).to_owned()).collect(), ..WantedHost::default() }
}

#[test]
fn with_several_uplinks_a_strict_check_becomes_a_loose_one() {
    let (first, second) = ("set net/ipv4/conf/eth0/rp_filter = 2", "set net/ipv4/conf/eth1/rp_filter = 2");
    let cases: [([u8; 3], &[&str]); 7] = [
        ([0, 0, 0], &[]),
        ([0, 1, 0], &[first]),
        ([0, 1, 1], &[first, second]),
        ([1, 0, 2], &[first]),
        ([1, 2, 2], &[]),
        ([2, 1, 1], &[]),
        ([0, 2, 1], &[second]),
    ];
    for ([all, one, two], expected) in cases {
        let plan = plan(&wanting(&["eth0", "eth1"]), &checked(all, one, two));
        assert_eq!(texts(&plan), expected, "all {all}, eth0 {one}, eth1 {two}");
    }
}

#[test]
fn with_one_uplink_the_check_is_the_hosts_own_matter() {
    assert_eq!(plan(&wanting(&["eth0"]), &checked(1, 1, 1)).changes, []);
    assert_eq!(plan(&wanting(&[]), &checked(1, 1, 1)).changes, []);
    assert_eq!(plan(&wanting(&["eth0", "gone"]), &checked(0, 1, 1)).changes, []);
}
