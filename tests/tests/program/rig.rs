//! The object loaded with a small cluster's tables, and one run of a program.

use std::{env, fs, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, DevMapHash, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    programs::{SchedClassifier, Xdp},
};
use node_ebpf_common::{
    Address, Counter, Endpoint, Hook, NextHop, NextHopKind, Outcome, Route, Settings, SourceCheck, Uplink,
    counter_index, map_name,
};

/// Verdicts (linux/pkt_cls.h). On to the next program, and in the end to the stack.
pub const TC_ACT_UNSPEC: u32 = u32::MAX;
/// Dropped.
pub const TC_ACT_SHOT: u32 = 2;
/// Redirected.
pub const TC_ACT_REDIRECT: u32 = 7;

/// This node.
pub const NODE: [u8; 4] = [10, 0, 1, 11];
/// This node's address in its own pod range.
pub const HOST: [u8; 4] = [10, 244, 1, 1];
/// The pod behind the interface that test runs happen on.
pub const POD: [u8; 4] = [10, 244, 1, 10];
/// A second address of that pod.
pub const POD_SECOND: [u8; 4] = [10, 244, 1, 110];
/// Another pod on this node.
pub const LOCAL_POD: [u8; 4] = [10, 244, 1, 11];
/// An address of this node's pod prefix that no pod has.
pub const UNASSIGNED: [u8; 4] = [10, 244, 1, 200];
/// An adjacent node and a pod on it.
pub const DIRECT_NODE: [u8; 4] = [10, 0, 1, 12];
/// A pod on the adjacent node.
pub const DIRECT_POD: [u8; 4] = [10, 244, 2, 10];
/// The gateway of this node's subnet.
pub const GATEWAY: [u8; 4] = [10, 0, 1, 1];
/// A node behind the gateway.
pub const IPIP_NODE: [u8; 4] = [10, 0, 2, 11];
/// A pod on the node behind the gateway.
pub const IPIP_POD: [u8; 4] = [10, 244, 3, 10];
/// An address outside of the cluster.
pub const OUTSIDE: [u8; 4] = [192, 0, 2, 7];
/// MAC inside `LOCAL_POD`.
pub const LOCAL_POD_MAC: [u8; 6] = [2, 0, 0, 0, 1, 11];
/// MAC of the host side of `LOCAL_POD`'s veth.
pub const HOST_SIDE_MAC: [u8; 6] = [0xee; 6];

/// Test runs happen on the loopback unless told otherwise.
const LOOPBACK: u32 = 1;
const LOCAL_POD_INTERFACE: u32 = 5;
const UPLINK: u32 = 3;
/// Index of the next hop of `LOCAL_POD`.
pub const LOCAL_NEXT_HOP: u32 = 4;
/// Index of the next hop of `DIRECT_NODE`.
pub const DIRECT_NEXT_HOP: u32 = 5;
/// Index of the next hop of `IPIP_NODE`.
pub const IPIP_NEXT_HOP: u32 = 6;
const BROKEN_NEXT_HOP: u32 = 99;

/// What a run gave.
pub struct Run {
    /// The verdict.
    pub verdict: u32,
    /// The packet afterwards.
    pub data: Vec<u8>,
    /// The one outcome that was counted.
    pub outcome: Outcome,
    /// Its counter.
    pub counter: Counter,
    /// `skb->mark` afterwards.
    pub mark: u32,
}

/// A loaded object.
pub struct Rig {
    ebpf: Ebpf,
}

/// Context fields that a run starts with.
#[derive(Default, Clone, Copy)]
pub struct Context {
    /// `skb->mark`.
    pub mark: u32,
    /// `gso_size`: makes the packet a super-packet.
    pub gso_size: u32,
}

fn object() -> Vec<u8> {
    let path = env::var_os("PODROUTE_EBPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/node-ebpf.o"),
        PathBuf::from,
    );
    fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "cannot read the BPF object {}: {error}; build it with `cargo xtask build-ebpf`",
            path.display()
        )
    })
}

impl Rig {
    /// Loads the object with log messages off, and fills the tables.
    pub fn new() -> Self {
        Self::with_log_level(0)
    }

    /// Loads the object with log messages up to this level (`aya_log_common::Level`).
    pub fn with_log_level(level: u8) -> Self {
        Self::load(level, 0)
    }

    /// Loads the object with the XDP program as for the mode `decap`.
    pub fn with_decap() -> Self {
        Self::load(0, 1)
    }

    fn load(level: u8, decap: u8) -> Self {
        // Nothing in the object is relocated against the kernel's types, so those need not be read.
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("AYA_LOG_LEVEL", &level, true)
            .override_global("XDP_DECAP", &decap, true)
            .load(&object())
            .unwrap_or_else(|error| {
                panic!("cannot load the BPF object (root? `sudo cargo xtask test`): {error:#?}")
            });
        for hook in Hook::CLASSIFIERS {
            let program: &mut SchedClassifier =
                ebpf.program_mut(hook.program()).expect("program").try_into().expect("a classifier");
            program.load().unwrap_or_else(|error| panic!("verifier: {}: {error:#?}", hook.label()));
        }
        let program: &mut Xdp =
            ebpf.program_mut(Hook::Xdp.program()).expect("program").try_into().expect("an XDP program");
        program.load().unwrap_or_else(|error| panic!("verifier: xdp: {error:#?}"));
        let mut rig = Self { ebpf };
        rig.fill();
        rig
    }

    fn fill(&mut self) {
        let settings = Settings { node_v4: Address::from_v4(NODE), node_v6: Address::NONE };
        Array::<_, Settings>::try_from(self.ebpf.map_mut(map_name::SETTINGS).expect("map"))
            .expect("array")
            .set(0, settings, 0)
            .expect("settings");
        let hop = |kind: NextHopKind, interface, gateway, node, mtu| NextHop {
            identity: 1,
            kind: kind as u32,
            interface,
            gateway: Address::from_v4(gateway),
            tunnel_source: Address::from_v4(NODE),
            tunnel_destination: Address::from_v4(node),
            mtu,
            ..NextHop::default()
        };
        let none = [0; 4];
        self.set_next_hop(1, hop(NextHopKind::Host, 0, none, none, 65_535));
        self.set_next_hop(2, hop(NextHopKind::Unassigned, 0, none, none, 65_535));
        self.set_next_hop(3, hop(NextHopKind::LocalPod, LOOPBACK, none, none, 1_500));
        let local = hop(NextHopKind::LocalPod, LOCAL_POD_INTERFACE, none, none, 1_500);
        self.set_next_hop(
            LOCAL_NEXT_HOP,
            NextHop { mac_destination: LOCAL_POD_MAC, mac_source: HOST_SIDE_MAC, ..local },
        );
        self.set_next_hop(DIRECT_NEXT_HOP, hop(NextHopKind::Direct, UPLINK, DIRECT_NODE, DIRECT_NODE, 1_500));
        self.set_next_hop(IPIP_NEXT_HOP, hop(NextHopKind::Ipip, UPLINK, GATEWAY, IPIP_NODE, 1_480));
        for (address, length, next_hop, flags) in [
            (NODE, 32, 1, 0),
            (HOST, 32, 1, 0),
            ([10, 244, 1, 0], 24, 2, 0),
            (POD, 32, 3, 0),
            (POD_SECOND, 32, 3, 0),
            (LOCAL_POD, 32, LOCAL_NEXT_HOP, 0),
            ([10, 244, 2, 0], 24, DIRECT_NEXT_HOP, 0),
            (DIRECT_NODE, 32, DIRECT_NEXT_HOP, Route::NODE_ADDRESS),
            ([10, 244, 3, 0], 24, IPIP_NEXT_HOP, 0),
            (IPIP_NODE, 32, IPIP_NEXT_HOP, Route::NODE_ADDRESS),
            ([10, 244, 9, 0], 24, BROKEN_NEXT_HOP, 0),
        ] {
            self.set_route(address, length, Route { next_hop, flags });
        }
        self.set_source_check(SourceCheck::Strict);
    }

    /// Writes a next-hop object.
    pub fn set_next_hop(&mut self, index: u32, next_hop: NextHop) {
        Array::<_, NextHop>::try_from(self.ebpf.map_mut(map_name::NEXT_HOPS).expect("map"))
            .expect("array")
            .set(index, next_hop, 0)
            .expect("next hop");
    }

    /// Writes a route.
    pub fn set_route(&mut self, address: [u8; 4], length: u32, route: Route) {
        LpmTrie::<_, [u8; 4], Route>::try_from(self.ebpf.map_mut(map_name::ROUTES_V4).expect("map"))
            .expect("trie")
            .insert(&Key::new(length, address), route, 0)
            .expect("route");
    }

    /// Writes an IPv6 route.
    pub fn set_route_v6(&mut self, address: [u8; 16], length: u32, next_hop: u32) {
        LpmTrie::<_, [u8; 16], Route>::try_from(self.ebpf.map_mut(map_name::ROUTES_V6).expect("map"))
            .expect("trie")
            .insert(&Key::new(length, address), Route { next_hop, flags: 0 }, 0)
            .expect("route");
    }

    /// Reads a next-hop object.
    pub fn next_hop(&mut self, index: u32) -> NextHop {
        Array::<_, NextHop>::try_from(self.ebpf.map_mut(map_name::NEXT_HOPS).expect("map"))
            .expect("array")
            .get(&index, 0)
            .expect("next hop")
    }

    /// Sets which sources the pod may send from.
    pub fn set_source_check(&mut self, check: SourceCheck) {
        let endpoint =
            Endpoint { address_v4: Address::from_v4(POD), source_check: check as u32, ..Endpoint::default() };
        HashMap::<_, u32, Endpoint>::try_from(self.ebpf.map_mut(map_name::ENDPOINTS).expect("map"))
            .expect("hash")
            .insert(LOOPBACK, endpoint, 0)
            .expect("endpoint");
    }

    /// The loaded program.
    pub fn program(&mut self, hook: Hook) -> &mut SchedClassifier {
        self.ebpf.program_mut(hook.program()).expect("program").try_into().expect("a classifier")
    }

    /// The loaded XDP program.
    pub fn xdp(&mut self) -> &mut Xdp {
        self.ebpf.program_mut(Hook::Xdp.program()).expect("program").try_into().expect("an XDP program")
    }

    /// Tells the XDP program of an uplink.
    pub fn set_uplink(&mut self, interface: u32, uplink: Uplink) {
        HashMap::<_, u32, Uplink>::try_from(self.ebpf.map_mut(map_name::UPLINKS).expect("map"))
            .expect("hash")
            .insert(interface, uplink, 0)
            .expect("uplink");
    }

    /// Lets the XDP program send out through an interface.
    pub fn set_device(&mut self, interface: u32) {
        DevMapHash::try_from(self.ebpf.map_mut(map_name::DEVICES).expect("map"))
            .expect("device map")
            .insert(interface, interface, None, 0)
            .expect("device");
    }

    /// Takes that back.
    pub fn remove_device(&mut self, interface: u32) {
        DevMapHash::try_from(self.ebpf.map_mut(map_name::DEVICES).expect("map"))
            .expect("device map")
            .remove(interface)
            .expect("device");
    }

    fn counter(&self, hook: Hook, outcome: Outcome) -> Counter {
        let counters = PerCpuArray::<_, Counter>::try_from(self.ebpf.map(map_name::COUNTERS).expect("map"))
            .expect("array");
        let each = counters.get(&counter_index(hook, outcome), 0).expect("counter");
        each.iter().fold(Counter::default(), |sum, cpu| Counter {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
        })
    }

    /// Runs a program once and finds the one counter that moved.
    pub fn run(&mut self, hook: Hook, packet: &[u8]) -> Run {
        self.run_with(hook, packet, Context::default())
    }

    /// Runs a program once in a context.
    pub fn run_with(&mut self, hook: Hook, packet: &[u8], context: Context) -> Run {
        let (mut data, mut context_out) = (vec![0; packet.len() + 64], vec![0; CONTEXT_LENGTH]);
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut data),
            ctx_in: Some(&context.bytes()),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::default()
        };
        let (result, outcome, counter) =
            self.counted(hook, |rig| rig.program(hook).test_run(options).expect("test run"));
        data.truncate(result.data_size_out as usize);
        let mark = u32::from_ne_bytes(context_out[8..12].try_into().expect("4 bytes"));
        Run { verdict: result.return_value, data, outcome, counter, mark }
    }

    /// Runs the XDP program once, on a frame that comes in on the loopback.
    pub fn run_xdp(&mut self, packet: &[u8]) -> Run {
        let mut data = vec![0; packet.len() + 64];
        let options =
            TestRunOptions { data_in: Some(packet), data_out: Some(&mut data), ..TestRunOptions::default() };
        let (result, outcome, counter) =
            self.counted(Hook::Xdp, |rig| rig.xdp().test_run(options).expect("test run"));
        data.truncate(result.data_size_out as usize);
        Run { verdict: result.return_value, data, outcome, counter, mark: 0 }
    }

    /// Makes one run of a hook's program and finds the one counter that moved.
    fn counted<R>(&mut self, hook: Hook, run: impl FnOnce(&mut Self) -> R) -> (R, Outcome, Counter) {
        let before: Vec<Counter> = Outcome::ALL.iter().map(|&outcome| self.counter(hook, outcome)).collect();
        let result = run(self);
        let moved: Vec<(Outcome, Counter)> = Outcome::ALL
            .iter()
            .zip(before)
            .filter_map(|(&outcome, before)| {
                let now = self.counter(hook, outcome);
                (now != before).then_some((
                    outcome,
                    Counter { packets: now.packets - before.packets, bytes: now.bytes - before.bytes },
                ))
            })
            .collect();
        let [(outcome, counter)] = moved[..] else {
            panic!("a packet must be counted under exactly one outcome, not {moved:?}")
        };
        (result, outcome, counter)
    }

    /// Runs a program that counts nothing.
    pub fn run_uncounted(&mut self, hook: Hook, packet: &[u8], context: Context) -> (u32, u32) {
        let mut context_out = vec![0; CONTEXT_LENGTH];
        let result = self
            .program(hook)
            .test_run(TestRunOptions {
                data_in: Some(packet),
                ctx_in: Some(&context.bytes()),
                ctx_out: Some(&mut context_out),
                ..TestRunOptions::default()
            })
            .expect("test run");
        (result.return_value, u32::from_ne_bytes(context_out[8..12].try_into().expect("4 bytes")))
    }
}

/// Size of `struct __sk_buff` up to `gso_size`, and the offsets in it (uapi/linux/bpf.h).
const CONTEXT_LENGTH: usize = 192;
const OFFSET_MARK: usize = 8;
const OFFSET_GSO_SEGMENTS: usize = 164;
const OFFSET_GSO_SIZE: usize = 176;

impl Context {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; CONTEXT_LENGTH];
        bytes[OFFSET_MARK..OFFSET_MARK + 4].copy_from_slice(&self.mark.to_ne_bytes());
        if self.gso_size > 0 {
            bytes[OFFSET_GSO_SEGMENTS..OFFSET_GSO_SEGMENTS + 4].copy_from_slice(&2_u32.to_ne_bytes());
        }
        bytes[OFFSET_GSO_SIZE..OFFSET_GSO_SIZE + 4].copy_from_slice(&self.gso_size.to_ne_bytes());
        bytes
    }
}
