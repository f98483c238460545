//! Interfaces towards other nodes.

use super::{Facts, Finding, error, ok, warning};
use crate::{config::XdpMode, doctor::facts::UplinkFact};

/// Strict: a packet must come in where a packet to its source would go out.
const STRICT: u8 = 1;
/// Bytes of an outer IPv6 header.
const OUTER_V6: u32 = 40;
/// Largest packet that every IPv6 link must take whole.
const SMALLEST_V6: u32 = 1280;
/// Largest packet that most drivers take with an XDP program, in bytes: what is left of a page.
const LARGEST_XDP: u32 = 3498;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let uplinks = &facts.uplinks;
    if uplinks.is_empty() {
        return vec![warning(
            "uplinks",
            "none found",
            "no interface leads to other nodes as far as can be told from here",
            "name the configuration with --config, or set `uplinks` in it",
        )];
    }
    let mut found: Vec<_> = uplinks.iter().flat_map(|uplink| one(facts, uplink)).collect();
    found.extend(mtus_differ(uplinks));
    found
}

fn one(facts: &Facts, uplink: &UplinkFact) -> Vec<Finding> {
    let name = &uplink.name;
    if !uplink.exists {
        return vec![error(
            "uplinks",
            format!("{name} does not exist"),
            "no program is attached there",
            "correct `uplinks` in the configuration (`ip -brief link` lists what there is)",
        )];
    }
    if !uplink.ethernet {
        return vec![error(
            "uplinks",
            format!("{name} is no Ethernet interface"),
            "the programs take Ethernet frames only: it cannot be an uplink",
            "use an Ethernet interface, also on top of it (veth, bond, VLAN)",
        )];
    }
    let driver = uplink
        .driver
        .as_deref()
        .map_or("a virtual interface".to_owned(), |driver| format!("driver {driver}"));
    let mut found = vec![if uplink.up {
        ok("uplinks", format!("{name}: {driver}, MTU {}", uplink.mtu))
    } else {
        warning(
            "uplinks",
            format!("{name} is down"),
            "the routes through it are withdrawn until it is up",
            format!("ip link set {name} up"),
        )
    }];
    found.push(rp_filter(uplink, facts.uplinks.len()));
    found.push(mtu(facts, uplink));
    found.extend(ipv6(facts, uplink));
    found.extend(programs(uplink));
    if facts.bpf.xdp != XdpMode::Off {
        found.push(xdp(uplink));
    }
    found
}

fn rp_filter(uplink: &UplinkFact, uplinks: usize) -> Finding {
    let found = format!("{}: {} is in force", uplink.name, uplink.rp_filter);
    if uplink.rp_filter != STRICT || uplinks < 2 {
        return ok("rp-filter", found);
    }
    warning(
        "rp-filter",
        found,
        "with several uplinks, packets may come in by another one than they go out by, and are dropped",
        format!("sysctl -w net.ipv4.conf.{}.rp_filter=2", uplink.name),
    )
}

fn mtu(facts: &Facts, uplink: &UplinkFact) -> Finding {
    let found = format!("{}: {} bytes", uplink.name, uplink.mtu);
    let least = SMALLEST_V6 + OUTER_V6;
    if facts.sysctls.cluster_v6 == Some(false) || uplink.mtu >= least {
        return ok("mtu", found);
    }
    warning(
        "mtu",
        found,
        "an outer header leaves IPv6 packets less than the 1280 bytes that every link must take (RFC 8200)",
        format!("ip link set {} mtu {least} (and the same on the way)", uplink.name),
    )
}

fn mtus_differ(uplinks: &[UplinkFact]) -> Option<Finding> {
    let mut mtus: Vec<u32> = uplinks.iter().filter(|uplink| uplink.exists).map(|uplink| uplink.mtu).collect();
    mtus.sort_unstable();
    mtus.dedup();
    let (smallest, _) = mtus.split_first().filter(|(_, others)| !others.is_empty())?;
    let names: Vec<_> = uplinks.iter().map(|uplink| format!("{} {}", uplink.name, uplink.mtu)).collect();
    Some(warning(
        "mtu",
        format!("uplinks differ: {}", names.join(", ")),
        format!("pods get what the smallest allows ({smallest})"),
        "give all uplinks one MTU: ip link set UPLINK mtu BYTES",
    ))
}

fn ipv6(facts: &Facts, uplink: &UplinkFact) -> Vec<Finding> {
    if facts.sysctls.cluster_v6 == Some(false) {
        return Vec::new();
    }
    let name = &uplink.name;
    let mut found = Vec::new();
    if uplink.ipv6_off && facts.sysctls.cluster_v6 == Some(true) {
        found.push(error(
            "ipv6",
            format!("{name}: disable_ipv6 is 1"),
            "IPv6 packets to other nodes cannot be sent here",
            format!("sysctl -w net.ipv6.conf.{name}.disable_ipv6=0"),
        ));
    }
    if uplink.default_by_ra && uplink.accept_ra == Some(1) {
        found.push(warning(
            "accept-ra",
            format!("{name}: accept_ra is 1, and the default route is by router advertisement"),
            "a host that forwards takes no advertisements: the route goes when it expires, unless the agent was there before",
            format!("sysctl -w net.ipv6.conf.{name}.accept_ra=2"),
        ));
    }
    found
}

fn programs(uplink: &UplinkFact) -> Vec<Finding> {
    let name = &uplink.name;
    let mut found = Vec::new();
    if !uplink.other_tc.is_empty() {
        found.push(warning(
            "other-programs",
            format!("{name}: {} at tc's hooks", uplink.other_tc.join(", ")),
            "they see packets before or after ours, and may take or change them",
            format!("find out whose they are (bpftool net show dev {name}); if nobody's: tc qdisc del dev {name} clsact"),
        ));
    }
    if !uplink.other_xdp.is_empty() {
        found.push(warning(
            "other-programs",
            format!("{name}: XDP program {} of somebody else", uplink.other_xdp.join(", ")),
            "it sees packets first, and there is no place for ours",
            format!("ip link set dev {name} xdp off"),
        ));
    }
    found
}

fn xdp(uplink: &UplinkFact) -> Finding {
    let name = &uplink.name;
    match uplink.runs_xdp {
        Some(false) => warning(
            "xdp",
            format!("{name}: the driver runs no XDP programs"),
            "tc does the work alone there",
            "set `xdp: off`, or use a card whose driver has XDP",
        ),
        _ if uplink.mtu > LARGEST_XDP => warning(
            "xdp",
            format!("{name}: MTU {}", uplink.mtu),
            "most drivers take no XDP program with packets of more than a page",
            format!("ip link set {name} mtu {LARGEST_XDP}, or set `xdp: off`"),
        ),
        Some(true) => ok("xdp", format!("{name}: the driver runs XDP programs")),
        None => ok("xdp", format!("{name}: the kernel does not tell what the driver can; attaching will")),
    }
}
