use super::{AttachmentPoint, MapChange};
use crate::model::{Attachment, ChangeObject};

impl MapChange {
    /// What sort of object it changes.
    #[must_use]
    pub const fn object_kind(&self) -> ChangeObject {
        match self {
            Self::SetSettings(_) => ChangeObject::Settings,
            Self::SetNextHop { .. } | Self::FreeNextHop { .. } => ChangeObject::NextHop,
            Self::SetGroup { .. } | Self::FreeGroup { .. } => ChangeObject::NextHopGroup,
            Self::SetEndpoint { .. } | Self::DeleteEndpoint { .. } => ChangeObject::Endpoint,
            Self::SetRoute { .. } | Self::DeleteRoute { .. } => ChangeObject::Route,
            Self::Attach(_) | Self::Detach(_) => ChangeObject::Program,
            Self::RemoveLayout { .. } => ChangeObject::Layout,
        }
    }

    /// What it changes, whatever it makes of it.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::SetSettings(_) => "settings in the maps".to_owned(),
            // Another attempt may put it elsewhere.
            Self::SetNextHop { next_hop, .. } => format!("next-hop object {:016x}", next_hop.identity),
            Self::FreeNextHop { index } => format!("next hop {index} in the maps"),
            Self::SetGroup { group, .. } => format!("next-hop group {:016x}", group.identity),
            Self::FreeGroup { index } => format!("next-hop group {index} in the maps"),
            Self::SetEndpoint { link, .. } | Self::DeleteEndpoint { link } => {
                format!("endpoint {link} in the maps")
            }
            Self::SetRoute { prefix, .. } | Self::DeleteRoute { prefix } => {
                format!("route {prefix} in the maps")
            }
            Self::Attach(Attachment { link, hook, .. }) | Self::Detach(AttachmentPoint { link, hook }) => {
                format!("{} at interface {link}", hook.label())
            }
            Self::RemoveLayout { version } => format!("maps of layout {version}"),
        }
    }
}
