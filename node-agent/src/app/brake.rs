//! The brake on mass withdrawal, as people and the next agent see it.

use std::{collections::BTreeSet, path::Path};

use node_ebpf_common::NextHopKind;
use tokio::time::Instant;

use super::App;
use crate::{
    api::{BrakeStatus, HeldRoutes, Response, RouteKind, RouteRow},
    config::Config,
    events::{EventKind, Events},
    model::{BrakeSettings, Pod, Prefix},
    reconcile::{Brake, BrakeNote, Hold, Release, SavedHold},
    rib::{Selection, Table, address_of},
    state_dir::{self, Document, StateDirError, Store},
};

/// What a route that is held has for its state.
const HELD: &str = "held by the brake: it is withdrawn";

impl Document for SavedHold {
    const NAME: &'static str = "brake";
    const VERSION: u32 = 1;
}

/// The brake, and where it remembers what it holds.
#[derive(Debug)]
pub(super) struct Memory {
    store: Store<SavedHold>,
    /// Why what is held would be forgotten; none if it would not.
    pub(super) problem: Option<String>,
}

impl Memory {
    /// The brake as the agent before has left it.
    pub(super) fn recall(config: &Config, events: &mut Events) -> (Brake, Self) {
        let store = Store::new(&config.state_dir);
        let problem = check(&config.state_dir);
        let saved = store.load().unwrap_or_else(|error| {
            let text = format!("{error}; the agent starts without it");
            let kind = if matches!(error, StateDirError::Bad { .. }) {
                EventKind::StateSetAside
            } else {
                EventKind::ProblemFound
            };
            events.record_about(kind, SavedHold::NAME, text);
            None
        });
        (Brake::new(config.brake, saved), Self { store, problem })
    }

    fn write(&mut self, hold: Option<&Hold>) {
        let written = match hold {
            Some(hold) => self.store.save(&hold.save()),
            None => self.store.remove(),
        };
        self.problem = written.err().map(|error| forgets(&error));
    }
}

/// Addresses of pods on nodes that are used, which need no route of their own: a prefix leads to the right node.
pub(super) fn pods_at_home(table: &Table, selection: &Selection) -> BTreeSet<Prefix> {
    let own = selection.own.as_ref().map(|own| &own.node.name);
    let used = |pod: &&Pod| own == Some(&pod.node) || selection.nodes.contains_key(&pod.node);
    let addresses = table.pods().filter(used).flat_map(|pod| &pod.addresses);
    addresses
        .map(|address| Prefix::host(*address))
        .filter(|prefix| !selection.routes.contains_key(prefix))
        .collect()
}

/// What is wrong with the folder, for people.
fn check(folder: &Path) -> Option<String> {
    state_dir::check(folder).err().map(|error| forgets(&error))
}

fn forgets(error: &StateDirError) -> String {
    format!("{error}: the agent works without, but what the brake holds is not remembered over a restart")
}

impl App {
    /// Tells what the brake did in a pass, and writes down what it holds.
    pub(super) fn follow_brake(&mut self) {
        for note in self.reconciler.brake.take_notes() {
            let (kind, text) = told(&note, &self.config.brake);
            self.events.record(kind, text);
        }
        if self.reconciler.brake.must_save() {
            self.memory.write(self.reconciler.brake.hold());
        }
        if let Some(after) = self.reconciler.brake.release_in(Instant::now().into_std()) {
            self.due = self.due.min(Instant::now() + after);
        }
    }

    /// Looks whether the state directory can be used by now.
    pub(super) fn check_state_dir(&mut self) {
        if self.memory.problem.is_some() {
            self.memory.problem = check(&self.config.state_dir);
        }
    }

    /// Lets go what is held.
    pub(super) fn confirm(&mut self) -> Result<Response, String> {
        let Some(prefixes) = self.reconciler.brake.confirm() else {
            return Err("the brake holds nothing: there is nothing to confirm".to_owned());
        };
        self.follow_brake();
        self.due = Instant::now();
        Ok(Response::Confirmed { prefixes })
    }

    pub(super) fn brake_status(&self) -> BrakeStatus {
        let BrakeSettings { share, at_least, release_after } = self.config.brake;
        let brake = &self.reconciler.brake;
        let held = brake.hold().map(|hold| HeldRoutes {
            routes: hold.len(),
            in_place: hold.in_place(),
            prefixes: hold.prefixes().take(HeldRoutes::LISTED).collect(),
            since: hold.since(),
            release_in_seconds: brake.release_in(Instant::now().into_std()).map(|after| after.as_secs()),
        });
        BrakeStatus { share, at_least, release_after_seconds: release_after.as_secs(), held }
    }

    /// The routes that are held, as they are in place. Nobody knows any more whose they are.
    pub(super) fn held_rows(&self, in_kernel: &BTreeSet<Prefix>) -> Vec<RouteRow> {
        let observed = self.reconciler.observed();
        let row = |prefix: Prefix| {
            let route = observed.and_then(|observed| observed.routes.get(&prefix));
            let hop = route.and_then(|route| observed?.next_hops.get(&route.next_hop));
            let kind = hop.and_then(|hop| RouteKind::of(NextHopKind::from_u32(hop.kind)?));
            RouteRow {
                prefix,
                next_hop: "held".to_owned(),
                kind,
                gateway: hop.and_then(|hop| address_of(hop.gateway)),
                interface: hop.map(|hop| self.interface_name(hop.interface)),
                tunnel_destination: hop
                    .filter(|_| kind == Some(RouteKind::Ipip))
                    .and_then(|hop| address_of(hop.tunnel_destination)),
                mtu: hop.map(|hop| hop.mtu),
                origin: "in place before".to_owned(),
                in_bpf: route.is_some(),
                in_kernel: in_kernel.contains(&prefix),
                state: HELD.to_owned(),
            }
        };
        self.reconciler.brake.hold().map(|hold| hold.prefixes().map(row).collect()).unwrap_or_default()
    }

    /// What an operator should look at. Without numbers: it is one problem as long as anything is held.
    pub(super) fn brake_problems(&self) -> impl Iterator<Item = String> {
        let held = self.reconciler.brake.hold().map(|_| {
            "the brake holds routes that were withdrawn all at once: `node-agent confirm` lets them go (details under \
             HELD)"
                .to_owned()
        });
        held.into_iter().chain(self.memory.problem.clone())
    }
}

/// What a note says to people.
fn told(note: &BrakeNote, settings: &BrakeSettings) -> (EventKind, String) {
    match note {
        BrakeNote::Held { held, in_place, first } => {
            let text = format!(
                "{held} of {in_place} routes would be withdrawn at once (more than {} %), the first is {first}: they are \
                 held until `node-agent confirm` lets them go or the sources have repeated it for {:?}",
                settings.share, settings.release_after
            );
            (EventKind::BrakeHeld, text)
        }
        BrakeNote::Released { released, held, how } => {
            let what = match how {
                Release::Confirmed => format!("{released} held routes are withdrawn: somebody confirmed it"),
                Release::Repeated => format!(
                    "{released} held routes are withdrawn: the sources have repeated it for {:?}",
                    settings.release_after
                ),
                Release::Sank => format!(
                    "{released} held routes are withdrawn: others came back, and so few are no mass withdrawal"
                ),
                Release::CameBack if *released == 0 => {
                    "no route is held any more: all have come back, or lead nowhere by now".to_owned()
                }
                Release::CameBack => {
                    format!(
                        "all held routes have come back; {released} others are withdrawn, no mass withdrawal"
                    )
                }
            };
            let still = if *held > 0 { format!("; {held} others are still held") } else { String::new() };
            (EventKind::BrakeReleased, what + &still)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Object,
        rib::{
            fixtures::{node, pod, upsert},
            select,
        },
    };

    #[test]
    fn notes_say_how_many_and_why() {
        let settings = BrakeSettings::default();
        let first = "10.244.11.0/24".parse().unwrap();
        let (kind, text) = told(&BrakeNote::Held { held: 50, in_place: 120, first }, &settings);
        assert_eq!(kind, EventKind::BrakeHeld);
        assert!(text.starts_with("50 of 120 routes") && text.contains("10.244.11.0/24"), "{text}");
        assert!(text.contains("`node-agent confirm`") && text.contains("300s"), "{text}");
        for (how, part) in [
            (Release::Confirmed, "somebody confirmed it"),
            (Release::Repeated, "repeated it for 300s"),
            (Release::Sank, "others came back"),
        ] {
            let (kind, text) = told(&BrakeNote::Released { released: 7, held: 2, how }, &settings);
            assert_eq!(kind, EventKind::BrakeReleased);
            assert!(text.starts_with("7 held routes are withdrawn: "), "{text}");
            assert!(text.contains(part) && text.ends_with("; 2 others are still held"), "{text}");
        }
        let all = BrakeNote::Released { released: 0, held: 0, how: Release::CameBack };
        assert_eq!(
            told(&all, &settings).1,
            "no route is held any more: all have come back, or lead nowhere by now"
        );
    }

    #[test]
    fn pods_at_home_are_those_of_used_nodes_without_a_route_of_their_own() {
        let mut table = Table::new([]);
        let nodes =
            [node("a1", "10.0.1.11", &["10.244.1.0/24"]), node("a2", "10.0.1.12", &["10.244.2.0/24"])];
        let pods = [
            pod("default/local", "a1", "10.244.1.10"),
            pod("default/home", "a2", "10.244.2.10"),
            pod("default/borrowed", "a2", "10.244.1.20"),
            pod("default/lost", "b1", "10.244.3.10"),
        ];
        for object in nodes.map(Object::Node).into_iter().chain(pods.map(Object::Pod)) {
            table.apply(upsert(object));
        }
        let selection = select(&table, &"a1".parse().unwrap());
        let at_home = pods_at_home(&table, &selection);
        assert_eq!(at_home, BTreeSet::from(["10.244.2.10/32".parse().unwrap()]));
    }
}
