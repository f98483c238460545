//! `node-agent explain` tells a healthy way from one where planes disagree, and names what disagrees.

use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, LpmTrie, Map, MapData, lpm_trie::Key};
use nix::sys::signal::Signal;
use node_ebpf_common::{LAYOUT_VERSION, NextHop, Route, map_name};
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agents, Settings},
    lab::{Endpoint, Lab, Node, Topology},
    probe::Ping,
    state::{Encapsulation, State, StateNode},
    story, wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// How long it may take until something is seen; nothing here has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nothing but the kernel's own messages makes the agent look.
fn started(lab: &Lab, agents: &mut Agents) -> Result<()> {
    let settings = Settings { audit_interval: Some("1h"), ..Settings::default() };
    agents.start(lab, &settings, &State::of(lab, MODE))
}

/// What a1's agent explains, and the exit code.
fn explained(agents: &Agents, subject: &str) -> Result<(i32, Value)> {
    let (code, text) = agents.get("a1")?.cli_with_code(&["explain", subject, "--output", "json"])?;
    Ok((code, serde_json::from_str(&text).with_context(|| format!("explain {subject} wrote {text}"))?))
}

/// Kinds of the disagreements that a1's agent sees.
fn kinds(agents: &Agents, subject: &str) -> Result<Vec<String>> {
    let (code, told) = explained(agents, subject)?;
    let steps = told["targets"].as_array().into_iter().flatten().filter_map(|one| one["steps"].as_array());
    let found = steps.flatten().filter_map(|step| step["disagreements"].as_array()).flatten();
    let kinds: Vec<_> = found.filter_map(|one| one["kind"].as_str().map(str::to_owned)).collect();
    ensure!(code == i32::from(!kinds.is_empty()), "exit code {code} with {kinds:?}");
    ensure!(told["healthy"] == kinds.is_empty(), "{told}");
    Ok(kinds)
}

fn expect_healthy(agents: &Agents, subject: &str) -> Result<()> {
    let found = kinds(agents, subject)?;
    ensure!(found.is_empty(), "{subject}:\n{}", agents.get("a1")?.cli_with_code(&["explain", subject])?.1);
    Ok(())
}

fn expect(agents: &Agents, subject: &str, kind: &str) -> Result<()> {
    let found = kinds(agents, subject)?;
    ensure!(found.iter().any(|one| one == kind), "{subject}: no {kind} in {found:?}");
    Ok(())
}

fn summary(agents: &Agents, subject: &str) -> Result<String> {
    let (_, told) = explained(agents, subject)?;
    Ok(told["targets"][0]["summary"].as_str().context("no summary")?.to_owned())
}

#[test]
fn what_works_is_explained_as_healthy_by_every_kind_of_way() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        started(lab, agents)?;
        for (pod, says) in [
            ("a1-0", "delivered to pod default/a1-0"),
            ("a2-0", "sent to node a2 through eth0, without encapsulation"),
            ("b1-0", "sent to node b1 through eth0, in an IPIP packet"),
        ] {
            let pod = lab.pod(pod)?;
            for address in pod.addresses() {
                Ping::to(*address)?.expect_reply(lab.pod("a1-1")?)?;
                expect_healthy(agents, &address.to_string())?;
            }
            expect_healthy(agents, &pod.full_name())?;
            let told = summary(agents, &pod.address().to_string())?;
            ensure!(told.starts_with(says), "{}: {told}", pod.name());
        }
        let (own, remote) = (lab.node("a1")?, lab.node("b1")?);
        for subject in [
            own.pod_address(1).to_string(),
            own.address().to_string(),
            own.pod_prefix().to_string(),
            remote.pod_prefix().to_string(),
            remote.address().to_string(),
        ] {
            expect_healthy(agents, &subject)?;
        }
        let text = agents.get("a1")?.cli(&["explain", &lab.pod("b1-0")?.full_name()])?;
        for part in [
            "✓ Source",
            "cluster.yaml:",
            "✓ Next hop",
            "(not adjacent: by this gateway)",
            "✓ BPF maps",
            "answers as the routes map",
            "from-uplink eth0",
            "✓ Kernel routes",
            "✓ Neighbour",
            "reachable",
            "bytes before any encapsulation",
            "from-pod ipip",
            "✓ healthy",
        ] {
            ensure!(text.contains(part), "no {part:?} in\n{text}");
        }
        ensure!(text.lines().all(|line| line.chars().count() <= 100), "a line is too long:\n{text}");
        Ok(())
    })
}

#[test]
fn what_has_no_way_is_told_and_what_cannot_be_told_has_a_code_of_its_own() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        expect(agents, &lab.node("a1")?.pod_address(200).to_string(), "unreachable")?;
        let outside = summary(agents, "192.0.2.1")?;
        ensure!(outside == "no route of Podroute: the host's stack decides", "{outside}");
        let agent = agents.get("a1")?;
        for (subject, says) in [
            ("default/nobody", "there is no pod default/nobody"),
            ("10.244.1.5/24", "did you mean 10.244.1.0/24"),
        ] {
            let (code, text) = agent.cli_with_code(&["explain", subject])?;
            ensure!(code == 2 && text.contains(says), "{subject}: {code}, {text}");
        }
        agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
        let (code, text) = agents.get("a1")?.cli_with_code(&["explain", "10.244.1.10"])?;
        ensure!(code == 2 && text.contains("is not running any more"), "{code}, {text}");
        Ok(())
    })
}

fn pinned(node: &Node, name: &str) -> Result<MapData> {
    let pin = node.bpffs().join(format!("podroute/v{LAYOUT_VERSION}/{name}"));
    MapData::from_pin(&pin).with_context(|| format!("opening {}", pin.display()))
}

fn trie(node: &Node) -> Result<LpmTrie<MapData, [u8; 4], Route>> {
    Ok(Map::LpmTrie(pinned(node, map_name::ROUTES_V4)?).try_into()?)
}

fn key(node: &Node) -> Result<Key<[u8; 4]>> {
    let IpAddr::V4(address) = node.pod_prefix().network() else { bail!("no IPv4 prefix") };
    Ok(Key::new(node.pod_prefix().prefix_len().into(), address.octets()))
}

/// Breaks something, again where the agent is quicker than the question, until it is named.
fn expect_after(
    agents: &Agents,
    subject: &str,
    kind: &str,
    mut spoil: impl FnMut() -> Result<()>,
) -> Result<()> {
    wait::until_ok(kind, PATIENCE, || {
        spoil()?;
        expect(agents, subject, kind)
    })?;
    Ok(())
}

fn wait_until_healthy(agents: &Agents, subject: &str) -> Result<()> {
    wait::until_ok("all planes to agree", PATIENCE, || expect_healthy(agents, subject))?;
    Ok(())
}

#[test]
fn maps_changed_by_hand_are_named() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let (own, remote) = (lab.node("a1")?, lab.node("b1")?);
        let far = lab.pod("b1-0")?.address().to_string();
        expect_healthy(agents, &far)?;

        let (mut routes, key) = (trie(own)?, key(remote)?);
        let (route, elsewhere) = (routes.get(&key, 0)?, routes.get(&self::key(lab.node("a2")?)?, 0)?);
        let mut remove = || {
            // It may be gone already.
            let _ = routes.remove(&key);
            Ok(())
        };
        expect_after(agents, &far, "bpf-route-missing", &mut remove)?;
        expect_after(agents, &remote.pod_prefix().to_string(), "bpf-route-missing", &mut remove)?;
        // The table in front of it still has it.
        expect_after(agents, &far, "lookup-table-differs", remove)?;
        expect_after(agents, &far, "bpf-route-differs", || Ok(routes.insert(&key, elsewhere, 0)?))?;
        routes.insert(&key, route, 0)?;
        wait_until_healthy(agents, &far)?;

        let mut objects: Array<_, NextHop> = Map::Array(pinned(own, map_name::NEXT_HOPS)?).try_into()?;
        let object = objects.get(&route.next_hop, 0)?;
        wait::until_ok("the object to be named", PATIENCE, || {
            objects.set(route.next_hop, NextHop { mtu: 9000, ..object }, 0)?;
            let (code, text) = agents.get("a1")?.cli_with_code(&["explain", &far])?;
            ensure!(code == 1 && text.contains("next-hop-differs: "), "{code}: {text}");
            ensure!(text.contains("MTU is 9000, but should be"), "{text}");
            Ok(())
        })?;
        objects.set(route.next_hop, object, 0)?;
        wait_until_healthy(agents, &far)
    })
}

#[test]
fn a_program_that_somebody_detaches_is_named() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let (own, pod) = (lab.node("a1")?, lab.pod("a1-0")?);
        let near = pod.address().to_string();
        expect_healthy(agents, &near)?;
        let veth = own.netns().interface_index(pod.interface())?;
        let pin = own.bpffs().join(format!("podroute/links/from-pod-{veth}"));
        ensure!(pin.exists(), "there is no {}", pin.display());
        expect_after(agents, &near, "program-missing", || {
            // It may be gone already.
            let _ = fs::remove_file(&pin);
            Ok(())
        })
    })
}

/// An address of one node's prefix that a pod of another node has.
#[test]
fn a_borrowed_address_leads_to_the_pods_node() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let mut state = State::of(lab, MODE);
        let borrowed = lab.node("a2")?.pod_address(77);
        let pod = state.pods.iter_mut().find(|pod| pod.node == "b1").context("b1 has a pod")?;
        pod.addresses = vec![borrowed];
        let name = pod.name.clone();
        agents.start(lab, &Settings { audit_interval: Some("1h"), ..Settings::default() }, &state)?;
        for subject in [borrowed.to_string(), name.clone()] {
            expect_healthy(agents, &subject)?;
            let told = summary(agents, &subject)?;
            ensure!(told.starts_with("sent to node b1 through eth0, in an IPIP packet"), "{told}");
        }
        let text = agents.get("a1")?.cli(&["explain", &name])?;
        ensure!(text.contains(&format!("{borrowed}/32")) && text.contains("around it"), "{text}");
        Ok(())
    })
}

#[test]
fn routes_and_links_changed_by_hand_are_named() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let far = lab.pod("b1-0")?.address().to_string();
        let (own, prefix) = (lab.node("a1")?.netns(), lab.node("b1")?.pod_prefix());
        expect_healthy(agents, &far)?;

        own.ip("route add blackhole 10.244.3.0/24 table 100")?;
        own.ip(&format!("rule add to {prefix} lookup 100"))?;
        expect(agents, &far, "kernel-answers-otherwise")?;
        own.ip(&format!("rule del to {prefix} lookup 100"))?;
        expect_healthy(agents, &far)?;

        own.ip(&format!("route replace {prefix} via {} proto static", lab.node("a2")?.address()))?;
        expect(agents, &far, "kernel-route-foreign")?;
        own.ip(&format!("route del {prefix} proto static"))?;
        wait::until("our route to be back", PATIENCE, || Ok(kinds(agents, &far)?.is_empty()))?;

        // The other end of the cable: the interface itself stays up.
        lab.switch().ip("link set a1 down")?;
        wait::until("the lost carrier to be seen", PATIENCE, || {
            Ok(kinds(agents, &far)?.iter().any(|kind| kind == "no-carrier"))
        })?;
        lab.switch().ip("link set a1 up")?;
        Ok(())
    })
}

#[test]
fn a_gateway_that_does_not_answer_is_named() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let far = lab.pod("b1-0")?.address();
        Ping::to(far)?.expect_reply(lab.pod("a1-0")?)?;
        expect_healthy(agents, &far.to_string())?;
        let router = Lab::router_interface(lab.node("a1")?.subnet());
        lab.router().ip(&format!("link set {router} down"))?;
        lab.node("a1")?.netns().ip(&format!("neigh flush dev {}", Node::UPLINK))?;
        wait::until("the gateway to fail", PATIENCE, || {
            Ping::to(far)?.timeout(Duration::from_millis(100)).send(lab.pod("a1-0")?.netns())?;
            let (code, _) = explained(agents, &far.to_string())?;
            Ok(code == 1 && kinds(agents, &far.to_string())?.iter().any(|kind| kind == "neighbour-failed"))
        })?;
        Ok(())
    })
}

#[test]
fn two_nodes_with_one_prefix_and_a_broken_source_are_named() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let far = lab.pod("b1-0")?.address().to_string();
        expect_healthy(agents, &far)?;
        let mut state = State::of(lab, MODE);
        let prefix = lab.node("b1")?.pod_prefix();
        state.nodes.push(StateNode {
            name: "z9".to_owned(),
            addresses: vec!["10.0.2.99".parse().context("an address")?],
            pod_prefixes: vec![prefix],
        });
        agents.apply(&state)?;
        wait::until("the conflict to be named", PATIENCE, || {
            Ok(kinds(agents, &far)?.iter().any(|kind| kind == "source-conflict"))
        })?;
        let text = agents.get("a1")?.cli_with_code(&["explain", &prefix.to_string()])?.1;
        ensure!(text.contains("a pod prefix of node z9"), "{text}");
        agents.get("a1")?.apply_text("nodes: 7\n")?;
        wait::until("the bad file to be named", PATIENCE, || {
            Ok(kinds(agents, &far)?.iter().any(|kind| kind == "source-failed"))
        })?;
        Ok(())
    })
}

#[test]
fn the_last_trace_is_remembered() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        started(lab, agents)?;
        let far = lab.pod("b1-0")?.address();
        let told = agents.get("a1")?.cli(&["explain", &far.to_string()])?;
        ensure!(told.contains("nothing remembered: `node-agent trace"), "{told}");
        let trace = agents.get("a1")?.trace(&[])?;
        Ping::to(far)?.expect_reply(lab.pod("a1-0")?)?;
        wait::until("the packet to be remembered", PATIENCE, || {
            let (_, told) = explained(agents, &far.to_string())?;
            // The reply is the last one.
            let reply = format!("from-uplink {far} to {}: decap-local", lab.pod("a1-0")?.address());
            Ok(told.to_string().contains(&reply))
        })?;
        drop(trace);
        Ok(())
    })
}
