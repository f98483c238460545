use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{
    doctor::facts::{OtherFacts, OtherRoute},
    model::{HostView, KernelRoute},
};

/// How long a tool may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn look(view: &HostView, cni: &Path) -> OtherFacts {
    let foreign = view.routes.iter().filter(|route| route.protocol != KernelRoute::PROTOCOL);
    let route = |route: &KernelRoute| OtherRoute {
        destination: route.destination.to_string(),
        interface: route
            .link
            .and_then(|index| view.link_by_index(index))
            .map_or_else(String::new, |link| link.name.clone()),
        protocol: route.protocol,
    };
    OtherFacts {
        links: view.links.iter().map(|link| (link.name.clone(), link.up)).collect(),
        routes: foreign.map(route).collect(),
        cni: configurations(cni),
        chains: chains().await,
    }
}

/// Configurations of CNI plugins, with the plugins' types, in the order in which a runtime takes them.
fn configurations(folder: &Path) -> Vec<(std::path::PathBuf, Vec<String>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let wanted = |path: &Path| {
        path.extension().is_some_and(|end| ["conf", "conflist", "json"].iter().any(|known| end == *known))
    };
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(|path| wanted(path)).collect();
    found.sort();
    found
        .into_iter()
        .map(|path| (path.clone(), types(&fs::read_to_string(&path).unwrap_or_default())))
        .collect()
}

/// Types of the plugins that a configuration names.
fn types(text: &str) -> Vec<String> {
    let Ok(document) = serde_json::from_str::<Value>(text) else { return vec!["not readable".to_owned()] };
    let of = |value: &Value| value["type"].as_str().map(str::to_owned);
    match document["plugins"].as_array() {
        Some(plugins) => plugins.iter().filter_map(of).collect(),
        None => of(&document).into_iter().collect(),
    }
}

/// Every chain that `nft` knows, iptables' among them where it is the newer one.
async fn chains() -> Vec<String> {
    let mut command = Command::new("nft");
    command.args(["-j", "list", "chains"]).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => named(&String::from_utf8_lossy(&output.stdout)),
        // That there is no nft is no leftover.
        _ => Vec::new(),
    }
}

fn named(json: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(json).unwrap_or_default();
    let chain = |one: &Value| {
        let field = |name: &str| one["chain"][name].as_str();
        Some(format!("{} {} {}", field("family")?, field("table")?, field("name")?))
    };
    document["nftables"].as_array().into_iter().flatten().filter_map(chain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_and_plugins_are_read_by_name() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "ip", "table": "filter", "name": "cali-INPUT", "handle": 1}}]}"#;
        assert_eq!(named(json), ["ip filter cali-INPUT"]);
        assert_eq!(named("no"), Vec::<String>::new());
        assert_eq!(types(r#"{"plugins": [{"type": "calico"}, {"type": "portmap"}]}"#), ["calico", "portmap"]);
        assert_eq!(types(r#"{"type": "bridge"}"#), ["bridge"]);
        assert_eq!(types("{"), ["not readable"]);
    }
}
