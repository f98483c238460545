use std::{io, net::IpAddr, path::PathBuf};

use nix::errno::Errno;

use super::session::NetlinkError;
use crate::model::{AddressFamily, HostChange, VethEnd};

/// Why the host could not be read or changed: what failed, on which object, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}{advice}", advice = shortage(.0.raw_os_error().map(Errno::from_raw)))]
    Socket(io::Error),
    /// A table could not be read.
    #[error("cannot read the host's {table}: {reason}{}", shortage(reason.errno()))]
    Read {
        /// Which table.
        table: &'static str,
        /// Why.
        reason: NetlinkError,
    },
    /// The kernel refused a change.
    #[error("cannot {change}: {reason}{}", advice(change, reason))]
    Change {
        /// What was to be done.
        change: Box<HostChange>,
        /// Why not.
        reason: NetlinkError,
    },
    /// Only unicast and blackhole routes can be made.
    #[error("cannot {0}: Podroute makes unicast and blackhole routes only")]
    UnsupportedKind(Box<HostChange>),
    /// The MTU of a pod's veth could not be set.
    #[error("cannot set the MTU of the {end} of {interface} to {mtu}: {reason}")]
    Mtu {
        /// Name of its host side.
        interface: String,
        /// Which end.
        end: VethEnd,
        /// In bytes.
        mtu: u32,
        /// Why.
        reason: io::Error,
    },
    /// There is no way into a pod.
    #[error(
        "cannot set the MTU of the pod's end of {interface}: nothing in /run/netns or /proc names the pod's network namespace; in a container, give the agent the host's /run/netns or its processes (hostPID), or set `pod-mtu: keep`"
    )]
    PodNamespace {
        /// Name of the veth's host side.
        interface: String,
    },
    /// A sysctl could not be read or written.
    #[error(
        "cannot {action} {}: {reason}; it needs root and a writable /proc/sys (in a container: privileged)",
        path.display()
    )]
    Sysctl {
        /// `read` or `set`.
        action: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A neighbour could not be looked up.
    #[error("cannot look up neighbour {address} on interface #{link}: {reason}")]
    Neighbour {
        /// Interface index.
        link: u32,
        /// Whose link-layer address was asked for.
        address: IpAddr,
        /// Why.
        reason: NetlinkError,
    },
    /// Routers cannot be heard.
    #[error("cannot hear what routers tell of the path MTU in {family}: {reason}; it needs CAP_NET_RAW")]
    PathMtu {
        /// Family of the outer headers.
        family: AddressFamily,
        /// Why.
        reason: io::Error,
    },
    /// Notifications of changes ended.
    #[error("cannot watch the host's network for changes: {0}")]
    Watch(io::Error),
}

/// What the user can do about a refused change, as the rest of a sentence; empty where we know nothing.
fn advice(change: &HostChange, reason: &NetlinkError) -> &'static str {
    let set_route = match change {
        HostChange::AddRoute(set) | HostChange::ReplaceRoute(set) => Some(&set.route),
        _ => None,
    };
    let Some(errno) = reason.errno() else { return "" };
    match errno {
        Errno::EACCES if reason.detail().is_some_and(|text| text.contains("IPv6")) => {
            "; IPv6 is turned off at its interface: set net.ipv6.conf.INTERFACE.disable_ipv6 to 0"
        }
        Errno::EPERM | Errno::EACCES => "; run the agent as root or give it CAP_NET_ADMIN",
        Errno::ENETDOWN => {
            "; its interface is down: bring it up (`ip link set INTERFACE up`), the agent tries again then"
        }
        Errno::ENODEV => "; its interface is gone: the agent tries again when one appears",
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => {
            "; the gateway is not on that interface's link: check the node's address and the interface's own"
        }
        Errno::EINVAL if reason.detail().is_some_and(|text| text.contains("gateway")) => {
            "; the gateway must be another host's address: does another node have this node's address?"
        }
        Errno::EINVAL if set_route.is_some_and(|route| route.source.is_some()) => {
            "; its source must be an address of this host on an interface that is up: is `lo` up?"
        }
        Errno::EEXIST if set_route.is_some() => {
            "; another program has put a route there: remove it if Podroute is to route this prefix"
        }
        other => shortage(Some(other)),
    }
}

/// What the user can do where the kernel or the agent is short of something; empty where that is not so.
fn shortage(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::ENOMEM | Errno::ENOBUFS) => "; the kernel is short of memory: the agent tries again",
        Some(Errno::EMFILE | Errno::ENFILE) => {
            "; there are no more file descriptors: raise the limit (`LimitNOFILE` of the service), the agent tries again"
        }
        Some(Errno::EBUSY) => "; somebody else uses it at the moment: the agent tries again",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KernelRoute, RouteChange, RouteKind};

    fn add_route(source: Option<&str>) -> HostChange {
        HostChange::AddRoute(RouteChange {
            route: KernelRoute {
                destination: "10.244.2.0/24".parse().unwrap(),
                kind: RouteKind::Unicast,
                link: Some(2),
                gateway: Some("10.0.1.12".parse().unwrap()),
                onlink: true,
                source: source.map(|text| text.parse().unwrap()),
                mtu: None,
                protocol: KernelRoute::PROTOCOL,
                metric: 0,
                legs: None,
            },
            interface: Some("eth0".to_owned()),
        })
    }

    fn text(change: HostChange, errno: Errno, detail: Option<&str>) -> String {
        let reason = NetlinkError::Refused { errno, detail: detail.map(str::to_owned) };
        HostError::Change { change: Box::new(change), reason }.to_string()
    }

    #[test]
    fn refused_change_names_object_reason_and_remedy() {
        assert_eq!(
            text(add_route(None), Errno::EPERM, None),
            "cannot add route 10.244.2.0/24 via 10.0.1.12 dev eth0 onlink: Operation not permitted (EPERM); \
             run the agent as root or give it CAP_NET_ADMIN"
        );
        assert_eq!(
            text(add_route(None), Errno::ENETDOWN, Some("Nexthop device is not up")),
            "cannot add route 10.244.2.0/24 via 10.0.1.12 dev eth0 onlink: Network is down (ENETDOWN): \
             Nexthop device is not up; its interface is down: bring it up (`ip link set INTERFACE up`), \
             the agent tries again then"
        );
    }

    #[test]
    fn remedy_fits_the_change() {
        let with_source = text(add_route(Some("10.244.1.1")), Errno::EINVAL, None);
        assert!(with_source.ends_with("is `lo` up?"), "{with_source}");
        let own_gateway =
            text(add_route(Some("10.244.1.1")), Errno::EINVAL, Some("Nexthop has invalid gateway"));
        assert!(own_gateway.contains("must be another host's address"), "{own_gateway}");
        let disabled = text(add_route(None), Errno::EACCES, Some("IPv6 is disabled on nexthop device"));
        assert!(disabled.ends_with("disable_ipv6 to 0"), "{disabled}");
        let without = text(add_route(None), Errno::EINVAL, None);
        assert!(without.ends_with("Invalid argument (EINVAL)"), "{without}");
        assert!(text(add_route(None), Errno::EEXIST, None).contains("another program"));
        assert!(text(add_route(None), Errno::ENETUNREACH, None).contains("not on that interface's link"));
        assert!(text(add_route(None), Errno::ENODEV, None).contains("interface is gone"));
    }
}
