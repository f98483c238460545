//! The rules of the nftables mode.

use std::fmt::{self, Write};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{MASQUERADE, PROTOCOLS, Policy, Service, TARGET_PORT};

/// The whole table, as input for `nft -f`.
pub(super) fn rules(pods: IpNet, node: Option<IpAddr>, services: &[Service]) -> Result<String, fmt::Error> {
    let (family, kind) = if pods.addr().is_ipv4() { ("ip", "ipv4_addr") } else { ("ip6", "ipv6_addr") };
    let mut text = format!("table {family} kube-proxy {{}}\ndelete table {family} kube-proxy\n");
    writeln!(text, "table {family} kube-proxy {{")?;
    sets(&mut text, kind, node, services)?;
    text += "
        chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
        chain nat-output { type nat hook output priority -100; jump services; }
        chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
        chain filter-forward { type filter hook forward priority -110; ct state new jump cluster-ips-check; }
        chain filter-output-post-dnat { type filter hook output priority -90; ct state new jump cluster-ips-check; }
";
    writeln!(text, "chain mark-for-masquerade {{ meta mark set mark or {MASQUERADE}; }}")?;
    writeln!(
        text,
        "chain masquerading {{
            mark and {MASQUERADE} == 0x0 return
            meta mark set mark xor {MASQUERADE}
            masquerade fully-random
        }}
        chain cluster-ips-check {{ {family} daddr @cluster-ips reject; }}
        chain services {{
            {family} daddr . meta l4proto . th dport vmap @service-ips
            {family} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
        }}"
    )?;
    for service in services {
        for protocol in PROTOCOLS {
            chains(&mut text, family, pods, service, protocol)?;
        }
    }
    text += "}\n";
    Ok(text)
}

fn sets(text: &mut String, kind: &str, node: Option<IpAddr>, services: &[Service]) -> fmt::Result {
    let list = |elements: Vec<String>| {
        if elements.is_empty() { String::new() } else { format!("elements = {{ {} }}", elements.join(", ")) }
    };
    let each = |element: &dyn Fn(&Service, &str) -> Option<String>| {
        let pairs = services.iter().flat_map(|service| PROTOCOLS.map(|protocol| (service, protocol)));
        list(pairs.filter_map(|(service, protocol)| element(service, protocol)).collect())
    };
    let cluster_ips = list(services.iter().map(|service| service.cluster_ip.to_string()).collect());
    writeln!(text, "set cluster-ips {{ type {kind}; {cluster_ips}; }}")?;
    let nodes = list(node.iter().map(ToString::to_string).collect());
    writeln!(text, "set nodeport-ips {{ type {kind}; {nodes}; }}")?;
    let service_ips = each(&|service, protocol| {
        let name = format!("service-{}-{protocol}", service.name);
        Some(format!("{} . {protocol} . {} : goto {name}", service.cluster_ip, service.port))
    });
    writeln!(
        text,
        "map service-ips {{ type {kind} . inet_proto . inet_service : verdict; {service_ips}; }}"
    )?;
    let node_ports = each(&|service, protocol| {
        let name = format!("external-{}-{protocol}", service.name);
        service.node_port.map(|port| format!("{protocol} . {port} : goto {name}"))
    });
    writeln!(text, "map service-nodeports {{ type inet_proto . inet_service : verdict; {node_ports}; }}")?;
    Ok(())
}

fn chains(text: &mut String, family: &str, pods: IpNet, service: &Service, protocol: &str) -> fmt::Result {
    let Service { name, cluster_ip, port, endpoints, .. } = service;
    for (number, endpoint) in endpoints.iter().enumerate() {
        let to = std::net::SocketAddr::new(*endpoint, TARGET_PORT);
        writeln!(
            text,
            "chain endpoint-{name}-{protocol}-{number} {{
                {family} saddr {endpoint} jump mark-for-masquerade
                meta l4proto {protocol} dnat to {to}
            }}"
        )?;
    }
    let targets: Vec<String> = (0..endpoints.len())
        .map(|number| format!("{number} : goto endpoint-{name}-{protocol}-{number}"))
        .collect();
    let spread = format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), targets.join(", "));
    writeln!(
        text,
        "chain service-{name}-{protocol} {{
            {family} daddr {cluster_ip} {protocol} dport {port} {family} saddr != {pods} jump mark-for-masquerade
            {spread}
        }}"
    )?;
    match service.policy {
        Policy::Cluster => writeln!(
            text,
            "chain external-{name}-{protocol} {{ jump mark-for-masquerade; goto service-{name}-{protocol}; }}"
        ),
        Policy::Local => writeln!(
            text,
            "chain external-{name}-{protocol} {{
                fib saddr type local jump mark-for-masquerade
                {spread}
            }}"
        ),
    }
}
