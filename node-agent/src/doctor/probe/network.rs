use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::system::number;
use crate::{
    datapath::{self, OtherPrograms},
    doctor::facts::{SysctlFacts, UplinkFact},
    model::{HostView, Prefix},
};

/// `RTPROT_RA`: by router advertisement.
const BY_ADVERTISEMENT: u8 = 9;

pub(super) fn sysctls(view: &HostView, cluster_v6: Option<bool>) -> SysctlFacts {
    SysctlFacts {
        writable: access("/proc/sys/net/ipv4/ip_forward", AccessFlags::W_OK).is_ok(),
        forwarding_v4: view.forwarding_v4,
        forwarding_v6: view.forwarding_v6,
        cluster_v6,
    }
}

fn is_default(prefix: &Prefix) -> bool {
    prefix.len() == 0
}

/// Interfaces with a default route: what the uplinks are as long as nothing is known of the cluster.
pub(super) fn default_uplinks(view: &HostView) -> Vec<String> {
    let links =
        view.routes.iter().filter(|route| is_default(&route.destination)).filter_map(|route| route.link);
    let links: BTreeSet<u32> = links.collect();
    links.iter().filter_map(|index| view.link_by_index(*index)).map(|link| link.name.clone()).collect()
}

pub(super) fn uplink(name: &str, view: &HostView, bpffs: &Path) -> UplinkFact {
    let Some(link) = view.link_by_name(name) else {
        return UplinkFact { name: name.to_owned(), ..UplinkFact::default() };
    };
    let sysctl = |family: &str, of: &str, file: &str| {
        number(&PathBuf::from("/proc/sys/net").join(family).join("conf").join(of).join(file))
    };
    let rp_filter = ["all", name].map(|of| sysctl("ipv4", of, "rp_filter").unwrap_or_default());
    let by_ra = |protocol| protocol == BY_ADVERTISEMENT;
    let mut default_routes =
        view.routes.iter().filter(|route| is_default(&route.destination) && route.link == Some(link.index));
    let OtherPrograms { tc, xdp, runs_xdp } = datapath::other_programs(bpffs, link.index, name);
    UplinkFact {
        name: name.to_owned(),
        exists: true,
        ethernet: link.ethernet,
        up: link.up,
        mtu: link.mtu,
        driver: driver(name),
        rp_filter: rp_filter.into_iter().max().unwrap_or_default(),
        accept_ra: sysctl("ipv6", name, "accept_ra"),
        default_by_ra: default_routes.any(|route| by_ra(route.protocol)),
        ipv6_off: sysctl("ipv6", name, "disable_ipv6") == Some(1),
        runs_xdp,
        other_tc: tc,
        other_xdp: xdp,
    }
}

/// Name of the driver, where sysfs knows the interface and it has a device.
fn driver(name: &str) -> Option<String> {
    let link = fs::read_link(Path::new("/sys/class/net").join(name).join("device/driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}
