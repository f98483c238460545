use std::fmt;

/// Declares the kinds once; name and list derive from it.
macro_rules! object_kinds {
    ($($(#[$doc:meta])* $kind:ident = $label:literal,)*) => {
        /// What sort of object a change is about: few enough to be counted apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ChangeObject {
            $($(#[$doc])* $kind,)*
        }

        impl ChangeObject {
            /// Every kind.
            pub const ALL: [Self; [$($label),*].len()] = [$(Self::$kind),*];

            /// The one name it has everywhere.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }
        }
    };
}

object_kinds! {
    /// The node's own settings in the maps.
    Settings = "settings",
    /// A next-hop object in the maps.
    NextHop = "next-hop",
    /// A next-hop group in the maps.
    NextHopGroup = "next-hop-group",
    /// A pod's interface in the maps.
    Endpoint = "endpoint",
    /// A route in the maps.
    Route = "route",
    /// A program at an interface.
    Program = "program",
    /// The maps of another layout.
    Layout = "layout",
    /// The datapath as a whole, when it is read back.
    Datapath = "datapath",
    /// A sysctl.
    Sysctl = "sysctl",
    /// An address of ours on an interface.
    Address = "address",
    /// A neighbour of ours in the kernel's table.
    Neighbour = "neighbour",
    /// A route of ours in the kernel's table.
    KernelRoute = "kernel-route",
    /// The MTU of a pod's veth.
    Mtu = "mtu",
    /// The masquerade table.
    Masquerade = "masquerade",
    /// The kernel's own tables as a whole, when none of them can be read or written.
    Host = "host",
}

impl fmt::Display for ChangeObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}
