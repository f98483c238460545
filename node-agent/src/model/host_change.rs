use std::{fmt, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    AddressFamily, ChangeObject, KernelRoute, MtuChange, OwnAddress, PlaceholderNeighbour, RouteKind,
};

/// One change to the kernel's own tables: a step of a plan, and what an error or a dry run names.
///
/// `Display` is an imperative ("delete route 10.244.2.0/24 …"), so that "would …" and "cannot …" read well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostChange {
    /// Set a sysctl.
    Set(Setting),
    /// Put an address of ours on its interface, with [`OwnAddress::LABEL`].
    AddAddress(AddressChange),
    /// Add a neighbour of ours, or put it right.
    SetNeighbour(NeighbourChange),
    /// Add a route where there is none with its destination and metric.
    AddRoute(RouteChange),
    /// Replace the route of ours that has this destination and metric.
    ReplaceRoute(RouteChange),
    /// Set the MTU of a pod's veth.
    SetMtu(MtuChange),
    /// Remove a route of ours.
    DeleteRoute(RouteChange),
    /// Remove a neighbour of ours.
    DeleteNeighbour(NeighbourChange),
    /// Remove an address of ours.
    DeleteAddress(AddressChange),
}

impl HostChange {
    /// What it changes, whatever it makes of it.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::Set(setting) => setting.to_string(),
            Self::AddAddress(change) | Self::DeleteAddress(change) => {
                format!("address {} at interface {}", change.address, change.link)
            }
            Self::SetNeighbour(change) | Self::DeleteNeighbour(change) => {
                format!("neighbour {} at interface {}", change.neighbour.address, change.neighbour.link)
            }
            Self::AddRoute(change) | Self::ReplaceRoute(change) | Self::DeleteRoute(change) => {
                format!("kernel route {} of metric {}", change.route.destination, change.route.metric)
            }
            Self::SetMtu(change) => format!("MTU of interface {}", change.link),
        }
    }

    /// What sort of object that is.
    #[must_use]
    pub const fn object_kind(&self) -> ChangeObject {
        match self {
            Self::Set(_) => ChangeObject::Sysctl,
            Self::AddAddress(_) | Self::DeleteAddress(_) => ChangeObject::Address,
            Self::SetNeighbour(_) | Self::DeleteNeighbour(_) => ChangeObject::Neighbour,
            Self::AddRoute(_) | Self::ReplaceRoute(_) | Self::DeleteRoute(_) => ChangeObject::KernelRoute,
            Self::SetMtu(_) => ChangeObject::Mtu,
        }
    }

    /// Whether it takes something away that nothing replaces.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        matches!(self, Self::DeleteRoute(_) | Self::DeleteNeighbour(_) | Self::DeleteAddress(_))
    }
}

impl fmt::Display for HostChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(setting) => write!(f, "set {setting} = {}", setting.value()),
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::SetNeighbour(neighbour) => write!(f, "set neighbour {neighbour}"),
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::ReplaceRoute(route) => write!(f, "replace route {route}"),
            Self::SetMtu(change) => change.fmt(f),
            Self::DeleteRoute(route) => write!(f, "delete route {route}"),
            Self::DeleteNeighbour(neighbour) => write!(f, "delete neighbour {neighbour}"),
            Self::DeleteAddress(address) => write!(f, "delete address {address}"),
        }
    }
}

/// A sysctl that the agent needs to have a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// `net.ipv4.ip_forward`: the node forwards IPv4 packets.
    ForwardingV4,
    /// `net.ipv4.conf.INTERFACE.forwarding`: packets that come in here are forwarded.
    InterfaceForwardingV4(String),
    /// `net.ipv4.conf.INTERFACE.proxy_arp`: the host answers ARP requests for whatever it has a route to.
    ProxyArp(String),
    /// `net.ipv4.conf.INTERFACE.rp_filter` = 2: what comes in here may have a source that is reached by another interface.
    LooseReversePath(String),
    /// `net.ipv6.conf.INTERFACE.accept_ra` = 2: router advertisements are taken even though the host forwards.
    AcceptRa(String),
    /// `net.ipv6.conf.all.forwarding`: the node forwards IPv6 packets.
    ForwardingV6,
}

impl Setting {
    /// Its file below `/proc/sys`. Not its dotted name, because an interface's name may contain dots.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let of_interface = |family: &str, interface: &str, file: &str| {
            PathBuf::from("net").join(family).join("conf").join(interface).join(file)
        };
        match self {
            Self::ForwardingV4 => PathBuf::from("net/ipv4/ip_forward"),
            Self::InterfaceForwardingV4(interface) => of_interface("ipv4", interface, "forwarding"),
            Self::ProxyArp(interface) => of_interface("ipv4", interface, "proxy_arp"),
            Self::LooseReversePath(interface) => of_interface("ipv4", interface, "rp_filter"),
            Self::AcceptRa(interface) => of_interface("ipv6", interface, "accept_ra"),
            Self::ForwardingV6 => of_interface("ipv6", "all", "forwarding"),
        }
    }

    /// What it is set to.
    #[must_use]
    pub fn value(&self) -> &'static str {
        match self {
            Self::AcceptRa(_) | Self::LooseReversePath(_) => "2",
            Self::ForwardingV4 | Self::InterfaceForwardingV4(_) | Self::ProxyArp(_) | Self::ForwardingV6 => {
                "1"
            }
        }
    }

    /// Whether this content of its file needs no change.
    #[must_use]
    pub fn is_met_by(&self, content: &str) -> bool {
        match self {
            // 0 is somebody's decision to take none at all.
            Self::AcceptRa(_) => content != "1",
            // Also 0 is not enough where it is 1 for all interfaces.
            Self::LooseReversePath(_) => content == "2",
            Self::ForwardingV4 | Self::InterfaceForwardingV4(_) | Self::ProxyArp(_) | Self::ForwardingV6 => {
                !matches!(content, "0" | "")
            }
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

/// A route to add, replace or delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteChange {
    /// The route. The kernel is always told [`KernelRoute::PROTOCOL`], whatever stands in it.
    pub route: KernelRoute,
    /// Name of its interface, for people; none where the route has none, or it is gone.
    pub interface: Option<String>,
}

impl fmt::Display for RouteChange {
    /// As `ip route` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = &self.route;
        if route.kind == RouteKind::Blackhole {
            f.write_str("blackhole ")?;
        }
        write!(f, "{}", route.destination)?;
        let via = |f: &mut fmt::Formatter<'_>, gateway: Option<IpAddr>| {
            let Some(gateway) = gateway else { return Ok(()) };
            let other_family = AddressFamily::from(gateway) != route.destination.family();
            write!(f, " via {}{gateway}", if other_family { "inet6 " } else { "" })
        };
        match (&route.legs, &self.interface, route.link) {
            (Some(legs), ..) => {
                for leg in legs {
                    f.write_str(" nexthop")?;
                    via(f, leg.gateway)?;
                    write!(f, " dev #{}", leg.link)?;
                }
            }
            (None, Some(name), _) => {
                via(f, route.gateway)?;
                write!(f, " dev {name}")?;
            }
            (None, None, index) => {
                via(f, route.gateway)?;
                index.map_or(Ok(()), |index| write!(f, " dev #{index}"))?;
            }
        }
        if route.onlink {
            f.write_str(" onlink")?;
        }
        if let Some(source) = route.source {
            write!(f, " src {source}")?;
        }
        if route.metric != 0 {
            write!(f, " metric {}", route.metric)?;
        }
        if let Some(mtu) = route.mtu {
            write!(f, " mtu {mtu}")?;
        }
        Ok(())
    }
}

/// An address to add or delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressChange {
    /// Interface index.
    pub link: u32,
    /// Name of the interface, for people; none if it is gone.
    pub interface: Option<String>,
    /// The address and the length of its network.
    pub address: IpNet,
}

impl fmt::Display for AddressChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev ", self.address)?;
        match &self.interface {
            Some(name) => f.write_str(name)?,
            None => write!(f, "#{}", self.link)?,
        }
        write!(f, " label {}", OwnAddress::LABEL)
    }
}

/// A neighbour to set or delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeighbourChange {
    /// The neighbour.
    pub neighbour: PlaceholderNeighbour,
    /// Name of its interface, for people; none if it is gone.
    pub interface: Option<String>,
}

impl fmt::Display for NeighbourChange {
    /// As `ip neighbour` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlaceholderNeighbour { link, address, mac } = self.neighbour;
        write!(f, "{address} dev ")?;
        match &self.interface {
            Some(name) => f.write_str(name)?,
            None => write!(f, "#{link}")?,
        }
        write!(f, " lladdr {} permanent", mac.map(|byte| format!("{byte:02x}")).join(":"))
    }
}
