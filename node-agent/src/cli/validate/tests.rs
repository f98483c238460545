use std::fs;

use super::*;

const GOOD: &str = "\
nodes:
  - {name: a1, addresses: [10.0.1.11], pod-prefixes: [10.244.1.0/24]}
  - {name: b1, addresses: [10.0.2.11], pod-prefixes: [10.244.2.0/24]}
";

/// A folder with a configuration of node a1 and the cluster state that it names.
fn folder(config: &str, state: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("agent.yaml"), config).unwrap();
    fs::write(folder.path().join("cluster.yaml"), state).unwrap();
    folder
}

fn texts(config: &str, state: &str) -> Vec<String> {
    let folder = folder(config, state);
    let report = examine(Some(&folder.path().join("agent.yaml")), None);
    assert_eq!(report.unreadable, Vec::<String>::new());
    let root = format!("{}/", folder.path().display());
    report.rows.iter().map(|row| row.text.replace(&root, "")).collect()
}

const CONFIG: &str = "node: a1\nsource: {file: cluster.yaml}\n";

#[test]
fn good_files_have_no_findings() {
    assert_eq!(texts(CONFIG, GOOD), Vec::<String>::new());
}

/// Each bad value has a finding that begins with its place.
#[test]
fn findings_name_file_line_and_column() {
    let config = format!("{CONFIG}audit-interval: 1ms\nattach: xdp\n");
    let found = texts(&config, GOOD);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("agent.yaml:3:17: audit-interval: \"1ms\" is not a usable interval"),
        "{found:?}"
    );
    assert!(found[1].contains("agent.yaml:4:9: attach: "), "{found:?}");
    let found = texts(CONFIG, &GOOD.replace("10.0.2.11", "10.0.2"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("cluster.yaml:3:28: nodes[1].addresses[0]: "), "{found:?}");
}

/// What two claim is no error, and is told at the line of the one that does not get it.
#[test]
fn conflicts_are_warnings() {
    let found = texts(CONFIG, &GOOD.replace("10.244.2.0/24", "10.244.1.0/24"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("cluster.yaml:3: warning: "), "{found:?}");
    let folder = folder(CONFIG, &GOOD.replace("10.244.2.0/24", "10.244.1.0/24"));
    let rows = examine(None, Some(&folder.path().join("cluster.yaml"))).rows;
    assert_eq!((rows[0].severity, rows[0].line), (Severity::Warning, Some(3)));
    assert_eq!(rows[0].kind, Some(ProblemKind::DuplicatePodPrefix));
}

/// That a node is not in the state can be told only of a node that the configuration names.
#[test]
fn a_missing_own_node_is_told_of_a_known_node_only() {
    let config = CONFIG.replace("a1", "z9");
    let folder = folder(&config, GOOD);
    let (config, state) = (folder.path().join("agent.yaml"), folder.path().join("cluster.yaml"));
    let rows = examine(Some(&config), None).rows;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].kind, Some(ProblemKind::OwnNodeUnusable));
    assert_eq!(examine(None, Some(&state)).rows, []);
}

/// `--state` takes the place of the file that the configuration names, and is checked also where that is bad.
#[test]
fn a_named_state_is_checked_whatever_the_configuration_says() {
    let folder = folder("node: [\n", "nodes: 7\n");
    let (config, other) = (folder.path().join("agent.yaml"), folder.path().join("other.yaml"));
    fs::write(&other, GOOD.replace("10.0.2.11", "10.0.2")).unwrap();
    let files: Vec<String> =
        examine(Some(&config), Some(&other)).rows.into_iter().map(|row| row.file).collect();
    assert_eq!(files, [config.display().to_string(), other.display().to_string()]);
}

/// Files are checked together: a pod may be on a node of another file, and what two claim is told at the file of the one
/// that does not get it. Where one is bad, each file's own errors are told and nothing else.
#[test]
fn several_files_are_one_cluster_state() {
    const SOURCES: &str = "node: a1\nsources:\n- {name: base, file: cluster.yaml}\n\
        - {name: more, file: more.yaml, preference: 50}\n";
    let found = |more: &str| {
        let folder = folder(SOURCES, GOOD);
        fs::write(folder.path().join("more.yaml"), more).unwrap();
        let rows = examine(Some(&folder.path().join("agent.yaml")), None).rows;
        let root = format!("{}/", folder.path().display());
        rows.into_iter().map(|row| row.text.replace(&root, "")).collect::<Vec<String>>()
    };
    let pod = |node: &str| {
        format!("pods: [{{name: d/web, node: {node}, addresses: [10.244.1.10], interface: veth-web}}]\n")
    };
    assert_eq!(found(&pod("a1")), Vec::<String>::new());
    let [unknown] = &found(&pod("z9"))[..] else { panic!("one warning") };
    assert!(unknown.contains("warning: ") && unknown.contains("z9"), "{unknown}");
    let [twice] = &found("nodes: [{name: c1, addresses: [10.0.3.11], pod-prefixes: [10.244.2.0/24]}]\n")[..]
    else {
        panic!("one warning")
    };
    assert!(twice.starts_with("more.yaml:1: warning: "), "{twice}");
    let bad = found("pods: [{name: d/web, node: z9, addresses: [10.244.1], interface: veth-web}]\n");
    assert!(bad.len() == 1 && bad[0].starts_with("more.yaml:1:"), "{bad:?}");
}

/// 1 for findings, 2 for what cannot be read, also if there are findings besides.
#[tokio::test]
async fn the_ending_says_what_was_found() {
    let folder = folder("node: [\n", GOOD);
    let path = |name: &str| Some(folder.path().join(name));
    let end = async |config, state| run(Args { config, state, output: Output::Json }).await;
    end(None, path("cluster.yaml")).await.unwrap();
    let error = end(path("agent.yaml"), path("cluster.yaml")).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Exit::NotHealthy)), "{error:#}");
    for config in [None, path("agent.yaml")] {
        let error = end(config, path("missing.yaml")).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Exit::Unknown(_))), "{error:#}");
        assert!(error.to_string().contains("missing.yaml"), "{error:#}");
    }
}
