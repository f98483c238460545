use super::*;
use crate::{
    config::{AttachMethod, XdpMode},
    doctor::facts::{
        AgentFact, BpfFacts, BpffsFact, BpffsState, FileFacts, OtherRoute, SysctlFacts, SystemFacts,
        UplinkFact,
    },
};

/// A machine on which all is well.
fn machine() -> Facts {
    let uplink = |name: &str| UplinkFact {
        name: name.to_owned(),
        exists: true,
        ethernet: true,
        up: true,
        mtu: 1500,
        driver: Some("virtio_net".to_owned()),
        rp_filter: 0,
        accept_ra: Some(1),
        runs_xdp: Some(true),
        ..UplinkFact::default()
    };
    let file = |path: &str| Some((path.into(), Ok(())));
    Facts {
        system: SystemFacts {
            release: "6.18.0".to_owned(),
            jit: Some(true),
            btf: true,
            clock: 1_764_000_000,
            ..SystemFacts::default()
        },
        bpf: BpfFacts {
            programs: vec![("from-pod".to_owned(), Ok(())), ("xdp".to_owned(), Ok(()))],
            tcx: true,
            attach: AttachMethod::Auto,
            xdp: XdpMode::Transit,
        },
        bpffs: BpffsFact { path: "/sys/fs/bpf".into(), state: BpffsState::Ready },
        sysctls: SysctlFacts {
            writable: true,
            forwarding_v4: true,
            forwarding_v6: Some(true),
            cluster_v6: Some(true),
        },
        uplinks: vec![uplink("eth0"), uplink("eth1")],
        others: crate::doctor::facts::OtherFacts {
            links: vec![("eth0".to_owned(), true), ("tunl0".to_owned(), false)],
            ..Default::default()
        },
        files: FileFacts {
            config: file("/etc/podroute/agent.yaml"),
            states: file("/etc/podroute/cluster.yaml").into_iter().collect(),
            state_dir: file("/var/lib/podroute"),
            nft: Some(Ok(())),
            problems: vec![],
        },
        agent: Some(AgentFact { version: "0.1.0".to_owned(), synced: true, pending: 0, problems: 0 }),
    }
}

fn bad(facts: &Facts) -> Vec<(&'static str, Severity)> {
    let found = all(facts).into_iter().filter(|finding| finding.severity != Severity::Ok);
    found
        .map(|finding| {
            assert!(!finding.found.is_empty() && !finding.meaning.is_empty(), "{finding:?}");
            assert!(finding.fix.as_ref().is_some_and(|fix| !fix.is_empty()), "{finding:?}");
            (finding.check, finding.severity)
        })
        .collect()
}

/// One fact that is wrong, and what is found.
type Case = (&'static str, Severity, fn(&mut Facts));

fn check(cases: &[Case]) {
    for (name, severity, spoil) in cases {
        let mut facts = machine();
        spoil(&mut facts);
        assert_eq!(bad(&facts), [(*name, *severity)]);
    }
}

#[test]
fn a_machine_on_which_all_is_well_has_no_findings_but_fine_ones() {
    assert_eq!(bad(&machine()), []);
    let fine = all(&machine());
    for check in
        ["kernel-version", "capabilities", "bpffs", "tcx", "forwarding", "rp-filter", "mtu", "xdp", "agent"]
    {
        assert!(fine.iter().any(|finding| finding.check == check), "{check}");
    }
}

#[test]
fn each_finding_of_the_kernel_has_its_fix() {
    use Severity::{Error, Warning};
    check(&[
        ("kernel-version", Error, |facts| facts.system.too_old = Some("5.4 is too old".to_owned())),
        ("capabilities", Error, |facts| facts.system.missing_capabilities = vec!["CAP_BPF"]),
        ("bpf-jit", Warning, |facts| facts.system.jit = Some(false)),
        ("memlock", Error, |facts| facts.system.memlock = Some(65_536)),
        ("clock", Warning, |facts| facts.system.clock = 77),
        ("bpf-programs", Error, |facts| facts.bpf.programs[0].1 = Err("invalid".to_owned())),
        ("bpf-programs", Warning, |facts| facts.bpf.programs[1].1 = Err("invalid".to_owned())),
        ("tcx", Error, |facts| (facts.bpf.tcx, facts.bpf.attach) = (false, AttachMethod::Tcx)),
        ("bpffs", Error, |facts| facts.bpffs.state = BpffsState::Missing),
        ("bpffs", Error, |facts| facts.bpffs.state = BpffsState::Other),
        ("bpffs", Error, |facts| facts.bpffs.state = BpffsState::NotWritable("read-only".to_owned())),
        ("forwarding", Warning, |facts| facts.sysctls.forwarding_v4 = false),
        ("forwarding", Warning, |facts| facts.sysctls.forwarding_v6 = Some(false)),
        ("forwarding", Error, |facts| {
            (facts.sysctls.forwarding_v4, facts.sysctls.writable) = (false, false);
        }),
        ("ipv6", Error, |facts| facts.sysctls.forwarding_v6 = None),
    ]);
    let mut facts = machine();
    (facts.bpf.tcx, facts.bpf.xdp) = (false, XdpMode::Off);
    facts.bpf.programs[1].1 = Err("the kernel is older".to_owned());
    assert_eq!(bad(&facts), [], "what is not used need not be there");
}

#[test]
fn each_finding_of_an_uplink_has_its_fix() {
    use Severity::{Error, Warning};
    check(&[
        ("uplinks", Warning, |facts| facts.uplinks.clear()),
        ("uplinks", Error, |facts| facts.uplinks[1].exists = false),
        ("uplinks", Error, |facts| facts.uplinks[1].ethernet = false),
        ("uplinks", Warning, |facts| facts.uplinks[1].up = false),
        ("rp-filter", Warning, |facts| facts.uplinks[0].rp_filter = 1),
        ("mtu", Warning, |facts| facts.uplinks[0].mtu = 1400),
        ("ipv6", Error, |facts| facts.uplinks[0].ipv6_off = true),
        ("accept-ra", Warning, |facts| facts.uplinks[0].default_by_ra = true),
        ("other-programs", Warning, |facts| facts.uplinks[0].other_tc = vec!["program cil_from".to_owned()]),
        ("other-programs", Warning, |facts| facts.uplinks[0].other_xdp = vec!["12".to_owned()]),
        ("xdp", Warning, |facts| facts.uplinks[0].runs_xdp = Some(false)),
    ]);
    let mut facts = machine();
    facts.uplinks.truncate(1);
    facts.uplinks[0].rp_filter = 1;
    assert_eq!(bad(&facts), [], "with one uplink, packets come in where they go out");
    facts.uplinks[0].mtu = 9000;
    assert_eq!(bad(&facts), [("xdp", Warning)]);
    facts.uplinks[0].mtu = 1300;
    facts.sysctls.cluster_v6 = Some(false);
    assert_eq!(bad(&facts), [], "IPv4 has no such limit");
}

#[test]
fn each_leftover_has_its_owner_and_its_fix() {
    use Severity::Warning;
    let route = |interface: &str, protocol| OtherRoute {
        destination: "10.244.9.0/26".to_owned(),
        interface: interface.to_owned(),
        protocol,
    };
    for (name, says) in [
        ("cali123", "Calico"),
        ("vxlan.calico", "Calico"),
        ("flannel.1", "Flannel"),
        ("cni0", "Flannel"),
        ("cilium_host", "Cilium"),
    ] {
        let mut facts = machine();
        facts.others.links.push((name.to_owned(), true));
        assert_eq!(bad(&facts), [("other-cni-link", Warning)], "{name}");
        assert!(all(&facts).iter().any(|finding| finding.found.contains(says)), "{name}");
    }
    let mut facts = machine();
    facts.others.routes = vec![route("eth0", 80), route("eth0", 80), route("flannel.1", 4), route("eth0", 2)];
    assert_eq!(bad(&facts), [("other-cni-routes", Warning); 2]);
    facts = machine();
    facts.others.links[1].1 = true;
    assert_eq!(bad(&facts), [("other-cni-link", Warning)], "tunl0 matters once it is up");
    facts = machine();
    facts.others.cni = vec![
        ("/etc/cni/net.d/10-calico.conflist".into(), vec!["calico".to_owned()]),
        ("/etc/cni/net.d/05-podroute.conflist".into(), vec!["podroute".to_owned()]),
    ];
    assert_eq!(bad(&facts), [("other-cni-config", Warning)]);
    facts = machine();
    facts.others.chains =
        ["ip filter cali-INPUT", "ip filter FORWARD", "ip nat FLANNEL-POSTRTG", "ip filter cali-FORWARD"]
            .map(str::to_owned)
            .to_vec();
    assert_eq!(bad(&facts), [("other-cni-chains", Warning); 2]);
}

#[test]
fn each_finding_of_the_agent_has_its_fix() {
    use Severity::{Error, Warning};
    check(&[
        ("config", Error, |facts| facts.files.config.as_mut().unwrap().1 = Err("line 1".to_owned())),
        ("cluster-state", Error, |facts| facts.files.states[0].1 = Err("line 2".to_owned())),
        ("cluster-state", Warning, |facts| facts.files.problems = vec!["two nodes".to_owned()]),
        ("state-directory", Error, |facts| facts.files.state_dir.as_mut().unwrap().1 = Err("no".to_owned())),
        ("nft", Error, |facts| facts.files.nft = Some(Err("there is no nft".to_owned()))),
        ("agent", Warning, |facts| facts.agent.as_mut().unwrap().synced = false),
        ("agent", Warning, |facts| facts.agent.as_mut().unwrap().problems = 2),
    ]);
    let mut facts = machine();
    facts.agent = None;
    assert_eq!(bad(&facts), [], "it need not run");
}
