use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::{StateDefect, address::check_addresses, node::Nodes, raw::RawPod};
use crate::{
    model::{NodeName, Pod, PodName, check_interface_name},
    yaml::{Findings, Located, Place, Structure},
};

/// What the pods read so far have taken.
#[derive(Default)]
struct Taken {
    names: HashMap<PodName, u64>,
    /// By node and address: the pod and its line.
    addresses: HashMap<(NodeName, IpAddr), (String, u64)>,
    /// By node and interface: the pod and its line.
    interfaces: HashMap<(NodeName, String), (String, u64)>,
}

/// The pods of the file.
pub(super) fn check_pods(
    list: Vec<Located<RawPod>>,
    nodes: &Nodes,
    findings: &mut Findings<StateDefect>,
) -> BTreeMap<PodName, Pod> {
    let mut taken = Taken::default();
    let mut pods = BTreeMap::new();
    for (index, raw) in list.into_iter().enumerate() {
        if let Some(pod) = check_pod(&format!("pods[{index}]"), raw, nodes, &mut taken, findings) {
            pods.insert(pod.name.clone(), pod);
        }
    }
    pods
}

/// The pod, or none if its name, node or interface is missing or bad.
fn check_pod(
    field: &str,
    raw: Located<RawPod>,
    nodes: &Nodes,
    taken: &mut Taken,
    findings: &mut Findings<StateDefect>,
) -> Option<Pod> {
    let (whole, raw) = (raw.place, raw.value);
    let name = check_name(field, whole, raw.name, taken, findings);
    // What other findings call this pod by.
    let shown = name.as_ref().map_or_else(|| field.to_owned(), ToString::to_string);
    let node = check_node(field, whole, raw.node, nodes, findings);
    let addresses = check_addresses(raw.addresses, (field, whole), "10.244.1.10", findings);
    for (index, &(address, place)) in addresses.iter().enumerate() {
        let field = format!("{field}.addresses[{index}]");
        if let Some(owner) = nodes.with_address(address) {
            let defect = StateDefect::NodesAddress { address, node: owner.to_string() };
            findings.add(place, field, defect);
        } else if let Some(node) = &node
            && let Some((pod, line)) =
                taken.addresses.insert((node.clone(), address), (shown.clone(), whole.line))
        {
            findings.add(place, field, StateDefect::DuplicatePodAddress { address, pod, line });
        }
    }
    let interface = check_interface(field, whole, raw.interface, findings);
    if let (Some(node), Some((interface, place))) = (&node, &interface) {
        let key = (node.clone(), interface.clone());
        if let Some((pod, line)) = taken.interfaces.insert(key, (shown, whole.line)) {
            let defect = StateDefect::DuplicateInterface { interface: interface.clone(), pod, line };
            findings.add(*place, format!("{field}.interface"), defect);
        }
    }
    let mac =
        raw.mac.and_then(|mac| findings.check(mac.place, format!("{field}.mac"), parse_mac(&mac.value)));
    let origin = nodes.origin(findings.file(), whole);
    let addresses = addresses.into_iter().map(|(address, _)| address).collect();
    Some(Pod { name: name?, node: node?, addresses, interface: interface?.0, mac, origin })
}

fn check_name(
    field: &str,
    whole: Place,
    name: Option<Located<String>>,
    taken: &mut Taken,
    findings: &mut Findings<StateDefect>,
) -> Option<PodName> {
    let field = format!("{field}.name");
    let Some(name) = name else {
        findings.add(whole, field, Structure::Missing { allowed: "the pod's name as NAMESPACE/NAME" });
        return None;
    };
    let place = name.place;
    let name: PodName = findings.check(place, field.as_str(), name.value.parse())?;
    if let Some(&line) = taken.names.get(&name) {
        findings.add(place, field, StateDefect::DuplicatePod { name, line });
        return None;
    }
    taken.names.insert(name.clone(), whole.line);
    Some(name)
}

fn check_node(
    field: &str,
    whole: Place,
    node: Option<Located<String>>,
    nodes: &Nodes,
    findings: &mut Findings<StateDefect>,
) -> Option<NodeName> {
    let field = format!("{field}.node");
    let Some(node) = node else {
        findings.add(whole, field, Structure::Missing { allowed: "name of the node the pod runs on" });
        return None;
    };
    let name: NodeName = findings.check(node.place, field.as_str(), node.value.parse())?;
    if nodes.may_have(&name) {
        return Some(name);
    }
    findings.add(node.place, field, StateDefect::UnknownNode { name, known: nodes.names() });
    None
}

fn check_interface(
    field: &str,
    whole: Place,
    interface: Option<Located<String>>,
    findings: &mut Findings<StateDefect>,
) -> Option<(String, Place)> {
    let field = format!("{field}.interface");
    let Some(interface) = interface else {
        let missing = Structure::Missing { allowed: "name of the host-side interface of the pod's veth" };
        findings.add(whole, field, missing);
        return None;
    };
    findings.check(interface.place, field, check_interface_name(&interface.value))?;
    Some((interface.value, interface.place))
}

/// A unicast MAC address: six bytes in hexadecimal, with colons between them.
fn parse_mac(text: &str) -> Result<[u8; 6], StateDefect> {
    let refused = || StateDefect::Mac { value: text.to_owned() };
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()));
        *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(refused)?;
    }
    let unicast = mac[0] & 1 == 0 && mac != [0; 6];
    if unicast && parts.next().is_none() { Ok(mac) } else { Err(refused()) }
}
