use std::fmt;

use node_ebpf_common::{Endpoint, NextHop, NextHopGroup, Route, Settings};

use super::AttachmentPoint;
use crate::model::{Attachment, Prefix};

/// One write to a map or a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapChange {
    /// Write the settings.
    SetSettings(Settings),
    /// Write a next-hop object.
    SetNextHop {
        /// Where.
        index: u32,
        /// What.
        next_hop: NextHop,
    },
    /// Write a next-hop group.
    SetGroup {
        /// Where.
        index: u32,
        /// What.
        group: NextHopGroup,
    },
    /// Insert or overwrite an endpoint.
    SetEndpoint {
        /// Interface index.
        link: u32,
        /// What.
        endpoint: Endpoint,
    },
    /// Insert or overwrite a route.
    SetRoute {
        /// Which.
        prefix: Prefix,
        /// What.
        route: Route,
    },
    /// Attach a program, or put it in the place of a stale one.
    Attach(Attachment),
    /// Detach a program and remove its pin.
    Detach(AttachmentPoint),
    /// Remove an endpoint.
    DeleteEndpoint {
        /// Interface index.
        link: u32,
    },
    /// Remove a route.
    DeleteRoute {
        /// Which.
        prefix: Prefix,
    },
    /// Write an unused entry over a next-hop object.
    FreeNextHop {
        /// Where.
        index: u32,
    },
    /// Write an unused entry over a next-hop group.
    FreeGroup {
        /// Where.
        index: u32,
    },
    /// Remove the maps of another layout, once no program that uses them is attached any more.
    RemoveLayout {
        /// Which layout.
        version: u32,
    },
}

impl MapChange {
    /// Whether it takes something away.
    #[cfg(test)]
    pub fn is_deletion(&self) -> bool {
        match self {
            Self::Detach(_)
            | Self::DeleteEndpoint { .. }
            | Self::DeleteRoute { .. }
            | Self::FreeNextHop { .. }
            | Self::FreeGroup { .. }
            | Self::RemoveLayout { .. } => true,
            Self::SetSettings(_)
            | Self::SetNextHop { .. }
            | Self::SetGroup { .. }
            | Self::SetEndpoint { .. }
            | Self::SetRoute { .. }
            | Self::Attach(_) => false,
        }
    }
}

impl fmt::Display for MapChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetSettings(_) => write!(f, "write settings"),
            Self::SetNextHop { index, .. } => write!(f, "write next hop {index}"),
            Self::SetGroup { index, .. } => write!(f, "write next-hop group {index}"),
            Self::SetEndpoint { link, .. } => write!(f, "write endpoint of interface {link}"),
            Self::SetRoute { prefix, route } => {
                write!(f, "write route {prefix} to next hop {}", route.next_hop)
            }
            Self::Attach(at) => write!(f, "attach {} to {} ({})", at.hook.label(), at.interface, at.link),
            Self::Detach(at) => write!(f, "detach {} from interface {}", at.hook.label(), at.link),
            Self::DeleteEndpoint { link } => write!(f, "delete endpoint of interface {link}"),
            Self::DeleteRoute { prefix } => write!(f, "delete route {prefix}"),
            Self::FreeNextHop { index } => write!(f, "free next hop {index}"),
            Self::FreeGroup { index } => write!(f, "free next-hop group {index}"),
            Self::RemoveLayout { version } => write!(f, "remove the maps of layout {version}"),
        }
    }
}
