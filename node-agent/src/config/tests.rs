use super::*;

/// What is wrong with this text, one line for each finding.
fn refused(text: &str) -> String {
    let findings = valid::parse(text, Path::new("/etc/podroute/agent.yaml")).expect_err(text);
    findings.to_string().replace("/etc/podroute/", "")
}

fn accepted(text: &str) -> Config {
    valid::parse(text, Path::new("/etc/podroute/agent.yaml")).unwrap_or_else(|f| panic!("{text}: {f}"))
}

fn state_file(path: &str) -> StateFile {
    StateFile { source: SourceId::FILE, path: PathBuf::from(path) }
}

const REQUIRED: &str = "node: a1\nsource:\n  file: cluster.yaml\n";

#[test]
fn everything_but_node_and_source_has_a_default() {
    assert_eq!(
        accepted(REQUIRED),
        Config {
            node: "a1".parse().unwrap(),
            sources: vec![state_file("/etc/podroute/cluster.yaml")],
            uplinks: vec![],
            bpffs: PathBuf::from("/sys/fs/bpf"),
            socket: PathBuf::from("/run/podroute/agent.sock"),
            attach: AttachMethod::Auto,
            xdp: XdpMode::Off,
            source_check: SourceCheck::Strict,
            pod_mtu: PodMtu::Auto,
            masquerade: false,
            audit_interval: Duration::from_secs(10),
            brake: BrakeSettings { share: 30, at_least: 20, release_after: Duration::from_secs(300) },
            state_dir: PathBuf::from("/var/lib/podroute"),
            metrics: None,
            log: "info".to_owned(),
            log_format: LogFormat::default(),
            program_log: ProgramLog::Off,
        }
    );
}

#[test]
fn every_field_is_read() {
    let text = "node: b1\nsource: {file: /srv/state.yaml}\nuplinks: [eth0, bond1]\nbpffs: /run/bpf\n\
        socket: /run/p.sock\nattach: clsact\nxdp: decap\nsource-check: loose\npod-mtu: 1400\nmasquerade: on\n\
        audit-interval: 2m 500ms\nbrake: {share: 100, at-least: 7, release-after: 1h}\nstate-dir: /srv/state\n\
        metrics: {listen: \"[::1]:9470\"}\n\
        log: warn,node_agent::host=debug\nlog-format: json\nprogram-log: trace\n";
    assert_eq!(
        accepted(text),
        Config {
            node: "b1".parse().unwrap(),
            sources: vec![state_file("/srv/state.yaml")],
            uplinks: vec!["eth0".to_owned(), "bond1".to_owned()],
            bpffs: PathBuf::from("/run/bpf"),
            socket: PathBuf::from("/run/p.sock"),
            attach: AttachMethod::Clsact,
            xdp: XdpMode::Decap,
            source_check: SourceCheck::Loose,
            pod_mtu: PodMtu::Fixed(1400),
            masquerade: true,
            audit_interval: Duration::from_millis(120_500),
            brake: BrakeSettings { share: 100, at_least: 7, release_after: Duration::from_secs(3_600) },
            state_dir: PathBuf::from("/srv/state"),
            metrics: Some("[::1]:9470".parse().unwrap()),
            log: "warn,node_agent::host=debug".to_owned(),
            log_format: LogFormat::Json,
            program_log: ProgramLog::Trace,
        }
    );
    assert_eq!(accepted(&format!("{REQUIRED}source-check: off\n")).source_check, SourceCheck::Off);
    assert_eq!(accepted(&format!("{REQUIRED}pod-mtu: keep\n")).pod_mtu, PodMtu::Keep);
    assert_eq!(accepted(&format!("{REQUIRED}attach: tcx\n")).attach, AttachMethod::Tcx);
    let seven = accepted(&format!("{REQUIRED}brake: {{at-least: 7}}\n")).brake;
    assert_eq!(seven, BrakeSettings { at_least: 7, ..BrakeSettings::default() });
    // A field without a value is a field that is not there.
    assert_eq!(accepted(&format!("{REQUIRED}uplinks:\nlog:\n")), accepted(REQUIRED));
}

/// Invariant 8: bad input gets an error that says file, line, column, field, value and what is allowed.
#[test]
fn a_bad_document_is_refused() {
    let cases = [
        ("", "agent.yaml: the file is empty; allowed: a YAML document with fields, each as NAME: VALUE"),
        (
            "# nothing\n---\n",
            "agent.yaml: the file is empty; allowed: a YAML document with fields, each as NAME: VALUE",
        ),
        (
            "- node: a1\n",
            "agent.yaml:1:1: \"- node: a1\" is of the wrong type; allowed: fields, each as NAME: VALUE",
        ),
        ("uplinks: [eth0\n", "agent.yaml:1:10: uplinks: not valid YAML: unclosed bracket '['"),
        (
            "node: a1\nsocket: /run/a.sock\nsokket: /run/b.sock\n",
            "agent.yaml:3:1: sokket: unknown field; allowed: node, source, sources, uplinks, bpffs, socket, attach, xdp, \
             source-check, pod-mtu, masquerade, audit-interval, brake, state-dir, metrics, log, log-format, program-log",
        ),
        (
            "source:\n  file: a.yaml\n  value: 1\n",
            "agent.yaml:3:3: source.value: unknown field; allowed: file",
        ),
        ("node: a1\nnode: a2\n", "agent.yaml:2:1: node: this field stands twice; allowed: once"),
        ("node: [a1]\n", "agent.yaml:1:7: node: \"[a1]\" is of the wrong type; allowed: a single value"),
        (
            "node: a1\nsource: cluster.yaml # here\n",
            "agent.yaml:2:9: source: \"cluster.yaml\" is of the wrong type; allowed: fields, each as NAME: VALUE",
        ),
        (
            "uplinks: eth0\n",
            "agent.yaml:1:10: uplinks: \"eth0\" is of the wrong type; allowed: a list, such as [one, two]",
        ),
        (
            "uplinks:\n  - eth0\n  -\n",
            "agent.yaml:3:4: uplinks[1]: an empty value is of the wrong type; allowed: a single value",
        ),
        (
            "node: a1\n---\nnode: a2\n",
            "agent.yaml:3:1: a second YAML document begins here; allowed: one document in a file, without a \
             further ---",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refused(text), message, "{text}");
    }
}

#[test]
fn a_bad_name_or_path_is_refused() {
    let long = format!("/{}", "s".repeat(107));
    let long_is = format!(
        "agent.yaml:4:9: socket: {long:?} cannot be used as a path; allowed: 107 bytes at most, as unix sockets have it"
    );
    let cases = [
        (
            "uplinks: [eth0, eth 1]",
            "agent.yaml:4:17: uplinks[1]: \"eth 1\" is not an interface's name; allowed: 1 to 15 bytes \
             without '/', ':' and blanks, not \".\" or \"..\""
                .to_owned(),
        ),
        (
            "uplinks: [eth0, eth0]",
            "agent.yaml:4:17: uplinks[1]: interface eth0 is named twice; allowed: each interface once".to_owned(),
        ),
        (
            "bpffs: sys/fs/bpf",
            "agent.yaml:4:8: bpffs: \"sys/fs/bpf\" cannot be used as a path; allowed: an absolute path of a \
             folder"
                .to_owned(),
        ),
        (
            "socket: /run/",
            "agent.yaml:4:9: socket: \"/run/\" cannot be used as a path; allowed: an absolute path of a socket"
                .to_owned(),
        ),
        (&format!("socket: {long}"), long_is),
    ];
    for (line, message) in cases {
        assert_eq!(refused(&format!("{REQUIRED}{line}\n")), message);
    }
}

#[test]
fn a_bad_choice_or_interval_is_refused() {
    const CHOICES: &str = "is not one of the choices; allowed:";
    let cases = [
        ("attach: xdp", format!("agent.yaml:4:9: attach: \"xdp\" {CHOICES} auto, tcx, clsact")),
        ("source-check: no", format!("agent.yaml:4:15: source-check: \"no\" {CHOICES} strict, loose, off")),
        ("masquerade: yes", format!("agent.yaml:4:13: masquerade: \"yes\" {CHOICES} off, on")),
        (
            "audit-interval: 10",
            "agent.yaml:4:17: audit-interval: \"10\" is not a usable interval; allowed: 100ms to 1h, for \
             example 500ms, 10s or 5m"
                .to_owned(),
        ),
        (
            "program-log: verbose",
            "agent.yaml:4:14: program-log: \"verbose\" is not a level; allowed: off, error, warn, info, \
             debug, trace"
                .to_owned(),
        ),
        (
            "log: inof",
            "agent.yaml:4:6: log: \"inof\" is not a log filter: \"inof\" is no level; allowed: off, error, \
             warn, info, debug or trace, and TARGET=LEVEL, separated by commas, for example \
             info,node_agent::host=debug"
                .to_owned(),
        ),
    ];
    for (line, message) in cases {
        assert_eq!(refused(&format!("{REQUIRED}{line}\n")), message);
    }
    let brake = |line: &str| refused(&format!("{REQUIRED}brake: {{{line}}}\n"));
    for share in ["0", "101", "30%", "-1"] {
        let message = "per cent from 1 to 100, where 100 turns the brake off";
        assert!(brake(&format!("share: {share}")).contains(message), "{share}");
    }
    assert_eq!(
        brake("at-least: 0, release-after: 0s"),
        "agent.yaml:4:19: brake.at-least: \"0\" cannot be used; allowed: a number of routes from 1 to 1000000\n\
         agent.yaml:4:37: brake.release-after: \"0s\" cannot be used; allowed: 1s to 24h, for example 30s, 5m or 1h"
    );
    for interval in ["99ms", "3601s", "-1s", "''"] {
        assert!(
            refused(&format!("{REQUIRED}audit-interval: {interval}\n")).contains("100ms to 1h"),
            "{interval}"
        );
    }
    assert!(
        refused(&format!("{REQUIRED}log: node_agent=loud\n"))
            .starts_with("agent.yaml:4:6: log: \"node_agent=loud\"")
    );
}

#[test]
fn a_bad_address_for_metrics_is_refused() {
    const ALLOWED: &str =
        "ADDRESS:PORT with a port from 1 to 65535, for example 127.0.0.1:9470 or [::1]:9470";
    for value in ["9470", "localhost:9470", "127.0.0.1", "127.0.0.1:0", "::1:9470", ""] {
        assert_eq!(
            refused(&format!("{REQUIRED}metrics: {{listen: {value:?}}}\n")),
            format!("agent.yaml:4:19: metrics.listen: {value:?} cannot be used; allowed: {ALLOWED}")
        );
    }
    assert_eq!(
        refused(&format!("{REQUIRED}metrics: {{}}\n")),
        format!("agent.yaml:4:10: metrics.listen: this field is required and missing; allowed: {ALLOWED}")
    );
    assert_eq!(accepted(&format!("{REQUIRED}metrics:\n")).metrics, None);
}

#[test]
fn all_bad_values_are_told_at_once_in_the_order_of_the_file() {
    assert_eq!(
        refused("attach: xdp\nnode: A1\nsource:\n  file: ''\n"),
        "agent.yaml:1:9: attach: \"xdp\" is not one of the choices; allowed: auto, tcx, clsact\n\
         agent.yaml:2:7: node: \"A1\" is not a valid name: use lower-case letters, digits, '-' and '.', start and \
         end with a letter or digit, 253 characters at most\n\
         agent.yaml:4:9: source.file: \"\" cannot be used as a path; allowed: path of the cluster-state file, \
         absolute or relative to this file's folder"
    );
    assert_eq!(
        refused("log: info\n"),
        "agent.yaml:1:1: node: this field is required and missing; allowed: this node's name in the cluster \
         state\n\
         agent.yaml:1:1: source: this field is required and missing; allowed: source: with file: PATH of the \
         cluster-state file below it"
    );
    assert_eq!(
        refused("node: a1\nsource:\n  file:\n"),
        "agent.yaml:3:3: source.file: this field is required and missing; allowed: source: with file: PATH of \
         the cluster-state file below it"
    );
}

#[test]
fn an_unreadable_file_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let message = |path: &Path| {
        let error = Config::load(path).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "")
    };
    assert_eq!(
        message(&path("none.yaml")),
        "cannot read /none.yaml: No such file or directory (os error 2); name the configuration with --config FILE"
    );
    assert_eq!(
        message(folder.path()),
        "cannot read : it is not a regular file; name the configuration with --config FILE"
    );
    std::fs::write(path("latin1.yaml"), b"node: a1\nsource: \xe9\n").unwrap();
    assert!(message(&path("latin1.yaml")).starts_with("cannot read /latin1.yaml: line 2 is not UTF-8 text"));
    std::fs::write(path("agent.yaml"), REQUIRED).unwrap();
    assert_eq!(Config::load(&path("agent.yaml")).unwrap().sources[0].path, path("cluster.yaml"));
}

#[test]
fn several_sources_have_names_and_preferences() {
    let text = "node: a1\nsources:\n- {name: base, file: cluster.yaml}\n\
        - {name: override-1, file: /srv/more.yaml, preference: 50}\n";
    let file = |name: &str, preference, path: &str| StateFile {
        source: SourceId::named(name.to_owned(), preference),
        path: path.into(),
    };
    assert_eq!(
        accepted(text).sources,
        [file("base", 100, "/etc/podroute/cluster.yaml"), file("override-1", 50, "/srv/more.yaml")]
    );
}

/// Invariant 8, for each way to name sources badly.
#[test]
fn bad_sources_are_refused_each_at_its_place() {
    const NAME: &str = "allowed: 1 to 32 lower-case letters, digits and '-', a letter first";
    let cases = [
        (
            "sources: []\n",
            "agent.yaml:2:10: sources: \"0\" cannot be used; allowed: 1 to 16 sources, each with name and file",
        ),
        (
            "sources: [{name: a, file: b}]\nsource: {file: c}\n",
            "agent.yaml:2:10: sources: there is a single `source`, too; allowed: either `source`, or `sources` with that file among them",
        ),
        (
            "sources: [{file: b}]\n",
            "agent.yaml:2:11: sources[0].name: this field is required and missing; allowed: 1 to 32",
        ),
        (
            "sources: [{name: a}]\n",
            "agent.yaml:2:11: sources[0].file: this field is required and missing; allowed: path of the cluster-state file",
        ),
        (
            "sources: [{name: 7b, file: b}]\n",
            &format!("agent.yaml:2:18: sources[0].name: \"7b\" cannot be used; {NAME}"),
        ),
        (
            "sources: [{name: a_b, file: b}]\n",
            &format!("agent.yaml:2:18: sources[0].name: \"a_b\" cannot be used; {NAME}"),
        ),
        (
            "sources: [{name: a, file: \"\"}]\n",
            "agent.yaml:2:27: sources[0].file: \"\" cannot be used as a path",
        ),
        (
            "sources: [{name: a, file: b, preference: 255}]\n",
            "agent.yaml:2:42: sources[0].preference: \"255\" cannot be used; allowed: a number from 0 to 254",
        ),
        (
            "sources: [{name: a, file: b}, {name: a, file: c}]\n",
            "agent.yaml:2:38: sources[1].name: source a is named twice; allowed: each name once",
        ),
        (
            "sources: [{name: a, file: b}, {name: c, file: b}]\n",
            "agent.yaml:2:47: sources[1].file: /etc/podroute/b is the file of source a, too",
        ),
        ("sources: [{name: a, file: b, mode: c}]\n", "agent.yaml:2:30: sources[0].mode: "),
    ];
    for (sources, begins) in cases {
        let found = refused(&format!("node: a1\n{sources}"));
        assert!(found.starts_with(&begins.replace("/etc/podroute/", "")), "{found}\n{begins}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}
