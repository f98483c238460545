//! The nouns of the agent: plain types without I/O, shared by every other module.

mod brake;
mod change_object;
mod cluster;
mod family;
mod host;
mod host_change;
mod interface;
mod kernel_answer;
mod name;
mod neighbour;
mod path_mtu;
mod pod_mtu;
mod prefix;
mod source_id;
mod wanted;

pub use brake::BrakeSettings;
pub use change_object::ChangeObject;
pub use cluster::{
    Cluster, EncapsulationMode, Node, NonAdjacent, Object, ObjectKey, Origin, Pod, Route, SourceEvent,
    SourceUpdate,
};
pub use family::AddressFamily;
pub use host::{HostView, InterfaceAddress, KernelRoute, Link, RouteKind, RouteLeg};
pub use host_change::{AddressChange, HostChange, NeighbourChange, RouteChange, Setting};
pub use interface::{InterfaceNameError, check_interface_name};
pub use kernel_answer::{KernelAnswer, LinkState};
pub use name::{NameError, NodeName, PodName};
pub use neighbour::{LinkNeighbour, PlaceholderNeighbour};
pub use path_mtu::TooBigReport;
pub use pod_mtu::{MtuChange, PodMtu, VethEnd, VethPeer};
pub use prefix::{Prefix, PrefixError};
pub use source_id::SourceId;
pub use wanted::{
    Attachment, NextHopKey, NextHopSet, NodePath, OwnAddress, Via, Wanted, WantedDatapath, WantedHost,
    WantedRoute,
};
