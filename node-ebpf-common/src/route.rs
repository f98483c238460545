/// Value of the routes trie: what a prefix leads to. The key is `aya`'s `Key<[u8; 4]>`: prefix length
/// in bits (host byte order), then the address bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Index into the next-hops array.
    pub next_hop: u32,
    /// Bits of `Route::*`.
    pub flags: u32,
}

impl Route {
    /// The prefix is the address of a remote node, not a range of pods: only what pods send is
    /// encapsulated on the way there.
    pub const NODE_ADDRESS: u32 = 1;
}
