/// Where a program is attached.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// tc ingress of the host side of a pod's veth: what the pod sends.
    FromPod = 0,
    /// tc ingress of an uplink: what other nodes and the outside send.
    FromUplink = 1,
    /// tc egress of an uplink: what the host's stack sends.
    ToUplink = 2,
    /// tc egress of the host side of a pod's veth: what the host's stack delivers to the pod. (What the
    /// programs deliver goes straight to the other side.)
    ToPod = 3,
    /// XDP at an uplink: what other nodes and the outside send, before the kernel makes a packet of its own of
    /// it.
    Xdp = 4,
}

impl Hook {
    /// How many there are.
    pub const COUNT: u32 = 5;

    /// Every hook, in the order of the counters map.
    pub const ALL: [Self; Self::COUNT as usize] =
        [Self::FromPod, Self::FromUplink, Self::ToUplink, Self::ToPod, Self::Xdp];

    /// Those whose programs are tc classifiers.
    pub const CLASSIFIERS: [Self; 4] = [Self::FromPod, Self::FromUplink, Self::ToUplink, Self::ToPod];

    /// The one name it has everywhere: CLI, metrics, docs, pins.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FromPod => "from-pod",
            Self::FromUplink => "from-uplink",
            Self::ToUplink => "to-uplink",
            Self::ToPod => "to-pod",
            Self::Xdp => "xdp",
        }
    }

    /// Name of the program in the BPF object.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::FromUplink => "from_uplink",
            Self::ToUplink => "to_uplink",
            Self::ToPod => "to_pod",
            Self::Xdp => "xdp",
        }
    }

    /// Whether the program is attached to ingress (otherwise to egress).
    #[must_use]
    pub const fn is_ingress(self) -> bool {
        !matches!(self, Self::ToUplink | Self::ToPod)
    }
}
