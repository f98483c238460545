//! The control experiment: the same lab routed by the kernel alone, as Flannel's host-gw does it. It
//! shows that the lab itself works, and that the two subnets of `two-subnets` really cannot reach each
//! other's pods without encapsulation.

use anyhow::Result;

use super::{Endpoint, Lab};

impl Lab {
    /// Turns forwarding on and puts in a route to each local pod, and to each other node's pod prefix
    /// via that node's address (in another subnet: via the router).
    ///
    /// # Errors
    /// If a route cannot be put in.
    pub fn route_plainly(&self) -> Result<()> {
        for node in self.nodes() {
            node.netns().set_sysctl("net.ipv4.ip_forward", "1")?;
            let local = self.pods().iter().filter(|pod| pod.node() == node.name());
            let mut lines: String = local
                .map(|pod| format!("route add {}/32 dev {}\n", pod.address(), pod.interface()))
                .collect();
            for other in self.nodes().iter().filter(|other| other.name() != node.name()) {
                let adjacent = other.subnet() == node.subnet();
                let gateway = if adjacent { other.address() } else { node.subnet().gateway };
                lines += &format!("route add {} via {gateway}\n", other.pod_prefix());
            }
            node.netns().ip_batch(&lines)?;
        }
        Ok(())
    }
}
