use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::{NameError, PodName, Prefix, PrefixError};

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// An address.
    Address(IpAddr),
    /// A pod, by each of its addresses.
    Pod(PodName),
    /// A prefix, with those around it and inside of it.
    Prefix(Prefix),
}

/// Why a text names nothing that can be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It looks like a prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// It looks like a pod's name.
    #[error(transparent)]
    Pod(#[from] NameError),
    /// It looks like nothing.
    #[error(
        "{0:?} is nothing to explain; allowed: an IP address, a prefix (ADDRESS/LENGTH) or a pod (NAMESPACE/NAME)"
    )]
    Unknown(String),
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => Ok(Self::Prefix(text.parse()?)),
            Some(_) => Ok(Self::Pod(text.parse()?)),
            None => Err(SubjectError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Pod(name) => write!(f, "pod {name}"),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// The whole way of a subject through this node: from what the sources say to the neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// What was asked for.
    pub subject: Subject,
    /// This node.
    pub node: String,
    /// Whether no plane disagrees with another one, and the subject can be reached.
    pub healthy: bool,
    /// Each of its addresses, or its prefix.
    pub targets: Vec<Explained>,
}

/// The way to one address or prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explained {
    /// The address (as /32 or /128) or prefix.
    pub target: Prefix,
    /// What becomes of its packets, in a line.
    pub summary: String,
    /// From source to neighbour, in this order.
    pub steps: Vec<Step>,
}

impl Explained {
    /// Every disagreement, in the order of the steps.
    pub fn disagreements(&self) -> impl Iterator<Item = &Disagreement> {
        self.steps.iter().flat_map(|step| &step.disagreements)
    }
}

/// One step of the way: a plane and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// Which.
    pub step: StepKind,
    /// What there is.
    pub rows: Vec<Row>,
    /// Where it does not fit what the steps before say.
    pub disagreements: Vec<Disagreement>,
}

/// The steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// What the sources say.
    Source,
    /// Who claims the prefixes around it, and who gets them.
    Candidates,
    /// How the next hop is reached.
    NextHop,
    /// What the maps hold.
    Bpf,
    /// Which programs run on the way.
    Programs,
    /// What the kernel's routing table holds and answers.
    Kernel,
    /// The kernel's neighbour entry.
    Neighbour,
    /// How large packets may be.
    Mtu,
    /// What was counted and traced.
    Packets,
    /// What is still to be done, and what is wrong.
    Pending,
}

impl StepKind {
    /// Its heading.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Candidates => "Candidates",
            Self::NextHop => "Next hop",
            Self::Bpf => "BPF maps",
            Self::Programs => "Programs",
            Self::Kernel => "Kernel routes",
            Self::Neighbour => "Neighbour",
            Self::Mtu => "MTU",
            Self::Packets => "Packets",
            Self::Pending => "Pending and problems",
        }
    }
}

/// A name and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Two planes that do not agree, or a plane that stops packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disagreement {
    /// What sort.
    pub kind: DisagreementKind,
    /// What does not agree with what.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// Sorts of disagreements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisagreementKind {
    /// A source cannot be read: what it said before is in force.
    SourceFailed,
    /// A source has not told everything yet.
    SourceNotSynced,
    /// Two objects claim the same prefix.
    SourceConflict,
    /// The pod that was asked for does not get its packets.
    NotSelected,
    /// A prefix is selected, but has no next hop.
    NoNextHop,
    /// Packets are dropped, or have no way, as things are meant to be.
    Unreachable,
    /// The routes map lacks the route.
    BpfRouteMissing,
    /// The routes map leads to something else.
    BpfRouteDiffers,
    /// The routes map has a route that nothing states.
    BpfRouteUnwanted,
    /// The brake holds a route that nothing states.
    BrakeHeld,
    /// The next-hop object is not as it should be.
    NextHopDiffers,
    /// The lookup table answers something else than the routes map.
    LookupTableDiffers,
    /// The endpoint of a local pod is not as it should be.
    EndpointDiffers,
    /// A program does not run at an interface on the way.
    ProgramMissing,
    /// Another program of ours runs there.
    ProgramDiffers,
    /// The interface on the way does not exist.
    LinkMissing,
    /// It is down.
    LinkDown,
    /// It has no carrier.
    NoCarrier,
    /// Packets of this family are not forwarded by the kernel.
    ForwardingOff,
    /// The kernel lacks our route.
    KernelRouteMissing,
    /// Our route in the kernel is not as it should be.
    KernelRouteDiffers,
    /// Another program's route takes precedence over ours.
    KernelRouteForeign,
    /// The kernel sends packets elsewhere than the programs do.
    KernelAnswersOtherwise,
    /// The neighbour does not answer.
    NeighbourFailed,
    /// The neighbour has not answered so far.
    NeighbourUnresolved,
    /// The neighbour has another link-layer address than the programs use.
    NeighbourMacDiffers,
    /// Masquerade is on but not in place.
    MasqueradeMissing,
    /// A change that concerns this has failed.
    ChangePending,
    /// A problem of `status` concerns this.
    Problem,
}

impl DisagreementKind {
    /// Every kind.
    #[cfg(test)]
    pub const ALL: [Self; 29] = [
        Self::SourceFailed,
        Self::SourceNotSynced,
        Self::SourceConflict,
        Self::NotSelected,
        Self::NoNextHop,
        Self::Unreachable,
        Self::BpfRouteMissing,
        Self::BpfRouteDiffers,
        Self::BpfRouteUnwanted,
        Self::BrakeHeld,
        Self::NextHopDiffers,
        Self::LookupTableDiffers,
        Self::EndpointDiffers,
        Self::ProgramMissing,
        Self::ProgramDiffers,
        Self::LinkMissing,
        Self::LinkDown,
        Self::NoCarrier,
        Self::ForwardingOff,
        Self::KernelRouteMissing,
        Self::KernelRouteDiffers,
        Self::KernelRouteForeign,
        Self::KernelAnswersOtherwise,
        Self::NeighbourFailed,
        Self::NeighbourUnresolved,
        Self::NeighbourMacDiffers,
        Self::MasqueradeMissing,
        Self::ChangePending,
        Self::Problem,
    ];

    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SourceFailed => "source-failed",
            Self::SourceNotSynced => "source-not-synced",
            Self::SourceConflict => "source-conflict",
            Self::NotSelected => "not-selected",
            Self::NoNextHop => "no-next-hop",
            Self::Unreachable => "unreachable",
            Self::BpfRouteMissing => "bpf-route-missing",
            Self::BpfRouteDiffers => "bpf-route-differs",
            Self::BpfRouteUnwanted => "bpf-route-unwanted",
            Self::BrakeHeld => "brake-held",
            Self::NextHopDiffers => "next-hop-differs",
            Self::LookupTableDiffers => "lookup-table-differs",
            Self::EndpointDiffers => "endpoint-differs",
            Self::ProgramMissing => "program-missing",
            Self::ProgramDiffers => "program-differs",
            Self::LinkMissing => "link-missing",
            Self::LinkDown => "link-down",
            Self::NoCarrier => "no-carrier",
            Self::ForwardingOff => "forwarding-off",
            Self::KernelRouteMissing => "kernel-route-missing",
            Self::KernelRouteDiffers => "kernel-route-differs",
            Self::KernelRouteForeign => "kernel-route-foreign",
            Self::KernelAnswersOtherwise => "kernel-answers-otherwise",
            Self::NeighbourFailed => "neighbour-failed",
            Self::NeighbourUnresolved => "neighbour-unresolved",
            Self::NeighbourMacDiffers => "neighbour-mac-differs",
            Self::MasqueradeMissing => "masquerade-missing",
            Self::ChangePending => "change-pending",
            Self::Problem => "problem",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_told_by_its_look() {
        let parsed = |text: &str| text.parse::<Subject>().map(|subject| subject.to_string());
        for (text, expected) in [
            ("10.244.1.10", "10.244.1.10"),
            ("fd00::1", "fd00::1"),
            ("10.244.1.0/24", "10.244.1.0/24"),
            ("fd00::/64", "fd00::/64"),
            ("default/web-0", "pod default/web-0"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(expected));
        }
        for (text, message) in [
            ("10.244.1.10/24", "10.244.1.10/24 has bits set behind its length: did you mean 10.244.1.0/24?"),
            ("10.244.1.0/33", "is not a prefix"),
            ("default/Web", "is not a valid name"),
            ("10.244", "allowed: an IP address, a prefix (ADDRESS/LENGTH) or a pod (NAMESPACE/NAME)"),
            ("web-0", "is nothing to explain"),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    /// One concept, one word: in JSON, on the terminal, and in the documentation, which lists every kind.
    #[test]
    fn kinds_have_one_name_and_the_documentation_lists_them() {
        let page = include_str!("../../../docs/diagnosis.md");
        for kind in DisagreementKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
            assert!(page.contains(&format!("| `{}` |", kind.label())), "docs/diagnosis.md: {}", kind.label());
        }
    }
}
