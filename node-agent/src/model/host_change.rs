use std::{fmt, path::PathBuf};

use ipnet::IpNet;
use serde::Serialize;

use super::{KernelRoute, OwnAddress, RouteKind};

/// One change to the kernel's own tables: a step of a plan, and what an error or a dry run names.
///
/// `Display` is an imperative ("delete route 10.244.2.0/24 …"), so that "would …" and "cannot …" read well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostChange {
    /// Turn a sysctl on.
    Enable(Setting),
    /// Put an address of ours on its interface, with [`OwnAddress::LABEL`].
    AddAddress(AddressChange),
    /// Add a route where there is none with its destination and metric.
    AddRoute(RouteChange),
    /// Replace the route of ours that has this destination and metric.
    ReplaceRoute(RouteChange),
    /// Remove a route of ours.
    DeleteRoute(RouteChange),
    /// Remove an address of ours.
    DeleteAddress(AddressChange),
}

impl HostChange {
    /// Whether it takes something away that nothing replaces.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        matches!(self, Self::DeleteRoute(_) | Self::DeleteAddress(_))
    }
}

impl fmt::Display for HostChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enable(setting) => write!(f, "set {setting} = 1"),
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::AddRoute(route) => write!(f, "add route {route}"),
            Self::ReplaceRoute(route) => write!(f, "replace route {route}"),
            Self::DeleteRoute(route) => write!(f, "delete route {route}"),
            Self::DeleteAddress(address) => write!(f, "delete address {address}"),
        }
    }
}

/// A sysctl that the agent needs to be on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// `net.ipv4.ip_forward`: the node forwards IPv4 packets.
    ForwardingV4,
    /// `net.ipv4.conf.INTERFACE.forwarding`: packets that come in here are forwarded.
    InterfaceForwardingV4(String),
    /// `net.ipv4.conf.INTERFACE.proxy_arp`: the host answers ARP requests for whatever it has a route to.
    ProxyArp(String),
}

impl Setting {
    /// Its file below `/proc/sys`. Not its dotted name, because an interface's name may contain dots.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let of_interface =
            |interface: &str, file: &str| PathBuf::from("net/ipv4/conf").join(interface).join(file);
        match self {
            Self::ForwardingV4 => PathBuf::from("net/ipv4/ip_forward"),
            Self::InterfaceForwardingV4(interface) => of_interface(interface, "forwarding"),
            Self::ProxyArp(interface) => of_interface(interface, "proxy_arp"),
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
        if let Some(gateway) = route.gateway {
            write!(f, " via {gateway}")?;
        }
        match (&self.interface, route.link) {
            (Some(name), _) => write!(f, " dev {name}")?,
            (None, Some(index)) => write!(f, " dev #{index}")?,
            (None, None) => {}
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
