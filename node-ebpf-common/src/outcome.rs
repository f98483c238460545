/// What became of a packet, in general.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// The program sent it on by itself.
    Forwarded,
    /// The host's stack got it.
    Stack,
    /// It was dropped.
    Dropped,
}

impl Ending {
    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Stack => "stack",
            Self::Dropped => "dropped",
        }
    }
}

/// Declares [`Outcome`] once; index, label, ending and meaning all derive from this list.
macro_rules! outcomes {
    ($($variant:ident = $index:literal, $label:literal, $ending:ident, $meaning:literal;)*) => {
        /// Every way in which a program can end with a packet. The number is the place in the
        /// counters map, so numbers are never reused.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Outcome {
            $(#[doc = $meaning] $variant = $index,)*
        }

        impl Outcome {
            /// Every outcome, by index.
            pub const ALL: [Self; [$($index),*].len()] = [$(Self::$variant),*];

            /// The one name it has everywhere: CLI, metrics, docs.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// What became of the packet.
            #[must_use]
            #[inline(always)]
            pub const fn ending(self) -> Ending {
                match self { $(Self::$variant => Ending::$ending,)* }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

outcomes! {
    Local = 0, "local", Forwarded, "delivered to a pod on this node";
    Direct = 1, "direct", Forwarded, "sent to the next hop without encapsulation";
    Ipip = 2, "ipip", Forwarded, "sent to the next hop with an IPIP header";
    DecapLocal = 3, "decap-local", Forwarded, "IPIP header removed, delivered to a pod on this node";
    DecapStack = 4, "decap-stack", Stack, "IPIP header removed, handed to the stack";
    StackNotRouted = 5, "stack-not-routed", Stack, "destination is in no pod prefix and no known node";
    StackHost = 6, "stack-host", Stack, "destination is this node";
    StackOtherProtocol = 7, "stack-other-protocol", Stack, "not a unicast IP packet for this host (ARP, broadcast)";
    StackTtl = 8, "stack-ttl", Stack, "time to live ends here: the stack answers";
    StackTooBig = 9, "stack-too-big", Stack, "larger than the path MTU: the stack fragments or answers";
    StackTransit = 10, "stack-transit", Stack, "from an uplink to a remote node's pods";
    StackRouted = 11, "stack-routed", Stack, "leaves as the stack or from-pod routed it";
    DropMalformed = 12, "drop-malformed", Dropped, "IP header is cut short or contradicts itself";
    DropSpoofedSource = 13, "drop-spoofed-source", Dropped, "a pod sent from an address that is not its own";
    DropPodTunnel = 14, "drop-pod-tunnel", Dropped, "a pod sent an IPIP packet of its own";
    DropUnknownTunnelSource = 15, "drop-unknown-tunnel-source", Dropped, "IPIP from an address that is no known node";
    DropSpoofedInnerSource = 16, "drop-spoofed-inner-source", Dropped, "IPIP from a node that does not own the inner source";
    DropNestedTunnel = 17, "drop-nested-tunnel", Dropped, "IPIP inside IPIP";
    DropTunnelNotLocal = 18, "drop-tunnel-not-local", Dropped, "IPIP to this node for an inner destination that is not here";
    DropTunnelFragment = 19, "drop-tunnel-fragment", Dropped, "a fragment of an IPIP packet";
    DropUnassigned = 20, "drop-unassigned", Dropped, "in this node's pod prefixes, but no pod has the address";
    DropNoNextHop = 21, "drop-no-next-hop", Dropped, "the route names a next hop that does not exist";
    DropTooBig = 22, "drop-too-big", Dropped, "does not fit the path MTU once encapsulated";
    DropCongestionMark = 23, "drop-congestion-mark", Dropped, "outer header says congestion, inner cannot carry it (RFC 6040)";
    DropRewriteFailed = 24, "drop-rewrite-failed", Dropped, "the kernel refused to add or remove a header";
    StackTranslated = 25, "stack-translated", Stack, "netfilter translates this flow (a Service): the stack sees all of it";
    DropSpoofedUplinkSource = 26, "drop-spoofed-uplink-source", Dropped, "came in on an uplink from an address of this node's own";
    Transit = 27, "transit", Forwarded, "sent on to another node, past the stack";
    DecapPass = 28, "decap-pass", Stack, "IPIP header removed, passed on to tc";
    Pass = 29, "pass", Stack, "left to the tc program";
}
