//! The rules of the iptables mode.

use std::{
    fmt::{self, Write},
    net::SocketAddr,
};

use ipnet::IpNet;

use super::{MASQUERADE, PROTOCOLS, Policy, Service, TARGET_PORT};

/// Both tables, as input for `iptables-restore`.
pub(super) fn rules(pods: IpNet, services: &[Service]) -> Result<String, fmt::Error> {
    let mut nat = Vec::new();
    for service in services {
        for protocol in PROTOCOLS {
            service_rules(&mut nat, pods, service, protocol)?;
        }
    }
    let mut text = format!(
        "*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark {MASQUERADE}/{MASQUERADE} -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
"
    );
    let mut chains: Vec<&str> =
        nat.iter().filter_map(|rule| rule.split(' ').nth(1)).filter(|name| name.len() > 9).collect();
    chains.retain(|name| ["KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-"].iter().any(|kind| name.starts_with(kind)));
    chains.sort_unstable();
    chains.dedup();
    for chain in &chains {
        writeln!(text, ":{chain} - [0:0]")?;
    }
    write!(
        text,
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE}
-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE}/{MASQUERADE} -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE}
-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully
"
    )?;
    for rule in &nat {
        writeln!(text, "{rule}")?;
    }
    text += "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n";
    Ok(text)
}

fn service_rules(rules: &mut Vec<String>, pods: IpNet, service: &Service, protocol: &str) -> fmt::Result {
    let Service { name, cluster_ip, port, endpoints, .. } = service;
    // kube-proxy hashes these names; the length of a chain's name is limited.
    let chain = |kind: &str| format!("KUBE-{kind}-{}-{protocol}", name.to_uppercase());
    let (svc, ext) = (chain("SVC"), chain("EXT"));
    rules.push(format!(
        "-A KUBE-SERVICES -d {cluster_ip} -p {protocol} -m {protocol} --dport {port} -j {svc}"
    ));
    if let Some(node_port) = service.node_port {
        rules.push(format!("-A KUBE-NODEPORTS -p {protocol} -m {protocol} --dport {node_port} -j {ext}"));
        if service.policy == Policy::Cluster {
            rules.push(format!("-A {ext} -j KUBE-MARK-MASQ"));
        } else {
            rules.push(format!("-A {ext} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"));
        }
        rules.push(format!("-A {ext} -j {svc}"));
    }
    rules.push(format!(
        "-A {svc} ! -s {pods} -d {cluster_ip} -p {protocol} -m {protocol} --dport {port} -j KUBE-MARK-MASQ"
    ));
    for (number, endpoint) in endpoints.iter().enumerate() {
        let sep = format!("{}-{number}", chain("SEP"));
        let mut probability = String::new();
        let left = endpoints.len() - number;
        if left > 1 {
            #[expect(clippy::cast_precision_loss, reason = "a handful of endpoints")]
            let share = 1.0 / left as f64;
            write!(probability, " -m statistic --mode random --probability {share:.10}")?;
        }
        rules.push(format!("-A {svc}{probability} -j {sep}"));
        rules.push(format!("-A {sep} -s {endpoint} -j KUBE-MARK-MASQ"));
        let to = SocketAddr::new(*endpoint, TARGET_PORT);
        rules.push(format!("-A {sep} -p {protocol} -m {protocol} -j DNAT --to-destination {to}"));
    }
    Ok(())
}
