//! A node as an agent of layout version 1 has left it when it was stopped: its programs run, its maps and links
//! are pinned, its routes are in the kernel.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        links::FdLink,
        tc::{NlOptions, TcAttachOptions, TcHandle, qdisc_add_clsact},
    },
};
use node_ebpf_common::Hook;
use tests::lab::{Endpoint as _, Lab, Node, Pod, Topology};

use crate::layout_1::{
    Counters, Endpoint, HOOKS, MAPS, NODE_ADDRESS, NextHop, Settings, Tables, address, kind,
};

/// Priority and handle of the filters.
const PRIORITY: u16 = 77;
const IPIP_HEADER: u32 = 20;

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Tcx,
    Clsact,
}

/// What has been left on a node.
pub struct OldAgent<'l> {
    pub node: &'l Node,
    /// Its counters, also after they were unpinned.
    pub counters: Counters,
    /// Where its programs are attached: hook and interface.
    pub hooks: Vec<(Hook, String)>,
    pins: PathBuf,
}

impl<'l> OldAgent<'l> {
    /// Puts everything in place, in the order of that agent: maps, programs, kernel routes.
    pub fn install(lab: &'l Lab, node: &'l Node, method: Method) -> Result<Self> {
        let pods: Vec<&Pod> = lab.pods().iter().filter(|pod| pod.node() == node.name()).collect();
        let pins = node.bpffs().join("podroute");
        let mut hooks: Vec<_> = pods.iter().map(|pod| (Hook::FromPod, pod.interface().to_owned())).collect();
        hooks.extend([Hook::FromUplink, Hook::ToUplink].map(|hook| (hook, Node::UPLINK.to_owned())));
        let old = Self { node, counters: load(lab, node, &pods, &pins, method, &hooks)?, hooks, pins };
        set_up_host(lab, node, &pods)?;
        Ok(old)
    }

    /// The folder of its maps.
    pub fn maps(&self) -> PathBuf {
        self.pins.join("v1")
    }
}

/// Loads the object, fills and pins its maps, attaches its programs. All of it outlives the loader.
fn load(
    lab: &Lab,
    node: &Node,
    pods: &[&Pod],
    pins: &Path,
    method: Method,
    hooks: &[(Hook, String)],
) -> Result<Counters> {
    let (maps, links) = (pins.join("v1"), pins.join("links"));
    for folder in [&maps, &links] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let object = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/layout-1/node-ebpf.o"))?;
    let mut loader = EbpfLoader::new();
    loader.btf(None).override_global("AYA_LOG_LEVEL", &0_u8, true);
    for name in MAPS {
        loader.map_pin_path(name, maps.join(name));
    }
    let mut ebpf = loader.load(&object)?;
    tables(lab, node, pods)?.write(&mut ebpf)?;
    for hook in HOOKS {
        program(&mut ebpf, hook)?.load()?;
    }
    for (hook, interface) in hooks {
        let index = node.netns().interface_index(interface)?;
        let pin = links.join(format!("{}-{index}", hook.label()));
        let program = program(&mut ebpf, *hook)?;
        node.netns()
            .run(|| attach(program, *hook, interface, &pin, method))?
            .with_context(|| format!("attaching {} of layout 1 at {interface}", hook.label()))?;
    }
    Counters::open(&maps.join("COUNTERS"))
}

fn program(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier> {
    let program = ebpf.program_mut(hook.program()).context("the object of layout 1 lacks a program")?;
    Ok(program.try_into()?)
}

fn attach(
    program: &mut SchedClassifier,
    hook: Hook,
    interface: &str,
    pin: &Path,
    method: Method,
) -> Result<()> {
    let side = if hook.is_ingress() { TcAttachType::Ingress } else { TcAttachType::Egress };
    let options = match method {
        Method::Tcx => TcAttachOptions::TcxOrder(LinkOrder::default()),
        Method::Clsact => {
            // Two programs share the uplink's qdisc: the second finds it there.
            let _ = qdisc_add_clsact(interface);
            let handle = TcHandle::new(0, 1);
            TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle, classid: None })
        }
    };
    let id = program.attach_with_options(interface, side, options)?;
    let link = program.take_link(id)?;
    match method {
        Method::Tcx => drop(FdLink::try_from(link)?.pin(pin)?),
        // Dropping it would remove the filter.
        Method::Clsact => std::mem::forget(link),
    }
    Ok(())
}

fn v4(of: IpAddr) -> Result<Ipv4Addr> {
    match of {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(v6) => anyhow::bail!("{v6}: layout 1 has no IPv6"),
    }
}

/// The way to another node: kind, gateway and MTU (mode `cross-subnet`).
fn way(node: &Node, other: &Node) -> (u32, IpAddr, u32) {
    let mtu = u32::from(Topology::UPLINK_MTU);
    if node.subnet() == other.subnet() {
        (kind::DIRECT, other.address(), mtu)
    } else {
        (kind::IPIP, node.subnet().gateway(), mtu - IPIP_HEADER)
    }
}

/// What the maps hold.
fn tables(lab: &Lab, node: &Node, pods: &[&Pod]) -> Result<Tables> {
    let own = v4(node.address())?;
    let mut tables =
        Tables { settings: Settings { node_v4: address(own), ..Settings::default() }, ..Tables::default() };
    let host = tables.next_hop(NextHop { kind: kind::HOST, ..NextHop::default() })?;
    let unassigned = tables.next_hop(NextHop { kind: kind::UNASSIGNED, ..NextHop::default() })?;
    let prefix = node.pod_prefix();
    tables.routes.extend([
        (own, 32, host, 0),
        (v4(node.pod_address(1))?, 32, host, 0),
        (v4(prefix.addr())?, prefix.prefix_len(), unassigned, 0),
    ]);
    let uplink = node.netns().interface_index(Node::UPLINK)?;
    for other in lab.nodes().iter().filter(|other| other.name() != node.name()) {
        let (kind, gateway, mtu) = way(node, other);
        let remote = v4(other.address())?;
        let index = tables.next_hop(NextHop {
            kind,
            interface: uplink,
            gateway: address(v4(gateway)?),
            tunnel_source: address(own),
            tunnel_destination: address(remote),
            mtu,
            ..NextHop::default()
        })?;
        let prefix = other.pod_prefix();
        tables.routes.push((remote, 32, index, NODE_ADDRESS));
        tables.routes.push((v4(prefix.addr())?, prefix.prefix_len(), index, 0));
    }
    for pod in pods {
        add_pod(&mut tables, lab, node, pod)?;
    }
    Ok(tables)
}

fn add_pod(tables: &mut Tables, lab: &Lab, node: &Node, pod: &Pod) -> Result<()> {
    let interface = node.netns().interface_index(pod.interface())?;
    let next_hop = tables.next_hop(NextHop {
        kind: kind::LOCAL,
        interface,
        mtu: lab.topology().pod_mtu.into(),
        mac_destination: pod.mac(),
        mac_source: node.netns().mac(pod.interface())?,
        ..NextHop::default()
    })?;
    let v4 = v4(pod.address())?;
    tables.routes.push((v4, 32, next_hop, 0));
    tables.endpoints.push((interface, Endpoint { address_v4: address(v4), ..Endpoint::default() }));
    Ok(())
}

/// Kernel routes, the host's own address, and sysctls.
fn set_up_host(lab: &Lab, node: &Node, pods: &[&Pod]) -> Result<()> {
    let (netns, source, uplink) = (node.netns(), node.pod_address(1), Node::UPLINK);
    netns.set_sysctl("net.ipv4.ip_forward", "1")?;
    let mut lines = format!("address add {source}/32 dev lo label lo:podroute\n");
    lines += &format!("route add blackhole {} proto 77\n", node.pod_prefix());
    for pod in pods {
        let interface = pod.interface();
        netns.set_sysctl(&format!("net.ipv4.conf.{interface}.proxy_arp"), "1")?;
        lines += &format!("route add {} dev {interface} proto 77\n", pod.address());
    }
    for other in lab.nodes().iter().filter(|other| other.name() != node.name()) {
        let (_, gateway, mtu) = way(node, other);
        let prefix = other.pod_prefix();
        lines += &format!(
            "route add {prefix} via {gateway} dev {uplink} onlink src {source} mtu {mtu} proto 77\n"
        );
    }
    netns.ip_batch(&lines)
}

/// A program as the kernel lists it at a hook: number of the link, or the filter's handle, and of the program.
pub type Attached = BTreeMap<(Hook, String), (String, u64)>;

/// What is attached at these hooks.
pub fn attached(node: &Node, hooks: &[(Hook, String)], method: Method) -> Result<Attached> {
    let one = |(hook, interface): &(Hook, String)| {
        let found = match method {
            Method::Tcx => link(node, *hook, interface),
            Method::Clsact => filter(node, *hook, interface),
        };
        let what = || format!("{} at {interface} of {}", hook.label(), node.name());
        Ok(((*hook, interface.clone()), found.with_context(what)?))
    };
    hooks.iter().map(one).collect()
}

fn link(node: &Node, hook: Hook, interface: &str) -> Result<(String, u64)> {
    let index = node.netns().interface_index(interface)?;
    let pin = node.bpffs().join(format!("podroute/links/{}-{index}", hook.label()));
    let shown = node
        .netns()
        .output("bpftool", &["--json", "link", "show", "pinned", pin.to_str().context("a path in UTF-8")?])?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    Ok((shown["id"].to_string(), shown["prog_id"].as_u64().context("the link has no program")?))
}

/// The one filter there.
fn filter(node: &Node, hook: Hook, interface: &str) -> Result<(String, u64)> {
    let side = if hook.is_ingress() { "ingress" } else { "egress" };
    let shown = node.netns().output("tc", &["-json", "filter", "show", "dev", interface, side])?;
    let shown: Vec<serde_json::Value> = serde_json::from_str(&shown)?;
    let filters: Vec<_> = shown.iter().filter(|filter| !filter["options"].is_null()).collect();
    ensure!(filters.len() == 1, "{} filters instead of one: {filters:?}", filters.len());
    let (filter, options) = (filters[0], &filters[0]["options"]);
    let program = &options["prog"];
    ensure!(filter["pref"] == PRIORITY && program["name"] == hook.program(), "a foreign filter: {filter}");
    Ok((options["handle"].to_string(), program["id"].as_u64().context("the filter has no program")?))
}
