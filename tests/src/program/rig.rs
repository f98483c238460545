//! The object loaded with a small cluster's tables, and one run of a program.

use std::{env, fs, net::IpAddr, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, LpmTrie, Map, PerCpuArray, lpm_trie::Key},
    programs::SchedClassifier,
};
use ipnet::IpNet;
use node_ebpf_common::{
    Address, Counter, Endpoint, Flow, Hook, NextHop, NextHopGroup, Outcome, Route, Settings, SourceCheck,
    TRACE_ON, XDP_DECAP, counter_index, map_name,
};

pub use super::cluster::*;
use super::table::Table;

/// Verdicts (linux/pkt_cls.h). On to the next program, and in the end to the stack.
pub const TC_ACT_UNSPEC: u32 = u32::MAX;
/// Dropped.
pub const TC_ACT_SHOT: u32 = 2;
/// Redirected.
pub const TC_ACT_REDIRECT: u32 = 7;

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
    /// Its maps and programs.
    pub ebpf: Ebpf,
    /// The writer of the lookup table, if that is filled: without, programs ask the trie.
    pub table: Option<Table>,
}

/// Context fields that a run starts with.
#[derive(Debug, Default, Clone, Copy)]
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
    #[expect(clippy::new_without_default, reason = "it loads programs into the kernel")]
    pub fn new() -> Self {
        Self::with_log_level(0)
    }

    /// Loads the object with log messages up to this level (`aya_log_common::Level`).
    pub fn with_log_level(level: u8) -> Self {
        Self::load(level, false)
    }

    /// Loads the object with log messages up to this level, and with tracing or without.
    pub fn load(level: u8, trace: bool) -> Self {
        Self::load_with(level, trace, false)
    }

    /// The same, with an XDP program that takes outer headers off or not.
    pub fn load_with(level: u8, trace: bool, decap: bool) -> Self {
        // Nothing in the object is relocated against the kernel's types, so those need not be read.
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("AYA_LOG_LEVEL", &level, true)
            .override_global(TRACE_ON, &u8::from(trace), true)
            .override_global(XDP_DECAP, &u8::from(decap), true)
            .load(&object())
            .unwrap_or_else(|error| {
                panic!("cannot load the BPF object (root? `sudo cargo xtask test`): {error:#?}")
            });
        for hook in Hook::CLASSIFIERS {
            let program: &mut SchedClassifier =
                ebpf.program_mut(hook.program()).expect("program").try_into().expect("a classifier");
            program.load().unwrap_or_else(|error| panic!("verifier: {}: {error:#?}", hook.label()));
        }
        let mut rig = Self { ebpf, table: None };
        rig.fill(&Cluster::new());
        rig
    }

    fn fill(&mut self, cluster: &Cluster) {
        Array::<_, Settings>::try_from(self.map(map_name::SETTINGS))
            .expect("array")
            .set(0, cluster.settings, 0)
            .expect("settings");
        for (index, next_hop) in &cluster.next_hops {
            self.set_next_hop(*index, *next_hop);
        }
        for (index, group) in &cluster.groups {
            self.set_group(*index, *group);
        }
        for (prefix, route) in &cluster.routes {
            self.set_route(*prefix, *route);
        }
        self.set_endpoint(cluster.endpoint);
    }

    /// A map, by its name in the object.
    pub fn map(&mut self, name: &str) -> &mut Map {
        self.ebpf.map_mut(name).expect("map")
    }

    /// Writes a next-hop object.
    pub fn set_next_hop(&mut self, index: u32, next_hop: NextHop) {
        Array::<_, NextHop>::try_from(self.map(map_name::NEXT_HOPS))
            .expect("array")
            .set(index, next_hop, 0)
            .expect("next hop");
    }

    /// Writes a next-hop group.
    pub fn set_group(&mut self, index: u32, group: NextHopGroup) {
        Array::<_, NextHopGroup>::try_from(self.map(map_name::NEXT_HOP_GROUPS))
            .expect("array")
            .set(index, group, 0)
            .expect("next-hop group");
    }

    /// Writes a route.
    pub fn set_route(&mut self, prefix: IpNet, route: Route) {
        let length = u32::from(prefix.prefix_len());
        match prefix.addr() {
            IpAddr::V4(v4) => LpmTrie::<_, [u8; 4], Route>::try_from(self.map(map_name::ROUTES_V4))
                .expect("trie")
                .insert(&Key::new(length, v4.octets()), route, 0),
            IpAddr::V6(v6) => LpmTrie::<_, [u8; 16], Route>::try_from(self.map(map_name::ROUTES_V6))
                .expect("trie")
                .insert(&Key::new(length, v6.octets()), route, 0),
        }
        .expect("route");
    }

    /// Sets which sources the pod may send from.
    pub fn set_source_check(&mut self, check: SourceCheck) {
        self.set_endpoint(Endpoint { source_check: check as u32, ..Cluster::new().endpoint });
    }

    fn set_endpoint(&mut self, endpoint: Endpoint) {
        HashMap::<_, u32, Endpoint>::try_from(self.map(map_name::ENDPOINTS))
            .expect("hash")
            .insert(LOOPBACK, endpoint, 0)
            .expect("endpoint");
    }

    /// Whether the flow is known as one that netfilter translates.
    pub fn is_translated(&mut self, flow: &Flow<Address>) -> bool {
        if flow.local.is_v4() {
            let flow = Flow {
                local: flow.local.v4_word(),
                remote: flow.remote.v4_word(),
                local_port: flow.local_port,
                remote_port: flow.remote_port,
                protocol: flow.protocol,
            };
            let map = HashMap::<_, Flow<u32>, u64>::try_from(self.map(map_name::TRANSLATED_V4));
            map.expect("hash").get(&flow, 0).is_ok()
        } else {
            let map = HashMap::<_, Flow<Address>, u64>::try_from(self.map(map_name::TRANSLATED_V6));
            map.expect("hash").get(flow, 0).is_ok()
        }
    }

    /// The loaded program.
    pub fn program(&mut self, hook: Hook) -> &mut SchedClassifier {
        self.ebpf.program_mut(hook.program()).expect("program").try_into().expect("a classifier")
    }

    /// The counter of an outcome.
    pub fn counter(&self, hook: Hook, outcome: Outcome) -> Counter {
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
        let run = |rig: &mut Self| rig.run_raw(hook, packet, context);
        let ((verdict, mark, data), outcome, counter) = self.counted(hook, run);
        Run { verdict, data, outcome, counter, mark }
    }

    /// Makes one run of a hook's program and finds the one counter that moved.
    pub fn counted<R>(&mut self, hook: Hook, run: impl FnOnce(&mut Self) -> R) -> (R, Outcome, Counter) {
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

    /// Runs a program once; returns verdict, mark and packet.
    pub fn run_raw(&mut self, hook: Hook, packet: &[u8], context: Context) -> (u32, u32, Vec<u8>) {
        let (mut data, mut context_out) = (vec![0; packet.len() + 64], vec![0; CONTEXT_LENGTH]);
        let result = self
            .program(hook)
            .test_run(TestRunOptions {
                data_in: Some(packet),
                data_out: Some(&mut data),
                ctx_in: Some(&context.bytes()),
                ctx_out: Some(&mut context_out),
                ..TestRunOptions::default()
            })
            .unwrap_or_else(|error| panic!("test run: {error}: {context:?} {packet:02x?}"));
        data.truncate(result.data_size_out as usize);
        (result.return_value, mark_of(&context_out), data)
    }
}

/// Size of `struct __sk_buff` up to `gso_size`, and the offsets in it (uapi/linux/bpf.h).
const CONTEXT_LENGTH: usize = 192;
const OFFSET_MARK: usize = 8;
const OFFSET_GSO_SEGMENTS: usize = 164;
const OFFSET_GSO_SIZE: usize = 176;

fn mark_of(context: &[u8]) -> u32 {
    u32::from_ne_bytes(context[OFFSET_MARK..OFFSET_MARK + 4].try_into().expect("4 bytes"))
}

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
