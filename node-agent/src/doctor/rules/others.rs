//! What other networks for pods have left.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Finding, ok, warning};
use crate::doctor::facts::OtherFacts;

/// Beginnings of interfaces' names, and whose they are.
const LINKS: &[(&str, &str)] = &[
    ("tunl0", "Calico"),
    ("cali", "Calico"),
    ("vxlan.calico", "Calico"),
    ("vxlan-v6.calico", "Calico"),
    ("wireguard.cali", "Calico"),
    ("flannel.", "Flannel"),
    ("flannel-", "Flannel"),
    ("cni0", "Flannel"),
    ("cilium_", "Cilium"),
    ("lxc", "Cilium"),
    ("kube-bridge", "kube-router"),
    ("weave", "Weave"),
    ("antrea-gw", "Antrea"),
];

/// Protocol numbers of routes, and whose they are.
const PROTOCOLS: &[(u8, &str)] = &[(80, "Calico"), (12, "BIRD (Calico)"), (17, "kube-router")];

/// Beginnings of chains' names, and whose they are.
const CHAINS: &[(&str, &str)] = &[
    ("cali-", "Calico"),
    ("FLANNEL", "Flannel"),
    ("CILIUM", "Cilium"),
    ("KUBE-ROUTER", "kube-router"),
    ("WEAVE", "Weave"),
    ("ANTREA", "Antrea"),
];

/// Whose interface this is; none if nobody's who is known.
#[must_use]
pub fn owner_of_link(name: &str) -> Option<&'static str> {
    LINKS.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, whose)| *whose)
}

/// Whose chain this is.
#[must_use]
pub fn owner_of_chain(name: &str) -> Option<&'static str> {
    CHAINS.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, whose)| *whose)
}

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let others = &facts.others;
    let found = [links(others), routes(others), configurations(others), chains(others)].concat();
    if found.is_empty() { vec![ok("other-cni", "nothing of another network for pods")] } else { found }
}

fn links(others: &OtherFacts) -> Vec<Finding> {
    let warn = |(name, up): &(String, bool)| {
        let whose = owner_of_link(name)?;
        // Every network namespace has this one once the kernel's module is loaded.
        if name == "tunl0" {
            return up.then(|| {
                let fix = "ip address flush dev tunl0; ip link set tunl0 down";
                warning(
                    "other-cni-link",
                    format!("tunl0 is up: {whose}'s"),
                    "it takes IPIP packets that no program took",
                    fix,
                )
            });
        }
        Some(warning(
            "other-cni-link",
            format!("interface {name}: {whose}'s"),
            "its routes and addresses may take packets for pods",
            format!("ip link del {name}"),
        ))
    };
    others.links.iter().filter_map(warn).collect()
}

fn routes(others: &OtherFacts) -> Vec<Finding> {
    let mut by_protocol: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    let mut by_link: BTreeSet<(&str, &str)> = BTreeSet::new();
    for route in &others.routes {
        if PROTOCOLS.iter().any(|(protocol, _)| *protocol == route.protocol) {
            by_protocol.entry(route.protocol).or_default().push(&route.destination);
        } else if let Some(whose) = owner_of_link(&route.interface) {
            by_link.insert((&route.interface, whose));
        }
    }
    let by_protocol = by_protocol.into_iter().filter_map(|(protocol, destinations)| {
        let (_, whose) = PROTOCOLS.iter().find(|(number, _)| *number == protocol)?;
        let first = destinations.first()?;
        Some(warning(
            "other-cni-routes",
            format!("{} routes of protocol {protocol}: {whose}'s, the first is {first}", destinations.len()),
            "where they have the same prefix as ours, the kernel goes their way and ours are not put there",
            format!("ip route flush proto {protocol}; ip -6 route flush proto {protocol}"),
        ))
    });
    let by_link = by_link.into_iter().map(|(link, whose)| {
        warning(
            "other-cni-routes",
            format!("routes through {link}: {whose}'s"),
            "where they have the same prefix as ours, the kernel goes their way and ours are not put there",
            format!("ip route flush dev {link}; ip -6 route flush dev {link}"),
        )
    });
    by_protocol.chain(by_link).collect()
}

fn configurations(others: &OtherFacts) -> Vec<Finding> {
    let warn = |(path, types): &(std::path::PathBuf, Vec<String>)| {
        let path = path.display();
        warning(
            "other-cni-config",
            format!("{path} (plugins {})", types.join(", ")),
            "the container runtime takes the first file by name: pods may get another network",
            format!("mv {path} {path}.off"),
        )
    };
    others.cni.iter().filter(|(_, types)| !types.iter().any(|one| one == "podroute")).map(warn).collect()
}

fn chains(others: &OtherFacts) -> Vec<Finding> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for chain in &others.chains {
        let name = chain.rsplit(' ').next().unwrap_or(chain);
        if let Some(whose) = owner_of_chain(name) {
            found.entry(whose).or_default().push(chain);
        }
    }
    let warn = |(whose, chains): (&str, Vec<&str>)| {
        let first = chains.first().copied().unwrap_or_default();
        let pattern =
            CHAINS.iter().find(|(_, owner)| *owner == whose).map_or("", |(beginning, _)| *beginning);
        warning(
            "other-cni-chains",
            format!("{} chains of netfilter: {whose}'s, the first is {first}", chains.len()),
            "they may drop or translate packets of pods",
            format!(
                "iptables-save | grep -v {pattern} | iptables-restore; ip6tables likewise (or reboot after removing it)"
            ),
        )
    };
    found.into_iter().map(warn).collect()
}
