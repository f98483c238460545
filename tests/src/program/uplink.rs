//! A network namespace with an uplink in it, for programs that ask the kernel's own tables.

use std::{process::Command, thread};

use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};
use node_ebpf_common::{NextHop, Uplink};

use super::{
    cluster::{DIRECT_NEXT_HOP, DIRECT_NEXT_HOP_V6, IPIP_NEXT_HOP, LOOPBACK},
    rig::Rig,
};

/// The uplink's link-layer address.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// Runs the body in a network namespace of its own, which ends with it, beside an interface `up0` that has this node's
/// addresses. The body gets its index.
pub fn beside_an_uplink<R: Send>(body: impl FnOnce(u32) -> R + Send) -> R {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (root?)");
        ip("link set lo up");
        ip("link add up0 address 02:00:00:00:00:11 type veth peer name other");
        ip("link set other up");
        ip("link set up0 up");
        ip("address add 10.0.1.11/24 dev up0");
        ip("address add fd00:0:0:1::11/64 dev up0 nodad");
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{path}"), "1").expect("forwarding");
        }
        body(if_nametoindex("up0").expect("up0"))
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Runs `ip` with these arguments.
pub fn ip(arguments: &str) {
    let ended = Command::new("ip").args(arguments.split(' ')).status().expect("ip");
    assert!(ended.success(), "ip {arguments}");
}

impl Rig {
    /// Tells the XDP program that test runs come in on an uplink, and that the next hops are behind this one.
    pub fn add_uplink(&mut self, interface: u32) {
        self.set_uplink(LOOPBACK, Uplink::default());
        self.set_uplink(interface, Uplink { mac: OWN_MAC, flags: 0 });
        for index in [DIRECT_NEXT_HOP, IPIP_NEXT_HOP, DIRECT_NEXT_HOP_V6] {
            let next_hop = NextHop { interface, ..self.next_hop(index) };
            self.set_next_hop(index, next_hop);
        }
    }
}
