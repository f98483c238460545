//! Events of the network: uplinks that come and go, nodes that are reached another way, programs that are replaced.

use node_ebpf_common::{NextHop, NextHopKind};

use super::App;
use crate::{
    events::{EventKind, Events},
    model::HostView,
    reconcile::PassNotes,
    rib::address_of,
};

/// So many nodes are told of one by one; of more at once only the first and the number.
const ONE_BY_ONE: usize = 5;

/// How the interfaces are that have been uplinks.
#[derive(Debug, Default)]
pub(super) struct Uplinks(std::collections::BTreeMap<String, Uplink>);

/// How an uplink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uplink {
    Gone,
    Down,
    Up,
}

impl Uplink {
    fn of(name: &str, view: &HostView) -> Self {
        match view.link_by_name(name) {
            None => Self::Gone,
            Some(link) if link.up => Self::Up,
            Some(_) => Self::Down,
        }
    }
}

impl Uplinks {
    /// Takes in how the host is, tells what has changed, and remembers the uplinks that are in use now.
    pub(super) fn follow<'a>(
        &mut self,
        view: &HostView,
        in_use: impl Iterator<Item = &'a String>,
        events: &mut Events,
    ) {
        for (name, known) in &mut self.0 {
            let now = Uplink::of(name, view);
            if *known != now {
                let is = match now {
                    Uplink::Gone => "is gone",
                    Uplink::Down => "is down",
                    Uplink::Up => "is up",
                };
                events.record_about(EventKind::LinkChanged, name.as_str(), format!("uplink {name} {is}"));
                *known = now;
            }
        }
        for name in in_use {
            self.0.entry(name.clone()).or_insert_with(|| Uplink::of(name, view));
        }
    }
}

impl App {
    /// Tells what happened to the uplinks.
    pub(super) fn follow_uplinks(&mut self) {
        self.uplinks.follow(&self.view, self.resolved.wanted.host.uplinks.iter(), &mut self.events);
    }

    /// Tells of what a pass has changed that people want to know.
    pub(super) fn tell_of_pass(&mut self) {
        let PassNotes { ways, programs_replaced } = self.reconciler.take_notes();
        for (path, before, now) in ways.iter().take(if ways.len() > ONE_BY_ONE { 1 } else { ONE_BY_ONE }) {
            let others = match ways.len() - 1 {
                more if more >= ONE_BY_ONE => format!(", and {more} others have changed, too"),
                _ => String::new(),
            };
            let (before, now) = (self.way(before), self.way(now));
            let text = format!("{path} is reached {now}, no longer {before}{others}");
            self.events.record_about(EventKind::WayChanged, path.node.as_str(), text);
        }
        if programs_replaced > 0 {
            let text = format!("{programs_replaced} programs have taken the place of others");
            self.events.record(EventKind::ProgramReplaced, text);
        }
    }

    /// A way for people: `by eth0 via 10.0.1.1, ipip to 10.0.2.11`.
    fn way(&self, hop: &NextHop) -> String {
        let interface = self.interface_name(hop.interface);
        let gateway = address_of(hop.gateway).map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let tunnel = address_of(hop.tunnel_destination)
            .filter(|_| hop.kind == NextHopKind::Ipip as u32)
            .map(|to| format!(", ipip to {to}"));
        format!("by {interface}{gateway}{}", tunnel.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Link;

    fn view(name: &str, up: bool) -> HostView {
        let link = Link {
            index: 2,
            name: name.to_owned(),
            up,
            mtu: 1500,
            mac: [0; 6],
            loopback: false,
            ethernet: true,
            forwarding_v4: true,
            proxy_arp: false,
            reverse_path: 0,
            ra_unless_forwarding: false,
            peer: None,
        };
        HostView { links: vec![link], ..HostView::default() }
    }

    /// Also when an uplink that is down is in use no more.
    #[test]
    fn an_uplink_that_changes_is_told_of() {
        let (mut uplinks, mut events) = (Uplinks::default(), Events::default());
        let eth0 = "eth0".to_owned();
        uplinks.follow(&view("eth0", true), [&eth0].into_iter(), &mut events);
        uplinks.follow(&view("veth7", false), std::iter::empty(), &mut events);
        uplinks.follow(&view("eth0", false), std::iter::empty(), &mut events);
        uplinks.follow(&view("eth0", false), std::iter::empty(), &mut events);
        uplinks.follow(&view("eth0", true), [&eth0].into_iter(), &mut events);
        let told: Vec<&str> = events.since(0).map(|event| event.text.as_str()).collect();
        assert_eq!(told, ["uplink eth0 is gone", "uplink eth0 is down", "uplink eth0 is up"]);
    }
}
