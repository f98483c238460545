/// Version of everything pinned. Part of the pin path, so that a map of another layout is never opened.
pub const LAYOUT_VERSION: u32 = 3;

/// Prefixes that the routes map of one address family may hold. The trie allocates as it fills.
pub const MAX_ROUTES: u32 = 1 << 20;

/// Next-hop objects: one for each remote node, each local pod and each member of a group.
pub const MAX_NEXT_HOPS: u32 = 16_384;

/// Next-hop groups: one for each next-hop object whose way is chosen for each flow.
pub const MAX_NEXT_HOP_GROUPS: u32 = 1_024;

/// Local pods' interfaces.
pub const MAX_ENDPOINTS: u32 = 4_096;

/// Uplinks that the XDP program knows.
pub const MAX_UPLINKS: u32 = 64;

/// Flows of each address family that netfilter translates (Services). The least recently used goes first.
pub const MAX_TRANSLATED_FLOWS: u32 = 131_072;

/// Pairs of addresses that can be told apart when asked whether a flow between them may be translated: one byte each.
pub const TRANSLATED_PAIRS: u32 = 1 << 18;

/// How many of them a value of the map holds.
pub const TRANSLATED_PAIRS_CHUNK: u32 = 1 << 12;

/// Bit of `skb->mark` that says "from-pod has routed this packet": to-uplink clears it and lets the
/// packet go. It lives only between the two programs of one host. kube-proxy uses 0x4000 and 0x8000,
/// Calico the upper 16 bits, Cilium 0x0f00.
pub const MARK_FORWARDED: u32 = 0x0000_0020;

/// Bit of `skb->mark` that says "a program gave this to the stack because its destination is no pod, or
/// its flow is translated". Where it then leaves for a pod, netfilter has translated it, as kube-proxy does
/// for Services, and its flow is remembered.
pub const MARK_TRANSLATABLE: u32 = 0x0000_0040;

/// Name of the constant that says whether the XDP program takes outer headers off (1) or not (0).
pub const XDP_DECAP: &str = "XDP_DECAP";

/// Names of the maps: of the symbol in the object and of the pin.
pub mod map_name {
    /// IPv4 routes: LPM trie of prefix → [`crate::Route`].
    pub const ROUTES_V4: &str = "ROUTES_V4";
    /// IPv6 routes, likewise.
    pub const ROUTES_V6: &str = "ROUTES_V6";
    /// The IPv4 lookup table in front of the trie: array of [`crate::LookupChunk`], for user space to map.
    pub const LOOKUP_V4: &str = "LOOKUP_V4";
    /// Array of [`crate::NextHop`].
    pub const NEXT_HOPS: &str = "NEXT_HOPS";
    /// Array of [`crate::NextHopGroup`].
    pub const NEXT_HOP_GROUPS: &str = "NEXT_HOP_GROUPS";
    /// Hash of interface index → [`crate::Endpoint`].
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// Array of one [`crate::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// Per-CPU array of [`crate::Counter`], indexed by [`crate::counter_index`].
    pub const COUNTERS: &str = "COUNTERS";

    /// IPv4 flows that netfilter translates: LRU hash of [`crate::Flow`] → time of its first packet in
    /// nanoseconds since boot.
    pub const TRANSLATED_V4: &str = "TRANSLATED_V4";
    /// IPv6 flows, likewise.
    pub const TRANSLATED_V6: &str = "TRANSLATED_V6";

    /// Which pairs of addresses have had a translated flow between them, of both families: array of
    /// [`crate::TRANSLATED_PAIRS_CHUNK`] bytes, each 0 or 1. A byte that is set stays.
    pub const TRANSLATED_PAIRS: &str = "TRANSLATED_PAIRS";

    /// Hash of interface index → [`crate::Uplink`]: where the XDP program runs.
    pub const UPLINKS: &str = "UPLINKS";
    /// Device map of interface index → the same: the uplinks that the XDP program may send out through.
    pub const DEVICES: &str = "DEVICES";
    /// Array of one [`crate::TraceFilter`]. This and the other maps of tracing are not pinned: they live as
    /// long as the programs that were loaded with them.
    pub const TRACE_FILTER: &str = "TRACE_FILTER";
    /// Ring buffer of [`crate::TraceEvent`].
    pub const TRACE_EVENTS: &str = "TRACE_EVENTS";
    /// Per-CPU array of one [`crate::TraceState`].
    pub const TRACE_STATE: &str = "TRACE_STATE";

    /// Every map that is pinned.
    pub const ALL: [&str; 13] = [
        ROUTES_V4,
        ROUTES_V6,
        LOOKUP_V4,
        NEXT_HOPS,
        NEXT_HOP_GROUPS,
        ENDPOINTS,
        SETTINGS,
        COUNTERS,
        TRANSLATED_V4,
        TRANSLATED_V6,
        TRANSLATED_PAIRS,
        UPLINKS,
        DEVICES,
    ];
}
